// SPDX-License-Identifier: MIT
//! What receivers take: segments of the size that they said, no urgent bytes, and no answer that nobody asked for.

use l7switch_netlink::Client;

use super::Setup;
use super::pages::start_servers;
use super::pages::two_pools;
use super::rules;
use super::rules_with;
use super::show;
use crate::kit::Module;
use crate::kit::Network;
use crate::kit::network::VIP;
use crate::kit::network::VIP6;
use crate::kit::origin;

/// A server behind a path that takes shorter packets than the switch knows of, and drops longer ones without a word.
pub(in super::super) fn servers_get_no_longer_segments_than_they_take() {
    let mut setup = Setup::new(&rules_with("nat"));
    let whole = origin::pattern(&setup.network.servers[0], 300_000);
    std::fs::write("/tmp/up", &whole).unwrap();
    let sum = setup.network.client.run("sha256sum < /tmp/up");
    let sum = format!("300000 {}\n", sum.split(' ').next().unwrap());
    let cookie = "c".repeat(3000);
    setup.network.servers[0].run("ip link set eth0 mtu 1280");
    // What is cut is cut before the link.
    let cuts = "ethtool -K server1 gso off tso off";
    setup.network.switch.run(cuts);
    let watched =
        "nft add table inet look '{ chain look { type filter hook forward priority 0; }; }'";
    for (offloads, watch) in [("on", false), ("off", false), ("on", true), ("off", true)] {
        let line = format!("ethtool -K eth0 gso {offloads} tso {offloads} gro {offloads}");
        setup.network.client.run(&line);
        if watch {
            setup.network.switch.run(watched);
        }
        for forward in ["nat", "fullnat"] {
            for host in [VIP.to_string(), format!("[{VIP6}]")] {
                // What servers take is learned anew with each table.
                setup.load(&rules_with(forward));
                let before = setup.counter("segments_cut");
                let ask = format!("-b a={cookie} http://{host}/origin1/who");
                assert!(setup.curl(&ask).starts_with("server1 "));
                let held = setup.counter("segments_cut");
                setup.load(&rules_with(forward));
                let sent = format!("--data-binary @/tmp/up http://{host}/origin1/sum");
                assert_eq!(
                    setup.curl(&sent),
                    sum,
                    "{offloads} {watch} {forward} {host}"
                );
                let cut = setup.counter("segments_cut");
                // Of the service's next clients nothing has to be cut.
                assert_eq!(
                    setup.curl(&sent),
                    sum,
                    "{offloads} {watch} {forward} {host}"
                );
                let after = setup.counter("segments_cut");
                println!("{offloads} {watch} {forward} {host}: {before} {held} {cut} {after}");
                assert!(before < held && held < cut && cut == after);
            }
        }
        if watch {
            setup.network.switch.run("nft delete table inet look");
        }
    }
    setup.show();
}

/// Connections whose segments are no longer than so many bytes, one after the other, each with an answer of so many bytes.
const SMALL: &str = r#"
import socket, struct, sys
size, length, connections = map(int, sys.argv[2:])
for _ in range(connections):
    with socket.socket() as s:
        s.settimeout(20)
        s.setsockopt(6, socket.TCP_MAXSEG, size)
        s.connect((sys.argv[1], 80))
        head = f"GET /origin1/len/{length} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        s.sendall(head.encode())
        count = 0
        while data := s.recv(65536):
            count += len(data)
        if count <= length or struct.unpack_from("I", s.getsockopt(6, 11, 104), 20)[0] > size:
            sys.exit(f"{count} bytes")
print("all are right")
"#;

