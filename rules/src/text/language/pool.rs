// SPDX-License-Identifier: MIT
//! Pools of real servers, as types.

use schemars::JsonSchema;

use super::CertificateText;
use super::wanted;
use crate::text::address::ServerAddress;
use crate::text::choice::*;
use crate::text::quantity::*;
use crate::text::read::Node;
use crate::text::read::Read;
use crate::text::read::Reader;
use crate::text::source::At;
use crate::text::value::*;

tables! {
    /// A pool of real servers.
    PoolText {
        /// How a server is chosen: a scheduler's name or a table; default: wlc.
        scheduler: SchedulerChoice,
        /// Forwarding method of the kernel's data path: nat (default) or fullnat.
        forward: ForwardWord,
        /// PROXY header that connections to the servers begin with: v1 or v2; default: none.
        send_proxy: SendProxyWord,
        /// HTTP towards the servers: http1 (default), http2, or auto (http2 if the server offers it by ALPN).
        protocol: At<ServerProtocolWord>,
        /// TLS towards the servers: true, or a table; default: false.
        tls: At<ServerTlsChoice>,
        /// Real servers.
        servers: At<OneOrMany<At<ServerChoice>>>,
        /// Whether all servers are drained: they get no new requests; default: false.
        drain: bool,
        /// Pool that takes the requests while no server of this one is available; default: none.
        fallback: At<String>,
        /// Active checks; default: none.
        health: At<HealthText>,
        /// Passive checks.
        passive: PassiveText,
        /// Time for a connection to a server; default: 2s.
        connect_timeout: Time,
        /// Time for the response to begin; default: 60s.
        response_timeout: Time,
        /// Other servers tried when one cannot be reached, or a table that says when and how often; default: 2.
        retries: At<RetriesChoice>,
        /// Requests (connections, for tls and tcp services) that each server has at a time, at most; default: no bound.
        max_connections: At<i64>,
        /// Who may wait while all servers have as many as they may.
        queue: At<QueueText>,
        /// How long the weight of a server that comes up rises to its value; default: it has it at once.
        slow_start: At<Time>,
        /// Idle connections kept per server; default: 128.
        keepalive: At<i64>,
        /// How long an idle connection is kept; default: 30s.
        keepalive_timeout: Time,
    }

    /// The queue of a pool whose servers have a bound.
    QueueText {
        /// Requests that may wait; default: 1024.
        length: At<i64>,
        /// How long each may; default: 5s.
        timeout: Time,
    }

    /// When requests are sent to another server.
    RetriesText {
        /// Other servers tried; default: 2.
        attempts: At<i64>,
        /// After what: connect, reset, timeout, and statuses such as 503; default: connect and reset.
        on: At<OneOrMany<At<RetryChoice>>>,
        /// Methods of requests that may be sent again after they may have reached a server; default: the idempotent ones.
        methods: At<OneOrMany<At<String>>>,
        /// Longest content of a request that is sent again after it may have reached a server; default: 64KiB.
        body_limit: At<Size>,
        /// Requests that may be sent again at a time, in percent of those that the pool has, and at least 3; default: 20.
        budget: At<i64>,
    }

    /// TLS towards servers.
    ServerTlsText {
        /// PEM file of the authorities that are believed, relative to the rule file; default: those of the system.
        ca: At<String>,
        /// Name that the servers' certificates must have, also sent as server name; default: each server's name or address.
        server_name: At<String>,
        /// Whether certificates are verified; default: true.
        verify: At<bool>,
        /// Certificate that the switch shows the servers; default: none.
        certificate: At<CertificateText>,
    }

    /// A scheduler with its settings.
    SchedulerText {
        /// Which scheduler.
        name: At<SchedulerWord>,
        /// What is hashed by sh, mh and ch; default: the source.
        key: At<KeyChoice>,
        /// ch: no server gets more than this many percent of its fair share; default: 125, 0: no bound.
        load: At<i64>,
    }

    /// A header field or cookie as a key: exactly one of these.
    KeyText {
        /// Name of a header field.
        header: At<String>,
        /// Name of a cookie.
        cookie: At<String>,
    }

    /// A real server with its weight.
    ServerText {
        /// Address or host name, and port; or srv: and the name of SRV records; or unix: and the path of a socket.
        address: At<ServerAddress>,
        /// Weight, 0 to 65535; default: 1.
        weight: At<i64>,
        /// Which addresses of a host name are servers: all (default), or one, the first.
        resolve: At<ResolveWord>,
        /// Whether it gets requests only while no other server of the pool is available; default: false.
        backup: bool,
        /// Whether it gets no new requests, while those that it has finish; default: false.
        drain: bool,
        /// Port that active checks try; default: the pool's health.port, or the server's own.
        health_port: At<i64>,
        /// Requests that it has at a time, at most; default: the pool's max_connections.
        max_connections: At<i64>,
    }

    /// Active checks: http, tcp or grpc.
    HealthText {
        /// Path of a request that must be answered.
        http: At<String>,
        /// Whether an accepted connection is enough.
        tcp: bool,
        /// Name of a gRPC service that must be serving, by grpc.health.v1; empty: the server as a whole.
        grpc: At<String>,
        /// Port that is tried; default: the server's own.
        port: At<i64>,
        /// Method of the request; default: GET.
        method: At<String>,
        /// Host field of the request; default: the server's name or address, with its port.
        host: At<String>,
        /// Further header fields of the request.
        headers: At<Entries<At<String>>>,
        /// Text, or { regex = "…" }, that is found in the first 64 KiB of a healthy server's response.
        body: At<BodyChoice>,
        /// Status, or range such as "200-399", of a healthy server; default: 200-399.
        status: At<StatusChoice>,
        /// Time between two checks; default: 2s.
        interval: Time,
        /// Time for a check; default: 1s.
        timeout: Time,
        /// Successes in a row that bring a server up; default: 2.
        rise: At<i64>,
        /// Failures in a row that take it down; default: 3.
        fall: At<i64>,
    }

    /// A regular expression.
    RegexText {
        /// The expression.
        regex: At<String>,
    }

    /// Passive checks: what clients' requests show.
    PassiveText {
        /// Failures in a row after which a server is ejected; default: 3; 0: never.
        failures: At<i64>,
        /// How long it is ejected; default: 10s.
        eject: Time,
    }
}
