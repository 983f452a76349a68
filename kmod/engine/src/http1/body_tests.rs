// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Tests of the end of a body.

use std::format;
use std::string::String;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

/// What comes out if the bytes are handed over in pieces of these lengths, over and over.
fn track(framing: Framing, mut buf: &[u8], pieces: &[usize]) -> Result<Progress, BodyError> {
    let mut tracker = BodyTracker::new(framing);
    let mut total: usize = 0;
    for &piece in pieces.iter().cycle() {
        let (now, later) = buf.split_at(piece.min(buf.len()));
        let progress = tracker.consume(now)?;
        total = total.wrapping_add(progress.consumed);
        assert!(progress.done || progress.consumed == now.len());
        assert_eq!(progress.done, tracker.done());
        buf = later;
        if progress.done || buf.is_empty() {
            return Ok(Progress {
                consumed: total,
                done: tracker.done(),
            });
        }
    }
    unreachable!("the pieces are not empty")
}

fn chunked(text: &str) -> Result<Progress, BodyError> {
    let whole = track(Framing::Chunked, text.as_bytes(), &[usize::MAX]);
    assert_eq!(
        track(Framing::Chunked, text.as_bytes(), &[1]),
        whole,
        "{text:?}"
    );
    whole
}

/// Servers that write sizes into fields of fixed width, and RFC 9112, 7.1.1.
#[test]
fn responses_may_have_white_space_around_sizes_and_extensions() {
    let response = |text: &str, piece: usize| {
        let mut tracker = BodyTracker::of_response(Framing::Chunked);
        for piece in text.as_bytes().chunks(piece) {
            tracker.consume(piece)?;
        }
        Ok(tracker.done())
    };
    let long = format!("1{}\r\nx\r\n0\r\n\r\n", " ".repeat(EXTENSION_MAX as usize));
    for (text, expected) in [
        ("3 \r\nabc\r\n0 \t \r\n\r\n", Ok(true)),
        ("000003  \r\nabc\r\n000000  \r\n\r\n", Ok(true)),
        ("3 ; a = b \t; c ; d=\"e f\" \r\nabc\r\n0\r\n\r\n", Ok(true)),
        ("3;a = \r\n", Err(BodyError::ChunkExtension)),
        ("3 3\r\n", Err(BodyError::ChunkSize)),
        (" 3\r\n", Err(BodyError::ChunkSize)),
        ("3 \n", Err(BodyError::BareLf)),
        ("3;a b\r\n", Err(BodyError::ChunkExtension)),
        ("3;a=b c\r\n", Err(BodyError::ChunkExtension)),
        (long.as_str(), Err(BodyError::ChunkExtensionTooLong)),
        ("0\r\nHost: a\r\nContent-Length: 5\r\n\r\n", Ok(true)),
    ] {
        for piece in [1, 2, 3, 5000] {
            assert_eq!(response(text, piece), expected, "{text:?}");
        }
        if expected == Ok(true) {
            assert!(chunked(text).is_err(), "in a request: {text:?}");
        }
    }
}

#[test]
fn the_trailer_section_can_be_told_from_the_rest() {
    let text = b"1\r\nx\r\n0;a\r\nA: b\r\n\r\nGET";
    let mut tracker = BodyTracker::new(Framing::Chunked);
    assert_eq!(tracker.framing_to_trailers(text), Ok(3));
    assert_eq!(tracker.skip(100), 1);
    assert_eq!(tracker.framing_to_trailers(&text[4..]), Ok(7));
    assert!(tracker.in_trailers());
    assert_eq!(tracker.framing_to_trailers(&text[11..13]), Ok(2));
    assert!(tracker.in_trailers());
    assert_eq!(tracker.framing_to_trailers(&text[13..]), Ok(6));
    assert!(tracker.done() && !tracker.in_trailers());
}

