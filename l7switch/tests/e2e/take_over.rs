// SPDX-License-Identifier: MIT
//! A front's place taken over under load: nobody is refused, nothing fails, nothing is cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use crate::support::certs::Authority;
use crate::support::certs::entry;
use crate::support::counting;
use crate::support::free_port;
use crate::support::nginx::Nginx;
use crate::support::pattern;
use crate::support::process::run as run_program;
use crate::support::python::Echo;
use crate::support::python::Python;
use crate::support::raw::Raw;
use crate::support::switch::Switch;
use crate::support::switch::list;
use crate::support::switch::simple;
use crate::support::tls_h2;
use crate::support::websocket::WebSocket;

/// Bytes that are sent at a time by a connection that takes its time.
const PART: usize = 1 << 20;

/// What a run is made of.
struct Size {
    take_overs: usize,
    websockets: usize,
    /// Of the upload and of the download, MiB.
    mebibytes: usize,
    /// How long wrk and h2load ask beside, if they do.
    seconds: Option<u64>,
}

const SMALL: Size = Size {
    take_overs: 20,
    websockets: 5,
    mebibytes: 100,
    seconds: None,
};

/// The longer proof of `make test-upgrade`.
const LARGE: Size = Size {
    take_overs: 100,
    websockets: 200,
    mebibytes: 1024,
    seconds: Some(60),
};

/// `make test-upgrade` has this in its environment.
const ALL: &str = "L7_TAKE_OVERS";

#[test]
fn take_overs_under_load() {
    run(match std::env::var_os(ALL) {
        Some(_) => &LARGE,
        None => &SMALL,
    });
}

fn rules(authority: &Authority, nginx: &Nginx, python: &Python) -> String {
    let route = |service: &str| {
        format!(
            "[[service.{service}.route]]\npath = {{ exact = '/name' }}\npool = 'nginx'\n\
             [[service.{service}.route]]\npool = 'python'\n"
        )
    };
    format!(
        "[service.web]\nlisten = '127.0.0.1:0'\nprotocol = 'http'\nlimits.body = '2GiB'\n{}\
         [service.safe]\nlisten = '127.0.0.2:0'\nprotocol = 'https'\ncertificates = [{}]\n{}\
         [pool.nginx]\nservers = {}\n[pool.python]\nservers = {}\nresponse_timeout = '300s'\n",
        route("web"),
        entry(&authority.issue(&["safe.example"])),
        route("safe"),
        list(&[nginx.address]),
        list(&[python.address]),
    )
}

fn run(size: &Size) {
    let (nginx, python) = (Nginx::start("nginx"), Python::start("python"));
    let authority = Authority::new();
    let rules = rules(&authority, &nginx, &python);
    let mut switch = Switch::start_with(&rules, &["--drain-timeout", "600s"]);
    let (web, safe) = (switch.address("web"), switch.address("safe"));
    let programs = size.seconds.map(|seconds| programs(web, safe, seconds));
    let in_time = Arc::<AtomicBool>::default();
    let download = download(web, size.mebibytes, Arc::clone(&in_time));
    let upload = upload(web, size.mebibytes, Arc::clone(&in_time));
    let mut sockets: Vec<WebSocket> = (0..size.websockets).map(|_| WebSocket::open(web)).collect();
    let http1 = counting::Clients::start(4, web, "/name");
    let http2 = tls_h2::Clients::start(2, safe, "safe.example", "/name", &authority.file());
    let began = Instant::now();
    let (mut number, seconds) = (0, Duration::from_secs(size.seconds.unwrap_or(0)));
    while number < size.take_overs || began.elapsed() < seconds {
        let before = http2.answers();
        switch.take_over();
        http1.go_on(20);
        crate::support::until("the clients of HTTP/2 have asked more", || {
            http2.answers() >= before + 20
        });
        for socket in &mut sockets {
            socket.say();
        }
        number += 1;
        let taken = switch.status().take_overs.taken;
        assert_eq!(taken, u64::try_from(number).unwrap());
    }
    for program in programs.into_iter().flatten() {
        program.join().unwrap();
    }
    let tally = http1.stop();
    assert!(tally.bad().is_empty(), "{:#?}", tally.bad());
    let (failures, answers, connections) = http2.stop();
    assert!(failures.is_empty(), "{failures:#?}");
    // Whatever a server was asked has been answered; what wrk breaks off at its end has not.
    if size.seconds.is_none() {
        let all = tally.answers.values().sum::<u64>() + answers;
        let asked = || u64::try_from(nginx.requests().len()).unwrap();
        crate::support::until("nginx has logged all", || asked() >= all);
        assert_eq!(asked(), all);
    }
    // Each was told to go by each front before.
    assert!(connections > u64::try_from(size.take_overs).unwrap());
    in_time.store(true, SeqCst);
    download.join().unwrap();
    upload.join().unwrap();
    for socket in sockets {
        socket.close();
    }
    assert!(switch.all_before_end(), "{}", switch.log());
    let status = switch.status();
    let counts = status.take_overs;
    assert_eq!((counts.failed, counts.refused), (0, 0));
    assert!(!status.draining);
    let log = switch.log();
    assert!(!log.contains("ERROR") && !log.contains("panic"), "{log}");
    switch.signal("TERM");
    assert_eq!(switch.wait().code(), Some(0));
    assert!(!switch.folder().join("admin").exists());
}

