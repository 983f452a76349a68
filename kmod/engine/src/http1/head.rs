// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A request head that has been read and found right.

use super::bytes;
use super::facts::Facts;
use super::target::Target;
use super::Framing;
use super::Version;

/// Where something stands in a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    pub(super) const EMPTY: Self = Self { start: 0, end: 0 };

    #[inline]
    pub(super) fn of(self, buf: &[u8]) -> &[u8] {
        buf.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }

    /// The same without optional white space.
    pub(super) fn trim(self, buf: &[u8]) -> Self {
        let mut span = self;
        while let Some((b' ' | b'\t', _)) = span.of(buf).split_first() {
            span.start = span.start.wrapping_add(1);
        }
        while let Some((b' ' | b'\t', _)) = span.of(buf).split_last() {
            span.end = span.end.wrapping_sub(1);
        }
        span
    }
}

/// A request head. It borrows the buffer that it was read from; nothing is copied.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    bytes: &'a [u8],
    method: &'a [u8],
    target: Target<'a>,
    lines: &'a [u8],
    facts: Facts,
}

impl<'a> Head<'a> {
    pub(super) fn new(
        bytes: &'a [u8],
        method: Span,
        target_end: usize,
        facts: Facts,
    ) -> Option<Self> {
        let start = (method.end as usize).wrapping_add(1);
        let method = method.of(bytes);
        let target = Target::parse(method, bytes.get(start..target_end)?).ok()?;
        // After the target come a space, the version and the end of the line.
        let lines = bytes.get(target_end.wrapping_add(11)..bytes.len().checked_sub(2)?)?;
        Some(Self {
            bytes,
            method,
            target,
            lines,
            facts,
        })
    }

    /// Bytes of the head in the buffer, the empty line at its end included, and likewise one
    /// before it if there was one. The message's body starts here.
    #[expect(clippy::len_without_is_empty, reason = "no head is empty")]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Method, as sent.
    pub const fn method(&self) -> &'a [u8] {
        self.method
    }

    /// Request target.
    pub const fn target(&self) -> Target<'a> {
        self.target
    }

    /// HTTP version.
    pub const fn version(&self) -> Version {
        self.facts.version()
    }

    /// Host with its port if one was given, as sent: of the target if it has one, else of the Host
    /// field (RFC 9112, 3.2.2 and 3.3). `None` if there is no Host field, or an empty one.
    pub fn host(&self) -> Option<&'a [u8]> {
        match self.target {
            Target::Absolute { authority, .. } | Target::Authority(authority) => Some(authority),
            Target::Origin { .. } | Target::Asterisk => {
                self.host_field().filter(|host| !host.is_empty())
            }
        }
    }

    /// The Host field, whatever the target says; it may be empty. Where it differs from
    /// [`host`](Self::host), who forwards the request has to replace it (RFC 9112, 3.2.2).
    pub fn host_field(&self) -> Option<&'a [u8]> {
        self.facts.host_field().map(|span| span.of(self.bytes))
    }

    /// Path that is asked for, as sent: `/` for an absolute target without one, `*` for the
    /// asterisk form and what is equal to it (RFC 9112, 3.2.4), empty for CONNECT.
    pub fn path(&self) -> &'a [u8] {
        match self.target {
            Target::Origin { path, .. } => path,
            Target::Absolute {
                path: b"",
                query: None,
                ..
            } if self.method == b"OPTIONS" => b"*",
            Target::Absolute { path: b"", .. } => b"/",
            Target::Absolute { path, .. } => path,
            Target::Authority(_) => b"",
            Target::Asterisk => b"*",
        }
    }

    /// Query without the question mark, as sent.
    pub const fn query(&self) -> Option<&'a [u8]> {
        match self.target {
            Target::Origin { query, .. } | Target::Absolute { query, .. } => query,
            Target::Authority(_) | Target::Asterisk => None,
        }
    }

    /// How the end of the body is told.
    pub const fn framing(&self) -> Framing {
        self.facts.framing()
    }

    /// Whether the client means to send another request on the connection (RFC 9112, 9.3).
    pub const fn persistent(&self) -> bool {
        self.facts.persistent()
    }

    /// Whether the client waits for a 100 (Continue) before it sends the body; never in HTTP/1.0
    /// (RFC 9110, 10.1.1).
    pub const fn expect_continue(&self) -> bool {
        self.facts.expect_continue()
    }

    /// Protocols to which the client would change, as its first Upgrade field lists them; only if
    /// Connection has the option too, and never in HTTP/1.0 (RFC 9110, 7.8).
    pub fn upgrade(&self) -> Option<&'a [u8]> {
        if !self.facts.upgrade() {
            return None;
        }
        let mut fields = self.fields();
        fields
            .find(|(name, _)| name.eq_ignore_ascii_case(b"upgrade"))
            .map(|(_, value)| value)
    }

    /// Fields in the order in which they were sent.
    pub const fn fields(&self) -> FieldIter<'a> {
        FieldIter { lines: self.lines }
    }
}

impl crate::table::Fields for Head<'_> {
    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields()
    }
}

/// Iterator over the fields of a [`Head`]: names as sent, values without the white space around
/// them.
#[derive(Clone, Debug)]
pub struct FieldIter<'a> {
    lines: &'a [u8],
}

impl<'a> Iterator for FieldIter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        // The lines have been checked: a name, a colon, a value without CR, CRLF.
        let colon = bytes::find(self.lines, b':')?;
        let (name, rest) = self.lines.split_at_checked(colon)?;
        let (value, rest) = rest.split_at_checked(bytes::find(rest, b'\r')?)?;
        self.lines = rest.get(2..)?;
        Some((name, bytes::trim(value.get(1..)?)))
    }
}