#[test]
fn counted_bodies() {
    for (framing, consumed, done) in [
        (Framing::None, 0, true),
        (Framing::Length(0), 0, true),
        (Framing::Length(3), 3, true),
        (Framing::Length(5), 5, true),
        (Framing::Length(6), 5, false),
        (Framing::Length(u64::MAX), 5, false),
    ] {
        for pieces in [&[usize::MAX][..], &[1]] {
            assert_eq!(
                track(framing, b"hello", pieces),
                Ok(Progress { consumed, done })
            );
        }
    }
}

#[test]
fn chunked_bodies_that_are_whole() {
    for text in [
        "0\r\n\r\n",
        "0000000000000000\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
        "A\r\n0123456789\r\n0000a\r\n0123456789\r\n000\r\n\r\n",
        "2\r\n\r\n\r\n0\r\n\r\n",
        "1;a\r\nx\r\n0;b;c=d\r\n\r\n",
        "1;a=\"q \t\\\"\\\\ ;\u{e9}\"\r\nx\r\n0;a=\"\";b\r\n\r\n",
        "0\r\nX-Sum: 1\r\nEmpty:\r\n\r\n",
        "0\r\nHosts: a\r\ntransfer-encodings: chunked\r\n\r\n",
    ] {
        let expected = Progress {
            consumed: text.len(),
            done: true,
        };
        assert_eq!(chunked(text), Ok(expected), "{text:?}");
        // What follows is the next message's.
        assert_eq!(chunked(&format!("{text}GET\n")), Ok(expected), "{text:?}");
    }
}

#[test]
fn chunked_bodies_that_are_refused() {
    use BodyError::*;
    for (text, error) in [
        ("\r\n", ChunkSize),
        ("g", ChunkSize),
        ("-1\r\n", ChunkSize),
        ("+1\r\n", ChunkSize),
        ("0x1\r\n", ChunkSize),
        (" 1\r\n", ChunkSize),
        ("1 \r\n", ChunkSize),
        ("1\t;a\r\n", ChunkSize),
        (";a\r\n", ChunkSize),
        ("\0", ChunkSize),
        ("00000000000000001\r\n", ChunkSizeTooLong),
        ("10000000000000000\r\n", ChunkSizeTooLong),
        ("1\n", BareLf),
        ("\n", BareLf),
        ("1\rx", BareCr),
        ("1;a\n", BareLf),
        ("1;a\rx", BareCr),
        ("1;\r\n", ChunkExtension),
        ("1;;", ChunkExtension),
        ("1; a\r\n", ChunkExtension),
        ("1;a ;b\r\n", ChunkExtension),
        ("1;a =b\r\n", ChunkExtension),
        ("1;a= b\r\n", ChunkExtension),
        ("1;a=\r\n", ChunkExtension),
        ("1;a==", ChunkExtension),
        ("1;a=b\"c\"", ChunkExtension),
        ("1;a=\"b\"c", ChunkExtension),
        ("1;a=\"b\r\n", ChunkExtension),
        ("1;a=\"b\n", BareLf),
        ("1;a=\"b\\\r\n", ChunkExtension),
        ("1;a=\"\0", ChunkExtension),
        ("1;a=\"\x7f", ChunkExtension),
        ("1\r\nxx\r\n", ChunkEnd),
        ("1\r\nx\n", ChunkEnd),
        ("1\r\nx\rx", ChunkEnd),
        ("1\r\nx0\r\n\r\n", ChunkEnd),
        ("0\r\n\n", BareLf),
        ("0\r\n\rx", BareCr),
        ("0\r\n: x\r\n", TrailerName),
        ("0\r\nX : x\r\n", TrailerName),
        ("0\r\nX\r\n", TrailerName),
        ("0\r\n\0", TrailerName),
        ("0\r\nX\n", BareLf),
        ("0\r\n X: y\r\n", ObsFold),
        ("0\r\nX: y\r\n z\r\n", ObsFold),
        ("0\r\nX: \0", TrailerValue),
        ("0\r\nX: \x7f", TrailerValue),
        ("0\r\nX: y\n", BareLf),
        ("0\r\nX: y\rz", BareCr),
        ("0\r\nHost: a\r\n", TrailerForbidden),
        ("0\r\nX: y\r\ncontent-LENGTH:5\r\n", TrailerForbidden),
        ("0\r\nTransfer-Encoding: chunked\r\n", TrailerForbidden),
    ] {
        assert_eq!(chunked(text), Err(error), "{text:?}");
        let mut tracker = BodyTracker::new(Framing::Chunked);
        let _ = tracker.consume(text.as_bytes());
        assert_eq!(
            tracker.consume(b"0\r\n\r\n"),
            Err(error),
            "{text:?}: an error stays"
        );
        assert!(error.rule().starts_with("RFC ") && format!("{error}").contains(error.rule()));
        assert_eq!(error.status(), 400);
    }
}

