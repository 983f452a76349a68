// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The request head, read as it arrives.

use super::bytes;
use super::bytes::skip_target;
use super::bytes::skip_token;
use super::bytes::skip_value;
use super::facts::Facts;
use super::head::narrow;
use super::head::Head;
use super::head::Places;
use super::head::Span;
use super::target::Target;
use super::whole;
use super::HeadError;

/// Longest method that is read, in bytes. The longest registered one, UPDATEREDIRECTREF, has 17.
pub const METHOD_MAX: usize = 32;

/// Bounds on a request head. Each is cut to 2³² − 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole head, the empty line included.
    pub head: usize,
    /// Bytes of the request target.
    pub target: usize,
    /// Number of fields.
    pub fields: usize,
}

impl Default for Limits {
    /// What servers commonly take: RFC 9112, 3 asks for at least 8000 bytes of request line.
    fn default() -> Self {
        Self {
            head: 32 * 1024,
            target: 8 * 1024,
            fields: 100,
        }
    }
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Start,
    Method,
    Target,
    Version,
    Line,
    Name,
    Value,
    Done,
    Failed(HeadError),
}

/// Reader of one request head: a few words of plain data, which may be copied and kept while bytes
/// are awaited.
#[derive(Clone, Debug)]
pub struct HeadParser {
    facts: Facts,
    head_limit: u32,
    target_limit: u32,
    /// Fields that may still come.
    fields_left: u32,
    /// Where to go on: everything before it has been read and found right.
    at: u32,
    /// Start of the field line that is being read; 0 until there is one.
    line: u32,
    /// The colon of that field line.
    colon: u32,
    method_end: u32,
    target_end: u32,
    /// 2 if there was an empty line before the request line, else 0.
    method_start: u8,
    phase: Phase,
}

const fn wide(offset: u32) -> usize {
    offset as usize
}

const fn clamp(limit: usize) -> u32 {
    if limit > u32::MAX as usize {
        u32::MAX
    } else {
        #[expect(clippy::cast_possible_truncation, reason = "compared above")]
        let limit = limit as u32;
        limit
    }
}

impl HeadParser {
    /// A reader that has seen nothing.
    pub const fn new(limits: Limits) -> Self {
        Self {
            facts: Facts::new(),
            head_limit: clamp(limits.head),
            target_limit: clamp(limits.target),
            fields_left: clamp(limits.fields),
            at: 0,
            line: 0,
            colon: 0,
            method_end: 0,
            target_end: 0,
            method_start: 0,
            phase: Phase::Start,
        }
    }

