// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Heads that come again: the server sees none that was not routed.

use super::script::check;
use super::script::run;
use super::script::sent;
use super::script::Setting;
use super::script::CHUNKED;

#[test]
fn the_same_bytes_go_to_the_server_again() {
    sent(
        "c> PA 1 1 GET/a
         a< PA 1 1 GET/a
         # With the beginning of the next request behind it.
         c> PA 1 1 GET/a GET/b[0..5]
         a< A 1 1 GET/a",
    );
}

#[test]
fn other_bytes_do_not() {
    let roomless = Setting {
        unacked: 0,
        ..Setting::default()
    };
    check(
        &roomless,
        "c> S 0
         c< SA 0 1
         c> PA 1 1 POST/a:8
         a< S 0
         a> SA 0 1
         a< PA 1 1 POST/a:8
         c> PA 1 1 POST/b:8
         # A part of it, which cannot be compared.
         c> A 1 1 POST/a:8[0..20]
         c> A 20 1 POST/a:8[19..]
         t 6000
         c> PA 1 1 POST/b:8
         a< R 49
         c< RA 1 49",
        |script| assert_eq!(script.world.events["Inconsistent"], 4),
    );
}

#[test]
fn what_the_server_has_may_be_anything() {
    sent(
        "a> A 1 29
         c< A 1 29
         c> PA 1 1 GET/b
         a< PA 1 1 GET/b",
    );
}

/// The client cuts it otherwise.
#[test]
fn of_a_head_in_several_segments_what_was_routed_goes_again() {
    check(
        &Setting::default(),
        "c> S 0
         c< SA 0 1
         c> A 1 1 GET/a[0..10]
         c> PA 11 1 GET/a[10..]
         a< S 0
         a> SA 0 1
         a< A 1 1 GET/a[0..10]
         a< PA 11 1 GET/a[10..]
         # The second was lost. What its server has may be anything.
         a> A 1 11
         c< A 1 11
         c> A 5 1 x:6 GET/a[10..20]
         a< A 5 1 x:6 GET/a[10..20]
         c> A 11 1 x:5
         c> A 20 1 GET/a[19..] x:1
         a< A 20 1 GET/a[19..]
         a> A 1 29
         c< A 1 29",
        |script| assert_eq!(script.world.events["Inconsistent"], 1),
    );
}

#[test]
fn a_head_comes_again_behind_a_body() {
    run("c> S 0
         c< SA 0 1
         c> PA 1 1 POST/a:10
         a< S 0
         a> SA 0 1
         a< PA 1 1 POST/a:10
         c> PA 50 1 x:10
         a< PA 50 1 x:10
         a> PA 1 50 OK:5
         c< PA 1 50 OK:5
         c> A 60 44
         a< A 60 44
         c> A 60 44 GET/a[0..20]
         c> PA 80 44 GET/a[20..]
         a< A 60 44 GET/a[0..20]
         a< PA 80 44 GET/a[20..]
         # Everything from the body on was lost.
         c> A 50 44 x:10 GET/a[0..10]
         a< A 50 44 x:10 GET/a[0..10]");
}

#[test]
fn a_head_behind_a_body_is_compared() {
    run("c> S 0
         c< SA 0 1
         c> PA 1 1 POST/a:10
         a< S 0
         a> SA 0 1
         a< PA 1 1 POST/a:10
         a> A 1 50
         c< A 1 50
         c> PA 50 1 x:10 GET/a
         a< PA 50 1 x:10 GET/a
         c> A 50 1 x:10 GET/b
         c> A 50 1 x:10 GET/a[0..10]
         a< A 50 1 x:10 GET/a[0..10]");
}

/// A chunk's size decides where the next request begins.
#[test]
fn the_framing_of_a_body_stays_as_it_was_read() {
    check(
        &Setting::default(),
        &[
            CHUNKED,
            "c> PA 58 1 '5\\r\\n' x:5 '\\r\\n0\\r\\n\\r\\n'
         a< PA 58 1 '5\\r\\n' x:5 '\\r\\n0\\r\\n\\r\\n'
         # Lost. Another size, another end; other data are no matter.
         c> PA 58 1 '0\\r\\n\\r\\nGET/b'
         c> PA 66 1 '\\r\\n1\\r\\n'
         c> PA 66 1 '\\r\\n0\\r'
         a< PA 66 1 '\\r\\n0\\r'
         c> PA 58 1 '5\\r\\n' 'other' '\\r\\n0\\r\\n\\r\\n'
         a< PA 58 1 '5\\r\\n' 'other' '\\r\\n0\\r\\n\\r\\n'
         # What the server has is no matter either.
         a> A 1 66
         c< A 1 66
         c> PA 58 1 '4\\r\\n' x:5
         a< PA 58 1 '4\\r\\n' x:5",
        ]
        .concat(),
        |script| {
            assert_eq!(script.world.events["Inconsistent"], 2);
            assert!(!script.world.unacked.is_empty());
        },
    );
}

/// The rest of a head comes with its beginning, of which another copy was read.
#[test]
fn what_was_held_is_not_passed_in_another_form() {
    check(
        &Setting::default(),
        "c> S 0
         c< SA 0 1
         c> PA 1 1 GET/a
         a< S 0
         a> SA 0 1
         a< PA 1 1 GET/a
         a> PA 1 29 OK:1
         c< PA 1 29 OK:1
         c> A 29 40 GET/a[0..10]
         a< A 29 40
         c> PA 29 40 GET/b
         a< A 29 40 GET/a[0..10]
         c> PA 29 40 GET/a
         a< PA 29 40 GET/a",
        |script| assert_eq!(script.world.events["Inconsistent"], 1),
    );
}

/// Another head behind it changes nothing.
#[test]
fn nor_does_it_change_before_a_head_that_is_compared() {
    check(
        &Setting::default(),
        &[
            CHUNKED,
            "c> PA 58 1 '5\\r\\n' x:5 '\\r\\n0\\r\\n\\r\\n'
         a< PA 58 1 '5\\r\\n' x:5 '\\r\\n0\\r\\n\\r\\n'
         c> PA 73 1 GET/a
         a< PA 73 1 GET/a
         # Both lost.
         c> A 58 1 '0\\r\\n\\r\\nGET_/b_HTT' GET/a[0..9]
         c> A 58 1 '5\\r\\n' x:5 '\\r\\n0\\r\\n\\r\\n' GET/a[0..9]
         a< A 58 1 '5\\r\\n' x:5 '\\r\\n0\\r\\n\\r\\n'",
        ]
        .concat(),
        |script| assert_eq!(script.world.events["Inconsistent"], 2),
    );
}

/// There is room for the first line. Each piece of it takes room of its own.
#[test]
fn what_cannot_be_kept_waits_for_its_server() {
    let little = Setting {
        unacked: 27,
        layout: Some(&[7]),
        ..Setting::default()
    };
    check(
        &little,
        &[
            CHUNKED,
            "c> PA 58 1 '5\\r\\n' x:5 '\\r\\n0\\r\\n\\r\\n'
         a< A 58 1 '5\\r\\n' x:5
         a> A 1 66
         a< PA 66 1 '\\r\\n0\\r\\n\\r\\n'
         c< A 1 66",
        ]
        .concat(),
        |_| {},
    );
}

#[test]
fn the_next_head_waits_until_the_server_has_the_one_before() {
    sent(
        "c> PA 29 1 GET/a
         a> A 1 29
         a< PA 29 1 GET/a
         c< A 1 29",
    );
}
