// SPDX-License-Identifier: MIT
//! What `explain` says beside the route: permissions, copies, pages, checks, bounds, the target that servers get.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::net::IpAddr;

use l7switch_rules::explain::Outcome;
use l7switch_rules::explain::Question;
use l7switch_rules::explain::explain;
use l7switch_rules::load_text;

const RULES: &str = r#"
[service.web]
listen      = "0.0.0.0:80"
maintenance = { except = "10.0.0.0/8" }
error_pages = { "500-599" = { body = "sorry", intercept = true }, "404" = "none.html" }

[[service.web.route]]
path          = { prefix = "/old" }
rewrite       = { path = { replace_regex = "^/old/([a-z]+)", with = "/new/$1/" } }
basic_auth    = { file = "users", realm = "Staff" }
external_auth = { pool = "auth", path = "/verify" }
mirror        = { pool = "shadow", percent = 10 }
error_pages   = { "503" = { body = "soon", status = 200 } }
pool          = "app"

[pool.app]
servers         = [{ address = "10.0.0.1:80", max_connections = 7 }, { address = "10.0.0.2:80", backup = true }]
protocol        = "http2"
tls             = true
send_proxy      = "v2"
health          = { http = "/up", port = 81 }
queue           = { length = 3, timeout = "2s" }
retries         = { on = ["reset", 503], methods = "GET" }
slow_start      = "30s"
[pool.auth]
servers = "10.0.0.3:80"
[pool.shadow]
servers = "10.0.0.4:80"
"#;

fn ask(url: &str, source: &str) -> Question {
    Question {
        url: url.to_owned(),
        method: None,
        headers: Vec::new(),
        source: Some(source.parse::<IpAddr>().unwrap()),
        sni: None,
        service: None,
    }
}

#[test]
fn all_that_is_done_is_said() {
    let rules = load_text("rules.toml", RULES).unwrap();
    let said = explain(
        &rules.model,
        &rules.table,
        &ask("http://a/old/b?q=1", "10.0.0.9"),
    )
    .unwrap();
    assert_eq!(said.rewritten.as_deref(), Some("/new/b/?q=1"));
    let text = said.to_string();
    for line in [
        "pool     app  scheduler wlc: 10.0.0.1:80 weight 1 at most 7, 10.0.0.2:80 backup\n",
        "         servers get HTTP/2, TLS, a PROXY header (v2)\n",
        "         checked every 2s by GET /up: 200-399, port 81\n",
        "         where all have as many requests as they may, 3 wait for 2s\n",
        "         sent to 2 more after reset, 503 (GET), 20 % at a time, with at most 65536 bytes of content\n",
        "         servers that come up start slowly: 30s\n",
        "auth     user and password for \"Staff\"\n",
        "auth     pool auth is asked for /verify\n",
        "mirror   pool shadow gets 10 % of the requests\n",
        "page     503: 4 bytes of the rules, sent with 200\n",
        "page     404: none.html\n",
        "page     500-599: 5 bytes of the rules, also for servers' errors\n",
        "         the server gets /new/b/?q=1\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let json = serde_json::to_value(&said).unwrap();
    assert_eq!(json["mirror"]["percent"], 10);
    assert_eq!(json["pools"][0]["health"]["port"], 81);
    let reached: Vec<_> = said.reaches().collect();
    assert_eq!(reached, ["app", "auth", "shadow"]);
    // What the rewrite does not find stays.
    let said = explain(
        &rules.model,
        &rules.table,
        &ask("http://a/old/1", "10.0.0.9"),
    )
    .unwrap();
    assert_eq!(said.rewritten.as_deref(), Some("/old/1"));
}

#[test]
fn maintenance_depends_on_the_client() {
    let rules = load_text("rules.toml", RULES).unwrap();
    let said = explain(
        &rules.model,
        &rules.table,
        &ask("http://a/old/b", "192.0.2.1"),
    )
    .unwrap();
    assert_eq!((said.action, said.status), (Outcome::Refuse, Some(503)));
    let text = said.to_string();
    let why = "why      refused before any route is tried: closed for maintenance to 192.0.2.1\n";
    assert!(text.contains(why), "{text}");
    assert!(text.contains("page     500-599"), "{text}");
}

#[test]
fn without_the_kernel_module_the_front_serves() {
    let rules = "[service.web]\nlisten = '0.0.0.0:80'\n[[service.web.route]]\npool = 'p'\n\
        [pool.p]\nservers = ['10.0.0.1:80', { address = '10.0.0.2:80', drain = true }]\n";
    let rules = load_text("rules.toml", rules).unwrap();
    let ask = |url| explain(&rules.model, &rules.table, &ask(url, "10.0.0.9")).unwrap();
    let said = ask("http://a/");
    let text = said.to_string();
    assert!(text.contains("path     kernel: "), "{text}");
    assert!(
        text.contains("10.0.0.1:80 weight 1, 10.0.0.2:80 drained\n"),
        "{text}"
    );
    let text = said.without_kernel("it is not there").to_string();
    assert!(text.contains("path     front: it is not there\n"), "{text}");
    // Where it serves nothing anyway, that is the reason.
    let refused = ask("http://a/%2f..");
    assert_eq!(refused.clone().without_kernel("it is not there"), refused);
}
