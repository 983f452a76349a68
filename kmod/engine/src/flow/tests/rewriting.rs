// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a segment becomes: numbers, windows, clocks, blocks, checksums.

use std::vec::Vec;

use super::super::checksum::Sum;
use super::super::segment::Segment;
use super::super::*;
use super::script::check;
use super::script::run;
use super::script::sent;
use super::script::Setting;

#[test]
fn a_servers_window_is_told_in_the_clients_scale() {
    run("c> S 0 ws=4
         c< SA 0 1 ws=7
         c> PA 1 1 GET/a win=500
         a< S 0 ws=4 win=8000
         a> SA 0 1 ws=2 win=60000
         a< PA 1 1 GET/a win=500
         # 6400 bytes.
         a> A 1 29 win=1600
         c< A 1 29 win=50
         # It has shrunk: what the client was allowed is not taken back.
         a> A 1 29 win=1590
         c< A 1 29 win=50
         a> PA 1 29 OK:0 win=1700
         c< PA 1 29 OK:0 win=53");
}

#[test]
fn where_a_server_does_not_scale_windows_are_told_in_bytes() {
    run("c> S 0 ws=4
         c< SA 0 1
         c> PA 1 1 GET/a win=500
         a< S 0 ws=4 win=8000
         a> SA 0 1 ws=none win=6400
         a< PA 1 1 GET/a win=8000
         a> A 1 29 win=6400
         c< A 1 29 win=50");
}

#[test]
fn where_the_client_does_not_scale_nobody_does() {
    run("c> S 0 ws=none
         c< SA 0 1 ws=none
         c> PA 1 1 GET/a win=5000
         a< S 0 ws=none win=5000
         a> SA 0 1 ws=none win=6400
         a< PA 1 1 GET/a win=5000
         a> A 1 29 win=6400
         c< A 1 29 win=6400");
}

/// What is sent again may lie as far back as the server's window is wide.
#[test]
fn a_hole_may_be_as_far_back_as_a_window_is_wide() {
    run("c> S 0
         c< SA 0 1
         c> PA 1 1 POST/a:20000000
         a< S 0
         a> SA 0 1 ws=14
         a< PA 1 1 POST/a:20000000
         a> A 1 56 win=1000
         c< A 1 56
         c> A 8000000 1 x:10
         a< A 8000000 1 x:10
         c> A 56 1 x:10
         a< A 56 1 x:10");
}

#[test]
fn what_no_window_has_room_for_is_not_the_connections() {
    check(
        &Setting::default(),
        "c> S 0
         c< SA 0 1
         c> PA 1 1 GET/a
         a< S 0
         a> SA 0 1
         a< PA 1 1 GET/a
         # Of a server's connection long ago.
         a> A 900000000 29 x:5
         # An acknowledgement of what it has not been sent.
         a> A 1 30
         # Of an older connection of the same addresses and ports.
         a> A 1 0
         # Of the client's.
         c> A 900000000 1
         c> A 29 900000000",
        |script| assert_eq!(script.world.events["OutOfWindow"], 5),
    );
}

/// Numbers are compared over less than 2³¹; what goes over a connection may be more.
#[test]
fn a_response_may_be_of_gigabytes() {
    run("c> S 0 ws=14
         c< SA 0 1
         c> PA 1 1 GET/a win=65535
         a< S 0 ws=14 win=65535
         a> SA 0 1
         a< PA 1 1 GET/a win=65535
         a> A 1 29 'HTTP/1.1_200_\\r\\nContent-Length:_3000000000\\r\\n\\r\\n'
         c< A 1 29 'HTTP/1.1_200_\\r\\nContent-Length:_3000000000\\r\\n\\r\\n'
         c> A 29 46 win=65535
         a< A 29 46 win=65535
         a> A 1000000000 29 x:10
         c< A 1000000000 29 x:10
         c> A 29 1000000010 win=65535
         a< A 29 1000000010 win=65535
         a> A 2000000000 29 x:10
         c< A 2000000000 29 x:10
         c> A 29 2000000010 win=65535
         a< A 29 2000000010 win=65535
         a> A 3000000036 29 x:10
         c< A 3000000036 29 x:10
         c> A 29 3000000046 win=65535
         a< A 29 3000000046 win=65535
         c> PA 29 3000000046 GET/b win=65535
         a< A 29 3000000046 win=65535
         b< S 0 ws=14 win=65535");
}

/// The response to a long body is one to what its server has seen, and the server's end is not that of one that has seen nothing.
#[test]
fn so_may_a_request() {
    let wide = Setting {
        scale: 14,
        ..Setting::default()
    };
    check(
        &wide,
        "c> S 0
         c< SA 0 1 ws=14
         c> PA 1 1 POST/a:3000000000
         a< S 0
         a> SA 0 1 ws=14
         a< PA 1 1 POST/a:3000000000
         a> A 1 58 win=65535
         c< A 1 58 win=65535
         c> A 1000000000 1 x:10
         a< A 1000000000 1 x:10
         a> A 1 1000000010 win=65535
         c< A 1 1000000010 win=65535
         c> A 2000000000 1 x:10
         a< A 2000000000 1 x:10
         a> A 1 2000000010 win=65535
         c< A 1 2000000010 win=65535
         c> A 3000000048 1 x:10
         a< A 3000000048 1 x:10
         a> A 1 3000000058 win=65535
         c< A 1 3000000058 win=65535
         a> PA 1 3000000058 OK:5 win=65535
         c< PA 1 3000000058 OK:5 win=65535",
        |script| assert!(!script.world.events.contains_key("Unsolicited")),
    );
}

/// Of both directions, on a leg whose numbers are not the client's; what lies before the leg is of no use to its server.
#[test]
fn blocks_are_told_in_the_numbers_of_who_gets_them() {
    sent(
        "a> PA 1 29 OK:5
         c< PA 1 29 OK:5
         c> A 29 44
         a< A 29 44
         c> PA 29 44 POST/b:100
         a< A 29 44
         b< S 0
         b> SA 0 1
         b< PA 1 1 POST/b:100
         c> A 90 44 x:10
         b< A 62 1 x:10
         b> A 1 51 sack=62-72
         c< A 44 79 sack=90-100
         b> A 1 51 OK:50[0..50]
         c< A 44 79 OK:50[0..50]
         b> PA 61 51 OK:50[60..]
         c< PA 104 79 OK:50[60..]
         c> A 100 94 sack=104-133
         b< A 72 51 sack=61-90
         # What had come twice before the leg.
         c> A 100 94 sack=1-44
         b< A 72 51 sack=none",
    );
}

/// Where the client's address is not kept, the switch's is the server's client.
#[test]
fn servers_may_be_reached_from_an_address_of_the_switch() {
    let fullnat = Setting {
        fullnat: true,
        ..Setting::default()
    };
    check(
        &fullnat,
        "c> S 0
         c< SA 0 1
         c> PA 1 1 GET/a
         a< S 0
         a> SA 0 1
         a< PA 1 1 GET/a
         a> PA 1 29 OK:5
         c< PA 1 29 OK:5
         c> A 29 44
         a< A 29 44
         c> PA 29 44 GET/b
         a< A 29 44
         b< S 0
         b> SA 0 1
         b< PA 1 1 GET/b
         # The front is reached from the client's own.
         b> PA 1 29 OK:0
         c< PA 44 57 OK:0
         c> PA 57 82 GET/nobody
         b< A 29 39
         a< R 29
         f< S 0",
        |_| {},
    );
}

/// The client's clock goes on as the servers' have it; each echo is one that its server has told.
#[test]
fn clocks_go_on_over_servers() {
    let clocks = Setting {
        sticky: false,
        ..Setting::default()
    };
    check(
        &clocks,
        "c> S 0 ts=500/0
         c< SA 0 1
         c> PA 1 1 GET/a ts=501/9000
         a< S 0 ts=501/0
         a> SA 0 1 ts=70/501
         a< PA 1 1 GET/a ts=501/70
         a> PA 1 29 OK:5 ts=80/501
         c< PA 1 29 OK:5 ts=9010/501
         c> A 29 44 ts=502/9010
         a< A 29 44 ts=502/80
         c> PA 29 44 GET/b ts=503/9010
         a< A 29 44 ts=503/80
         b< S 0 ts=503/0
         b> SA 0 1 ts=4000000/503
         b< PA 1 1 GET/b ts=503/4000000
         b> PA 1 29 OK:5 ts=4000500/503
         c< PA 44 57 OK:5 ts=9510/503
         c> A 57 87 ts=504/9510
         b< A 29 44 ts=504/4000500
         # Back to the first one, whose clock is behind: it has told no more than 80.
         c> PA 57 87 GET/a ts=505/9510
         b< A 29 44 ts=505/4000500
         a< PA 29 44 GET/a ts=505/80
         a> PA 44 57 OK:0 ts=90/505
         c< PA 87 85 OK:0 ts=9510/505
         a> A 82 57 ts=95/505
         c< A 125 85 ts=9515/505",
        |_| {},
    );
}

/// The server has seen the client's latest clock in the SYN already.
#[test]
fn held_segments_have_the_latest_clock() {
    run("c> S 0 ts=500/0
         c< SA 0 1
         c> A 1 1 GET/a[0..9] ts=501/9000
         c> PA 10 1 GET/a[9..] ts=601/9000
         a< S 0 ts=601/0
         a> SA 0 1 ts=70/601
         a< A 1 1 GET/a[0..9] ts=601/70
         a< PA 10 1 GET/a[9..] ts=601/70");
}

/// Linux takes nothing else before it has a socket (tcp_check_req). The request was held while the response before it
/// went on, so that it echoes an older clock than its client has seen.
#[test]
fn until_a_server_has_taken_something_its_syn_ack_is_echoed() {
    run("c> S 0 ts=500/0
         c< SA 0 1
         c> PA 1 1 GET/a GET/b ts=501/9000
         a< S 0 ts=501/0
         a> SA 0 1 ts=70/501
         a< A 1 1 GET/a ts=501/70
         a> PA 1 29 OK:5 ts=3070/501
         c< PA 1 29 OK:5 ts=12000/501
         c> A 57 44 ts=3501/12000
         a< A 29 44 ts=3501/3070
         b< S 0 ts=3501/0
         a< A 29 44
         b> SA 0 1 ts=4000000/3501
         b< PA 1 1 GET/b ts=3501/4000000
         # It has not taken that: it was lost, or the server would not have it.
         b> A 1 1 ts=4000001/3501
         c< A 44 29
         c> PA 29 44 GET/b ts=4501/11990
         b< PA 1 1 GET/b ts=4501/4000000
         b> A 1 29 ts=4001000/4501
         c< A 44 57 ts=13000/4501
         c> A 57 44 ts=4502/13000
         b< A 29 1 ts=4502/4001000");
}

#[test]
fn what_a_server_would_not_take_for_its_clock_is_not_read() {
    check(
        &Setting::default(),
        "c> S 0 ts=500/0
         c< SA 0 1
         c> A 1 1 GET/a[0..9] ts=601/9000
         c> PA 10 1 GET/b[9..] ts=501/9000
         c> PA 10 1 GET/a[9..] ts=602/9000
         a< S 0 ts=602/0",
        |script| assert_eq!(script.world.events["OldTimestamp"], 1),
    );
}

fn packet(v6: bool, options: &[u8], data: &[u8]) -> (Vec<u8>, usize) {
    let mut packet = Vec::new();
    let len = 20 + options.len() + data.len();
    if v6 {
        packet.extend_from_slice(&[0x60, 0, 0, 0, 0, len as u8, 6, 3]);
        packet.extend_from_slice(&[1; 16]);
        packet.extend_from_slice(&[2; 16]);
    } else {
        packet.extend_from_slice(&[0x45, 0, 0, 20 + len as u8, 0, 0, 0x40, 0, 3, 6, 0, 0]);
        packet.extend_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        let mut sum = Sum::default();
        sum.add(&packet);
        let check = sum.complement().to_be_bytes();
        packet[10..12].copy_from_slice(&check);
    }
    let tcp = packet.len();
    packet.extend_from_slice(&[0x9c, 0x40, 0, 80, 0, 0, 3, 0xe8, 0, 0, 7, 0xd0]);
    packet.extend_from_slice(&[
        ((20 + options.len() as u8) / 4) << 4,
        0x10,
        1,
        0,
        0,
        0,
        0,
        0,
    ]);
    packet.extend_from_slice(options);
    packet.extend_from_slice(data);
    let check = tcp_check(&packet, tcp);
    packet[tcp + 16..tcp + 18].copy_from_slice(&check.to_be_bytes());
    (packet, tcp)
}

/// What the checksum field adds to the rest: 0 in a packet whose checksum is right.
fn tcp_check(packet: &[u8], tcp: usize) -> u16 {
    let mut sum = Sum::default();
    sum.number(6);
    sum.number((packet.len() - tcp) as u32);
    sum.add(&packet[if packet[0] >> 4 == 6 { 8..40 } else { 12..20 }]);
    sum.add(&packet[tcp..]);
    sum.complement()
}

fn rewrite(v6: bool) -> Rewrite {
    let address = |n: u8| {
        let mut address = [n; 16];
        if !v6 {
            address[..12].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
        }
        address
    };
    Rewrite {
        source: Endpoint {
            address: address(77),
            port: 1234,
        },
        destination: Endpoint {
            address: address(88),
            port: 4321,
        },
        seq: 0xffff_fff0,
        ack: 5,
        flags: segment::PSH | segment::ACK,
        window: 7,
        clock: 0xffff_ff00,
        echo: 9,
        sack: 0x1_0000,
        sack_floor: 2_000,
        hop_limit: 64,
        limit: u16::MAX,
    }
}

const TIMESTAMPS_ALIGNED: &[u8] = &[1, 1, 8, 10, 0, 0, 2, 0, 0, 0, 0, 1];
const TIMESTAMPS_ODD: &[u8] = &[1, 8, 10, 0, 0, 2, 0, 0, 0, 0, 1, 1];

#[test]
fn checksums_stay_right_whatever_changes() {
    for v6 in [false, true] {
        for options in [&[][..], TIMESTAMPS_ALIGNED, TIMESTAMPS_ODD] {
            for data in [&b""[..], b"GET", b"even"] {
                let (mut bytes, tcp) = packet(v6, options, data);
                assert_eq!(tcp_check(&bytes, tcp), 0);
                rewrite(v6).apply(&mut bytes, tcp, Checksum::Full).unwrap();
                assert_eq!(tcp_check(&bytes, tcp), 0, "{v6} {options:?} {data:?}");
                if !v6 {
                    let mut sum = Sum::default();
                    sum.add(&bytes[..20]);
                    assert_eq!(sum.complement(), 0, "the IP header's");
                }
                assert_eq!(bytes[if v6 { 7 } else { 8 }], 64, "hops");
                assert_eq!(&bytes[tcp..tcp + 4], &[4, 210, 16, 225]);
                assert_eq!(&bytes[tcp + 4..tcp + 12], &[255, 255, 255, 240, 0, 0, 0, 5]);
                assert_eq!(&bytes[bytes.len() - data.len()..], data);
                if !options.is_empty() {
                    let header = &bytes[tcp..tcp + 32];
                    let read = Segment::read([0; 16], [0; 16], header, 0).unwrap();
                    let timestamps = Timestamps {
                        value: 0x100,
                        echo: 10,
                    };
                    assert_eq!(read.timestamps, Some(timestamps));
                }
            }
        }
    }
}

#[test]
fn an_urgent_pointer_goes_with_its_flag() {
    for v6 in [false, true] {
        for kept in [false, true] {
            let (mut bytes, tcp) = packet(v6, TIMESTAMPS_ALIGNED, b"data");
            bytes[tcp + 13] |= segment::URG.byte();
            bytes[tcp + 18..tcp + 20].copy_from_slice(&[0x12, 3]);
            bytes[tcp + 16..tcp + 18].fill(0);
            let check = tcp_check(&bytes, tcp).to_be_bytes();
            bytes[tcp + 16..tcp + 18].copy_from_slice(&check);
            let mut rewrite = rewrite(v6);
            if kept {
                rewrite.flags |= segment::URG;
            }
            rewrite.apply(&mut bytes, tcp, Checksum::Full).unwrap();
            assert_eq!(tcp_check(&bytes, tcp), 0);
            let pointer: &[u8] = if kept { &[0x12, 3] } else { &[0, 0] };
            assert_eq!(&bytes[tcp + 18..tcp + 20], pointer);
            assert_eq!(bytes[tcp + 13], rewrite.flags.byte());
            rewrite.flags = segment::PSH | segment::ACK;
            rewrite.apply(&mut bytes, tcp, Checksum::Partial).unwrap();
            assert_eq!(bytes[tcp + 18..tcp + 20], [0, 0]);
        }
    }
}

#[test]
fn a_checksum_that_the_device_finishes_stays_the_pseudo_headers() {
    for v6 in [false, true] {
        let (mut bytes, tcp) = packet(v6, TIMESTAMPS_ALIGNED, b"data");
        let pseudo = |bytes: &[u8]| {
            let mut sum = Sum::default();
            sum.number(6);
            sum.number((bytes.len() - tcp) as u32);
            sum.add(&bytes[if v6 { 8..40 } else { 12..20 }]);
            !sum.complement()
        };
        let before = pseudo(&bytes);
        bytes[tcp + 16..tcp + 18].copy_from_slice(&before.to_be_bytes());
        rewrite(v6)
            .apply(&mut bytes, tcp, Checksum::Partial)
            .unwrap();
        let after = u16::from_be_bytes([bytes[tcp + 16], bytes[tcp + 17]]);
        assert_eq!(after, pseudo(&bytes));
        assert_ne!(after, before);
    }
}

#[test]
fn blocks_take_the_acknowledgements_delta_and_those_of_another_leg_are_left_out() {
    // Three blocks: the first is of what came twice, from before the leg.
    let mut options = Vec::from([1, 1, 5, 26]);
    for number in [1_000u32, 1_010, 3_000, 3_100, 2_500, 2_600] {
        options.extend_from_slice(&number.to_be_bytes());
    }
    let (mut bytes, tcp) = packet(false, &options, b"");
    rewrite(false)
        .apply(&mut bytes, tcp, Checksum::Full)
        .unwrap();
    assert_eq!(tcp_check(&bytes, tcp), 0);
    let mut expected = Vec::from([1, 1, 5, 18]);
    for number in [3_000u32, 3_100, 2_500, 2_600] {
        expected.extend_from_slice(&(number + 0x1_0000).to_be_bytes());
    }
    expected.extend_from_slice(&[1; 8]);
    assert_eq!(&bytes[tcp + 20..], &expected);

    // None is left.
    let mut options = Vec::from([1, 1, 5, 10]);
    options.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 9]);
    let (mut bytes, tcp) = packet(true, &options, b"");
    rewrite(true)
        .apply(&mut bytes, tcp, Checksum::Full)
        .unwrap();
    assert_eq!(tcp_check(&bytes, tcp), 0);
    assert_eq!(&bytes[tcp + 20..], &[1; 12]);
}

#[test]
fn headers_that_are_too_short_are_not_rewritten() {
    let (bytes, tcp) = packet(false, TIMESTAMPS_ALIGNED, b"");
    for len in 0..bytes.len() {
        let mut short = bytes[..len].to_vec();
        let at = tcp.min(len);
        assert_eq!(
            rewrite(false).apply(&mut short, at, Checksum::Full),
            None,
            "{len}"
        );
    }
}

/// IPv6 with every option of a SYN is the longest.
#[test]
fn what_the_switch_builds_is_a_right_packet() {
    for v6 in [false, true] {
        for timestamps in [None, Some(Timestamps { value: 1, echo: 2 })] {
            let build = Build {
                source: rewrite(v6).source,
                destination: rewrite(v6).destination,
                seq: 1,
                ack: 2,
                flags: segment::SYN | segment::ACK,
                window: 3,
                timestamps,
                offer: Offer {
                    mss: 1440,
                    window_scale: Some(7),
                    sack: true,
                },
                refusal: Some(Refusal::RateLimit),
            };
            let mut bytes = [0; LEN_MAX];
            let len = build.write(&[], &mut bytes);
            let tcp = if v6 { 40 } else { 20 };
            assert_eq!(tcp_check(&bytes[..len], tcp), 0);
            let header = &bytes[tcp..len];
            assert_eq!(header.len(), usize::from(header[12] >> 4) * 4);
            let read = Segment::read([0; 16], [0; 16], header, 0).unwrap();
            assert_eq!((read.offer, read.timestamps), (build.offer, timestamps));
        }
    }
}
