// SPDX-License-Identifier: GPL-2.0 OR MIT
//! PROXY headers that get lost on their way, or are let go of.

use super::super::*;
use super::proxying::accepts;
use super::proxying::run;
use super::proxying::sends;
use super::proxying::OPEN;
use super::script::check;
use super::script::Setting;

#[test]
fn a_header_that_was_lost_comes_again() {
    run(
        &sends(ProxyVersion::V2),
        "c> PA 1 1 GET/a
         a< S 0
         a> SA 0 1
         a< PA 1 1 V2
         a< PA 29 1 GET/a
         # The server has the request, and not what is before it. The client is not told.
         a> A 1 1
         a< PA 1 1 V2
         a> A 1 20
         a< PA 1 1 V2
         a> A 1 57
         c< A 1 29
         a> A 1 57
         c< A 1 29
         # Both were lost: the client's request brings the answer that brings the header.
         c> PA 1 1 GET/a
         a< PA 29 1 GET/a",
    );
}

#[test]
fn the_answer_to_a_syn_that_comes_again_brings_the_header_again() {
    run(
        &sends(ProxyVersion::V2),
        "c> PA 1 1 GET/a
         a< S 0
         a> SA 0 1
         a< PA 1 1 V2
         a< PA 29 1 GET/a
         a> SA 0 1
         a< PA 1 1 V2
         a> A 1 57
         c< A 1 29",
    );
}

#[test]
fn where_nobody_speaks_time_brings_it_again() {
    let eager = Setting {
        eager: true,
        ..sends(ProxyVersion::V2)
    };
    check(
        &eager,
        "c> S 0
         c< SA 0 1
         c> A 1 1
         a< S 0
         a> SA 0 1
         a< PA 1 1 V2
         t 1000
         a< PA 1 1 V2
         t 1000
         a< PA 1 1 V2
         t 2000
         a< PA 1 1 V2
         a> A 1 29
         c< A 1 1
         t 60000
         a> PA 1 29 x:3
         c< PA 1 1 x:3",
        |script| assert_eq!(script.world.events["ProxyResent"], 3),
    );
    check(
        &eager,
        "c> S 0
         c< SA 0 1
         c> A 1 1
         a< S 0
         a> SA 0 1
         a< PA 1 1 V2
         t 1000
         a< PA 1 1 V2
         t 2000
         a< PA 1 1 V2
         t 4000
         a< PA 1 1 V2
         t 8000
         a< PA 1 1 V2
         t 16000
         a< PA 1 1 V2
         t 32000
         a< PA 1 1 V2
         t 64000
         a< R 29
         c< RA 1 1",
        |script| assert_eq!(script.world.events["Idle"], 1),
    );
}

/// Where nothing could be held, everything is read when it comes again, however it is cut then.
#[test]
fn a_header_that_was_let_go_of_is_read_again() {
    let setting = Setting {
        forgets: true,
        ..accepts()
    };
    run(
        &setting,
        "c> PA 1 1 V1 GET/a[0..5]
         c> PA 1 1 V1
         c> PA 1 1 V1 GET/a
         a< S 0
         a> SA 0 1
         a< A 1 1
         c> PA 1 1 V1 GET/a
         a< PA -36 1 V1 GET/a
         a> A 1 29
         c< A 1 66",
    );
}

/// It is acknowledged by a server, or not at all: the front may have to read it.
#[test]
fn a_header_that_nobody_has_is_not_acknowledged() {
    run(
        &accepts(),
        "c> PA 1 1 V1 GET/b
         b< S 0
         forget
         b> RA 0 1
         c> A 1 1
         c> PA 1 1 V1[0..20]
         c> PA 21 1 V1[20..]
         c> PA 38 1 GET/b
         f< S 0
         f> SA 0 1
         f< PA 1 1 V1[0..20]
         f< PA 21 1 V1[20..]
         f< PA 38 1 GET/b
         f> A 1 38
         c< A 1 38",
    );
    run(
        &accepts(),
        "c> PA 1 1 V1 GET/a[0..5]
         forget
         c> PA 1 1 V1[0..20]
         c> PA 21 1 V1[20..] GET/a
         a< S 0
         a> SA 0 1
         a< PA 1 1 GET/a",
    );
}

#[test]
fn what_a_server_has_of_the_header_is_not_told_to_the_client() {
    let eager = Setting {
        eager: true,
        ..sends(ProxyVersion::V2)
    };
    run(
        &eager,
        "c> A 1 1
         a< S 0
         a> SA 0 1
         a< PA 1 1 V2
         # It says so again when it has all of it.
         a> PA 1 1 x:7
         a< PA 1 1 V2
         a> FA 8 20
         a< PA 1 1 V2
         a> PA 1 29 x:7 sack=1-29
         c< PA 1 1 x:7 sack=none
         # This one is late.
         a> A 8 20
         a> FA 8 29
         c< FA 8 1",
    );
    run(
        &sends(ProxyVersion::V2),
        "c> PA 1 1 GET/a
         a< S 0
         a> SA 0 1
         a< PA 1 1 V2
         a< PA 29 1 GET/a
         a> A 1 57 sack=1-57
         c< A 1 29 sack=none",
    );
}

#[test]
fn a_head_that_is_too_slow_does_not_bring_the_header_again_and_again() {
    check(
        &sends(ProxyVersion::V2),
        &[
            OPEN,
            "c> PA 1 1 GET/a
             a< S 0
             forget
             a> SA 0 1
             a< PA 1 1 V2
             c> PA 1 1 GET/a[0..5]
             t 2000
             t 0
             a< PA 1 1 V2
             t 0
             a< PA 1 1 V2
             t 0
             a> A 1 29
             c< A 1 1
             c> PA 1 1 GET/a
             a< PA 29 1 GET/a",
        ]
        .concat(),
        |script| assert_eq!(script.world.events["ProxyResent"], 2),
    );
}
