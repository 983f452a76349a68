// SPDX-License-Identifier: MIT
//! Lists that are longer than a buffer, and change while they are read; events that nobody reads.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use l7switch_engine::netlink::Command;
use l7switch_netlink::Client;
use l7switch_netlink::Error;
use l7switch_netlink::Event;
use l7switch_netlink::Events;

use super::requests::rules;
use super::tables::Done;
use crate::kit::Module;
use crate::kit::Network;
use crate::kit::Nginx;
use crate::kit::netlink::Answer;
use crate::kit::netlink::DONE;
use crate::kit::netlink::DUMP;
use crate::kit::netlink::ERROR;
use crate::kit::netlink::INTERRUPTED;
use crate::kit::netlink::REQUEST;
use crate::kit::netlink::Raw;
use crate::kit::netlink::message;
use crate::kit::network::VIP;
use crate::kit::wait_until;

/// So many pools of so many servers each, and a service for each pool. `mark` is in every name.
fn wide(mark: &str, pools: u16, servers: u16) -> String {
    let mut text = String::new();
    for pool in 0..pools {
        let _ = write!(
            text,
            "[service.{mark}-{pool}]\nlisten = \"10.0.1.100:{}\"\nprotocol = \"http\"\n\
             [[service.{mark}-{pool}.route]]\npool = \"{mark}-{pool}\"\n\
             [pool.{mark}-{pool}]\nservers = [",
            80 + pool
        );
        for server in 0..servers {
            let _ = write!(text, "\"10.{}.{}.1:80\", ", server / 256, server % 256);
        }
        text += "]\n";
    }
    text
}

pub(super) fn long_lists_are_whole() {
    let _module = Module::load();
    let mut client = Client::open().unwrap();
    let mark = "a".repeat(40);
    client
        .load(rules(&wide(&mark, 40, 50)).table.as_bytes())
        .unwrap();
    let servers = client.servers().unwrap();
    assert_eq!(servers.len(), 2000);
    let names: BTreeSet<(String, SocketAddr)> = servers
        .iter()
        .map(|server| (server.pool.clone(), server.address))
        .collect();
    assert_eq!(names.len(), 2000);
    // Pool by pool.
    for (pool, servers) in servers.chunks(50).enumerate() {
        assert!(
            servers.iter().all(|server| server.pool == servers[0].pool),
            "{pool}"
        );
    }
    let services = client.services().unwrap();
    assert_eq!(services.len(), 40);
    assert!(
        services
            .iter()
            .enumerate()
            .all(|(index, service)| service.index as usize == index)
    );

    // It took several buffers.
    let raw = Raw::open();
    let request = message(
        raw.family(),
        REQUEST | DUMP,
        3,
        Command::ServerGet.number(),
        &[],
    );
    raw.send(&request).unwrap();
    let parts: Vec<Vec<Answer>> = std::iter::from_fn(|| raw.receive()).collect();
    assert!(parts.len() > 3, "{} parts", parts.len());
    let answers = parts.concat();
    assert_eq!(answers.len(), 2001);
    assert!(answers.iter().all(|answer| answer.flags & INTERRUPTED == 0));
    assert_eq!(answers.last().unwrap().kind, DONE);
}

/// Whether a client that reads only the first part of a list, then does something else, learns that it changed.
fn is_told(raw: &Raw, command: Command, change: impl FnOnce() -> u64) -> bool {
    let request = message(raw.family(), REQUEST | DUMP, 4, command.number(), &[]);
    raw.send(&request).unwrap();
    let mut answers = raw.receive().unwrap();
    assert!(
        answers.iter().all(|answer| answer.kind != DONE),
        "{command:?} has one part"
    );
    change();
    answers.extend(raw.drain());
    let last = answers.last().unwrap();
    assert!([DONE, ERROR].contains(&last.kind), "{last:?}");
    last.kind == ERROR || answers.iter().any(|answer| answer.flags & INTERRUPTED != 0)
}

pub(super) fn a_list_that_changes_says_so() {
    let _module = Module::load();
    let mut client = Client::open().unwrap();
    let first = rules(&wide(&"a".repeat(60), 250, 8));
    let second = rules(&wide(&"b".repeat(60), 200, 8));
    let other = second.table.as_bytes();
    let raw = Raw::open();
    for command in [Command::ServerGet, Command::ServiceGet, Command::RouteGet] {
        client.load(first.table.as_bytes()).unwrap();
        assert!(!is_told(&raw, command, || 0), "{command:?}, unchanged");
        assert!(
            is_told(&raw, command, || client.load(other).unwrap()),
            "{command:?}, swapped"
        );
        client.load(first.table.as_bytes()).unwrap();
        assert!(
            is_told(&raw, command, || client.unload().unwrap()),
            "{command:?}, unloaded"
        );
        client.load(first.table.as_bytes()).unwrap();
        let both = || {
            client.unload().unwrap();
            client.load(first.table.as_bytes()).unwrap()
        };
        assert!(
            is_told(&raw, command, both),
            "{command:?}, unloaded and loaded"
        );
    }
}

