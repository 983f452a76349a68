// SPDX-License-Identifier: MIT
//! Misuse of the netlink family: refused with words, and with nothing changed by it.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use fastrand::Rng;
use l7switch_engine::netlink::Command;
use l7switch_engine::netlink::EndpointAttr;
use l7switch_engine::netlink::MAX_ATTRIBUTE;
use l7switch_engine::netlink::MatchAttr;
use l7switch_engine::netlink::ServerAttr;
use l7switch_engine::netlink::TableAttr;
use l7switch_netlink::Client;
use l7switch_netlink::Error;
use l7switch_netlink::Match;
use l7switch_netlink::MatchRequest;
use l7switch_netlink::Refusal;
use l7switch_netlink::Server;
use rustix::io::Errno;

use super::requests::RULES;
use super::requests::rules;
use super::tables::REQUESTS;
use super::tables::ask;
use crate::kit::Host;
use crate::kit::Module;
use crate::kit::netlink::ACK;
use crate::kit::netlink::Answer;
use crate::kit::netlink::DONE;
use crate::kit::netlink::DUMP;
use crate::kit::netlink::NESTED;
use crate::kit::netlink::REQUEST;
use crate::kit::netlink::Raw;
use crate::kit::netlink::attribute;
use crate::kit::netlink::attribute_of_len;
use crate::kit::netlink::message;
use crate::kit::process::Signal;
use crate::kit::wait_until;

/// What a refused request must leave as it is.
#[derive(Debug, PartialEq)]
struct Standing {
    generation: u64,
    table_len: Option<u32>,
    loading: Option<u32>,
    servers: Vec<Server>,
    found: Match,
}

fn standing(client: &mut Client) -> Standing {
    let module = client.module().unwrap();
    Standing {
        generation: module.generation,
        table_len: module.table_len,
        loading: module.loading,
        servers: client.servers().unwrap(),
        found: ask(client, REQUESTS[0]).unwrap(),
    }
}

/// The module with [`RULES`] in force, and a client.
fn with_rules(parameters: &str) -> (Module, Client) {
    let module = Module::try_load(parameters).unwrap();
    let mut client = Client::open().unwrap();
    client.load(rules(RULES).table.as_bytes()).unwrap();
    (module, client)
}

/// The refusal, which has this number and says these words.
#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>, errno: Errno, words: &str) -> Refusal {
    match result {
        Err(Error::Refused(refusal)) => {
            assert_eq!(refusal.errno, errno.raw_os_error(), "{refusal:?}");
            let message = refusal.message.as_deref().unwrap_or_default();
            assert!(!message.is_empty(), "{refusal:?}");
            assert!(message.contains(words), "{refusal:?}");
            *refusal
        }
        other => panic!("{words}: {other:?}"),
    }
}

fn word(number: u16, value: u32) -> Vec<u8> {
    attribute(number, &value.to_ne_bytes())
}

/// Attributes that name a server of [`RULES`].
fn named(last: u8) -> Vec<u8> {
    let address = Ipv4Addr::new(10, 0, 2, last).to_ipv6_mapped().octets();
    [
        attribute(ServerAttr::Address.number(), &address),
        attribute(ServerAttr::Port.number(), &80_u16.to_ne_bytes()),
    ]
    .concat()
}

fn endpoint(address: &[u8], port: Option<u16>) -> Vec<u8> {
    let mut bytes = attribute(EndpointAttr::Address.number(), address);
    if let Some(port) = port {
        bytes.extend(attribute(EndpointAttr::Port.number(), &port.to_ne_bytes()));
    }
    bytes
}

