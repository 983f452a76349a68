// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What becomes of a request: its head is put together and decided about, or known again, and its route's server chosen.

use super::scheduled;
use super::Buffers;
use super::FlowEnv;
use super::Kept;
use super::Platform;
use super::Tally;
use crate::decide::decide;
use crate::decide::Verdict;
use crate::decisions::Decisions;
use crate::decisions::Key;
use crate::endpoint::is_ipv4;
use crate::endpoint::Endpoint;
use crate::fingerprint::Fingerprint;
use crate::flow::Ask;
use crate::flow::Choice;
use crate::flow::Message;
use crate::flow::Method;
use crate::flow::Packets;
use crate::flow::Refusal;
use crate::flow::Rules;
use crate::flow::Segment;
use crate::flow::Target;
use crate::form;
use crate::policy;
use crate::policy::Bound;
use crate::policy::Forward;
use crate::policy::RulesetView;
use crate::policy::Situation;
use crate::proxy_header;
use crate::proxy_header::Ends;
use crate::table::codes::Action;
use crate::table::codes::Forwarding;
use crate::table::codes::Protocol;
use crate::table::codes::ProxyVersion;
use crate::table::format::PoolRecord;
use crate::table::format::RouteRecord;
use crate::table::format::ServiceRecord;
use crate::table::Fields;
use crate::table::Request;

/// Bytes of a request that are looked at first, where it does not lie in one piece.
const PIECE: usize = 2048;

/// Longest head that is looked for among the decisions, bytes.
const KNOWN_MAX: usize = 4096;

/// What the rules make of a request's bytes; `bool`: it counts at its server already.
enum Chosen<S> {
    Incomplete,
    Front(Message),
    Refused(Refusal, Message),
    Stay(bool, Message),
    Go(Bound<S>, Method, bool, Message),
}

