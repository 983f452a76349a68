// SPDX-License-Identifier: MIT
//! The record of one request and its response: what is counted and logged when it is over.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;
use std::time::SystemTime;

use http::StatusCode;
use l7switch_engine::table::Fields;

use crate::client::Client;
use crate::observe::access_log::Line;
use crate::observe::reason::Reason;
use crate::observe::spans::Context;
use crate::observe::spans::Trace;
use crate::observe::stats::RouteStats;
use crate::observe::stats::ServiceStats;
use crate::ruleset::generation::Core;
use crate::upstream::Observer;
use crate::upstream::RealServer;

/// The record of an exchange in progress. Dropped without [`Record::close`], the client has gone, or the switch has ended.
#[derive(Debug)]
pub struct Record {
    stats: Arc<ServiceStats>,
    /// The route by which the response is timed.
    route: Option<Arc<RouteStats>>,
    core: Arc<Core>,
    /// What is known of it; absent where there is neither a log nor a span of it.
    line: Option<Box<Line>>,
    /// Where the request stands in its trace; absent where nothing is traced.
    trace: Option<Box<Trace>>,
    began: Instant,
    first_byte: Option<f64>,
    status: Option<StatusCode>,
    bytes_out: u64,
    bytes_in: u64,
    refused: Option<Reason>,
    closed: bool,
}

impl Record {
    /// A client's request has come. `describe` fills in the rest of the line, if one is wanted.
    pub fn begin(
        client: &Client,
        trace: Option<Box<Trace>>,
        describe: impl FnOnce(&mut Line),
    ) -> Box<Self> {
        let (stats, core) = (Arc::clone(&client.stats), Arc::clone(&client.core));
        stats.requests.fetch_add(1, Relaxed);
        let is_sampled = trace.as_ref().is_some_and(|trace| trace.is_sampled());
        let line = (core.log.enabled() || is_sampled).then(|| {
            let mut line = Box::new(Line {
                client: crate::client::shown(client.peer),
                service: client.service.to_string(),
                ..Line::new(SystemTime::now())
            });
            if let Some(tls) = &client.tls {
                line.tls_version = tls.version;
                line.server_name.clone_from(&tls.server_name);
            }
            if let Some(trace) = &trace {
                line.trace_id = format!("{:032x}", trace.context().trace());
            }
            describe(&mut line);
            line
        });
        Box::new(Self {
            stats,
            route: None,
            core,
            line,
            trace,
            began: Instant::now(),
            first_byte: None,
            status: None,
            bytes_out: 0,
            bytes_in: 0,
            refused: None,
            closed: false,
        })
    }

    /// Adds what the line says of the request's header fields, if it says something of them.
    pub fn describe_fields<F: Fields + ?Sized>(&mut self, fields: &F) {
        let is_wanted = self.is_sampled() || self.core.log.reads_headers();
        let Some(line) = self.line.as_mut().filter(|_| is_wanted) else {
            return;
        };
        for (name, value) in fields.iter() {
            let place = if name.eq_ignore_ascii_case(b"user-agent") {
                &mut line.user_agent
            } else if name.eq_ignore_ascii_case(b"referer") {
                &mut line.referrer
            } else {
                continue;
            };
            *place = String::from_utf8_lossy(value).into_owned();
        }
    }

    /// Adds to the line, if one is wanted.
    pub fn describe(&mut self, describe: impl FnOnce(&mut Line)) {
        if let Some(line) = &mut self.line {
            describe(line);
        }
    }

    /// Where in its trace the request stands; `None`: nothing is traced.
    pub fn context(&self) -> Option<Context> {
        self.trace.as_ref().map(|trace| trace.context())
    }

    fn is_sampled(&self) -> bool {
        self.context().is_some_and(Context::is_sampled)
    }

    /// When the request had come.
    pub const fn began(&self) -> Instant {
        self.began
    }

    /// A route takes the request.
    pub fn routed(&mut self, route: &Arc<RouteStats>) {
        route.requests.fetch_add(1, Relaxed);
        self.route = Some(Arc::clone(route));
    }

    /// The connection becomes another protocol's: how long that lasts says nothing of the response.
    pub fn changed_protocol(&mut self) {
        self.route = None;
    }

    /// The response begins, at this time.
    pub fn responded(&mut self, status: StatusCode, now: Instant) {
        self.status = Some(status);
        let waited = now.saturating_duration_since(self.began);
        self.first_byte = Some(waited.as_secs_f64());
        self.stats.first_byte.observe(waited);
        if let Some(route) = &self.route {
            route.times.times().first_byte.observe(waited);
            route.responses.count(status.as_u16());
        }
        self.stats.responses.count(status.as_u16());
    }

    /// The switch answers with an error for this reason.
    pub fn refused(&mut self, reason: Reason) {
        self.refused = Some(reason);
        self.stats.refused(reason);
    }

    /// Content went to the client.
    pub fn sent(&mut self, bytes: u64) {
        self.bytes_out = self.bytes_out.saturating_add(bytes);
    }

    /// Content came from the client.
    pub fn received(&mut self, bytes: u64) {
        self.bytes_in = self.bytes_in.saturating_add(bytes);
    }

    /// The exchange is over: in order, or for this reason.
    pub fn close(&mut self, reason: Option<Reason>) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        self.stats.bytes_in.fetch_add(self.bytes_in, Relaxed);
        self.stats.bytes_out.fetch_add(self.bytes_out, Relaxed);
        if let Some(reason) = reason
            && self.refused.is_none()
        {
            self.stats.refused(reason);
        }
        let duration = self.began.elapsed();
        if let Some(route) = &self.route
            && self.status.is_some()
            && reason.is_none()
        {
            route.times.times().duration.observe(duration);
        }
        if let Some(line) = &mut self.line {
            line.status = self.status.map_or(0, |status| status.as_u16());
            line.bytes_in = self.bytes_in;
            line.bytes_out = self.bytes_out;
            line.duration = duration.as_secs_f64();
            line.first_byte = self.first_byte;
            line.end = self.refused.or(reason).map_or("ok", Reason::as_str);
            self.core.log.write(line);
        }
        if self.is_sampled()
            && let Some(spans) = &self.core.spans
            && let (Some(trace), Some(line)) = (self.trace.take(), self.line.take())
        {
            spans.finish(trace, line, self.began);
        }
    }
}

impl Observer for Record {
    fn tries(&mut self, server: &RealServer) -> Option<Context> {
        let address = || server.address().to_string();
        if let Some(line) = &mut self.line {
            line.tries(address());
        }
        let pool = self.line.as_ref().map_or("", |line| &line.pool);
        let trace = self.trace.as_mut()?;
        Some(trace.tries(pool, address))
    }

    fn answered(&mut self, status: u16) {
        if let Some(trace) = &mut self.trace {
            trace.answered(status);
        }
    }

    fn failed(&mut self, reason: Reason) {
        if let Some(trace) = &mut self.trace {
            trace.failed(reason);
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let why = match self.core.shutdown.is_over() {
            true => Reason::Draining,
            false => Reason::ClientGone,
        };
        self.close(Some(why));
    }
}