/// What is refused of servers: command, attributes, number, words.
fn bad_servers() -> Vec<(Vec<u8>, Errno, &'static str)> {
    let weight = |value| word(ServerAttr::Weight.number(), value);
    let state = |value| word(ServerAttr::State.number(), value);
    let reset = attribute(ServerAttr::ResetWeight.number(), &[]);
    let pool = |name: &[u8]| attribute(ServerAttr::Pool.number(), name);
    let inval = Errno::INVAL;
    vec![
        ([named(2), weight(65_536)].concat(), Errno::RANGE, "range"),
        ([named(2), weight(u32::MAX)].concat(), Errno::RANGE, "range"),
        ([named(2), state(3)].concat(), Errno::RANGE, "range"),
        ([named(2), state(9)].concat(), Errno::RANGE, "range"),
        (
            [named(2), weight(1), reset.clone()].concat(),
            inval,
            "set or reset, not both",
        ),
        (named(2), inval, "nothing is to be set"),
        (
            [named(99), weight(1)].concat(),
            Errno::NOENT,
            "no such server",
        ),
        (
            [pool(b"nowhere\0"), named(2), weight(1)].concat(),
            Errno::NOENT,
            "no such server",
        ),
        (
            // It is in others.
            [pool(b"one\0"), named(3), weight(1)].concat(),
            Errno::NOENT,
            "no such server",
        ),
        (
            [pool(b"\0"), named(2), weight(1)].concat(),
            Errno::NOENT,
            "no such server",
        ),
        ([pool(b"one"), named(2), weight(1)].concat(), inval, ""),
        (
            [pool(&[b'a'; 257]), named(2), weight(1)].concat(),
            inval,
            "",
        ),
        (weight(1), inval, "missing"),
        (named(2)[..20].to_vec(), inval, "missing"),
        (
            [named(2)[20..].to_vec(), weight(1)].concat(),
            inval,
            "missing",
        ),
        (
            [attribute(ServerAttr::Address.number(), &[0; 15]), weight(1)].concat(),
            Errno::RANGE,
            "",
        ),
        (
            [attribute(ServerAttr::Address.number(), &[0; 17]), weight(1)].concat(),
            Errno::RANGE,
            "",
        ),
        (
            // A flag with content.
            [
                named(2),
                attribute(ServerAttr::ResetWeight.number(), &[1, 0, 0, 0]),
            ]
            .concat(),
            Errno::RANGE,
            "",
        ),
        (
            // What the kernel answers, but does not take.
            [named(2), word(ServerAttr::TableWeight.number(), 1)].concat(),
            inval,
            "",
        ),
        ([named(2), word(99, 1)].concat(), inval, "nknown attribute"),
        ([named(2), word(0, 1)].concat(), inval, ""),
        (
            [named(2), attribute(ServerAttr::Weight.number(), &[1, 0])].concat(),
            Errno::RANGE,
            "",
        ),
    ]
}

/// What is refused of matches.
fn bad_matches() -> Vec<(Vec<u8>, Errno, &'static str)> {
    let inval = Errno::INVAL;
    let request = attribute(MatchAttr::Request.number(), REQUESTS[0]);
    let service = |name: &[u8]| attribute(MatchAttr::Service.number(), name);
    let nest = |flag: u16, content: &[u8]| {
        [
            attribute(MatchAttr::Virtual.number() | flag, content),
            request.clone(),
        ]
        .concat()
    };
    let vip = Ipv4Addr::new(10, 0, 1, 100).to_ipv6_mapped().octets();
    vec![
        (request.clone(), inval, "which service"),
        (service(b"web\0"), inval, "missing"),
        (
            [service(b"none\0"), request.clone()].concat(),
            Errno::NOENT,
            "no such service",
        ),
        ([service(b"web"), request.clone()].concat(), inval, ""),
        (
            nest(0, &endpoint(&vip, Some(80))),
            inval,
            "NLA_F_NESTED is missing",
        ),
        (
            nest(NESTED, &endpoint(&vip, None)),
            inval,
            "address and a port",
        ),
        (nest(NESTED, &[]), inval, "address and a port"),
        (nest(NESTED, &[1, 2]), inval, ""),
        (nest(NESTED, &[0xff; 40]), inval, ""),
        (
            nest(NESTED, &endpoint(&vip[..15], Some(80))),
            Errno::RANGE,
            "",
        ),
        (
            nest(NESTED, &[endpoint(&vip, Some(80)), word(9, 1)].concat()),
            inval,
            "",
        ),
        (
            nest(NESTED, &endpoint(&vip, Some(81))),
            Errno::NOENT,
            "no such service",
        ),
        (
            [
                service(b"web\0"),
                attribute(MatchAttr::Source.number(), &[1; 4]),
                request.clone(),
            ]
            .concat(),
            Errno::RANGE,
            "",
        ),
        (
            [
                service(b"web\0"),
                attribute(MatchAttr::Request.number() | NESTED, REQUESTS[0]),
            ]
            .concat(),
            inval,
            "",
        ),
        (
            // Says that it goes on beyond the message.
            attribute_of_len(60_000, MatchAttr::Service.number(), b"web\0"),
            inval,
            "",
        ),
        (
            attribute_of_len(3, MatchAttr::Service.number(), b"web\0"),
            inval,
            "",
        ),
        (
            [service(b"web\0"), request.clone(), vec![1, 2, 3]].concat(),
            inval,
            "",
        ),
    ]
}

