// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A body ends at the same byte however it is divided. The first byte is the length of the pieces,
//! the second chooses the framing.
#![no_main]

use l7switch_engine::http1::BodyError;
use l7switch_engine::http1::BodyTracker;
use l7switch_engine::http1::Framing;
use libfuzzer_sys::fuzz_target;

fn track(framing: Framing, body: &[u8], piece: usize) -> Result<(usize, bool), BodyError> {
    let mut tracker = BodyTracker::new(framing);
    let mut consumed = 0;
    for part in body.chunks(piece) {
        let progress = tracker.consume(part)?;
        assert!(progress.consumed <= part.len());
        assert!(progress.done || progress.consumed == part.len());
        assert_eq!(progress.done, tracker.done());
        consumed += progress.consumed;
    }
    Ok((consumed, tracker.done()))
}

/// The same with data skipped unseen, at most `piece` bytes at a time.
fn leap(framing: Framing, body: &[u8], piece: usize) -> Result<(usize, bool), BodyError> {
    let mut tracker = BodyTracker::new(framing);
    let mut at = 0;
    while at < body.len() && !tracker.done() {
        let length = piece.min(body.len() - at);
        match usize::try_from(tracker.skip(length as u64)).unwrap() {
            0 => at += tracker.consume(&body[at..at + length])?.consumed,
            skipped => at += skipped,
        }
    }
    Ok((at, tracker.done()))
}

fuzz_target!(|data: &[u8]| {
    let Some((&[piece, kind], body)) = data.split_first_chunk::<2>() else {
        return;
    };
    let framing = match kind {
        0 => Framing::None,
        1..128 => Framing::Length(u64::from(kind)),
        _ => Framing::Chunked,
    };
    let whole = track(framing, body, body.len().max(1));
    assert_eq!(track(framing, body, 1), whole);
    assert_eq!(track(framing, body, usize::from(piece).max(1)), whole);
    assert_eq!(leap(framing, body, 1), whole);
    assert_eq!(leap(framing, body, usize::from(piece).max(1)), whole);
    match (framing, whole) {
        (Framing::None, whole) => assert_eq!(whole, Ok((0, true))),
        (Framing::Length(length), whole) => {
            let length = usize::try_from(length).unwrap();
            assert_eq!(whole, Ok((length.min(body.len()), length <= body.len())));
        }
        (Framing::Chunked, Ok((consumed, true))) => assert!(body[..consumed].ends_with(b"\r\n")),
        (Framing::Chunked, _) => (),
    }
});
