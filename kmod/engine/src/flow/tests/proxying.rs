// SPDX-License-Identifier: GPL-2.0 OR MIT
//! PROXY headers: those that clients send first, and those that servers get.

use super::super::*;
use super::script::check;
use super::script::Setting;

pub(super) fn sends(version: ProxyVersion) -> Setting {
    Setting {
        send_proxy: Some(version),
        ..Setting::default()
    }
}

pub(super) fn accepts() -> Setting {
    Setting {
        accept_proxy: true,
        ..Setting::default()
    }
}

pub(super) const OPEN: &str = "c> S 0
         c< SA 0 1
";

pub(super) fn run(setting: &Setting, text: &str) {
    check(setting, &[OPEN, text].concat(), |_| {});
}

#[test]
fn a_server_gets_the_header_before_the_request() {
    run(
        &sends(ProxyVersion::V1),
        "c> PA 1 1 GET/a
         a< S 0
         a> SA 0 1
         a< PA 1 1 V1
         a< PA 38 1 GET/a
         # It has the header.
         a> A 1 38
         c< A 1 1
         a> PA 1 66 OK:5
         c< PA 1 29 OK:5
         c> A 29 44
         a< A 66 44
         # What follows on the connection has none.
         c> PA 29 44 GET/a
         a< PA 66 44 GET/a",
    );
}

#[test]
fn the_next_server_gets_one_too() {
    run(
        &sends(ProxyVersion::V1),
        "c> PA 1 1 GET/a
         a< S 0
         a> RA 0 1
         a2< S 0
         a2> SA 0 1
         a2< PA 1 1 V1
         a2< PA 38 1 GET/a
         a2> PA 1 66 OK:5
         c< PA 1 29 OK:5
         c> A 29 44
         a2< A 66 44
         c> PA 29 44 GET/b
         a2< A 66 44
         b< S 0
         b> SA 0 1
         b< PA 1 1 V1
         b< PA 38 1 GET/b
         # What comes late has the numbers that the header has there.
         c> PA 1 44 GET/a
         b< PA 1 1 V1
         b> A 1 66
         c< A 44 57
         c> PA 1 44 GET/a
         b< PA 10 1 GET/a",
    );
}

#[test]
fn a_client_that_resets_resets_the_server_where_it_stands() {
    run(
        &sends(ProxyVersion::V1),
        "c> PA 1 1 GET/a
         a< S 0
         a> SA 0 1
         a< PA 1 1 V1
         a< PA 38 1 GET/a
         c> R 29
         a< R 1
         a< R 66",
    );
}

#[test]
fn a_header_of_the_clients_stays_here() {
    check(
        &accepts(),
        "c> S 0
         c< SA 0 1
         c> PA 1 1 V1 GET/a
         a< S 0
         a> SA 0 1
         a< PA 1 1 GET/a
         a> A 1 29
         c< A 1 66
         # A receiver takes what is behind the beginning.
         c> PA 1 1 V1 GET/a
         a< PA -36 1 V1 GET/a
         a> PA 1 29 OK:5
         c< PA 1 66 OK:5
         c> A 66 44
         a< A 29 44
         c> PA 66 44 GET/a
         a< PA 29 44 GET/a",
        |script| assert_eq!(script.world.events["ProxyRead"], 1),
    );
}

#[test]
fn a_header_may_come_in_pieces_and_apart() {
    run(
        &accepts(),
        "c> PA 1 1 V1[0..10]
         c> PA 11 1 V1[10..]
         c> PA 38 1 GET/a[0..5]
         c> PA 43 1 GET/a[5..]
         a< S 0
         a> SA 0 1
         a< PA 1 1 GET/a[0..5]
         a< PA 6 1 GET/a[5..]
         a> A 1 29
         c< A 1 66
         # It has been taken with what is behind it.
         c> PA 1 1 V1
         a< PA -36 1 V1",
    );
}

#[test]
fn a_server_that_fails_after_the_header_was_read() {
    run(
        &accepts(),
        "c> PA 1 1 V2 GET/a
         a< S 0
         a> SA 0 1
         a< PA 1 1 GET/a
         # It closes without the request, which the client has still.
         a> FA 1 1
         a< R 29
         c> PA 1 1 V2 GET/a
         a2< S 0
         a2> SA 0 1
         a2< PA 1 1 GET/a
         a2> A 1 29
         c< A 1 57",
    );
}