pub(in super::super) fn clients_of_small_segments_are_served() {
    let mut setup = Setup::new(&rules_with("nat"));
    std::fs::write("/tmp/small.toml", rules_with("nat")).unwrap();
    std::fs::write("/tmp/small.py", SMALL).unwrap();
    let line = "l7switch /tmp/small.toml --no-watch --kernel require";
    let mut front = setup.network.switch.start(line);
    front.wait_for_output("ready,");
    // Many are the front's own, since one in 64 of others' segments looks as if it had overtaken another.
    for (size, length, connections, to_front) in [
        (88, 30_000, 1, 1),
        (500, 30_000, 1, 2),
        (600, 30_000, 1, 2),
        (1400, 30_000, 1, 2),
        (500, 100, 100, 102),
    ] {
        let line = format!(
            "timeout $((6 * LIMIT)) python3 -IS /tmp/small.py {VIP} {size} {length} {connections}"
        );
        let answer = setup.network.client.attempt(&line);
        setup.show();
        assert_eq!(answer.stdout, "all are right\n", "{size}: {answer:?}");
        assert_eq!(setup.counter("to_front"), to_front, "{size}");
    }
}

/// A server that says something behind each complete answer, so many ms later, as if it answered once more; and a client.
const SURPLUS: &str = r#"
import os, socket, sys, threading, time
def lines(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return None
        data += more
    return data.decode()
def serve(connection):
    try:
        while head := lines(connection):
            method, path, _ = head.split()[:3]
            _, prefix, kind, ms = path.split("/")
            if kind == "plain":
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nright")
                continue
            status = "204 No" if kind == "204" else "200 OK"
            length = "" if kind == "204" else "Content-Length: 5\r\n"
            content = "right" if kind == "more" else ""
            connection.sendall(f"HTTP/1.1 {status}\r\n{length}\r\n{content}".encode())
            ms, mark = ms.split("-")
            time.sleep(int(ms) / 1000)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")
            open(f"/tmp/sent-{mark}", "w").close()
    except OSError:
        pass
if sys.argv[1] == "serve":
    listener = socket.create_server(("", 8090), backlog=64)
    print("listening", flush=True)
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
def receive(connection, wanted):
    data = b""
    while wanted not in data:
        more = connection.recv(65536)
        if not more or b"wrong" in data + more:
            raise SystemExit(f"{data + more}")
        data += more
mark = 0
for between in ([], ["two"]):
    for kind in ("head", "204", "more"):
        for ms in (0, 40, 100):
            for wait in (False, True):
                mark += 1
                s = socket.create_connection((sys.argv[2], 80), float(os.environ["LIMIT"]))
                s.setsockopt(6, socket.TCP_NODELAY, 1)
                method = "HEAD" if kind == "head" else "GET"
                s.sendall(f"{method} /one/{kind}/{ms}-{mark} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
                receive(s, b"right" if kind == "more" else b"\r\n\r\n")
                for prefix in between:
                    s.sendall(f"GET /{prefix}/plain/0 HTTP/1.1\r\nHost: h\r\n\r\n".encode())
                    receive(s, b"right")
                time.sleep(.02)
                # A request that crosses it may meet it: nobody can tell.
                if wait:
                    while not os.path.exists(f"/tmp/sent-{mark}"):
                        time.sleep(.02)
                    time.sleep(.1)
                    s.sendall(b"GET /one/plain/0 HTTP/1.1\r\nHost: h\r\n\r\n")
                    receive(s, b"right")
                s.close()
print("all right")
"#;

pub(in super::super) fn what_nobody_asked_for_is_no_answer() {
    let _module = Module::load();
    let network = Network::new();
    std::fs::write("/tmp/surplus.py", SURPLUS).unwrap();
    let _servers = start_servers(&network, "/tmp/surplus.py", "serve");
    let mut client = network.switch.inside(|| Client::open().unwrap());
    client
        .load(rules(&two_pools("nat", 8090)).table.as_bytes())
        .unwrap();
    let line = format!("timeout $((10 * LIMIT)) python3 -IS /tmp/surplus.py ask {VIP}");
    let answer = network.client.attempt(&line);
    show(&mut client);
    assert_eq!(answer.stdout, "all right\n", "{answer:?}");
    assert!(client.module().unwrap().counter("unsolicited") > Some(0));
}
