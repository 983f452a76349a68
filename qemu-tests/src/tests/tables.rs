// SPDX-License-Identifier: MIT
//! Tables that are loaded, swapped, corrupted, large.

use std::fmt::Write as _;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Instant;

use fastrand::Rng;
use l7switch_netlink::Client;
use l7switch_netlink::Error;
use l7switch_netlink::MatchRequest;

use super::requests::RULES;
use super::requests::rules;
use crate::kit::Module;
use crate::kit::count_free_pages;
use crate::kit::kib;
use crate::kit::shrink_slabs;

pub(super) const REQUESTS: [&[u8]; 4] = [
    b"GET /a/b?page=2 HTTP/1.1\r\nHost: x.a.b\r\nX-Version: two\r\nX-Debug: 1\r\nCookie: beta=1\r\n\r\n",
    b"POST /a/17 HTTP/1.1\r\nHost: a.b\r\nUser-Agent: Mobile\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: c\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
];

/// The two tables of [`churn`] give it to different routes.
const DIFFERS: &[u8] = b"GET /a/b HTTP/1.1\r\nHost: q\r\nX-Version: two\r\nX-Debug: 1\r\n\r\n";

pub(super) fn ask(client: &mut Client, request: &[u8]) -> Result<l7switch_netlink::Match, Error> {
    client.match_request(&MatchRequest {
        service: Some("web".to_owned()),
        destination: None,
        source: Some([10, 1, 2, 3].into()),
        request: request.to_vec(),
    })
}

/// Says that all is done, when it is dropped: after a panic too.
pub(super) struct Done<'a>(pub(super) &'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Loads, matches, swaps and unloads while three others list everything. Gives how many entries they were shown.
fn turns(times: usize, first: &[u8], second: &[u8]) -> usize {
    let done = AtomicBool::new(false);
    let listed = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut client = Client::open().unwrap();
                while !done.load(Relaxed) {
                    for result in [
                        client.servers().map(|s| s.len()),
                        client.services().map(|s| s.len()),
                        client.routes().map(|r| r.len()),
                        client.flows().map(|f| f.len()),
                    ] {
                        match result {
                            Ok(count) => listed.fetch_add(count, Relaxed),
                            Err(Error::Changing) => 0,
                            Err(error) => panic!("{error}"),
                        };
                    }
                }
            });
        }
        let _done = Done(&done);
        let mut client = Client::open().unwrap();
        for _ in 0..times {
            client.load(first).unwrap();
            let one = ask(&mut client, DIFFERS).unwrap();
            client.load(second).unwrap();
            let other = ask(&mut client, DIFFERS).unwrap();
            assert_eq!(other.generation, one.generation + 1);
            assert_ne!(one.route, other.route, "{one:?}");
            client.unload().unwrap();
            assert_eq!(
                ask(&mut client, DIFFERS).unwrap_err().errno(),
                Some(libc_enoent())
            );
        }
    });
    listed.into_inner()
}

fn churn(times: usize) {
    let module = Module::load();
    let first = rules(RULES);
    let second = rules(
        &RULES
            .replace("\"/a/b\"", "\"/b\"")
            .replace("weight = 3", "weight = 4"),
    );
    let (first, second) = (first.table.as_bytes(), second.table.as_bytes());
    let available = || {
        shrink_slabs();
        kib("MemAvailable")
    };
    count_free_pages();
    // What is taken once and stays is taken now: by programs and the kernel for their threads, too.
    turns(5, first, second);
    let before = available();
    let listed = turns(times, first, second);
    assert!(listed > 0);
    module.unload().unwrap();
    let after = available();
    println!("available memory: {before} KiB before, {after} KiB after; {listed} entries listed");
    // The table has a few KiB: a leak of one a turn would show.
    assert!(
        after + 2048 + 4 * u64::try_from(times).unwrap() > before,
        "{before} KiB were available, {after} are"
    );
}

fn libc_enoent() -> i32 {
    rustix::io::Errno::NOENT.raw_os_error()
}

pub(super) fn tables_come_and_go_under_dumps() {
    churn(20);
}

pub(super) fn tables_come_and_go_a_thousand_times_under_dumps() {
    churn(1000);
}

