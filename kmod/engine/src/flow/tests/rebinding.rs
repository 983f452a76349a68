// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Many requests on one connection: which server gets them, and when.

use super::script::bound;
use super::script::check;
use super::script::run;
use super::script::sent;
use super::script::Setting;
use super::script::BOUND;

#[test]
fn the_next_request_stays_where_it_belongs() {
    bound(
        "c> PA 29 44 GET/a
         a< PA 29 44 GET/a
         a> PA 44 57 OK:0
         c< PA 44 57 OK:0",
    );
}

#[test]
fn a_request_for_another_pool_goes_to_another_server_and_back() {
    bound(
        "c> PA 29 44 GET/b
         a< A 29 44
         b< S 0
         b> SA 0 1
         b< PA 1 1 GET/b
         # The old server sends again what it thinks lost, and probes.
         a> PA 1 29 OK:5
         a< A 29 44
         a> A 43 29 x:1
         a< A 29 44
         b> PA 1 29 OK:5
         c< PA 44 57 OK:5
         c> A 57 87
         b< A 29 44
         # Back to the first server, whose connection goes on where it was.
         c> PA 57 87 GET/a
         b< A 29 44
         a< PA 29 44 GET/a
         a> PA 44 57 OK:0
         c< PA 87 85 OK:0",
    );
}

/// What is over a rate limit goes to the front, which reads in the SYN what it is for; what is not goes on as before.
#[test]
fn requests_over_a_limit_go_to_the_front_which_is_told() {
    bound(
        "c> PA 29 44 GET/over
         a< A 29 44
         f< S 0 limited=true
         f> SA 0 1
         f< PA 1 1 GET/over
         f> PA 1 32 OK:0
         c< PA 44 60 OK:0
         c> A 60 82
         f< A 32 39
         # The next one, too: the connection is there.
         c> PA 60 82 GET/over
         f< PA 32 39 GET/over
         f> PA 39 63 OK:0
         c< PA 82 91 OK:0
         c> A 91 120
         f< A 63 77
         # One that is not stays at the server.
         c> PA 91 120 GET/a
         f< A 63 77
         a< PA 29 44 GET/a
         a> PA 44 57 OK:0
         c< PA 120 119 OK:0",
    );
}