pub(super) fn misuse_is_refused_with_words_and_changes_nothing() {
    let (_module, mut client) = with_rules("");
    let before = standing(&mut client);
    let text = attribute(1, b"x\0");
    let mut cases: Vec<(Command, Vec<u8>, Errno, &str)> = vec![
        // No attributes are taken.
        (Command::ModuleGet, text.clone(), Errno::INVAL, ""),
        (Command::TableUnload, text.clone(), Errno::INVAL, ""),
        (Command::CountersReset, text, Errno::INVAL, ""),
        (Command::TableBegin, Vec::new(), Errno::INVAL, "missing"),
        (
            Command::TableBegin,
            word(TableAttr::Transaction.number(), 1),
            Errno::INVAL,
            "",
        ),
        (
            Command::TableBegin,
            word(TableAttr::Len.number(), 3),
            Errno::INVAL,
            "at least",
        ),
        (
            Command::TableBegin,
            attribute(TableAttr::Len.number(), &[0; 8]),
            Errno::RANGE,
            "",
        ),
        (Command::TableChunk, Vec::new(), Errno::INVAL, "missing"),
        (Command::TableCommit, Vec::new(), Errno::INVAL, "missing"),
        (
            Command::TableCommit,
            word(TableAttr::Transaction.number(), 1),
            Errno::NOENT,
            "no load 1",
        ),
        (
            Command::TableAbort,
            word(TableAttr::Transaction.number(), 0),
            Errno::NOENT,
            "no load 0",
        ),
    ];
    cases.extend(
        bad_servers()
            .into_iter()
            .map(|(a, e, w)| (Command::ServerSet, a, e, w)),
    );
    cases.extend(
        bad_matches()
            .into_iter()
            .map(|(a, e, w)| (Command::RequestMatch, a, e, w)),
    );
    for (number, (command, attributes, errno, words)) in cases.into_iter().enumerate() {
        // Without words of ours the kernel has refused it before the module sees it: it has both numbers for the same.
        let result = client.raw(command, &attributes);
        let range =
            result.as_ref().err().and_then(Error::errno) == Some(Errno::RANGE.raw_os_error());
        let errno = match words {
            "" if range => Errno::RANGE,
            "" => Errno::INVAL,
            _ => errno,
        };
        let refusal = refused(result, errno, words);
        println!("{number}: {refusal}");
    }
    assert_eq!(standing(&mut client), before);
    // An empty request is one whose bytes have not come yet.
    let found = ask(&mut client, b"").unwrap();
    assert_eq!(found.outcome.name(), "incomplete", "{found:?}");
    // The longest that an attribute can hold.
    let found = ask(&mut client, &[0; MAX_ATTRIBUTE]).unwrap();
    assert_ne!(found.outcome.name(), "route", "{found:?}");
}

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
        let mut counters = module.counters.iter();
        let counter = counters.find(|c| c.name == "loads_abandoned").unwrap();
        (module.loading, counter.value)
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

    // A process that is killed half-way: the kernel's tool begins, then listens on the same socket.
    let host = Host::new("elsewhere");
    let there = host.inside(|| Client::open().unwrap().module().unwrap());
    assert_eq!((there.generation, there.loading), (0, None));
    let mut loader = crate::kit::process::start(
        "python3 /l7/share/pyynl/cli.py --spec /l7/share/netlink/specs/l7switch.yaml --no-schema \
         --subscribe events --do table-begin --json '{\"len\": 1000000}'",
    );
    wait_until("the kernel's tool has begun", || {
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

pub(super) fn messages_that_no_client_sends_do_no_harm() {
    let (_module, mut client) = with_rules("");
    let before = standing(&mut client);
    let raw = Raw::open();
    let family = raw.family();
    let supported = Errno::OPNOTSUPP.raw_os_error();
    let inval = Errno::INVAL.raw_os_error();

    // Commands that there are not, events as commands, a list where something is done, and the other way round.
    for command in (0..=u8::MAX).filter(|number| !(1..=12).contains(number)) {
        for flags in [ACK, ACK | DUMP] {
            let answers = raw.ask(&message(family, REQUEST | flags, 1, command, &[]));
            let errno = answers.iter().find_map(Answer::errno);
            assert_eq!(errno, Some(supported), "{command}: {answers:?}");
        }
    }
    for command in [Command::ServiceGet, Command::ServerGet, Command::FlowGet] {
        assert_eq!(
            raw.errno(family, ACK, command, &[]),
            supported,
            "{command:?}"
        );
        // No attributes are taken.
        let errno = raw.errno(family, DUMP, command, &word(1, 1));
        assert_eq!(errno, inval, "{command:?}");
    }
    for command in [
        Command::ModuleGet,
        Command::TableBegin,
        Command::TableUnload,
        Command::CountersReset,
        Command::ServerSet,
        Command::RequestMatch,
    ] {
        assert_eq!(
            raw.errno(family, DUMP, command, &[]),
            supported,
            "{command:?}"
        );
    }

    // Cut off, or with a length that is wrong.
    let whole = message(family, REQUEST | ACK, 2, Command::TableUnload.number(), &[]);
    for cut in 0..whole.len() {
        let answers = raw.send(&whole[..cut]).map(|_| raw.drain());
        println!("{cut} bytes: {answers:?}");
    }
    for len in [0_u32, 1, 15, 16, 17, 19, 21, 1000, u32::MAX] {
        let mut bad = whole.clone();
        bad[..4].copy_from_slice(&len.to_ne_bytes());
        let answers = raw.send(&bad).map(|_| raw.drain());
        println!("length {len}: {answers:?}");
    }
    // Of 16 bytes: a header without a command.
    let mut short = whole[..16].to_vec();
    short[..4].copy_from_slice(&16_u32.to_ne_bytes());
    let errno = raw.ask(&short).iter().find_map(Answer::errno);
    assert_eq!(errno, Some(inval));
    // Without the flag of a request, it is none.
    let answers = raw.ask(&message(family, ACK, 3, Command::TableUnload.number(), &[]));
    assert_eq!(
        answers.iter().find_map(Answer::errno),
        Some(0),
        "{answers:?}"
    );
    assert_eq!(standing(&mut client), before);

    // Several in one datagram are each answered, whatever the others are.
    let get = |sequence| {
        message(
            family,
            REQUEST | ACK,
            sequence,
            Command::ModuleGet.number(),
            &[],
        )
    };
    let bad = message(
        family,
        REQUEST | ACK,
        11,
        Command::TableCommit.number(),
        &word(1, 77),
    );
    let answers = raw.ask(&[get(10), bad, get(12)].concat());
    let ends: Vec<(u32, i32)> = answers
        .iter()
        .filter_map(|answer| Some((answer.sequence, answer.errno()?)))
        .collect();
    assert_eq!(ends, [(10, 0), (11, Errno::NOENT.raw_os_error()), (12, 0)]);
    assert_eq!(
        answers
            .iter()
            .filter(|answer| answer.kind == family)
            .count(),
        2
    );

    // A second list while one is read is refused, and the first one goes on to its end.
    let list = |sequence| {
        message(
            family,
            REQUEST | DUMP,
            sequence,
            Command::ServerGet.number(),
            &[],
        )
    };
    let answers = raw.ask(&[list(20), list(21)].concat());
    println!("two lists: {} answers", answers.len());
    let ended = |sequence| {
        answers
            .iter()
            .any(|a| a.kind == DONE && a.sequence == sequence)
    };
    assert!(ended(20), "{answers:?}");
    // A list of which nobody reads the end.
    raw.send(&list(22)).unwrap();
    drop(raw);
    assert_eq!(standing(&mut client), before);
}

/// Requests that are right, to be mutated: each with its flags.
fn good_requests(transaction: u32, table: &[u8]) -> Vec<(Command, u16, Vec<u8>)> {
    let service = attribute(MatchAttr::Service.number(), b"web\0");
    let vip = Ipv4Addr::new(10, 0, 1, 100).to_ipv6_mapped().octets();
    let mut requests = vec![
        (Command::ModuleGet, ACK, Vec::new()),
        (
            Command::TableBegin,
            ACK,
            word(TableAttr::Len.number(), 4000),
        ),
        (
            Command::TableChunk,
            ACK,
            [
                word(TableAttr::Transaction.number(), transaction),
                word(TableAttr::Offset.number(), 0),
                attribute(TableAttr::Data.number(), &table[..200]),
            ]
            .concat(),
        ),
        (
            Command::TableCommit,
            ACK,
            word(TableAttr::Transaction.number(), transaction),
        ),
        (
            Command::TableAbort,
            ACK,
            word(TableAttr::Transaction.number(), transaction),
        ),
        (Command::ServiceGet, DUMP, Vec::new()),
        (Command::ServerGet, DUMP, Vec::new()),
        (Command::FlowGet, DUMP, Vec::new()),
        (
            Command::ServerSet,
            ACK,
            [
                attribute(ServerAttr::Pool.number(), b"three\0"),
                named(2),
                word(ServerAttr::Weight.number(), 3),
                word(ServerAttr::State.number(), 1),
            ]
            .concat(),
        ),
        (
            Command::ServerSet,
            ACK,
            [named(3), attribute(ServerAttr::ResetWeight.number(), &[])].concat(),
        ),
        (
            Command::RequestMatch,
            ACK,
            [
                attribute(
                    MatchAttr::Virtual.number() | NESTED,
                    &endpoint(&vip, Some(80)),
                ),
                attribute(MatchAttr::Request.number(), REQUESTS[1]),
            ]
            .concat(),
        ),
    ];
    for request in REQUESTS {
        let attributes = [
            service.clone(),
            attribute(MatchAttr::Source.number(), &vip),
            attribute(MatchAttr::Request.number(), request),
        ]
        .concat();
        requests.push((Command::RequestMatch, ACK, attributes));
    }
    requests
}

fn mutate(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.usize(1..=2) {
        // The message's own header is the kernel's matter, and tried elsewhere.
        let at = rng.usize(16..=bytes.len());
        match rng.u8(..12) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, rng.u8(..)),
            2 => {
                let from = rng.usize(16..=at);
                let copy = bytes[from..at].to_vec();
                bytes.extend(copy);
            }
            3 => {
                let small = rng.u16(..40).to_ne_bytes();
                let at = (at & !1).min(bytes.len() & !1);
                bytes.splice(at..(at + 2).min(bytes.len()), small);
            }
            4 => {
                let end = (at + rng.usize(..24)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = if rng.bool() {
                        rng.u8(..)
                    } else {
                        *byte ^ (1 << rng.u8(..8))
                    };
                }
            }
        }
        if bytes.len() < 20 {
            bytes.resize(20, 0);
        }
    }
}

