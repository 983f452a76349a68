// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the fields of a request say about the message and its connection.

use super::bytes;
use super::head::narrow;
use super::head::Span;
use super::target;
use super::target::Target;
use super::Framing;
use super::HeadError;
use super::Version;
use crate::uri::has_empty_label;
use crate::uri::MAX_HOST;

const HTTP11: u16 = 1;
const CONNECT: u16 = 1 << 1;
const HOST: u16 = 1 << 2;
const LENGTH: u16 = 1 << 3;
const CODED: u16 = 1 << 4;
const CHUNKED: u16 = 1 << 5;
const UNKNOWN_CODING: u16 = 1 << 6;
const CLOSE: u16 = 1 << 7;
const KEEP_ALIVE: u16 = 1 << 8;
const UPGRADE: u16 = 1 << 9;
const UPGRADE_FIELD: u16 = 1 << 10;
const CONTINUE: u16 = 1 << 11;
const PLAIN_HOST: u16 = 1 << 12;
const PLAIN_PATH: u16 = 1 << 13;
const ABSOLUTE: u16 = 1 << 14;
const ASTERISK: u16 = 1 << 15;

/// The forms of a request target (RFC 9112, 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Origin,
    Absolute,
    Authority,
    Asterisk,
}

/// Collected field by field, so that a head is gone through once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    length: u64,
    host: Span,
    flags: u16,
    /// Bytes of a plain host's port, with its colon.
    port: u8,
}

impl Facts {
    pub(super) const fn new() -> Self {
        Self {
            length: 0,
            host: Span::EMPTY,
            flags: 0,
            port: 0,
        }
    }

    const fn has(self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn see_http11(&mut self) {
        self.flags |= HTTP11;
    }

    pub(super) fn see_target(&mut self, target: &Target<'_>) {
        self.flags |= match target {
            Target::Origin { .. } => 0,
            Target::Absolute { .. } => ABSOLUTE,
            Target::Authority(_) => CONNECT,
            Target::Asterisk => ASTERISK,
        }
    }

    /// The path is what [`uri::normalise`](crate::uri::normalise) would make of it.
    #[inline]
    pub(super) fn see_normalized_path(&mut self) {
        self.flags |= PLAIN_PATH;
    }

    /// Takes in a Host field of a name that [`bytes::after_normalized_host`] has gone over, and so many bytes of a port with its
    /// colon. Whether there was none before.
    #[inline]
    pub(super) fn see_normalized_host(&mut self, host: &[u8], port: u8, at: u32) -> bool {
        if self.has(HOST) || host.is_empty() {
            return false;
        }
        self.host = Span::at(at, host.len().wrapping_add(usize::from(port)));
        self.port = port;
        let is_plain =
            host.len() <= MAX_HOST && host.last() != Some(&b'.') && !has_empty_label(host);
        self.flags |= if is_plain { HOST | PLAIN_HOST } else { HOST };
        true
    }

    /// Whether a field of this name may be one that [`see_field`](Self::see_field) looks at: most are told by
    /// their length and first letter not to be.
    #[inline]
    pub(super) fn may_matter(name: &[u8]) -> bool {
        matches!(
            (name.len(), name.first().map(|&first| first | 0x20)),
            (4, Some(b'h'))
                | (6, Some(b'e'))
                | (7, Some(b'u'))
                | (10 | 14, Some(b'c'))
                | (17, Some(b't'))
        )
    }

    /// Takes in one field; `value` still has its white space, and starts at `at` in the head.
    // Alone, so that who goes through fields has the registers.
    #[inline(never)]
    pub(super) fn see_field(
        &mut self,
        name: &[u8],
        value: &[u8],
        at: u32,
    ) -> Result<(), HeadError> {
        match name.len() {
            4 if bytes::is_word(name, b"host") => self.host(value, at),
            6 if bytes::is_word(name, b"expect") => {
                self.expect(bytes::trim(value));
                Ok(())
            }
            7 if bytes::is_word(name, b"upgrade") => {
                self.flags |= UPGRADE_FIELD;
                Ok(())
            }
            10 if bytes::is_word(name, b"connection") => self.connection(value),
            14 if bytes::is_word(name, b"content-length") => {
                self.content_length(bytes::trim(value))
            }
            17 if bytes::is_word(name, b"transfer-encoding") => self.transfer_encoding(value),
            _ => Ok(()),
        }
    }

    /// What can only be said when the last field is known.
    #[inline]
    pub(super) fn finish(self) -> Result<(), HeadError> {
        // Nearly all of them.
        if self.flags & (HTTP11 | HOST | CONNECT | CODED) == HTTP11 | HOST {
            return Ok(());
        }
        if self.has(HTTP11) && !self.has(HOST) {
            return Err(HeadError::MissingHost);
        }
        if self.has(CONNECT) && (self.has(CODED) || self.has(LENGTH)) {
            return Err(HeadError::ConnectContent);
        }
        // RFC 9112, 6.3 has "must" for the first and 6.1 only "should" for the second.
        if self.has(CODED) && !self.has(CHUNKED) {
            return Err(HeadError::ChunkedNotLast);
        }
        if self.has(UNKNOWN_CODING) {
            return Err(HeadError::CodingNotSupported);
        }
        Ok(())
    }

    fn host(&mut self, value: &[u8], at: u32) -> Result<(), HeadError> {
        if self.has(HOST) {
            return Err(HeadError::RepeatedHost);
        }
        let left = bytes::trim_start(value);
        let host = bytes::trim_end(left);
        let start = at.wrapping_add(narrow(value.len().wrapping_sub(left.len())));
        self.host = Span::at(start, host.len());
        self.flags |= HOST;
        // RFC 9112, 3.2: an empty value is what a target without authority has.
        if host.is_empty() || target::authority(host).is_some() {
            Ok(())
        } else {
            Err(HeadError::Host)
        }
    }

    /// RFC 9112, 6.3 lets a recipient accept a list of equal numbers. A reader that takes the first
    /// and one that takes the last then agree, but one that sees the comma as the end of garbage
    /// does not, and no client has a reason to repeat the field: any repetition is refused.
    fn content_length(&mut self, value: &[u8]) -> Result<(), HeadError> {
        if self.has(LENGTH) {
            return Err(HeadError::RepeatedContentLength);
        }
        if self.has(CODED) {
            return Err(HeadError::TransferEncodingAndContentLength);
        }
        self.flags |= LENGTH;
        if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
            return Err(HeadError::ContentLength);
        }
        let mut length: u64 = 0;
        for &byte in value {
            length = length
                .checked_mul(10)
                .and_then(|length| length.checked_add(u64::from(byte.wrapping_sub(b'0'))))
                .ok_or(HeadError::ContentLengthOverflow)?;
        }
        self.length = length;
        Ok(())
    }