/// A connection that the front has for what it refuses takes nothing else, nor the other way round: both have the same ends, so
/// the one before is reset.
#[test]
fn what_the_front_refuses_and_what_it_serves_do_not_share_a_connection() {
    run("c> S 0
         c< SA 0 1
         c> PA 1 1 GET/over
         f< S 0 limited=true
         f> SA 0 1
         f< PA 1 1 GET/over
         f> PA 1 32 OK:0
         c< PA 1 32 OK:0
         c> A 32 39
         f< A 32 39
         c> PA 32 39 GET/none
         f< A 32 39
         f< R 32
         f< S 0 limited=false
         f> SA 0 1
         f< PA 1 1 GET/none");
}

#[test]
fn a_request_waits_for_the_acknowledgement_of_the_response_before() {
    sent(
        "# It is sent ahead.
         c> PA 29 1 GET/b
         a> PA 1 29 OK:5
         c< PA 1 29 OK:5
         # The client's acknowledgement comes to the server from where its data ended there.
         c> A 57 44
         a< A 29 44
         b< S 0
         a< A 29 44
         b> SA 0 1
         b< PA 1 1 GET/b",
    );
}

/// A server that answers early may never get the rest; no other can take it.
#[test]
fn a_request_waits_until_the_server_has_all_of_the_one_before() {
    bound(
        "c> PA 29 44 POST/a:100
         a< PA 29 44 POST/a:100
         c> PA 79 44 x:100
         a< PA 79 44 x:100
         a> PA 44 79 OK:5
         c< PA 44 79 OK:5
         c> A 179 87
         a< A 179 87
         c> PA 179 87 GET/b
         a> A 87 179
         a< A 179 87
         b< S 0
         c< A 87 179",
    );
}

#[test]
fn a_late_acknowledgement_is_told_as_the_first_of_the_leg() {
    bound(
        "c> PA 29 44 GET/b
         a< A 29 44
         b< S 0
         b> SA 0 1
         b< PA 1 1 GET/b
         c> A 29 1
         b< A 1 1",
    );
}

/// What no server has taken is not acknowledged to who asks.
#[test]
fn a_request_that_is_taken_back_is_the_clients() {
    bound(
        "c> PA 29 44 GET/a
         a< PA 29 44 GET/a
         a> FA 44 29
         a< R 57
         c> A 28 44
         c< A 44 29",
    );
}

/// The reader knows at the head where a long body ends; that is no proof that it has come.
#[test]
fn a_response_that_is_under_way_is_not_complete() {
    run("c> S 0
         c< SA 0 1
         c> PA 1 1 GET/a GET/b
         a< S 0
         a> SA 0 1
         a< A 1 1 GET/a
         a> A 1 29 OK:50[0..60]
         c< A 1 29 OK:50[0..60]
         c> A 57 61
         a< A 29 61
         a> PA 61 29 OK:50[60..]
         c< PA 61 29 OK:50[60..]
         c> A 57 90
         a< A 29 90
         b< S 0
         a< A 29 90");
}

#[test]
fn a_server_that_closes_between_requests_does_not_close_the_clients_connection() {
    bound(
        "a> FA 44 29
         a< FA 29 45
         a> A 45 30
         c> PA 29 44 GET/a
         a< S 0
         a> SA 0 1
         a< PA 1 1 GET/a",
    );
}

#[test]
fn a_server_that_closes_behind_its_response_does_not_either() {
    sent(
        "a> FPA 1 29 OK:5
         c< PA 1 29 OK:5
         c> A 29 44
         a< FA 29 45
         a< A 29 44",
    );
}

#[test]
fn a_request_that_crosses_a_servers_end_goes_elsewhere() {
    check(
        &Setting::default(),
        &[
            BOUND,
            "c> PA 29 44 GET/a
             a< PA 29 44 GET/a
             a> FA 44 29
             a< R 57
             c> PA 29 44 GET/a
             a< S 0
             a> SA 0 1
             a< PA 1 1 GET/a",
        ]
        .concat(),
        |script| assert_eq!(script.world.events["Replay"], 1),
    );
}

#[test]
fn so_does_one_with_the_clients_end() {
    bound(
        "c> FPA 29 44 GET/a
         a< FPA 29 44 GET/a
         a> R 44
         a< R 58
         c> FPA 29 44 GET/a
         a< S 0
         a> SA 0 1
         a< FPA 1 1 GET/a",
    );
}

#[test]
fn a_request_that_a_reset_acknowledges_has_been_taken() {
    bound(
        "c> PA 29 44 GET/a
         a< PA 29 44 GET/a
         a> RA 44 57
         c< RA 44 57
         # And it is not begun again by what the client sends again.
         c> PA 29 44 GET/a
         c< R 44",
    );
}

#[test]
fn an_answer_to_what_the_server_has_not_seen_is_none() {
    check(
        &Setting::default(),
        &[
            BOUND,
            "c> PA 29 44 GET/a
             a< PA 29 44 GET/a
             # It has lost patience with the idle connection; the request is on its way.
             a> FPA 44 29 'HTTP/1.1_408_\\r\\n\\r\\n'
             a< R 57
             c> PA 29 44 GET/a
             a< S 0",
        ]
        .concat(),
        |script| assert_eq!(script.world.events["Unsolicited"], 1),
    );
}

#[test]
fn what_is_for_nobody_behind_a_response_is_cut_off() {
    sent(
        "a> FPA 1 29 OK:5 'HTTP/1.1_408_\\r\\n\\r\\n'
         c< A 1 29 OK:5
         # Its server is needed until the client has the response.
         a> FPA 1 29 OK:5 'HTTP/1.1_408_\\r\\n\\r\\n'
         c< A 1 29 OK:5
         a> FPA 44 29 'HTTP/1.1_408_\\r\\n\\r\\n'
         c> A 29 44
         a< R 29
         a< A 29 44
         c> PA 29 44 GET/a
         a< S 0",
    );
}

/// The response's last bytes were lost, what was for nobody came; the client acknowledged all that it had been sent.
#[test]
fn a_server_is_needed_until_the_client_has_what_was_lost_on_the_way() {
    sent(
        "a> A 1 29 OK:50[0..60]
         c< A 1 29 OK:50[0..60]
         a> FPA 90 29 'HTTP/1.1_408_\\r\\n\\r\\n'
         c> A 29 61
         a< A 29 61
         a> PA 61 29 OK:50[60..]
         c< PA 61 29 OK:50[60..]
         c> A 29 90
         a< R 29
         a< A 29 90",
    );
}

#[test]
fn a_fin_before_its_data_waits() {
    check(
        &Setting::default(),
        "c> S 0
         c< SA 0 1
         c> PA 1 1 GET/a
         a< S 0
         a> SA 0 1
         a< PA 1 1 GET/a
         a> FA 44 29
         a> PA 1 29 OK:5
         c< PA 1 29 OK:5
         c> A 29 44
         a< A 29 44
         a> FA 44 29
         a< FA 29 45",
        |script| assert_eq!(script.world.events["OutOfOrder"], 1),
    );
}

#[test]
fn segments_out_of_order_pass_where_nothing_is_read() {
    run("c> S 0
         c< SA 0 1
         c> PA 1 1 POST/a:100
         a< S 0
         a> SA 0 1
         a< PA 1 1 POST/a:100
         a> A 1 51
         c< A 1 51
         # Of the body, in any order.
         c> A 101 1 x:50
         a< A 101 1 x:50
         c> A 51 1 x:50
         a< A 51 1 x:50
         # Of the next request: in order only.
         c> PA 161 1 GET/a[10..]
         c> PA 151 1 GET/a
         a< PA 151 1 GET/a");
}

#[test]
fn of_a_segment_with_two_requests_each_goes_to_its_server() {
    run("c> S 0
         c< SA 0 1
         c> PA 1 1 GET/a GET/b
         a< S 0
         a> SA 0 1
         a< A 1 1 GET/a
         a> PA 1 29 OK:5
         c< PA 1 29 OK:5
         c> A 57 44
         a< A 29 44
         b< S 0
         a< A 29 44
         b> SA 0 1
         b< PA 1 1 GET/b");
}

#[test]
fn responses_without_bodies_end_with_their_heads() {
    for (request, len, response) in [
        ("HEAD/a", 29, "'HTTP/1.1_200_\\r\\nContent-Length:_9999\\r\\n\\r\\n'"),
        ("GET/a", 28, "'HTTP/1.1_204_\\r\\n\\r\\n'"),
        ("GET/a", 28, "'HTTP/1.1_304_\\r\\nContent-Length:_9999\\r\\n\\r\\n'"),
        ("GET/a", 28, "'HTTP/1.1_103_\\r\\n\\r\\nHTTP/1.1_204_\\r\\n\\r\\n'"),
        (
            "GET/a",
            28,
            "'HTTP/1.1_200_\\r\\nTransfer-Encoding:_chunked\\r\\n\\r\\n2\\r\\nab\\r\\n0\\r\\n\\r\\n'",
        ),
    ] {
        let sent = response.replace("\\r", "r").replace("\\n", "n").len() - 2;
        let (next, end) = (len + 1, sent + 1);
        run(&std::format!(
            "c> S 0
             c< SA 0 1
             c> PA 1 1 {request}
             a< S 0
             a> SA 0 1
             a< PA 1 1 {request}
             a> PA 1 {next} {response}
             c< PA 1 {next} {response}
             c> A {next} {end}
             a< A {next} {end}
             c> PA {next} {end} GET/b
             a< A {next} {end}
             b< S 0"
        ));
    }
}

#[test]
fn a_response_whose_end_is_not_known_lets_no_request_go_elsewhere() {
    sent(
        "a> PA 1 29 'HTTP/1.1_200_\\r\\n\\r\\nwho_knows'
         c< PA 1 29 'HTTP/1.1_200_\\r\\n\\r\\nwho_knows'
         c> A 29 27
         a< A 29 27
         c> PA 29 27 GET/b
         t 2000
         # It comes to its end: there will be no answer.
         a> FA 27 29
         c< FA 27 29
         c> A 57 28
         a< A 29 28
         c> PA 29 28 GET/b
         a< R 29
         c< RA 28 29",
    );
}

#[test]
fn after_an_upgrade_nothing_is_read() {
    sent(
        "a> PA 1 29 'HTTP/1.1_101_\\r\\n\\r\\n'
         c< PA 1 29 'HTTP/1.1_101_\\r\\n\\r\\n'
         c> PA 29 18 GET/b
         a< PA 29 18 GET/b",
    );
}

#[test]
fn a_request_that_waited_goes_on_with_the_window_that_its_client_has_now() {
    sent(
        "c> PA 29 1 GET/b win=1000
         a> PA 1 29 OK:5
         c< PA 1 29 OK:5
         # It has not read the response yet.
         c> A 57 44 win=957
         a< A 29 44
         b< S 0
         a< A 29 44
         b> SA 0 1
         b< PA 1 1 GET/b win=957",
    );
}

#[test]
fn what_acknowledges_less_than_a_leg_begins_with_has_a_window_to_the_same_edge() {
    bound(
        "c> PA 29 44 GET/b
         a< A 29 44
         b< S 0
         b> SA 0 1
         b< PA 1 1 GET/b
         # Late. In units of 128 bytes.
         c> A 57 34 win=1000
         b< A 29 1 win=999",
    );
}

/// The server is told, or it would send again what the client has, once a minute.
#[test]
fn what_is_acknowledged_with_data_that_wait_reaches_the_server() {
    sent(
        "a> PA 1 29 OK:100[0..60]
         c< PA 1 29 OK:100[0..60]
         c> PA 29 61 GET/b
         a< A 29 61
         # Again, and with news.
         c> PA 29 61 GET/b
         a> PA 61 29 OK:100[60..100]
         c< PA 61 29 OK:100[60..100]
         c> PA 29 101 GET/b
         a< A 29 101",
    );
}
