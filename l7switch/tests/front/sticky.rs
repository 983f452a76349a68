// SPDX-License-Identifier: MIT
//! Clients that stay at their servers by a cookie of the switch's.

use std::sync::Arc;

use l7switch::Switch;
use l7switch_rules::model::Action;

use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::closed_port;
use crate::support::field;
use crate::support::load;
use crate::support::start;

/// Two pools of two servers each, split evenly.
async fn servers() -> Vec<Server> {
    vec![
        Server::saying("a").await,
        Server::saying("b").await,
        Server::saying("c").await,
        Server::saying("d").await,
    ]
}

fn rules(servers: &[Server], sticky: &str, pool: &str) -> String {
    let list = |servers: &[Server]| {
        let addresses = servers.iter().map(|s| format!("\"{}\"", s.address));
        addresses.collect::<Vec<_>>().join(", ")
    };
    format!(
        "[service.web]\nlisten = \"127.0.0.1:1\"\n\
         [[service.web.route]]\npools = [{{ name = \"one\" }}, {{ name = \"two\" }}]\n\
         sticky = {{ cookie = \"lb\"{sticky} }}\n\
         [pool.one]\nservers = [{}]\n{pool}\n[pool.two]\nservers = [{}]\n{pool}\n",
        list(&servers[..2]),
        list(&servers[2..])
    )
}

/// A request with this cookie: who answers, and what Set-Cookie says.
async fn ask(switch: &Arc<Switch>, cookie: &str) -> (String, Option<String>) {
    let mut client = Raw::connect(address(switch, "web")).await;
    let cookie = match cookie {
        "" => String::new(),
        cookie => format!("Cookie: x=y; {cookie}; z=1\r\n"),
    };
    client
        .send(format!("GET / HTTP/1.1\r\nHost: a\r\n{cookie}\r\n"))
        .await;
    let (status, head, body) = client.response().await;
    assert_eq!(status, 200, "{head}");
    (String::from_utf8(body).unwrap(), field(&head, "set-cookie"))
}

/// The cookie of a Set-Cookie.
fn cookie(set: &str) -> &str {
    set.split(';').next().unwrap()
}

#[tokio::test]
async fn a_client_stays_at_its_server() {
    let servers = servers().await;
    let switch = start(&rules(&servers, ", max_age = \"1h\"", ""));
    let mut met = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let (first, set) = ask(&switch, "").await;
        let set = set.unwrap();
        assert!(
            set.ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600"),
            "{set}"
        );
        for _ in 0..5 {
            let (again, set) = ask(&switch, cookie(&set)).await;
            assert_eq!((again, set), (first.clone(), None));
        }
        met.insert(first);
    }
    assert!(met.len() > 2, "{met:?}");
    // What nobody has made is as good as nothing.
    for strange in ["lb=", "lb=00112233445566778899aabbccddeeff", "lb=\"x\""] {
        assert!(ask(&switch, strange).await.1.is_some());
    }
}

#[tokio::test]
async fn keys_are_shared_and_outlive_the_process() {
    let servers = servers().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    std::fs::write(&path, "the key of this year\n").unwrap();
    let text = rules(&servers, &format!(", key = {path:?}"), "");
    let (one, other) = (start(&text), start(&text));
    let (first, set) = ask(&one, "").await;
    let set = set.unwrap();
    for _ in 0..5 {
        assert_eq!(ask(&other, cookie(&set)).await, (first.clone(), None));
    }
    // A reload changes nothing, without a key neither.
    other.set(load(&text)).unwrap();
    assert_eq!(ask(&other, cookie(&set)).await, (first, None));
    let text = rules(&servers, "", "");
    other.set(load(&text)).unwrap();
    let (first, set) = ask(&other, cookie(&set)).await;
    let set = set.unwrap();
    other.set(load(&text)).unwrap();
    assert_eq!(ask(&other, cookie(&set)).await, (first, None));
    // A key that cannot be used changes nothing.
    std::fs::write(&path, "short").unwrap();
    let error = one
        .set(load(&rules(&servers, &format!(", key = {path:?}"), "")))
        .unwrap_err();
    assert!(error.to_string().contains("a key has at least 16"));
}

/// One that is down is left, for good; one that is drained is not.
#[tokio::test]
async fn a_client_leaves_a_server_that_is_down() {
    let mut servers = servers().await;
    let switch = start(&rules(&servers, "", "passive = { failures = 1 }"));
    let (first, set) = ask(&switch, "").await;
    let set = set.unwrap();
    let at = ["a", "b", "c", "d"].iter().position(|name| *name == first);
    let at = at.unwrap();
    let pool = if at < 2 { "one" } else { "two" };
    let drain = |draining| {
        let generation = switch.generation();
        let pool = generation.pool(pool).unwrap();
        let server = pool.servers().nth(at % 2).unwrap();
        server.set_draining(draining);
        pool.rebuild_lookup();
    };
    drain(true);
    assert_eq!(ask(&switch, cookie(&set)).await, (first.clone(), None));
    // Nobody new comes to it.
    for _ in 0..20 {
        assert_ne!(ask(&switch, "").await.0, first);
    }
    drain(false);
    servers[at] = Server::saying("gone").await;
    let (second, new) = ask(&switch, cookie(&set)).await;
    assert_ne!(second, first);
    let new = new.unwrap();
    assert_eq!(ask(&switch, cookie(&new)).await, (second, None));
}

