// SPDX-License-Identifier: GPL-2.0 OR MIT
//! SYN cookies: the number that the switch answers a SYN with holds what must be known when the client comes back, so
//! that nothing is kept for connections that are opened only, or never (D. J. Bernstein, "SYN cookies"; RFC 4987, 3.6).
//!
//! Unlike the kernel's own (net/ipv4/syncookies.c) they need no timestamps to carry the options, and hold for minutes, as
//! long as browsers keep connections that they opened in advance. The upper 24 bits are keyed; in the lower 8 are
//! the client's largest segment (3), its window scale (4) and whether it understands selective acknowledgements (1).
//! Whether it uses timestamps shows in every segment.

use super::segment::Offer;
use crate::endpoint::Endpoint;
use crate::ends::halves;
use crate::siphash::siphash13_words;
use crate::siphash::Key;

/// How long an epoch is, seconds.
pub const EPOCH_SECONDS: u64 = 64;
/// Epochs that are accepted: the one that is and those before it.
pub const EPOCHS: u32 = 8;
/// Segment sizes that a cookie can name, ascending: the greatest that is not over the client's own. Internet paths with
/// and without tunnels and timestamps; the last is an Ethernet jumbo frame's.
const SIZES: [u16; 8] = [536, 1220, 1360, 1400, 1440, 1452, 1460, 8940];
/// "No window scale", in place of a shift.
const NO_SCALE: u8 = 15;

/// Who speaks with whom, at which sequence number the client began.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// The client.
    pub client: Endpoint,
    /// The address of the service.
    pub service: Endpoint,
    /// The client's initial sequence number.
    pub isn: u32,
}

/// What a cookie's upper 24 bits are made of.
///
/// They are `sum + factor * isn` modulo 2²⁴: a secret line over the client's sequence numbers, another one for every
/// connection, epoch and set of options, so that which number a cookie was made for can be told from it. Who sees cookies of
/// a connection learns something about that connection's others only.
#[derive(Clone, Copy)]
struct Line {
    sum: u32,
    /// Odd.
    factor: u32,
}

const LOW: u32 = 0x00ff_ffff;

impl Line {
    /// The line for numbers whose upper eight bits are `isn`'s.
    fn new(key: Key, opening: &Opening, epoch: u32, options: u8) -> Self {
        let (c0, c1) = halves(&opening.client.address);
        let (s0, s1) = halves(&opening.service.address);
        let ports = u64::from(opening.client.port) << 16 | u64::from(opening.service.port);
        let [isn, ..] = opening.isn.to_be_bytes();
        let rest = ports << 32 | u64::from(isn) << 8 | u64::from(options);
        let hash = siphash13_words(key, [c0, c1, s0, s1, rest, u64::from(epoch)]);
        let [a, b, c, d, e, f, _, _] = hash.to_be_bytes();
        Self {
            sum: u32::from_be_bytes([0, a, b, c]),
            factor: u32::from_be_bytes([0, d, e, f]) | 1,
        }
    }

    const fn at(self, isn: u32) -> u32 {
        self.sum.wrapping_add(self.factor.wrapping_mul(isn)) & LOW
    }

    /// The lower 24 bits of the number at which the line has a value.
    const fn isn(self, value: u32) -> u32 {
        // Newton's method for the inverse modulo a power of two: every step doubles the bits that are right, three at first.
        let mut inverse = self.factor;
        let mut step = 0;
        while step < 3 {
            let error = 2u32.wrapping_sub(self.factor.wrapping_mul(inverse));
            inverse = inverse.wrapping_mul(error);
            step = 1u32.wrapping_add(step);
        }
        value.wrapping_sub(self.sum).wrapping_mul(inverse) & LOW
    }
}

fn pack(offer: &Offer) -> u8 {
    let size = SIZES.iter().skip(1).filter(|&&size| size <= offer.mss);
    let size = u8::try_from(size.count()).unwrap_or(0);
    let scale = offer.window_scale.map_or(NO_SCALE, |scale| scale.min(14));
    size << 5 | scale << 1 | u8::from(offer.sack)
}

fn unpack(options: u8) -> Offer {
    let scale = (options >> 1) & 15;
    Offer {
        mss: *SIZES.get(usize::from(options >> 5)).unwrap_or(&536),
        window_scale: (scale != NO_SCALE).then_some(scale),
        sack: options & 1 == 1,
    }
}

/// The number to answer a SYN with. `epoch`: [`EPOCH_SECONDS`] since some common point, of a clock that the switches which
/// share a key have in common.
pub fn make(key: Key, opening: &Opening, epoch: u32, offer: &Offer) -> u32 {
    let options = pack(offer);
    let line = Line::new(key, opening, epoch, options);
    line.at(opening.isn) << 8 | u32::from(options)
}

