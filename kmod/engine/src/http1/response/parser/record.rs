// SPDX-License-Identifier: GPL-2.0 OR MIT
//! How far a response's head has been read, as a record says it.

use super::List;
use super::Phase;
use super::ResponseParser;
use super::RESPONSE_HEAD_MAX;
use crate::http1::words::WordReader;
use crate::record::code_of;
use crate::record::ImportError;
use crate::record::Reader;
use crate::record::Writer;

/// Where a head may be that has not ended, by the codes of a record.
const PHASES: [Phase; 16] = [
    Phase::StatusLine,
    Phase::StatusEnd,
    Phase::Line,
    Phase::Name,
    Phase::Value,
    Phase::LengthStart,
    Phase::Length,
    Phase::LengthEnd,
    Phase::ElementStart(List::Connection),
    Phase::ElementStart(List::TransferEncoding),
    Phase::Element(List::Connection),
    Phase::Element(List::TransferEncoding),
    Phase::ElementEnd(List::Connection),
    Phase::ElementEnd(List::TransferEncoding),
    Phase::LineLf,
    Phase::EndLf,
];
/// Bytes of a version and status code.
const STATUS_LINE: u8 = 12;
/// Above every status code.
const STATUS_END: u16 = 1000;

impl ResponseParser {
    /// Writes how far a head has been read that has not ended: 10 to 21 bytes.
    pub(crate) fn export(&self, to: &mut Writer<'_>) {
        to.byte(code_of(&PHASES, &self.phase));
        to.number(self.length);
        to.number(u64::from(RESPONSE_HEAD_MAX.saturating_sub(self.left)));
        to.half(self.status);
        to.bytes(&[self.flags, self.count]);
        self.word.export(to);
    }

    /// Reads it.
    pub(crate) fn import(from: &mut Reader<'_>) -> Result<Self, ImportError> {
        let phase = from.code(&PHASES, "a head's state")?;
        let length = from.number()?;
        let read: u32 = from.small("a head's length")?;
        let left = RESPONSE_HEAD_MAX
            .checked_sub(read)
            .ok_or(ImportError::Field("a head's length"))?;
        let status = from.half()?;
        let (flags, count) = (from.byte()?, from.byte()?);
        if status >= STATUS_END || count > STATUS_LINE {
            return Err(ImportError::Field("a status"));
        }
        Ok(Self {
            length,
            left,
            status,
            flags,
            count,
            word: WordReader::import(from)?,
            phase,
        })
    }
}