impl<P: Platform> FlowEnv<'_, P> {
    /// Bytes of what is held and of `current` from a number on.
    fn available(&self, from: u32, current: Option<(&Segment, &P::Packet)>) -> usize {
        let end = current.map(|(segment, _)| segment.data_end());
        let end = end.or_else(|| self.state.held.end());
        end.map_or(0, |end| end.wrapping_sub(from) as usize)
    }

    /// So many bytes from a number on, copied into one piece.
    fn assemble<'b>(
        &'b self,
        from: u32,
        wanted: usize,
        current: Option<(&Segment, &'b P::Packet)>,
        to: &'b mut [u8],
    ) -> &'b [u8] {
        let (mut len, mut at) = (0usize, from);
        while len < wanted.min(to.len()) {
            let run = self.run(at, current);
            let run = run.get(..wanted.wrapping_sub(len)).unwrap_or(run);
            let Some(place) = to.get_mut(len..) else {
                break;
            };
            let count = run.len().min(place.len());
            if count == 0 {
                break;
            }
            if let (Some(place), Some(run)) = (place.get_mut(..count), run.get(..count)) {
                for (place, byte) in place.iter_mut().zip(run) {
                    *place = *byte;
                }
            }
            len = len.wrapping_add(count);
            at = at.wrapping_add(u32::try_from(count).unwrap_or(0));
        }
        to.get(..len).unwrap_or_default()
    }

    /// The client's address: that of its PROXY header, if there was one.
    #[inline]
    fn source(&self) -> [u8; 16] {
        let ends = self.state.ends.as_ref();
        ends.map_or(self.client.address, |ends| ends.source.address)
    }

    /// The service, if connections of the client's to it begin with a PROXY header.
    #[inline]
    fn proxied(&self, service: Option<u32>) -> Option<ServiceRecord> {
        let table = self.platform.rules().table();
        let record = table.get::<ServiceRecord>(service?)?;
        table
            .is_proxy(&record, self.client.address)
            .then_some(record)
    }

    /// Reads the PROXY header that comes before the first request. Nothing but a whole one, with what it is in front of, is
    /// taken: the front gets every other as it came.
    #[cold]
    #[inline(never)]
    fn read_proxy_header(
        &mut self,
        record: &ServiceRecord,
        ask: &Ask,
        current: Option<(&Segment, &P::Packet)>,
    ) -> Choice {
        let available = self.available(ask.from, current);
        let read = self.platform.with_buffers(|buffers| {
            let wanted = available.min(proxy_header::HEADER_MAX);
            proxy_header::parse(self.assemble(ask.from, wanted, current, buffers.bytes))
        });
        let Some(read) = read else {
            return Choice::Incomplete;
        };
        // A server that speaks first waits for nothing more.
        let is_enough = |len: usize| available > len || record.protocol == Protocol::Tcp.number();
        match read {
            Ok(Some(header)) if is_enough(header.len) => {
                self.state.ends = Some(header.ends.unwrap_or(Ends {
                    source: self.client,
                    destination: self.service,
                }));
                Choice::Begins(u32::try_from(header.len).unwrap_or(0))
            }
            Ok(_) if !ask.last && available < proxy_header::HEADER_MAX => Choice::Incomplete,
            _ => self.go_to_front(ask, Message::OPAQUE, None),
        }
    }

    /// By what a head is known again that is all that has come, and lies in one piece: a body behind it would be read in vain.
    #[inline]
    fn key(&self, service: Option<u32>, bytes: &[u8]) -> Option<Key> {
        let is_head = bytes.len() <= KNOWN_MAX && bytes.ends_with(b"\r\n\r\n");
        Some(Key {
            service: service.filter(|_| is_head)?,
            generation: self.platform.rules().generation(),
            fingerprint: Fingerprint::of(&self.platform.fingerprint_key(), bytes),
        })
    }

    /// Whether a request is over its route's rate limit. That is asked once of each request, by the number of its first byte.
    #[cold]
    #[inline(never)]
    fn is_over(&self, rate: u32, from: u32) -> bool {
        match self.state.limited.get() {
            Some((of, is_over)) if of == from => is_over,
            _ => {
                let is_over = !self.platform.takes_token(rate, &self.source());
                self.state.limited.set(Some((from, is_over)));
                if is_over {
                    self.platform.tally(Tally::RateLimited);
                }
                is_over
            }
        }
    }

    /// Asks the rules about a request's first bytes. Gives the number of the route in the table, too, if one takes it. What was
    /// decided is kept by `key`, if that is theirs.
    fn ask(
        &self,
        service: Option<u32>,
        ask: &Ask,
        bytes: &[u8],
        buffers: form::Buffers<'_>,
        key: Option<&Key>,
        decisions: &mut Decisions<'_>,
    ) -> (Chosen<<P::Kept as Kept>::Server>, Option<u32>) {
        let rules = self.platform.rules();
        let table = rules.table();
        // Of a service that is gone the front knows.
        let Some(service) = service else {
            return (Chosen::Front(Message::OPAQUE), None);
        };
        let Some(record) = table.get::<ServiceRecord>(service) else {
            return (Chosen::Front(Message::OPAQUE), None);
        };
        let decision = decide(table, service, self.source(), bytes, buffers);
        let mut message = match &decision.head {
            Some(head) => Message::of(head),
            None => Message::OPAQUE,
        };
        let winner = match decision.verdict {
            Verdict::Incomplete => return (Chosen::Incomplete, None),
            Verdict::NoRoute => return (Chosen::Front(message), None),
            Verdict::Refused(_) | Verdict::Front(_) => {
                return (Chosen::Front(Message::OPAQUE), None);
            }
            Verdict::Route(winner) => winner,
        };
        let number = record.routes.saturating_add(winner.position);
        // Bytes behind the head are not the head's.
        let key = key.filter(|_| message.head as usize == bytes.len());
        message.fingerprint = key.map(|key| key.fingerprint);
        if let Some(key) = key.filter(|_| policy::is_by_head_alone(rules, number)) {
            decisions.keep(key, &message, number);
        }
        let request = decision.request(self.source());
        (self.serve(number, &request, ask, message), Some(number))
    }

    /// The server of a request that a route takes.
    #[inline]
    fn serve<F: Fields + ?Sized>(
        &self,
        route: u32,
        request: &Request<'_, F>,
        ask: &Ask,
        message: Message,
    ) -> Chosen<<P::Kept as Kept>::Server> {
        let rules = self.platform.rules();
        let route = match rules.table().get::<RouteRecord>(route) {
            Some(route) if route.action == Action::Forward.number() => route,
            _ => return Chosen::Front(message),
        };
        if route.rate != 0 && self.is_over(route.rate.wrapping_sub(1), ask.from) {
            return Chosen::Refused(Refusal::RateLimit, message);
        }
        let situation = Situation {
            client: &self.client.address,
            active: ask.active.and_then(|leg| self.state.server(leg)),
            places_hold: self.state.is_of(rules.generation()),
            tried: &self.state.tried,
            now: self.platform.now(),
        };
        match policy::forward(rules, &route, request, &situation, &self.platform) {
            None => Chosen::Front(message),
            Some(Forward::Full) => Chosen::Refused(Refusal::Full, message),
            Some(Forward::Stay { has_place }) => Chosen::Stay(has_place, message),
            Some(Forward::Go {
                bound,
                forwarding,
                has_place,
            }) => {
                let method = match forwarding {
                    Forwarding::Nat => Method::Nat,
                    Forwarding::Fullnat => Method::Fullnat,
                };
                Chosen::Go(bound, method, has_place, message)
            }
        }
    }

    /// Whether packets get from the client to a server and back: a host that forwards none would lose them wherever they pass
    /// its stack.
    fn forwards(&self, peer: &Endpoint) -> bool {
        self.platform.forwards(is_ipv4(&peer.address))
            || self.platform.is_here(&self.client.address)
            || self.platform.is_here(&peer.address)
    }

    /// Whether a connection leads to where a request may go, but as another pool's server, which has requests of it.
    #[cold]
    #[inline(never)]
    fn is_behind_anothers(&self, ask: &Ask, bound: &Bound<<P::Kept as Kept>::Server>) -> bool {
        let in_use = ask.active.and_then(|leg| self.state.server(leg));
        in_use.is_some_and(|in_use| {
            let (in_use, other) = (scheduled(&in_use.server), scheduled(&bound.server));
            !core::ptr::eq(in_use, other) && in_use.endpoint() == other.endpoint()
        }) && self.state.outstanding.count() > 0
    }

    /// The PROXY header that connections to a pool's servers begin with.
    #[inline]
    fn header_of(&self, pool: u32) -> Option<ProxyVersion> {
        let pool = self.platform.rules().table().get::<PoolRecord>(pool)?;
        ProxyVersion::from_number(pool.send_proxy)
    }

    /// `refusal`: why the front is to refuse it.
    fn go_to_front(&mut self, ask: &Ask, message: Message, refusal: Option<Refusal>) -> Choice {
        self.state.chosen = None;
        self.state.to_front = refusal
            .filter(|refusal| matches!(refusal, Refusal::Full))
            .map(|_| Tally::ServersFull);
        let is_front = |leg| self.state.server(leg).is_none();
        if ask.active.is_some_and(is_front) && ask.refusal == refusal {
            return Choice::Stay(message);
        }
        let service = self.state.service(self.platform.rules(), &self.service);
        let target = Target {
            peer: self.service,
            method: Method::Front,
            refusal,
            header: self.proxied(service).map(|_| ProxyVersion::V2),
        };
        Choice::Go(target, message)
    }
}

