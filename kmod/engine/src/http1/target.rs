// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The request target and the authority in it (RFC 9112, 3.2; RFC 9110, 4.2 and 7.1).

use core::net::Ipv6Addr;

use super::bytes;
use super::HeadError;

/// A request target, as sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// A path, as a client sends it to an origin server.
    Origin {
        /// Path, starting with a slash.
        path: &'a [u8],
        /// Query without the question mark.
        query: Option<&'a [u8]>,
    },
    /// A whole URI, as a client sends it to a proxy.
    Absolute {
        /// `http` or `https`, in any case.
        scheme: &'a [u8],
        /// Host and port; overrides the Host field.
        authority: &'a [u8],
        /// Path, starting with a slash; may be empty.
        path: &'a [u8],
        /// Query without the question mark.
        query: Option<&'a [u8]>,
    },
    /// Host and port: what CONNECT asks for.
    Authority(&'a [u8]),
    /// The server as a whole: only with OPTIONS.
    Asterisk,
}

impl<'a> Target<'a> {
    /// Reads a target that [`bytes::skip_target`] has gone over.
    pub(super) fn parse(method: &[u8], target: &'a [u8]) -> Result<Self, HeadError> {
        if method == b"CONNECT" {
            let port = authority(target).ok_or(HeadError::Authority)?;
            // RFC 9110, 9.3.6: an empty or invalid port number has to be refused.
            return match port {
                Some(port) if port.iter().any(|&digit| digit != b'0') => {
                    Ok(Self::Authority(target))
                }
                _ => Err(HeadError::Authority),
            };
        }
        match target.first() {
            Some(b'/') => {
                let (path, query) = split_query(target);
                Ok(Self::Origin { path, query })
            }
            Some(b'*') if target.len() == 1 && method == b"OPTIONS" => Ok(Self::Asterisk),
            _ => Self::absolute(target),
        }
    }

    fn absolute(target: &'a [u8]) -> Result<Self, HeadError> {
        let colon = bytes::find(target, b':').ok_or(HeadError::TargetForm)?;
        let (scheme, rest) = target
            .split_at_checked(colon)
            .ok_or(HeadError::TargetForm)?;
        let rest = rest.strip_prefix(b"://").ok_or(HeadError::TargetForm)?;
        if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
            return Err(HeadError::Scheme);
        }
        // Not `position`: with rustc 1.85 it keeps an overflow check here, and so a panic.
        let end = [b'/', b'?']
            .iter()
            .filter_map(|&end| bytes::find(rest, end))
            .fold(rest.len(), usize::min);
        let (name, rest) = rest.split_at_checked(end).ok_or(HeadError::TargetForm)?;
        if name.contains(&b'@') {
            return Err(HeadError::UserInfo);
        }
        if authority(name).is_none() {
            return Err(HeadError::Authority);
        }
        let (path, query) = split_query(rest);
        Ok(Self::Absolute {
            scheme,
            authority: name,
            path,
            query,
        })
    }
}

fn split_query(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    let split = bytes::find(target, b'?').and_then(|at| target.split_at_checked(at));
    match split {
        Some((path, query)) => (path, query.get(1..)),
        None => (target, None),
    }
}

/// Checks `host [":" port]` and gives the port's digits. Percent-encoding and sub-delimiters, which
/// RFC 3986 has in host names, are refused: no such name can be resolved, and programs disagree
/// about where it ends.
pub(super) fn authority(value: &[u8]) -> Option<Option<&[u8]>> {
    let rest = if let Some(literal) = value.strip_prefix(b"[") {
        let end = bytes::find(literal, b']')?;
        let address = core::str::from_utf8(literal.get(..end)?).ok()?;
        address.parse::<Ipv6Addr>().ok()?;
        literal.get(end.wrapping_add(1)..)?
    } else {
        let end = value
            .iter()
            .position(|&byte| !bytes::is_unreserved(byte))
            .unwrap_or(value.len());
        if end == 0 {
            return None;
        }
        value.get(end..)?
    };
    if rest.is_empty() {
        return Some(None);
    }
    let port = rest.strip_prefix(b":")?;
    let mut number: u32 = 0;
    for &byte in port {
        let digit = byte.checked_sub(b'0').filter(|&digit| digit <= 9)?;
        number = number.saturating_mul(10).saturating_add(u32::from(digit));
    }
    (number <= u32::from(u16::MAX)).then_some(Some(port))
}
