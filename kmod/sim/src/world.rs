// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The simulation: hosts, links and the switch, in the order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::HashMap;

use l7switch_engine::endpoint::Endpoint;
use l7switch_engine::flow::Segment;
use l7switch_engine::flow::segment::ACK;
use l7switch_engine::flow::segment::RST;
use l7switch_engine::flow::segment::SYN;

use crate::client::Client;
use crate::counted;
use crate::ledger::Ledger;
use crate::ledger::Outcome;
use crate::net::Link;
use crate::own::Own;
use crate::plan::ALSO;
use crate::plan::Conn;
use crate::plan::EAGER;
use crate::plan::FRONT;
use crate::plan::HTTP;
use crate::plan::Kind;
use crate::plan::Mode;
use crate::plan::Plan;
use crate::plan::SECOND;
use crate::plan::TLS;
use crate::report::Report;
use crate::rng::Rng;
use crate::server::Server;
use crate::smol::Smol;
use crate::stack::Stack;
use crate::switch::Switch;
use crate::watch::Watch;
use crate::wire;

/// How long a run may take, ns of its own time.
const LONGEST: u64 = 4_000 * SECOND;

enum Role {
    Client(Vec<Client>),
    Server(u8, Vec<Server>),
}

struct Host {
    name: String,
    stack: Box<dyn Stack>,
    role: Role,
    up: Link,
    down: Link,
    /// Nothing is answered.
    hangs: bool,
    scheduled: u64,
}

enum Event {
    /// A packet arrives at a host.
    Host(usize, Vec<u8>),
    /// A packet of a host arrives at the switch.
    Switch(Vec<u8>),
    /// A host has something to do.
    Wake(usize),
    /// The switch has.
    Tick,
}

struct Timed(u64, u64, Event);

impl PartialEq for Timed {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Timed {}
impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Timed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// When a successor takes the switch's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restarts {
    /// Never.
    Never,
    /// Before one event, by its number from 1.
    Before(u64),
    /// Before so many of a million events, by chance.
    Often(u32),
}

/// The simulation.
pub struct World {
    now: u64,
    order: u64,
    queue: BinaryHeap<Reverse<Timed>>,
    hosts: Vec<Host>,
    by_address: HashMap<[u8; 16], usize>,
    switch: Switch,
    restarts: Restarts,
    /// For them: nothing else is otherwise where there are some.
    restarts_rng: Rng,
    ticked: u64,
    ledger: Ledger,
    rng: Rng,
    service: [u8; 16],
    trace: Option<Vec<String>>,
    isns: HashMap<(Endpoint, Endpoint), u32>,
    packets: u64,
    /// What packets say.
    watch: Watch,
    /// Requests that came to two servers, and could not but.
    twice: u64,
    /// Requests of connections that had ended, begun again by late segments.
    late: u64,
}

fn stack(kind: &Kind, address: [u8; 16], seed: u64) -> Box<dyn Stack> {
    match kind {
        Kind::Smol(config) => Box::new(Smol::new(config.clone(), address, seed)),
        Kind::Own(config) => Box::new(Own::new(config.clone(), address, seed)),
    }
}

