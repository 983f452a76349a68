// SPDX-License-Identifier: GPL-2.0 OR MIT
//! How far a body has been followed, as a record says it.

use super::BodyTracker;
use super::State;
use super::EXTENSION_MAX;
use super::PADDED;
use super::TRAILER_MAX;
use crate::http1::words::WordReader;
use crate::record::code_of;
use crate::record::ImportError;
use crate::record::Reader;
use crate::record::Writer;

/// Where a body may be that has not ended, by the codes of a record.
const STATES: [State; 21] = [
    State::Counted,
    State::SizeStart,
    State::Size,
    State::SizePadding,
    State::SizeEnd,
    State::ExtensionNameStart,
    State::ExtensionName,
    State::ExtensionNamePadding,
    State::ExtensionValueStart,
    State::ExtensionToken,
    State::ExtensionQuoted,
    State::ExtensionEscaped,
    State::ExtensionUnquoted,
    State::Data,
    State::DataCr,
    State::DataLf,
    State::TrailerStart,
    State::TrailerName,
    State::TrailerValue,
    State::TrailerLf,
    State::EndLf,
];

impl BodyTracker {
    /// Writes a body that has not ended: 6 to 20 bytes.
    pub(crate) fn export(&self, to: &mut Writer<'_>) {
        to.byte(code_of(&STATES, &self.state));
        to.number(self.left);
        to.number(u64::from(self.section));
        to.byte(self.count);
        self.name.export(to);
    }

    /// Reads it.
    pub(crate) fn import(from: &mut Reader<'_>) -> Result<Self, ImportError> {
        let state = from.code(&STATES, "a body's state")?;
        let tracker = Self {
            left: from.number()?,
            section: from.small("a section")?,
            count: from.byte()?,
            name: WordReader::import(from)?,
            state,
        };
        if tracker.left == 0 && matches!(state, State::Counted | State::Data) {
            return Err(ImportError::Field("data of no bytes"));
        }
        if tracker.section > EXTENSION_MAX.max(TRAILER_MAX) {
            return Err(ImportError::Field("a section's length"));
        }
        if tracker.count & !PADDED > 16 {
            return Err(ImportError::Field("a size's digits"));
        }
        Ok(tracker)
    }
}
