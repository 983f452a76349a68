// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Where a message body ends (RFC 9112, 6 and 7.1).

mod record;

use core::fmt;

use super::bytes;
use super::words::Word;
use super::words::WordReader;
use super::Framing;

/// Longest extension part of one chunk-size line, in bytes from the first semicolon.
pub const EXTENSION_MAX: u32 = 1024;

/// Longest trailer section, in bytes, without the empty line that ends it.
pub const TRAILER_MAX: u32 = 8192;

/// A rule that a body broke. Where the message ends is not known, so the connection can only be
/// closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BodyError {
    /// A chunk that does not start with a hexadecimal digit.
    ChunkSize,
    /// More than 16 digits of size.
    ChunkSizeTooLong,
    /// A chunk extension that does not follow the grammar, or with white space in it in a request.
    ChunkExtension,
    /// Chunk extensions longer than [`EXTENSION_MAX`].
    ChunkExtensionTooLong,
    /// Chunk data that do not end where the size says.
    ChunkEnd,
    /// A line feed without a carriage return before it.
    BareLf,
    /// A carriage return without a line feed after it.
    BareCr,
    /// A folded trailer field.
    ObsFold,
    /// A trailer field's name is missing or no token, or followed by anything but its colon.
    TrailerName,
    /// A control character in a trailer field's value.
    TrailerValue,
    /// A trailer field of a request that says how long the message is, or whom it is for.
    TrailerForbidden,
    /// A trailer section longer than [`TRAILER_MAX`].
    TrailerTooLong,
}

impl BodyError {
    /// Status code of the response that the client is owed.
    pub const fn status(self) -> u16 {
        self.describe().0
    }

    /// The document and section that has the rule, as `RFC 9112, 7.1`.
    pub const fn rule(self) -> &'static str {
        self.describe().1
    }

    const fn describe(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::ChunkSize => (
                400,
                "RFC 9112, 7.1",
                "chunk size is not a hexadecimal number",
            ),
            Self::ChunkSizeTooLong => (400, "RFC 9112, 7.1", "chunk size has over 16 digits"),
            Self::ChunkExtension => (400, "RFC 9112, 7.1.1", "chunk extension is malformed"),
            Self::ChunkExtensionTooLong => (400, "RFC 9112, 7.1.1", "chunk extension is too long"),
            Self::ChunkEnd => (
                400,
                "RFC 9112, 7.1",
                "chunk data do not end where their size says",
            ),
            Self::BareLf => (400, "RFC 9112, 2.2", "line feed without carriage return"),
            Self::BareCr => (400, "RFC 9112, 2.2", "carriage return without line feed"),
            Self::ObsFold => (400, "RFC 9112, 5.2", "trailer field folded over lines"),
            Self::TrailerName => (400, "RFC 9112, 5.1", "name of trailer field is malformed"),
            Self::TrailerValue => (400, "RFC 9110, 5.5", "control character in trailer field"),
            Self::TrailerForbidden => (
                400,
                "RFC 9110, 6.5.1",
                "Host, Content-Length or Transfer-Encoding as trailer",
            ),
            Self::TrailerTooLong => (431, "RFC 6585, 5", "trailer section is too long"),
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, rule, text) = self.describe();
        write!(f, "{text} ({rule})")
    }
}

impl core::error::Error for BodyError {}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A body whose length was given.
    Counted,
    /// A chunk size of which nothing has been seen.
    SizeStart,
    Size,
    /// White space behind a size.
    SizePadding,
    SizeEnd,
    ExtensionNameStart,
    ExtensionName,
    /// White space behind the name.
    ExtensionNamePadding,
    ExtensionValueStart,
    ExtensionToken,
    ExtensionQuoted,
    ExtensionEscaped,
    ExtensionUnquoted,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
    Failed(BodyError),
}