#[test]
fn largest_chunk() {
    let mut tracker = BodyTracker::new(Framing::Chunked);
    let size = b"fFffffffffffffff\r\n";
    assert_eq!(
        tracker.consume(size),
        Ok(Progress {
            consumed: size.len(),
            done: false
        })
    );
    assert_eq!(tracker.left, u64::MAX);
    assert_eq!(
        tracker.consume(b"x"),
        Ok(Progress {
            consumed: 1,
            done: false
        })
    );
    assert_eq!(tracker.left, u64::MAX.wrapping_sub(1));
}

#[test]
fn digits_are_counted_for_each_chunk() {
    let body = format!("{}0\r\n\r\n", "01\r\nx\r\n".repeat(20));
    assert_eq!(
        chunked(&body),
        Ok(Progress {
            consumed: body.len(),
            done: true
        })
    );
}

#[test]
fn extensions_are_bounded_for_each_chunk() {
    let max = usize::try_from(EXTENSION_MAX).unwrap();
    let line = |length: usize| format!("1;{}\r\nx\r\n", "e".repeat(length));
    let fits = line(max.wrapping_sub(1));
    let body = format!("{fits}{fits}0\r\n\r\n");
    assert_eq!(
        chunked(&body),
        Ok(Progress {
            consumed: body.len(),
            done: true
        })
    );
    assert_eq!(chunked(&line(max)), Err(BodyError::ChunkExtensionTooLong));
}

#[test]
fn trailer_section_is_bounded_as_a_whole() {
    let max = usize::try_from(TRAILER_MAX).unwrap();
    let body = |length: usize| {
        let fields = "X: 1234\r\n".repeat(100);
        let rest = length.wrapping_sub(fields.len()).wrapping_sub(4);
        format!("0\r\n{fields}Y:{}\r\n\r\n", "v".repeat(rest))
    };
    assert_eq!(chunked(&body(max)).map(|progress| progress.done), Ok(true));
    assert_eq!(
        chunked(&body(max.wrapping_add(1))),
        Err(BodyError::TrailerTooLong)
    );
    assert_eq!(BodyError::TrailerTooLong.status(), 431);
}

#[test]
fn data_can_be_skipped_and_framing_cannot() {
    let mut tracker = BodyTracker::new(Framing::Length(10));
    assert_eq!((tracker.skippable(), tracker.skip(0)), (10, 0));
    assert_eq!((tracker.skip(4), tracker.skippable()), (4, 6));
    assert!(!tracker.done());
    assert_eq!((tracker.skip(u64::MAX), tracker.skippable()), (6, 0));
    assert!(tracker.done());
    assert_eq!(tracker.skip(1), 0);

    let mut tracker = BodyTracker::new(Framing::Length(u64::MAX));
    assert_eq!(tracker.skip(u64::MAX), u64::MAX);
    assert!(tracker.done());

    let mut tracker = BodyTracker::new(Framing::Chunked);
    let mut consume = |text: &[u8], skippable| {
        assert_eq!((tracker.skippable(), tracker.skip(9)), (0, 0));
        assert_eq!(tracker.consume(text).unwrap().consumed, text.len());
        assert_eq!(tracker.skippable(), skippable);
        assert_eq!(tracker.skip(9), skippable);
        tracker.done()
    };
    assert!(!consume(b"5\r", 0));
    assert!(!consume(b"\n", 5));
    assert!(!consume(b"\r\n3\r\nx", 2));
    assert!(!consume(b"\r\n0\r\n", 0));
    assert!(!consume(b"A: b\r\n\r", 0));
    assert!(consume(b"\n", 0));

    let mut tracker = BodyTracker::new(Framing::Chunked);
    assert_eq!(tracker.consume(b"x"), Err(BodyError::ChunkSize));
    assert_eq!((tracker.skippable(), tracker.skip(9)), (0, 0));
    assert_eq!(BodyTracker::new(Framing::None).skippable(), 0);
}