pub(super) fn lists_are_of_one_table_while_tables_are_swapped() {
    let _module = Module::load();
    let tables = [
        rules(&wide(&"a".repeat(50), 10, 40)),
        rules(&wide(&"b".repeat(50), 15, 30)),
    ];
    // How long a list takes depends on the machine.
    let mut client = Client::open().unwrap();
    client.load(tables[1].table.as_bytes()).unwrap();
    let start = Instant::now();
    client.servers().unwrap();
    let one = start.elapsed().max(Duration::from_millis(20));
    let done = AtomicBool::new(false);
    let (mut whole, mut changing, mut none) = (0, 0, 0);
    thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            let _done = Done(&done);
            let mut client = Client::open().unwrap();
            for (turn, pause) in (0..30).zip((0..7).cycle()) {
                client.load(tables[turn % 2].table.as_bytes()).unwrap();
                // Now and then a list can be read in peace.
                thread::sleep(one * pause);
                if turn % 5 == 4 {
                    client.unload().unwrap();
                }
            }
        });
        while !done.load(Relaxed) {
            match client.servers() {
                Ok(servers) if servers.is_empty() => none += 1,
                Ok(servers) => {
                    let wanted = if servers[0].pool.starts_with('a') {
                        ('a', 400)
                    } else {
                        ('b', 450)
                    };
                    assert!(
                        servers
                            .iter()
                            .all(|server| server.pool.starts_with(wanted.0)),
                        "mixed"
                    );
                    assert_eq!(servers.len(), wanted.1);
                    whole += 1;
                }
                Err(Error::Changing) => changing += 1,
                Err(error) => panic!("{error}"),
            }
        }
        swapper.join().unwrap();
    });
    println!("{whole} whole lists, {none} empty, {changing} given up");
    assert!(whole > 0);
}

/// Rules of two services; `first` and `second` are their names.
fn two(first: &str, second: &str) -> String {
    format!(
        "[service.{first}]\nlisten = \"10.0.1.100:80\"\nprotocol = \"http\"\n\
         [[service.{first}.route]]\npool = \"p\"\n\
         [service.{second}]\nlisten = \"10.0.1.100:81\"\nprotocol = \"http\"\n\
         [[service.{second}.route]]\npool = \"q\"\n\
         [pool.p]\nservers = [\"10.0.2.2:80\"]\n\
         [pool.q]\nservers = [\"10.0.2.3:80\"]\n"
    )
}

pub(super) fn long_lists_of_flows_are_whole() {
    let _module = Module::load();
    // A server each: a client may come to both services from one port.
    let network = Network::with_servers(2);
    let nginx = |host| Nginx::with(host, "location / { return 200; }");
    let _nginx: Vec<Nginx> = network.servers.iter().map(nginx).collect();
    let mut client = network.switch.inside(|| Client::open().unwrap());
    let table = rules(&two("a", "b"));
    client.load(table.table.as_bytes()).unwrap();
    let streams: Vec<TcpStream> = (0..800)
        .map(|number: u16| {
            let mut stream = network.client.connect((VIP, 80 + number % 2));
            stream
                .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                .unwrap();
            stream
        })
        .collect();
    let wanted: BTreeSet<SocketAddr> = streams.iter().map(|s| s.local_addr().unwrap()).collect();
    wait_until("all requests have come", || {
        client.module().unwrap().flows == 800
    });
    let flows = client.flows().unwrap();
    assert_eq!(
        flows
            .iter()
            .map(|flow| flow.client)
            .collect::<BTreeSet<_>>(),
        wanted
    );
    for flow in &flows {
        let expected = if flow.destination.port() == 80 {
            "a"
        } else {
            "b"
        };
        assert_eq!(flow.service, expected, "{flow:?}");
    }

    // A list is of one table: another one in its midst is told.
    let raw = network.switch.inside(Raw::open);
    let command = Command::FlowGet;
    assert!(!is_told(&raw, command, || 0));
    let other = rules(&two("a", "c"));
    assert!(is_told(&raw, command, || client
        .load(other.table.as_bytes())
        .unwrap()));
    let names: BTreeSet<String> = client
        .flows()
        .unwrap()
        .into_iter()
        .map(|f| f.service)
        .collect();
    assert_eq!(names, ["a", "c"].map(str::to_owned).into());
    assert!(is_told(&raw, command, || client.unload().unwrap()));
    assert_eq!(client.flows().unwrap(), []);
}

pub(super) fn a_listener_that_does_not_read_learns_that_it_lost_events() {
    let _module = Module::load();
    let mut client = Client::open().unwrap();
    let mut events = Events::open().unwrap();
    let mut other = Events::open().unwrap();
    for _ in 0..3000 {
        client.reset_counters().unwrap();
        // One that reads misses nothing on account of another.
        assert!(matches!(
            other.try_next().unwrap(),
            Some(Event::CountersCleared { .. })
        ));
    }
    let mut lost = 0;
    let mut seen = 0;
    while let Some(event) = events.try_next().unwrap() {
        match event {
            Event::Lost => lost += 1,
            _ => seen += 1,
        }
    }
    println!("{seen} events were there, {lost} times some were lost");
    assert!(lost > 0 && (1..3000).contains(&seen));
    // It goes on.
    client.reset_counters().unwrap();
    let by = client.port();
    assert_eq!(
        events.try_next().unwrap(),
        Some(Event::CountersCleared { by })
    );
    assert_eq!(events.try_next().unwrap(), None);
}
