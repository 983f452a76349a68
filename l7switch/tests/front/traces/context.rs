// SPDX-License-Identifier: MIT
//! W3C Trace Context between clients, the switch and servers.

use l7switch::Switch;
use l7switch::observe::spans::Context;

use super::Collector;
use super::is_server;
use super::options;
use super::traced;
use super::traceparent;
use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::field;
use crate::support::simple;
use crate::support::start;
use crate::support::start_with;
use crate::support::until;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const TRUSTED: &str = "trusted = [\"127.0.0.0/8\"]";

fn told(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

/// A request with these lines; gives the head that the server has got.
async fn through(switch: &Switch, server: &Server, lines: &str) -> String {
    let mut client = Raw::connect(address(switch, "web")).await;
    client
        .send(format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"))
        .await;
    assert_eq!(client.response().await.0, 200);
    server.heads().pop().unwrap()
}

/// The trace of a head's `traceparent`.
fn trace(head: &str) -> String {
    let line = field(head, "traceparent").unwrap();
    let context = Context::read(line.as_bytes()).expect("no traceparent");
    format!("{:032x}", context.trace())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_clients_trace_goes_on() {
    let collector = Collector::start().await;
    let server = Server::saying("fine").await;
    let switch = traced(&simple(&[server.address], "", ""), &collector);
    let lines = format!(
        "Traceparent: {}\r\ntracestate: a=1,b@c=2\r\nTraceState: d=3\r\n",
        told("01")
    );
    let head = through(&switch, &server, &lines).await;
    let spans = collector.wait(2).await;
    assert_eq!(hex(&spans[0].trace_id), TRACE);
    assert_eq!(hex(&spans[0].parent_span_id), PARENT);
    assert_eq!(spans[0].trace_state, "a=1,b@c=2,d=3");
    assert_eq!(field(&head, "traceparent"), Some(traceparent(&spans[1])));
    assert_eq!(head.to_lowercase().matches("traceparent").count(), 1);
    assert!(head.contains("tracestate: a=1,b@c=2\r\n"), "{head}");
    assert!(head.contains("TraceState: d=3\r\n"), "{head}");
}

/// What is no context goes nowhere, and what belongs to it neither; a new trace begins.
#[tokio::test]
async fn what_is_no_context_ends_here() {
    let collector = Collector::start().await;
    let server = Server::saying("fine").await;
    let switch = traced(&simple(&[server.address], "", ""), &collector);
    let whole = told("01");
    let wrong = [
        whole.replacen("00", "ff", 1),
        format!("{whole}-more"),
        whole.to_uppercase(),
        whole.replace(TRACE, &"0".repeat(32)),
        whole.replace(PARENT, &"0".repeat(16)),
        format!("{whole}\r\ntraceparent: {whole}"),
        String::new(),
    ];
    for wrong in &wrong {
        let lines = format!("traceparent: {wrong}\r\ntracestate: a=1\r\n");
        let head = through(&switch, &server, &lines).await;
        assert_eq!(head.to_lowercase().matches("traceparent").count(), 1);
        assert!(!head.contains("tracestate"), "{head}");
        assert_ne!(trace(&head), TRACE, "{wrong}");
    }
    let spans = collector.wait(2 * wrong.len()).await;
    for own in spans.iter().filter(|span| is_server(span)) {
        assert!(own.parent_span_id.is_empty() && own.trace_state.is_empty());
    }
    // A later version is read as far as it is known.
    let later = format!("{}-more", whole.replacen("00", "cc", 1));
    let head = through(&switch, &server, &format!("traceparent: {later}\r\n")).await;
    assert_eq!(trace(&head), TRACE);
    assert!(field(&head, "traceparent").unwrap().starts_with("00-"));
}

/// Where nothing is traced, fields are anybody's.
#[tokio::test]
async fn without_tracing_fields_pass() {
    let server = Server::saying("fine").await;
    let switch = start(&simple(&[server.address], "", ""));
    for line in [told("01"), "nonsense".to_owned()] {
        let lines = format!("traceparent: {line}\r\ntracestate: a=1\r\n");
        let head = through(&switch, &server, &lines).await;
        assert!(head.contains(&lines), "{head}");
    }
    let head = through(&switch, &server, "").await;
    assert!(!head.contains("trace"), "{head}");
    let metrics = crate::support::metrics(&switch).await;
    assert!(!metrics.contains("spans"), "{metrics}");
}

/// A parent that is not recorded is passed on as if the switch were not there.
#[tokio::test]
async fn what_is_not_recorded_is_told_all_the_same() {
    let collector = Collector::start().await;
    let server = Server::saying("fine").await;
    for service in ["", TRUSTED] {
        let switch = traced(&simple(&[server.address], service, ""), &collector);
        let lines = format!("traceparent: {}\r\ntracestate: a=1\r\n", told("00"));
        let head = through(&switch, &server, &lines).await;
        assert_eq!(field(&head, "traceparent"), Some(told("00")));
        assert!(head.contains("tracestate: a=1\r\n"), "{head}");
        // Behind it, one that is recorded: nothing of the other has come before.
        through(&switch, &server, "").await;
    }
    let spans = collector.wait(4).await;
    assert!(spans.iter().all(|span| hex(&span.trace_id) != TRACE));
}

/// A stranger cannot have recorded what would not be; a trusted proxy can.
#[tokio::test]
async fn the_sample_holds_for_strangers() {
    let collector = Collector::start().await;
    let server = Server::saying("fine").await;
    let options = options(collector.server.address, "0.000001%");
    let switch = start_with(&simple(&[server.address], "", ""), &options);
    for _ in 0..50 {
        let head = through(
            &switch,
            &server,
            &format!("traceparent: {}\r\n", told("01")),
        )
        .await;
        assert_eq!(field(&head, "traceparent"), Some(told("00")));
        let head = through(&switch, &server, "").await;
        assert!(
            field(&head, "traceparent").unwrap().ends_with("-00"),
            "{head}"
        );
    }
    let switch = start_with(&simple(&[server.address], TRUSTED, ""), &options);
    let head = through(
        &switch,
        &server,
        &format!("traceparent: {}\r\n", told("01")),
    )
    .await;
    let spans = collector.wait(2).await;
    assert_eq!(field(&head, "traceparent"), Some(traceparent(&spans[1])));
}

/// A route can keep the trace from its servers, and say it in another field.
#[tokio::test]
async fn routes_edit_what_servers_are_told() {
    let collector = Collector::start().await;
    let server = Server::saying("fine").await;
    for (number, (edit, is_told)) in [
        ("{ remove = [\"traceparent\"] }", false),
        ("{ set = { Traceparent = \"$traceparent\" } }", true),
        ("{ set = { X-Trace = \"$traceparent\" } }", true),
    ]
    .into_iter()
    .enumerate()
    {
        let pool = format!("request_headers = {edit}\npool = \"p\"\n");
        let rules = simple(&[server.address], "", "").replacen("pool = \"p\"\n", &pool, 1);
        let switch = traced(&rules, &collector);
        let head = through(
            &switch,
            &server,
            &format!("traceparent: {}\r\n", told("01")),
        )
        .await;
        let spans = collector.wait(2 * (number + 1)).await;
        let [own, attempt] = &spans[2 * number..] else {
            panic!()
        };
        let expected = is_told.then(|| traceparent(attempt));
        assert_eq!(field(&head, "traceparent"), expected, "{edit}");
        assert!(
            head.to_lowercase().matches("\r\ntraceparent").count() <= 1,
            "{head}"
        );
        if edit.contains("X-Trace") {
            assert_eq!(field(&head, "x-trace"), Some(traceparent(own)));
        }
    }
}

/// Servers that are asked for permission, and those that get copies, stand below the request itself. So do servers of requests
/// without a host.
#[tokio::test]
async fn others_are_told_too() {
    let collector = Collector::start().await;
    let (server, copied) = (Server::saying("fine").await, Server::saying("copy").await);
    let asked = Server::saying("").await;
    for (number, list) in ["", ", request_headers = [\"traceparent\"]"]
        .into_iter()
        .enumerate()
    {
        let route = format!(
            "mirror = {{ pool = \"copy\" }}\nexternal_auth = {{ pool = \"auth\", path = \"/\"{list} }}\npool = \"p\"\n"
        );
        let rules = simple(&[server.address], "", "").replacen("pool = \"p\"\n", &route, 1)
            + &format!(
                "[pool.copy]\nservers = \"{}\"\n[pool.auth]\nservers = \"{}\"\n",
                copied.address, asked.address
            );
        let switch = traced(&rules, &collector);
        let mut client = Raw::connect(address(&switch, "web")).await;
        client
            .send(format!(
                "GET / HTTP/1.0\r\ntraceparent: {}\r\n\r\n",
                told("01")
            ))
            .await;
        assert_eq!(client.response().await.0, 200);
        until(|| copied.heads().len() > number).await;
        let spans = collector.wait(2 * (number + 1)).await;
        let [own, attempt] = &spans[2 * number..] else {
            panic!()
        };
        for (server, span) in [(&asked, own), (&copied, own), (&server, attempt)] {
            let head = server.heads().pop().unwrap();
            assert_eq!(field(&head, "traceparent"), Some(traceparent(span)));
            assert_eq!(field(&head, "host"), Some(server.address.to_string()));
            assert_eq!(head.matches("traceparent").count(), 1, "{head}");
        }
    }
}
