// SPDX-License-Identifier: MIT
//! Reload: a hundred times under load without a failed request; bad rules change nothing.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;

use crate::support::counting::Clients;
use crate::support::counting::h2load;
use crate::support::curl::curl;
use crate::support::nginx::Nginx;
use crate::support::python::Python;
use crate::support::switch::Switch;
use crate::support::switch::simple;
use crate::support::until;

const RELOADS: u64 = 100;

/// Two servers and the rules that send everything to the one or the other. They differ in more than
/// that: schedulers, health checks and routes come and go.
fn world() -> (Nginx, Nginx, String, String) {
    let (one, two) = (Nginx::start("one"), Nginx::start("two"));
    let first = simple(&[one.address], "", "scheduler = 'rr'");
    let second = format!(
        "[service.web]\nlisten = '127.0.0.1:0'\nprotocol = 'http'\n\
         [[service.web.route]]\nname = 'also'\npath = {{ prefix = '/' }}\npool = 'other'\n\
         [[service.web.route]]\nrespond = {{ status = 404 }}\n\
         [pool.other]\nscheduler = 'mh'\nservers = ['{}']\nhealth = {{ http = '/healthz', interval = '1s' }}\n",
        two.address
    );
    (one, two, first, second)
}

/// Who answers a new client.
fn answers(switch: &Switch) -> String {
    let answer = curl().ok(&(switch.url("web") + "/name"));
    answer.served_by().to_owned()
}

#[test]
fn a_hundred_reloads_under_load() {
    let (_one, _two, first, second) = world();
    let switch = Switch::start(&first);
    let address = switch.address("web");
    let clients = Clients::start(3, address, "/name");
    let done = AtomicBool::new(false);
    let url = switch.url("web") + "/name";
    let rounds = std::thread::scope(|scope| {
        let load = |arguments: &'static [&'static str]| {
            let (done, url) = (&done, &url);
            scope.spawn(move || {
                let mut total = (0, 0);
                while !done.load(SeqCst) {
                    let (good, bad) = h2load(arguments, 2000, url);
                    total = (total.0 + good, total.1 + bad);
                }
                total
            })
        };
        let threads = [load(&["--h1", "-c", "8"]), load(&["-c", "2", "-m", "16"])];
        // Whatever fails in here must not leave the load running for ever.
        let reloads = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for number in 1..=RELOADS {
                let (rules, server) =
                    [(&first, "one"), (&second, "two")][usize::from(number % 2 == 1)];
                if number % 4 < 2 {
                    switch.reload(rules);
                } else {
                    switch.replace_rules(rules);
                    switch.signal("HUP");
                    until("the signal has had its effect", || {
                        switch.status().reloads == number
                    });
                }
                // From here on nobody new is sent by the old rules.
                assert_eq!(answers(&switch), server, "reload {number}");
                clients.go_on(20);
            }
        }));
        done.store(true, SeqCst);
        let rounds = threads.map(|thread| thread.join().unwrap());
        if let Err(panic) = reloads {
            std::panic::resume_unwind(panic);
        }
        rounds
    });
    let tally = clients.stop();
    assert!(tally.bad().is_empty(), "{:#?}", tally.bad());
    assert_eq!(tally.servers(), ["one", "two"]);
    for (good, bad) in rounds {
        assert!(good > 0);
        assert_eq!(bad, 0, "h2load: {good} good");
    }
    let status = switch.status();
    assert_eq!((status.reloads, status.reload_failures), (RELOADS, 0));
    assert_eq!(status.generation, RELOADS + 1);
}

#[test]
fn a_change_of_the_file_is_enough() {
    let (_one, _two, first, second) = world();
    let switch = Switch::start_with(&first, &["--watch"]);
    assert_eq!(answers(&switch), "one");
    switch.replace_rules(&second);
    until("the new rules are in force", || answers(&switch) == "two");
    // Not renamed but written over.
    switch.overwrite_rules(&first);
    until("the old rules are in force again", || {
        answers(&switch) == "one"
    });
}

