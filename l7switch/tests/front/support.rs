// SPDX-License-Identifier: MIT
//! A switch in process, clients and servers over raw sockets.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use l7switch::Options;
use l7switch::Switch;
use l7switch::observe::exposition::Format;
use l7switch_rules::RuleSet;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::net::UnixListener;

/// Longer than anything here may take; what passes it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// Fails the test where `future` does not end.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("this hangs")
}

/// Waits until a condition holds.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    soon(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A switch with these rules.
pub(crate) fn start(rules: &str) -> Arc<Switch> {
    start_with(rules, &Options::default())
}

pub(crate) fn start_with(rules: &str, options: &Options) -> Arc<Switch> {
    let rules = load(rules);
    Switch::start(rules, None, options).unwrap()
}

/// Rules from a text. The language knows no port 0: port 1 stands for it.
pub(crate) fn load(text: &str) -> RuleSet {
    let mut rules = match l7switch_rules::load_text("test.toml", text) {
        Ok(rules) => rules,
        Err(report) => panic!("{}", report.render(false)),
    };
    for address in rules
        .model
        .services
        .iter_mut()
        .flat_map(|service| &mut service.listen)
    {
        if address.port() == 1 {
            address.set_port(0);
        }
    }
    rules
}

/// The text of rules, with an address that is free in place of port 1: for rule files.
pub(crate) async fn placed(text: &str) -> String {
    // Its own loopback address: nobody else binds there between now and then.
    let port = closed_port().await.port();
    text.replace(
        "127.0.0.1:1\"",
        &format!("127.77.{}.{}:{port}\"", port >> 8, port & 255),
    )
}

/// Rules with one service `web` before one pool `p`; `service` and `pool` are further lines of
/// them.
pub(crate) fn simple(servers: &[SocketAddr], service: &str, pool: &str) -> String {
    let servers: Vec<String> = servers.iter().map(|s| format!("\"{s}\"")).collect();
    format!(
        "[service.web]\nlisten = \"127.0.0.1:1\"\nprotocol = \"http\"\n{service}\n\
         [[service.web.route]]\npool = \"p\"\n\
         [pool.p]\nservers = [{}]\n{pool}\n",
        servers.join(", ")
    )
}

/// The address of a service's first listener.
pub(crate) fn address(switch: &Switch, service: &str) -> SocketAddr {
    switch.bound()[service][0]
}

/// A connection, as client or as server.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

impl Raw {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }

    /// A connection that may be none of TCP.
    fn over(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::new(soon(TcpStream::connect(address)).await.unwrap())
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Reads more; false at the end.
    async fn more(&mut self) -> std::io::Result<bool> {
        Ok(soon(self.stream.read_buf(&mut self.buffer)).await? > 0)
    }

    /// The next head, with its empty line; `None` where the connection ended before it.
    pub(crate) async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                return Some(String::from_utf8(head).unwrap());
            }
            if !self.more().await.ok()? {
                assert!(
                    self.buffer.is_empty(),
                    "cut: {:?}",
                    String::from_utf8_lossy(&self.buffer)
                );
                return None;
            }
        }
    }

    pub(crate) async fn exactly(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(self.more().await.unwrap(), "the connection ended");
        }
        self.buffer.drain(..count).collect()
    }

    /// Everything until the connection ends.
    pub(crate) async fn rest(&mut self) -> std::io::Result<Vec<u8>> {
        while self.more().await? {}
        Ok(std::mem::take(&mut self.buffer))
    }

    /// The body that a head announces, chunks taken apart, trailer section dropped.
    pub(crate) async fn body(&mut self, head: &str) -> Vec<u8> {
        if let Some(length) = field(head, "content-length") {
            return self.exactly(length.parse().unwrap()).await;
        }
        if field(head, "transfer-encoding").as_deref() == Some("chunked") {
            return self.chunks().await.0;
        }
        Vec::new()
    }

    /// A chunked body and its trailer section.
    pub(crate) async fn chunks(&mut self) -> (Vec<u8>, String) {
        let mut body = Vec::new();
        loop {
            let line = self.line().await;
            let size = line.split(';').next().unwrap().trim();
            let size = usize::from_str_radix(size, 16).unwrap();
            if size == 0 {
                break;
            }
            body.extend(self.exactly(size).await);
            assert_eq!(self.exactly(2).await, b"\r\n");
        }
        let mut trailers = String::new();
        loop {
            let line = self.line().await;
            if line == "\r\n" {
                return (body, trailers);
            }
            trailers.push_str(&line);
        }
    }

    pub(crate) async fn line(&mut self) -> String {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                return String::from_utf8(self.buffer.drain(..end + 2).collect()).unwrap();
            }
            assert!(self.more().await.unwrap(), "the connection ended");
        }
    }

    /// A response's status, head and body.
    pub(crate) async fn response(&mut self) -> (u16, String, Vec<u8>) {
        let head = self.head().await.expect("no response");
        let body = self.body(&head).await;
        (status(&head), head, body)
    }

    /// Whether the peer has ended the connection in order, with nothing more before.
    pub(crate) async fn ended(&mut self) -> bool {
        self.buffer.is_empty() && matches!(self.more().await, Ok(false))
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

pub(crate) fn status(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

/// The first field of a name in a head.
pub(crate) fn field(head: &str, name: &str) -> Option<String> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found
            .eq_ignore_ascii_case(name)
            .then(|| value.trim().to_owned())
    })
}

