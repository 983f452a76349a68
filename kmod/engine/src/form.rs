// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A request as it was sent, brought into the form in which it is matched: for the module, the front and `explain` alike.

use core::fmt;

use crate::http1::Head;
use crate::uri;
use crate::uri::Allow;
use crate::uri::HostError;
use crate::uri::PathError;
use crate::uri::MAX_HOST;

/// Why a request has no comparison form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormError {
    /// Of its host.
    Host(HostError),
    /// Of its path, or the service does not allow it.
    Path(PathError),
}

impl fmt::Display for FormError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(error) => error.fmt(f),
            Self::Path(error) => error.fmt(f),
        }
    }
}

/// Memory for what is brought into comparison form.
#[derive(Debug)]
pub struct Buffers<'a> {
    /// For the host.
    pub host: &'a mut [u8; MAX_HOST],
    /// For the path: as long as the path that was sent, at least.
    pub path: &'a mut [u8],
}

/// What a request is for, as it was sent.
#[derive(Clone, Copy, Debug)]
pub struct SentTarget<'a> {
    /// The host that the client names, with its port; empty: none.
    pub host: &'a [u8],
    /// The same in comparison form, where the parser has seen that it is.
    pub normalized_host: Option<&'a [u8]>,
    /// Path; `*` for the asterisk form.
    pub path: &'a [u8],
    /// The same in comparison form, where the parser has seen that it is.
    pub normalized_path: Option<&'a [u8]>,
}

/// The same in comparison form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form<'a> {
    /// The host, without its port; empty: none.
    pub host: &'a [u8],
    /// The path.
    pub path: &'a [u8],
}

impl<'a> Form<'a> {
    /// Of a head's target.
    ///
    /// # Errors
    ///
    /// Those of [`SentTarget::form`].
    #[inline(always)]
    pub fn of(
        head: &Head<'a>,
        allow: Allow,
        buffers: Buffers<'a>,
    ) -> Result<Self, (FormError, Self)> {
        // As most are sent.
        if let (Some(host), Some(path)) = (head.normalized_host(), head.normalized_path()) {
            return Ok(Self { host, path });
        }
        SentTarget::of(head).form(allow, buffers)
    }
}

impl<'a> SentTarget<'a> {
    /// Of a head.
    #[inline(always)]
    pub fn of(head: &Head<'a>) -> Self {
        Self {
            host: head.host().unwrap_or_default(),
            normalized_host: head.normalized_host(),
            path: head.path(),
            normalized_path: head.normalized_path(),
        }
    }

    /// Its comparison form, where the parser has seen that it is in that.
    #[inline]
    pub fn normalized(&self) -> Option<Form<'a>> {
        Some(Form {
            host: self.normalized_host?,
            path: self.normalized_path?,
        })
    }

    /// Its comparison form.
    ///
    /// # Errors
    ///
    /// [`FormError`], of the host first, with what there is to show: the path as it was sent, and the host where its form is
    /// known.
    pub fn form(
        &self,
        allow: Allow,
        buffers: Buffers<'a>,
    ) -> Result<Form<'a>, (FormError, Form<'a>)> {
        let path = self.path;
        let host = match self.normalized_host {
            Some(host) => host,
            None => match uri::host(self.host, buffers.host) {
                Ok(host) => host,
                Err(error) => return Err((FormError::Host(error), Form { host: &[], path })),
            },
        };
        let path = match self.normalized_path {
            Some(path) => path,
            None => match uri::normalise(path, allow, buffers.path) {
                Ok(path) => path,
                Err(error) => return Err((FormError::Path(error), Form { host, path })),
            },
        };
        Ok(Form { host, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_with_what_there_is_to_show() {
        let target = |host, path| SentTarget {
            host,
            normalized_host: None,
            path,
            normalized_path: None,
        };
        let form = |target: SentTarget<'static>| {
            let (mut host, mut path) = ([0; MAX_HOST], [0; 64]);
            let buffers = Buffers {
                host: &mut host,
                path: &mut path,
            };
            let text = |form: &Form<'_>| {
                let text = |bytes: &[u8]| std::string::String::from_utf8_lossy(bytes).into_owned();
                (text(form.host), text(form.path))
            };
            match target.form(Allow::NONE, buffers) {
                Ok(form) => (None, text(&form)),
                Err((error, form)) => (Some(matches!(error, FormError::Host(_))), text(&form)),
            }
        };
        let of = |host: &str, path: &str| (host.into(), path.into());
        assert_eq!(
            form(target(b"A.example:80", b"/a/../%62")),
            (None, of("a.example", "/b"))
        );
        assert_eq!(
            form(target(b"a b", b"/a%00")),
            (Some(true), of("", "/a%00"))
        );
        assert_eq!(
            form(target(b"A.example", b"/a%00")),
            (Some(false), of("a.example", "/a%00"))
        );
    }
}
