// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A packet's headers are read the same from any piece that holds them, or not at all; and what is read lies in the packet.
//! The first byte is where the piece ends that is tried beside the whole.
#![no_main]

use l7switch_engine::flow::segment::Parsed;
use l7switch_engine::packet;
use l7switch_engine::packet::Ip;
use libfuzzer_sys::fuzz_target;

fn ip(bytes: &[u8]) -> Option<Ip> {
    match bytes.first()? >> 4 {
        4 => packet::ipv4(bytes.first_chunk()?),
        6 => packet::ipv6(bytes.first_chunk()?),
        _ => None,
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&piece, bytes)) = data.split_first() else {
        return;
    };
    let Some(ip) = ip(bytes) else {
        return;
    };
    let len = bytes.len() as u32;
    let whole = Parsed::read(bytes, len, &ip, ip.header_len);
    let start = &bytes[..usize::from(piece).min(bytes.len())];
    let part = Parsed::read(start, len, &ip, ip.header_len);
    assert!(part.is_none() || part == whole, "{part:?} {whole:?}");
    if let Some(parsed) = whole {
        let segment = parsed.segment;
        assert!((20..=60).contains(&segment.header_len));
        assert_eq!(
            parsed.payload_at,
            parsed.tcp_at + u32::from(segment.header_len)
        );
        assert_eq!(parsed.payload_at + segment.payload, len);
        assert_eq!(parsed.packet_len(), u64::from(len));
        assert_eq!(
            (segment.source.address, segment.destination.address),
            (ip.source, ip.destination)
        );
        // What it needs of the start is its headers, and no more.
        let headers = &bytes[..parsed.payload_at as usize];
        assert_eq!(Parsed::read(headers, len, &ip, ip.header_len), whole);
        assert_eq!(
            Parsed::read(&headers[..headers.len() - 1], len, &ip, ip.header_len),
            None
        );
    }
});