/// Loads a table that may be wrong, and asks it where the kernel takes it. Gives whether it did.
fn try_table(client: &mut Client, table: &[u8]) -> bool {
    let begun = match u32::try_from(table.len()).map(|len| client.begin(len)) {
        Ok(Ok(begun)) => begun,
        other => panic!("{other:?}"),
    };
    client.chunk(begun, 0, table).unwrap();
    match client.commit(begun) {
        Ok(_) => {
            for request in REQUESTS {
                // Any answer is good; none may be a fault. A service's name may be what was corrupted.
                match ask(client, request) {
                    Ok(_) | Err(Error::Refused(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            let listed = client.services().and_then(|_| client.servers());
            assert!(!matches!(listed, Err(Error::Socket(_))), "{listed:?}");
            true
        }
        Err(Error::Refused(refusal)) => {
            assert!(
                refusal.message.is_some(),
                "a refusal has words: {refusal:?}"
            );
            false
        }
        Err(error) => panic!("{error}"),
    }
}

/// Every word of a table in turn becomes something else; then `times` random corruptions of one to eight bytes.
fn corrupt(times: usize, every: usize) {
    let _module = Module::load();
    let mut client = Client::open().unwrap();
    let good = rules(RULES);
    let good = good.table.as_bytes();
    assert!(try_table(&mut client, good));
    let (mut taken, mut refused) = (0, 0);
    let mut note = |took: bool| if took { taken += 1 } else { refused += 1 };
    for at in (0..good.len()).step_by(4).step_by(every) {
        let word = u32::from_le_bytes(good[at..at + 4].try_into().unwrap());
        for value in [
            0,
            1,
            word.wrapping_add(1),
            word.wrapping_sub(1),
            u32::MAX,
            1 << 31,
        ] {
            if value != word {
                let mut bad = good.to_vec();
                bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
                note(try_table(&mut client, &bad));
            }
        }
    }
    let seed = fastrand::u64(..);
    println!(
        "{} words of {} bytes; seed {seed}",
        good.len() / 4 / every,
        good.len()
    );
    let mut rng = Rng::with_seed(seed);
    for _ in 0..times {
        let mut bad = good.to_vec();
        for _ in 0..rng.usize(1..=8) {
            let at = rng.usize(..bad.len());
            bad[at] = rng.u8(..);
        }
        note(try_table(&mut client, &bad));
    }
    println!("{taken} tables were taken, {refused} refused");
    assert!(taken > 0 && refused > 0);
    assert!(
        try_table(&mut client, good),
        "a good one is taken afterwards"
    );
}

pub(super) fn corrupted_tables_do_no_harm() {
    corrupt(300, 61);
}

pub(super) fn every_field_corrupted_and_a_hundred_thousand_corruptions_do_no_harm() {
    corrupt(100_000, 1);
}

/// Rules with 100,000 routes over 10,000 hosts.
fn large() -> String {
    let mut text = String::from("[service.web]\nlisten = \"10.0.1.100:80\"\nprotocol = \"http\"\n");
    for host in 0..10_000 {
        for path in 0..10 {
            let pool = (host + path) % 100;
            let _ = writeln!(
                text,
                "[[service.web.route]]\nhost = \"h{host}.example.com\"\npath = {{ prefix = \"/p{path}/x\" }}\npool = \"p{pool}\"",
            );
        }
    }
    for pool in 0..100 {
        let _ = writeln!(
            text,
            "[pool.p{pool}]\nservers = [\"10.0.2.{}:80\"]",
            pool + 2
        );
    }
    text
}

/// At one instruction a nanosecond: time is a count of instructions.
pub(super) fn a_hundred_thousand_routes_load_in_two_seconds() {
    let _module = Module::load();
    let mut client = Client::open().unwrap();
    let start = Instant::now();
    let rules = rules(&large());
    let compiled = start.elapsed();
    let table = rules.table.as_bytes();
    let start = Instant::now();
    client.load(table).unwrap();
    let loaded = start.elapsed();
    let start = Instant::now();
    client.load(table).unwrap();
    let swapped = start.elapsed();
    println!(
        "{} bytes: check and compile {compiled:?}, load {loaded:?}, swap {swapped:?}",
        table.len()
    );
    assert_eq!(client.module().unwrap().routes, 100_000);
    let start = Instant::now();
    assert_eq!(client.routes().unwrap().len(), 100_000);
    println!("listed in {:?}", start.elapsed());
    let found = client
        .match_request(&MatchRequest {
            destination: Some(([10, 0, 1, 100], 80).into()),
            request: b"GET /p7/x/y HTTP/1.1\r\nHost: h4711.example.com\r\n\r\n".to_vec(),
            ..MatchRequest::default()
        })
        .unwrap();
    assert_eq!(found.route, Some(47_117));
    assert!(
        loaded.as_secs() < 2 && swapped.as_secs() < 2,
        "{loaded:?}, {swapped:?}"
    );
}
