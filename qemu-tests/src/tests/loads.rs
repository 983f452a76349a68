// SPDX-License-Identifier: MIT
//! Loads, from begin to commit or to whatever else ends them.

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use l7switch_engine::netlink::MAX_ATTRIBUTE;
use l7switch_netlink::Client;
use l7switch_netlink::Error;
use l7switch_netlink::ServerChange;
use l7switch_netlink::WeightChange;
use rustix::io::Errno;

use super::netlink::refused;
use super::netlink::standing;
use super::netlink::with_rules;
use super::requests::RULES;
use super::requests::rules;
use super::tables::REQUESTS;
use super::tables::ask;
use crate::kit::Group;
use crate::kit::Host;
use crate::kit::process::Signal;
use crate::kit::wait_until;

/// Rules whose table is longer than one chunk can be.
fn long_rules() -> String {
    let mut text = String::from("[service.web]\nlisten = \"10.0.1.100:80\"\nprotocol = \"http\"\n");
    for host in 0..600 {
        let _ = writeln!(
            text,
            "[[service.web.route]]\nhost = \"h{host}.example.com\"\npool = \"one\""
        );
    }
    text + "[pool.one]\nservers = [\"10.0.2.2:80\"]\n"
}

pub(super) fn loads_keep_to_their_order() {
    let long = rules(&long_rules());
    let table = long.table.as_bytes();
    assert!(
        (MAX_ATTRIBUTE + 1..2 * MAX_ATTRIBUTE).contains(&table.len()),
        "{}",
        table.len()
    );
    let (_module, mut client) = with_rules(&format!("max_table_len={}", table.len()));
    let before = standing(&mut client);
    let len = u32::try_from(table.len()).unwrap();

    refused(client.begin(len + 1), Errno::FBIG, "max_table_len");
    refused(client.begin(u32::MAX), Errno::FBIG, "max_table_len");
    assert!(matches!(
        client.load(&vec![0; table.len() + 1]),
        Err(Error::Input(_))
    ));

    let begun = client.begin(len).unwrap();
    assert_eq!(client.module().unwrap().loading, Some(begun));
    // Everything about the load that is wrong; what is there stays.
    let mut other = Client::open().unwrap();
    let port = client.port();
    let busy = format!("netlink port {port}");
    refused(other.begin(len), Errno::BUSY, &busy);
    refused(client.begin(len), Errno::BUSY, &busy);
    refused(other.chunk(begun, 0, &table[..8]), Errno::PERM, &busy);
    refused(other.commit(begun), Errno::PERM, &busy);
    refused(other.abort(begun), Errno::PERM, &busy);
    refused(
        client.chunk(begun + 1, 0, &table[..8]),
        Errno::NOENT,
        "no load",
    );
    refused(other.abort(begun + 1), Errno::NOENT, "no load");
    refused(
        client.chunk(begun, 1, &table[..8]),
        Errno::INVAL,
        "out of order: 0 bytes",
    );
    client.chunk(begun, 0, &table[..MAX_ATTRIBUTE]).unwrap();
    refused(
        client.chunk(begun, 0, &table[..8]),
        Errno::INVAL,
        "out of order: 65531 bytes",
    );
    let rest = u32::try_from(MAX_ATTRIBUTE).unwrap();
    let mut beyond = table[MAX_ATTRIBUTE..].to_vec();
    beyond.push(0);
    assert!(beyond.len() <= MAX_ATTRIBUTE);
    refused(client.chunk(begun, rest, &beyond), Errno::INVAL, "beyond");
    client.chunk(begun, rest, &[]).unwrap();
    assert_eq!(client.module().unwrap().loading, Some(begun));
    assert_eq!(ask(&mut client, REQUESTS[0]).unwrap(), before.found);

    // Committed too early, it is forgotten.
    let words = format!("65531 of {len} bytes");
    refused(client.commit(begun), Errno::INVAL, &words);
    refused(client.commit(begun), Errno::NOENT, "no load");
    assert_eq!(standing(&mut client), before);

    // Aborted, it is forgotten, too.
    let begun = client.begin(len).unwrap();
    client.abort(begun).unwrap();
    refused(client.abort(begun), Errno::NOENT, "no load");
    refused(client.chunk(begun, 0, &table[..8]), Errno::NOENT, "no load");
    assert_eq!(standing(&mut client), before);

    // What is no table is refused at the end.
    let begun = client.begin(4096).unwrap();
    client.chunk(begun, 0, &[0; 4096]).unwrap();
    refused(client.commit(begun), Errno::INVAL, "");
    assert_eq!(standing(&mut client), before);

    // After all that, the longest table that is taken.
    let generation = other.load(table).unwrap();
    assert_eq!(generation, before.generation + 1);
    assert_eq!(client.module().unwrap().routes, 600);
}