/// How far a call of [`BodyTracker::consume`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the buffer, from its start, that belong to this body.
    pub consumed: usize,
    /// Whether the body ends after them. If not, they are the whole buffer.
    pub done: bool,
}

/// The bit of [`BodyTracker::count`] that tells a response: white space may stand around sizes and extensions, and any field
/// in the trailer section.
const PADDED: u8 = 1 << 7;

/// Follows a message body to its end without keeping any of it. Data are skipped by arithmetic; the
/// framing of chunks and the trailer section are checked byte by byte. 16 bytes of plain data.
#[derive(Clone, Copy, Debug)]
pub struct BodyTracker {
    /// Bytes of data still to come.
    left: u64,
    /// Bytes of the extensions or of the trailer section so far.
    section: u32,
    /// Digits of the size so far, at most 16; and [`PADDED`].
    count: u8,
    /// A trailer field's name so far.
    name: WordReader,
    state: State,
}

impl BodyTracker {
    /// At the first byte after a head with this framing.
    pub const fn new(framing: Framing) -> Self {
        let (left, state) = match framing {
            Framing::None | Framing::Length(0) => (0, State::Done),
            Framing::Length(length) => (length, State::Counted),
            Framing::Chunked => (0, State::SizeStart),
        };
        Self {
            left,
            section: 0,
            count: 0,
            name: WordReader::new(),
            state,
        }
    }

    /// The same for a response. White space behind a size and around the parts of an extension is read over
    /// (RFC 9112, 7.1.1): servers that write sizes into fields of fixed width send it, and nothing that is behind it can be
    /// taken for digits. In a request it is refused: the server that the bytes are for may not be as careful.
    pub const fn of_response(framing: Framing) -> Self {
        let mut tracker = Self::new(framing);
        tracker.count = PADDED;
        tracker
    }

    /// Whether the body has ended; true from the start if there is none.
    pub const fn done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Goes on through `buf`, whose first byte follows the last one consumed. Any division of the
    /// same bytes gives the same end or the same error.
    ///
    /// # Errors
    ///
    /// The rule that was broken; again by every later call.
    pub fn consume(&mut self, buf: &[u8]) -> Result<Progress, BodyError> {
        let mut rest = buf;
        loop {
            let framing = self.framing(rest)?;
            rest = rest.get(framing..).unwrap_or_default();
            if rest.is_empty() || self.done() {
                break;
            }
            // A usize has at most 64 bits.
            let length = u64::try_from(rest.len()).unwrap_or(u64::MAX);
            let skipped = usize::try_from(self.skip(length)).unwrap_or(usize::MAX);
            rest = rest.get(skipped..).unwrap_or_default();
        }
        let consumed = buf.len().wrapping_sub(rest.len());
        Ok(Progress {
            consumed,
            done: self.done(),
        })
    }

    /// Goes on through the framing that `buf` begins with: to the next byte of data, to the body's end, or to the buffer's.
    /// Gives how many bytes that are.
    ///
    /// # Errors
    ///
    /// As of [`consume`](Self::consume).
    pub fn framing(&mut self, buf: &[u8]) -> Result<usize, BodyError> {
        self.walk(buf, false)
    }

    /// The same, but it stops at the first byte of the trailer section too.
    ///
    /// # Errors
    ///
    /// As of [`consume`](Self::consume).
    pub fn framing_to_trailers(&mut self, buf: &[u8]) -> Result<usize, BodyError> {
        self.walk(buf, true)
    }

    /// Whether the next byte belongs to the trailer section, or to the empty line at its end.
    pub const fn in_trailers(&self) -> bool {
        matches!(
            self.state,
            State::TrailerStart
                | State::TrailerName
                | State::TrailerValue
                | State::TrailerLf
                | State::EndLf
        )
    }

