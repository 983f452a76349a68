// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The response head, read as it passes.

mod record;

use super::head::Told;
use super::ResponseError;
use super::ResponseHead;
use crate::http1::bytes;
use crate::http1::names;
use crate::http1::words::Word;
use crate::http1::words::WordReader;
use crate::http1::Version;

/// Longest response head that is read, in bytes, the empty line included.
pub const RESPONSE_HEAD_MAX: u32 = 64 * 1024;

const HTTP11: u8 = 1;
const LENGTH: u8 = 1 << 1;
const CODED: u8 = 1 << 2;
const CHUNKED: u8 = 1 << 3;
const CLOSE: u8 = 1 << 4;
const KEEP_ALIVE: u8 = 1 << 5;

const VERSION_11: u64 = u64::from_le_bytes(*b"HTTP/1.1");
const VERSION_10: u64 = u64::from_le_bytes(*b"HTTP/1.0");
/// What comes behind the version in nearly every head, but for the line feed.
const STATUS_OK: u64 = u64::from_le_bytes(*b" 200 OK\r");

/// The two fields whose value is a list of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    Connection,
    TransferEncoding,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Version or status code.
    StatusLine,
    StatusEnd,
    /// The first byte of a line.
    Line,
    Name,
    /// A field value, or the reason phrase, that does not matter.
    Value,
    LengthStart,
    Length,
    LengthEnd,
    ElementStart(List),
    Element(List),
    ElementEnd(List),
    LineLf,
    EndLf,
    Done,
    Failed(ResponseError),
}

/// How far a call of [`ResponseParser::consume`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseProgress {
    /// Bytes of the buffer, from its start, that belong to this head.
    pub consumed: usize,
    /// The head, if it ends after them. If not, they are the whole buffer.
    pub head: Option<ResponseHead>,
}

/// Reader of one response head that keeps none of its bytes: 24 bytes of plain data.
///
/// A head after an [interim](ResponseHead::interim) one is read by a new reader.
#[derive(Clone, Copy, Debug)]
pub struct ResponseParser {
    length: u64,
    /// Bytes that the head may still have.
    left: u32,
    status: u16,
    flags: u8,
    /// Bytes of the version and status code so far, at most 12.
    count: u8,
    /// The name or list element that is being read.
    word: WordReader,
    phase: Phase,
}

impl Default for ResponseParser {
    fn default() -> Self {
        Self::new()
    }
}

impl ResponseParser {
    /// A reader that has seen nothing.
    pub const fn new() -> Self {
        Self {
            length: 0,
            left: RESPONSE_HEAD_MAX,
            status: 0,
            flags: 0,
            count: 0,
            word: WordReader::new(),
            phase: Phase::StatusLine,
        }
    }

    /// Goes on through `buf`, whose first byte follows the last one consumed. Any division of the
    /// same bytes gives the same head or the same error. Behind the head nothing is consumed, and
    /// the head is given again.
    ///
    /// # Errors
    ///
    /// The rule that was broken; again by every later call.
    pub fn consume(&mut self, buf: &[u8]) -> Result<ResponseProgress, ResponseError> {
        let window = buf.get(..self.left as usize).unwrap_or(buf);
        let rest = match self.fast(window) {
            Ok(rest) if self.phase == Phase::Done => Ok(rest),
            Ok(rest) => self.advance(rest),
            Err(error) => Err(error),
        };
        let consumed = match rest {
            Ok(rest) => window.len().wrapping_sub(rest.len()),
            Err(error) => return Err(self.fail(error)),
        };
        if self.phase == Phase::Done {
            let head = Some(self.head());
            return Ok(ResponseProgress { consumed, head });
        }
        if consumed < buf.len() {
            return Err(self.fail(ResponseError::HeadTooLong));
        }
        self.left = self
            .left
            .saturating_sub(u32::try_from(consumed).unwrap_or(u32::MAX));
        Ok(ResponseProgress {
            consumed,
            head: None,
        })
    }

