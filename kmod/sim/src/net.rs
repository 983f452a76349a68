// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a link does to packets.

use crate::rng::Rng;

/// How a link treats packets; chances in parts of a million.
#[derive(Clone, Debug)]
pub struct Link {
    /// Least time under way, ns.
    pub delay: u64,
    /// Most that is added to it, ns: packets overtake each other where it is more than their distance.
    pub jitter: u64,
    /// Bytes a second; 0: as many as come.
    pub rate: u64,
    /// Lost.
    pub loss: u32,
    /// Sent twice.
    pub duplicate: u32,
    /// A bit is turned.
    pub corrupt: u32,
    /// Held back for up to 10 times its delay and jitter.
    pub late: u32,
    /// Lost, and everything for so long with it, ns; with a hundredth of the chance of a loss.
    pub burst: u64,
    pub(crate) free: u64,
    pub(crate) dead: u64,
    /// The last packet, where no whole one arrives.
    pub(crate) lost: Option<Vec<u8>>,
}

impl Link {
    /// A link that loses nothing.
    pub const fn clean(delay: u64) -> Self {
        Self {
            delay,
            jitter: 0,
            rate: 0,
            loss: 0,
            duplicate: 0,
            corrupt: 0,
            late: 0,
            burst: 0,
            free: 0,
            dead: 0,
            lost: None,
        }
    }

    /// Gives the times at which the packet arrives, and what arrives.
    pub fn carry(&mut self, now: u64, packet: Vec<u8>, rng: &mut Rng) -> Vec<(u64, Vec<u8>)> {
        self.lost = None;
        if now < self.dead || rng.ppm(self.loss) {
            self.lost = Some(packet);
            return Vec::new();
        }
        if self.burst > 0 && rng.ppm(self.loss / 50) {
            self.dead = now + self.burst;
            self.lost = Some(packet);
            return Vec::new();
        }
        let mut at = now;
        if let Some(takes) = (packet.len() as u64 * 1_000_000_000).checked_div(self.rate) {
            at = self.free.max(now) + takes;
            // A queue of at most 50 ms.
            if at > now + 50_000_000 {
                self.lost = Some(packet);
                return Vec::new();
            }
            self.free = at;
        }
        at += self.delay;
        let spread = |rng: &mut Rng| rng.below(self.jitter + 1);
        let mut out = Vec::with_capacity(1);
        if rng.ppm(self.duplicate) {
            out.push((at + spread(rng), packet.clone()));
        }
        if rng.ppm(self.late) {
            at += rng.below(10 * (self.delay + self.jitter) + 1);
        }
        let mut packet = packet;
        if rng.ppm(self.corrupt) {
            if out.is_empty() {
                self.lost = Some(packet.clone());
            }
            let bit = rng.below(packet.len() as u64 * 8) as usize;
            packet[bit / 8] ^= 1 << (bit % 8);
        }
        out.push((at + spread(rng), packet));
        out
    }
}