fn fuzz(times: usize) {
    let (_module, mut client) = with_rules("");
    let good = rules(RULES);
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let raw = Raw::open();
    let family = raw.family();
    let requests = good_requests(1, good.table.as_bytes());
    let (mut done, mut refused) = (0, 0);
    for turn in 0..times {
        let (command, flags, attributes) = &requests[rng.usize(..requests.len())];
        let mut bytes = message(family, REQUEST | flags, 5, command.number(), attributes);
        if rng.u8(..10) == 0 {
            bytes.truncate(20);
            let len = rng.usize(..200);
            bytes.extend(std::iter::repeat_with(|| rng.u8(..)).take(len));
            bytes[16] = rng.u8(1..=12);
        } else {
            mutate(&mut rng, &mut bytes);
        }
        let len = u32::try_from(bytes.len()).unwrap();
        bytes[..4].copy_from_slice(&len.to_ne_bytes());
        let answers = raw.ask(&bytes);
        match answers.iter().find_map(Answer::errno) {
            Some(0) => done += 1,
            Some(_) => refused += 1,
            None => assert!(
                answers.iter().any(|answer| answer.kind == DONE),
                "turn {turn}: {}: {answers:?}",
                bytes.escape_ascii()
            ),
        }
        // What a mutation has loaded or taken away.
        if turn % 500 == 0 {
            drop(client);
            client = Client::open().unwrap();
            let module = client.module().unwrap();
            assert_eq!(module.table_layout, l7switch_engine::table::format::VERSION);
        }
    }
    println!("{done} were done, {refused} refused");
    assert!(done > times / 100 && refused > times / 4);
    drop(raw);
    wait_until("no load is under way", || {
        client.module().unwrap().loading.is_none()
    });
    client.load(good.table.as_bytes()).unwrap();
    let found = client
        .match_request(&MatchRequest {
            service: Some("web".to_owned()),
            request: REQUESTS[2].to_vec(),
            ..MatchRequest::default()
        })
        .unwrap();
    assert_eq!(found.route_name.as_deref(), Some("first"));
}

pub(super) fn random_messages_do_no_harm() {
    fuzz(3000);
}

pub(super) fn a_hundred_thousand_random_messages_do_no_harm() {
    fuzz(100_000);
}