pub(super) fn a_load_ends_with_its_socket() {
    let (_module, mut client) = with_rules("");
    let before = standing(&mut client);
    let abandoned = |client: &mut Client| {
        let module = client.module().unwrap();
        (module.loading, module.counter("loads_abandoned").unwrap())
    };
    let mut other = Client::open().unwrap();
    let begun = other.begin(1 << 20).unwrap();
    other.chunk(begun, 0, &[1; 5000]).unwrap();
    assert_eq!(abandoned(&mut client), (Some(begun), 0));
    // Another socket of the same process is no matter.
    drop(Client::open().unwrap());
    assert_eq!(abandoned(&mut client), (Some(begun), 0));
    drop(other);
    wait_until("the load is forgotten", || {
        abandoned(&mut client) == (None, 1)
    });
    assert_eq!(standing(&mut client), before);

    // A process that is killed half-way.
    let host = Host::new("elsewhere");
    let there = host.inside(|| Client::open().unwrap().module().unwrap());
    assert_eq!((there.generation, there.loading), (0, None));
    let mut loader = crate::kit::process::start("/l7/bin/guest guest begin-load 1000000");
    wait_until("the other process has begun", || {
        assert!(loader.is_running(), "{}", loader.output());
        abandoned(&mut client).0.is_some()
    });
    refused(client.begin(1000), Errno::BUSY, "netlink port");
    loader.signal(Signal::KILL);
    wait_until("the load is forgotten", || {
        abandoned(&mut client) == (None, 2)
    });
    assert_eq!(standing(&mut client), before);
    let table = rules(RULES);
    assert_eq!(
        client.load(table.table.as_bytes()).unwrap(),
        before.generation + 1
    );
}

pub(super) fn loaders_that_compete_are_served_or_told() {
    const EACH: u64 = 25;
    let (_module, mut client) = with_rules("");
    let busy = AtomicU64::new(0);
    let good = rules(RULES);
    let other = rules(&RULES.replace("weight = 3", "weight = 4"));
    thread::scope(|scope| {
        for table in [&good, &other, &good] {
            let busy = &busy;
            scope.spawn(move || {
                let mut client = Client::open().unwrap();
                let mut served = 0;
                while served < EACH {
                    match client.load(table.table.as_bytes()) {
                        Ok(_) => served += 1,
                        Err(error) => {
                            refused::<()>(Err(error), Errno::BUSY, "netlink port");
                            busy.fetch_add(1, Relaxed);
                        }
                    }
                }
            });
        }
        // Servers that every table has are set meanwhile, and what is set stays.
        let mut client = Client::open().unwrap();
        for turn in 0..100 {
            let weight = WeightChange::To(100 + turn);
            let change = ServerChange {
                pool: Some("two".to_owned()),
                address: ([10, 0, 2, 3], 80).into(),
                state: None,
                weight: Some(weight),
            };
            assert_eq!(client.set_server(&change).unwrap(), 1);
            match client.servers() {
                Ok(servers) => assert!(servers.iter().any(|server| server.weight == 100 + turn)),
                Err(Error::Changing) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
    println!("{busy:?} times a loader was told that another is at it");
    let module = client.module().unwrap();
    assert_eq!((module.generation, module.loading), (1 + 3 * EACH, None));
    let count = |name: &str| module.counter(name).unwrap();
    assert_eq!(
        (count("tables_loaded"), count("loads_abandoned")),
        (1 + 3 * EACH, 0)
    );
}

/// A table counts as memory of whoever loads it: one group of processes cannot take all. What was taken until the group's
/// limit is given back before the answer: whoever is refused and touches a page of its own next would be killed otherwise.
pub(super) fn a_load_beyond_the_loaders_memory_is_refused() {
    let (_module, mut client) = with_rules("");
    let before = standing(&mut client);
    let group = Group::new("small", 16 << 20);
    group.enter();
    let mut held = Vec::new();
    for _ in 0..10 {
        refused(client.begin(128 << 20), Errno::NOMEM, "not enough memory");
        held.push(group.read("memory.current").trim().parse::<u64>().unwrap());
    }
    group.leave();
    println!("bytes of the group after each refusal: {held:?}");
    assert!(held.iter().all(|&held| held < 4 << 20), "{held:?}");
    let events = group.read("memory.events");
    assert!(events.contains("oom_kill 0\n"), "{events}");
    assert_eq!(standing(&mut client), before);
    // Whoever may have so much memory is not hindered.
    let begun = client.begin(128 << 20).unwrap();
    client.abort(begun).unwrap();
}
