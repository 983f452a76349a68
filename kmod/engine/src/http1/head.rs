// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A request head that has been read and found right.

use super::bytes;
use super::facts::Facts;
use super::facts::Form;
use super::target::Target;
use super::Framing;
use super::Version;

/// Offsets in a head stay below its limit, which is a `u32`.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "nothing behind the limit is read"
)]
pub(super) const fn narrow(offset: usize) -> u32 {
    offset as u32
}

/// Where something stands in a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    pub(super) const EMPTY: Self = Self { start: 0, end: 0 };

    pub(super) fn at(start: u32, length: usize) -> Self {
        Self {
            start,
            end: start.wrapping_add(narrow(length)),
        }
    }

    #[inline]
    pub(super) fn of(self, buf: &[u8]) -> &[u8] {
        buf.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}

/// Where the parts of a request line stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) method: Span,
    /// Start of the authority in an absolute target.
    pub(super) authority: u32,
    /// The path, or where it would start.
    pub(super) path: Span,
    /// Behind it comes the query with its question mark, if there is one.
    pub(super) target_end: u32,
}

impl Places {
    /// Those of a target that is known to be right.
    pub(super) fn of(buf: &[u8], method: Span, target_end: u32) -> Option<Self> {
        let mut places = Self {
            method,
            authority: method.end.wrapping_add(1),
            path: Span {
                start: target_end,
                end: target_end,
            },
            target_end,
        };
        let target = places.target();
        match Target::parse(method.of(buf), target.of(buf)).ok()? {
            Target::Origin { path, .. } => places.path = Span::at(target.start, path.len()),
            Target::Absolute {
                scheme,
                authority,
                path,
                ..
            } => {
                let name = Span::at(target.start, scheme.len()).end.wrapping_add(3);
                places.authority = name;
                places.path = Span::at(Span::at(name, authority.len()).end, path.len());
            }
            Target::Authority(_) | Target::Asterisk => {}
        }
        Some(places)
    }

    pub(super) const fn target(&self) -> Span {
        Span {
            start: self.method.end.wrapping_add(1),
            end: self.target_end,
        }
    }
}

/// A request head. It borrows the buffer that it was read from; nothing is copied.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) places: Places,
    pub(super) facts: Facts,
}

impl<'a> Head<'a> {
    /// Bytes of the head in the buffer, the empty line at its end included, and likewise one
    /// before it if there was one. The message's body starts here.
    #[expect(clippy::len_without_is_empty, reason = "no head is empty")]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Method, as sent.
    #[inline]
    pub fn method(&self) -> &'a [u8] {
        self.places.method.of(self.bytes)
    }

    /// Request target.
    pub fn target(&self) -> Target<'a> {
        let path = self.places.path.of(self.bytes);
        let query = self.query();
        match self.facts.form() {
            Form::Origin => Target::Origin { path, query },
            Form::Absolute => Target::Absolute {
                scheme: self.scheme(),
                authority: self.authority(),
                path,
                query,
            },
            Form::Authority => Target::Authority(self.authority()),
            Form::Asterisk => Target::Asterisk,
        }
    }

    fn scheme(&self) -> &'a [u8] {
        let scheme = Span {
            start: self.places.target().start,
            end: self.places.authority.wrapping_sub(3),
        };
        scheme.of(self.bytes)
    }

    fn authority(&self) -> &'a [u8] {
        let authority = Span {
            start: self.places.authority,
            end: self.places.path.start,
        };
        authority.of(self.bytes)
    }

    /// HTTP version.
    pub const fn version(&self) -> Version {
        self.facts.version()
    }

    /// Host with its port if one was given, as sent: of the target if it has one, else of the Host
    /// field (RFC 9112, 3.2.2 and 3.3). `None` if there is no Host field, or an empty one.
    #[inline]
    pub fn host(&self) -> Option<&'a [u8]> {
        match self.facts.form() {
            Form::Absolute | Form::Authority => Some(self.authority()),
            Form::Origin | Form::Asterisk => self.host_field().filter(|host| !host.is_empty()),
        }
    }

    /// [`host`](Self::host), if it is known to be what [`uri::host`](crate::uri::host) makes of it.
    #[inline]
    pub fn normalized_host(&self) -> Option<&'a [u8]> {
        self.facts.normalized_host().map(|host| host.of(self.bytes))
    }

    /// [`path`](Self::path), if it is known to be what [`uri::normalise`](crate::uri::normalise) makes
    /// of it.
    #[inline]
    pub fn normalized_path(&self) -> Option<&'a [u8]> {
        let path = self.places.path.of(self.bytes);
        self.facts.normalized_path().then_some(path)
    }

    /// The Host field, whatever the target says; it may be empty. Where it differs from
    /// [`host`](Self::host), who forwards the request has to replace it (RFC 9112, 3.2.2).
    pub fn host_field(&self) -> Option<&'a [u8]> {
        self.facts.host_field().map(|span| span.of(self.bytes))
    }

    /// Path that is asked for, as sent: `/` for an absolute target without one, `*` for the
    /// asterisk form and what is equal to it (RFC 9112, 3.2.4), empty for CONNECT.
    pub fn path(&self) -> &'a [u8] {
        let path = self.places.path.of(self.bytes);
        match self.facts.form() {
            Form::Origin => path,
            Form::Absolute if !path.is_empty() => path,
            Form::Absolute if self.query().is_none() && self.method() == b"OPTIONS" => b"*",
            Form::Absolute => b"/",
            Form::Authority => b"",
            Form::Asterisk => b"*",
        }
    }

    /// Query without the question mark, as sent.
    #[inline]
    pub fn query(&self) -> Option<&'a [u8]> {
        let query = Span {
            start: self.places.path.end.wrapping_add(1),
            end: self.places.target_end,
        };
        (query.start <= query.end).then(|| query.of(self.bytes))
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
    pub fn fields(&self) -> FieldIter<'a> {
        // Behind the target come a space, the version and the end of the line.
        let start = (self.places.target_end as usize).wrapping_add(11);
        let end = self.bytes.len().saturating_sub(2);
        FieldIter {
            lines: self.bytes.get(start..end).unwrap_or_default(),
        }
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