    /// Goes through what is usual at the start of a head: all of it, if it is whole in `buf`. Gives what is
    /// left.
    #[inline]
    fn fast<'a>(&mut self, buf: &'a [u8]) -> Result<&'a [u8], ResponseError> {
        let mut rest = buf;
        if self.phase == Phase::StatusLine && self.count == 0 {
            rest = self.whole_status_line(rest);
        }
        if self.phase == Phase::Line {
            rest = self.whole_lines(rest)?;
        }
        Ok(rest)
    }

    fn fail(&mut self, error: ResponseError) -> ResponseError {
        self.phase = Phase::Failed(error);
        error
    }

    const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    const fn head(&self) -> ResponseHead {
        let told = if self.has(CHUNKED) {
            Told::Chunked
        } else if self.has(CODED) {
            Told::Coded
        } else if self.has(LENGTH) {
            Told::Length(self.length)
        } else {
            Told::Nothing
        };
        ResponseHead {
            status: self.status,
            version: if self.has(HTTP11) {
                Version::Http11
            } else {
                Version::Http10
            },
            persistent: !self.has(CLOSE) && (self.has(HTTP11) || self.has(KEEP_ALIVE)),
            told,
        }
    }

    /// Gives what is left behind the head's end; before that, nothing is left.
    #[inline(never)]
    fn advance<'a>(&mut self, buf: &'a [u8]) -> Result<&'a [u8], ResponseError> {
        let mut rest = buf;
        loop {
            // What is whole in the buffer is not gone through byte by byte.
            let phase = self.phase;
            match phase {
                Phase::Done => return Ok(rest),
                Phase::Failed(error) => return Err(error),
                Phase::Line => rest = self.whole_lines(rest)?,
                Phase::Value => rest = self.end_plain(rest),
                Phase::Name | Phase::Element(_) => {
                    let tail = bytes::after_token(rest);
                    let length = rest.len().wrapping_sub(tail.len());
                    let token = rest.get(..length).unwrap_or_default();
                    self.word.read_all(token);
                    rest = tail;
                }
                _ => (),
            }
            if self.phase != phase {
                continue;
            }
            let Some((&byte, tail)) = rest.split_first() else {
                return Ok(rest);
            };
            rest = tail;
            self.phase = self.step(byte)?;
        }
    }

    /// Goes past a status line that is whole and right, at least up to its reason phrase.
    #[inline]
    fn whole_status_line<'a>(&mut self, buf: &'a [u8]) -> &'a [u8] {
        // Words and not slices are compared: that is one instruction.
        let Some((version, rest)) = buf.split_first_chunk::<8>() else {
            return buf;
        };
        let http11 = match u64::from_le_bytes(*version) {
            VERSION_11 => HTTP11,
            VERSION_10 => 0,
            _ => return buf,
        };
        if let Some((status, end)) = rest.split_first_chunk::<8>() {
            if u64::from_le_bytes(*status) == STATUS_OK && end.first() == Some(&b'\n') {
                self.flags |= http11;
                self.status = 200;
                self.phase = Phase::Line;
                return end.get(1..).unwrap_or_default();
            }
        }
        let [b' ', hundreds @ b'1'..=b'9', tens @ b'0'..=b'9', ones @ b'0'..=b'9', b' ', rest @ ..] =
            rest
        else {
            return buf;
        };
        self.flags |= http11;
        for digit in [hundreds, tens, ones] {
            self.see_status_digit(*digit);
        }
        self.end_plain(rest)
    }

    /// Goes past the rest of a value, or reason phrase, that does not matter, and past the end of its
    /// line if that is in the buffer too.
    fn end_plain<'a>(&mut self, buf: &'a [u8]) -> &'a [u8] {
        let rest = bytes::after_text(buf);
        let next = bytes::after_crlf(rest);
        self.phase = if next.is_some() {
            Phase::Line
        } else {
            Phase::Value
        };
        next.unwrap_or(rest)
    }

    /// Goes past the lines at the start of `buf` that are whole, and past the last one's end. What is
    /// not whole, not right or not usual is left to [`step`](Self::step).
    // Alone, its loops have enough registers: 100 instructions less for a head.
    #[inline(never)]
    fn whole_lines<'a>(&mut self, buf: &'a [u8]) -> Result<&'a [u8], ResponseError> {
        let mut line = buf;
        loop {
            let Some((name, value)) = whole_name(line) else {
                let Some(rest) = bytes::after_crlf(line) else {
                    return Ok(line);
                };
                self.phase = Phase::Done;
                return Ok(rest);
            };
            if name.is_none() {
                let rest = bytes::after_text(value);
                let Some(next) = bytes::after_crlf(rest) else {
                    self.phase = Phase::Value;
                    return Ok(rest);
                };
                line = next;
                continue;
            }
            self.phase = self.field(name)?;
            line = self.fast_value(value)?;
            if self.phase != Phase::Line {
                return Ok(line);
            }
        }
    }

    /// Goes past a value of a field that matters, and past the end of its line, if it is whole and
    /// one that servers usually send.
    fn fast_value<'a>(&mut self, buf: &'a [u8]) -> Result<&'a [u8], ResponseError> {
        let [b' ', value @ ..] = buf else {
            return Ok(buf);
        };
        let next = match self.phase {
            Phase::LengthStart => {
                let Some((length, next)) = fast_length(value) else {
                    return Ok(buf);
                };
                self.length = length;
                next
            }
            Phase::ElementStart(list) => {
                let Some((word, next)) = fast_element(value) else {
                    return Ok(buf);
                };
                self.element(list, Some(word))?;
                next
            }
            _ => return Ok(buf),
        };
        self.phase = Phase::Line;
        Ok(next)
    }

    /// Takes in one byte, whatever it belongs to.
    #[inline(never)]
    fn step(&mut self, byte: u8) -> Result<Phase, ResponseError> {
        match (self.phase, byte) {
            (Phase::LineLf, b'\n') => Ok(Phase::Line),
            (Phase::EndLf, b'\n') => Ok(Phase::Done),
            (Phase::LineLf | Phase::EndLf, _) => Err(ResponseError::BareCr),
            // A line feed alone ends a line too (RFC 9112, 2.2): programs that answer for a server by CGI send it, and all
            // clients read it.
            (Phase::StatusEnd | Phase::Value, b'\n') => Ok(Phase::Line),
            (Phase::Line, b'\n') => Ok(Phase::Done),
            (
                Phase::LengthStart
                | Phase::Length
                | Phase::LengthEnd
                | Phase::ElementStart(_)
                | Phase::Element(_)
                | Phase::ElementEnd(_),
                b'\n',
            ) => self.end_value().map(|_| Phase::Line),
            (Phase::StatusLine, b'\n') => Err(ResponseError::StatusLine),
            (Phase::Name, b'\n') => Err(ResponseError::MissingColon),
            (Phase::StatusLine, _) => self.status_line(byte),
            (Phase::StatusEnd, b' ') => Ok(Phase::Value),
            (Phase::StatusEnd, b'\r') => Ok(Phase::LineLf),
            (Phase::StatusEnd, b'0'..=b'9') => Err(ResponseError::Status),
            (Phase::StatusEnd, _) => Err(ResponseError::StatusLine),
            (Phase::Line, b'\r') => Ok(Phase::EndLf),
            (Phase::Line, b' ' | b'\t') => Err(ResponseError::ObsFold),
            (Phase::Line, b':') => Err(ResponseError::EmptyFieldName),
            (Phase::Line, _) => {
                self.word = WordReader::new();
                self.name(byte)
            }
            (Phase::Name, b':') => self.field(self.word.word()),
            (Phase::Name, _) => self.name(byte),
            (Phase::Value, b'\r') => Ok(Phase::LineLf),
            // RFC 9110, 5.5: what a control character does in a value may be left to its recipient,
            // unless it is one of those that end a line, or a string.
            (Phase::Value, b'\0') => Err(ResponseError::FieldValue),
            (Phase::Value, _) => Ok(Phase::Value),
            (_, b'\r') => self.end_value(),
            (
                Phase::ElementStart(List::Connection)
                | Phase::Element(List::Connection)
                | Phase::ElementEnd(List::Connection),
                1..,
            ) => self.list(List::Connection, byte),
            _ if !bytes::is_value(byte) => Err(ResponseError::FieldValue),
            (Phase::LengthStart | Phase::Length | Phase::LengthEnd, _) => self.length(byte),
            (Phase::ElementStart(list) | Phase::Element(list) | Phase::ElementEnd(list), _) => {
                self.list(list, byte)
            }
            (Phase::Done | Phase::Failed(_), _) => Ok(self.phase),
        }
    }

    fn status_line(&mut self, byte: u8) -> Result<Phase, ResponseError> {
        let at = self.count;
        self.count = at.saturating_add(1);
        match (at, byte) {
            (0..=6, _) if b"HTTP/1.".get(usize::from(at)) == Some(&byte) => (),
            (7, b'0') | (8, b' ') => (),
            (7, b'1') => self.flags |= HTTP11,
            (5 | 7, b'0'..=b'9') => return Err(ResponseError::VersionNotSupported),
            (0..=7, _) | (8, b'0'..=b'9') => return Err(ResponseError::Version),
            (8, _) => return Err(ResponseError::StatusLine),
            (9, b'1'..=b'9') | (10.., b'0'..=b'9') => self.see_status_digit(byte),
            _ => return Err(ResponseError::Status),
        }
        Ok(if at < 11 {
            Phase::StatusLine
        } else {
            Phase::StatusEnd
        })
    }

    fn see_status_digit(&mut self, digit: u8) {
        let value = u16::from(digit.wrapping_sub(b'0'));
        self.status = self.status.wrapping_mul(10).wrapping_add(value);
    }

    fn name(&mut self, byte: u8) -> Result<Phase, ResponseError> {
        match byte {
            _ if bytes::is_token(byte) => {
                self.word.read(byte);
                Ok(Phase::Name)
            }
            b' ' | b'\t' => Err(ResponseError::SpaceBeforeColon),
            b'\r' => Err(ResponseError::MissingColon),
            _ => Err(ResponseError::FieldName),
        }
    }

    /// What comes after the colon of a field with this name.
    fn field(&mut self, name: Option<Word>) -> Result<Phase, ResponseError> {
        match name {
            // RFC 9112, 6.3 lets a recipient accept equal numbers; no server needs it.
            Some(Word::ContentLength) if self.has(LENGTH) => {
                Err(ResponseError::RepeatedContentLength)
            }
            Some(Word::ContentLength) if self.has(CODED) => {
                Err(ResponseError::TransferEncodingAndContentLength)
            }
            Some(Word::ContentLength) => {
                self.flags |= LENGTH;
                Ok(Phase::LengthStart)
            }
            Some(Word::TransferEncoding) if self.has(LENGTH) => {
                Err(ResponseError::TransferEncodingAndContentLength)
            }
            Some(Word::TransferEncoding) if !self.has(HTTP11) => {
                Err(ResponseError::TransferEncodingInHttp10)
            }
            Some(Word::TransferEncoding) => {
                self.flags |= CODED;
                Ok(Phase::ElementStart(List::TransferEncoding))
            }
            Some(Word::Connection) => Ok(Phase::ElementStart(List::Connection)),
            _ => Ok(Phase::Value),
        }
    }

    /// At the carriage return behind the value of a field that matters.
    fn end_value(&mut self) -> Result<Phase, ResponseError> {
        match self.phase {
            Phase::LengthStart => return Err(ResponseError::ContentLength),
            Phase::ElementStart(List::TransferEncoding) => {
                return Err(ResponseError::TransferEncoding);
            }
            Phase::Element(list) => self.element(list, self.word.word())?,
            _ => (),
        }
        Ok(Phase::LineLf)
    }

    fn length(&mut self, byte: u8) -> Result<Phase, ResponseError> {
        match (self.phase, byte) {
            (Phase::LengthStart, b' ' | b'\t') => Ok(Phase::LengthStart),
            (Phase::LengthStart | Phase::Length, b'0'..=b'9') => {
                self.length = self
                    .length
                    .checked_mul(10)
                    .and_then(|length| length.checked_add(u64::from(byte.wrapping_sub(b'0'))))
                    .ok_or(ResponseError::ContentLengthOverflow)?;
                Ok(Phase::Length)
            }
            (_, b' ' | b'\t') => Ok(Phase::LengthEnd),
            _ => Err(ResponseError::ContentLength),
        }
    }

    /// Empty elements are allowed in Connection (RFC 9110, 5.6.1.2). In Transfer-Encoding they and
    /// parameters are refused: readers differ about both, and no coding in use has parameters.
    fn list(&mut self, list: List, byte: u8) -> Result<Phase, ResponseError> {
        match (self.phase, byte) {
            (Phase::ElementStart(_), b' ' | b'\t') => Ok(self.phase),
            (Phase::ElementStart(List::Connection), b',') => Ok(self.phase),
            (Phase::Element(_), b' ' | b'\t') => {
                self.element(list, self.word.word())?;
                Ok(Phase::ElementEnd(list))
            }
            (Phase::Element(_), b',') => {
                self.element(list, self.word.word())?;
                Ok(Phase::ElementStart(list))
            }
            (Phase::ElementEnd(_), b' ' | b'\t') => Ok(self.phase),
            (Phase::ElementEnd(_), b',') => Ok(Phase::ElementStart(list)),
            (Phase::ElementStart(_), _) if bytes::is_token(byte) => {
                self.word = WordReader::new();
                self.word.read(byte);
                Ok(Phase::Element(list))
            }
            // What is no list of tokens may mean "close": then nothing else can come on the connection.
            _ if list == List::Connection => {
                self.flags |= CLOSE;
                Ok(Phase::Value)
            }
            _ => Err(ResponseError::TransferEncoding),
        }
    }

    /// At the end of a list element.
    fn element(&mut self, list: List, word: Option<Word>) -> Result<(), ResponseError> {
        match (list, word) {
            (List::TransferEncoding, Some(Word::Chunked)) if self.has(CHUNKED) => {
                return Err(ResponseError::ChunkedTwice);
            }
            (List::TransferEncoding, Some(Word::Chunked)) => self.flags |= CHUNKED,
            (List::TransferEncoding, _) if self.has(CHUNKED) => {
                return Err(ResponseError::CodingAfterChunked);
            }
            (List::Connection, Some(Word::Close)) => self.flags |= CLOSE,
            (List::Connection, Some(Word::KeepAlive)) => self.flags |= KEEP_ALIVE,
            // A proxy before the client would remove it, and then read another response.
            (List::Connection, Some(Word::ContentLength)) => {
                return Err(ResponseError::ConnectionOption);
            }
            _ => (),
        }
        Ok(())
    }
}