impl World {
    /// A world as planned.
    pub fn new(plan: Plan, trace: bool) -> Self {
        let seed = plan.seed;
        let mut rng = Rng::new(seed ^ 0x3035);
        let service = plan.service();
        let snat = plan.snat();
        let mut hosts = Vec::new();
        let mut by_address = HashMap::new();
        for (number, client) in plan.clients.iter().enumerate() {
            let own = plan.client(number);
            by_address.insert(own, hosts.len());
            let apps = plan
                .conns
                .iter()
                .enumerate()
                .filter(|(_, conn)| conn.host == number)
                .map(|(index, conn)| Client::new(index, conn))
                .collect();
            hosts.push(Host {
                name: format!("c{number}"),
                stack: stack(&client.kind, own, rng.next()),
                role: Role::Client(apps),
                up: client.up.clone(),
                down: client.down.clone(),
                hangs: false,
                scheduled: u64::MAX,
            });
        }
        let mut servers = Vec::new();
        for (number, server) in plan.servers.iter().enumerate() {
            let own = plan.address(2, number as u16 + 1);
            servers.push(own);
            by_address.insert(own, hosts.len());
            let mut stack = stack(&server.kind, own, rng.next());
            if server.mode == Mode::Serves {
                for port in [HTTP, TLS, EAGER] {
                    stack.listen(port);
                }
            }
            hosts.push(Host {
                name: format!("s{number:02}"),
                stack,
                role: Role::Server(number as u8, Vec::new()),
                up: server.up.clone(),
                down: server.down.clone(),
                hangs: server.mode == Mode::Hangs,
                scheduled: u64::MAX,
            });
        }
        by_address.insert(service, hosts.len());
        let mut front = stack(&plan.front, service, rng.next());
        if plan.front_up {
            for port in [HTTP, ALSO, TLS, EAGER] {
                front.listen(port);
            }
        }
        hosts.push(Host {
            name: "front".into(),
            stack: front,
            role: Role::Server(FRONT, Vec::new()),
            up: Link::clean(5_000),
            down: Link::clean(5_000),
            hangs: false,
            scheduled: u64::MAX,
        });
        let switch = Switch::new(&plan, service, snat, servers, trace);
        let mut world = Self {
            now: 0,
            order: 0,
            queue: BinaryHeap::new(),
            hosts,
            by_address,
            switch,
            restarts: Restarts::Never,
            restarts_rng: Rng::new(seed ^ 0x4ea7),
            ticked: u64::MAX,
            ledger: Ledger::new(plan, trace),
            rng,
            service,
            trace: trace.then(Vec::new),
            isns: HashMap::new(),
            packets: 0,
            watch: Watch::default(),
            twice: 0,
            late: 0,
        };
        for host in 0..world.hosts.len() {
            world.push(0, Event::Wake(host));
            world.hosts[host].scheduled = 0;
        }
        world
    }

    /// The same, with successors in the switch's place.
    #[must_use]
    pub fn restarting(mut self, restarts: Restarts) -> Self {
        self.restarts = restarts;
        self
    }

    fn push(&mut self, at: u64, event: Event) {
        self.order += 1;
        self.queue.push(Reverse(Timed(at, self.order, event)));
    }

