// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Resets, of every side.

use super::script::check;
use super::script::run;
use super::script::sent;
use super::script::Setting;
use super::script::CHUNKED;
use super::script::SENT;

#[test]
fn a_clients_reset_goes_to_its_server() {
    check(
        &Setting::default(),
        &[
            SENT,
            "# Out of the window.
             c> R 90000
             c> RA 29 1
             # From where the server is known to stand, and from where it should.
             a< R 1
             a< RA 29 1
             t 2000",
        ]
        .concat(),
        |script| {
            assert!(script.flow.is_none());
            assert_eq!(script.world.events["OutOfWindow"], 1);
        },
    );
}

/// The client has forgotten the connection, and answers what the server has sent: from what the server has.
#[test]
fn a_reset_stands_where_the_server_expects_the_next_byte() {
    sent(
        "a> PA 1 29 OK:5
         c< PA 1 29 OK:5
         c> PA 29 44 GET/a
         a< PA 29 44 GET/a
         a> PA 1 29 OK:5
         c< PA 1 29 OK:5
         c> R 29
         a< R 29",
    );
}

#[test]
fn a_servers_reset_in_a_response_goes_to_the_client() {
    sent(
        "a> A 1 29 OK:50[0..60]
         c< A 1 29 OK:50[0..60]
         c> A 29 61
         a< A 29 61
         # Not from a window ago.
         a> R 200000
         a> RA 61 29
         c< RA 61 29",
    );
}

#[test]
fn a_reset_between_requests_is_the_end_of_a_leg() {
    sent(
        "a> PA 1 29 OK:5
         c< PA 1 29 OK:5
         c> A 29 44
         a< A 29 44
         a> R 44
         c> PA 29 44 GET/a
         a< S 0",
    );
}

/// Its end comes with data that came before, and the next request is on its way: that goes elsewhere.
#[test]
fn an_end_that_comes_with_old_data_is_asked_for_alone() {
    sent(
        "a> PA 1 29 OK:5
         c< PA 1 29 OK:5
         c> A 29 44
         a< A 29 44
         c> PA 29 44 GET/a
         a< PA 29 44 GET/a
         a> FPA 1 29 OK:5
         c< PA 1 29 OK:5
         a> FA 44 29
         a< R 57",
    );
}

/// It has answered, and takes no more of the content: the client has to know.
#[test]
fn a_servers_reset_before_it_has_the_content_goes_to_the_client() {
    run("c> S 0
         c< SA 0 1
         c> PA 1 1 POST/a:100
         a< S 0
         a> SA 0 1
         a< PA 1 1 POST/a:100
         a> PA 1 51 OK:5
         c< PA 1 51 OK:5
         c> PA 51 44 x:20
         a< PA 51 44 x:20
         a> RA 44 51
         c< RA 44 51");
}

#[test]
fn a_connection_that_was_reset_is_not_begun_by_what_comes_again() {
    sent(
        "a> RA 1 29
         c< RA 1 29
         # The client does not know it yet: the server may have taken the request.
         c> PA 1 1 GET/a
         c< R 1
         # Nor that it was told.
         t 64000
         c> PA 1 1 GET/a
         c< R 1
         t 120000
         c> PA 1 1 GET/a
         c< R 1
         # Of another connection that begins, its second segment overtakes its first.
         c> S 0 isn=100000000
         c< SA 0 1
         c> PA 15 1 GET/a[14..]
         c> PA 1 1 GET/a[0..14]",
    );
}

#[test]
fn a_body_that_breaks_the_rules_resets_both_sides() {
    check(
        &Setting::default(),
        &[
            CHUNKED,
            "c> PA 58 1 'zz\\r\\n'
         a< R 58
         c< RA 1 58",
        ]
        .concat(),
        |script| assert_eq!(script.world.events["BadBody"], 1),
    );
}

#[test]
fn a_reset_of_a_client_reaches_a_server_that_lacks_something() {
    run("c> S 0
         c< SA 0 1
         c> PA 1 1 POST/a:100
         a< S 0
         a> SA 0 1
         a< PA 1 1 POST/a:100
         a> A 1 51
         c< A 1 51
         # It is lost.
         c> PA 51 1 x:20
         a< PA 51 1 x:20
         c> RA 71 1
         a< R 51
         a< RA 71 1");
}
