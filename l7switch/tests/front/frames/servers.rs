// SPDX-License-Identifier: MIT
//! HTTP/2 towards servers, frame by frame: how many streams they get before their SETTINGS have come, and what comes of those that
//! they refuse (RFC 9113, 5.1.2, 6.8 and 8.7).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use l7switch::Switch;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::sync::mpsc::UnboundedSender;

use super::wire::ACK;
use super::wire::GOAWAY;
use super::wire::HEADERS;
use super::wire::REFUSED_STREAM;
use super::wire::SETTINGS;
use super::wire::WHOLE;
use super::wire::frame;
use super::wire::reset;
use super::wire::setting;
use crate::support::Raw;
use crate::support::address;
use crate::support::simple;
use crate::support::start;
use crate::support::until;

/// SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113, 6.5.2).
const MAX_CONCURRENT_STREAMS: u16 = 3;

const HTTP2: &str = "protocol = \"http2\"";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// What a server does with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    /// It answers 200 after a while.
    Answer,
    Refuse,
    /// It ends the connection, and says that it has not seen the stream.
    Leave,
}

/// A stream that a server got.
#[derive(Clone, Copy, Debug)]
struct Got {
    /// The connection, from 0.
    connection: usize,
    /// Streams that are open on it, with this one.
    open: usize,
    /// Whether the server had sent its SETTINGS.
    is_settled: bool,
}

/// A server that sends its SETTINGS late.
struct Server {
    address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Server {
    async fn start(late: Duration, does: impl Fn(Got) -> Does + Send + Sync + 'static) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: socket.local_addr().unwrap(),
            got: Arc::default(),
        };
        let (got, does) = (Arc::clone(&server.got), Arc::new(does));
        tokio::spawn(async move {
            for number in 0.. {
                let (stream, _) = socket.accept().await.unwrap();
                tokio::spawn(serve(stream, number, late, Arc::clone(&got), {
                    let does = Arc::clone(&does);
                    move |got| does(got)
                }));
            }
        });
        server
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    fn connections(&self) -> usize {
        let got = self.got();
        got.iter().map(|got| got.connection + 1).max().unwrap_or(0)
    }
}

/// Sends what comes later.
fn later(send: &UnboundedSender<Vec<u8>>, after: Duration, bytes: Vec<u8>) {
    let send = send.clone();
    tokio::spawn(async move {
        tokio::time::sleep(after).await;
        let _ = send.send(bytes);
    });
}

async fn serve(
    stream: TcpStream,
    connection: usize,
    late: Duration,
    all: Arc<Mutex<Vec<Got>>>,
    does: impl Fn(Got) -> Does,
) {
    const WHILE: Duration = Duration::from_millis(50);
    let (mut reader, mut writer) = stream.into_split();
    let (send, mut sends) = mpsc::unbounded_channel::<Vec<u8>>();
    let open = Arc::<Mutex<Vec<u32>>>::default();
    let is_settled = Arc::<Mutex<bool>>::default();
    let (ending, settling) = (Arc::clone(&open), Arc::clone(&is_settled));
    tokio::spawn(async move {
        while let Some(bytes) = sends.recv().await {
            let stream = u32::from_be_bytes(bytes[5..9].try_into().unwrap());
            ending.lock().unwrap().retain(|open| *open != stream);
            *settling.lock().unwrap() |= bytes[3] == SETTINGS;
            if writer.write_all(&bytes).await.is_err() || bytes[3] == GOAWAY {
                return;
            }
        }
    });
    later(&send, late, setting(MAX_CONCURRENT_STREAMS, 100));
    let mut preface = [0; 24];
    reader.read_exact(&mut preface).await.unwrap();
    let mut head = [0; 9];
    while reader.read_exact(&mut head).await.is_ok() {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        reader.read_exact(&mut payload).await.unwrap();
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
        if head[3] == SETTINGS && head[4] & ACK == 0 {
            later(&send, late, frame(SETTINGS, ACK, 0, b""));
        }
        if head[3] != HEADERS {
            continue;
        }
        let got = {
            let mut open = open.lock().unwrap();
            open.push(stream);
            Got {
                connection,
                open: open.len(),
                is_settled: *is_settled.lock().unwrap(),
            }
        };
        all.lock().unwrap().push(got);
        // Behind the SETTINGS, which come first (RFC 9113, 3.4).
        let behind = if got.is_settled { Duration::ZERO } else { late };
        match does(got) {
            Does::Answer => later(&send, behind + WHILE, {
                frame(HEADERS, WHOLE, stream, &[0x88])
            }),
            Does::Refuse => later(&send, behind, reset(stream, REFUSED_STREAM)),
            Does::Leave => later(&send, behind, frame(GOAWAY, 0, 0, &[0; 8])),
        }
    }
}

async fn clients(switch: &Switch, count: usize) -> Vec<u16> {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = Raw::connect(address(switch, "web")).await;
        client.send(GET).await;
        clients.push(client);
    }
    let mut statuses = Vec::new();
    for mut client in clients {
        statuses.push(client.response().await.0);
    }
    statuses
}

