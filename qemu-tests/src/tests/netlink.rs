// SPDX-License-Identifier: MIT
//! Misuse of the netlink family: refused with words, and with nothing changed by it.

use std::net::Ipv4Addr;

use l7switch_engine::netlink::Command;
use l7switch_engine::netlink::EndpointAttr;
use l7switch_engine::netlink::MAX_ATTRIBUTE;
use l7switch_engine::netlink::MatchAttr;
use l7switch_engine::netlink::ServerAttr;
use l7switch_engine::netlink::TableAttr;
use l7switch_netlink::Client;
use l7switch_netlink::Error;
use l7switch_netlink::Match;
use l7switch_netlink::Refusal;
use l7switch_netlink::Server;
use rustix::io::Errno;

use super::requests::RULES;
use super::requests::rules;
use super::tables::REQUESTS;
use super::tables::ask;
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

/// What a refused request must leave as it is.
#[derive(Debug, PartialEq)]
pub(super) struct Standing {
    pub(super) generation: u64,
    table_len: Option<u32>,
    loading: Option<u32>,
    servers: Vec<Server>,
    pub(super) found: Match,
}

pub(super) fn standing(client: &mut Client) -> Standing {
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
pub(super) fn with_rules(parameters: &str) -> (Module, Client) {
    let module = Module::try_load(parameters).unwrap();
    let mut client = Client::open().unwrap();
    client.load(rules(RULES).table.as_bytes()).unwrap();
    (module, client)
}

/// The refusal, which has this number and says these words.
#[track_caller]
pub(super) fn refused<T: std::fmt::Debug>(
    result: Result<T, Error>,
    errno: Errno,
    words: &str,
) -> Refusal {
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

pub(super) fn word(number: u16, value: u32) -> Vec<u8> {
    attribute(number, &value.to_ne_bytes())
}

/// Attributes that name a server of [`RULES`].
pub(super) fn named(last: u8) -> Vec<u8> {
    let address = Ipv4Addr::new(10, 0, 2, last).to_ipv6_mapped().octets();
    [
        attribute(ServerAttr::Address.number(), &address),
        attribute(ServerAttr::Port.number(), &80_u16.to_ne_bytes()),
    ]
    .concat()
}

pub(super) fn endpoint(address: &[u8], port: Option<u16>) -> Vec<u8> {
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
            "set or reset the weight, not both",
        ),
        (named(2), inval, "nothing to set"),
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
        (request.clone(), inval, "the service is missing"),
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

pub(super) fn messages_that_no_client_sends_do_no_harm() {
    let (_module, mut client) = with_rules("");
    let before = standing(&mut client);
    let raw = Raw::open();
    let family = raw.family();
    let supported = Errno::OPNOTSUPP.raw_os_error();
    let inval = Errno::INVAL.raw_os_error();

    // Commands that there are not, events as commands, a list where something is done, and the other way round.
    let commands: Vec<u8> = (1..=12).chain([Command::RouteGet.number()]).collect();
    for command in (0..=u8::MAX).filter(|number| !commands.contains(number)) {
        for flags in [ACK, ACK | DUMP] {
            let answers = raw.ask(&message(family, REQUEST | flags, 1, command, &[]));
            let errno = answers.iter().find_map(Answer::errno);
            assert_eq!(errno, Some(supported), "{command}: {answers:?}");
        }
    }
    for command in [
        Command::ServiceGet,
        Command::ServerGet,
        Command::FlowGet,
        Command::RouteGet,
    ] {
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