/// A server that is a script.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// Heads of requests that it has read, in order, by those scripts that note them.
    pub(crate) seen: Arc<Mutex<Vec<String>>>,
    pub(crate) connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// A server that runs this script on each connection; the number counts them from 0.
    pub(crate) async fn start<F, Fut>(script: F) -> Self
    where
        F: Fn(Raw, usize, Arc<Mutex<Vec<String>>>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self::start_at("127.0.0.1:0", script).await
    }

    async fn start_at<F, Fut>(address: &str, script: F) -> Self
    where
        F: Fn(Raw, usize, Arc<Mutex<Vec<String>>>) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let socket = TcpListener::bind(address).await.unwrap();
        let address = socket.local_addr().unwrap();
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let connections = Arc::<AtomicUsize>::default();
        let task = tokio::spawn({
            let (seen, connections) = (Arc::clone(&seen), Arc::clone(&connections));
            async move {
                loop {
                    let (stream, _) = socket.accept().await.unwrap();
                    let number = connections.fetch_add(1, SeqCst);
                    tokio::spawn(script(Raw::new(stream), number, Arc::clone(&seen)));
                }
            }
        });
        Self {
            address,
            seen,
            connections,
            task,
        }
    }

    /// A server that answers every request with 200 and this text, and notes the heads.
    pub(crate) async fn saying(text: &'static str) -> Self {
        Self::saying_at("127.0.0.1:0", text).await
    }

    /// The same at this address.
    pub(crate) async fn saying_at(address: &str, text: &'static str) -> Self {
        Self::start_at(address, move |mut conn, _, seen| async move {
            while let Some(head) = conn.head().await {
                conn.body(&head).await;
                seen.lock().unwrap().push(head.clone());
                let body = if head.starts_with("HEAD ") { "" } else { text };
                let length = text.len();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
                if conn.stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        })
        .await
    }

    /// A server that answers with the request's body.
    pub(crate) async fn echo() -> Self {
        Self::start(|conn, _, seen| give_back(conn, seen)).await
    }

    /// The same on a Unix socket.
    pub(crate) async fn echo_at(path: &Path) -> Self {
        let socket = UnixListener::bind(path).unwrap();
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let connections = Arc::<AtomicUsize>::default();
        let task = tokio::spawn({
            let (seen, connections) = (Arc::clone(&seen), Arc::clone(&connections));
            async move {
                loop {
                    let stream = socket.accept().await.unwrap().0.into_std().unwrap();
                    connections.fetch_add(1, SeqCst);
                    // Read and written as any other stream socket.
                    let stream = std::net::TcpStream::from(OwnedFd::from(stream));
                    let stream = TcpStream::from_std(stream).unwrap();
                    tokio::spawn(give_back(Raw::over(stream), Arc::clone(&seen)));
                }
            }
        });
        Self {
            address: SocketAddr::from(([0; 4], 0)),
            seen,
            connections,
            task,
        }
    }

    pub(crate) fn heads(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn connection_count(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

/// Answers each request with its body.
async fn give_back(mut conn: Raw, seen: Arc<Mutex<Vec<String>>>) {
    while let Some(head) = conn.head().await {
        let body = conn.body(&head).await;
        seen.lock().unwrap().push(head);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        conn.send(head).await;
        conn.send(body).await;
    }
}

/// The metrics of a switch.
pub(crate) async fn metrics(switch: &Switch) -> String {
    l7switch::admin::metrics(switch, Format::Prometheus).await
}

/// An address on which nobody listens.
pub(crate) async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}

/// One request on a connection of its own.
pub(crate) async fn get(address: SocketAddr, target: &str) -> (u16, String, Vec<u8>) {
    let mut client = Raw::connect(address).await;
    client
        .send(format!(
            "GET {target} HTTP/1.1\r\nHost: test.example\r\nConnection: close\r\n\r\n"
        ))
        .await;
    client.response().await
}