/// How many requests `web` refused as those that a server had refused.
fn refused(switch: &Switch) -> u64 {
    let status = l7switch::admin::status(switch);
    let refused = &status.services["web"].refused;
    refused.get("stream_refused").copied().unwrap_or(0)
}

#[tokio::test]
async fn one_stream_is_opened_before_the_settings_have_come() {
    let late = Duration::from_millis(400);
    let server = Server::start(late, |_| Does::Answer).await;
    let switch = start(&simple(&[server.address], "", HTTP2));
    assert_eq!(clients(&switch, 30).await, [200; 30]);
    let got = server.got();
    let early = got.iter().filter(|got| !got.is_settled).count();
    assert_eq!((early, server.connections()), (1, 1), "{got:?}");
}

/// More requests come than the server takes at a time, whatever its SETTINGS say.
#[tokio::test]
async fn what_a_connection_refuses_another_one_takes() {
    let server = Server::start(Duration::ZERO, |got| match got.open {
        0..=3 => Does::Answer,
        _ => Does::Refuse,
    })
    .await;
    let switch = start(&simple(&[server.address], "", HTTP2));
    // The connection is there, and its SETTINGS.
    assert_eq!(clients(&switch, 1).await, [200]);
    assert_eq!(clients(&switch, 12).await, [200; 12]);
    assert_eq!(refused(&switch), 0);
}

#[tokio::test]
async fn a_server_that_refuses_every_stream_is_asked_as_often_as_retries_says() {
    for retries in [0, 1, 4] {
        let server = Server::start(Duration::ZERO, |_| Does::Refuse).await;
        let pool = format!("{HTTP2}\nretries = {retries}");
        let switch = start(&simple(&[server.address], "", &pool));
        assert_eq!(clients(&switch, 1).await, [502]);
        assert_eq!(refused(&switch), 1);
        assert_eq!(server.got().len(), retries + 1);
        // A connection on which nothing is taken is not asked again.
        assert_eq!(server.connections(), retries + 1);
        let pool = l7switch::admin::status(&switch).pools["p"];
        assert_eq!(pool.retries, u64::try_from(retries).unwrap());
    }
}

/// Also content that has come in pieces, and of any method: the server has seen nothing of it.
#[tokio::test]
async fn what_a_server_has_not_seen_another_one_takes() {
    for does in [Does::Refuse, Does::Leave] {
        let server = Server::start(Duration::ZERO, move |_| does).await;
        let other = Server::start(Duration::ZERO, |_| Does::Answer).await;
        let pool = format!("{HTTP2}\nscheduler = \"rr\"\npassive = {{ failures = 0 }}");
        let switch = start(&simple(&[server.address, other.address], "", &pool));
        for _ in 0..2 {
            let mut client = Raw::connect(address(&switch, "web")).await;
            client
                .send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
                .await;
            for _ in 0..4 {
                client.send(vec![b'x'; 25_000]).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert_eq!(client.response().await.0, 200, "{does:?}");
        }
        assert!(!server.got().is_empty());
        assert_eq!((other.got().len(), refused(&switch)), (2, 0));
    }
}

/// A connection that ends says so to many that come at the same time: all are sent again, on another one.
#[tokio::test]
async fn a_server_that_ends_its_connections_fails_nobody() {
    let server = Server::start(Duration::ZERO, |got| match got.connection {
        0..=4 => Does::Leave,
        _ => Does::Answer,
    })
    .await;
    let switch = start(&simple(&[server.address], "", HTTP2));
    assert_eq!(clients(&switch, 20).await, [200; 20]);
    // One that does it for ever does not keep its clients for ever.
    let server = Server::start(Duration::ZERO, |_| Does::Leave).await;
    let switch = start(&simple(&[server.address], "", HTTP2));
    assert_eq!(clients(&switch, 1).await, [502]);
    assert_eq!(refused(&switch), 1);
}

/// A pool that may have the requests of another gets what that one's servers have refused.
#[tokio::test]
async fn what_a_pool_refuses_its_fallback_takes() {
    let server = Server::start(Duration::ZERO, |_| Does::Refuse).await;
    let other = Server::start(Duration::ZERO, |_| Does::Answer).await;
    let fallback = format!(
        "{HTTP2}\nfallback = \"q\"\n[pool.q]\nservers = [\"{}\"]\n{HTTP2}",
        other.address
    );
    let switch = start(&simple(&[server.address], "", &fallback));
    assert_eq!(clients(&switch, 1).await, [200]);
    until(|| other.got().len() == 1).await;
}
