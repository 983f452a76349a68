// SPDX-License-Identifier: MIT
//! Users with passwords, and servers that are asked whether a request goes on.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use l7switch::Switch;

use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::closed_port;
use crate::support::field;
use crate::support::simple;
use crate::support::start;
use crate::support::until;

/// "secret", as `htpasswd -B` and `openssl passwd -6` hash it.
const ALICE: &str = "alice:$2y$05$KoXqazH369kPS5mhTiWs1OWaV18zL1DDfAv/OZKVCkTwiW7QN0WTK";
const BOB: &str = "bob:$6$abcdefgh$ltjgWl6579NluT/Vi1nwEvcil.G5Nbc4NiXZaNGStk8PSwGfQv72N2CKPPrVACtLtip/cZ/1GM/O6IND4WQhG.";

fn basic(user: &str, password: &str) -> String {
    let token = STANDARD.encode(format!("{user}:{password}"));
    format!("Authorization: Basic {token}\r\n")
}

async fn ask(switch: &Switch, line: &str, fields: &str) -> (u16, String, String) {
    let mut client = Raw::connect(address(switch, "web")).await;
    let request = format!("{line} HTTP/1.1\r\nHost: www.example\r\n{fields}\r\n");
    client.send(request).await;
    let (status, head, body) = client.response().await;
    (status, head, String::from_utf8(body).unwrap())
}

fn refused(switch: &Arc<Switch>, reason: &str) -> u64 {
    let status = l7switch::admin::status(switch);
    let refused = &status.services["web"].refused;
    refused.get(reason).copied().unwrap_or_default()
}

/// The route of a rule file that has one, with more keys.
fn with(rules: &str, keys: &str) -> String {
    rules.replacen("pool = \"p\"\n", &format!("pool = \"p\"\n{keys}\n"), 1)
}

struct Staff {
    switch: Arc<Switch>,
    server: Server,
    _folder: tempfile::TempDir,
}

async fn staff(more: &str) -> Staff {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users");
    std::fs::write(&file, format!("# staff\n{ALICE}\n{BOB}\n")).unwrap();
    let server = Server::saying("in").await;
    let keys = format!(
        "basic_auth = {{ file = \"{}\", realm = \"The \\\"Staff\\\"\" }}\n{more}",
        file.display()
    );
    let switch = start(&with(&simple(&[server.address], "", ""), &keys));
    Staff {
        switch,
        server,
        _folder: folder,
    }
}

#[tokio::test]
async fn who_has_a_password_comes_in() {
    let staff = staff("request_headers = { set = { X-User = \"$user\" } }").await;
    for (user, password) in [("alice", "secret"), ("bob", "secret"), ("alice", "secret")] {
        // What a client says of itself is not believed.
        let fields = basic(user, password) + "X-User: root\r\n";
        let (status, _, body) = ask(&staff.switch, "GET /", &fields).await;
        assert_eq!((status, body.as_str()), (200, "in"));
        let head = staff.server.heads().pop().unwrap();
        assert_eq!(field(&head, "x-user").as_deref(), Some(user));
    }
    let twice = basic("alice", "secret") + &basic("bob", "secret");
    for fields in [
        String::new(),
        basic("alice", "Secret"),
        basic("alice", ""),
        basic("mallory", "secret"),
        basic("", ""),
        "Authorization: Basic !\r\n".to_owned(),
        "Authorization: Bearer x\r\n".to_owned(),
        "Authorization:\r\n".to_owned(),
        twice,
    ] {
        let (status, head, body) = ask(&staff.switch, "GET /", &fields).await;
        assert_eq!(status, 401, "{fields}");
        assert!(body.starts_with("401 Unauthorized"), "{body}");
        assert_eq!(
            field(&head, "www-authenticate").as_deref(),
            Some("Basic realm=\"The \\\"Staff\\\"\", charset=\"UTF-8\"")
        );
    }
    assert_eq!(refused(&staff.switch, "unauthorized"), 9);
    assert_eq!(staff.server.heads().len(), 3);
}

/// Not so in a limit: guesses are counted as requests are, and before the work of a hash.
#[tokio::test]
async fn guesses_are_limited() {
    let staff = staff("rate_limit = { requests = 2, per = \"1h\" }").await;
    for expected in [401, 401, 429, 429] {
        let fields = basic("alice", "guess");
        assert_eq!(ask(&staff.switch, "GET /", &fields).await.0, expected);
    }
    assert_eq!(refused(&staff.switch, "unauthorized"), 2);
}

