// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Exchanges of packets as lines of text.
//!
//! `c> PA 1 1 GET/a` is a segment from the client, `a< S 0` one that the switch sends to server *a*; what a line with `>`
//! makes the switch send has to follow it, in order and completely. The sides are `c`, the servers `a`, `a2`, `b`, of which a
//! request's path names the pool, and `f`, the front. Then come flags, sequence number, acknowledgement (none where
//! there is no A), data, and options as `name=value`: `win`, `ts` (clock/echo), `ws`, `mss`,
//! `sack` (one block: left-right, or `none`). Options that are not named in a
//! line with `<` may be anything. `c> S 0 isn=7` begins another connection of the same port, whose first number is 7 more;
//! `as -7` goes back to the connection before it. `t 1000` lets so many ms pass, `forget` lets go of what is held; `end` and `abort` call the
//! methods of those names.
//!
//! Numbers are relative, as tcpdump has them: of the client to its first number and to the cookie; of a server to its own
//! first number, and to that of the SYN it got. Every script runs several times: with first numbers at which the arithmetic
//! wraps, and with data that lie in one piece, in pages, and cut anywhere.
//!
//! Data are words: `GET/a` and `HEAD/a` are requests, `POST/a:100` is one with a body of so many bytes of which the head
//! only is meant, `OK:5` a response of so many bytes, `V1` (37 bytes) and `V2` (28) a PROXY header, `x:20` so many bytes, `'…'` a literal; a part is `GET/a[0..10]`.

use core::fmt::Write;
use std::collections::BTreeMap;
use std::format;
use std::string::String;
use std::string::ToString;
use std::vec;
use std::vec::Vec;

use super::super::*;
use super::environment::header;
use super::environment::server;
use super::environment::Held;
use super::environment::Packet;
pub(super) use super::environment::Setting;
use super::environment::World;
use super::environment::CLIENT;
use super::environment::LAYOUTS;
use super::environment::SERVICE;

/// What is sent and expected.
#[derive(Default)]
struct Line {
    side: String,
    flags: TcpFlags,
    seq: u32,
    ack: Option<u32>,
    data: Vec<u8>,
    options: BTreeMap<String, String>,
}

fn flags(text: &str) -> TcpFlags {
    text.chars().fold(TcpFlags::NONE, |flags, letter| {
        flags
            | match letter {
                'S' => segment::SYN,
                'F' => segment::FIN,
                'R' => segment::RST,
                'P' => segment::PSH,
                'A' => segment::ACK,
                'U' => segment::URG,
                _ => panic!("no flag {letter}"),
            }
    })
}

fn flag_names(flags: TcpFlags) -> String {
    ["S", "F", "R", "P", "A", "U"]
        .iter()
        .zip([
            segment::SYN,
            segment::FIN,
            segment::RST,
            segment::PSH,
            segment::ACK,
            segment::URG,
        ])
        .filter(|(_, flag)| flags.intersects(*flag))
        .map(|(name, _)| *name)
        .collect()
}

/// The bytes of a word.
fn data(word: &str) -> Vec<u8> {
    if let Some((word, part)) = word
        .strip_suffix(']')
        .and_then(|word| word.rsplit_once('['))
    {
        let (from, to) = part.split_once("..").unwrap();
        let whole = data(word);
        let to = if to.is_empty() {
            whole.len()
        } else {
            to.parse().unwrap()
        };
        return whole[from.parse().unwrap()..to].to_vec();
    }
    let (name, number) = word.split_once(':').unwrap_or((word, "0"));
    if let Some(literal) = word.strip_prefix('\'') {
        let text = literal.strip_suffix('\'').unwrap();
        return text
            .replace("\\r", "\r")
            .replace("\\n", "\n")
            .replace('_', " ")
            .into_bytes();
    }
    if let Some((method, path)) = name.split_once('/') {
        let mut head = format!("{method} /{path} HTTP/1.1\r\nHost: h\r\n");
        if number != "0" {
            head.push_str(&format!("Content-Length: {number}\r\n"));
        }
        head.push_str("\r\n");
        return head.into_bytes();
    }
    let length: usize = number.parse().unwrap();
    let mut bytes = match name {
        "V1" => header(ProxyVersion::V1).bytes().to_vec(),
        "V2" => header(ProxyVersion::V2).bytes().to_vec(),
        "OK" => format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes(),
        "x" => Vec::new(),
        _ => panic!("no data {word}"),
    };
    bytes.resize(bytes.len() + length, b'x');
    bytes
}