#[test]
fn headers_come_and_go() {
    let setting = Setting {
        send_proxy: Some(ProxyVersion::V2),
        ..accepts()
    };
    run(
        &setting,
        "c> PA 1 1 V1 GET/a
         a< S 0
         a> SA 0 1
         a< PA 1 1 V2
         a< PA 29 1 GET/a
         a> A 1 1
         a< PA 1 1 V2
         # The client's own has the same numbers.
         c> PA 1 1 V1 GET/a
         a< PA 1 1 V2
         a> A 1 29
         c< A 1 38
         c> PA 1 1 V1 GET/a
         a< PA -8 1 V1 GET/a
         a> A 1 57
         c< A 1 66",
    );
}

#[test]
fn the_front_reads_the_clients_header_itself() {
    run(
        &accepts(),
        "c> PA 1 1 V1 GET/nobody
         f< S 0
         f> SA 0 1
         f< PA 1 1 V1 GET/nobody
         f> A 1 71
         c< A 1 71",
    );
    // One that is none, and one that is all that comes.
    run(
        &accepts(),
        "c> PA 1 1 GET/a
         f< S 0
         f> SA 0 1
         f< PA 1 1 GET/a",
    );
    run(
        &accepts(),
        "c> PA 1 1 V1
         t 2000
         f< S 0
         f> SA 0 1
         f< PA 1 1 V1
         c> PA 38 1 GET/a
         f< PA 38 1 GET/a",
    );
    run(
        &accepts(),
        "c> FPA 1 1 V1
         f< S 0
         f> SA 0 1
         f< FPA 1 1 V1",
    );
    // A server could not be had.
    run(
        &accepts(),
        "c> PA 1 1 V1 GET/b
         b< S 0
         b> RA 0 1
         f< S 0
         f> SA 0 1
         f< PA 1 1 V1 GET/b",
    );
}

#[test]
fn the_front_gets_one_for_what_comes_later() {
    run(
        &accepts(),
        "c> PA 1 1 V1 GET/a
         a< S 0
         a> SA 0 1
         a< PA 1 1 GET/a
         a> PA 1 29 OK:5
         c< PA 1 66 OK:5
         c> A 66 44
         a< A 29 44
         c> PA 66 44 GET/nobody
         a< A 29 44
         f< S 0
         f> SA 0 1
         f< PA 1 1 V2
         f< PA 29 1 GET/nobody",
    );
}

#[test]
fn a_server_that_speaks_first_gets_the_header_at_once() {
    let eager = Setting {
        eager: true,
        send_proxy: Some(ProxyVersion::V2),
        ..accepts()
    };
    run(
        &eager,
        "c> A 1 1
         c> PA 1 1 V1
         a< S 0
         a> SA 0 1
         a< PA 1 1 V2
         a> PA 1 29 x:7
         c< PA 1 38 x:7
         c> A 38 8
         a< A 29 8
         c> PA 38 8 x:4
         a< PA 29 8 x:4",
    );
    let only = Setting {
        send_proxy: None,
        ..eager
    };
    run(
        &only,
        "c> A 1 1
         c> PA 1 1 V1 x:4
         a< S 0
         a> SA 0 1
         a< PA 1 1 x:4",
    );
    // It ends with its header.
    run(
        &only,
        "c> A 1 1
         c> FPA 1 1 V1
         a< S 0
         a> SA 0 1
         a< FPA 1 1",
    );
}

/// All that was held is the header, which has been read.
#[test]
fn a_server_that_speaks_first_fails_after_the_header_was_read() {
    let eager = Setting {
        eager: true,
        ..accepts()
    };
    run(
        &eager,
        "c> A 1 1
         c> PA 1 1 V1
         a< S 0
         a> RA 0 1
         a2< S 0
         c> PA 1 1 V1
         a2> SA 0 1
         a2< A 1 1
         a2> PA 1 1 x:7
         c< PA 1 38 x:7",
    );
}
