// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is read is what its receiver takes: urgent bytes, segments that a receiver drops, segments that it has no room for.

use super::script::check;
use super::script::run;
use super::script::sent;
use super::script::Script;
use super::script::Setting;
use super::script::BOUND;
use super::script::SENT;

fn counts(name: &'static str, count: u32) -> impl Fn(&Script) {
    move |script| assert_eq!(script.world.events.get(name), Some(&count), "{name}")
}

/// A receiver takes an urgent byte out of the stream: it would read another request than the switch.
#[test]
fn no_byte_of_a_request_is_urgent() {
    run("c> S 0
         c< SA 0 1
         c> AU 1 1 GET/a[0..5]
         c> PAU 6 1 GET/a[5..]
         a< S 0
         a> SA 0 1
         a< A 1 1 GET/a[0..5]
         a< PA 6 1 GET/a[5..]
         # Nor of its acknowledgements, its body or what comes again.
         c> AU 29 1
         a< A 29 1
         c> PAU 1 1 GET/a
         a< PA 1 1 GET/a");
}

#[test]
fn nor_of_what_goes_to_the_front() {
    run("c> S 0
         c< SA 0 1
         c> PAU 1 1 GET/nowhere
         f< S 0
         f> SA 0 1
         f< PA 1 1 GET/nowhere
         c> PAU 35 1 x:5
         f< PA 35 1 x:5");
}

#[test]
fn nor_of_a_response() {
    sent(
        "a> PAU 1 29 OK:5
         c< PA 1 29 OK:5
         c> A 29 44
         a< A 29 44
         c> PAU 29 44 GET/a GET/b[0..5]
         a< A 29 44 GET/a",
    );
}

/// Of a connection that is not read urgent bytes are the business of its ends.
#[test]
fn where_nothing_is_read_bytes_may_be_urgent() {
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
         a> SA 0 1
         a< A 1 1
         c> PAU 1 1 x:5
         a< PAU 1 1 x:5
         a> PAU 1 6 x:3
         c< PAU 1 6 x:3",
        |_| {},
    );
}

/// A receiver takes no data without an acknowledgement (RFC 9293, 3.10.7.4), and none of a SYN here.
#[test]
fn what_is_no_segment_of_an_open_connection_is_not_read() {
    check(
        &Setting::default(),
        "c> S 0 GET/a
         c< SA 0 1
         c> PA 1 1 GET/a[0..9]
         c> P 10 GET/a[9..]
         c> PF 10 GET/a[9..]
         c> PA 10 1 GET/a[9..]
         a< S 0",
        counts("Malformed", 2),
    );
}

#[test]
fn behind_an_end_nothing_is_read() {
    check(
        &Setting::default(),
        &[
            BOUND,
            "c> FA 29 44
             a< FA 29 44
             c> PA 29 44 GET/b
             c> PA 30 44 GET/b",
        ]
        .concat(),
        counts("OutOfWindow", 2),
    );
}

/// A server drops what was too far ahead, too old, or signed: what comes in its place has to be the same.
#[test]
fn what_a_server_has_dropped_comes_again_as_it_was_read() {
    check(
        &Setting::default(),
        &[
            SENT,
            "a> A 1 1
             c< A 1 1
             c> PA 1 1 GET/b
             c> PA 1 1 GET/a
             a< PA 1 1 GET/a",
        ]
        .concat(),
        counts("Inconsistent", 1),
    );
}

/// Bytes behind a complete answer are none of the next one, on whichever of the flow's connections they come.
#[test]
fn what_follows_a_complete_answer_ends_its_servers_connection() {
    // Before the next request.
    check(
        &Setting::default(),
        &[
            BOUND,
            "a> PA 44 29 OK:3
             a< R 29
             c> PA 29 44 GET/a
             a< S 0",
        ]
        .concat(),
        counts("Unsolicited", 1),
    );
    // While another server is asked.
    check(
        &Setting::default(),
        &[
            BOUND,
            "c> PA 29 44 GET/b
             a< A 29 44
             b< S 0
             b> SA 0 1
             b< PA 1 1 GET/b
             a> PA 44 29 OK:3
             a< R 29
             b> PA 1 29 OK:4
             c< PA 44 57 OK:4
             c> A 57 86
             b< A 29 43
             c> PA 57 86 GET/a
             b< A 29 43
             a< S 0",
        ]
        .concat(),
        counts("Unsolicited", 1),
    );
}

/// The answer to HEAD, and 40 ms later content.
#[test]
fn content_behind_an_answer_without_any_is_not_the_next_answer() {
    check(
        &Setting::default(),
        "c> S 0
         c< SA 0 1
         c> PA 1 1 HEAD/a
         a< S 0
         a> SA 0 1
         a< PA 1 1 HEAD/a
         a> PA 1 30 OK:43[0..39]
         c< PA 1 30 OK:43[0..39]
         t 40
         # The client has not acknowledged yet.
         a> PA 40 30 OK:4
         t 40
         c> PA 30 40 GET/b
         a< R 30
         b< S 0",
        counts("Unsolicited", 1),
    );
}

#[test]
fn a_server_is_sent_no_longer_segments_than_it_takes() {
    let limit = |script: &Script, limit: u16| {
        assert_eq!(script.world.largest, limit);
        assert_eq!(script.flow.unwrap().limit, limit);
    };
    let text = |answer: &str| {
        [
            "c> S 0
             c< SA 0 1
             c> PA 1 1 POST/a:2000
             a< S 0 mss=1460
             a> SA 0 1 ",
            answer,
            "
             a< PA 1 1 POST/a:2000
             c> A 53 1 x:1400
             a< A 53 1 x:1400",
        ]
        .concat()
    };
    check(&Setting::default(), &text("mss=1200"), |s| limit(s, 1200));
    check(&Setting::default(), &text("mss=0"), |s| limit(s, 536));
    check(&Setting::default(), &text("mss=7"), |s| limit(s, 48));
    check(&Setting::default(), &text("mss=9000"), |s| limit(s, 9000));
}

/// The least that a flow's servers take holds for all, and the front takes any.
#[test]
fn of_several_servers_the_least_holds() {
    let limits = |script: &Script| assert_eq!(script.flow.unwrap().limit, 1200);
    check(
        &Setting::default(),
        "c> S 0
         c< SA 0 1
         c> PA 1 1 GET/a
         a< S 0
         a> SA 0 1 mss=1200
         a< PA 1 1 GET/a
         a> PA 1 29 OK:5
         c< PA 1 29 OK:5
         c> PA 29 44 GET/b
         a< A 29 44
         b< S 0
         b> SA 0 1 mss=1400
         b< PA 1 1 GET/b
         b> PA 1 29 OK:5
         c< PA 44 57 OK:5
         c> PA 57 87 GET/nowhere
         b< A 29 44
         a< R 29
         f< S 0
         f> SA 0 1 mss=600
         f< PA 1 1 GET/nowhere",
        limits,
    );
}

/// A cookie has no room for such a size.
#[test]
fn a_client_of_smaller_segments_than_any_cookie_has_is_the_fronts() {
    run("c> S 0 mss=535
         c< R 0");
    run("c> S 0 mss=1
         c< R 0");
    run("c> S 0 mss=536
         c< SA 0 1");
    run("c> S 0 mss=0
         c< SA 0 1");
}
