// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A rewritten segment has the numbers that it was to have, its data, and a checksum that is as right as it was.
//!
//! The input is the numbers, 40 bytes, and an IPv4 or IPv6 packet behind them.
#![no_main]

use l7switch_engine::endpoint::Endpoint;
use l7switch_engine::flow::segment::Parsed;
use l7switch_engine::flow::segment::URG;
use l7switch_engine::flow::Checksum;
use l7switch_engine::flow::Rewrite;
use l7switch_engine::packet;
use libfuzzer_sys::fuzz_target;

/// The sum over TCP segment and pseudo-header; 0xffff where the checksum is right.
fn sum(packet: &[u8], tcp: usize) -> u32 {
    let addresses = if packet[0] >> 4 == 4 {
        &packet[12..20]
    } else {
        &packet[8..40]
    };
    let mut sum = 6 + (packet.len() - tcp) as u32;
    for part in [addresses, &packet[tcp..]] {
        for word in part.chunks(2) {
            sum += u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0));
        }
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum
}

fn parsed(packet: &[u8]) -> Option<Parsed> {
    let ip = match packet.first()? >> 4 {
        4 => packet::ipv4(packet.first_chunk()?)?,
        _ => packet::ipv6(packet.first_chunk()?)?,
    };
    Parsed::read(packet, packet.len() as u32, &ip, ip.header_len)
}

fuzz_target!(|data: &[u8]| {
    let Some((numbers, bytes)) = data.split_at_checked(40) else {
        return;
    };
    let Some(before) = parsed(bytes) else {
        return;
    };
    let word = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|i| numbers[at + i]));
    let mapped = |last: u32| (0xffff_0000_0000 | u128::from(last)).to_be_bytes();
    let address = |last: u32| match bytes[0] >> 4 {
        4 => mapped(last),
        _ => (0x2001_0db8_u128 << 96 | u128::from(last)).to_be_bytes(),
    };
    let rewrite = Rewrite {
        source: Endpoint {
            address: address(word(0)),
            port: word(4) as u16,
        },
        destination: Endpoint {
            address: address(word(8)),
            port: word(12) as u16,
        },
        seq: word(16),
        ack: word(20),
        flags: before.segment.flags.difference(URG),
        window: word(24) as u16,
        clock: word(28),
        echo: word(32),
        sack: word(36),
        sack_floor: word(0),
        hop_limit: 64,
        limit: u16::MAX,
    };
    let tcp = before.tcp_at as usize;
    let was_right = sum(bytes, tcp) == 0xffff;
    let mut packet = bytes.to_vec();
    if rewrite.apply(&mut packet, tcp, Checksum::Full).is_none() {
        return;
    }
    let after = parsed(&packet).expect("it is a segment still");
    let segment = after.segment;
    assert_eq!(
        (segment.source, segment.destination),
        (rewrite.source, rewrite.destination)
    );
    assert_eq!((segment.seq, segment.ack), (rewrite.seq, rewrite.ack));
    assert_eq!(
        (segment.flags, segment.window),
        (rewrite.flags, rewrite.window)
    );
    assert_eq!(after.payload_at, before.payload_at);
    assert_eq!(
        packet[after.payload_at as usize..],
        bytes[before.payload_at as usize..]
    );
    if let (Some(old), Some(new)) = (before.segment.timestamps, segment.timestamps) {
        assert_eq!(new.value, old.value.wrapping_add(rewrite.clock));
        assert_eq!(new.echo, old.echo.wrapping_add(rewrite.echo));
    }
    assert_eq!(sum(&packet, tcp) == 0xffff, was_right);
});
