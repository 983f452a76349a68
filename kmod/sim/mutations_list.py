# SPDX-License-Identifier: GPL-2.0 OR MIT
"""The faults of the mutation check: see mutations.py."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One line of a file, without its indentation, and what stands there in its place."""

    name: str
    file: str
    old: str
    new: str
    what: str


POLICY = "kmod/engine/src/policy.rs"
DECIDE = "kmod/engine/src/decide.rs"
DECISIONS = "kmod/engine/src/decisions.rs"
CHOOSING = "kmod/engine/src/environment/choosing.rs"
HELD = "kmod/engine/src/environment/held.rs"
ENVIRONMENT = "kmod/engine/src/environment/mod.rs"
STATE = "kmod/engine/src/environment/state.rs"
LEG = "kmod/engine/src/flow/leg.rs"

FAULTS = [
    # Where a request goes.
    Fault(
        "key-of-host",
        POLICY,
        "Self::Path => known(request.path).map(hash_key),",
        "Self::Path => known(request.host).map(hash_key),",
        "A pool that hashes by path hashes by host.",
    ),
    Fault(
        "key-of-nothing",
        POLICY,
        "(!text.is_empty()).then_some(text)",
        "Some(text)",
        "Requests without a host all have one key, instead of their client's.",
    ),
    Fault(
        "split-beyond",
        POLICY,
        "let mut left = below(random(), total);",
        "let mut left = below(random(), total.saturating_add(1));",
        "Now and then a weighted split gives no pool.",
    ),
    Fault(
        "retry-less",
        POLICY,
        "u32::try_from(failed).is_ok_and(|failed| failed <= retries)",
        "u32::try_from(failed).is_ok_and(|failed| failed < retries)",
        "The first try is counted as a retry.",
    ),
    Fault(
        "retry-for-ever",
        POLICY,
        "if !situation.tried.may_go_on(number, pool.record.retries) {",
        "if !situation.tried.may_go_on(number, u32::MAX) {",
        "The pool's number of retries does not matter.",
    ),
    Fault(
        "tried-of-other-pool",
        POLICY,
        "if self.pool != pool {",
        "if self.len == 0 {",
        "Servers tried in one pool are held against the next one.",
    ),
    Fault(
        "tried-again",
        POLICY,
        "situation.tried.has(number, position)",
        "false",
        "A request is tried at a server that has just failed it.",
    ),
    Fault(
        "family",
        POLICY,
        "is_ipv4(client) == is_ipv4(server) && (!is_loopback(server) || is_here())",
        "!is_loopback(server) || is_here()",
        "An IPv4 client is led to an IPv6 server.",
    ),
    Fault(
        "here-of-server",
        POLICY,
        "let is_here = host.is_here(situation.client);",
        "let is_here = host.is_here(&server.endpoint().address);",
        "Other hosts' clients are led to loopback addresses.",
    ),
    Fault(
        "by-request-always",
        POLICY,
        "self.kind.hashes() && self.record.key != HashKey::Source.number()",
        "self.kind.hashes()",
        "A pool that hashes by client moves requests that could stay.",
    ),
    Fault(
        "other-rules-places",
        POLICY,
        "let active = situation.active.filter(|_| situation.places_hold)?;",
        "let active = situation.active?;",
        "A place in other rules is taken for one in these.",
    ),
    Fault(
        "stay-at-weight-0",
        POLICY,
        "shares(rules.table(), route).any(|share| share.pool == active.pool && share.weight > 0);",
        "shares(rules.table(), route).any(|share| share.pool == active.pool);",
        "Requests stay in a pool that is to get nothing new.",
    ),
    Fault(
        "stay-at-drained",
        POLICY,
        "&& server.weight() > 0;",
        "&& server.last_weight() > 0;",
        "Requests stay at a server that is drained.",
    ),
    Fault(
        "stay-at-same-position",
        POLICY,
        ".is_some_and(|active| ptr::eq(active.server.borrow(), server.borrow()))",
        ".is_some_and(|active| usize::try_from(active.position) == Ok(position))",
        "Servers at the same position in two pools are taken for one.",
    ),
    Fault(
        "known-by-source",
        POLICY,
        "table.count::<SourcesRecord>() == 0",
        "table.count::<SourcesRecord>() < u32::MAX",
        "A decision about one client's head is taken for another client, though a route asks for the address.",
    ),
    Fault(
        "known-of-one-share",
        POLICY,
        "shares(table, &route).all(|share| {",
        "shares(table, &route).any(|share| {",
        "Decisions of a split are kept though one of its pools hashes by path.",
    ),
    Fault(
        "known-of-path",
        POLICY,
        "pool.is_some_and(|pool| !pool.is_by_request())",
        "pool.is_some()",
        "Decisions are kept though a pool hashes by path.",
    ),
    # Decisions and their cache.
    Fault(
        "decided-by-old-rules",
        DECISIONS,
        "!= (key.fingerprint, key.generation, key.service)",
        "!= (key.fingerprint, entry.generation, key.service)",
        "Decisions outlive the rules that they were made by.",
    ),
    Fault(
        "keep-content",
        DECISIONS,
        "if message.framing != Framing::None || message.opaque {",
        "if message.opaque {",
        "A request with content is known again as one without.",
    ),
    Fault(
        "forget-last",
        DECISIONS,
        "last: message.last,",
        "last: false,",
        "A request that ends its connection is known again as one that does not.",
    ),
    Fault(
        "half-preface",
        DECIDE,
        "Preface::Maybe => return Decision::of(Verdict::Incomplete),",
        "Preface::Maybe => return Decision::of(Verdict::NoRoute),",
        "A POST whose first packet has one byte goes to the front.",
    ),
    Fault(
        "no-name",
        DECIDE,
        "let host = match uri::host(hello.server_name().unwrap_or_default(), buffers.host) {",
        "let host = match uri::host(hello.server_name().map_or(&[][..], |_| b\"x\"), buffers.host) {",
        "TLS connections are not told apart by their server names.",
    ),
    Fault(
        "no-query",
        DECIDE,
        "query: head.query().unwrap_or_default(),",
        "query: Default::default(),",
        "Conditions about the query see none.",
    ),
    # What becomes of a request in its flow.
    Fault(
        "held-before-current",
        CHOOSING,
        "let end = end.or_else(|| self.state.held.end());",
        "let end = self.state.held.end().or(end);",
        "A packet is not read that comes behind held ones.",
    ),
    Fault(
        "known-with-more",
        CHOOSING,
        "let key = key.filter(|_| message.head as usize == bytes.len());",
        "let key = key.filter(|_| message.head as usize <= bytes.len());",
        "Two requests in one packet are known again as one.",
    ),
    Fault(
        "known-unasked",
        CHOOSING,
        "if let Some(key) = key.filter(|_| policy::is_by_head_alone(rules, number)) {",
        "if let Some(key) = key {",
        "Decisions are kept that depend on more than the head.",
    ),
    Fault(
        "known-for-any-service",
        CHOOSING,
        "service: service.filter(|_| is_head)?,",
        "service: service.filter(|_| is_head).map(|_| 0)?,",
        "One service's decisions are another's.",
    ),
    Fault(
        "known-for-any-rules",
        CHOOSING,
        "generation: self.platform.rules().generation(),",
        "generation: 0,",
        "Decisions outlive the rules that they were made by.",
    ),
    Fault(
        "first-routes",
        CHOOSING,
        "let number = record.routes.saturating_add(winner.position);",
        "let number = winner.position;",
        "Every service's requests go by the first service's routes.",
    ),
    Fault(
        "never-stay",
        CHOOSING,
        "active: ask.active.and_then(|leg| self.state.server(leg)),",
        "active: ask.active.and_then(|_| None),",
        "No request stays where the one before went.",
    ),
    Fault(
        "forwards-other-family",
        CHOOSING,
        "self.platform.forwards(is_ipv4(&peer.address))",
        "self.platform.forwards(!is_ipv4(&peer.address))",
        "The other family's forwarding switch is looked at.",
    ),
    Fault(
        "forwarding-off",
        CHOOSING,
        "if !self.forwards(&peer) {",
        "if !self.forwards(&self.service) {",
        "Servers are used that a host without forwarding cannot reach.",
    ),
    Fault(
        "incomplete-for-ever",
        CHOOSING,
        "Chosen::Incomplete if ask.last => self.go_to_front(ask, Message::OPAQUE, None),",
        "Chosen::Incomplete if ask.last && ask.active.is_none() => self.go_to_front(ask, Message::OPAQUE, None),",
        "What is not whole when no more can be held waits for ever, on a connection that has a server.",
    ),
    Fault(
        "count-no-route",
        CHOOSING,
        "self.state.outstanding.choose(slot);",
        "self.state.outstanding.choose(slot.filter(|_| ask.active.is_none()));",
        "Only a connection's first request is counted for its route.",
    ),
    Fault(
        "first-piece",
        CHOOSING,
        "wanted = wanted.saturating_mul(4).max(PIECE).min(available);",
        "wanted = wanted.max(PIECE).min(available);",
        "A long head is read without end.",
    ),
    # Packets that wait.
    Fault(
        "hold-all",
        HELD,
        "if memory > HELD_MAX || all > HELD_ALL_MAX {",
        "if memory > HELD_MAX {",
        "All connections together may hold without end.",
    ),
    Fault(
        "hold-before",
        HELD,
        "let memory = self.memory().saturating_add(Q::memory_of(&packet));",
        "let memory = self.memory().max(Q::memory_of(&packet));",
        "The packet that is to be held is not counted.",
    ),
    Fault(
        "hold-whole",
        HELD,
        "self.from = from;",
        "self.from = segment.seq;",
        "Bytes that have gone already go again.",
    ),
    Fault(
        "fin-stays",
        HELD,
        "let alone = start == end && end == to;",
        "let alone = start == end && seq::before(end, to);",
        "A FIN without data is held for ever.",
    ),
    Fault(
        "release-too-much",
        HELD,
        "let until = seq::min(end, to);",
        "let until = seq::max(end, to);",
        "The next request's bytes go with the one before.",
    ),
    Fault(
        "release-again",
        HELD,
        "let start = seq::max(self.from, segment.seq);",
        "let start = segment.seq;",
        "The part of a packet that has gone goes again.",
    ),
    # What a flow does with its servers.
    Fault(
        "one-port",
        ENVIRONMENT,
        ".wrapping_add(turn.wrapping_mul(7919))",
        ".wrapping_add(turn.wrapping_mul(span))",
        "One port of the switch's is tried again and again.",
    ),
    Fault(
        "reserve-taken",
        ENVIRONMENT,
        "free.then_some(self.client)",
        "Some(self.client)",
        "Addresses and ports are used that are another connection's.",
    ),
    Fault(
        "reserve-untried",
        ENVIRONMENT,
        "self.state.tried.add(bound.pool, bound.position);",
        "self.state.tried.add(bound.position, bound.pool);",
        "A server whose addresses are taken is tried again and again.",
    ),
    Fault(
        "free-nat-only",
        ENVIRONMENT,
        "if was.method != Method::Front {",
        "if was.method == Method::Nat {",
        "Ports of the switch's own are never given back.",
    ),
    Fault(
        "free-choice",
        ENVIRONMENT,
        "*self.state.servers.get_mut(leg) = None;",
        "self.state.chosen = None;",
        "A leg that is gone keeps its server.",
    ),
    Fault(
        "load-not-started",
        ENVIRONMENT,
        "scheduled(&bound.server).start();",
        "scheduled(&bound.server);",
        "Servers with many requests seem idle.",
    ),
    Fault(
        "load-not-ended",
        ENVIRONMENT,
        "scheduled(&bound.server).finish();",
        "scheduled(&bound.server);",
        "Servers seem busy for ever.",
    ),
    Fault(
        "request-not-counted",
        ENVIRONMENT,
        "bound.server.requested();",
        "let _ = &bound.server;",
        "A server's requests are not counted.",
    ),
    Fault(
        "times-swapped",
        ENVIRONMENT,
        "scheduled(&bound.server).observe(ns, self.platform.now());",
        "scheduled(&bound.server).observe(self.platform.now(), ns);",
        "The time of day is taken for a server's latency.",
    ),
    Fault(
        "class",
        ENVIRONMENT,
        "let class = u8::try_from(status / 100).unwrap_or(5).clamp(1, 5);",
        "let class = u8::try_from(status / 100).unwrap_or(5).clamp(2, 5);",
        "Interim responses are counted as responses.",
    ),
    Fault(
        "outstanding-stays",
        ENVIRONMENT,
        "self.state.outstanding.finish();",
        "self.state.outstanding.oldest();",
        "Responses are counted for the route of a request before.",
    ),
    Fault(
        "fails-for-ever",
        ENVIRONMENT,
        "bound.server.works();",
        "let _ = &bound.server;",
        "A server is left out after three failures, however many connections it took between them.",
    ),
    Fault(
        "tried-for-ever",
        ENVIRONMENT,
        "self.state.tried.clear();",
        "let _ = &self.state.tried;",
        "Failures of earlier requests take retries from later ones.",
    ),
    Fault(
        "failed-elsewhere",
        ENVIRONMENT,
        "self.state.tried.add(pool, position);",
        "self.state.tried.add(position, pool);",
        "A server that does not answer is tried again and again.",
    ),
    Fault(
        "lacks-is-failure",
        ENVIRONMENT,
        "Failure::Refused | Failure::Timeout => {",
        "Failure::Refused | Failure::Timeout | Failure::Options => {",
        "A server that has no timestamps is left out as one that does not answer.",
    ),
    # What is kept of a connection.
    Fault(
        "routes-of-old-rules",
        STATE,
        ".retain(|slot| rules.is_slot_since(slot, self.generation));",
        ".retain(|_| true);",
        "Responses are counted for whatever route has the number in the new rules.",
    ),
    Fault(
        "place-of-old-rules",
        STATE,
        "(bound.pool, bound.position) = place.unwrap_or((NOWHERE, NOWHERE));",
        "(bound.pool, bound.position) = place.unwrap_or((bound.pool, bound.position));",
        "A server that is in no rules any more is taken for the one in its old place.",
    ),
    Fault(
        "tried-of-old-rules",
        STATE,
        "self.tried = Tried::new();",
        "let _ = Tried::new();",
        "Servers are passed over that have the places of those that failed before the rules changed.",
    ),
    Fault(
        "service-of-old-rules",
        STATE,
        "self.service = service;",
        "self.service = self.service.or(service);",
        "A connection is of whatever service has its number in the new rules.",
    ),
    Fault(
        "unacked-small",
        STATE,
        "self.unacked.grow(size.clamp(UNACKED_MIN, UNACKED_MAX));",
        "self.unacked.grow(size.min(UNACKED_MIN));",
        "Of a long head only the beginning is kept for another server.",
    ),
    # Rate limits.
    Fault(
        "limit-always",
        CHOOSING,
        "Some((of, is_over)) if of == from => is_over,",
        "Some((of, is_over)) if of != of => is_over,",
        "A request takes a token each time that it is looked at.",
    ),
    Fault(
        "limit-once",
        CHOOSING,
        "Some((of, is_over)) if of == from => is_over,",
        "Some((_, is_over)) => is_over,",
        "What a limit said of a connection's first request holds for all.",
    ),
    Fault(
        "limit-unheard",
        CHOOSING,
        "if route.rate != 0 && self.is_over(route.rate.wrapping_sub(1), ask.from) {",
        "if route.rate != 0 && ask.last && self.is_over(route.rate.wrapping_sub(1), ask.from) {",
        "What is over a limit goes to servers.",
    ),
    Fault(
        "limit-stays",
        CHOOSING,
        "if ask.active.is_some_and(is_front) && ask.refusal == refusal {",
        "if ask.active.is_some_and(is_front) {",
        "What the front is to refuse comes on the connection of what it serves, and the other way round.",
    ),
    Fault(
        "limit-other-way",
        LEG,
        "&& self.refusal() == target.refusal",
        "&& (self.refusal().is_some() || target.refusal.is_none())",
        "A connection for what the front refuses is used for what it serves.",
    ),
]
