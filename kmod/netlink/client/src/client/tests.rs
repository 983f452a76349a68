// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The client against a kernel that has its answers written down.

use netlink_packet_core::NLM_F_DUMP_INTR;

use super::*;
use crate::link::tests::Script;
use crate::link::tests::answer;
use crate::link::tests::error;
use crate::link::tests::message;

const FAMILY: u16 = 30;

fn inner(answers: impl IntoIterator<Item = Vec<u8>>) -> Inner<Script> {
    Inner {
        link: Link::new(Script::new(answers)),
        family: Family {
            number: FAMILY,
            events: Some(6),
        },
    }
}

/// Attributes of numbers of 4 bytes.
fn numbers(values: &[(u16, u32)]) -> Vec<u8> {
    let one = |&(kind, value): &(u16, u32)| {
        let header = [8_u16.to_ne_bytes(), kind.to_ne_bytes()].concat();
        [header, value.to_ne_bytes().to_vec()].concat()
    };
    values.iter().flat_map(one).collect()
}

/// A module that takes 10 bytes in chunks of 4.
fn module(sequence: u32) -> Vec<u8> {
    let version = [6, 0, 1, 0, b'1', 0, 0, 0].to_vec();
    let rest = numbers(&[(2, 1), (3, 0), (10, 10), (11, 4)]);
    [
        answer(sequence, &[version, rest].concat()),
        error(sequence, 0),
    ]
    .concat()
}

fn done(sequence: u32, attributes: &[(u16, u32)]) -> Vec<u8> {
    [answer(sequence, &numbers(attributes)), error(sequence, 0)].concat()
}

fn commands(inner: &Inner<Script>) -> Vec<u8> {
    let sent = inner.link.transport().sent.borrow();
    sent.iter().map(|message| message[16]).collect()
}

#[test]
fn a_table_goes_in_chunks_in_order() {
    let answers = [
        module(1),
        done(2, &[(1, 77)]),
        error(3, 0),
        error(4, 0),
        error(5, 0),
        done(6, &[(5, 3)]),
    ];
    let mut inner = inner(answers);
    assert_eq!(inner.load(b"0123456789").unwrap(), 3);
    assert_eq!(commands(&inner), [1, 2, 3, 3, 3, 4]);
    let sent = inner.link.transport().sent.borrow();
    let last = &sent[4];
    assert_eq!(last[20..36], numbers(&[(1, 77), (3, 8)]));
    assert_eq!(last[36..], *b"\x06\0\x04\089\0\0");
}

#[test]
fn a_chunk_that_is_refused_ends_in_an_abort() {
    let answers = [module(1), done(2, &[(1, 77)]), error(3, 22), error(4, 0)];
    let mut inner = inner(answers);
    let failed = inner.load(b"0123456789").unwrap_err();
    assert_eq!(failed.errno(), Some(22));
    assert!(failed.to_string().contains("table-chunk"), "{failed}");
    assert_eq!(commands(&inner), [1, 2, 3, 5]);
}

#[test]
fn a_table_too_long_is_not_begun() {
    let mut inner = inner([module(1)]);
    let failed = inner.load(&[0; 11]).unwrap_err();
    assert!(failed.to_string().contains("max_table_len"), "{failed}");
    assert_eq!(commands(&inner), [1]);
}

#[test]
fn a_list_that_changed_is_read_again() {
    let entry = |sequence, flags| {
        let fixed = numbers(&[(4, 1), (5, 0), (6, 1), (9, 0)]);
        let texts = [[6, 0, 1, 0, b'p', 0, 0, 0], [7, 0, 8, 0, b'r', b'r', 0, 0]].concat();
        let mut address = [20, 0, 2, 0].to_vec();
        address.extend([0; 16]);
        address.extend([6, 0, 3, 0, 80, 0, 0, 0]);
        let all = [vec![8, 1, 0, 0], fixed, texts, address].concat();
        message(FAMILY, 2 | flags, sequence, &all)
    };
    let end = |sequence| message(3, 2, sequence, &[0; 4]);
    let mut inner = inner([
        [entry(1, NLM_F_DUMP_INTR), entry(1, 0)].concat(),
        end(1),
        entry(2, 0),
        end(2),
    ]);
    let servers: Vec<Server> = inner.list(Command::ServerGet).unwrap();
    assert_eq!(servers.len(), 1, "nothing of the first reading");
    assert_eq!(servers[0].pool, "p");
}

#[test]
fn a_thing_not_found_is_told_from_a_module_that_is_gone() {
    let family = |sequence, number: u16| {
        let mut bytes = [6_u16.to_ne_bytes(), 1_u16.to_ne_bytes()].concat();
        bytes.extend(number.to_ne_bytes());
        bytes.extend([0; 2]);
        [answer(sequence, &bytes), error(sequence, 0)].concat()
    };
    let outcome = |second| {
        let mut inner = inner([error(1, 2), second]);
        inner.abort(5).unwrap_err()
    };
    assert!(matches!(outcome(family(2, FAMILY)), Error::Refused(_)));
    assert!(outcome(family(2, FAMILY + 1)).is_absent(), "loaded anew");
    assert!(outcome(error(2, 2)).is_absent(), "gone");
}

#[test]
fn no_right_is_told_from_a_refusal_with_that_number() {
    let mut bare = inner([error(1, 1)]);
    assert!(matches!(bare.abort(5), Err(Error::NotPermitted)));
    let mut payload = (-1_i32).to_ne_bytes().to_vec();
    payload.extend([0; 16]);
    payload.extend([12, 0, 1, 0]);
    payload.extend(b"not you\0");
    let mut said = inner([message(2, 0x300, 1, &payload)]);
    let error = said.abort(5).unwrap_err();
    assert_eq!(error.to_string(), "the kernel refused table-abort: not you");
}

#[test]
fn a_command_that_is_only_acknowledged_has_no_answer() {
    let mut inner = inner([error(1, 0)]);
    let failed = inner.commit(1).unwrap_err();
    assert!(failed.to_string().contains("without an answer"), "{failed}");
}
