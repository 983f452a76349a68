// SPDX-License-Identifier: MIT
//! The trace of one request.

use std::time::Instant;

use super::context::Context;
use crate::observe::access_log::Line;
use crate::observe::reason::Reason;

/// Longest text of a client's that a span has, bytes: so many of them may wait.
const LONGEST: usize = 1024;

/// What a request says of the trace to which it belongs.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// `traceparent`.
    pub context: Context,
    /// `tracestate`, its lines joined.
    pub state: &'a [u8],
    /// Whether who says so is believed that the trace is recorded.
    pub is_trusted: bool,
}

/// The trace of a request in progress.
#[derive(Debug)]
pub struct Trace {
    /// The switch's own span. Where nothing is recorded, the client's.
    context: Context,
    /// The client's span.
    parent: Option<u64>,
    state: String,
    attempts: Vec<Attempt>,
}

/// An attempt at a real server.
#[derive(Debug)]
pub struct Attempt {
    /// Its span.
    pub context: Context,
    /// The pool.
    pub pool: String,
    /// The server's address.
    pub server: String,
    /// When it was chosen.
    pub began: Instant,
    /// When it was over.
    pub ended: Option<Instant>,
    /// The status of its response.
    pub status: Option<u16>,
    /// Why it has failed: a [reason](Reason).
    pub error: Option<&'static str>,
}

impl Trace {
    /// A trace that begins here.
    pub fn new(is_sampled: bool) -> Self {
        Self {
            context: Context::new(is_sampled),
            parent: None,
            state: String::new(),
            attempts: Vec::new(),
        }
    }

    /// One that a client has begun. What is not recorded goes on as if the switch were not there.
    pub fn of(told: &Told<'_>, is_sampled: bool) -> Self {
        let state = match is_sampled && told.state.len() <= LONGEST {
            true => std::str::from_utf8(told.state).unwrap_or_default(),
            false => "",
        };
        Self {
            context: match is_sampled {
                true => told.context.child(),
                false => told.context.unsampled(),
            },
            parent: Some(told.context.span()),
            state: state.to_owned(),
            attempts: Vec::new(),
        }
    }

    /// The switch's own span.
    pub const fn context(&self) -> Context {
        self.context
    }

    /// Whether the client has begun it.
    pub const fn is_continued(&self) -> bool {
        self.parent.is_some()
    }

    /// The client's span.
    pub const fn parent(&self) -> Option<u64> {
        self.parent
    }

    /// `tracestate`; empty: none.
    pub fn state(&self) -> &str {
        &self.state
    }

    /// The attempts so far.
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    /// Whether it is recorded.
    pub const fn is_sampled(&self) -> bool {
        self.context.is_sampled()
    }

    /// A server of a pool is tried. Gives what it is told.
    pub fn tries(&mut self, pool: &str, server: impl FnOnce() -> String) -> Context {
        if !self.is_sampled() {
            return self.context;
        }
        let context = self.context.child();
        self.attempts.push(Attempt {
            context,
            pool: pool.to_owned(),
            server: server(),
            began: Instant::now(),
            ended: None,
            status: None,
            error: None,
        });
        context
    }

    /// The server that was tried last has answered.
    pub fn answered(&mut self, status: u16) {
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.status = Some(status);
        }
    }

    /// The last attempt is over. One that nobody has answered has failed for this reason.
    pub fn failed(&mut self, reason: Reason) {
        if let Some(attempt) = self.open() {
            attempt.ended = Some(Instant::now());
            attempt.error = attempt.status.is_none().then_some(reason.as_str());
        }
    }

    /// The exchange is over, and with it the last attempt.
    pub(super) fn close(&mut self, reason: Option<&'static str>) {
        if let Some(attempt) = self.open() {
            attempt.ended = Some(Instant::now());
            attempt.error = reason;
        }
    }

    fn open(&mut self) -> Option<&mut Attempt> {
        let last = self.attempts.last_mut();
        last.filter(|attempt| attempt.ended.is_none())
    }
}

/// A request that is over.
#[derive(Debug)]
pub struct Finished {
    /// Its trace.
    pub trace: Box<Trace>,
    /// What is known of it.
    pub line: Box<Line>,
    /// When it had come.
    pub began: Instant,
}

impl Finished {
    /// Leaves out what spans do not say, and the ends of long texts.
    pub(super) fn cut(&mut self) {
        let line = &mut self.line;
        (line.user, line.referrer, line.request_id) = Default::default();
        (line.server_name, line.trace_id) = Default::default();
        // Queries have what others must not read: passwords, tokens.
        let path = line.path.find('?').unwrap_or(line.path.len());
        line.path.truncate(path);
        for text in [
            &mut line.path,
            &mut line.method,
            &mut line.host,
            &mut line.user_agent,
        ] {
            if text.len() > LONGEST {
                let end = (0..=LONGEST).rfind(|&end| text.is_char_boundary(end));
                text.truncate(end.unwrap_or_default());
                text.shrink_to_fit();
            }
        }
    }

    /// How many spans it has.
    pub(super) fn spans(&self) -> u64 {
        let attempts = u64::try_from(self.trace.attempts.len());
        attempts.unwrap_or(u64::MAX).saturating_add(1)
    }
}