    fn walk(&mut self, buf: &[u8], to_trailers: bool) -> Result<usize, BodyError> {
        let mut rest = buf;
        let stops = to_trailers && !self.in_trailers();
        loop {
            match self.state {
                State::Counted | State::Data | State::Done => break,
                State::TrailerStart if stops => break,
                State::Failed(error) => return Err(error),
                state => {
                    let Some((&byte, tail)) = rest.split_first() else {
                        break;
                    };
                    rest = tail;
                    self.state = self.step(state, byte).unwrap_or_else(State::Failed);
                }
            }
        }
        Ok(buf.len().wrapping_sub(rest.len()))
    }

    /// Bytes of data that come before the next byte of framing, or before the body's end; 0 where
    /// the next byte is framing, and behind the end. They need not be seen: [`skip`](Self::skip).
    pub const fn skippable(&self) -> u64 {
        match self.state {
            State::Counted | State::Data => self.left,
            _ => 0,
        }
    }

    /// Goes past the next `length` bytes without having them, but past no byte of framing. Leaves
    /// what [`consume`](Self::consume) would leave if it were given the bytes, and gives how many
    /// they were: `length` or [`skippable`](Self::skippable), whichever is less.
    pub fn skip(&mut self, length: u64) -> u64 {
        let after = match self.state {
            State::Counted => State::Done,
            State::Data => State::DataCr,
            _ => return 0,
        };
        let skipped = self.left.min(length);
        self.left = self.left.wrapping_sub(skipped);
        if self.left == 0 {
            self.state = after;
        }
        skipped
    }

    fn step(&mut self, state: State, byte: u8) -> Result<State, BodyError> {
        match state {
            State::SizeStart | State::Size | State::SizePadding => self.size(state, byte),
            State::SizeEnd => match (byte, self.left) {
                (b'\n', 0) => {
                    self.section = 0;
                    Ok(State::TrailerStart)
                }
                (b'\n', _) => Ok(State::Data),
                _ => Err(BodyError::BareCr),
            },
            State::DataCr if byte == b'\r' => Ok(State::DataLf),
            State::DataCr => Err(BodyError::ChunkEnd),
            State::DataLf if byte == b'\n' => {
                self.count &= PADDED;
                Ok(State::SizeStart)
            }
            State::DataLf => Err(BodyError::ChunkEnd),
            State::TrailerStart | State::TrailerName | State::TrailerValue | State::TrailerLf => {
                self.trailer(state, byte)
            }
            State::EndLf if byte == b'\n' => Ok(State::Done),
            State::EndLf => Err(BodyError::BareCr),
            _ => self.extension(state, byte),
        }
    }

    fn size(&mut self, state: State, byte: u8) -> Result<State, BodyError> {
        let digit = match byte {
            b' ' | b'\t' if state != State::SizeStart && self.is_padded() => {
                return self.padding(State::SizePadding);
            }
            b'\n' => return Err(BodyError::BareLf),
            b'\r' if state != State::SizeStart => return Ok(State::SizeEnd),
            b';' if state != State::SizeStart => {
                self.section = 0;
                return Ok(State::ExtensionNameStart);
            }
            _ if state == State::SizePadding => return Err(BodyError::ChunkSize),
            b'0'..=b'9' => byte.wrapping_sub(b'0'),
            b'a'..=b'f' => byte.wrapping_sub(b'a').wrapping_add(10),
            b'A'..=b'F' => byte.wrapping_sub(b'A').wrapping_add(10),
            _ => return Err(BodyError::ChunkSize),
        };
        // 16 digits are 64 bits.
        if self.count & !PADDED >= 16 {
            return Err(BodyError::ChunkSizeTooLong);
        }
        self.count = self.count.wrapping_add(1);
        self.left = self.left.wrapping_shl(4) | u64::from(digit);
        Ok(State::Size)
    }

    const fn is_padded(&self) -> bool {
        self.count & PADDED != 0
    }

    /// One byte of white space, after which comes this.
    const fn padding(&mut self, then: State) -> Result<State, BodyError> {
        self.section = self.section.saturating_add(1);
        if self.section >= EXTENSION_MAX {
            return Err(BodyError::ChunkExtensionTooLong);
        }
        Ok(then)
    }

