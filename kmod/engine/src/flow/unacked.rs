// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What was read to know where requests begin and end, byte for byte, until its server has acknowledged it: a client that
//! sends it again must not send anything else, or the server would read other requests than those that were routed.
//!
//! It lies in memory of the environment's ([`Packets::unacked`](super::Packets::unacked)): the number of bytes used, then the stretches in the order of
//! their numbers, each with its sequence number, its length and its bytes. All numbers have four bytes, little-endian.

use super::request::narrow;
use super::seq;
use super::Env;
use super::Payload;
use super::Segment;

/// Bytes of a number.
const NUMBER: usize = 4;
/// Bytes before a stretch's own.
const HEADER: usize = 2 * NUMBER;
/// Bytes of a [`Piece`]: a line of chunked coding has less.
const PIECE: usize = 64;

fn number(kept: &[u8], at: usize) -> Option<u32> {
    let bytes = kept.get(at..)?.first_chunk::<NUMBER>()?;
    Some(u32::from_le_bytes(*bytes))
}

fn set_number(kept: &mut [u8], at: usize, value: u32) {
    let rest = kept.get_mut(at..).unwrap_or_default();
    if let Some(place) = rest.first_chunk_mut::<NUMBER>() {
        *place = value.to_le_bytes();
    }
}

/// Bytes that are used, with their number.
fn used(kept: &[u8]) -> usize {
    number(kept, 0)
        .and_then(|used| usize::try_from(used).ok())
        .filter(|&used| used >= NUMBER && used <= kept.len())
        .unwrap_or(NUMBER)
}

/// The bytes that are used, with their number; none where nothing is kept.
pub(crate) fn kept(memory: &[u8]) -> &[u8] {
    match used(memory) {
        NUMBER => &[],
        used => memory.get(..used).unwrap_or_default(),
    }
}

/// Whether bytes are what [`kept`] gives: stretches that fill them, in the order of their numbers.
pub(crate) fn is_whole(bytes: &[u8]) -> bool {
    if bytes.is_empty() {
        return true;
    }
    let (mut at, mut end) = (NUMBER, None);
    while let Some((start, run, next)) = stretch(bytes, at) {
        if run.is_empty() || end.is_some_and(|end| seq::before(start, end)) {
            return false;
        }
        end = Some(start.wrapping_add(narrow(run.len())));
        at = next;
    }
    at == bytes.len() && used(bytes) == bytes.len() && at > NUMBER
}

/// A stretch: its number, its bytes, and where the next one is.
fn stretch(kept: &[u8], at: usize) -> Option<(u32, &[u8], usize)> {
    if at >= used(kept) {
        return None;
    }
    let start = number(kept, at)?;
    let len = usize::try_from(number(kept, at.checked_add(NUMBER)?)?).ok()?;
    let from = at.checked_add(HEADER)?;
    let to = from.checked_add(len)?;
    Some((start, kept.get(from..to)?, to))
}

/// A few bytes, copied: what a packet of the environment's holds cannot be read while what is kept is written.
pub(super) struct Piece {
    bytes: [u8; PIECE],
    len: usize,
}

impl Piece {
    /// The first bytes of a run, as many as there is room for.
    pub(super) fn of(run: &[u8]) -> Self {
        let mut bytes = [0; PIECE];
        for (place, byte) in bytes.iter_mut().zip(run) {
            *place = *byte;
        }
        Self {
            bytes,
            len: run.len().min(PIECE),
        }
    }

    /// Them.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Adds what begins at a number behind all that is there. `false` where there is no room for it.
pub(super) fn add<E: Env>(env: &mut E, at: u32, bytes: &[u8]) -> bool {
    if bytes.is_empty() {
        return true;
    }
    let used = used(env.unacked());
    let from = used.wrapping_add(HEADER);
    let to = from.wrapping_add(bytes.len());
    let kept = env.unacked_mut(to);
    let Some(place) = kept.get_mut(from..to) else {
        return false;
    };
    for (place, byte) in place.iter_mut().zip(bytes) {
        *place = *byte;
    }
    set_number(kept, used, at);
    set_number(kept, used.wrapping_add(NUMBER), narrow(bytes.len()));
    set_number(kept, 0, narrow(to));
    true
}

/// Forgets what ends at or before a number, if it is half of everything.
pub(super) fn trim<E: Env>(env: &mut E, acked: u32) {
    let kept = env.unacked();
    let end = used(kept);
    let mut from = NUMBER;
    while let Some((start, bytes, next)) = stretch(kept, from) {
        if seq::before(acked, start.wrapping_add(narrow(bytes.len()))) {
            break;
        }
        from = next;
    }
    if from >= end {
        env.forget_unacked();
    } else if from > end / 2 {
        let left = end.wrapping_sub(from);
        let kept = env.unacked_mut(end);
        for offset in 0..left {
            let byte = kept.get(from.wrapping_add(offset)).copied();
            if let Some(place) = kept.get_mut(NUMBER.wrapping_add(offset)) {
                *place = byte.unwrap_or_default();
            }
        }
        set_number(kept, 0, narrow(NUMBER.wrapping_add(left)));
    }
}

/// Whether a segment's data, as far as they are behind `acked`, are what is kept of them.
#[inline(never)]
pub(super) fn agree<P: Payload>(kept: &[u8], segment: &Segment, packet: &P, acked: u32) -> bool {
    let first = seq::max(segment.seq, acked);
    let last = segment.data_end();
    let mut next = NUMBER;
    while let Some((start, bytes, after)) = stretch(kept, next) {
        next = after;
        let mut at = seq::max(start, first);
        let end = seq::min(start.wrapping_add(narrow(bytes.len())), last);
        while seq::before(at, end) {
            let sent = packet.run(at.wrapping_sub(segment.seq));
            let known = usize::try_from(at.wrapping_sub(start))
                .ok()
                .and_then(|offset| bytes.get(offset..))
                .unwrap_or_default();
            let left = usize::try_from(end.wrapping_sub(at)).unwrap_or(0);
            let len = sent.len().min(known.len()).min(left);
            if len == 0 || sent.get(..len) != known.get(..len) {
                return false;
            }
            at = at.wrapping_add(narrow(len));
        }
    }
    true
}