impl<P: Platform> Rules for FlowEnv<'_, P> {
    fn opens(&mut self, segment: &Segment) -> bool {
        self.platform.listener().opens(segment)
    }

    fn choose(&mut self, ask: &Ask, current: Option<(&Segment, &P::Packet)>) -> Choice {
        let service = self.state.service(self.platform.rules(), &self.service);
        if ask.first {
            if let Some(record) = self.proxied(service) {
                return self.read_proxy_header(&record, ask, current);
            }
        }
        let answer = self.platform.with_buffers(|buffers| {
            let Buffers {
                bytes,
                host,
                path,
                mut decisions,
            } = buffers;
            // A body may lie behind the head: no more is looked at than is needed.
            let available = self.available(ask.from, current).min(bytes.len());
            let first = self.run(ask.from, current);
            let mut wanted = first.len().min(available);
            let whole = first.get(..wanted).filter(|_| wanted == available);
            let key = whole.and_then(|bytes| self.key(service, bytes));
            if let Some((message, route)) =
                key.and_then(|key| decisions.find(&key, u32::try_from(wanted).ok()?))
            {
                let request = Request::without_fields(&[], self.source());
                let chosen = self.serve(route, &request, ask, message);
                return (chosen, Some(route));
            }
            loop {
                let bytes = match first.get(..wanted) {
                    Some(bytes) => bytes,
                    None => self.assemble(ask.from, wanted, current, bytes),
                };
                let buffers = form::Buffers { host, path };
                let answer = self.ask(service, ask, bytes, buffers, key.as_ref(), &mut decisions);
                if wanted >= available || !matches!(answer.0, Chosen::Incomplete) {
                    return answer;
                }
                wanted = wanted.saturating_mul(4).max(PIECE).min(available);
            }
        });
        let Some((chosen, route)) = answer else {
            return Choice::Incomplete;
        };
        let slot = route.and_then(|route| self.platform.rules().route_slot(route));
        self.state.outstanding.choose(slot);
        match chosen {
            Chosen::Incomplete if ask.last => self.go_to_front(ask, Message::OPAQUE, None),
            Chosen::Incomplete => Choice::Incomplete,
            Chosen::Front(message) => self.go_to_front(ask, message, None),
            Chosen::Refused(refusal, message) => self.go_to_front(ask, message, Some(refusal)),
            Chosen::Stay(has_place, message) => {
                if has_place {
                    self.state.chosen = None;
                    self.state.has_place = true;
                }
                Choice::Stay(message)
            }
            Chosen::Go(bound, method, has_place, message) => {
                let peer = scheduled(&bound.server).endpoint();
                if !self.forwards(&peer) {
                    if has_place {
                        scheduled(&bound.server).finish();
                    }
                    let choice = self.go_to_front(ask, message, None);
                    self.state.to_front = Some(Tally::ForwardingOff);
                    return choice;
                }
                if has_place && self.is_behind_anothers(ask, &bound) {
                    scheduled(&bound.server).finish();
                    return Choice::Later;
                }
                self.state.has_place = has_place;
                let header = self.header_of(bound.pool);
                self.state.chosen = Some(bound);
                let target = Target {
                    peer,
                    method,
                    refusal: None,
                    header,
                };
                Choice::Go(target, message)
            }
        }
    }

    fn leave(&mut self, ask: &Ask) {
        if core::mem::take(&mut self.state.has_place) {
            let in_use = || ask.active.and_then(|leg| self.state.server(leg));
            if let Some(bound) = self.state.chosen.as_ref().or_else(in_use) {
                scheduled(&bound.server).finish();
            }
        }
    }
}