/// What the client offered, if `cookie` is what its SYN was answered with within the last minutes.
pub fn check(key: Key, opening: &Opening, epoch: u32, cookie: u32) -> Option<Offer> {
    let [.., options] = cookie.to_be_bytes();
    (0..EPOCHS)
        .map(|age| Line::new(key, opening, epoch.wrapping_sub(age), options))
        .any(|line| line.at(opening.isn) == cookie >> 8)
        .then(|| unpack(options))
}

/// Whether `cookie` is what a SYN was answered with whose number lies less than `reach` before `opening`'s: a segment that
/// overtook the first one. Right but in about one of 2²¹ / `reach` cases.
pub fn overtakes(key: Key, opening: &Opening, epoch: u32, cookie: u32, reach: u32) -> bool {
    let [.., options] = cookie.to_be_bytes();
    let far = opening.isn.wrapping_sub(reach);
    let tops = [opening.isn, far];
    let two = (opening.isn ^ far) & !LOW != 0;
    (0..EPOCHS).any(|age| {
        tops.iter()
            .take(1usize.wrapping_add(usize::from(two)))
            .any(|&top| {
                let numbers = Opening {
                    isn: top,
                    ..*opening
                };
                let line = Line::new(key, &numbers, epoch.wrapping_sub(age), options);
                let isn = top & !LOW | line.isn(cookie >> 8);
                let distance = opening.isn.wrapping_sub(isn);
                distance > 0 && distance < reach
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = [1, 2];

    fn opening() -> Opening {
        Opening {
            client: Endpoint {
                address: [7; 16],
                port: 40000,
            },
            service: Endpoint {
                address: [8; 16],
                port: 80,
            },
            isn: 0xdead_beef,
        }
    }

    #[test]
    fn a_cookie_holds_what_was_offered_for_minutes() {
        for mss in [536, 1220, 1460, 8940] {
            for window_scale in [None, Some(0), Some(7), Some(14)] {
                for sack in [false, true] {
                    let offer = Offer {
                        mss,
                        window_scale,
                        sack,
                    };
                    let cookie = make(KEY, &opening(), 100, &offer);
                    for epoch in 100..108 {
                        assert_eq!(check(KEY, &opening(), epoch, cookie), Some(offer));
                    }
                    assert_eq!(check(KEY, &opening(), 108, cookie), None, "too old");
                    assert_eq!(check(KEY, &opening(), 99, cookie), None, "from the future");
                }
            }
        }
    }

    #[test]
    fn a_size_between_two_is_the_lower() {
        for (mss, held) in [
            (0, 536),
            (500, 536),
            (1219, 536),
            (1448, 1440),
            (9000, 8940),
            (65535, 8940),
        ] {
            let offer = Offer {
                mss,
                ..Offer::default()
            };
            let cookie = make(KEY, &opening(), 1, &offer);
            assert_eq!(check(KEY, &opening(), 1, cookie).unwrap().mss, held);
        }
    }

    #[test]
    fn a_segment_that_overtook_the_first_is_known() {
        for isn in [5u32, 0xdead_beef, 0x00ff_ff00, 0xffff_fff0] {
            let first = Opening { isn, ..opening() };
            let offer = Offer {
                mss: 1460,
                window_scale: Some(7),
                sack: true,
            };
            let cookie = make(KEY, &first, 100, &offer);
            let late = |ahead: u32| Opening {
                isn: isn.wrapping_add(ahead),
                ..opening()
            };
            for ahead in [1, 1460, 14_600, 32_767] {
                assert!(
                    overtakes(KEY, &late(ahead), 103, cookie, 32_768),
                    "{isn} {ahead}"
                );
            }
            for ahead in [0, 32_768, 1 << 20, 0xffff_ffff] {
                assert!(
                    !overtakes(KEY, &late(ahead), 103, cookie, 32_768),
                    "{isn} {ahead}"
                );
            }
            // Of others one in 64 is taken for one.
            let taken = (1..4096).filter(|&port| {
                let mut other = late(1460);
                other.client.port ^= port;
                overtakes(KEY, &other, 100, cookie, 32_768)
            });
            let taken = taken.count();
            assert!((16..256).contains(&taken), "{taken}");
            let far = late(1460);
            let epochs = (108..4096).filter(|&epoch| overtakes(KEY, &far, epoch, cookie, 32_768));
            let taken = epochs.count();
            assert!((16..256).contains(&taken), "{taken}");
        }
    }

    #[test]
    fn another_connections_cookie_is_none() {
        let cookie = make(KEY, &opening(), 100, &Offer::default());
        let mut other = opening();
        other.isn ^= 1;
        assert_eq!(check(KEY, &other, 100, cookie), None);
        let mut other = opening();
        other.client.port ^= 1;
        assert_eq!(check(KEY, &other, 100, cookie), None);
        let mut other = opening();
        other.service.address[15] ^= 1;
        assert_eq!(check(KEY, &other, 100, cookie), None);
        assert_eq!(check([1, 3], &opening(), 100, cookie), None);
        assert_eq!(
            check(KEY, &opening(), 100, cookie ^ 2),
            None,
            "other options"
        );
    }
}
