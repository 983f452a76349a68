// SPDX-License-Identifier: MIT
//! The kernel's answer to a request and the explanation of the rules: the same, for every request.

use std::fs;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use fastrand::Rng;
use l7switch_engine::netlink::Action;
use l7switch_engine::netlink::Outcome;
use l7switch_netlink::Client;
use l7switch_netlink::Match;
use l7switch_netlink::MatchRequest;
use l7switch_rules::RuleSet;
use l7switch_rules::explain;
use l7switch_rules::explain::Explanation;
use l7switch_rules::explain::Question;
use l7switch_rules::model::Maintenance;
use l7switch_rules::model::Protocol;
use l7switch_rules::model::Service;

use crate::kit::Host;
use crate::kit::Module;

/// Rules in which every kind of condition decides somewhere.
pub(super) const RULES: &str = r#"
[service.web]
listen = ["10.0.1.100:80", "[fd00:1::100]:80"]
protocol = "http"

[[service.web.route]]
name = "internal"
host = "a.b"
source = ["10.0.0.0/8", "2001:db8::/32"]
path = { prefix = "/a" }
pool = "one"

[[service.web.route]]
name = "narrow"
host = "a.b"
source = ["10.1.0.0/16"]
path = { prefix = "/a" }
pool = "two"

[[service.web.route]]
name = "wild"
host = ["*.a.b", "c"]
pools = [{ name = "one", weight = 9 }, { name = "two", weight = 1 }]

[[service.web.route]]
name = "regex"
host = "*.a.b"
path = { regex = "^/a/[0-9]+$" }
pool = "two"

[[service.web.route]]
name = "methods"
method = ["POST", "PURGE"]
path = { prefix = "/a" }
pool = "three"

[[service.web.route]]
path = { exact = "/a/b" }
headers = { "X-Version" = "two", "X-Debug" = { present = true } }
pool = "three"

[[service.web.route]]
name = "mobile"
path = { prefix = "/a" }
headers = { "User-Agent" = { regex = "Mobile" } }
query = { page = "2" }
pool = "two"

[[service.web.route]]
name = "beta"
path = { prefix = "/a" }
cookies = { beta = "1" }
pool = "four"

[[service.web.route]]
name = "first"
priority = 3
path = { exact = "/health" }
respond = { status = 200, body = "well\n" }

[[service.web.route]]
name = "moved"
path = { prefix = "/old" }
redirect = { path = { replace_prefix = "/new" }, status = 301 }

[pool.one]
servers = ["10.0.2.2:80"]
[pool.two]
scheduler = "wlc"
servers = ["10.0.2.2:80", { address = "10.0.2.3:80", weight = 3 }]
[pool.three]
scheduler = { name = "mh", key = "path" }
servers = ["10.0.2.2:80", "10.0.2.3:80", "[fd00:2::2]:80"]
[pool.four]
scheduler = { name = "ch", key = { cookie = "beta" } }
servers = ["10.0.2.2:80", "10.0.2.3:80"]
"#;

/// The rules by their text, or the mistakes that they have.
pub(super) fn rules(text: &str) -> RuleSet {
    l7switch_rules::load_text("rules", text)
        .unwrap_or_else(|report| panic!("{}", report.render(false)))
}

/// A request, in the words of an administrator and in those of the protocol.
struct Asked {
    question: Question,
    bytes: Vec<u8>,
}

fn pick<'a>(rng: &mut Rng, from: &[&'a str]) -> &'a str {
    from[rng.usize(..from.len())]
}

/// Words from which requests for a rule set are made: those that its rules name, and some that none does.
struct Words {
    hosts: Vec<String>,
    paths: Vec<String>,
    fields: Vec<(String, String)>,
}