#[test]
fn bad_rules_change_nothing() {
    let (_one, _two, first, second) = world();
    let switch = Switch::start(&first);
    let clients = Clients::start(2, switch.address("web"), "/name");
    let bad = [
        "[service.web",
        &second.replace("'mh'", "'best'"),
        &second.replace("pool = 'other'", "pool = 'nowhere'"),
        &second.replace("'127.0.0.1:0'", "'127.0.0.1:x'"),
        "",
    ];
    for (number, rules) in (1..).zip(bad) {
        switch.replace_rules(rules);
        let (status, content) = switch.admin("POST", "/v1/reload", "");
        if rules.is_empty() && status == 200 {
            // An empty file may be a good one: nothing is served then. It is not tried on.
            panic!("an empty rule file was put in force");
        }
        assert_eq!(status, 422, "{rules}: {content}");
        let status = switch.status();
        assert_eq!((status.generation, status.reload_failures), (1, number));
        assert!(status.last_error.is_some());
        assert_eq!(answers(&switch), "one");
        clients.go_on(20);
    }
    switch.signal("HUP");
    until("the signal was refused too", || {
        switch.status().reload_failures == 6
    });
    assert!(switch.log().contains("the reload failed"));
    switch.reload(&second);
    let status = switch.status();
    assert_eq!((status.generation, status.last_error), (2, None));
    assert_eq!(answers(&switch), "two");
    let tally = clients.stop();
    assert!(tally.bad().is_empty(), "{:#?}", tally.bad());
}

#[test]
fn an_error_says_what_and_where() {
    let (_one, _two, first, second) = world();
    let switch = Switch::start(&first);
    switch.replace_rules(&second.replace("scheduler = 'mh'", "schedular = 'mh'"));
    let (status, content) = switch.admin("POST", "/v1/reload", "");
    assert_eq!(status, 422);
    let content: serde_json::Value = serde_json::from_str(&content).unwrap();
    let diagnostics = content["diagnostics"].as_array().unwrap();
    assert_eq!(diagnostics.len(), 1, "{content:#}");
    let text = content.to_string();
    assert!(
        text.contains("schedular") && text.contains("scheduler"),
        "{content:#}"
    );
    assert!(switch.status().last_error.unwrap().contains("schedular"));
}

#[test]
fn what_is_in_progress_ends_by_the_old_rules() {
    let python = Python::start("python");
    let nginx = Nginx::start("nginx");
    let switch = Switch::start(&simple(&[python.address], "", ""));
    let gate = python.gate("open");
    let url = format!(
        "{}/gate?bytes=1000000&file={}",
        switch.url("web"),
        gate.display()
    );
    let slow = std::thread::spawn(move || curl().get(&url));
    until("the request has arrived", || python.has_seen("/gate"));
    switch.reload(&simple(&[nginx.address], "", ""));
    assert_eq!(answers(&switch), "nginx");
    std::fs::write(gate, "").unwrap();
    let answer = slow.join().unwrap();
    assert_eq!((answer.exit, answer.status), (0, 200), "{}", answer.errors);
    assert!(answer.body == crate::support::pattern(1_000_000));
}

#[test]
fn services_come_and_go() {
    let (_one, _two, first, _) = world();
    let switch = Switch::start(&first);
    let more = first.clone()
        + "[service.more]\nlisten = '127.0.0.2:0'\n\
           [[service.more.route]]\nrespond = { status = 200, body = 'more' }\n";
    let before = switch.address("web");
    switch.reload(&more);
    assert_eq!(switch.address("web"), before, "the listener stays");
    let url = switch.url("more");
    assert_eq!(curl().ok(&url).text(), "more");
    switch.reload(&first);
    // CURLE_COULDNT_CONNECT
    until("nobody listens any more", || curl().get(&url).exit == 7);
    assert_eq!(answers(&switch), "one");
}

#[test]
fn checks_follow_the_rules() {
    let (one, two) = (Python::start("one"), Python::start("two"));
    let check = "health = { http = '/healthz', interval = '50ms' }";
    let switch = Switch::start(&simple(&[one.address], "", check));
    until("the one is checked", || one.seen().len() > 3);
    switch.reload(&simple(&[two.address], "", check));
    until("the other is checked", || two.seen().len() > 3);
    let (first, second) = (one.seen().len(), two.seen().len());
    until("it is checked more often", || {
        two.seen().len() > second + 10
    });
    // One check may have been on its way.
    assert!(one.seen().len() <= first + 1, "the one is still checked");
}
