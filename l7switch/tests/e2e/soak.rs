// SPDX-License-Identifier: MIT
//! For minutes: reloads each second, servers killed and restarted, certificates replaced. Nothing fails that another server could
//! answer, and neither memory nor descriptors grow.

use std::time::Duration;
use std::time::Instant;

use l7switch_admin_api::ServerState;

use crate::support::certs::Authority;
use crate::support::certs::entry;
use crate::support::counting::Clients;
use crate::support::nginx::Nginx;
use crate::support::python::Python;
use crate::support::switch::Switch;
use crate::support::switch::list;
use crate::support::tls_h2;
use crate::support::until;
use crate::support::websocket::WebSocket;

/// Seconds that it takes: those of `make soak` are in the environment.
const SECONDS: &str = "L7_SOAK_SECONDS";

/// The same in `make test`.
const SHORT: u64 = 120;

/// What memory may grow by from the first quarter to the end: pages that the allocator keeps, not what is forgotten with each reload.
const GROWTH: u64 = 12 << 20;

/// The rules number `number`: schedulers, checks, routes and limits come and go.
fn rules(number: u64, pair: &str, nginx: &[Nginx], python: &Python) -> String {
    let addresses: Vec<_> = nginx.iter().map(|nginx| nginx.address).collect();
    let scheduler = ["wrr", "p2c", "wlc"][(number % 3) as usize];
    let extra: String = (0..number % 5)
        .map(|route| {
            format!(
                "[[service.web.route]]\npath = {{ regex = '/extra/{route}/[a-z]+' }}\npool = 'python'\n\
                 rate_limit = {{ requests = {}, per = '1s' }}\n",
                number % 7 + 1
            )
        })
        .collect();
    let slow = if number.is_multiple_of(2) {
        "slow_start = '1s'\n"
    } else {
        ""
    };
    format!(
        "[service.web]\nlisten = '127.0.0.1:0'\nprotocol = 'http'\n\
         [[service.web.route]]\npath = {{ exact = '/name' }}\npool = 'nginx'\n\
         [[service.web.route]]\npath = {{ prefix = '/websocket' }}\npool = 'python'\n{extra}\
         [service.safe]\nlisten = '127.0.0.2:0'\nprotocol = 'https'\ncertificates = [{pair}]\n\
         [[service.safe.route]]\npool = 'nginx'\n\
         [pool.nginx]\nscheduler = '{scheduler}'\nservers = {}\n{slow}\
         health = {{ http = '/healthz', interval = '200ms', rise = 1, fall = 2 }}\n\
         [pool.python]\nservers = {}\n",
        list(&addresses),
        list(&[python.address]),
    )
}

#[test]
fn nothing_fails_and_nothing_grows() {
    let seconds = std::env::var(SECONDS).map_or(SHORT, |text| text.parse().unwrap());
    let mut nginx: Vec<Nginx> = ["a", "b", "c"].map(Nginx::start).into();
    let python = Python::start("python");
    let authority = Authority::new();
    let pair = entry(&authority.issue(&["safe.example"]));
    let switch = Switch::start(&rules(0, &pair, &nginx, &python));
    let (web, safe) = (switch.address("web"), switch.address("safe"));
    let idle = switch.descriptors();
    let mut sockets: Vec<WebSocket> = (0..5).map(|_| WebSocket::open(web)).collect();
    let http1 = Clients::start(2, web, "/name");
    let http2 = tls_h2::Clients::start(1, safe, "safe.example", "/name", &authority.file());
    let began = Instant::now();
    let (mut down, mut kills, mut certificates, mut quarter) = (None, 0_u64, 0_u64, 0);
    let mut number = 0_u64;
    while began.elapsed() < Duration::from_secs(seconds) {
        number += 1;
        if number.is_multiple_of(7) {
            // Into the same files, as certbot does.
            authority.issue(&["safe.example"]);
            certificates += 1;
        }
        if number.is_multiple_of(3) {
            match down.take() {
                Some(at) => {
                    let nginx: &mut Nginx = &mut nginx[at];
                    nginx.restart();
                    switch.until_server(nginx.address, ServerState::Up);
                }
                None => {
                    let at = (number / 3 % 3) as usize;
                    match kills % 2 {
                        0 => nginx[at].kill(),
                        _ => nginx[at].quit(),
                    }
                    kills += 1;
                    down = Some(at);
                }
            }
        }
        let text = rules(number, &pair, &nginx, &python);
        if number.is_multiple_of(2) {
            switch.reload(&text);
        } else {
            switch.replace_rules(&text);
            switch.signal("HUP");
            until("the signal has had its effect", || {
                switch.status().reloads == number
            });
        }
        for socket in &mut sockets {
            socket.say();
        }
        http1.go_on(10);
        if quarter == 0 && began.elapsed() * 4 > Duration::from_secs(seconds) {
            quarter = switch.resident_memory();
        }
        let next = Duration::from_secs(number);
        std::thread::sleep(next.saturating_sub(began.elapsed()));
    }
    let memory = switch.resident_memory();
    for socket in sockets {
        socket.close();
    }
    let tally = http1.stop();
    let (failures, answers, _) = http2.stop();
    let asked: u64 = tally.answers.values().sum();
    println!(
        "{seconds} s: {number} reloads, {kills} servers ended, {certificates} certificates, {asked} and {answers} requests, \
         {} MiB after a quarter, {} MiB at the end",
        quarter >> 20,
        memory >> 20
    );
    assert_eq!(tally.bad(), Vec::<String>::new());
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(
        memory <= quarter + GROWTH,
        "{quarter} and then {memory} bytes"
    );
    let status = switch.status();
    assert_eq!((status.reloads, status.reload_failures), (number, 0));
    // Connections to servers are kept for a while; those of clients are not.
    let kept = || {
        switch
            .servers()
            .iter()
            .map(|server| usize::try_from(server.idle).unwrap())
            .sum::<usize>()
    };
    until("all is closed", || {
        switch.descriptors() <= idle + kept() + 2
    });
    let log = switch.log();
    assert!(!log.contains("ERROR") && !log.contains("panic"), "{log}");
}
