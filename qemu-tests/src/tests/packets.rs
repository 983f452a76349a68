// SPDX-License-Identifier: MIT
//! Packets that no good host sends, at the module's hooks.

use std::fs;
use std::net::SocketAddr;
use std::net::TcpStream;

use l7switch_netlink::Client;

use super::flows::get;
use super::flows::services;
use crate::kit::Module;
use crate::kit::Network;
use crate::kit::Origin;
use crate::kit::network::FRAMES;
use crate::kit::network::VIP;
use crate::kit::network::VIP6;
use crate::kit::wait_until;

/// Sends frames: IPv4 with options, as fragments, cut off; IPv6 with chains of extension headers; TCP of any flags.
const SCRIPT: &str = r#"
import random
seed, count = int(sys.argv[2]), int(sys.argv[3])
r = random.Random(seed)
V4 = socket.inet_aton("10.0.1.2"), socket.inet_aton("10.0.1.100")
V6 = socket.inet_pton(socket.AF_INET6, "fd00:1::2"), socket.inet_pton(socket.AF_INET6, "fd00:1::100")

def tcp(ends):
    flags = r.choice([2, 2, 16, 17, 4, 18, 0, 255, r.randrange(256)])
    head = struct.pack("!HHIIBBHHH", r.randrange(2000, 2400), r.choice([80, 80, 80, 81]), r.getrandbits(32),
                       r.getrandbits(32), r.choice([5, 5, 0, 15]) << 4, flags, 1000, 0, 0)
    whole = head + bytes(r.randrange(60))
    if r.random() < 0.7:
        whole = summed(ends[0], ends[1], whole)
    return whole[:r.randrange(len(whole))] if r.random() < 0.2 else whole

def ipv4():
    words = r.choice([5, 5, 5, 5, 6, 15, 4, 0])
    options = r.randbytes(max(0, words - 5) * 4) if r.random() < 0.5 else b"\x01" * (max(0, words - 5) * 4)
    payload = tcp(V4)
    length = 20 + len(options) + len(payload)
    if r.random() < 0.1:
        length = r.randrange(length + 30)
    fragment = r.choice([0, 0, 0, 0, 0x4000, 0x2000, 1, 2, 0x2001, 0x1fff])
    head = struct.pack("!BBHHHBBH4s4s", 0x40 | words, 0, length, r.randrange(8), fragment, 64,
                       r.choice([6, 6, 6, 6, 17, 1, 4, 41]), 0, V4[0], V4[1]) + options
    head = headed(head)
    return b"\x08\x00" + head + payload

def ipv6():
    kinds = [r.choice([0, 43, 44, 51, 60, 59, 50, 135]) for _ in range(r.choice([0, 0, 1, 1, 2, 3, 8, 40]))]
    rest, following = tcp(V6), r.choice([6, 6, 6, 17, 58])
    for kind in reversed(kinds):
        if kind == 44:
            head = struct.pack("!BBHI", following, 0, r.choice([0, 0, 1, 8, 9, 0xfff8]), r.randrange(8))
        else:
            size = r.choice([0, 0, 0, 1, 2, 255])
            body = bytes([1, 4 + 8 * size if size < 30 else 0]) + bytes(4 + 8 * size)
            head = bytes([following, size]) + (body if r.random() < 0.8 else body[:r.randrange(len(body))])
        rest, following = head + rest, kind
    length = len(rest) if r.random() < 0.9 else r.randrange(len(rest) + 40)
    head = struct.pack("!IHBB", 0x60000000, min(length, 0xffff), following, 64) + V6[0] + V6[1]
    return b"\x86\xdd" + (head + rest)[:1400]

for _ in range(count):
    frame = mac + own + r.choice([ipv4, ipv6])()
    if r.random() < 0.1:
        frame = bytearray(frame)
        for _ in range(r.randrange(1, 4)):
            frame[r.randrange(12, len(frame))] = r.randrange(256)
    link.send(frame)
print("sent")
"#;

fn send(count: usize) {
    let _module = Module::load();
    let network = Network::with_servers(1);
    let _origin = Origin::start(&network.servers[0]);
    let mut client = network.switch.inside(|| Client::open().unwrap());
    let text = services(&[("web", 80)]);
    client.load(text.table.as_bytes()).unwrap();
    let seed = fastrand::u32(..);
    println!("seed {seed}");
    fs::write("/tmp/send.py", format!("{FRAMES}{SCRIPT}")).unwrap();
    let mac = network.switch.mac("client");
    // Of the ports that the packets come from: they meet connections in use.
    network
        .client
        .set("net.ipv4.ip_local_port_range", "2000 2399");
    let addresses = [SocketAddr::from((VIP, 80)), SocketAddr::from((VIP6, 80))];
    let connect = |turn: usize| network.client.connect(addresses[turn % 2]);
    let mut streams: Vec<TcpStream> = (0..40).map(connect).collect();
    streams.iter_mut().for_each(get);
    // Reassembled by the kernel before the module sees it, in the second half.
    for half in [
        "",
        "nft add table ip6 t; nft 'add chain ip6 t c { type filter hook prerouting priority 0; }'; \
                      nft add rule ip6 t c ct state new counter; nft add table ip t; \
                      nft 'add chain ip t c { type filter hook prerouting priority 0; }'; nft add rule ip t c ct state new counter",
    ] {
        network.switch.run(&format!("true; {half}"));
        network
            .client
            .run(&format!("python3 /tmp/send.py {mac} {seed} {}", count / 2));
        let module = client.module().unwrap();
        let traffic = client.services().unwrap()[0].traffic;
        println!("{} flows, {traffic:?}, {:?}", module.flows, module.counters);
        assert_eq!(module.flows, 40, "no forged packet makes a flow");
        assert!(traffic.packets > 200);
        assert!(module.counter("bad_checksums").unwrap() > 5);
        for address in addresses {
            assert_eq!(
                network.client.get(&format!("http://{address}/")),
                "server1\n"
            );
        }
        streams.iter_mut().for_each(get);
        wait_until("the others are forgotten", || {
            client.module().unwrap().flows == 40
        });
    }
}

pub(super) fn random_packets_do_no_harm() {
    send(6000);
}

pub(super) fn a_hundred_thousand_random_packets_do_no_harm() {
    send(100_000);
}