/// A browser asks without credentials whether it may send some (Fetch, CORS-preflight fetch).
#[tokio::test]
async fn a_preflight_needs_no_password() {
    let staff = staff("cors = { allow_origins = \"https://app.example\" }").await;
    let fields = "Origin: https://app.example\r\nAccess-Control-Request-Method: GET\r\n";
    assert_eq!(ask(&staff.switch, "OPTIONS /", fields).await.0, 204);
    let (status, head, _) = ask(&staff.switch, "GET /", "Origin: https://app.example\r\n").await;
    assert_eq!(status, 401);
    // The page may read why.
    assert!(field(&head, "access-control-allow-origin").is_some());
}

#[tokio::test]
async fn answers_of_the_switch_need_a_password_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users");
    std::fs::write(&file, ALICE).unwrap();
    for action in [
        "respond = { status = 200, body = \"in\" }",
        "redirect = { hostname = \"other.example\", status = 301 }",
    ] {
        let switch = start(&format!(
            "[service.web]\nlisten = \"127.0.0.1:1\"\n[[service.web.route]]\n{action}\n\
             basic_auth = {{ file = \"{}\" }}\n",
            file.display()
        ));
        let (status, head, _) = ask(&switch, "GET /", "").await;
        assert_eq!(status, 401);
        let challenge = field(&head, "www-authenticate").unwrap();
        assert!(challenge.starts_with("Basic realm=\"web\""), "{challenge}");
        let status = ask(&switch, "GET /", &basic("alice", "secret")).await.0;
        assert!([200, 301].contains(&status), "{status}");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users");
    std::fs::write(&file, "alice:secret\n").unwrap();
    let rules = crate::support::load(&format!(
        "[service.web]\nlisten = \"127.0.0.1:1\"\n[[service.web.route]]\nrespond = {{ status = 200 }}\n\
         basic_auth = {{ file = \"{}\" }}\n",
        file.display()
    ));
    let error = Switch::start(rules, None, &l7switch::Options::default()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("users, line 1") && text.contains("htpasswd -B"),
        "{text}"
    );
}

/// A server that is asked: it lets in who has the cookie `good`.
async fn gate() -> Server {
    Server::start(|mut conn, _, seen| async move {
        while let Some(head) = conn.head().await {
            let cookie = field(&head, "cookie").unwrap_or_default();
            seen.lock().unwrap().push(head);
            let answer = match cookie.as_str() {
                "good" => "HTTP/1.1 103 Hint\r\n\r\nHTTP/1.1 200 OK\r\nX-Auth-User: alice\r\nX-Auth-Group: a\r\n\
                     X-Auth-Group: b\r\nX-Other: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                "empty" => "HTTP/1.1 204 No Content\r\n\r\n",
                "later" => "HTTP/1.1 302 Found\r\nLocation: https://login.example/\r\nSet-Cookie: a=1\r\n\
                     Set-Cookie: b=2\r\nConnection: x-hop\r\nX-Hop: 1\r\nContent-Length: 5\r\n\r\nlogin",
                "page" => "HTTP/1.1 401 No\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nno",
                "change" => "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
                "odd" => "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
                "slow" => {
                    tokio::time::sleep(std::time::Duration::from_millis(400)).await;
                    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
                }
                "broken" => "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
                "long" => {
                    conn.send("HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n").await;
                    for _ in 0..20 {
                        conn.send(format!("8000\r\n{}\r\n", "x".repeat(0x8000))).await;
                    }
                    return;
                }
                "silent" => std::future::pending().await,
                _ => "HTTP/1.1 403 Forbidden\r\nX-Why: no\r\nContent-Length: 4\r\n\r\nstay",
            };
            conn.send(answer).await;
            if cookie == "broken" {
                return;
            }
        }
    })
    .await
}

fn asking(server: SocketAddr, gate: SocketAddr, keys: &str) -> String {
    let rules = simple(&[server], "", "");
    let auth = format!("external_auth = {{ pool = \"auth\", path = \"/verify?x=1\"{keys} }}");
    with(&rules, &auth) + &format!("\n[pool.auth]\nservers = \"{gate}\"\n")
}

