// SPDX-License-Identifier: MIT
//! Times of a route: of an exchange as a whole, of a client's silence, of a tunnel's.

use std::time::Duration;

use tokio::time::sleep;

use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::start;

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";

/// Many times the times that are set here.
const LONG: Duration = Duration::from_millis(1200);

/// A service with one route.
fn rules(server: &Server, service: &str, route: &str) -> String {
    format!(
        "[service.web]\nlisten = \"127.0.0.1:1\"\n{service}\n\
         [[service.web.route]]\npool = \"p\"\n{route}\n\
         [pool.p]\nservers = \"{}\"\n",
        server.address
    )
}

/// A server that changes to another protocol, and sends back what it gets.
async fn tunnel() -> Server {
    Server::start(|mut conn, _, _| async move {
        conn.head().await;
        conn.send("HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
            .await;
        loop {
            let byte = conn.exactly(1).await;
            conn.send(byte).await;
        }
    })
    .await
}

/// A server that answers a head with this, then sends a byte every 50 ms.
async fn dripping(answer: &'static str) -> Server {
    Server::start(move |mut conn, _, _| async move {
        conn.head().await;
        conn.send(answer).await;
        while tokio::io::AsyncWriteExt::write_all(&mut conn.stream, b"x")
            .await
            .is_ok()
        {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_tunnel_may_be_silent() {
    let server = tunnel().await;
    let switch = start(&rules(&server, "limits = { idle_timeout = \"300ms\" }", ""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client.send(UPGRADE).await;
    client.head().await.unwrap();
    sleep(LONG).await;
    client.send("y").await;
    assert_eq!(client.exactly(1).await, b"y");
}

#[tokio::test]
async fn a_tunnel_ends_with_its_own_time() {
    let server = tunnel().await;
    for (service, route) in [
        ("limits = { tunnel_timeout = \"300ms\" }", ""),
        ("", "tunnel_timeout = \"300ms\""),
        (
            "limits = { tunnel_timeout = \"1h\" }",
            "tunnel_timeout = \"300ms\"",
        ),
    ] {
        let switch = start(&rules(&server, service, route));
        let mut client = Raw::connect(address(&switch, "web")).await;
        client.send(UPGRADE).await;
        client.head().await.unwrap();
        assert!(client.ended().await, "{service} {route}");
    }
}

#[tokio::test]
async fn an_exchange_ends_with_its_own_time() {
    let route = "request_timeout = \"400ms\"";
    // Before the response.
    let silent = Server::start(|mut conn, _, _| async move {
        conn.head().await;
        sleep(Duration::from_secs(60)).await;
    })
    .await;
    let switch = start(&rules(&silent, "", route));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.response().await.0, 504);
    // Within it, though something comes all the time.
    let server = dripping("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").await;
    let switch = start(&rules(&server, "", route));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    client.head().await.unwrap();
    let content = client.rest().await;
    assert!(content.is_err() || content.unwrap().len() < 100);
    // Within the request, though something comes all the time.
    let server = Server::start(|mut conn, _, _| async move {
        let _ = conn.rest().await;
    })
    .await;
    let switch = start(&rules(&server, "", route));
    let mut client = Raw::connect(address(&switch, "web")).await;
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        .await;
    let (mut reads, mut writes) = client.stream.split();
    let answer = async {
        let mut line = [0; 12];
        tokio::io::AsyncReadExt::read_exact(&mut reads, &mut line)
            .await
            .unwrap();
        line
    };
    let drip = async {
        while tokio::io::AsyncWriteExt::write_all(&mut writes, b"x")
            .await
            .is_ok()
        {
            sleep(Duration::from_millis(50)).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        line = crate::support::soon(answer) => assert_eq!(&line, b"HTTP/1.1 408"),
        () = drip => (),
    }
}

/// The time counts from each request anew, and for its route alone.
#[tokio::test]
async fn the_next_exchange_has_its_own_time() {
    let server = Server::saying("fine").await;
    let switch = start(&rules(&server, "", "request_timeout = \"500ms\""));
    let mut client = Raw::connect(address(&switch, "web")).await;
    for _ in 0..4 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(client.response().await.0, 200);
        sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test]
async fn a_route_has_its_own_silence() {
    let server = Server::echo().await;
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na";
    for (service, route, expected) in [
        ("", "idle_timeout = \"300ms\"", 408),
        (
            "limits = { idle_timeout = \"300ms\" }",
            "idle_timeout = \"1h\"",
            200,
        ),
    ] {
        let switch = start(&rules(&server, service, route));
        let mut client = Raw::connect(address(&switch, "web")).await;
        client.send(post).await;
        if expected == 200 {
            sleep(LONG).await;
            client.send("b").await;
        }
        assert_eq!(client.response().await.0, expected, "{service} {route}");
    }
}

/// Who is ejected, and how often each server was blamed.
fn blamed(switch: &l7switch::Switch) -> Vec<(u64, bool)> {
    let servers = l7switch::admin::servers(switch);
    let state = |s: &l7switch_admin_api::ServerStatus| {
        let is_up = s.state == l7switch_admin_api::ServerState::Up;
        (s.failures, !is_up)
    };
    servers.iter().map(state).collect()
}

/// Once the time of the exchange has passed, nobody else is asked, and nobody is blamed who had no time.
#[tokio::test]
async fn nobody_is_blamed_for_the_time_of_the_exchange() {
    let slow = || async {
        Server::start(|mut conn, _, seen| async move {
            while let Some(head) = conn.head().await {
                conn.body(&head).await;
                seen.lock().unwrap().push(head);
                sleep(Duration::from_millis(400)).await;
                conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    .await;
            }
        })
        .await
    };
    let servers = [slow().await, slow().await, slow().await];
    let list = servers.each_ref().map(|s| format!("\"{}\"", s.address));
    let switch = start(&format!(
        "[service.web]\nlisten = \"127.0.0.1:1\"\n\
         [[service.web.route]]\npool = \"p\"\nrequest_timeout = \"200ms\"\n\
         [pool.p]\nservers = [{}]\npassive = {{ failures = 1 }}\n\
         retries = {{ attempts = 2, on = [\"connect\", \"timeout\"] }}\n",
        list.join(", ")
    ));
    let mut client = Raw::connect(address(&switch, "web")).await;
    for _ in 0..3 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let (status, _, body) = client.response().await;
        assert_eq!(status, 504);
        let body = String::from_utf8(body).unwrap();
        assert!(body.contains("longer than it may"), "{body}");
    }
    assert_eq!(servers.iter().map(|s| s.heads().len()).sum::<usize>(), 3);
    assert_eq!(blamed(&switch), [(0, false); 3]);
    let status = l7switch::admin::status(&switch);
    assert_eq!(status.services["web"].refused["request_timeout"], 3);
}

/// One that takes no connection uses up the time; the others are not asked with none left.
#[tokio::test]
async fn who_had_no_time_is_not_asked() {
    // A listener whose queue is full takes no further connection.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    full.bind(&any.into()).unwrap();
    full.listen(0).unwrap();
    let dead = full.local_addr().unwrap().as_socket().unwrap();
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let stream = tokio::time::timeout(
            Duration::from_millis(100),
            tokio::net::TcpStream::connect(dead),
        );
        waiting.push(stream.await);
    }
    let server = Server::saying("fine").await;
    let switch = start(&format!(
        "[service.web]\nlisten = \"127.0.0.1:1\"\n\
         [[service.web.route]]\npool = \"p\"\nrequest_timeout = \"300ms\"\n\
         [pool.p]\nscheduler = \"rr\"\nservers = [\"{dead}\", \"{}\"]\npassive = {{ failures = 2 }}\n",
        server.address
    ));
    let mut client = Raw::connect(address(&switch, "web")).await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        client
            .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na")
            .await;
        seen.push(client.response().await.0);
    }
    let answered = seen.iter().filter(|status| **status == 200).count();
    assert!(answered >= 2 && seen.contains(&504), "{seen:?}");
    assert_eq!(server.heads().len(), answered, "{seen:?}");
    // The one that had all of the time is blamed, and nobody else.
    let blamed = blamed(&switch);
    assert!(
        blamed.iter().filter(|(failures, _)| *failures > 0).count() <= 1,
        "{blamed:?}"
    );
    let served = l7switch::admin::servers(&switch);
    let served = served
        .iter()
        .find(|s| s.address == server.address.to_string());
    assert_eq!(served.unwrap().failures, 0);
}

/// The time in the queue is part of the exchange's.
#[tokio::test]
async fn who_waits_for_too_long_gets_504() {
    let server = Server::start(|mut conn, _, seen| async move {
        while let Some(head) = conn.head().await {
            seen.lock().unwrap().push(head);
            sleep(Duration::from_secs(60)).await;
        }
    })
    .await;
    let switch = start(&format!(
        "[service.web]\nlisten = \"127.0.0.1:1\"\n\
         [[service.web.route]]\npath = {{ prefix = \"/short\" }}\npool = \"p\"\nrequest_timeout = \"200ms\"\n\
         [[service.web.route]]\npool = \"p\"\n\
         [pool.p]\nservers = \"{}\"\nmax_connections = 1\nqueue = {{ length = 9, timeout = \"1h\" }}\n",
        server.address
    ));
    let mut first = Raw::connect(address(&switch, "web")).await;
    first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    crate::support::until(|| server.heads().len() == 1).await;
    let mut second = Raw::connect(address(&switch, "web")).await;
    second.send("GET /short HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(second.response().await.0, 504);
    let status = l7switch::admin::status(&switch);
    assert_eq!(status.services["web"].refused["request_timeout"], 1);
}