fn parse(text: &str) -> Line {
    let mut words = text.split_whitespace();
    let side = words.next().unwrap();
    let mut line = Line {
        side: side[..side.len() - 1].to_string(),
        ..Line::default()
    };
    line.flags = flags(words.next().unwrap());
    line.seq = words.next().unwrap().parse::<i64>().unwrap() as u32;
    let mut rest = words.peekable();
    if line.flags.intersects(segment::ACK) {
        line.ack = Some(rest.next().unwrap().parse::<i64>().unwrap() as u32);
    }
    for word in rest {
        match word.split_once('=') {
            Some((name, value)) if !word.starts_with('\'') => {
                line.options.insert(name.to_string(), value.to_string());
            }
            _ => line.data.extend(data(word)),
        }
    }
    line
}

/// A script under way.
pub(super) struct Script {
    pub(super) world: World,
    pub(super) flow: Option<Flow>,
    client_isn: u32,
    /// The latest cookie.
    cookie: u32,
    /// Cookies by the first numbers of the connections.
    cookies: BTreeMap<u32, u32>,
    /// First numbers of servers.
    isns: BTreeMap<String, u32>,
    /// First numbers of the connections to them.
    leg_isns: BTreeMap<String, u32>,
    clocked: bool,
}

impl Script {
    fn new(setting: Setting, client_isn: u32) -> Self {
        Self {
            world: World {
                setting,
                // Near where ms wrap.
                now: 4_294_967_000_000_000,
                held: Vec::new(),
                unacked: Vec::new(),
                tried: Vec::new(),
                largest: 0,
                legs: PerLeg::default(),
                out: Vec::new(),
                emitted: Vec::new(),
                events: BTreeMap::new(),
                started: 0,
                is_chosen: false,
                finished: 0,
            },
            flow: None,
            client_isn,
            cookie: 0,
            cookies: BTreeMap::new(),
            isns: ["a", "a2", "b", "f"]
                .iter()
                .zip(1u32..)
                .map(|(name, n)| {
                    (
                        name.to_string(),
                        client_isn.wrapping_mul(3).wrapping_add(n * 0x1000_0000),
                    )
                })
                .collect(),
            leg_isns: BTreeMap::new(),
            clocked: false,
        }
    }

    /// What a side takes for its client.
    fn local(&self, side: &str) -> Endpoint {
        self.world.local(match side {
            "f" => Method::Front,
            _ => self.world.method(),
        })
    }

