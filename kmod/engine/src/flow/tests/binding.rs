// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Servers that do not take a connection, or not at once.

use super::script::check;
use super::script::run;
use super::script::sent;
use super::script::Setting;

#[test]
fn a_server_that_refuses_is_not_the_clients_concern() {
    check(
        &Setting::default(),
        "c> S 0
         c< SA 0 1
         c> PA 1 1 GET/a
         a< S 0
         # A reset that acknowledges something else is not the answer.
         a> RA 0 7
         a> RA 0 1
         a2< S 0
         a2> SA 0 1
         a2< PA 1 1 GET/a",
        |script| assert_eq!(script.world.events["failed Refused"], 1),
    );
}

#[test]
fn a_server_that_does_not_answer_is_left_after_three_syns() {
    check(
        &Setting::default(),
        "c> S 0
         c< SA 0 1
         c> PA 1 1 GET/a
         a< S 0
         t 1000
         a< S 0
         # The client has not given up either.
         c> PA 1 1 GET/a
         t 1000
         a< S 0
         t 1000
         a< R 1
         a2< S 0
         a2> SA 0 1
         a2< PA 1 1 GET/a",
        |script| assert_eq!(script.world.events["failed Timeout"], 1),
    );
}

#[test]
fn where_no_server_is_left_it_is_the_front() {
    run("c> S 0
         c< SA 0 1
         c> PA 1 1 GET/b
         b< S 0
         b> RA 0 1
         f< S 0
         f> SA 0 1
         f< PA 1 1 GET/b
         f> PA 1 29 'HTTP/1.1_503_\\r\\n'
         c< PA 1 29 'HTTP/1.1_503_\\r\\n'
         # From here on nothing is read.
         c> PA 29 16 GET/a
         f< PA 29 16 GET/a");
}

#[test]
fn a_service_without_front_resets() {
    check(
        &Setting::default(),
        "c> S 0
         c< SA 0 1
         c> PA 1 1 GET/nobody
         f< S 0
         f> RA 0 1
         c< RA 1 1
         # Who does not know it yet is told.
         c> PA 1 1 GET/nobody
         c< R 1
         t 130000",
        |script| {
            assert_eq!(script.world.events["NoFront"], 1);
            assert!(script.flow.is_none());
        },
    );
}

#[test]
fn a_server_in_time_wait_is_reset_and_asked_again() {
    run("c> S 0
         c< SA 0 1
         c> PA 1 1 GET/a
         a< S 0
         # Of an older connection of the same addresses and ports.
         a> A 5000 777
         a< R 777
         a< S 0
         a> SA 0 1
         a< PA 1 1 GET/a");
}

#[test]
fn what_was_held_and_is_gone_is_read_again() {
    let forgets = Setting {
        forgets: true,
        ..Setting::default()
    };
    check(
        &forgets,
        "c> S 0
         c< SA 0 1
         c> PA 1 1 GET/a
         a< S 0
         a> SA 0 1
         a< A 1 1
         c> PA 1 1 GET/a
         a< PA 1 1 GET/a
         a> A 1 29
         c< A 1 29",
        |script| assert_eq!(script.flow.map(|flow| flow.outstanding()), Some(1)),
    );
}

#[test]
fn a_server_that_closes_a_fresh_connection_has_failed() {
    check(
        &Setting::default(),
        "c> S 0
         c< SA 0 1
         c> PA 1 1 GET/a
         a< S 0
         a> SA 0 1
         a< PA 1 1 GET/a
         a> FA 1 1
         a< R 29
         c> PA 1 1 GET/a
         a2< S 0",
        |script| assert_eq!(script.world.events["failed Refused"], 1),
    );
}

#[test]
fn a_second_syn_of_a_servers_is_answered_from_where_the_connection_stands() {
    sent(
        "a> SA 0 1
         a< A 29 1
         # Another connection's.
         a> SA 999 1
         a< A 29 1",
    );
}

#[test]
fn a_server_without_the_timestamps_that_were_promised_is_not_used() {
    check(
        &Setting::default(),
        "c> S 0 ts=500/0
         c< SA 0 1
         c> PA 1 1 GET/a ts=501/9000
         a< S 0 ts=501/0
         a> SA 0 1
         a< R 1
         a2< S 0",
        |script| assert_eq!(script.world.events["failed Options"], 1),
    );
}
