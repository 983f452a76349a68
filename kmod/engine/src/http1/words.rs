// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The few words that the framing of a message depends on, told from all others byte by byte.

use crate::record::ImportError;
use crate::record::Reader;
use crate::record::Writer;

/// A field name, transfer coding or connection option that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Chunked,
    Close,
    Connection,
    ContentLength,
    Host,
    KeepAlive,
    TransferEncoding,
}

/// Every word in lower case, sorted, and how many bytes the next one has in common with it.
const WORDS: [(Word, &[u8], u8); 7] = [
    (Word::Chunked, b"chunked", 1),
    (Word::Close, b"close", 1),
    (Word::Connection, b"connection", 3),
    (Word::ContentLength, b"content-length", 0),
    (Word::Host, b"host", 0),
    (Word::KeepAlive, b"keep-alive", 0),
    (Word::TransferEncoding, b"transfer-encoding", 0),
];

/// Compares a word with all of [`WORDS`] at once as its bytes come, and keeps none of them.
///
/// # Invariants
///
/// The first `at` bytes of the word are those of `WORDS[candidate]`, and no earlier entry starts
/// with all that has been read. Where there is no such candidate, no entry starts with it.
#[derive(Clone, Copy, Debug)]
pub(super) struct WordReader {
    candidate: u8,
    at: u8,
}

impl WordReader {
    /// Before the first byte.
    pub(super) const fn new() -> Self {
        Self {
            candidate: 0,
            at: 0,
        }
    }

    /// Takes in the next byte, in either case.
    pub(super) fn read(&mut self, byte: u8) {
        let byte = byte.to_ascii_lowercase();
        while let Some((_, text, shared)) = WORDS.get(usize::from(self.candidate)) {
            if text.get(usize::from(self.at)) == Some(&byte) {
                self.at = self.at.wrapping_add(1);
                return;
            }
            // INVARIANT: they are sorted, so if the next one does not start with what was read
            // before this byte, none of the others does.
            self.candidate = if *shared < self.at {
                u8::MAX
            } else {
                self.candidate.wrapping_add(1)
            };
        }
    }

    /// Takes in the next bytes.
    pub(super) fn read_all(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.read(byte);
        }
    }

    /// Which of the words has been read, if no byte follows.
    pub(super) fn word(self) -> Option<Word> {
        let (word, text, _) = WORDS.get(usize::from(self.candidate))?;
        (text.len() == usize::from(self.at)).then_some(*word)
    }

    /// Writes how far a word has been compared: two bytes.
    pub(super) fn export(self, to: &mut Writer<'_>) {
        to.bytes(&[self.candidate, self.at]);
    }

    /// Reads it.
    pub(super) fn import(from: &mut Reader<'_>) -> Result<Self, ImportError> {
        let (candidate, at) = (from.byte()?, from.byte()?);
        let text = WORDS.get(usize::from(candidate));
        if text.is_some_and(|(_, text, _)| usize::from(at) > text.len()) {
            return Err(ImportError::Field("a word"));
        }
        Ok(Self { candidate, at })
    }
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use proptest::prelude::*;

    use super::*;

    fn read(text: &[u8]) -> Option<Word> {
        let mut reader = WordReader::new();
        for &byte in text {
            reader.read(byte);
        }
        reader.word()
    }

    fn find(text: &[u8]) -> Option<Word> {
        let found = WORDS
            .iter()
            .find(|(_, word, _)| word.eq_ignore_ascii_case(text));
        found.map(|(word, _, _)| *word)
    }

    #[test]
    fn words_are_sorted_and_what_they_share_is_right() {
        for pair in WORDS.windows(2) {
            let [(_, one, shared), (_, next, _)] = pair else {
                unreachable!()
            };
            assert!(one < next);
            let common = one.iter().zip(*next).take_while(|(a, b)| a == b).count();
            assert_eq!(
                usize::from(*shared),
                common,
                "{:?}",
                std::str::from_utf8(one)
            );
        }
    }

    #[test]
    fn words_are_told_from_all_that_are_nearly_one() {
        assert_eq!(read(b""), None);
        for (word, text, _) in WORDS {
            assert_eq!(read(text), Some(word));
            assert_eq!(read(&text.to_ascii_uppercase()), Some(word));
            for at in 0..text.len() {
                assert_eq!(read(&text[..at]), find(&text[..at]));
                for byte in 0..=u8::MAX {
                    let mut other = text.to_vec();
                    other[at] = byte;
                    assert_eq!(read(&other), find(&other));
                    other.insert(at, text[at]);
                    assert_eq!(read(&other), find(&other));
                }
            }
        }
        assert_eq!(read(&[b'c'; 1000]), None);
    }

    proptest! {
        #[test]
        fn a_reader_is_a_comparison(
            text in "(c|ch|cl|co|con|cont|h|k|t|trans)?(hunked|lose|nnection|nection|ent-length|ost|eep-alive|fer-encoding|[a-z-]{0,4})",
        ) {
            let text = String::into_bytes(text);
            prop_assert_eq!(read(&text), find(&text));
        }
    }
}
