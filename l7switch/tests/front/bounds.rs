// SPDX-License-Identifier: MIT
//! Servers that have only so many requests at a time: who waits, for how long, and who is refused.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use l7switch::Switch;
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;

use crate::support::Raw;
use crate::support::Server;
use crate::support::address;
use crate::support::field;
use crate::support::get;
use crate::support::simple;
use crate::support::soon;
use crate::support::start;
use crate::support::until;

/// One request at a time, for which others wait longer than a test lasts.
const ONE: &str = "max_connections = 1\nqueue = { timeout = \"60s\" }";

/// A server that answers when it is let, and what it has seen of requests at a time.
struct Slow {
    server: Server,
    gate: Arc<Semaphore>,
    most: Arc<AtomicUsize>,
}

impl Slow {
    async fn start() -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let (now, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let script = {
            let (gate, most) = (Arc::clone(&gate), Arc::clone(&most));
            move |mut conn: Raw, _, seen: Arc<std::sync::Mutex<Vec<String>>>| {
                let (gate, now, most) = (Arc::clone(&gate), Arc::clone(&now), Arc::clone(&most));
                async move {
                    while let Some(head) = conn.head().await {
                        most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                        let target = head.split(' ').nth(1).unwrap().to_owned();
                        seen.lock().unwrap().push(target.clone());
                        gate.acquire().await.unwrap().forget();
                        now.fetch_sub(1, SeqCst);
                        conn.send(format!(
                            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}",
                            target.len()
                        ))
                        .await;
                    }
                }
            }
        };
        let server = Server::start(script).await;
        Self { server, gate, most }
    }

    /// Lets so many requests have their answers.
    fn let_pass(&self, count: usize) {
        self.gate.add_permits(count);
    }
}

/// Requests that wait.
fn queued(switch: &Switch) -> u64 {
    l7switch::admin::status(switch).pools["p"].queued
}

fn active(switch: &Switch) -> u64 {
    l7switch::admin::servers(switch)[0].active
}

fn refused(switch: &Switch, reason: &str) -> u64 {
    let status = l7switch::admin::status(switch);
    let refused = &status.services["web"].refused;
    refused.get(reason).copied().unwrap_or_default()
}

async fn ask(switch: &Switch, target: &str) -> Raw {
    let mut client = Raw::connect(address(switch, "web")).await;
    client
        .send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"))
        .await;
    client
}

#[tokio::test]
async fn requests_wait_in_order_for_a_server_that_is_full() {
    let slow = Slow::start().await;
    let switch = start(&simple(&[slow.server.address], "", "max_connections = 2"));
    let mut clients = Vec::new();
    for number in 0..6 {
        clients.push(ask(&switch, &format!("/{number}")).await);
        until(|| active(&switch) + queued(&switch) == number + 1).await;
    }
    assert_eq!((active(&switch), queued(&switch)), (2, 4));
    let metrics = crate::support::metrics(&switch).await;
    assert!(metrics.contains("l7switch_pool_queue_length{pool=\"p\"} 4\n"));
    let in_flight = format!(
        "l7switch_server_active{{pool=\"p\",server=\"{}\"}} 2\n",
        slow.server.address
    );
    assert!(metrics.contains(&in_flight), "{metrics}");
    for passed in 1..=4 {
        slow.let_pass(1);
        until(|| slow.server.heads().len() == 2 + passed).await;
    }
    slow.let_pass(2);
    for (number, client) in clients.iter_mut().enumerate() {
        let (code, _, body) = client.response().await;
        assert_eq!((code, body), (200, format!("/{number}").into_bytes()));
    }
    assert_eq!(
        slow.server.heads()[2..],
        ["/2", "/3", "/4", "/5"].map(str::to_owned)
    );
    assert_eq!(slow.most.load(SeqCst), 2);
    until(|| active(&switch) == 0).await;
    assert_eq!(queued(&switch), 0);
}

