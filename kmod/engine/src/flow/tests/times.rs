// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What happens because nothing does.

use super::script::check;
use super::script::run;
use super::script::sent;
use super::script::Setting;
use super::script::SENT;

#[test]
fn a_head_that_is_too_slow_is_the_fronts() {
    run("c> S 0
         c< SA 0 1
         c> A 1 1 GET/a[0..10]
         t 2000
         f< S 0
         f> SA 0 1
         f< A 1 1 GET/a[0..10]");
}

#[test]
fn a_head_in_too_many_segments_is_the_fronts() {
    run("c> S 0
         c< SA 0 1
         c> A 1 1 GET/a[0..1]
         c> A 2 1 GET/a[1..2]
         c> A 3 1 GET/a[2..3]
         c> A 4 1 GET/a[3..4]
         c> A 5 1 GET/a[4..5]
         c> A 6 1 GET/a[5..6]
         c> A 7 1 GET/a[6..7]
         f< S 0");
}

/// A request was sent ahead, and the response before it took its time.
#[test]
fn a_head_is_timed_from_the_response_before_it() {
    sent(
        "c> PA 29 1 GET/b
         t 5000
         a> PA 1 29 OK:5
         c< PA 1 29 OK:5
         t 10
         c> A 57 44
         a< A 29 44
         b< S 0
         a< A 29 44",
    );
}

/// The client says nothing of the response: there is no proof, and no reason to reset either.
#[test]
fn a_request_that_waits_for_proof_is_let_go_of_and_sent_again() {
    sent(
        "a> PA 1 29 OK:5
         c< PA 1 29 OK:5
         c> PA 29 1 GET/b
         t 2000
         c> PA 29 44 GET/b
         a< A 29 44
         b< S 0",
    );
}

#[test]
fn an_idle_connection_is_given_up_after_a_quarter_of_an_hour() {
    check(
        &Setting::default(),
        "c> S 0
         c< SA 0 1
         c> PA 1 1 GET/a
         a< S 0
         a> SA 0 1
         a< PA 1 1 GET/a
         a> PA 1 29 OK:5
         c< PA 1 29 OK:5
         c> A 29 44
         a< A 29 44
         t 899000
         t 1000
         a< R 29
         c< RA 44 29
         t 129999
         # It may not know it yet.
         c> A 28 44
         c< R 44
         t 130000",
        |script| {
            assert!(script.flow.is_none());
            assert_eq!(script.world.events["Idle"], 1);
        },
    );
}

/// It has a connection that is half open beside the one in use, by a SYN that came twice.
#[test]
fn a_server_that_begins_for_ever_does_not_keep_a_connection() {
    check(
        &Setting::default(),
        &[
            SENT,
            "a> PA 1 29 OK:5
             c< PA 1 29 OK:5
             c> A 29 44
             a< A 29 44
             t 600000
             a> SA 7000 1
             a< A 29 44
             t 299999
             a> SA 7000 1
             a< A 29 44
             t 1
             a< R 29
             c< RA 44 29",
        ]
        .concat(),
        |script| assert_eq!(script.world.events["Idle"], 1),
    );
}

#[test]
fn a_flow_whose_place_is_needed_tells_its_servers() {
    check(
        &Setting::default(),
        &[SENT, "end\n a< R 29"].concat(),
        |script| assert!(script.flow.is_none()),
    );
}

#[test]
fn a_switch_that_goes_away_tells_both_sides() {
    check(
        &Setting::default(),
        &[SENT, "abort\n a< R 29\n c< RA 1 29"].concat(),
        |script| assert!(script.flow.is_none()),
    );
}