/// The name that starts a line, and what comes after its colon; `None` if it is not whole in `buf`,
/// or not right.
#[inline]
fn whole_name(buf: &[u8]) -> Option<(Option<Word>, &[u8])> {
    if let Some(known) = names::known(buf) {
        return Some(known);
    }
    let [b':', value @ ..] = bytes::after_token(buf) else {
        return None;
    };
    let length = buf.len().wrapping_sub(value.len()).wrapping_sub(1);
    let is = |word| {
        buf.get(..length)
            .is_some_and(|name| bytes::is_word(name, word))
    };
    let word = match length {
        0 => return None,
        10 if is(b"connection") => Some(Word::Connection),
        14 if is(b"content-length") => Some(Word::ContentLength),
        17 if is(b"transfer-encoding") => Some(Word::TransferEncoding),
        _ => None,
    };
    Some((word, value))
}

/// A number of at most 19 digits, which fits, and what comes after its line.
fn fast_length(value: &[u8]) -> Option<(u64, &[u8])> {
    let mut length: u64 = 0;
    let mut rest = value;
    while let Some((digit @ b'0'..=b'9', tail)) = rest.split_first() {
        let digit = u64::from(digit.wrapping_sub(b'0'));
        length = length.wrapping_mul(10).wrapping_add(digit);
        rest = tail;
    }
    let digits = value.len().wrapping_sub(rest.len());
    match rest {
        [b'\r', b'\n', next @ ..] if matches!(digits, 1..=19) => Some((length, next)),
        _ => None,
    }
}

/// The only element of a list, and what comes after its line.
fn fast_element(value: &[u8]) -> Option<(Word, &[u8])> {
    for (word, text) in [
        (Word::KeepAlive, &b"keep-alive\r\n"[..]),
        (Word::Chunked, b"chunked\r\n"),
        (Word::Close, b"close\r\n"),
    ] {
        if let Some(next) = value.strip_prefix(text) {
            return Some((word, next));
        }
    }
    None
}
