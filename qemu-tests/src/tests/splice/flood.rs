// SPDX-License-Identifier: MIT
//! Floods: what costs the sender little must cost the switch no memory.

use std::io::Write as _;
use std::net::TcpStream;

use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::setrlimit;

use super::Setup;
use super::response;
use super::rules_with;
use crate::kit::count_free_pages;
use crate::kit::kib;
use crate::kit::limit;
use crate::kit::network::FRAMES;
use crate::kit::network::VIP;

/// Sends SYNs of spoofed addresses as fast as it can, for so many seconds, and says how many.
const FLOOD: &str = r#"
import time
target = socket.inet_aton("10.0.1.100")
frames = []
for number in range(2000):
    source = struct.pack("!BBH", 10, 9, number)
    tcp = struct.pack("!HHIIBBHHHBBH", 1024 + number, 80, number, 0, 6 << 4, 2, 1000, 0, 0, 2, 4, 1460)
    tcp = summed(source, target, tcp)
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, 6, 0, source, target)
    frames.append(mac + own + b"\x08\x00" + headed(ip) + tcp)
end, sent = time.monotonic() + float(sys.argv[2]), 0
while time.monotonic() < end:
    for frame in frames:
        try:
            link.send(frame)
            sent += 1
        except OSError:
            pass
print(sent)
"#;

pub(in super::super) fn a_syn_flood_takes_no_memory() {
    let mut setup = Setup::new(&rules_with("nat"));
    // What the spoofed addresses are answered goes nowhere.
    setup
        .network
        .switch
        .run("ip route add blackhole 10.9.0.0/16");
    setup.network.switch.set("net.ipv4.conf.all.rp_filter", "0");
    setup
        .network
        .switch
        .set("net.ipv4.conf.client.rp_filter", "0");
    std::fs::write("/tmp/flood.py", format!("{FRAMES}{FLOOD}")).unwrap();
    let mac = setup.network.switch.mac("client");
    count_free_pages();
    let before = kib("MemAvailable");
    // Longer in a kernel that is slow.
    let seconds = limit().as_secs() * 2 / 5;
    let line = format!("python3 -I -S /tmp/flood.py {mac} {seconds}");
    let mut flood = setup.network.client.start(&line);
    let mut served = 0;
    while flood.is_running() {
        assert_eq!(
            setup.curl(&format!("http://{VIP}/one")),
            "server1 10.0.1.2\n"
        );
        served += 1;
    }
    let after = kib("MemAvailable");
    let flows = setup.client.flows().unwrap().len();
    let answered = setup.counter("syns_answered");
    println!(
        "{} SYNs sent, {answered} answered, {served} requests served meanwhile, {flows} flows; {before} KiB -> {after} KiB",
        flood.output().trim()
    );
    assert!(served >= 3 && answered > 5_000, "{served} {answered}");
    assert!(flows <= served);
    assert!(after + 8_192 > before, "{before} KiB -> {after} KiB");
}

pub(in super::super) fn idle_connections_take_no_memory() {
    let mut setup = Setup::new(&rules_with("nat"));
    let slab = || kib("Slab");
    let before = slab();
    let streams: Vec<TcpStream> = (0..200)
        .map(|_| setup.network.client.connect((VIP, 80)))
        .collect();
    assert_eq!(setup.client.flows().unwrap().len(), 0);
    println!(
        "{} connections, slab {before} KiB -> {} KiB",
        streams.len(),
        slab()
    );
    assert_eq!(setup.counter("syns_answered"), 200);
}

pub(in super::super) fn a_hundred_thousand_idle_connections_take_no_memory() {
    // Ports of the client's serve before each of the service's, and are found faster where half of them are free.
    const PORTS: u16 = 8;
    let listen: Vec<String> = (80..80 + PORTS)
        .map(|port| format!("\"{VIP}:{port}\""))
        .collect();
    let text = rules_with("nat").replace(
        &format!("listen = [\"{VIP}:80\"]"),
        &format!("listen = [{}]", listen.join(", ")),
    );
    let mut setup = Setup::new(&text);
    let client = &setup.network.client;
    client.set("net.ipv4.ip_local_port_range", "1024 65000");
    let limit = Rlimit {
        current: Some(110_000),
        maximum: Some(110_000),
    };
    std::fs::write("/proc/sys/fs/nr_open", "200000").unwrap();
    setrlimit(Resource::Nofile, limit).unwrap();
    let free = || kib("MemAvailable");
    let before = free();
    let mut streams: Vec<TcpStream> = client.inside(|| {
        let connect = |number: u16| {
            let port = 80 + number % PORTS;
            TcpStream::connect((VIP, port)).unwrap()
        };
        (0..50_000).chain(0..50_000).map(connect).collect()
    });
    let held = before.saturating_sub(free());
    println!(
        "{} connections, {held} KiB in all, of which the client's sockets are at least 2 KiB each",
        streams.len()
    );
    assert_eq!(setup.client.flows().unwrap().len(), 0);
    assert!(setup.counter("syns_answered") >= 100_000);
    // Any of them is as good as at first.
    for stream in streams.iter_mut().step_by(5_000) {
        stream
            .write_all(b"GET /one HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        assert_eq!(response(stream).1, "server1 10.0.1.2\n");
    }
    assert_eq!(setup.client.flows().unwrap().len(), 20);
    // A socket of the client's is of 2.3 KiB and more in slabs alone.
    assert!(held < 100_000 * 4, "{held} KiB");
}
