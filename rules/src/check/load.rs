// SPDX-License-Identifier: MIT
//! Checking how much servers get: bounds, queue, retries, slow start.

use std::time::Duration;

use super::Check;
use super::fields::is_token;
use super::pool::time;
use crate::model::*;
use crate::text::diagnostic::Diagnostic;
use crate::text::language::*;
use crate::text::quantity::Time;
use crate::text::source::At;
use crate::text::source::Span;

/// Methods that may be repeated (RFC 9110, 9.2.2).
const IDEMPOTENT: [&str; 6] = ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"];

/// Share of a pool's requests that may be repeated ones, percent, unless the rules say otherwise (Envoy's).
const BUDGET: u32 = 20;

/// Whether a scheduler looks at the weights for each request.
const fn follows_weights(kind: SchedulerKind) -> bool {
    match kind {
        SchedulerKind::Wrr
        | SchedulerKind::Wlc
        | SchedulerKind::Sed
        | SchedulerKind::Nq
        | SchedulerKind::P2c
        | SchedulerKind::Fastest => true,
        SchedulerKind::Rr
        | SchedulerKind::Lc
        | SchedulerKind::Sh
        | SchedulerKind::Mh
        | SchedulerKind::Ch => false,
    }
}

impl Check<'_> {
    /// Most requests of a server at a time.
    pub(super) fn bound(&mut self, given: Option<&At<i64>>) -> Option<u32> {
        given.and_then(|bound| self.number(bound, 1, 1_000_000))
    }

    pub(super) fn queue(&mut self, given: Option<&At<QueueText>>, is_bounded: bool) -> Queue {
        let default = Queue::default();
        let Some(At { value, span }) = given else {
            return default;
        };
        if !is_bounded {
            let message = "nobody waits for servers without a bound";
            self.note(
                Diagnostic::error("impossible", *span, message)
                    .help("add to the pool: max_connections = 100"),
            );
        }
        Queue {
            length: value
                .length
                .as_ref()
                .and_then(|length| self.number(length, 0, 1_000_000))
                .unwrap_or(default.length),
            timeout: time(value.timeout.as_ref(), default.timeout),
        }
    }

    pub(super) fn slow_start(
        &mut self,
        given: Option<&At<Time>>,
        kind: SchedulerKind,
    ) -> Option<Duration> {
        let At { value, span } = given?;
        if !follows_weights(kind) {
            let message = format!(
                "scheduler {} does not follow weights as they rise",
                kind.as_str()
            );
            self.note(
                Diagnostic::error("impossible", *span, message)
                    .help("use wrr, wlc, sed, nq, p2c or fastest"),
            );
        }
        (!value.0.is_zero()).then_some(value.0)
    }

    fn no_value(&mut self, span: Span, key: &str) {
        if !self.has_errors_in(span) {
            let message = format!("`{key}` is empty, so that no request would be sent again");
            self.note(
                Diagnostic::error("empty-list", span, message).help("remove it for the default"),
            );
        }
    }

    pub(super) fn retries(&mut self, given: Option<&At<RetriesChoice>>) -> Retries {
        let default = Retries::default();
        let text = match given.map(|given| (&given.value, given.span)) {
            None => return default,
            Some((RetriesChoice::Count(value), span)) => {
                let count = At {
                    value: *value,
                    span,
                };
                return Retries {
                    attempts: self.number(&count, 0, 100).unwrap_or(default.attempts),
                    rule: None,
                };
            }
            Some((RetriesChoice::Table(text), _)) => text,
        };
        let mut rule = RetryRule {
            connect: false,
            reset: false,
            timeout: false,
            statuses: Vec::new(),
            methods: Vec::new(),
            body_limit: self.kept_content(text.body_limit.as_ref()),
            budget: text
                .budget
                .as_ref()
                .and_then(|budget| self.number(budget, 1, 100))
                .unwrap_or(BUDGET),
        };
        match &text.on {
            None => (rule.connect, rule.reset) = (true, true),
            Some(on) => {
                if on.value.0.is_empty() {
                    self.no_value(on.span, "on");
                }
                for At { value, span } in &on.value.0 {
                    match value {
                        RetryChoice::Word(RetryWord::Connect) => rule.connect = true,
                        RetryChoice::Word(RetryWord::Reset) => rule.reset = true,
                        RetryChoice::Word(RetryWord::Timeout) => rule.timeout = true,
                        RetryChoice::Status(code) => match u16::try_from(*code) {
                            Ok(code) if (400..=599).contains(&code) => rule.statuses.push(code),
                            _ => {
                                let message = format!("{code} is no status of an error");
                                self.note(
                                    Diagnostic::error("bad-value", *span, message)
                                        .help("give a status from 400 to 599"),
                                );
                            }
                        },
                    }
                }
            }
        }
        match &text.methods {
            None => rule.methods.extend(IDEMPOTENT.map(str::to_owned)),
            Some(methods) => {
                if methods.value.0.is_empty() {
                    self.no_value(methods.span, "methods");
                }
                for method in &methods.value.0 {
                    if is_token(&method.value) {
                        rule.methods.push(method.value.clone());
                    } else {
                        let message = format!("`{}` is not a method", method.value);
                        self.note(Diagnostic::error("bad-name", method.span, message));
                    }
                }
            }
        }
        Retries {
            attempts: text
                .attempts
                .as_ref()
                .and_then(|attempts| self.number(attempts, 1, 100))
                .unwrap_or(default.attempts),
            rule: Some(rule),
        }
    }
}
