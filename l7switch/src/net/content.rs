// SPDX-License-Identifier: MIT
//! Content as it comes in: where it ends, and which bytes of it are data.

use std::ops::Range;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use l7switch_engine::http1::BodyError;
use l7switch_engine::http1::BodyTracker;
use l7switch_engine::http1::Framing;
use l7switch_engine::http1::ResponseBody;

/// The field of a line, with its end.
pub fn field(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let mut parts = line.splitn(2, |byte| *byte == b':');
    let name = HeaderName::from_bytes(parts.next()?).ok()?;
    let value = HeaderValue::from_bytes(parts.next()?.trim_ascii()).ok()?;
    Some((name, value))
}

/// Takes content out of its framing.
#[derive(Debug)]
pub struct Decoder {
    /// Absent: it ends with the connection.
    tracker: Option<BodyTracker>,
    /// The lines of the trailer section, and the empty one at its end, as far as they have come.
    trailers: Vec<u8>,
}

/// What was found in a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes that belong to the content, from the piece's start.
    pub length: usize,
    /// Where its data stand now.
    pub data: Range<usize>,
    /// The content ends behind them.
    pub ended: bool,
}

impl Decoder {
    /// Of a request's content.
    pub const fn of_request(framing: Framing) -> Self {
        Self {
            tracker: Some(BodyTracker::new(framing)),
            trailers: Vec::new(),
        }
    }

    /// Of a response's.
    pub fn of_response(body: ResponseBody) -> Self {
        Self {
            tracker: body.framing().map(BodyTracker::of_response),
            trailers: Vec::new(),
        }
    }

    /// Whether it ends with the connection.
    pub const fn ends_with_connection(&self) -> bool {
        self.tracker.is_none()
    }

    /// Bytes of data that come next for sure.
    pub fn next_data(&self) -> u64 {
        self.tracker.as_ref().map_or(0, BodyTracker::skippable)
    }

    /// So many bytes of data have passed that were not seen.
    pub fn skip(&mut self, length: u64) {
        if let Some(tracker) = &mut self.tracker {
            tracker.skip(length);
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.tracker.as_ref().is_some_and(BodyTracker::done)
    }

    /// The lines of the trailer section, once the content has ended.
    pub fn trailers(&self) -> &[u8] {
        self.trailers.strip_suffix(b"\r\n").unwrap_or_default()
    }

    /// The same as a map; lines that are no fields are left out.
    pub fn trailer_map(&self) -> HeaderMap {
        let lines = self.trailers().split_inclusive(|byte| *byte == b'\n');
        lines.filter_map(field).collect()
    }

    /// Goes through the next piece, and moves its data together.
    ///
    /// # Errors
    ///
    /// The framing breaks a rule.
    pub fn decode(&mut self, piece: &mut [u8]) -> Result<Decoded, BodyError> {
        let Some(tracker) = &mut self.tracker else {
            return Ok(Decoded {
                length: piece.len(),
                data: 0..piece.len(),
                ended: false,
            });
        };
        let mut at = 0_usize;
        let mut data = 0..0;
        while at < piece.len() && !tracker.done() {
            let left = piece.len().saturating_sub(at);
            let skipped = tracker.skip(u64::try_from(left).unwrap_or(u64::MAX));
            // It is at most `left`.
            let skipped = usize::try_from(skipped).unwrap_or(left);
            if skipped > 0 {
                let end = at.saturating_add(skipped);
                if data.is_empty() {
                    data = at..end;
                } else {
                    if data.end < at {
                        piece.copy_within(at..end, data.end);
                    }
                    data.end = data.end.saturating_add(skipped);
                }
                at = end;
                continue;
            }
            let rest = piece.get(at..).unwrap_or_default();
            let in_trailers = tracker.in_trailers();
            let passed = tracker.framing_to_trailers(rest)?;
            if in_trailers {
                let lines = rest.get(..passed).unwrap_or_default();
                self.trailers.extend_from_slice(lines);
            }
            at = at.saturating_add(passed);
        }
        Ok(Decoded {
            length: at,
            data,
            ended: tracker.done(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data, the trailer lines, how many bytes are content, and whether it has ended.
    type Whole = (String, String, usize, bool);

    fn decode(decoder: &mut Decoder, pieces: &[&[u8]]) -> Result<Whole, BodyError> {
        let (mut data, mut length, mut ended) = (Vec::new(), 0, false);
        for piece in pieces {
            let mut piece = piece.to_vec();
            let decoded = decoder.decode(&mut piece)?;
            data.extend_from_slice(&piece[decoded.data]);
            length += decoded.length;
            ended = decoded.ended;
        }
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Ok((text(&data), text(decoder.trailers()), length, ended))
    }

    fn of(body: ResponseBody, pieces: &[&str]) -> Result<Whole, BodyError> {
        let pieces: Vec<_> = pieces.iter().map(|piece| piece.as_bytes()).collect();
        decode(&mut Decoder::of_response(body), &pieces)
    }

    fn whole(data: &str, trailers: &str, length: usize, ended: bool) -> Result<Whole, BodyError> {
        Ok((data.to_owned(), trailers.to_owned(), length, ended))
    }

    #[test]
    fn its_end_is_found() {
        use ResponseBody as Body;
        assert_eq!(of(Body::None, &["HTTP"]), whole("", "", 0, true));
        assert_eq!(
            of(Body::Length(5), &["abc", "deHTTP"]),
            whole("abcde", "", 5, true)
        );
        assert_eq!(of(Body::Length(5), &["abc"]), whole("abc", "", 3, false));
        assert_eq!(
            of(Body::UntilClose, &["ab", "c"]),
            whole("abc", "", 3, false)
        );
        let bad = of(Body::Chunked, &["3\r\nabcd"]);
        assert_eq!(bad, Err(BodyError::ChunkEnd));
    }

    #[test]
    fn chunks_cut_anywhere_give_the_same_data() {
        let text = "3;x=y\r\nabc\r\n1 \r\nd\r\n10\r\n0123456789abcdef\r\n0\r\nX-A: b\r\nX-C: d\r\n\r\nHTTP";
        let expected = whole(
            "abcd0123456789abcdef",
            "X-A: b\r\nX-C: d\r\n",
            text.len() - 4,
            true,
        );
        assert_eq!(of(ResponseBody::Chunked, &[text]), expected);
        for first in 0..text.len() {
            for second in first..text.len() {
                let cut = [&text[..first], &text[first..second], &text[second..]];
                assert_eq!(of(ResponseBody::Chunked, &cut), expected);
            }
        }
    }

    #[test]
    fn padding_is_for_responses_alone() {
        let mut decoder = Decoder::of_request(Framing::Chunked);
        let padded = decode(&mut decoder, &[b"1 \r\na\r\n0\r\n\r\n"]);
        assert_eq!(padded, Err(BodyError::ChunkSize));
        let mut decoder = Decoder::of_request(Framing::Chunked);
        let plain = decode(&mut decoder, &[b"1\r\na\r\n0\r\n\r\n"]);
        assert_eq!(plain, whole("a", "", 11, true));
    }
}