    /// Parameters and empty elements, which the grammar has, are refused: no coding in use has
    /// parameters, and readers differ about both.
    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), HeadError> {
        if self.has(LENGTH) {
            return Err(HeadError::TransferEncodingAndContentLength);
        }
        if !self.has(HTTP11) {
            return Err(HeadError::TransferEncodingInHttp10);
        }
        self.flags |= CODED;
        for coding in value.split(|&byte| byte == b',') {
            let coding = bytes::trim(coding);
            if !bytes::all_token(coding) {
                return Err(HeadError::TransferEncoding);
            }
            let chunked = coding.eq_ignore_ascii_case(b"chunked");
            match (self.has(CHUNKED), chunked) {
                (true, true) => return Err(HeadError::ChunkedTwice),
                (true, false) => return Err(HeadError::CodingAfterChunked),
                (false, true) => self.flags |= CHUNKED,
                (false, false) => self.flags |= UNKNOWN_CODING,
            }
        }
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) -> Result<(), HeadError> {
        // What nearly all have that have the field.
        if bytes::trim(value) == b"keep-alive" {
            self.flags |= KEEP_ALIVE;
            return Ok(());
        }
        for option in value.split(|&byte| byte == b',') {
            let option = bytes::trim(option);
            if option.is_empty() {
                continue;
            }
            if !bytes::all_token(option) {
                return Err(HeadError::Connection);
            }
            self.flags |= match option.len() {
                5 if option.eq_ignore_ascii_case(b"close") => CLOSE,
                10 if option.eq_ignore_ascii_case(b"keep-alive") => KEEP_ALIVE,
                7 if option.eq_ignore_ascii_case(b"upgrade") => UPGRADE,
                // A proxy removes the fields named here. Without these two the next server would
                // read another request than this one.
                4 if option.eq_ignore_ascii_case(b"host") => {
                    return Err(HeadError::ConnectionOption);
                }
                14 if option.eq_ignore_ascii_case(b"content-length") => {
                    return Err(HeadError::ConnectionOption);
                }
                _ => 0,
            };
        }
        Ok(())
    }

    fn expect(&mut self, value: &[u8]) {
        if value.eq_ignore_ascii_case(b"100-continue") {
            self.flags |= CONTINUE;
        }
    }

    pub(super) const fn form(self) -> Form {
        if self.flags & (ABSOLUTE | CONNECT | ASTERISK) == 0 {
            Form::Origin
        } else if self.has(ABSOLUTE) {
            Form::Absolute
        } else if self.has(CONNECT) {
            Form::Authority
        } else {
            Form::Asterisk
        }
    }

    /// The Host field without its port, if it is what is asked for and known to be in comparison form.
    pub(super) const fn normalized_host(self) -> Option<Span> {
        if self.flags & (PLAIN_HOST | ABSOLUTE | CONNECT) == PLAIN_HOST {
            Some(Span {
                start: self.host.start,
                end: self.host.end.wrapping_sub(self.port as u32),
            })
        } else {
            None
        }
    }

    pub(super) const fn normalized_path(self) -> bool {
        self.has(PLAIN_PATH)
    }

    pub(super) const fn host_field(self) -> Option<Span> {
        if self.has(HOST) {
            Some(self.host)
        } else {
            None
        }
    }

    pub(super) const fn version(self) -> Version {
        if self.has(HTTP11) {
            Version::Http11
        } else {
            Version::Http10
        }
    }

    pub(super) const fn framing(self) -> Framing {
        if self.has(CHUNKED) {
            Framing::Chunked
        } else if self.has(LENGTH) {
            Framing::Length(self.length)
        } else {
            Framing::None
        }
    }

    pub(super) const fn persistent(self) -> bool {
        !self.has(CLOSE) && (self.has(HTTP11) || self.has(KEEP_ALIVE))
    }

    pub(super) const fn expect_continue(self) -> bool {
        self.has(CONTINUE) && self.has(HTTP11)
    }

    pub(super) const fn upgrade(self) -> bool {
        self.has(UPGRADE) && self.has(UPGRADE_FIELD) && self.has(HTTP11)
    }
}