#[tokio::test]
async fn who_is_let_in_goes_on_with_what_was_said() {
    let (server, gate) = (Server::saying("in").await, gate().await);
    let keys = ", response_headers = [\"X-Auth-User\", \"x-auth-group\", \"X-None\"]";
    let switch = start(&asking(server.address, gate.address, keys));
    let fields = "Cookie: good\r\nX-Auth-User: root\r\nX-None: root\r\nX-Real-IP: 1.1.1.1\r\n\
                  X-Forwarded-Method: GET\r\nX-Forwarded-Uri: /public\r\nIf-None-Match: \"a\"\r\nRange: bytes=0-0\r\n\
                  Content-Length: 4\r\nContent-Type: text/x\r\nExpect: 100-continue\r\n";
    let mut client = Raw::connect(address(&switch, "web")).await;
    let post = format!("POST /a%20b?q=1 HTTP/1.1\r\nHost: www.example\r\n{fields}\r\nbody");
    client.send(post).await;
    let mut answer = client.response().await;
    if answer.0 == 100 {
        answer = client.response().await;
    }
    assert_eq!(answer.0, 200);
    let asked = gate.heads().pop().unwrap();
    assert!(asked.starts_with("GET /verify?x=1 HTTP/1.1\r\n"), "{asked}");
    for (name, expected) in [
        ("host", Some(gate.address.to_string())),
        ("cookie", Some("good".to_owned())),
        ("x-forwarded-method", Some("POST".to_owned())),
        ("x-forwarded-uri", Some("/a%20b?q=1".to_owned())),
        ("x-forwarded-host", Some("www.example".to_owned())),
        ("x-forwarded-proto", Some("http".to_owned())),
        ("x-forwarded-for", Some("127.0.0.1".to_owned())),
        ("x-real-ip", None),
        ("if-none-match", None),
        ("range", None),
        ("content-length", None),
        ("content-type", None),
        ("expect", None),
    ] {
        assert_eq!(field(&asked, name), expected, "{name}: {asked}");
    }
    assert_eq!(asked.matches("x-forwarded-uri").count(), 1);
    let head = server.heads().pop().unwrap();
    assert_eq!(field(&head, "x-auth-user").as_deref(), Some("alice"));
    assert_eq!(head.to_lowercase().matches("x-auth-group: ").count(), 2);
    // Not named, not said.
    for name in ["x-other", "x-none"] {
        assert_eq!(field(&head, name), None, "{head}");
    }
    // The connection is kept.
    for cookie in ["good", "empty", "good"] {
        let get = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n");
        client.send(get).await;
        assert_eq!(client.response().await.0, 200);
    }
    assert_eq!(gate.connection_count(), 1);
}

#[tokio::test]
async fn who_is_not_let_in_gets_the_answer() {
    let (server, gate) = (Server::saying("in").await, gate().await);
    let switch = start(&asking(server.address, gate.address, ""));
    let (status, head, body) = ask(&switch, "GET /", "").await;
    assert_eq!((status, body.as_str()), (403, "stay"));
    assert_eq!(field(&head, "x-why").as_deref(), Some("no"));
    let (status, head, body) = ask(&switch, "GET /", "Cookie: later\r\n").await;
    assert_eq!((status, body.as_str()), (302, "login"));
    let location = field(&head, "location");
    assert_eq!(location.as_deref(), Some("https://login.example/"));
    assert_eq!(head.to_lowercase().matches("set-cookie: ").count(), 2);
    assert_eq!(field(&head, "x-hop"), None);
    let mut client = Raw::connect(address(&switch, "web")).await;
    client
        .send("HEAD / HTTP/1.1\r\nHost: a\r\nCookie: later\r\nConnection: close\r\n\r\n")
        .await;
    let head = client.head().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 302"), "{head}");
    assert_eq!(field(&head, "content-length").as_deref(), Some("5"));
    assert!(client.ended().await);
    assert_eq!(refused(&switch, "auth_denied"), 3);
    assert!(server.heads().is_empty());
}

#[tokio::test]
async fn without_an_answer_nobody_comes_in() {
    let (server, gate) = (Server::saying("in").await, gate().await);
    let switch = start(&asking(
        server.address,
        gate.address,
        ", timeout = \"300ms\"",
    ));
    for (cookie, expected) in [
        ("broken", 502),
        ("long", 502),
        ("change", 502),
        ("odd", 502),
        ("silent", 504),
    ] {
        let fields = format!("Cookie: {cookie}\r\n");
        assert_eq!(ask(&switch, "GET /", &fields).await.0, expected, "{cookie}");
    }
    let nobody = start(&asking(server.address, closed_port().await, ""));
    assert_eq!(ask(&nobody, "GET /", "Cookie: good\r\n").await.0, 502);
    assert_eq!(refused(&switch, "auth_failed"), 5);
    assert_eq!(refused(&nobody, "auth_failed"), 1);
    assert!(server.heads().is_empty());
}

