// SPDX-License-Identifier: MIT
//! A request that goes on to a pool: what the rules say of it, of its response, and of its times.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use l7switch_rules::model;

use super::variables::Edits;
use crate::ruleset::filters::Edit;
use crate::ruleset::generation;
use crate::ruleset::generation::Generation;
use crate::ruleset::pages::Pages;
use crate::upstream::Patience;
use crate::upstream::Pool;
use crate::upstream::RealServer;

/// A request that goes on to a pool.
#[derive(Debug)]
pub struct Onward<'a> {
    /// The service, as the rules say.
    pub service: &'a model::Service,
    /// The route, as the rules say.
    pub route: &'a model::Route,
    /// The route's filters.
    pub state: &'a generation::Route,
    /// The pool.
    pub pool: &'a Arc<Pool>,
    /// All pools.
    pub generation: &'a Generation,
    /// Pages in place of errors.
    pub pages: Pages<'a>,
    /// The server at which the client stays, by its position in the pool.
    pub stays: Option<usize>,
    /// The pool of the client's cookie, which it keeps where another one answers.
    pub keeps: Option<usize>,
    /// Whether the client has sent it by TLS: to the switch, or to a proxy that is trusted.
    pub is_https: bool,
    /// The cookie that the client gets, by which it stays at its server.
    pub set_cookie: Option<String>,
    /// Target in origin form, where it is not what was sent.
    pub rewritten: Option<String>,
    /// Hash of the scheduler's key.
    pub hash: u64,
    /// Where a copy goes to the route's other pool: hash of that one's key.
    pub mirror: Option<u64>,
    /// What goes with the request because who was asked for it has said so.
    pub granted: Option<Box<Edit>>,
    /// What is changed in the response for browsers that show pages of other origins.
    pub cors: Option<Box<Edit>>,
    /// The route's edits of header fields, where they have variables.
    pub edits: Option<Box<Edits<'a>>>,
}

impl Onward<'_> {
    /// This server, at that place in its pool, has answered: a client that has not stayed there gets a cookie for it.
    pub fn answered(&mut self, pool: &Pool, server: &RealServer) {
        if let Some(edits) = &mut self.edits {
            edits.answered(&pool.config().name, server.address().to_string());
        }
        let Some(sticky) = &self.state.sticky else {
            return;
        };
        let mut servers = self.pool.servers();
        let stays = self.stays.and_then(|place| servers.nth(place));
        if stays.is_none_or(|stays| stays.address() != server.address()) {
            let name = &pool.config().name;
            let mut pools = self.generation.pools.iter();
            let number = pools.position(|pool| pool.config().name == *name);
            if self.keeps.is_some() && self.keeps != number {
                return;
            }
            self.set_cookie =
                number.and_then(|pool| sticky.set_cookie(pool, server.address(), self.is_https));
        }
    }

    /// What is changed in the request's header fields.
    pub fn request_edit(&self) -> Cow<'_, Edit> {
        let own = match &self.edits {
            Some(edits) => Cow::Owned(edits.request()),
            None => Cow::Borrowed(&self.state.filters.request),
        };
        match &self.granted {
            Some(granted) => Cow::Owned(granted.then(&own)),
            None => own,
        }
    }

    /// What is changed in the response's header fields.
    pub fn response_edit(&self) -> Cow<'_, Edit> {
        let own = match &self.edits {
            Some(edits) => Cow::Owned(edits.response()),
            None => Cow::Borrowed(&self.state.filters.response),
        };
        match &self.cors {
            Some(cors) => Cow::Owned(own.then(cors)),
            None => own,
        }
    }

    /// How long is waited for the server and for the client.
    pub fn patience(&self) -> Patience {
        let own = self.route.filters.response_timeout;
        Patience {
            response: own.unwrap_or(self.pool.config().response_timeout),
            client: self.idle_timeout(),
        }
    }

    /// Longest silence of the client within the exchange.
    pub fn idle_timeout(&self) -> Duration {
        let own = self.route.filters.idle_timeout;
        own.unwrap_or(self.service.limits.idle_timeout)
    }

    /// Longest silence of a tunnel; absent: it may be silent for ever.
    pub fn tunnel_timeout(&self) -> Option<Duration> {
        let own = self.route.filters.tunnel_timeout;
        own.or(self.service.limits.tunnel_timeout)
    }

    /// Longest content of a request; without a limit, no content is longer.
    pub fn longest(&self) -> u64 {
        let own = self.route.body_limit;
        own.or(self.service.limits.body).unwrap_or(u64::MAX)
    }
}