#[tokio::test]
async fn who_waits_for_too_long_is_told_so() {
    let slow = Slow::start().await;
    let pool = "max_connections = 1\nqueue = { length = 1, timeout = \"600ms\" }";
    let switch = start(&simple(&[slow.server.address], "", pool));
    let mut held = ask(&switch, "/held").await;
    until(|| active(&switch) == 1).await;
    let mut late = ask(&switch, "/late").await;
    until(|| queued(&switch) == 1).await;
    let (code, head, _) = get(address(&switch, "web"), "/full").await;
    assert_eq!(code, 503);
    assert_eq!(field(&head, "retry-after").as_deref(), Some("1"));
    assert_eq!(refused(&switch, "queue_full"), 1);
    let (code, head, _) = late.response().await;
    assert_eq!(code, 503);
    assert_eq!(field(&head, "retry-after").as_deref(), Some("1"));
    assert_eq!(refused(&switch, "queue_timeout"), 1);
    assert_eq!(queued(&switch), 0);
    // The connection goes on.
    late.send("GET /again HTTP/1.1\r\nHost: a\r\n\r\n").await;
    until(|| queued(&switch) == 1).await;
    slow.let_pass(2);
    assert_eq!(held.response().await.0, 200);
    assert_eq!(late.response().await.0, 200);
    assert_eq!(slow.server.heads(), ["/held", "/again"]);
}

#[tokio::test]
async fn a_client_that_leaves_waits_no_longer() {
    let slow = Slow::start().await;
    let switch = start(&simple(&[slow.server.address], "", ONE));
    let mut held = ask(&switch, "/held").await;
    until(|| active(&switch) == 1).await;
    let left = ask(&switch, "/left").await;
    until(|| queued(&switch) == 1).await;
    let mut stays = ask(&switch, "/stays").await;
    until(|| queued(&switch) == 2).await;
    socket2::SockRef::from(&left.stream)
        .set_linger(Some(std::time::Duration::ZERO))
        .unwrap();
    drop(left);
    until(|| queued(&switch) == 1).await;
    slow.let_pass(2);
    assert_eq!(held.response().await.0, 200);
    assert_eq!(stays.response().await.2, b"/stays");
    assert_eq!(slow.server.heads(), ["/held", "/stays"]);
}

/// One that has ended what it sends is most often one that was given up: a request of it that no server has is dropped, as by HAProxy
/// with `abortonclose`, whatever of it was not read yet.
#[tokio::test]
async fn a_client_that_sends_no_more_waits_no_longer() {
    let slow = Slow::start().await;
    let switch = start(&simple(&[slow.server.address], "", ONE));
    let mut held = ask(&switch, "/held").await;
    until(|| active(&switch) == 1).await;
    // A server has its request: it gets its response.
    held.stream.shutdown().await.unwrap();
    let mut left = ask(&switch, "/left").await;
    until(|| queued(&switch) == 1).await;
    let mut piped = ask(&switch, "/piped").await;
    piped.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut stays = ask(&switch, "/stays").await;
    until(|| queued(&switch) == 3).await;
    for (client, count) in [(&mut left, 2), (&mut piped, 1)] {
        client.stream.shutdown().await.unwrap();
        until(|| queued(&switch) == count).await;
        assert!(client.head().await.is_none(), "no response");
    }
    until(|| refused(&switch, "client_gone") == 2).await;
    slow.let_pass(2);
    assert_eq!(held.response().await.2, b"/held");
    assert_eq!(stays.response().await.2, b"/stays");
    assert_eq!(slow.server.heads(), ["/held", "/stays"]);
}

/// The same over TLS, whose end stands unread before TCP's.
#[tokio::test]
async fn a_client_that_ends_tls_waits_no_longer() {
    let slow = Slow::start().await;
    let folder = tempfile::tempdir().unwrap();
    let pair = crate::tls::certificate(&["one.example"]);
    let files = crate::tls::write(folder.path(), "one", &pair);
    let rules = crate::tls::https(slow.server.address, &[files]);
    let switch = start(&format!("{rules}\n{ONE}\n"));
    let config = crate::tls_clients::client(pair.cert.der(), None, &[&rustls::version::TLS13]);
    let mut clients = Vec::new();
    for number in 0..2 {
        let secure = address(&switch, "secure");
        let connected = crate::tls::connect(&config, secure, "one.example").await;
        let mut client = connected.unwrap();
        let request = b"GET / HTTP/1.1\r\nHost: one.example\r\n\r\n";
        client.write_all(request).await.unwrap();
        until(|| active(&switch) + queued(&switch) == number + 1).await;
        clients.push(client);
    }
    // close_notify, and FIN.
    clients[1].shutdown().await.unwrap();
    until(|| queued(&switch) == 0).await;
    assert_eq!(active(&switch), 1);
}