/// wrk, and h2load over TLS, for so many seconds; they fail the test where anything fails. h2load speaks HTTP/1.1: it takes a GOAWAY
/// for an error.
fn programs(web: SocketAddr, safe: SocketAddr, seconds: u64) -> [JoinHandle<()>; 2] {
    let wrk = std::thread::spawn(move || {
        let (time, url) = (format!("-d{seconds}s"), format!("http://{web}/name"));
        let out = run_program("wrk", "wrk", ["-t1", "-c16", &time, &url]);
        // Both lines are there only if there is something to tell.
        assert!(!out.contains("Socket errors"), "{out}");
        assert!(!out.contains("Non-2xx"), "{out}");
        println!("{out}");
    });
    let h2load = std::thread::spawn(move || {
        let began = Instant::now();
        let url = format!("https://{safe}/name");
        let mut requests = 0;
        while began.elapsed() < Duration::from_secs(seconds) {
            let (good, bad) = counting::h2load(&["--h1", "-c8"], 4000, &url);
            assert_eq!(bad, 0);
            requests += good;
        }
        println!("h2load: {requests} requests");
    });
    [wrk, h2load]
}

/// A part at a time, and the rest at once when it may.
fn pause(may_end: &AtomicBool) {
    if !may_end.load(SeqCst) {
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn download(address: SocketAddr, mebibytes: usize, may_end: Arc<AtomicBool>) -> JoinHandle<()> {
    let mut client = Raw::connect(address).unwrap();
    client
        .send(format!(
            "GET /length?bytes={} HTTP/1.1\r\nHost: a\r\n\r\n",
            mebibytes * PART
        ))
        .unwrap();
    std::thread::spawn(move || {
        let head = client.head().unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let whole = pattern(PART + 251);
        for part in 0..mebibytes {
            let got = client.exactly(PART).unwrap();
            let start = part * PART % 251;
            assert!(got == whole[start..start + PART], "part {part}");
            // The last one waits for the last take-over, however fast the others came.
            while part + 1 == mebibytes && !may_end.load(SeqCst) {
                pause(&may_end);
            }
            pause(&may_end);
        }
    })
}

fn upload(address: SocketAddr, mebibytes: usize, may_end: Arc<AtomicBool>) -> JoinHandle<()> {
    let mut client = Raw::connect(address).unwrap();
    let length = mebibytes * PART;
    client
        .send(format!(
            "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"
        ))
        .unwrap();
    std::thread::spawn(move || {
        let part = vec![b'u'; PART];
        for number in 0..mebibytes {
            while number + 1 == mebibytes && !may_end.load(SeqCst) {
                pause(&may_end);
            }
            client.send(&part).unwrap();
            pause(&may_end);
        }
        let response = client.response().unwrap().unwrap();
        assert_eq!(response.status, 200, "{response:?}");
        assert_eq!(response.field("connection"), Some("close"), "it drains");
        let echo = Echo::parse(&response.body);
        assert_eq!(echo.length, u64::try_from(length).unwrap());
    })
}

/// Two containers that overlap: each has a socket of its own for the same address.
#[test]
fn two_switches_share_an_address() {
    let servers = ["old", "new"].map(Nginx::start);
    let address = free_port(crate::support::LOCALHOST);
    let start = |server: &Nginx| {
        let rules = simple(&[server.address], "", "").replace("127.0.0.1:0", &address.to_string());
        Switch::start_with(&rules, &["--reuse-port"])
    };
    let mut old = start(&servers[0]);
    let clients = counting::Clients::start(2, address, "/name");
    let _new = start(&servers[1]);
    // The kernel shares them out by the clients' ports.
    let mut seen = Vec::new();
    crate::support::until("both have got connections", || {
        clients.go_on(20);
        seen.extend(clients.take().servers().into_iter().map(str::to_owned));
        ["old", "new"]
            .iter()
            .all(|name| seen.iter().any(|seen| seen == name))
    });
    old.signal("TERM");
    assert_eq!(old.wait().code(), Some(0));
    // A request on a connection that was idle can meet its end.
    clients.go_on(20);
    clients.take();
    clients.go_on(200);
    let tally = clients.stop();
    assert_eq!(tally.servers(), ["new"]);
    assert!(tally.bad().is_empty(), "{:#?}", tally.bad());
}