#[test]
fn state_is_16_bytes() {
    assert_eq!(size_of::<BodyTracker>(), 16);
}

fn body() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[0-9a-f]{1,2}(;[a-z]=(\"[a-z\\\\ ]*\"|[a-z]*))?\r\n",
        "[a-z]{0,20}\r\n",
        "0\r\n",
        "[A-Z]{1,3}: ?[a-z]{0,5}\r\n",
        "\r\n",
        "[ -~\r\n]{0,3}",
        Just(String::from("1\r\nx\r\n")),
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

/// What comes out if data are skipped, at most so many at a time, and only framing is shown, byte by
/// byte.
fn leap(framing: Framing, buf: &[u8], most: usize) -> Result<Progress, BodyError> {
    let mut tracker = BodyTracker::new(framing);
    let mut at = 0;
    while at < buf.len() && !tracker.done() {
        let length = most.min(buf.len().wrapping_sub(at));
        let skippable = usize::try_from(tracker.skippable()).unwrap();
        let skipped = usize::try_from(tracker.skip(u64::try_from(length).unwrap())).unwrap();
        assert_eq!(skipped, length.min(skippable));
        at = at.wrapping_add(skipped);
        if skippable == 0 {
            at = at.wrapping_add(tracker.consume(&buf[at..=at])?.consumed);
        }
    }
    Ok(Progress {
        consumed: at,
        done: tracker.done(),
    })
}

/// The plainest reading of a body without extensions and trailers.
fn plain(mut text: &[u8]) -> Option<usize> {
    let mut consumed: usize = 0;
    loop {
        let line = text.windows(2).position(|pair| pair == b"\r\n")?;
        let digits = std::str::from_utf8(&text[..line]).ok()?;
        let size = usize::from_str_radix(digits, 16).ok()?;
        let end = line.checked_add(2)?.checked_add(size)?;
        if text.get(end..end.checked_add(2)?)? != b"\r\n" {
            return None;
        }
        let end = end.wrapping_add(2);
        consumed = consumed.wrapping_add(end);
        if size == 0 {
            return Some(consumed);
        }
        text = &text[end..];
    }
}

proptest! {
    #[test]
    fn division_does_not_matter(
        text in body(),
        pieces in proptest::collection::vec(1_usize..9, 1..6),
    ) {
        let whole = track(Framing::Chunked, text.as_bytes(), &[usize::MAX]);
        prop_assert_eq!(track(Framing::Chunked, text.as_bytes(), &pieces), whole);
        for &most in &pieces {
            prop_assert_eq!(leap(Framing::Chunked, text.as_bytes(), most), whole);
        }
        if let Some(consumed) = plain(text.as_bytes()).filter(|_| !text.contains('+')) {
            prop_assert_eq!(whole, Ok(Progress { consumed, done: true }));
        }
    }

    #[test]
    fn what_is_encoded_is_tracked_to_its_end(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6),
        pieces in proptest::collection::vec(1_usize..30, 1..6),
    ) {
        let mut text = Vec::new();
        for chunk in &chunks {
            text.extend(format!("{:x}\r\n", chunk.len()).bytes());
            text.extend(chunk);
            text.extend(b"\r\n");
        }
        text.extend(b"0\r\n\r\n");
        let expected = Progress { consumed: text.len(), done: true };
        text.extend(b"GET / HTTP/1.1\r\n");
        prop_assert_eq!(track(Framing::Chunked, &text, &pieces), Ok(expected));
        prop_assert_eq!(leap(Framing::Chunked, &text, pieces[0]), Ok(expected));
    }
}