/// The server that is asked is free at once, and no other is asked.
#[tokio::test]
async fn a_client_that_resets_is_asked_for_no_longer() {
    let (server, gate) = (Server::saying("in").await, gate().await);
    let rules = asking(server.address, gate.address, ", timeout = \"60s\"");
    let switch = start(&rules.replace("[pool.auth]\n", "[pool.auth]\nmax_connections = 1\n"));
    let active = || {
        let servers = l7switch::admin::servers(&switch);
        servers.iter().map(|server| server.active).sum::<u64>()
    };
    let queued = || l7switch::admin::status(&switch).pools["auth"].queued;
    let mut clients = Vec::new();
    for number in 0..2 {
        let mut client = Raw::connect(address(&switch, "web")).await;
        client
            .send("GET / HTTP/1.1\r\nHost: a\r\nCookie: silent\r\n\r\n")
            .await;
        until(|| active() + queued() == number + 1).await;
        clients.push(client);
    }
    for client in clients.into_iter().rev() {
        let socket = socket2::SockRef::from(&client.stream);
        socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
        let before = active() + queued();
        drop(client);
        until(|| active() + queued() == before - 1).await;
    }
    until(|| refused(&switch, "client_gone") == 2).await;
    assert_eq!(l7switch::admin::status(&switch).services["web"].active, 0);
    assert!(server.heads().is_empty());
}

#[tokio::test]
async fn only_fields_that_are_named_are_told() {
    let (server, gate) = (Server::saying("in").await, gate().await);
    let keys = ", request_headers = [\"X-Token\", \"Cookie\"]";
    let switch = start(&asking(server.address, gate.address, keys));
    let fields = "Cookie: good\r\nX-Token: 1\r\nAuthorization: x\r\n";
    assert_eq!(ask(&switch, "GET /", fields).await.0, 200);
    let asked = gate.heads().pop().unwrap();
    assert_eq!(field(&asked, "x-token").as_deref(), Some("1"));
    assert_eq!(field(&asked, "cookie").as_deref(), Some("good"));
    assert_eq!(field(&asked, "authorization"), None);
    assert!(field(&asked, "x-forwarded-uri").is_some());
}

#[tokio::test]
async fn an_answer_has_the_type_that_was_said() {
    let (server, gate) = (Server::saying("in").await, gate().await);
    let switch = start(&asking(server.address, gate.address, ""));
    for (cookie, types) in [("page", vec!["text/html"]), ("none", vec![])] {
        let fields = format!("Cookie: {cookie}\r\n");
        let (_, head, _) = ask(&switch, "GET /", &fields).await;
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        let found: Vec<_> = lines
            .filter(|(name, _)| name.eq_ignore_ascii_case("content-type"))
            .map(|(_, value)| value)
            .collect();
        assert_eq!(found, types, "{head}");
    }
}

/// The time that permission takes is not the real server's.
#[tokio::test]
async fn who_is_asked_slowly_blames_nobody() {
    let (server, gate) = (Server::saying("in").await, gate().await);
    let rules = asking(server.address, gate.address, "").replacen(
        "[pool.p]\n",
        "[pool.p]\nresponse_timeout = \"300ms\"\n",
        1,
    );
    let switch = start(&rules);
    let mut client = Raw::connect(address(&switch, "web")).await;
    for _ in 0..3 {
        client
            .send("GET / HTTP/1.1\r\nHost: a\r\nCookie: slow\r\n\r\n")
            .await;
        assert_eq!(client.response().await.0, 200);
    }
}

/// Names that programs take for the same as those that the rules control.
#[tokio::test]
async fn no_field_passes_in_disguise() {
    let server = Server::start(|mut conn, _, seen| async move {
        while let Some(head) = conn.head().await {
            let (_, trailers) = conn.chunks().await;
            seen.lock().unwrap().push(head + &trailers);
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                .await;
        }
    })
    .await;
    let gate = gate().await;
    let keys = ", response_headers = [\"X-Auth-User\"]";
    let switch = start(&asking(server.address, gate.address, keys));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client
        .send(
            "POST / HTTP/1.1\r\nHost: a\r\nCookie: good\r\nX_Auth_User: root\r\nx-auth_user: root\r\n\
             X-Forwarded_Uri: /public\r\nX_Forwarded_For: 1.1.1.1\r\nX_Real_IP: 1.1.1.1\r\nX_Other: 1\r\n\
             Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Auth-User: root\r\nX-Fine: 1\r\n\r\n",
        )
        .await;
    assert_eq!(client.response().await.0, 200);
    for head in [gate.heads().pop().unwrap(), server.heads().pop().unwrap()] {
        let lower = head.to_lowercase();
        for name in ["x-forwarded_uri", "x_forwarded_for", "x_real_ip"] {
            assert!(!lower.contains(name), "{head}");
        }
        assert!(lower.contains("x_other"), "{head}");
    }
    let head = server.heads().pop().unwrap().to_lowercase();
    assert!(
        head.contains("x-auth-user: alice") && head.contains("x-fine: 1"),
        "{head}"
    );
    assert!(!head.contains("root"), "{head}");
}
