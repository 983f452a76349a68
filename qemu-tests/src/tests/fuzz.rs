// SPDX-License-Identifier: MIT
//! Random messages to the netlink family.

use std::net::Ipv4Addr;

use fastrand::Rng;
use l7switch_engine::netlink::Command;
use l7switch_engine::netlink::MatchAttr;
use l7switch_engine::netlink::ServerAttr;
use l7switch_engine::netlink::TableAttr;
use l7switch_netlink::MatchRequest;

use super::netlink::endpoint;
use super::netlink::named;
use super::netlink::with_rules;
use super::netlink::word;
use super::requests::RULES;
use super::requests::rules;
use super::tables::REQUESTS;
use crate::kit::netlink::ACK;
use crate::kit::netlink::Answer;
use crate::kit::netlink::DONE;
use crate::kit::netlink::DUMP;
use crate::kit::netlink::NESTED;
use crate::kit::netlink::REQUEST;
use crate::kit::netlink::Raw;
use crate::kit::netlink::attribute;
use crate::kit::netlink::message;
use crate::kit::wait_until;

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
        (Command::RouteGet, DUMP, Vec::new()),
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
    let mut raw = Raw::open();
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
        // A mutation may have taken the table away, or begun a load: with either, the rest would be refused early.
        if turn % 50 == 0 {
            raw = Raw::open();
            if client.module().unwrap().table_len.is_none() {
                wait_until("no load is under way", || {
                    client.module().unwrap().loading.is_none()
                });
                client.load(good.table.as_bytes()).unwrap();
            }
        }
    }
    println!("{done} were done, {refused} refused");
    assert!(done > times / 20 && refused > times / 4);
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
