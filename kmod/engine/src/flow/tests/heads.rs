// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Heads that come again: the server sees none that was not routed.

use super::script::check;
use super::script::run;
use super::script::sent;
use super::script::Setting;

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
    let keepless = Setting {
        keeps: false,
        ..Setting::default()
    };
    check(
        &keepless,
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

/// The client cuts it otherwise; what was kept goes again in its place.
#[test]
fn of_a_head_in_several_segments_what_was_routed_goes_again() {
    run("c> S 0
         c< SA 0 1
         c> A 1 1 GET/a[0..10]
         c> PA 11 1 GET/a[10..]
         a< S 0
         a> SA 0 1
         a< A 1 1 GET/a[0..10]
         a< PA 11 1 GET/a[10..]
         # The second was lost.
         a> A 1 11
         c< A 1 11
         c> A 11 1 GET/b[10..20]
         a< PA 11 1 GET/a[10..]
         a> A 1 29
         c< A 1 29");
}

/// The server needs what is before the head first, and its client may not cut it there.
#[test]
fn what_is_before_a_head_that_cannot_be_compared_goes_on() {
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
         a< A 60 44 GET/a[0..20]
         a< PA 80 44 GET/a[20..]
         a< A 50 44 x:10");
}

#[test]
fn a_head_behind_a_body_is_kept() {
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
         c> A 50 1 x:10 GET/a[0..10]
         a< PA 60 1 GET/a
         a< A 50 1 x:10");
}

#[test]
fn what_is_sent_again_has_no_fin() {
    run("c> S 0
         c< SA 0 1
         c> A 1 1 GET/a[0..10]
         c> FPA 11 1 GET/a[10..]
         a< S 0
         a> SA 0 1
         a< A 1 1 GET/a[0..10]
         a< FPA 11 1 GET/a[10..]
         a> A 1 11
         c< A 1 11
         c> A 11 1 GET/a[10..20]
         a< PA 11 1 GET/a[10..]
         a> A 1 29
         c< A 1 29
         c> FA 29 1
         a< FA 29 1");
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
