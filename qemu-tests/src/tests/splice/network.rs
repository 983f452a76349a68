// SPDX-License-Identifier: MIT
//! Networks that lose, reorder, duplicate, corrupt and delay; hosts that leave TCP's options out; paths of every size.

use l7switch_netlink::Client;

use super::Setup;
use super::rules_with;
use super::show;
use crate::kit::Host;
use crate::kit::Network;
use crate::kit::module::modprobe;
use crate::kit::network::FRAMES;
use crate::kit::network::VIP;
use crate::kit::network::VIP6;
use crate::kit::origin;

/// A client that asks for bodies and sends some, on connections that it keeps for a while, and compares every byte.
const CLIENT: &str = r#"
import hashlib, http.client, os, socket, sys, threading
address = sys.argv[1]
count, size, at_once = map(int, sys.argv[2:])
def pattern(name, size):
    block = hashlib.sha256(name.encode()).digest() * 2048
    return (block * (size // len(block) + 1))[:size]
WANTED = {name: pattern(name, size) for name in ("server1", "server2")}
errors, lock, left = [], threading.Lock(), [count]
def work(seed):
    connection, used = None, 0
    while not errors:
        with lock:
            if left[0] == 0:
                return
            left[0] -= 1
            turn = left[0]
        try:
            if connection is None or used == 8:
                connection, used = http.client.HTTPConnection(address, 80, timeout=12 * float(os.environ["LIMIT"])), 0
            used += 1
            number = turn % 2 + 1
            length = size * (turn % 7) // 6
            kind = ("len", "chunked", "sum")[turn % 3]
            name = f"server{number}"
            if kind == "sum":
                body = WANTED[name][:length]
                connection.request("POST", f"/origin{number}/sum", body)
                wanted = f"{length} {hashlib.sha256(body).hexdigest()}\n".encode()
            else:
                connection.request("GET", f"/origin{number}/{kind}/{length}")
                wanted = WANTED[name][:length]
            got = connection.getresponse().read()
            if got != wanted:
                raise ValueError(f"{len(got)} bytes instead of {len(wanted)}")
        except Exception as error:
            errors.append(f"{turn} {kind} {length}: {error!r}")
threads = [threading.Thread(target=work, args=(seed,)) for seed in range(at_once)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(errors or "all right")
"#;

/// So many requests, of so many clients at once.
fn ask(module: &mut Client, client: &Host, address: &str, count: u32, size: u32, at_once: u32) {
    std::fs::write("/tmp/ask.py", CLIENT).unwrap();
    let line = format!("python3 -I -S /tmp/ask.py {address} {count} {size} {at_once}");
    let answer = client.attempt(&line);
    show(module);
    assert_eq!(answer.stdout, "all right\n", "{answer:?}");
}

fn bad_network(count: u32, at_once: u32) {
    let mut setup = Setup::new(&rules_with("nat"));
    // A server of which three SYNs are lost is left out, and where there is no other the front tries.
    std::fs::write("/tmp/bad.toml", rules_with("nat")).unwrap();
    let line = "l7switch /tmp/bad.toml --no-watch --kernel require";
    let mut front = setup.network.switch.start(line);
    front.wait_for_output("ready,");
    modprobe("sch_netem");
    let bad = "delay 100ms 20ms reorder 25% loss 5% duplicate 2% corrupt 1%";
    let Network {
        client,
        switch,
        servers,
    } = &setup.network;
    let far = vec![(client, "eth0"), (switch, "client")];
    let near = vec![
        (switch, "server1"),
        (switch, "server2"),
        (&servers[0], "eth0"),
        (&servers[1], "eth0"),
    ];
    for (links, address) in [(far, VIP.to_string()), (near, VIP6.to_string())] {
        for (host, device) in &links {
            host.run(&format!("tc qdisc add dev {device} root netem {bad}"));
        }
        ask(&mut setup.client, client, &address, count, 20_000, at_once);
        for (host, device) in &links {
            let seen = host.run(&format!("tc -s qdisc show dev {device}"));
            println!("{}: {seen}", host.name());
            host.run(&format!("tc qdisc del dev {device} root"));
        }
    }
    let (all, to_front) = (setup.counter("requests"), setup.counter("to_front"));
    println!("{to_front} of {all} requests went to the front");
    // One that is left out for ten seconds leaves its requests to the front.
    let left_out = setup.counter("servers_failed");
    assert!(left_out <= 1, "{left_out}");
    assert!(left_out > 0 || to_front <= 2 + all / 200);
}

pub(in super::super) fn bad_networks_lose_nothing() {
    bad_network(150, 8);
}

pub(in super::super) fn bad_networks_lose_nothing_in_ten_thousand_requests() {
    bad_network(10_000, 100);
}

pub(in super::super) fn options_of_tcp_may_be_missing_on_either_side() {
    let mut setup = Setup::new(&rules_with("nat"));
    let names = ["tcp_timestamps", "tcp_sack", "tcp_window_scaling"];
    let whole = origin::pattern(&setup.network.servers[0], 300_000);
    std::fs::write("/tmp/up", &whole).unwrap();
    let sum = setup.network.client.run("sha256sum < /tmp/up");
    let sum = format!("300000 {}\n", sum.split(' ').next().unwrap());
    for mask in 0..64 {
        for (bit, name) in names.iter().enumerate() {
            let value = |bit: usize| if mask >> bit & 1 == 1 { "1" } else { "0" };
            let setting = format!("net.ipv4.{name}");
            setup.network.client.set(&setting, value(bit));
            for server in &setup.network.servers {
                server.set(&setting, value(bit + 3));
            }
        }
        // What servers lack is learned anew with each table: a client that was offered too much is left to the front, and
        // there is none here.
        setup.load(&rules_with("nat"));
        let learns = mask & 1 == 1 && mask >> 3 & 1 == 0;
        let before = setup.counter("no_front");
        let down = format!("-o /tmp/got http://{VIP}/origin1/len/300000");
        if learns {
            let line = format!("curl -sS --max-time $LIMIT {down}");
            assert!(!setup.network.client.attempt(&line).is_good());
            assert_eq!(setup.counter("no_front"), before + 1);
        }
        setup.curl(&down);
        assert!(std::fs::read("/tmp/got").unwrap() == whole, "{mask:06b}");
        let sent = format!("--data-binary @/tmp/up http://{VIP}/origin1/sum");
        assert_eq!(setup.curl(&sent), sum, "{mask:06b}");
    }
    setup.show();
}

pub(in super::super) fn paths_of_any_size_are_passed() {
    let mut setup = Setup::new(&rules_with("nat"));
    let whole = origin::pattern(&setup.network.servers[0], 200_000);
    std::fs::write("/tmp/up", &whole).unwrap();
    let sum = setup.network.client.run("sha256sum < /tmp/up");
    let sum = format!("200000 {}\n", sum.split(' ').next().unwrap());
    let client = [("client", "eth0"), ("switch", "client")];
    let server = [("server1", "eth0"), ("switch", "server1")];
    // Both ends of a link know it, or only the switch's does, so that the others learn it from ICMP.
    for (mtu, link, learned) in [
        (576, client, false),
        (9000, client, false),
        (9000, server, false),
        (576, server, false),
        (1280, server, true),
        (1280, client, true),
    ] {
        let set = |setup: &Setup, mtu: u32| {
            for (host, device) in link {
                let learns = learned && host != "switch" && mtu != 1500;
                let host = match host {
                    "client" => &setup.network.client,
                    "switch" => &setup.network.switch,
                    _ => &setup.network.servers[0],
                };
                if !learns {
                    host.run(&format!("ip link set {device} mtu {mtu}"));
                }
            }
        };
        set(&setup, mtu);
        for offload in ["on", "off"] {
            for host in [&setup.network.client, &setup.network.servers[0]] {
                host.run(&format!(
                    "ethtool -K eth0 gso {offload} tso {offload} gro {offload}"
                ));
            }
            setup.curl(&format!("-o /tmp/got http://{VIP}/origin1/len/200000"));
            assert!(
                std::fs::read("/tmp/got").unwrap() == whole,
                "{mtu} {offload}"
            );
            let sent = format!("--data-binary @/tmp/up http://{VIP}/origin1/sum");
            assert_eq!(setup.curl(&sent), sum, "{mtu} {offload}");
        }
        set(&setup, 1500);
    }
    setup.show();
}

/// A client whose segments come in fragments: 10.0.1.77, which no kernel has.
const FRAGMENTS: &str = r#"
link.bind(("eth0", 0x0800))
link.settimeout(float(os.environ["LIMIT"]))
FROM, TO = socket.inet_aton("10.0.1.77"), socket.inet_aton("10.0.1.100")
def send(flags, seq, ack, data=b"", sizes=()):
    tcp = struct.pack("!HHIIBBHHH", 7777, 80, seq, ack, 5 << 4, flags, 60000, 0, 0) + data
    tcp = summed(FROM, TO, tcp)
    offset, parts = 0, []
    for size in list(sizes) + [len(tcp)]:
        part = tcp[offset:offset + size]
        more = 0x2000 if offset + len(part) < len(tcp) else 0
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(part), 7, more | offset // 8, 64, 6, 0, FROM, TO)
        parts.append(mac + own + b"\x08\x00" + headed(ip) + part)
        offset += len(part)
    for part in reversed(parts):
        link.send(part)
def receive(wanted):
    while True:
        frame = link.recv(65536)
        if frame[26:30] == TO and frame[30:34] == FROM:
            tcp = frame[34:34 + struct.unpack("!H", frame[16:18])[0] - 20]
            _, _, seq, ack, offset, flags = struct.unpack("!HHIIBB", tcp[:14])
            data = tcp[(offset >> 4) * 4:]
            if wanted(flags, data):
                return seq, data
send(2, 1000, 0)
seq, _ = receive(lambda flags, data: flags == 0x12)
send(0x18, 1001, seq + 1, b"GET /one HTTP/1.1\r\nHost: fragments.test\r\n\r\n", (24, 16))
print(receive(lambda flags, data: data)[1].decode())
"#;

pub(in super::super) fn fragments_are_put_together() {
    let mut setup = Setup::new(&rules_with("nat"));
    std::fs::write("/tmp/fragments.py", format!("{FRAMES}{FRAGMENTS}")).unwrap();
    let own = setup.network.client.mac("eth0");
    let mac = setup.network.switch.mac("client");
    setup
        .network
        .switch
        .run(&format!("ip neigh add 10.0.1.77 lladdr {own} dev client"));
    let answer = setup
        .network
        .client
        .attempt(&format!("python3 -I -S /tmp/fragments.py {mac}"));
    setup.show();
    assert!(
        answer.stdout.ends_with("server1 10.0.1.77\n\n"),
        "{answer:?}"
    );
}