    fn name_of(packet: &Packet) -> &'static str {
        let s = &packet.segment;
        if s.source == SERVICE && s.destination == CLIENT {
            return "c";
        }
        ["a", "a2", "b", "f"]
            .into_iter()
            .find(|name| server(name) == s.destination)
            .expect("an address that nobody has")
    }

    fn packet(&mut self, line: &Line) -> Packet {
        let client = line.side == "c";
        let (source, destination, seq0, ack0) = if client {
            if line.flags.intersects(segment::SYN) {
                // Another connection of the same port.
                if let Some(isn) = line.options.get("isn") {
                    self.client_isn = self
                        .client_isn
                        .wrapping_add(isn.parse::<i64>().unwrap() as u32);
                }
            }
            (CLIENT, SERVICE, self.client_isn, self.cookie)
        } else {
            let side = &line.side;
            (
                server(side),
                self.local(side),
                self.isns[side],
                self.leg_isns.get(side).copied().unwrap_or(0),
            )
        };
        let syn = line.flags.intersects(segment::SYN);
        let option = |name: &str| line.options.get(name);
        Packet {
            refusal: None,
            layout: self.world.setting.layout.unwrap(),
            segment: Segment {
                source,
                destination,
                seq: seq0.wrapping_add(line.seq),
                ack: line.ack.map_or(0, |ack| ack0.wrapping_add(ack)),
                flags: line.flags,
                window: option("win").map_or(1000, |win| win.parse().unwrap()),
                payload: line.data.len() as u32,
                header_len: 20,
                timestamps: option("ts").map(|ts| {
                    let (value, echo) = ts.split_once('/').unwrap();
                    Timestamps {
                        value: value.parse().unwrap(),
                        echo: echo.parse().unwrap(),
                    }
                }),
                offer: if syn {
                    Offer {
                        mss: option("mss").map_or(1460, |mss| mss.parse().unwrap()),
                        window_scale: match option("ws").map(String::as_str) {
                            Some("none") => None,
                            Some(scale) => Some(scale.parse().unwrap()),
                            None => Some(7),
                        },
                        sack: true,
                    }
                } else {
                    Offer::default()
                },
                has_sack: false,
            },
            sack: option("sack").map(|block| {
                let (left, right) = block.split_once('-').unwrap();
                let number = |text: &str| ack0.wrapping_add(text.parse().unwrap());
                (number(left), number(right))
            }),
            data: line.data.clone(),
        }
    }

    fn show(&self, packet: &Packet) -> String {
        let name = Self::name_of(packet);
        let s = &packet.segment;
        let (seq0, ack0) = if name == "c" {
            (self.cookie, self.client_isn)
        } else {
            (
                self.leg_isns.get(name).copied().unwrap_or(0),
                self.isns[name],
            )
        };
        let mut text = format!(
            "{name}< {} {}",
            flag_names(s.flags),
            s.seq.wrapping_sub(seq0)
        );
        if s.is(segment::ACK) {
            let _ = write!(text, " {}", s.ack.wrapping_sub(ack0));
        }
        let _ = write!(
            text,
            " ({} bytes: {:?}) win={} ts={:?}",
            s.payload,
            String::from_utf8_lossy(&packet.data),
            s.window,
            s.timestamps
        );
        text
    }

    /// Compares a packet that came out with a line.
    fn compare(&mut self, text: &str, packet: &Packet) {
        let line = parse(text);
        let s = &packet.segment;
        if s.is(segment::SYN) {
            match Self::name_of(packet) {
                "c" => {
                    self.cookie = s.seq;
                    self.cookies.insert(self.client_isn, s.seq);
                }
                name => {
                    self.leg_isns.insert(name.to_string(), s.seq);
                }
            }
        }
        let shown = self.show(packet);
        let client = line.side == "c";
        let (seq0, ack0) = if client {
            (self.cookie, self.client_isn)
        } else {
            (
                self.leg_isns.get(&line.side).copied().unwrap_or(0),
                self.isns[&line.side],
            )
        };
        assert_eq!(Self::name_of(packet), line.side, "{text}: got {shown}");
        assert_eq!(
            flag_names(s.flags),
            flag_names(line.flags),
            "{text}: got {shown}"
        );
        assert_eq!(s.seq, seq0.wrapping_add(line.seq), "{text}: got {shown}");
        if let Some(ack) = line.ack {
            assert_eq!(s.ack, ack0.wrapping_add(ack), "{text}: got {shown}");
        }
        assert!(packet.data == line.data, "{text}: got {shown}");
        if !client {
            assert_eq!(s.source, self.local(&line.side), "{text}: got {shown}");
        }
        for (name, value) in &line.options {
            let got = match name.as_str() {
                "win" => s.window.to_string(),
                "limited" => (packet.refusal == Some(Refusal::RateLimit)).to_string(),
                "ts" => match s.timestamps {
                    Some(t) => format!("{}/{}", t.value, t.echo),
                    None => "none".to_string(),
                },
                "ws" => s
                    .offer
                    .window_scale
                    .map_or("none".to_string(), |scale| scale.to_string()),
                "mss" => s.offer.mss.to_string(),
                "sack" => packet.sack.map_or("none".to_string(), |(left, right)| {
                    format!("{}-{}", left.wrapping_sub(ack0), right.wrapping_sub(ack0))
                }),
                _ => panic!("no option {name}"),
            };
            assert_eq!(&got, value, "{text}: got {shown}");
        }
    }

    fn hold(&mut self, packet: &Packet, from: u32) {
        if !self.world.setting.forgets {
            self.world.held.push(Held {
                packet: packet.clone(),
                from,
            });
        }
    }

    fn verdict(&mut self, packet: &Packet, verdict: Verdict) {
        let s = packet.segment;
        let (bytes, rewrite, held) = match verdict {
            Verdict::Drop => return,
            Verdict::Forward(rewrite) => (s.payload, rewrite, None),
            Verdict::Hold(from) => {
                self.hold(packet, from);
                return;
            }
            Verdict::Part(bytes, rewrite) => (bytes, rewrite, None),
            Verdict::PartHold(bytes, rewrite) => (bytes, rewrite, Some(s.seq.wrapping_add(bytes))),
            Verdict::Reopen => panic!("it is opened twice"),
        };
        self.world
            .out
            .push(World::apply(packet, &rewrite, 0, bytes));
        if let Some(from) = held {
            self.hold(packet, from);
        }
    }

    /// Takes a packet; gives what goes out: what was held, what was built, the packet.
    fn input(&mut self, packet: &Packet) -> Vec<Packet> {
        let s = packet.segment;
        let client = s.source == CLIENT;
        let mut last = Vec::new();
        if client {
            let mut open = true;
            let flow = self.flow.as_mut();
            if let Some(flow) = flow.filter(|flow| flow.is_live() || !s.is(segment::SYN)) {
                open = false;
                match flow.client(&s, packet, &mut self.world) {
                    Verdict::Reopen => {
                        flow.end(&mut self.world);
                        self.flow = None;
                        open = true;
                    }
                    verdict => {
                        let before = self.world.out.len();
                        self.verdict(packet, verdict);
                        last = self.world.out.split_off(before);
                    }
                }
            }
            if open {
                match fresh(&self.world.listener(), &s) {
                    Fresh::Pass => {
                        // The local stack knows of nothing.
                        let mut answer = packet.clone();
                        answer.data.clear();
                        answer.segment.payload = 0;
                        answer.segment.source = SERVICE;
                        answer.segment.destination = CLIENT;
                        answer.segment.seq = s.ack;
                        answer.segment.flags = segment::RST;
                        self.world.out.push(answer);
                    }
                    Fresh::Drop | Fresh::Overtook => {}
                    Fresh::Answer(build) => self.world.emitted.push(build),
                    Fresh::Open(flow) => {
                        let mut flow = flow;
                        let verdict = flow.client(&s, packet, &mut self.world);
                        self.flow = Some(flow);
                        let before = self.world.out.len();
                        self.verdict(packet, verdict);
                        last = self.world.out.split_off(before);
                    }
                }
            }
        } else if let Some(flow) = &mut self.flow {
            let legs = &self.world.legs;
            let leads_there = |leg: &LegNumber| *legs.get(*leg) == Some(s.source);
            if let Some(leg) = LegNumber::ALL.into_iter().find(leads_there) {
                let verdict = flow.server(leg, &s, packet, &mut self.world);
                let before = self.world.out.len();
                self.verdict(packet, verdict);
                last = self.world.out.split_off(before);
            }
        }
        self.gather(last)
    }

    fn gather(&mut self, last: Vec<Packet>) -> Vec<Packet> {
        let mut out = core::mem::take(&mut self.world.out);
        out.extend(
            self.world
                .emitted
                .drain(..)
                .map(|build| World::built(&build)),
        );
        out.extend(last);
        if self.flow.is_some_and(|flow| flow.state() == State::Dead) {
            self.flow = None;
            assert_eq!(
                self.world.legs,
                PerLeg::default(),
                "a flow is gone, and its legs are not"
            );
            assert!(!self.world.is_chosen);
            assert_eq!(self.world.started, self.world.finished, "requests");
        }
        out
    }

    fn pass(&mut self, ms: u64) -> Vec<Packet> {
        self.world.now += ms * 1_000_000;
        let mut out = Vec::new();
        if let Some(flow) = &mut self.flow {
            flow.tick(&mut self.world);
            out = self.gather(Vec::new());
        }
        out
    }

    fn run(&mut self, text: &str) {
        let mut waiting: Vec<Packet> = Vec::new();
        let lines = text
            .lines()
            .map(|line| line.split('#').next().unwrap().trim());
        for line in lines.filter(|line| !line.is_empty()) {
            if let Some(ms) = line.strip_prefix("t ") {
                assert!(
                    waiting.is_empty(),
                    "before {line}: {}",
                    self.show(&waiting[0])
                );
                waiting = self.pass(ms.parse().unwrap());
                continue;
            }
            if line == "forget" {
                self.world.held.clear();
                continue;
            }
            if let Some(isn) = line.strip_prefix("as ") {
                let isn = isn.parse::<i64>().unwrap() as u32;
                self.client_isn = self.client_isn.wrapping_add(isn);
                self.cookie = self.cookies[&self.client_isn];
                continue;
            }
            if line == "end" || line == "abort" {
                let flow = self.flow.as_mut().unwrap();
                match line {
                    "end" => flow.end(&mut self.world),
                    _ => flow.abort(&mut self.world),
                }
                waiting = self.gather(Vec::new());
                continue;
            }
            match line.split_once(' ').unwrap().0.ends_with('>') {
                true => {
                    assert!(
                        waiting.is_empty(),
                        "before {line}: {}",
                        self.show(&waiting[0])
                    );
                    let parsed = parse(line);
                    self.clocked |= parsed.options.contains_key("ts");
                    let packet = self.packet(&parsed);
                    waiting = self.input(&packet);
                }
                false => {
                    assert!(!waiting.is_empty(), "{line}: nothing was sent");
                    let packet = waiting.remove(0);
                    self.compare(line, &packet);
                }
            }
        }
        assert!(waiting.is_empty(), "at the end: {}", self.show(&waiting[0]));
    }
}