    /// RFC 9112, 7.1.1. The white space that its grammar tolerates around `;` and `=` is refused in requests:
    /// readers differ about where a size followed by white space ends.
    fn extension(&mut self, state: State, byte: u8) -> Result<State, BodyError> {
        let quoted = matches!(state, State::ExtensionQuoted | State::ExtensionEscaped);
        if matches!(byte, b' ' | b'\t') && !quoted && self.is_padded() {
            return self.padding(match state {
                State::ExtensionName => State::ExtensionNamePadding,
                State::ExtensionToken => State::ExtensionUnquoted,
                state => state,
            });
        }
        self.section = self.section.saturating_add(1);
        match (state, byte) {
            (_, b'\n') => Err(BodyError::BareLf),
            (
                State::ExtensionName
                | State::ExtensionNamePadding
                | State::ExtensionToken
                | State::ExtensionUnquoted,
                b'\r',
            ) => Ok(State::SizeEnd),
            _ if self.section >= EXTENSION_MAX => Err(BodyError::ChunkExtensionTooLong),
            (
                State::ExtensionName
                | State::ExtensionNamePadding
                | State::ExtensionToken
                | State::ExtensionUnquoted,
                b';',
            ) => Ok(State::ExtensionNameStart),
            (State::ExtensionName | State::ExtensionNamePadding, b'=') => {
                Ok(State::ExtensionValueStart)
            }
            (State::ExtensionNameStart | State::ExtensionName, _) if bytes::is_token(byte) => {
                Ok(State::ExtensionName)
            }
            (State::ExtensionValueStart, b'"') => Ok(State::ExtensionQuoted),
            (State::ExtensionValueStart | State::ExtensionToken, _) if bytes::is_token(byte) => {
                Ok(State::ExtensionToken)
            }
            (State::ExtensionQuoted, b'"') => Ok(State::ExtensionUnquoted),
            (State::ExtensionQuoted, b'\\') => Ok(State::ExtensionEscaped),
            _ if quoted && bytes::is_value(byte) => Ok(State::ExtensionQuoted),
            _ => Err(BodyError::ChunkExtension),
        }
    }

    fn trailer(&mut self, state: State, byte: u8) -> Result<State, BodyError> {
        if state == State::TrailerStart && byte == b'\r' {
            return Ok(State::EndLf);
        }
        self.section = self.section.saturating_add(1);
        if self.section > TRAILER_MAX {
            return Err(BodyError::TrailerTooLong);
        }
        match (state, byte) {
            (State::TrailerLf, b'\n') => Ok(State::TrailerStart),
            (State::TrailerLf, _) => Err(BodyError::BareCr),
            (_, b'\n') => Err(BodyError::BareLf),
            (State::TrailerStart, b' ' | b'\t') => Err(BodyError::ObsFold),
            (State::TrailerStart, _) if bytes::is_token(byte) => {
                self.name = WordReader::new();
                self.name.read(byte);
                Ok(State::TrailerName)
            }
            (State::TrailerName, _) if bytes::is_token(byte) => {
                self.name.read(byte);
                Ok(State::TrailerName)
            }
            (State::TrailerName, b':') if self.forbidden() => Err(BodyError::TrailerForbidden),
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerStart | State::TrailerName, _) => Err(BodyError::TrailerName),
            (_, b'\r') => Ok(State::TrailerLf),
            _ if bytes::is_value(byte) => Ok(State::TrailerValue),
            _ => Err(BodyError::TrailerValue),
        }
    }

    /// Whether a recipient that merged the trailer field of a request into its head would read another message.
    fn forbidden(&self) -> bool {
        !self.is_padded()
            && matches!(
                self.name.word(),
                Some(Word::Host | Word::ContentLength | Word::TransferEncoding)
            )
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
