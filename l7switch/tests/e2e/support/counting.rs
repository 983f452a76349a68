// SPDX-License-Identifier: MIT
//! Clients that go on asking in the background and count what they get.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::JoinHandle;

use super::process::run;
use super::raw::Raw;
use super::raw::Response;

/// Requests on a connection before the client takes another, so that both kept and new ones are seen.
const PER_CONNECTION: usize = 50;

/// What the clients got.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Responses by status and real server.
    pub(crate) answers: BTreeMap<(u16, String), u64>,
    /// Requests without a response, and why.
    pub(crate) failures: Vec<String>,
}

impl Tally {
    /// All but responses with 200: what a client would call an error.
    pub(crate) fn bad(&self) -> Vec<String> {
        let bad = self
            .answers
            .iter()
            .filter(|((status, _), _)| *status != 200);
        bad.map(|(answer, count)| format!("{answer:?} × {count}"))
            .chain(self.failures.iter().cloned())
            .collect()
    }

    /// The real servers that have answered with 200.
    pub(crate) fn servers(&self) -> Vec<&str> {
        let good = self.answers.keys().filter(|(status, _)| *status == 200);
        good.map(|(_, server)| server.as_str()).collect()
    }
}

/// Clients at work. They stop when they are asked to, or dropped.
#[derive(Debug)]
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
    tally: Arc<Mutex<Tally>>,
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.end();
    }
}

impl Clients {
    /// Starts clients that go on asking for `target`.
    pub(crate) fn start(count: usize, address: SocketAddr, target: &str) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let asked = Arc::<AtomicU64>::default();
        let tally = Arc::<Mutex<Tally>>::default();
        let threads = (0..count)
            .map(|_| {
                let (stop, asked, tally) =
                    (Arc::clone(&stop), Arc::clone(&asked), Arc::clone(&tally));
                let target = target.to_owned();
                std::thread::spawn(move || {
                    while !stop.load(SeqCst) {
                        connection(address, &target, &stop, &asked, &tally);
                    }
                })
            })
            .collect();
        let clients = Self {
            stop,
            asked,
            threads,
            tally,
        };
        clients.go_on(10);
        clients
    }

    /// Waits until this many more requests have been answered or have failed.
    #[track_caller]
    pub(crate) fn go_on(&self, more: u64) {
        let goal = self.asked.load(SeqCst) + more;
        super::until("the clients have asked more", || {
            self.asked.load(SeqCst) >= goal
        });
    }

    fn end(&mut self) {
        self.stop.store(true, SeqCst);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
    }

    /// Stops the clients and gives what they got.
    pub(crate) fn stop(mut self) -> Tally {
        self.end();
        self.tally.lock().unwrap().clone()
    }

    /// What they got since the last time this was asked.
    pub(crate) fn take(&self) -> Tally {
        std::mem::take(&mut *self.tally.lock().unwrap())
    }
}

/// Asks on one connection until it has asked often enough, an error, or the end.
fn connection(
    address: SocketAddr,
    target: &str,
    stop: &AtomicBool,
    asked: &AtomicU64,
    tally: &Mutex<Tally>,
) {
    let mut raw = match Raw::connect(address) {
        Ok(raw) => raw,
        Err(error) => {
            tally
                .lock()
                .unwrap()
                .failures
                .push(format!("connect: {error}"));
            asked.fetch_add(1, SeqCst);
            return;
        }
    };
    for number in 0..PER_CONNECTION {
        if stop.load(SeqCst) {
            return;
        }
        let result = raw.get(target);
        let last = match &result {
            Ok(response) => response.field("connection") == Some("close"),
            Err(_) => true,
        };
        note(&mut tally.lock().unwrap(), number, result);
        asked.fetch_add(1, SeqCst);
        if last {
            return;
        }
    }
}

fn note(tally: &mut Tally, number: usize, result: std::io::Result<Response>) {
    match result {
        Ok(response) => {
            let server = response.field("x-served-by").unwrap_or_default().to_owned();
            *tally.answers.entry((response.status, server)).or_default() += 1;
        }
        Err(error) => tally
            .failures
            .push(format!("request {number} of a connection: {error}")),
    }
}

/// Runs h2load to the end of its requests and gives (succeeded, not succeeded).
///
/// # Panics
///
/// Where it did not get to its end.
pub(crate) fn h2load(arguments: &[&str], requests: u64, url: &str) -> (u64, u64) {
    let count = requests.to_string();
    let mut all = vec!["-n", count.as_str()];
    all.extend(arguments);
    all.push(url);
    let out = run("h2load", "nghttp2-client", all);
    // requests: 10 total, 10 started, 10 done, 10 succeeded, 0 failed, 0 errored, 0 timeout
    let line = out
        .lines()
        .find(|line| line.starts_with("requests:"))
        .unwrap();
    let number = |what: &str| -> u64 {
        let part = line
            .split([',', ':'])
            .find(|part| part.ends_with(what))
            .unwrap();
        part.trim().split(' ').next().unwrap().parse().unwrap()
    };
    // What succeeded for h2load has a status below 400; let it be 200 here.
    let codes = out
        .lines()
        .find(|line| line.starts_with("status codes:"))
        .unwrap();
    let good = codes
        .split(':')
        .nth(1)
        .unwrap()
        .trim()
        .split(' ')
        .next()
        .unwrap();
    let good: u64 = good.parse().unwrap();
    assert_eq!(number("total"), requests, "{out}");
    (
        good.min(number("succeeded")),
        requests - good.min(number("succeeded")),
    )
}