/// Runs a script; what is left is given to `check`. Neither first numbers nor how data lie may change anything.
pub(super) fn check(setting: &Setting, text: &str, check: impl Fn(&Script)) {
    for isn in [1_000, 0, 0xffff_ffff, 0xffff_ff80, 0x7fff_fff0, 0x0123_4567] {
        let only = setting.layout.map(|layout| [layout]);
        for layout in only.as_ref().map_or(&LAYOUTS[..], |only| only) {
            let setting = Setting {
                layout: Some(layout),
                ..setting.clone()
            };
            let mut script = Script::new(setting, isn);
            script.run(text);
            check(&script);
        }
    }
}

/// Runs a script.
pub(super) fn run(text: &str) {
    check(&Setting::default(), text, |_| {});
}

/// A chunked request has begun, and its server has the head.
pub(super) const CHUNKED: &str = "c> S 0
         c< SA 0 1
         c> PA 1 1 'POST_/a_HTTP/1.1\\r\\nHost:_h\\r\\nTransfer-Encoding:_chunked\\r\\n\\r\\n'
         a< S 0
         a> SA 0 1
         a< PA 1 1 'POST_/a_HTTP/1.1\\r\\nHost:_h\\r\\nTransfer-Encoding:_chunked\\r\\n\\r\\n'
         a> A 1 58
         c< A 1 58
