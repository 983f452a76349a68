// SPDX-License-Identifier: MIT
//! A response's content as it passes: where it ends, how many bytes of it are data, and chunks where its end is that of
//! the connection.

use std::io::Write as _;

use l7switch_engine::http1::BodyError;
use l7switch_engine::http1::BodyTracker;
use l7switch_engine::http1::ResponseBody as Follows;

/// Content on its way.
#[derive(Debug)]
pub(super) enum Content {
    /// Its end is told by its bytes.
    Framed(BodyTracker),
    /// It ends with the server's connection; the client gets it in chunks.
    UntilClose {
        /// A chunk was begun, and its end not written.
        open: bool,
    },
}

/// What was found of it in a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Bytes that belong to it, from the piece's start.
    pub(super) length: usize,
    /// Bytes of them that are data.
    pub(super) data: u64,
    /// It ends behind them.
    pub(super) ended: bool,
}

impl Content {
    /// What follows a response's head.
    pub(super) fn new(follows: Follows) -> Self {
        match follows.framing() {
            Some(framing) => Self::Framed(BodyTracker::new(framing)),
            None => Self::UntilClose { open: false },
        }
    }

    /// Looks at the next piece.
    ///
    /// # Errors
    ///
    /// The framing breaks a rule.
    pub(super) fn look(&mut self, piece: &[u8]) -> Result<Found, BodyError> {
        let Self::Framed(tracker) = self else {
            return Ok(Found {
                length: piece.len(),
                data: wide(piece.len()),
                ended: false,
            });
        };
        let mut rest = piece;
        let mut data = 0_u64;
        while !rest.is_empty() && !tracker.done() {
            let skipped = tracker.skip(wide(rest.len()));
            data = data.saturating_add(skipped);
            let passed = match usize::try_from(skipped) {
                Ok(0) | Err(_) => tracker.framing(rest)?,
                Ok(skipped) => skipped,
            };
            rest = rest.get(passed..).unwrap_or_default();
        }
        Ok(Found {
            length: piece.len().saturating_sub(rest.len()),
            data,
            ended: tracker.done(),
        })
    }

    /// Writes what stands before so many bytes of data.
    pub(super) fn before(&mut self, data: usize, out: &mut Vec<u8>) {
        if let Self::UntilClose { open } = self
            && data > 0
        {
            let end = if *open { "\r\n" } else { "" };
            // A vector takes everything.
            let _ = write!(out, "{end}{data:x}\r\n");
            *open = true;
        }
    }

    /// Writes what stands behind all data, where the server's connection has ended. `false`: something is missing.
    pub(super) fn end(&self, out: &mut Vec<u8>) -> bool {
        let Self::UntilClose { open } = self else {
            return false;
        };
        out.extend_from_slice(if *open {
            b"\r\n0\r\n\r\n"
        } else {
            b"0\r\n\r\n"
        });
        true
    }
}

fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use l7switch_engine::http1::BodyError;

    fn look(follows: Follows, pieces: &[&str]) -> Result<(usize, u64, bool), BodyError> {
        let mut content = Content::new(follows);
        let mut all = (0, 0, false);
        for piece in pieces {
            let found = content.look(piece.as_bytes())?;
            all = (all.0 + found.length, all.1 + found.data, found.ended);
        }
        Ok(all)
    }

    #[test]
    fn its_end_is_found() {
        assert_eq!(look(Follows::None, &["HTTP"]), Ok((0, 0, true)));
        assert_eq!(
            look(Follows::Length(5), &["abc", "de", "HTTP"]),
            Ok((5, 5, true))
        );
        assert_eq!(look(Follows::Length(5), &["abcdeHTTP"]), Ok((5, 5, true)));
        assert_eq!(look(Follows::Length(5), &["abc"]), Ok((3, 3, false)));
        let chunks = "3;x=y\r\nabc\r\n0\r\nx-a: b\r\n\r\nHTTP";
        assert_eq!(
            look(Follows::Chunked, &[chunks]),
            Ok((chunks.len() - 4, 3, true))
        );
        for at in 0..chunks.len() - 4 {
            let (a, b) = chunks.split_at(at);
            assert_eq!(
                look(Follows::Chunked, &[a, b]),
                Ok((chunks.len() - 4, 3, true))
            );
        }
        assert_eq!(
            look(Follows::Chunked, &["3\r\nabcd"]),
            Err(BodyError::ChunkEnd)
        );
        assert_eq!(look(Follows::UntilClose, &["ab", "c"]), Ok((3, 3, false)));
    }

    #[test]
    fn what_has_no_end_is_put_into_chunks() {
        let mut content = Content::new(Follows::UntilClose);
        let mut out = Vec::new();
        for piece in ["", "abc", "0123456789abcdef"] {
            content.before(piece.len(), &mut out);
            out.extend_from_slice(piece.as_bytes());
        }
        assert!(content.end(&mut out));
        assert_eq!(out, b"3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n");
        out.clear();
        assert!(Content::new(Follows::UntilClose).end(&mut out));
        assert_eq!(out, b"0\r\n\r\n");
        assert!(!Content::new(Follows::Length(3)).end(&mut out));
    }
}
