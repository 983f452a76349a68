// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Connections that begin: what is answered without a flow, and what makes one.

use super::script::check;
use super::script::run;
use super::script::sent;
use super::script::Setting;

#[test]
fn an_open_connection_is_nothing_to_the_switch() {
    check(
        &Setting::default(),
        "c> S 0
         c< SA 0 1 win=32768 mss=1460 ws=7
         c> A 1 1
         # Probes of an idle connection, with and without a byte.
         c> A 0 1
         c< A 1 1 win=256
         c> A 0 1 x:1
         c< A 1 1 win=256
         # It is closed without a request, and once more since the answer was lost.
         c> FA 1 1
         c< FA 1 2
         c> FA 1 1
         c< FA 1 2
         c> A 2 2",
        |script| assert!(script.flow.is_none()),
    );
}

#[test]
fn what_belongs_to_nothing_is_the_local_stacks() {
    run("c> PA 1 1 GET/a
         c< R 1");
}

#[test]
fn data_that_overtook_the_first_are_dropped() {
    check(
        &Setting::default(),
        "c> S 0
         c< SA 0 1
         c> PA 15 1 GET/a[14..]
         c> A 29 1
         # Behind all that the window takes.
         c> A 32769 1
         c> FA 29 1",
        |script| assert!(script.flow.is_none()),
    );
}

#[test]
fn a_request_opens_closes_and_leaves_nothing() {
    check(
        &Setting::default(),
        "c> S 0 ws=3 mss=1300
         c< SA 0 1 ws=7
         c> A 1 1
         c> PA 1 1 GET/a
         a< S 0 ws=3 mss=1220
         a> SA 0 1 ws=7
         a< PA 1 1 GET/a
         a> A 1 29
         c< A 1 29
         a> PA 1 29 OK:5
         c< PA 1 29 OK:5
         c> A 29 44
         a< A 29 44
         c> FA 29 44
         a< FA 29 44
         a> FA 44 30
         c< FA 44 30
         c> A 30 45
         a< A 30 45
         t 3000",
        |script| {
            assert!(script.flow.is_none());
            assert_eq!(script.world.events["Request"], 1);
        },
    );
}

#[test]
fn a_head_comes_in_any_number_of_segments() {
    run("c> S 0
         c< SA 0 1
         c> A 1 1 GET/a[0..1]
         c> A 2 1 GET/a[1..10]
         # Sent again, cut otherwise.
         c> A 1 1 GET/a[0..12]
         c> PA 13 1 GET/a[12..]
         a< S 0
         a> SA 0 1
         a< A 1 1 GET/a[0..1]
         a< A 2 1 GET/a[1..10]
         a< A 11 1 GET/a[10..12]
         a< PA 13 1 GET/a[12..]");
}

#[test]
fn a_service_whose_server_speaks_first_needs_no_data() {
    let eager = Setting {
        eager: true,
        ..Setting::default()
    };
    check(
        &eager,
        "c> S 0
         c< SA 0 1
         c> A 1 1
         a< S 0
         a> RA 0 1
         a2< S 0
         a2> SA 0 1
         a2< A 1 1
         a2> PA 1 1 '220_hello\\r\\n'
         c< PA 1 1 '220_hello\\r\\n'
         c> PA 1 12 'EHLO\\r\\n'
         a2< PA 1 12 'EHLO\\r\\n'
         # Nothing is read.
         a2> PA 12 7 'HTTP/1.1_999'
         c< PA 12 7 'HTTP/1.1_999'",
        |script| assert!(script.flow.is_some_and(|flow| flow.is_opaque())),
    );
}

/// RFC 5961, 4: the client that has forgotten a connection answers what does not fit by a reset, and begins again.
#[test]
fn a_port_that_is_used_again_begins_anew_when_its_client_has_denied_the_connection_before() {
    sent(
        "a> A 1 29
         c< A 1 29
         # The client has forgotten it, and opens another from the same port.
         c> S 0 isn=100000000
         c< A 1 -99999971
         c> R -99999971
         a< R 29
         c> S 0
         c< SA 0 1
         c> A 1 1
         c> PA 1 1 GET/a
         a< S 0",
    );
}

#[test]
fn a_late_copy_of_a_syn_is_answered_and_ends_nothing() {
    check(
        &Setting::default(),
        "c> S 0
         c< SA 0 1
         c> PA 1 1 GET/a
         a< S 0
         a> SA 0 1
         a< PA 1 1 GET/a
         # The server has not acknowledged the request.
         c> S 0
         c< A 1 1
         a> PA 1 29 OK:5
         c< PA 1 29 OK:5
         c> S 0
         c< A 44 29",
        |script| assert_eq!(script.world.events["Challenge"], 2),
    );
}

/// What is outside of a live connection's window ends it as little as it would a socket's, however good its cookie is.
#[test]
fn a_late_handshake_of_an_earlier_connection_ends_nothing_that_is_live() {
    check(
        &Setting::default(),
        "c> S 0
         c< SA 0 1
         c> S 0 isn=100000000
         c< SA 0 1
         c> PA 1 1 GET/a
         a< S 0
         a> SA 0 1
         a< PA 1 1 GET/a
         as -100000000
         c> A 1 1
         c> PA 1 1 GET/b
         c> FA 1 1
         as 100000000
         a> PA 1 29 OK:5
         c< PA 1 29 OK:5",
        |script| assert_eq!(script.world.events["OutOfWindow"], 3),
    );
}

/// Of the connection before, on the same port: its clock tells.
#[test]
fn a_late_acknowledgement_of_an_earlier_connection_begins_nothing() {
    run("c> S 0 ts=500/0
         c< SA 0 1
         c> S 0 isn=100000000 ts=1000/0
         c< SA 0 1
         c> PA 1 1 GET/a ts=1001/9000
         a< S 0
         a> SA 0 1 ts=70/1001
         a< PA 1 1 GET/a
         a> PA 1 29 OK:5 ts=80/1001
         c< PA 1 29 OK:5
         c> FA 29 44 ts=1002/9010
         a< FA 29 44
         a> FA 44 30 ts=81/1002
         c< FA 44 30
         c> A 30 45 ts=1003/9011
         a< A 30 45
         # Both sides have ended.
         as -100000000
         c> A 1 1 ts=501/9000
         as 100000000
         c> A 30 45 ts=1004/9011
         a< A 30 45");
}

/// Some hosts' clocks begin anew with every connection.
#[test]
fn a_port_that_is_used_again_with_another_clock_begins_anew() {
    run("c> S 0 ts=900000/0
         c< SA 0 1
         c> PA 1 1 GET/a ts=900001/9000
         a< S 0
         a> SA 0 1 ts=70/900001
         a< PA 1 1 GET/a
         c> S 0 isn=100000000 ts=500/0
         c< A 1 -99999999
         c> R -99999999
         a< R 1
         c> S 0 ts=501/0
         c< SA 0 1
         c> PA 1 1 GET/b ts=502/9000
         b< S 0");
}

#[test]
fn a_late_copy_of_the_first_segment_begins_nothing() {
    sent(
        "a> PA 1 29 OK:5
         c< PA 1 29 OK:5
         c> FA 29 44
         a< FA 29 44
         a> FA 44 30
         c< FA 44 30
         c> A 30 45
         a< A 30 45
         # Both sides have ended. The server knows the bytes.
         c> PA 1 1 GET/a
         a< PA 1 1 GET/a",
    );
}