";

/// A connection on which one request has gone to *a*.
pub(super) const SENT: &str = "c> S 0
         c< SA 0 1
         c> PA 1 1 GET/a
         a< S 0
         a> SA 0 1
         a< PA 1 1 GET/a
";

/// Runs what follows that.
pub(super) fn sent(text: &str) {
    run(&[SENT, text].concat());
}

/// A connection on which one request to *a* has been answered.
pub(super) const BOUND: &str = "c> S 0
         c< SA 0 1
         c> PA 1 1 GET/a
         a< S 0
         a> SA 0 1
         a< PA 1 1 GET/a
         a> PA 1 29 OK:5
         c< PA 1 29 OK:5
         c> A 29 44
         a< A 29 44
";

/// Runs what follows that.
pub(super) fn bound(text: &str) {
    run(&[BOUND, text].concat());
}

#[test]
fn words_are_what_they_say() {
    assert_eq!(data("GET/a").len(), 28);
    assert_eq!(data("OK:5").len(), 38 + 5);
    assert_eq!(data("GET/a[4..6]"), b"/a");
    assert_eq!(data("'a_b\\r\\n'"), b"a b\r\n");
    assert_eq!(vec![b'x'; 3], data("x:3"));
    assert_eq!((data("V1").len(), data("V2").len()), (37, 28));
}

#[test]
#[should_panic(expected = "nothing was sent")]
fn a_script_that_expects_too_much_fails() {
    run("c> S 0\nc< SA 0 1\nc< A 1 1");
}

#[test]
#[should_panic(expected = "at the end")]
fn a_script_that_expects_too_little_fails() {
    run("c> S 0");
}