    /// Reads on.
    ///
    /// `buf` has every byte received so far, from the first byte of the message; whatever follows
    /// the head in it is left alone. `None`: more bytes are needed. What was read in an earlier
    /// call is not read again, so the work is linear in the length of the head however it arrives.
    /// An error is given at the first byte that shows it, and again by every later call.
    ///
    /// # Errors
    ///
    /// The rule that the head broke. The same for every division of the same bytes.
    #[inline]
    pub fn parse<'a>(&mut self, buf: &'a [u8]) -> Result<Option<Head<'a>>, HeadError> {
        if self.phase == Phase::Start {
            let window = buf.get(..wide(self.head_limit)).unwrap_or(buf);
            if let Some(head) = whole::read(window, self.target_limit, self.fields_left) {
                self.facts = head.facts;
                self.method_end = head.places.method.end;
                self.target_end = head.places.target_end;
                self.enter(Phase::Done, head.len());
                return Ok(Some(head));
            }
        }
        self.parse_on(buf)
    }

    /// What a new reader's first [`parse`](Self::parse) gives for a usual head that is whole in `buf`.
    #[inline]
    pub(crate) fn fast(limits: Limits, buf: &[u8]) -> Option<Head<'_>> {
        let window = buf.get(..wide(clamp(limits.head))).unwrap_or(buf);
        whole::read(window, clamp(limits.target), clamp(limits.fields))
    }

    /// What it gives for any other.
    #[inline(never)]
    pub(crate) fn slow(limits: Limits, buf: &[u8]) -> Result<Option<Head<'_>>, HeadError> {
        Self::new(limits).parse_on(buf)
    }

    #[inline(never)]
    fn parse_on<'a>(&mut self, buf: &'a [u8]) -> Result<Option<Head<'a>>, HeadError> {
        let limit = wide(self.head_limit);
        let window = buf.get(..limit).unwrap_or(buf);
        match self.advance(window) {
            Ok(true) => Ok(self.head(window)),
            Ok(false) if buf.len() > limit => Err(self.fail(self.too_long())),
            Ok(false) => Ok(None),
            Err(error) => Err(self.fail(error)),
        }
    }

    fn too_long(&self) -> HeadError {
        match self.phase {
            Phase::Target => HeadError::TargetTooLong,
            _ => HeadError::HeadTooLong,
        }
    }

    fn fail(&mut self, error: HeadError) -> HeadError {
        self.phase = Phase::Failed(error);
        error
    }

    fn head<'a>(&self, buf: &'a [u8]) -> Option<Head<'a>> {
        let places = Places::of(buf, self.method(), self.target_end)?;
        Some(Head {
            bytes: buf.get(..wide(self.at))?,
            places,
            facts: self.facts,
        })
    }

    fn method(&self) -> Span {
        Span {
            start: u32::from(self.method_start),
            end: self.method_end,
        }
    }

    fn advance(&mut self, buf: &[u8]) -> Result<bool, HeadError> {
        loop {
            let moved = match self.phase {
                Phase::Start => self.read_start(buf)?,
                Phase::Method => self.read_method(buf)?,
                Phase::Target => self.read_target(buf)?,
                Phase::Version => self.read_version(buf)?,
                Phase::Line => self.read_line(buf)?,
                Phase::Name => self.read_name(buf)?,
                Phase::Value => self.read_value(buf)?,
                Phase::Done => return Ok(true),
                Phase::Failed(error) => return Err(error),
            };
            if !moved {
                return Ok(false);
            }
        }
    }

    fn enter(&mut self, phase: Phase, at: usize) -> bool {
        self.phase = phase;
        self.at = narrow(at);
        true
    }

    fn wait(&mut self, at: usize) -> bool {
        self.at = narrow(at);
        false
    }

    fn read_start(&mut self, buf: &[u8]) -> Result<bool, HeadError> {
        match buf {
            [] | [b'\r'] => Ok(false),
            [b'\r', b'\n', ..] => {
                self.method_start = 2;
                Ok(self.enter(Phase::Method, 2))
            }
            [b'\r', ..] => Err(HeadError::BareCr),
            _ => Ok(self.enter(Phase::Method, 0)),
        }
    }

    fn read_method(&mut self, buf: &[u8]) -> Result<bool, HeadError> {
        let start = usize::from(self.method_start);
        let bound = start.saturating_add(METHOD_MAX);
        let end = skip_token(buf.get(..bound).unwrap_or(buf), wide(self.at));
        match buf.get(end) {
            None => Ok(self.wait(end)),
            Some(b' ') if end > start => {
                self.method_end = narrow(end);
                Ok(self.enter(Phase::Target, end.wrapping_add(1)))
            }
            Some(b'\n') => Err(HeadError::BareLf),
            Some(b'\r') if end == start => Err(HeadError::EmptyLines),
            Some(b'\r') => Err(HeadError::RequestLine),
            Some(&byte) if bytes::is_token(byte) => Err(HeadError::MethodTooLong),
            Some(_) => Err(HeadError::Method),
        }
    }

    fn read_target(&mut self, buf: &[u8]) -> Result<bool, HeadError> {
        let start = wide(self.method_end).wrapping_add(1);
        let bound = start.saturating_add(wide(self.target_limit));
        let end = skip_target(buf.get(..bound).unwrap_or(buf), wide(self.at));
        match buf.get(end) {
            None => Ok(self.wait(end)),
            Some(b' ') if end > start => {
                let method = self.method().of(buf);
                let target = Target::parse(method, buf.get(start..end).unwrap_or_default())?;
                self.facts.see_target(&target);
                self.target_end = narrow(end);
                Ok(self.enter(Phase::Version, end.wrapping_add(1)))
            }
            Some(b' ' | b'\r') => Err(HeadError::RequestLine),
            Some(b'\n') => Err(HeadError::BareLf),
            Some(_) if end == bound => Err(HeadError::TargetTooLong),
            Some(b'#') => Err(HeadError::Fragment),
            Some(_) => Err(HeadError::TargetByte),
        }
    }

    fn read_version(&mut self, buf: &[u8]) -> Result<bool, HeadError> {
        let start = wide(self.at);
        let rest = buf.get(start..).unwrap_or_default();
        if let Some(b"HTTP/1.1\r\n") = rest.first_chunk::<10>() {
            self.facts.see_http11();
            return Ok(self.enter(Phase::Line, start.wrapping_add(10)));
        }
        for (&byte, place) in rest.iter().zip(b"HTTP/0.0\r\n") {
            match (place, byte) {
                (b'0', b'0'..=b'9') => (),
                (&place, byte) if place == byte => (),
                (b'\n', _) => return Err(HeadError::BareCr),
                (_, b'\n') => return Err(HeadError::BareLf),
                (b'H', b' ') | (b'\r', b' ') => return Err(HeadError::RequestLine),
                _ => return Err(HeadError::Version),
            }
        }
        match rest.first_chunk::<10>() {
            None => Ok(false),
            Some(b"HTTP/1.0\r\n") => Ok(self.enter(Phase::Line, start.wrapping_add(10))),
            Some(_) => Err(HeadError::VersionNotSupported),
        }
    }

    fn read_line(&mut self, buf: &[u8]) -> Result<bool, HeadError> {
        let start = wide(self.at);
        match buf.get(start) {
            None => Ok(false),
            Some(b'\r') => match buf.get(start.wrapping_add(1)) {
                None => Ok(false),
                Some(b'\n') => {
                    self.facts.finish()?;
                    Ok(self.enter(Phase::Done, start.wrapping_add(2)))
                }
                Some(_) => Err(HeadError::BareCr),
            },
            Some(b' ' | b'\t') if self.line == 0 => Err(HeadError::LeadingWhiteSpace),
            Some(b' ' | b'\t') => Err(HeadError::ObsFold),
            Some(b'\n') => Err(HeadError::BareLf),
            Some(b':') => Err(HeadError::EmptyFieldName),
            Some(_) if self.fields_left == 0 => Err(HeadError::TooManyFields),
            Some(_) => {
                self.fields_left = self.fields_left.saturating_sub(1);
                self.line = self.at;
                Ok(self.enter(Phase::Name, start))
            }
        }
    }

    fn read_name(&mut self, buf: &[u8]) -> Result<bool, HeadError> {
        let end = skip_token(buf, wide(self.at));
        match buf.get(end) {
            None => Ok(self.wait(end)),
            Some(b':') => {
                self.colon = narrow(end);
                Ok(self.enter(Phase::Value, end.wrapping_add(1)))
            }
            Some(b' ' | b'\t') => Err(HeadError::SpaceBeforeColon),
            Some(b'\n') => Err(HeadError::BareLf),
            Some(b'\r') => Err(HeadError::MissingColon),
            Some(_) => Err(HeadError::FieldName),
        }
    }

    fn read_value(&mut self, buf: &[u8]) -> Result<bool, HeadError> {
        let end = skip_value(buf, wide(self.at));
        match buf.get(end) {
            None => Ok(self.wait(end)),
            Some(b'\r') => match buf.get(end.wrapping_add(1)) {
                None => Ok(self.wait(end)),
                Some(b'\n') => {
                    let name = Span {
                        start: self.line,
                        end: self.colon,
                    };
                    let value = Span {
                        start: self.colon.wrapping_add(1),
                        end: narrow(end),
                    };
                    self.facts
                        .see_field(name.of(buf), value.of(buf), value.start)?;
                    Ok(self.enter(Phase::Line, end.wrapping_add(2)))
                }
                Some(_) => Err(HeadError::BareCr),
            },
            Some(b'\n') => Err(HeadError::BareLf),
            Some(_) => Err(HeadError::FieldValue),
        }
    }
}
