// SPDX-License-Identifier: MIT
//! What a real server is told about the client, and what a client about the switch.

use crate::support::curl::curl;
use crate::support::python::Echo;
use crate::support::python::Python;
use crate::support::switch::Switch;
use crate::support::switch::simple;

const CLAIMS: [&str; 5] = [
    "X-Forwarded-For: 203.0.113.7",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: claimed.example",
    "Forwarded: for=203.0.113.7",
    "Via: 1.0 proxy",
];

fn ask(service: &str, version: &str, claims: &[&str]) -> (Echo, Option<String>) {
    let python = Python::start("python");
    let switch = Switch::start(&simple(&[python.address], service, ""));
    let mut call = curl().args([version, "-H", "Host: shop.example"]);
    for claim in claims {
        call = call.header(claim);
    }
    let answer = call.ok(&(switch.url("web") + "/echo"));
    (
        Echo::parse(&answer.body),
        answer.field("via").map(str::to_owned),
    )
}

#[test]
fn the_client_as_the_switch_sees_it() {
    for (version, word) in [
        ("--http1.0", "1.0"),
        ("--http1.1", "1.1"),
        ("--http2-prior-knowledge", "2"),
    ] {
        let (echo, via) = ask("via = true", version, &[]);
        assert_eq!(echo.field("x-forwarded-for"), "127.0.0.1", "{version}");
        assert_eq!(echo.field("x-forwarded-proto"), "http");
        assert_eq!(echo.field("x-forwarded-host"), "shop.example");
        assert_eq!(echo.field("via"), format!("{word} l7switch"));
        assert_eq!(echo.field("host"), "shop.example");
        // The server spoke HTTP/1.1.
        assert_eq!(via.as_deref(), Some("1.1 l7switch"));
    }
}

#[test]
fn a_stranger_is_not_believed() {
    let (echo, via) = ask("", "--http1.1", &CLAIMS);
    assert_eq!(echo.field("x-forwarded-for"), "127.0.0.1");
    assert_eq!(echo.field("x-forwarded-proto"), "http");
    assert_eq!(echo.field("x-forwarded-host"), "shop.example");
    assert_eq!(echo.field("forwarded"), "");
    // Its own hop says nothing unless it is told to: nginx compresses nothing for who names one.
    assert_eq!(echo.field("via"), "1.0 proxy");
    assert_eq!(via, None);
}

#[test]
fn a_trusted_proxy_is() {
    let (echo, _) = ask("trusted = '127.0.0.0/8'\nvia = true", "--http1.1", &CLAIMS);
    assert_eq!(echo.field("x-forwarded-for"), "203.0.113.7, 127.0.0.1");
    assert_eq!(echo.field("x-forwarded-proto"), "https");
    assert_eq!(echo.field("x-forwarded-host"), "claimed.example");
    assert!(
        echo.field("forwarded")
            .starts_with("for=203.0.113.7, for=127.0.0.1")
    );
    assert_eq!(echo.field("via"), "1.0 proxy, 1.1 l7switch");
}

#[test]
fn filters_reach_real_programs() {
    let python = Python::start("python");
    let rules = format!(
        "[service.web]\nlisten = '127.0.0.1:0'\n\
         [[service.web.route]]\npath = {{ prefix = '/old' }}\npool = 'main'\n\
         rewrite = {{ hostname = 'inner.example', path = {{ replace_prefix = '/echo' }} }}\n\
         request_headers = {{ remove = 'Cookie', set = {{ X-A = 'set' }}, add = {{ X-B = 'more' }} }}\n\
         response_headers = {{ remove = 'X-Served-By', set = {{ X-C = 'c' }} }}\n\
         [[service.web.route]]\npath = {{ prefix = '/moved' }}\n\
         redirect = {{ hostname = 'new.example', port = 81, path = {{ replace_full = '/here' }}, status = 308 }}\n\
         [[service.web.route]]\nrespond = {{ status = 418, body = \"short and stout\\n\" }}\n\
         [pool.main]\nservers = ['{}']\n",
        python.address
    );
    let switch = Switch::start(&rules);
    let url = switch.url("web");
    let answer = curl()
        .header("Cookie: a=1")
        .header("X-A: was")
        .header("X-B: first")
        .ok(&format!("{url}/old/a?b=c"));
    assert_eq!(
        (answer.field("x-served-by"), answer.field("x-c")),
        (None, Some("c"))
    );
    let echo = Echo::parse(&answer.body);
    assert_eq!(
        (echo.target.as_str(), echo.field("host")),
        ("/echo/a?b=c", "inner.example")
    );
    assert_eq!((echo.field("cookie"), echo.field("x-a")), ("", "set"));
    assert_eq!(echo.all("x-b").join(", "), "first, more");
    let answer = curl().get(&format!("{url}/moved/far?q=1"));
    assert_eq!(answer.status, 308);
    assert_eq!(
        answer.field("location"),
        Some("http://new.example:81/here?q=1")
    );
    let answer = curl().get(&url);
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (418, "short and stout\n")
    );
    assert_eq!(python.seen().len(), 1);
}
