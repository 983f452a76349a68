// SPDX-License-Identifier: GPL-2.0 OR MIT
//! An ICMP error is rewritten where it is to be, and nowhere else; or it is refused. The first two bytes say where its
//! segment's IP header and ports are.
#![no_main]

use l7switch_engine::endpoint::Endpoint;
use l7switch_engine::flow::ErrorRewrite;
use libfuzzer_sys::fuzz_target;

fn end(last: u8, port: u16) -> Endpoint {
    Endpoint {
        address: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, last],
        port,
    }
}

fuzz_target!(|data: &[u8]| {
    let [ip, tcp, bytes @ ..] = data else {
        return;
    };
    let (ip, tcp) = (usize::from(*ip), usize::from(*tcp));
    let rewrite = ErrorRewrite {
        source: end(1, 4000),
        destination: end(2, 80),
        seq: 0x0102_0304,
    };
    let mut packet = bytes.to_vec();
    if rewrite.apply(&mut packet, ip, tcp).is_none() {
        return;
    }
    assert_eq!(packet.len(), bytes.len());
    // Its ports, read where the caller has said that they are.
    assert_eq!(packet[tcp..tcp + 4], [0x0f, 0xa0, 0, 80]);
    let last = packet.len().min(tcp.max(ip + 40).max(40) + 8);
    assert_eq!(packet[last..], bytes[last..], "what is behind it stays");
});
