# SPDX-License-Identifier: GPL-2.0 OR MIT
"""The faults of the mutation check that concern PROXY headers: see mutations.py."""

from mutations_list import CHOOSING, ENVIRONMENT, HELD, LEG, POLICY, Fault

CLIENT = "kmod/engine/src/flow/client.rs"
PARSE = "kmod/engine/src/flow/parse.rs"
SERVER = "kmod/engine/src/flow/server.rs"
TIMING = "kmod/engine/src/flow/timing.rs"

PROXIES = [
    Fault(
        "family-of-header",
        POLICY,
        "!can_reach(situation.client, &server.endpoint().address, || {",
        "!can_reach(&request.source, &server.endpoint().address, || {",
        "Whether a server can be reached goes by the address that a PROXY header tells.",
    ),
    Fault(
        "here-of-header",
        POLICY,
        "let is_here = host.is_here(situation.client);",
        "let is_here = host.is_here(&request.source);",
        "Who says to be on this host is led to loopback addresses.",
    ),
    Fault(
        "header-accepted-of-told",
        CHOOSING,
        ".is_proxy(&record, self.client.address)",
        ".is_proxy(&record, self.source())",
        "Whose connections begin with a header goes by the address that one tells.",
    ),
    Fault(
        "header-alone",
        CHOOSING,
        "let is_enough = |len: usize| available > len || record.protocol == Protocol::Tcp.number();",
        "let is_enough = |len: usize| available > len;",
        "A server that speaks first waits for what its client waits to say.",
    ),
    Fault(
        "header-twice",
        PARSE,
        "first: self.has(FIRST) && from == self.first,",
        "first: self.has(FIRST),",
        "Where a server fails, a request is taken for another header.",
    ),
    Fault(
        "ends-not-learned",
        CHOOSING,
        "ends.map_or(self.client.address, |ends| ends.source.address)",
        "ends.map_or(self.client.address, |_| self.client.address)",
        "Rules go by the proxy's address.",
    ),
    Fault(
        "ends-not-told",
        ENVIRONMENT,
        "proxy_header::write(version, Some(self.state.ends.as_ref().unwrap_or(&own)))",
        "proxy_header::write(version, Some(&own))",
        "Servers are told of the proxy's connection.",
    ),
    Fault(
        "route-of-proxy",
        CHOOSING,
        "let decision = decide(table, service, self.source(), bytes, buffers);",
        "let decision = decide(table, service, self.client.address, bytes, buffers);",
        "Routes go by the proxy's address.",
    ),
    Fault(
        "limit-of-proxy",
        CHOOSING,
        "let is_over = !self.platform.takes_token(rate, &self.source());",
        "let is_over = !self.platform.takes_token(rate, &self.client.address);",
        "A rate limit by source goes by the proxy's address.",
    ),
    Fault(
        "front-without-header",
        CHOOSING,
        "header: self.proxied(service).map(|_| ProxyVersion::V2),",
        "header: None,",
        "The front lacks the header of what comes to it later.",
    ),
    Fault(
        "front-gets-other-header",
        LEG,
        "Some(_) if target.method == Method::Front && self.has(FIRST) => self.first,",
        "Some(_) if target.method == Method::Front && self.first == start => self.first,",
        "The front gets the switch's header first, and not the client's.",
    ),
    Fault(
        "header-of-first-pool",
        CHOOSING,
        "let header = self.header_of(bound.pool);",
        "let header = self.header_of(0);",
        "Every pool's servers get the header of the first one's.",
    ),
    Fault(
        "header-not-before",
        LEG,
        "start.wrapping_sub(env.proxy_header(version).size())",
        "start",
        "The header has the numbers of the request.",
    ),
    Fault(
        "header-skipped-not",
        SERVER,
        "env.skip(first);",
        "let _ = env.held_end();",
        "Servers get the client's header.",
    ),
    Fault(
        "skip-end",
        HELD,
        "if seq::before(to, end) || segment.is(FIN) {",
        "if seq::before(to, end) {",
        "The end of a client that sends nothing but a header is lost.",
    ),
    Fault(
        "header-behind-high",
        SERVER,
        "self.high = seq::max(self.high, first);",
        "self.high = seq::max(self.high, start);",
        "What acknowledges the header is taken for nonsense.",
    ),
    Fault(
        "header-ends-early",
        SERVER,
        "self.leg_mut(index).since = first;",
        "self.leg_mut(index).since = first.wrapping_sub(1);",
        "A header of which the last byte is missing is whole.",
    ),
    Fault(
        "header-lost",
        LEG,
        "self.send_header(index, env);",
        "let _ = index;",
        "What a server says that lacks its header does not bring it.",
    ),
    Fault(
        "header-lost-with-syn",
        SERVER,
        "if leg.is(HEADER) {",
        "if leg.is(HEADER) && self.has(SERVER_FIN) {",
        "The answer to a SYN that comes again brings no header.",
    ),
    Fault(
        "header-lost-in-silence",
        TIMING,
        "if self.tries < HEADERS {",
        "if self.tries > HEADERS {",
        "Where nobody speaks the header does not come again.",
    ),
    Fault(
        "header-overlapped",
        CLIENT,
        "if leg.overlaps_header(segment) {",
        "if leg.overlaps_header(segment) && segment.is(SYN) {",
        "A server takes what comes late for its header.",
    ),
    Fault(
        "header-told",
        SERVER,
        "if !has_header && !self.header_acked(index, ack, env) {",
        "if !has_header && !self.header_acked(index, ack, env) && segment.is_empty() {",
        "A client is told of bytes before its first.",
    ),
    Fault(
        "header-in-blocks",
        LEG,
        "leg.start = leg.since;",
        "leg.acked = seq::max(leg.acked, ack);",
        "A client is told that the header came twice.",
    ),
    Fault(
        "header-is-all",
        PARSE,
        "if self.has(EAGER) && env.held_end().is_none_or(nothing_held) {",
        "if self.has(EAGER) && env.held_end().is_none() {",
        "Where a server fails that speaks first, no other is tried once the header has come.",
    ),
    Fault(
        "header-of-nobody",
        PARSE,
        "self.high = if self.has(FIRST) { self.first } else { start };",
        "self.high = start;",
        "A header is acknowledged that nobody has.",
    ),
    Fault(
        "header-let-go-of",
        CLIENT,
        "if self.has(FIRST) && held.is_none() && self.binding().is_none() {",
        "if self.has(FIRST) && segment.is(SYN) {",
        "A header that was let go of is not kept when it comes again.",
    ),
]
