// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Ends of connections, of one side and of both.

use super::script::bound;
use super::script::check;
use super::script::sent;
use super::script::Setting;
use super::script::BOUND;

#[test]
fn a_client_that_ends_behind_its_request_gets_its_response() {
    check(
        &Setting::default(),
        "c> S 0
         c< SA 0 1
         c> FPA 1 1 GET/a
         a< S 0
         a> SA 0 1
         a< FPA 1 1 GET/a
         a> A 1 30
         c< A 1 30
         t 120000
         a> PA 1 30 OK:5
         c< PA 1 30 OK:5
         a> FA 44 30
         c< FA 44 30
         c> A 30 45
         a< A 30 45
         t 2000",
        |script| assert!(script.flow.is_none()),
    );
}

#[test]
fn where_the_server_has_gone_the_switch_ends_the_connection_and_says_so_again() {
    check(
        &Setting::default(),
        &[
            BOUND,
            "a> FA 44 29
             a< FA 29 45
             c> FA 29 44
             c< FA 44 30
             # It was lost.
             c> FA 29 44
             c< FA 44 30
             t 1000
             c< FA 44 30
             c> A 30 45
             t 2000",
        ]
        .concat(),
        |script| assert!(script.flow.is_none()),
    );
}

#[test]
fn a_client_that_waits_where_its_server_has_gone_is_ended() {
    check(
        &Setting::default(),
        &[
            BOUND,
            "a> FA 44 29
             a< FA 29 45
             t 130000
             c< FA 44 29
             c> A 29 45
             # And it sends another request all the same.
             c> PA 29 45 GET/a
             c< RA 45 29
             c> PA 29 45 GET/a
             c< R 45
             t 130000",
        ]
        .concat(),
        |script| assert!(script.flow.is_none()),
    );
}

#[test]
fn a_probe_behind_a_fin_is_no_request() {
    bound(
        "c> FA 29 44
         a< FA 29 44
         a> A 44 30
         c< A 44 30
         c> A 29 44 x:1
         a< A 29 44 x:1",
    );
}

#[test]
fn the_end_of_a_leg_that_is_not_in_use_is_answered() {
    bound(
        "c> PA 29 44 GET/b
         a< A 29 44
         b< S 0
         b> SA 0 1
         b< PA 1 1 GET/b
         a> FA 44 29
         a< FA 29 45
         # Its last acknowledgement; and a repeated FIN.
         a> A 45 30
         a> FA 44 29
         a< A 30 45",
    );
}

#[test]
fn servers_that_are_not_in_use_are_told_at_the_end() {
    check(
        &Setting::default(),
        &[
            BOUND,
            "c> PA 29 44 GET/b
             a< A 29 44
             b< S 0
             b> SA 0 1
             b< PA 1 1 GET/b
             b> PA 1 29 OK:0
             c< PA 44 57 OK:0
             c> FA 57 82
             b< FA 29 39
             b> FA 39 30
             c< FA 82 58
             c> A 58 83
             a< R 29
             b< A 30 40
             # Its probes do not keep the connection.
             a> A 43 29
             t 2000",
        ]
        .concat(),
        |script| assert!(script.flow.is_none()),
    );
}

#[test]
fn connection_close_ends_the_clients_connection_with_the_servers() {
    sent(
        "a> FPA 1 29 'HTTP/1.1_204_\\r\\nConnection:_close\\r\\n\\r\\n'
         c< FPA 1 29 'HTTP/1.1_204_\\r\\nConnection:_close\\r\\n\\r\\n'
         c> A 29 38
         a< A 29 38",
    );
}

#[test]
fn a_probe_of_a_new_connection_ends_what_is_left_of_the_old_one() {
    bound(
        "c> FA 29 44
         a< FA 29 44
         a> FA 44 30
         c< FA 44 30
         c> A 30 45
         a< A 30 45
         # The acknowledgement of the SYN is lost.
         c> S 300000
         c< SA 0 300001
         c> A 300000 1
         a< R 30
         c< A 1 300001",
    );
}