impl Words {
    fn of(text: &str) -> Self {
        let mut words = Self {
            hosts: [
                "a.b",
                "x.a.b",
                "y.x.a.b",
                "A.B.",
                "b",
                "nothing.example",
                "a.b:80",
                "[::1]",
                "c",
                "a..b",
            ]
            .map(str::to_owned)
            .to_vec(),
            paths: [
                "/",
                "/a",
                "/a/",
                "/a/b",
                "/a/17",
                "/a/x/../b",
                "/%61",
                "/a%2Fb",
                "/a%2F../b",
                "/a%00",
                "/a%zz",
                "/ab",
                "//a",
                "/a/./b",
                "/old/x",
                "/health",
                "/%7ea",
                "/a//b",
            ]
            .map(str::to_owned)
            .to_vec(),
            fields: [
                ("X-Version", "two"),
                ("X-Version", "one"),
                ("X-Debug", ""),
                ("User-Agent", "Mobile Safari"),
                ("Cookie", "beta=1"),
                ("Cookie", "a=b; beta=1"),
                ("Cookie", "beta=2; beta=1"),
                ("Accept", "*/*"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        };
        // What stands in quotes in the rules is a host, a path or a value: as good as words that somebody made up.
        for quoted in text.split('"').skip(1).step_by(2) {
            let plain = quoted
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"/.-_*".contains(&b));
            if !plain || quoted.is_empty() {
                continue;
            }
            if quoted.starts_with('/') {
                words.paths.extend([
                    quoted.to_owned(),
                    format!("{quoted}/x"),
                    format!("{quoted}x"),
                ]);
            } else if let Some(domain) = quoted.strip_prefix("*.") {
                words
                    .hosts
                    .extend([domain.to_owned(), format!("w.{domain}")]);
            } else if !quoted.contains(['/', '*']) {
                words.hosts.push(quoted.to_owned());
                for name in ["X-Version", "Accept", "Cookie"] {
                    words.fields.push((name.to_owned(), quoted.to_owned()));
                }
            }
        }
        words
    }

    fn request(&self, rng: &mut Rng, service: &Service) -> Asked {
        let host = self.hosts[rng.usize(..self.hosts.len())].clone();
        let source: IpAddr = match rng.u8(..4) {
            0 => Ipv4Addr::new(10, 1, 0, rng.u8(..)).into(),
            1 => Ipv4Addr::new(10, rng.u8(..), 3, 4).into(),
            2 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
            _ => Ipv4Addr::new(192, 0, 2, 1).into(),
        };
        let mut question = Question {
            url: String::new(),
            method: None,
            headers: Vec::new(),
            source: Some(source),
            sni: None,
            service: Some(service.name.clone()),
        };
        if service.protocol == Protocol::Tls {
            let name = host.split(':').next().unwrap_or_default().to_owned();
            question.url = "tls://x".to_owned();
            question.sni = Some(name.clone());
            return Asked {
                question,
                bytes: client_hello(&name),
            };
        }
        let method = pick(
            rng,
            &["GET", "GET", "GET", "HEAD", "POST", "PURGE", "DELETE"],
        );
        let mut target = self.paths[rng.usize(..self.paths.len())].clone();
        target.push_str(pick(
            rng,
            &["", "", "?page=2", "?x&page=%32", "?page=3&page=2", "?"],
        ));
        for _ in 0..rng.u8(..4) {
            question
                .headers
                .push(self.fields[rng.usize(..self.fields.len())].clone());
        }
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
        for (name, value) in &question.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        question.headers.insert(0, ("Host".to_owned(), host));
        question.method = Some(method.to_owned());
        question.url = target;
        Asked {
            question,
            bytes: head.into_bytes(),
        }
    }
}

/// The least ClientHello that names a server (RFC 8446, 4.1.2; RFC 6066, 3).
fn client_hello(name: &str) -> Vec<u8> {
    let sized = |bytes: Vec<u8>, width: usize| {
        let len = bytes.len().to_be_bytes();
        [&len[len.len() - width..], &bytes].concat()
    };
    let server_name = [
        vec![0, 0],
        sized(sized([vec![0], sized(name.into(), 2)].concat(), 2), 2),
    ]
    .concat();
    let body = [
        vec![3, 3],
        vec![7; 32],
        vec![0],
        sized(vec![0x13, 1], 2),
        sized(vec![0], 1),
        sized(
            if name.is_empty() {
                Vec::new()
            } else {
                server_name
            },
            2,
        ),
    ]
    .concat();
    [vec![22, 3, 1], sized([vec![1], sized(body, 3)].concat(), 2)].concat()
}

/// Whether both say the same of a request.
fn agree(found: &Match, wanted: &Explanation) -> bool {
    let pools: Vec<(&str, u32)> = wanted
        .pools
        .iter()
        .map(|p| (p.name.as_str(), p.weight))
        .collect();
    let shares: Vec<(&str, u32)> = found
        .shares
        .iter()
        .map(|s| (s.pool.as_str(), s.weight))
        .collect();
    let label = || {
        found
            .route_name
            .clone()
            .or_else(|| found.route.map(|position| format!("#{}", position + 1)))
    };
    match wanted.action {
        explain::Outcome::Refuse => found.outcome == Outcome::Refused,
        explain::Outcome::None => found.outcome == Outcome::NoRoute,
        explain::Outcome::Forward => {
            found.outcome == Outcome::Route
                && matches!(found.action, Some(Action::Forward | Action::Filter))
                && label() == wanted.route
                && found.why.starts_with("matches ")
                && shares == pools
        }
        explain::Outcome::Respond | explain::Outcome::Redirect => {
            found.outcome == Outcome::Route
                && found.action == Some(Action::Answer)
                && label() == wanted.route
                && found.why.starts_with("matches ")
        }
    }
}

/// Asks both `count` times about a rule set.
fn compare(client: &mut Client, text: &str, count: usize, rng: &mut Rng, seen: &mut [usize; 4]) {
    let mut rules = rules(text);
    client.load(rules.table.as_bytes()).unwrap();
    // That a service is closed is the front's to say: the kernel leaves its requests to it, and matches as ever.
    for service in &mut rules.model.services {
        service.maintenance = Maintenance::Off;
    }
    let words = Words::of(text);
    let services: Vec<&Service> = rules.model.services.iter().collect();
    for _ in 0..count {
        let service = services[rng.usize(..services.len())];
        let asked = words.request(rng, service);
        let found = client
            .match_request(&MatchRequest {
                service: Some(service.name.clone()),
                destination: None,
                source: asked.question.source,
                request: asked.bytes.clone(),
            })
            .unwrap();
        if service.protocol == Protocol::Https {
            assert_eq!(found.outcome, Outcome::Front, "TLS ends at the front");
            continue;
        }
        let wanted = explain::explain(&rules.model, &rules.table, &asked.question).unwrap();
        assert!(
            agree(&found, &wanted),
            "{}\nkernel: {found:?}\nexplain: {wanted:?}",
            asked.bytes.escape_ascii()
        );
        let kind = match found.outcome {
            Outcome::Route => 0,
            Outcome::NoRoute => 1,
            Outcome::Refused => 2,
            _ => 3,
        };
        seen[kind] += 1;
    }
}

fn every_rule_set(requests: usize) {
    let _module = Module::load();
    let mut client = Client::open().unwrap();
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let mut seen = [0; 4];
    compare(&mut client, RULES, requests / 2, &mut rng, &mut seen);
    let examples: Vec<String> = fs::read_dir("/l7/share/examples")
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    assert!(examples.len() >= 8);
    for text in &examples {
        compare(
            &mut client,
            text,
            requests / 2 / examples.len(),
            &mut rng,
            &mut seen,
        );
    }
    println!("{seen:?}");
    assert!(
        seen[..3].iter().all(|&n| n > requests / 100),
        "each outcome is met: {seen:?}"
    );
    assert_eq!(seen[3], 0);
}

pub(super) fn kernel_and_explain_agree() {
    every_rule_set(800);
}

pub(super) fn kernel_and_explain_agree_ten_thousand_times() {
    every_rule_set(10_000);
}

pub(super) fn l7ctl_loads_every_example() {
    let _module = Module::load();
    let host = Host::new("admin");
    for entry in fs::read_dir("/l7/share/examples").unwrap() {
        let path = entry.unwrap().path();
        let path = path.display();
        // The certificates of an example are nowhere.
        host.run(&format!("l7ctl check --no-files {path}"));
        println!("{}", host.run(&format!("l7ctl kernel load {path}")));
    }
    println!("{}", host.run("l7ctl kernel status"));
    println!("{}", host.run("l7ctl kernel servers"));
    host.run("l7ctl kernel load /l7/share/examples/quickstart.toml");
    let found = host.run("l7ctl kernel match http://127.0.0.1:8080/img/x");
    assert!(
        found.contains("images") && found.contains("static"),
        "{found}"
    );
    let found =
        host.run("l7ctl kernel match http://127.0.0.1:8080/img/x -H 'Host: api.example.com'");
    assert!(found.contains("api"), "{found}");
    host.run("l7ctl kernel load /l7/share/examples/tls-passthrough.toml");
    println!("{}", host.run("l7ctl kernel status"));
    host.run("l7ctl kernel unload");
    let again = host.attempt("l7ctl kernel unload");
    assert!(
        !again.is_good() && again.stderr.contains("no table is in force"),
        "{again:?}"
    );
}
