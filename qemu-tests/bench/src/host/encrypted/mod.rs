// SPDX-License-Identifier: MIT
//! TLS and HTTP/2 towards the client: what a handshake and a request take of the proxy's processor time.
//!
//! All speak TLS 1.3 with one cipher suite, one group and one certificate, and clear text to the real server. The client
//! insists on them.

mod configuration;
mod h2load;
mod handshakes;
mod stage;

use std::collections::BTreeMap;

pub(crate) use handshakes::Handshakes;

use l7switch_qemu_tests::error::Result;

use super::Contender;
use super::Plan;
use super::Programs;
use super::Stage;
use super::rates::Rates;
use super::rates::Sample;
use super::rates::WARM_UP;

/// The name in the certificate.
const NAME: &str = "www.bench.test";
/// The certificate's file, below a stage's folder.
const CERTIFICATE: &str = "certificate.pem";
/// Its key's.
const KEY: &str = "key.pem";
/// Both in one, as HAProxy wants it.
const BOTH: &str = "both.pem";
/// The file with the gRPC message that is sent.
const MESSAGE: &str = "message";

/// What the client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Load {
    /// New connections: all handshakes are full, or all are resumed.
    Handshakes { resumed: bool },
    /// Requests by HTTP/1.1, one at a time on a connection.
    Http1,
    /// Requests by HTTP/2.
    Http2,
    /// Unary calls; the real server speaks HTTP/2 too.
    Grpc,
}

/// A load.
#[derive(Debug)]
pub(super) struct Case {
    /// Its name in the record.
    pub(super) name: &'static str,
    /// What it is, for people.
    pub(super) about: &'static str,
    load: Load,
    /// What is asked for.
    path: &'static str,
    /// How many connections the client has at a time.
    connections: u32,
    /// How many requests at a time on each.
    streams: u32,
}

/// All cases.
pub(super) const CASES: [Case; 7] = [
    Case {
        name: "tls-handshake",
        about: "full handshakes, no request",
        load: Load::Handshakes { resumed: false },
        path: "small",
        connections: handshakes::CONNECTIONS,
        streams: 1,
    },
    Case {
        name: "tls-resumed",
        about: "resumed handshakes, each with a request for 128 bytes by HTTP/1.1",
        load: Load::Handshakes { resumed: true },
        path: "small",
        connections: handshakes::CONNECTIONS,
        streams: 1,
    },
    Case {
        name: "tls-keepalive-128B",
        about: "HTTP/1.1, answers of 128 bytes, 16 connections that stay",
        load: Load::Http1,
        path: "small",
        connections: 16,
        streams: 1,
    },
    Case {
        name: "tls-1MiB",
        about: "HTTP/1.1, answers of 1 MiB, 16 connections that stay",
        load: Load::Http1,
        path: "1m",
        connections: 16,
        streams: 1,
    },
    Case {
        name: "h2-keepalive-128B",
        about: "HTTP/2, answers of 128 bytes, 4 connections with 100 streams each",
        load: Load::Http2,
        path: "small",
        connections: 4,
        streams: 100,
    },
    Case {
        name: "h2-100KiB",
        about: "HTTP/2, answers of 100 KiB, 4 connections with 10 streams each",
        load: Load::Http2,
        path: "100k",
        connections: 4,
        streams: 10,
    },
    Case {
        name: "grpc-unary",
        about: "gRPC, 16 bytes and 16 bytes, 4 connections with 25 calls each; HTTP/2 to the real server",
        load: Load::Grpc,
        path: "bench.Echo/Unary.grpc",
        connections: 4,
        streams: 25,
    },
];

/// What a client has done.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Done {
    /// Requests or handshakes, all good.
    count: f64,
    seconds: f64,
}

/// Measures all proxies, in turn.
pub(super) fn measure(case: &'static Case, programs: &Programs, plan: Plan) -> Result<Rates> {
    let stage = Stage::encrypted(case, programs)?;
    let mut samples: BTreeMap<Contender, Vec<Sample>> = BTreeMap::new();
    for _ in 0..plan.rounds {
        for &contender in Contender::proxies() {
            let warm_up = stage.load(contender, WARM_UP, None)?;
            let before = stage.processor_time(contender)?;
            let done = stage.load(contender, plan.seconds, Some(warm_up))?;
            let time = stage.processor_time(contender)? - before;
            samples.entry(contender).or_default().push(Sample {
                rate: done.count / done.seconds,
                cost: 1e6 * time / done.count,
            });
        }
    }
    Ok(Rates {
        name: case.name,
        connections: case.connections,
        samples,
    })
}