/// Of HTTP/2 also one request may leave, while its connection stays.
#[tokio::test]
async fn a_stream_that_is_reset_waits_no_longer() {
    let slow = Slow::start().await;
    let switch = start(&simple(&[slow.server.address], "", ONE));
    let stream = tokio::net::TcpStream::connect(address(&switch, "web"));
    let (mut client, connection) = h2::client::handshake(stream.await.unwrap()).await.unwrap();
    tokio::spawn(connection);
    let mut ask = |target: &str| {
        let request = http::Request::get(format!("http://a{target}"));
        let request = request.body(()).unwrap();
        client.send_request(request, true).unwrap().0
    };
    let held = ask("/held");
    until(|| active(&switch) == 1).await;
    let left = ask("/left");
    until(|| queued(&switch) == 1).await;
    let stays = ask("/stays");
    until(|| queued(&switch) == 2).await;
    drop(left);
    until(|| queued(&switch) == 1).await;
    slow.let_pass(2);
    assert_eq!(soon(held).await.unwrap().status(), 200);
    assert_eq!(soon(stays).await.unwrap().status(), 200);
    assert_eq!(slow.server.heads(), ["/held", "/stays"]);
}

/// A server's own bound is before the pool's; who is full is passed over while another has room, whatever the scheduler.
#[tokio::test]
async fn a_server_that_is_full_is_passed_over() {
    for scheduler in ["rr", "wrr", "wlc", "p2c", "sh", "mh", "ch", "fastest"] {
        let (small, large) = (Slow::start().await, Slow::start().await);
        let servers = format!(
            "\"{}\", {{ address = \"{}\", max_connections = 3 }}",
            small.server.address, large.server.address
        );
        let rules = simple(
            &[small.server.address],
            "",
            &format!("scheduler = \"{scheduler}\"\nmax_connections = 1\nqueue = {{ length = 0 }}"),
        );
        let rules = rules.replace(&format!("\"{}\"", small.server.address), &servers);
        let switch = start(&rules);
        let mut clients = Vec::new();
        for number in 0..4 {
            clients.push(ask(&switch, &format!("/{number}")).await);
            until(|| small.server.heads().len() + large.server.heads().len() == number + 1).await;
        }
        assert_eq!(large.server.heads().len(), 3, "{scheduler}");
        assert_eq!(
            get(address(&switch, "web"), "/").await.0,
            503,
            "{scheduler}"
        );
        small.let_pass(1);
        large.let_pass(3);
        for client in &mut clients {
            assert_eq!(client.response().await.0, 200, "{scheduler}");
        }
    }
}

/// Of what is no HTTP, connections count.
#[tokio::test]
async fn connections_of_a_tcp_service_wait_too() {
    let server = Server::echo().await;
    let pool = "max_connections = 1\nqueue = { length = 1, timeout = \"20s\" }";
    let rules = simple(&[server.address], "", pool);
    let switch = start(&rules.replace("protocol = \"http\"", "protocol = \"tcp\""));
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    let mut first = Raw::connect(address(&switch, "web")).await;
    first.send(request).await;
    assert_eq!(first.response().await.2, b"hi");
    let mut second = Raw::connect(address(&switch, "web")).await;
    second.send(request).await;
    until(|| queued(&switch) == 1).await;
    let mut third = Raw::connect(address(&switch, "web")).await;
    assert!(third.head().await.is_none());
    assert_eq!(refused(&switch, "queue_full"), 1);
    assert_eq!(server.connection_count(), 1);
    drop(first);
    assert_eq!(second.response().await.2, b"hi");
}

/// Many clients, few places: each is served, and the server never has more than it may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_forgotten_under_load() {
    let slow = Slow::start().await;
    let pool = "max_connections = 3\nqueue = { length = 1000, timeout = \"60s\" }";
    let switch = start(&simple(&[slow.server.address], "", pool));
    slow.let_pass(10_000);
    let web = address(&switch, "web");
    let clients: Vec<_> = (0..60)
        .map(|_| {
            tokio::spawn(async move {
                let mut client = Raw::connect(web).await;
                for _ in 0..20 {
                    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
                    assert_eq!(client.response().await.0, 200);
                }
            })
        })
        .collect();
    for client in clients {
        soon(client).await.unwrap();
    }
    assert!(slow.most.load(SeqCst) <= 3);
    assert_eq!(queued(&switch), 0);
}