/// A pool may be a version of the site: while it has a server, its clients stay in it.
#[tokio::test]
async fn a_client_stays_in_its_pool_when_its_server_is_down() {
    let servers = servers().await;
    let text = rules(&servers, "", "");
    let switch = start(&text);
    let set_ejected = |at: usize, is_out: bool| {
        let generation = switch.generation();
        let pool = generation.pool(if at < 2 { "one" } else { "two" }).unwrap();
        let server = pool.servers().nth(at % 2).unwrap();
        match is_out {
            true => server.hold_down("by this test"),
            false => server.set_draining(false),
        }
    };
    for _ in 0..20 {
        let (first, set) = ask(&switch, "").await;
        let set = set.unwrap();
        let at = ["a", "b", "c", "d"].iter().position(|name| *name == first);
        let (at, other) = (at.unwrap(), ["b", "a", "d", "c"][at.unwrap()]);
        set_ejected(at, true);
        let (second, new) = ask(&switch, cookie(&set)).await;
        assert_eq!(second, other, "the other one of its pool");
        assert_eq!(ask(&switch, cookie(&new.unwrap())).await.0, second);
        // Where its pool gets no new clients, they are new anywhere.
        let mut closed = load(&text);
        let Action::Forward(shares) = &mut closed.model.services[0].routes[0].action else {
            panic!("a split")
        };
        let share = shares.get_mut(at / 2).unwrap();
        share.weight = 0;
        switch.set(closed).unwrap();
        let (third, _) = ask(&switch, cookie(&set)).await;
        assert_ne!(third, other);
        switch.set(load(&text)).unwrap();
        // Nor where it has no server.
        set_ejected(at ^ 1, true);
        let (fourth, new) = ask(&switch, cookie(&set)).await;
        assert!(fourth != first && fourth != other && new.is_some());
        set_ejected(at, false);
        set_ejected(at ^ 1, false);
    }
}

/// A pool that falls back on another: that one serves its clients for a while, and they come back.
#[tokio::test]
async fn a_client_comes_back_to_a_pool_that_has_fallen_back() {
    let mut servers = servers().await;
    servers.truncate(3);
    let text = rules(&servers, "", "passive = { failures = 1000 }");
    let text = text.replacen("[pool.two]", "[pool.two]\nfallback = \"one\"", 1);
    let switch = start(&text);
    let set = loop {
        match ask(&switch, "").await {
            (name, Some(set)) if name == "c" => break set,
            _ => continue,
        }
    };
    let hold_down = |is_down| {
        let generation = switch.generation();
        let server = generation.pool("two").unwrap().servers().next().unwrap();
        match is_down {
            true => server.hold_down("by this test"),
            false => server.set_draining(false),
        }
    };
    // Known to be down, and found so by the request itself.
    hold_down(true);
    for _ in 0..10 {
        let (name, new) = ask(&switch, cookie(&set)).await;
        assert!(name != "c" && new.is_none(), "{name} {new:?}");
    }
    hold_down(false);
    assert_eq!(ask(&switch, cookie(&set)).await, ("c".to_owned(), None));
    let at = servers.pop().unwrap().address;
    // The connections to it end with it.
    for _ in 0..3 {
        let (name, new) = ask(&switch, cookie(&set)).await;
        assert!(name != "c" && new.is_none(), "{name} {new:?}");
    }
    servers.push(Server::saying_at(&at.to_string(), "c").await);
    assert_eq!(ask(&switch, cookie(&set)).await, ("c".to_owned(), None));
    // A pool that gets no new clients is none to come back to.
    hold_down(true);
    let mut closed = load(&text);
    let Action::Forward(shares) = &mut closed.model.services[0].routes[0].action else {
        panic!("a split")
    };
    shares.last_mut().unwrap().weight = 0;
    switch.set(closed).unwrap();
    let (name, new) = ask(&switch, cookie(&set)).await;
    assert!(name != "c" && new.is_some(), "{name}");
}

/// No server at all: the answer of the switch's own says nothing of a cookie.
#[tokio::test]
async fn nobody_sets_no_cookie() {
    let closed = closed_port().await;
    let switch = start(&format!(
        "[service.web]\nlisten = \"127.0.0.1:1\"\n\
         [[service.web.route]]\npool = \"p\"\nsticky = {{ cookie = \"lb\" }}\n\
         [pool.p]\nservers = \"{closed}\"\n"
    ));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (status, head, _) = client.response().await;
    assert_eq!((status, field(&head, "set-cookie")), (502, None));
}

/// The client stays though its first response was replaced by a page.
#[tokio::test]
async fn a_page_in_place_of_a_response_has_the_cookie() {
    let server = Server::start(|mut conn, _, _| async move {
        while conn.head().await.is_some() {
            conn.send("HTTP/1.1 500 X\r\nContent-Length: 1\r\n\r\nx")
                .await;
        }
    })
    .await;
    let switch = start(&format!(
        "[service.web]\nlisten = \"127.0.0.1:1\"\n\
         [[service.web.route]]\npool = \"p\"\nsticky = {{ cookie = \"lb\" }}\n\
         error_pages = {{ 500 = {{ body = \"page\", intercept = true }} }}\n\
         [pool.p]\nservers = \"{}\"\n",
        server.address
    ));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let (status, head, body) = client.response().await;
    assert_eq!((status, body.as_slice()), (500, &b"page"[..]));
    assert!(field(&head, "set-cookie").unwrap().starts_with("lb="));
}
