// SPDX-License-Identifier: MIT
//! The trace to which a request belongs (W3C Trace Context).

use super::Codec;
use super::session::Session;
use crate::http::forwarded;
use crate::http::headers::Present;
use crate::observe::spans::Context;
use crate::observe::spans::Told;
use crate::observe::spans::Trace;

impl<C: Codec> Session<'_, C> {
    /// The trace of a request whose fields have been looked at; `None`: nothing is traced.
    pub(super) fn trace(&self, present: Present, bytes: &[u8]) -> Option<Box<Trace>> {
        let spans = self.client.core.spans.as_ref()?;
        if !present.has(Present::TRACEPARENT) {
            return Some(spans.begin(None));
        }
        let fields = &self.buffers.fields;
        let mut parents = fields.values(bytes, Present::TRACEPARENT);
        let context = match (parents.next(), parents.next()) {
            (Some(parent), None) => Context::read(parent),
            _ => None,
        };
        let Some(context) = context else {
            return Some(spans.begin(None));
        };
        let state: Vec<_> = fields.values(bytes, Present::TRACESTATE).collect();
        let generation = self.client.core.active.load();
        let service = generation.service(&self.client.service);
        let peer = self.client.peer.ip();
        Some(
            spans.begin(Some(Told {
                context,
                state: &state.join(&b","[..]),
                is_trusted: service
                    .is_some_and(|(_, service, _)| forwarded::is_trusted(&service.trusted, peer)),
            })),
        )
    }
}

/// The fields of a request that do not go on because the switch says where in this trace a server stands. What belongs to a trace that
/// is not gone on with goes with it (3.3).
pub(super) fn replaced(trace: Option<&Trace>) -> Present {
    match trace {
        None => Present::NONE,
        Some(trace) if trace.is_continued() => Present::TRACEPARENT,
        Some(_) => Present::TRACEPARENT.and(Present::TRACESTATE),
    }
}