    fn line(&mut self, line: String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>14.6} {line}", self.now as f64 / 1e6));
        }
    }

    fn notes(&mut self) {
        if self.trace.is_some() {
            let mut notes = std::mem::take(&mut self.ledger.notes);
            notes.extend(self.switch.notes());
            for note in notes {
                self.line(note);
            }
        }
    }

    /// Describes a packet for the trace, with numbers relative to those of the last SYNs.
    fn show(&mut self, way: &str, packet: &[u8]) {
        if self.trace.is_none() {
            return;
        }
        let line = match wire::read(packet) {
            None => format!("{way}: {} bytes that are no right packet", packet.len()),
            Some(read) => {
                let s = &read.segment;
                if s.is(SYN) {
                    self.isns.insert((s.source, s.destination), s.seq);
                }
                let seq0 = self.isns.get(&(s.source, s.destination)).copied();
                let ack0 = self.isns.get(&(s.destination, s.source)).copied();
                let line = wire::describe(packet, &read, seq0.unwrap_or(0), ack0.unwrap_or(0));
                format!("{way}: {line}")
            }
        };
        self.line(line);
    }

    /// Runs until nothing happens any more.
    pub fn run(mut self) -> Report {
        let mut errors = Vec::new();
        let (mut events, mut mark) = (0u64, 0);
        while let Some(Reverse(Timed(at, _, event))) = self.queue.pop() {
            if at > LONGEST {
                break;
            }
            // A loop of events is a fault too.
            events += 1;
            if events % 100_000 == 0 {
                if at < mark + 1_000_000 {
                    errors.push("100,000 events in a millisecond".into());
                    break;
                }
                mark = at;
            }
            self.now = at;
            let restarts = match self.restarts {
                Restarts::Never => false,
                Restarts::Before(event) => events == event,
                Restarts::Often(ppm) => self.restarts_rng.ppm(ppm),
            };
            if restarts {
                self.switch.restart(at);
                self.tick();
            }
            match event {
                Event::Host(host, packet) => {
                    self.packets += 1;
                    if self.trace.is_some() {
                        let way = format!("      → {}", self.hosts[host].name);
                        self.show(&way, &packet);
                    }
                    self.came(host, &packet);
                    if !self.hosts[host].hangs {
                        self.hosts[host].stack.input(at, packet);
                        self.serve(host);
                    }
                }
                Event::Switch(packet) => {
                    self.packets += 1;
                    self.show("→ switch", &packet);
                    if let Some(read) = wire::read(&packet) {
                        self.watch.of_server(&read.segment);
                        let s = &read.segment;
                        if s.is(SYN)
                            && s.source.address != self.service
                            && let Some(conn) = self.of_server(s.source, s.destination)
                        {
                            self.ledger.streams[conn].connected = true;
                        }
                        // A host that gives a silent peer up says so.
                        if s.is(RST)
                            && s.is(ACK)
                            && let Some(conn) = self.of_server(s.source, s.destination)
                        {
                            let stream = &mut self.ledger.streams[conn];
                            stream.excused |= stream.lost.hides_answers();
                        }
                    }
                    let mut out = Vec::new();
                    let reopened = self.switch.input(at, &packet, &mut out);
                    if reopened
                        && let Some(read) = wire::read(&packet)
                        && let Some(conn) = self.watch.replaced(&read.segment)
                    {
                        let stream = &mut self.ledger.streams[conn];
                        stream.excused = true;
                        stream.replaced = Some(at);
                    }
                    if self.switch.chance() {
                        self.notes();
                        self.line("a cookie was met by chance".into());
                        break;
                    }
                    self.forward(out);
                }
                Event::Wake(host) => {
                    if self.hosts[host].scheduled == at {
                        self.hosts[host].scheduled = u64::MAX;
                        self.serve(host);
                    }
                }
                Event::Tick => {
                    self.ticked = u64::MAX;
                    let mut out = Vec::new();
                    self.switch.tick(at, &mut out);
                    for ends in self.switch.silent() {
                        if let Some(conn) = self.watch.conn(&ends) {
                            let stream = &mut self.ledger.streams[conn];
                            stream.excused |= stream.lost.silences(at);
                        }
                    }
                    self.forward(out);
                }
            }
            errors.extend(self.switch.errors());
            for (conn, index, place) in std::mem::take(&mut self.ledger.again) {
                // A connection has ended, and its port is in use again; its first segments were late, and nothing tells them
                // from those of a connection that begins. Or such a segment took the place of one that goes on.
                let replaced = self.ledger.streams[conn as usize].replaced;
                if self.ledger.outcomes[conn as usize] != Outcome::Open
                    || replaced.is_some_and(|replaced| place.at < replaced)
                {
                    self.late += 1;
                    continue;
                }
                // Where no acknowledgement of it has come, nobody can know that a server has it.
                match self.watch.acknowledged(&place) {
                    Some(acked) if acked <= place.offset => {
                        self.twice += 1;
                    }
                    _ => errors.push(format!(
                        "c{conn}r{index} came to a second server, {place:?} had acknowledged it"
                    )),
                }
            }
            for (conn, place) in std::mem::take(&mut self.ledger.unread) {
                // It has acknowledged what it does not read: nobody can send that elsewhere.
                self.ledger.streams[conn as usize].excused |= self.watch.crossed(&place);
            }
            errors.append(&mut self.ledger.errors);
            self.notes();
            if !errors.is_empty() {
                for error in &errors {
                    let error = format!("!!! {error}");
                    self.line(error);
                }
                break;
            }
        }
        if errors.is_empty() && !self.switch.chance() {
            self.finish(&mut errors);
            for error in &errors {
                let error = format!("!!! {error}");
                self.line(error);
            }
        }
        let mut report = Report {
            errors,
            trace: self.trace.take().unwrap_or_default(),
            connections: self.ledger.outcomes.len() as u64,
            exchanges: self.ledger.exchanges,
            packets: self.packets,
            events,
            bytes: self.ledger.bytes,
            stats: self.switch.stats(),
            twice: self.twice,
            late: self.late,
            chance: self.switch.chance().into(),
            time: self.now,
            ..Report::default()
        };
        for outcome in &self.ledger.outcomes {
            *report.outcomes.entry(format!("{outcome:?}")).or_default() += 1;
        }
        report
    }

    /// What must be true at the end.
    fn finish(&mut self, errors: &mut Vec<String>) {
        for (index, outcome) in self.ledger.outcomes.iter().enumerate() {
            let conn = &self.ledger.plan.conns[index];
            // Where a fifth is lost, a sender that backs off for a minute does not get far; and smoltcp (0.14) does not
            // always send a lost FIN again.
            let plan = &self.ledger.plan;
            let smol = matches!(plan.clients[conn.host].kind, Kind::Smol(_));
            let slow = (plan.grade >= 3 || plan.grade >= 1 && smol)
                && *outcome == Outcome::Failed("it took too long")
                || plan.grade >= 3 && *outcome == Outcome::Failed("ended");
            let excused =
                slow || self.ledger.streams[index].excused || conn.may_fail(&self.ledger.plan);
            match outcome {
                Outcome::Open => errors.push(format!("c{index} is still open")),
                Outcome::Failed(why) if !excused => {
                    errors.push(format!("c{index} failed: {why}"));
                }
                _ => {}
            }
        }
        if self.switch.live() > 0 {
            errors.push(format!("flows are left: {:?}", self.switch.left()));
        } else if !self.switch.left().is_empty() {
            errors.push(format!("legs are left: {:?}", self.switch.left()));
        }
        errors.extend(counted::wrong(&self.ledger, &self.switch, |conn| {
            self.ends(conn)
        }));
        let stats = self.switch.stats();
        if stats.reserved != stats.freed {
            errors.push(format!(
                "{} addresses were reserved, {} freed",
                stats.reserved, stats.freed
            ));
        }
    }

    /// The ends of a connection: the client's and the service's.
    fn ends(&self, conn: &Conn) -> (Endpoint, Endpoint) {
        let ends = self.ledger.plan.ends(conn);
        (ends.source, ends.destination)
    }

    /// Sends what comes out of the switch.
    fn forward(&mut self, out: Vec<Vec<u8>>) {
        let passed = self.switch.take_passed();
        for packet in out {
            self.show("switch →", &packet);
            let Some(read) = wire::read(&packet) else {
                self.ledger
                    .error("a packet of the switch's has a wrong checksum".into());
                continue;
            };
            let s = &read.segment;
            self.check(s, passed);
            self.watch.to_server(self.now, s);
            let Some(&host) = self.by_address.get(&read.segment.destination.address) else {
                continue;
            };
            let arrivals = self.hosts[host].down.carry(self.now, packet, &mut self.rng);
            self.lost(host, false);
            for (at, packet) in arrivals {
                self.push(at, Event::Host(host, packet));
            }
        }
        self.tick();
    }

    /// Sees that the switch is called when its time has come.
    fn tick(&mut self) {
        if let Some(at) = self.switch.wake()
            && at < self.ticked
        {
            self.ticked = at;
            self.push(at.max(self.now), Event::Tick);
        }
    }

    /// The connection of a segment between the switch and a server, whose end this is.
    fn of_server(&self, server: Endpoint, other: Endpoint) -> Option<usize> {
        let ends = self.switch.client_of(server, other)?;
        self.watch.conn(&ends)
    }

    /// A packet comes to a host.
    fn came(&mut self, host: usize, packet: &[u8]) {
        if let (Role::Server(..), Some(read)) = (&self.hosts[host].role, wire::read(packet)) {
            let (from, to) = (read.segment.source, read.segment.destination);
            if let Some(conn) = self.of_server(to, from) {
                self.ledger.streams[conn].lost.heard();
            }
        }
    }

    /// Writes down what a host's link has lost.
    fn lost(&mut self, index: usize, to_switch: bool) {
        let host = &mut self.hosts[index];
        let link = if to_switch {
            &mut host.up
        } else {
            &mut host.down
        };
        let Some(read) = link.lost.take().and_then(|packet| wire::read(&packet)) else {
            return;
        };
        let (from, to) = (read.segment.source, read.segment.destination);
        let (outer, inner) = if to_switch { (from, to) } else { (to, from) };
        let ends = match host.role {
            Role::Client(_) => Some((outer, inner)),
            Role::Server(..) => self.switch.client_of(outer, inner),
        };
        if let Some(conn) = ends.and_then(|ends| self.watch.conn(&ends)) {
            self.ledger.streams[conn].lost.add(self.now, to_switch);
        }
    }

    /// Whether what a segment acknowledges to a client has come to a server. `passed`: the segment is the front's stack's own.
    fn check(&mut self, segment: &Segment, passed: bool) {
        let hosts = &self.hosts;
        let servers = || {
            hosts.iter().flat_map(|host| match &host.role {
                Role::Server(_, apps) => apps.as_slice(),
                Role::Client(_) => &[],
            })
        };
        let checked = self.watch.to_client(segment, passed, &self.ledger, servers);
        if let Err(error) = checked {
            self.ledger.error(error);
        }
    }

    /// Lets a host do what it can.
    fn serve(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        let mut out = Vec::new();
        host.stack.poll(self.now, &mut out);
        let mut wake = u64::MAX;
        match &mut host.role {
            Role::Client(apps) => {
                for app in apps.iter_mut() {
                    if let Some(at) =
                        app.poll(self.now, self.service, &mut *host.stack, &mut self.ledger)
                    {
                        wake = wake.min(at);
                    }
                }
                apps.retain(|app| !app.finished());
            }
            Role::Server(server, apps) => {
                while let Some(handle) = host.stack.accept() {
                    let port = host.stack.local(handle).port;
                    apps.push(Server::new(self.now, *server, port, handle));
                }
                for app in apps.iter_mut() {
                    if let Some(at) = app.poll(self.now, &mut *host.stack, &mut self.ledger) {
                        wake = wake.min(at);
                    }
                }
                apps.retain(|app| !app.finished());
            }
        }
        host.stack.poll(self.now, &mut out);
        for conn in std::mem::take(&mut self.ledger.late) {
            let plan = &self.ledger.plan;
            let client = plan.ends(&plan.conns[conn]).source;
            let snat = plan.snat();
            let of = |local: &Endpoint, remote: &Endpoint| {
                *local == client || *remote == client || remote.address == snat
            };
            let mut hosts = self.hosts.iter();
            let still = hosts.any(|host| host.stack.stands_still(self.now, &of));
            let excused = still && plan.grade > 0 || self.ledger.streams[conn].lost.delays();
            self.ledger.streams[conn].excused |= excused;
        }
        let host = &mut self.hosts[index];
        for error in host.stack.errors() {
            let error = format!("{}: {error}", host.name);
            self.ledger.error(error);
        }
        if let Some(at) = host.stack.wake(self.now) {
            wake = wake.min(at.max(self.now + 1));
        }
        if wake < host.scheduled {
            host.scheduled = wake;
            self.order += 1;
            let order = self.order;
            self.queue
                .push(Reverse(Timed(wake, order, Event::Wake(index))));
        }
        for packet in out {
            if let Role::Client(apps) = &self.hosts[index].role
                && let Some(read) = wire::read(&packet)
            {
                self.watch.of_client(apps, &read.segment);
            }
            let arrivals = self.hosts[index].up.carry(self.now, packet, &mut self.rng);
            self.lost(index, true);
            for (at, packet) in arrivals {
                self.push(at, Event::Switch(packet));
            }
        }
    }
}
