// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Plans from seeds.

mod proxies;

use l7switch_engine::sched::Kind as Sched;

use crate::net::Link;
use crate::own::OwnConfig;
use crate::plan::*;
use crate::rng::Rng;
use crate::smol::SmolConfig;

/// How much happens in a run.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Connections.
    pub connections: usize,
    /// 0: one clean connection; 1: without faults of the network; 2: with everything.
    pub level: u8,
    /// With PROXY headers, and bounds of servers, in some plans. Without them seeds are what they were before there were any.
    pub extras: bool,
}

fn exchange(conn: u32, index: u32) -> Exchange {
    Exchange {
        conn,
        index,
        pool: 0,
        method: Method::Get,
        padding: 0,
        frame: Frame::None,
        body: 0,
        expect: false,
        close: false,
        upgrade: None,
        think: 0,
        status: 200,
        answer_frame: Frame::Length,
        answer: 100,
        answer_padding: 0,
        interim: 0,
        delay: 0,
        answer_close: false,
        early: false,
        reset_after: None,
        trickle: None,
    }
}

fn smol() -> SmolConfig {
    SmolConfig {
        receive: 65535,
        send: 65535,
        mtu: 1500,
        nagle: false,
        ack_delay: Some(10),
        timestamps: false,
        congestion: 0,
        keep_alive: None,
    }
}

fn smols(rng: &mut Rng) -> SmolConfig {
    let mtu = rng.pick(&[1500, 1500, 1500, 9000, 1280, 600]);
    SmolConfig {
        receive: rng.pick(&[2048, 4096, 16_384, 65_535, 300_000]),
        send: rng.pick(&[2048, 8192, 65_535, 200_000]),
        mtu,
        nagle: rng.percent(50),
        ack_delay: rng.pick(&[None, Some(10), Some(40)]),
        timestamps: rng.percent(50),
        congestion: rng.below(3) as u8,
        // A probe of smoltcp's (0.14) puts off what its peer, if it is smoltcp's too, would send again, for ever.
        keep_alive: None,
    }
}

fn kind(rng: &mut Rng, level: u8) -> Kind {
    if level == 0 {
        return Kind::Smol(smol());
    }
    if rng.percent(40) {
        return Kind::Smol(smols(rng));
    }
    Kind::Own(own(rng))
}

fn own(rng: &mut Rng) -> OwnConfig {
    let mut config = OwnConfig {
        mtu: rng.pick(&[1500, 1500, 1500, 9000, 1280, 600]),
        receive: rng.pick(&[3_000, 14_600, 65_535, 500_000]),
        send: rng.pick(&[4_096, 87_380, 400_000]),
        scale: rng.pick(&[None, Some(0), Some(7), Some(8), Some(14)]),
        sack: rng.percent(85),
        timestamps: rng.percent(75),
        initial: rng.pick(&[1, 2, 10, 10, 10, 100]),
        gso: rng.pick(&[1, 1, 4, 40]),
        delayed_ack: rng.pick(&[0, 40 * MS, 200 * MS]),
        keep_alive: rng.pick(&[None, None, Some(SECOND), Some(20 * SECOND)]),
        probe_byte: rng.percent(30),
        resplit: rng.percent(50),
        time_wait: rng.pick(&[MS, SECOND, 60 * SECOND]),
    };
    // A window of which nothing is left is none.
    while let Some(scale) = config.scale {
        if config.receive >> scale >= 16 {
            break;
        }
        config.scale = Some(scale - 1);
    }
    config
}

/// A link of a kind: 0 is clean, 3 is bad.
fn link(rng: &mut Rng, grade: u8, far: bool) -> Link {
    let delay = if far {
        rng.range(MS / 10, 50 * MS)
    } else {
        rng.range(MS / 50, MS)
    };
    let mut link = Link::clean(delay);
    if grade >= 1 {
        link.jitter = rng.pick(&[0, delay / 10, delay * 2]);
        link.duplicate = rng.pick(&[0, 1_000, 20_000]);
        link.late = rng.pick(&[0, 1_000, 30_000]);
    }
    if grade >= 2 {
        link.loss = rng.pick(&[0, 1_000, 10_000, 30_000]);
        link.corrupt = rng.pick(&[0, 0, 1_000, 5_000]);
        link.rate = rng.pick(&[0, 0, 200_000, 10_000_000]);
    }
    if grade >= 3 {
        link.loss = rng.pick(&[30_000, 100_000, 200_000]);
        link.burst = rng.pick(&[0, 100 * MS, 3 * SECOND]);
        link.late = rng.pick(&[0, 100_000]);
    }
    link
}

/// A length: mostly small, sometimes long.
fn length(rng: &mut Rng) -> usize {
    let most = rng.pick(&[0, 1, 100, 1_400, 3_000, 20_000, 100_000]);
    rng.range(0, most) as usize
}

fn exchanges(rng: &mut Rng, conn: u32) -> Vec<Exchange> {
    let count = rng.pick(&[1, 1, 2, 3, 5, 12]) as u32;
    let mut pool = rng.below(u64::from(POOLS)) as u8;
    let mut list = Vec::new();
    for index in 0..count {
        let mut e = exchange(conn, index);
        if rng.percent(40) {
            pool = rng.below(u64::from(POOLS)) as u8;
        }
        e.pool = pool;
        if rng.percent(2) {
            e.pool = FRONT;
        }
        e.method = rng.pick(&[
            Method::Get,
            Method::Get,
            Method::Get,
            Method::Head,
            Method::Post,
        ]);
        e.padding = rng.pick(&[0, 0, 0, 100, 1_400, 3_000, 7_000]);
        if e.method == Method::Post {
            e.frame = rng.pick(&[Frame::Length, Frame::Length, Frame::Chunked, Frame::None]);
            if e.frame != Frame::None {
                e.body = length(rng);
            }
            e.expect = e.frame != Frame::None && e.body > 0 && rng.percent(15);
        }
        e.answer_frame = rng.pick(&[Frame::Length, Frame::Length, Frame::Chunked]);
        e.answer = length(rng);
        e.answer_padding = rng.pick(&[0, 0, 100, 2_000]);
        if rng.percent(10) && e.method != Method::Head {
            (e.status, e.answer_frame, e.answer) = rng.pick(&[
                (204, Frame::None, 0),
                (304, Frame::None, 0),
                (404, Frame::Length, 9),
            ]);
        }
        e.interim = u8::from(e.expect) + rng.pick(&[0, 0, 0, 0, 1, 2]);
        e.delay = rng.pick(&[0, 0, 0, MS, 30 * MS, SECOND, 5 * SECOND]);
        e.think = rng.pick(&[0, 0, 0, MS, 20 * MS, SECOND, 8 * SECOND]);
        e.early = e.frame != Frame::None && rng.percent(10);
        e.trickle = rng.pick(&[None, None, None, None, None, None, Some(1), Some(700)]);
        if e.trickle == Some(1) {
            e.answer = e.answer.min(300);
            e.answer_padding = 0;
        }
        if rng.percent(2) {
            e.reset_after = Some(rng.below(400) as usize);
        }
        list.push(e);
    }
    if let Some(last) = list.last_mut() {
        match rng.below(20) {
            0..4 => last.close = true,
            4..8 => last.answer_close = true,
            8..10 if last.status == 200 => {
                last.answer_frame = Frame::Close;
                last.answer_close = rng.percent(50);
            }
            10 if last.pool != FRONT && last.method == Method::Get => {
                last.upgrade = Some((length(rng), length(rng)));
                last.status = 101;
                last.interim = 0;
                last.reset_after = None;
                last.answer_frame = Frame::None;
                last.answer = 0;
            }
            _ => {}
        }
        if last.method == Method::Head && last.answer_frame == Frame::Close {
            last.answer_close = true;
        }
    }
    list
}

fn connection(rng: &mut Rng, id: u32, hosts: usize, start: u64) -> Conn {
    let host = rng.below(hosts as u64) as usize;
    let (service, what) = match rng.below(20) {
        0 | 1 => (
            TLS,
            What::Tls(rng.below(u64::from(POOLS)) as u8, length(rng), length(rng)),
        ),
        2 | 3 => (EAGER, What::Eager(length(rng), length(rng))),
        4 => (HTTP, What::OpenOnly),
        _ => (
            HTTP,
            What::Http(exchanges(rng, id).into(), rng.pick(&[1, 1, 1, 2, 20])),
        ),
    };
    let end = match rng.below(12) {
        0 | 1 => End::Half,
        2 => End::Reset,
        3 => End::Wait(rng.pick(&[SECOND, 30 * SECOND, 100 * SECOND])),
        4 if rng.percent(50) => End::ResetAt(rng.below(5_000) * MS),
        5 if rng.percent(30) => End::ResetAfter(rng.below(2_000) as usize),
        _ => End::Fin,
    };
    let up = match &what {
        What::Http(list, _) => list
            .iter()
            .map(|e| e.head().len() + e.body + e.upgrade.map_or(0, |(up, _)| up))
            .sum(),
        What::Tls(_, up, _) => up + hello_len(id),
        What::Eager(up, _) => *up,
        What::OpenOnly => 0,
    };
    let trickle = match rng.below(12) {
        0 => Some((1, MS / 10)),
        1 => Some((1, 20 * MS)),
        2 => Some((100, 10 * MS)),
        3 => Some((1_000, 300 * MS)),
        _ => None,
    };
    Conn {
        id,
        host,
        port: 40_000 + rng.below(12) as u16,
        service,
        start,
        header: None,
        what,
        end,
        // Not for ever.
        trickle: trickle.filter(|(most, _)| up / most < 500),
        slow: rng.pick(&[None, None, None, None, None, Some(500), Some(5_000)]),
        idle: rng.pick(&[0, 0, 0, 0, MS, SECOND, 70 * SECOND, 300 * SECOND]),
    }
}

fn server(rng: &mut Rng, pool: u8, level: u8, grade: u8, failing: bool) -> ServerHost {
    let mut server = ServerHost {
        pool,
        kind: kind(rng, level),
        mode: Mode::Serves,
        idle_close: None,
        says_408: false,
        closes_after: None,
        fullnat: rng.percent(30),
        up: link(rng, grade, false),
        down: link(rng, grade, false),
    };
    if failing {
        server.mode = rng.pick(&[
            Mode::Serves,
            Mode::Serves,
            Mode::Serves,
            Mode::Refuses,
            Mode::Hangs,
        ]);
    }
    if rng.percent(30) {
        server.idle_close = Some(rng.pick(&[20 * MS, SECOND, 8 * SECOND, 15 * SECOND]));
        server.says_408 = rng.percent(30);
        server.closes_after = rng.pick(&[None, None, Some(1), Some(3)]);
    }
    server
}

/// `sticky`: requests stay where the connection is if the pool is the same.
fn rules(seed: u64, sticky: bool, level: u8) -> RulesPlan {
    let mut rng = Rng::new(seed ^ 0x5c4e_d001);
    let scheduler = |rng: &mut Rng| {
        let hashing = [Sched::Sh, Sched::Mh, Sched::Ch];
        match sticky {
            true => SchedulerPlan {
                kind: rng.pick(&Sched::ALL),
                key: "source",
            },
            false => SchedulerPlan {
                kind: rng.pick(&hashing),
                key: rng.pick(&["path", "path", "host"]),
            },
        }
    };
    let mut reloads = Vec::new();
    if level > 0 && rng.percent(30) {
        for _ in 0..rng.range(1, 3) {
            reloads.push(rng.below(20 * SECOND));
        }
    }
    let mut plan = RulesPlan {
        split: level > 0 && rng.percent(20),
        retries: rng.pick(&[0, 1, 2, 2, 5]),
        schedulers: [(); POOLS as usize].map(|()| scheduler(&mut rng)),
        reloads,
        limit: None,
        bound: None,
    };
    if level > 0 && rng.percent(25) {
        plan.limit = Some(LimitPlan {
            burst: rng.pick(&[1, 2, 5, 20]),
            by_source: rng.percent(50),
        });
    }
    plan
}

/// Nothing fails: every request has to come to its pool.
fn calm(plan: &mut Plan) {
    (plan.front_up, plan.forget, plan.ports) = (true, 0, 1_000);
    plan.rules.split = false;
    plan.rules.limit = None;
    plan.rules.bound = None;
    for server in &mut plan.servers {
        server.mode = Mode::Serves;
        (server.idle_close, server.closes_after) = (None, None);
        if plan.timestamps {
            promise(&mut server.kind);
        }
    }
}

fn promise(kind: &mut Kind) {
    match kind {
        Kind::Smol(config) => config.timestamps = true,
        Kind::Own(config) => config.timestamps = true,
    }
}

fn widen(kind: &mut Kind) {
    match kind {
        Kind::Smol(config) => config.receive = config.receive.max(40_000),
        Kind::Own(config) => config.receive = config.receive.max(40_000),
    }
}

/// The plan of a seed.
pub fn plan(seed: u64, size: Size) -> Plan {
    let mut rng = Rng::new(seed);
    let rng = &mut rng;
    let level = size.level;
    let grade = if level < 2 {
        0
    } else {
        rng.pick(&[0, 1, 1, 2, 2, 2, 3])
    };
    let mut plan = Plan {
        seed,
        v6: rng.percent(30),
        grade,
        mss: rng.pick(&[1460, 1460, 1400, 536]),
        scale: rng.pick(&[0, 2, 7, 7, 9]),
        timestamps: rng.percent(50),
        sack: rng.percent(80),
        rules: rules(seed, rng.percent(60), level),
        proxies: ProxyPlan::default(),
        ports: rng.pick(&[3, 20, 1_000]),
        forget: rng.pick(&[0, 0, 0, 5_000, 30_000]),
        forwards: [true; 2],
        base_ms: rng.pick(&[1_000, 4_294_967_000, 4_294_000_000, 12_345_678]),
        clients: Vec::new(),
        servers: Vec::new(),
        // smoltcp leaves a SYN unanswered where it has the connection in TIME-WAIT; the front is the kernel's.
        front: if level == 0 {
            Kind::Smol(smol())
        } else {
            Kind::Own(own(rng))
        },
        front_up: true,
        conns: Vec::new(),
    };
    let hosts = if level == 0 { 1 } else { rng.range(1, 4) };
    for _ in 0..hosts {
        plan.clients.push(ClientHost {
            kind: kind(rng, level),
            up: link(rng, grade, true),
            down: link(rng, grade, true),
        });
    }
    if grade >= 3 {
        // Where every probe may be lost, they end what could go on.
        for client in &mut plan.clients {
            if let Kind::Own(config) = &mut client.kind {
                config.keep_alive = None;
            }
        }
    }
    let failing = level > 0 && rng.percent(40);
    plan.front_up = !failing && grade < 2 && !rng.percent(20) || rng.percent(90);
    for pool in 0..POOLS {
        for _ in 0..rng.range(1, 3) {
            plan.servers.push(server(rng, pool, level, grade, failing));
        }
    }
    // It is said of a pool.
    for pool in 0..POOLS {
        let mut servers = plan.servers.iter_mut().filter(|server| server.pool == pool);
        if let Some(fullnat) = servers.next().map(|first| first.fullnat) {
            servers.for_each(|server| server.fullnat = fullnat);
        }
    }
    if plan.timestamps {
        // What is promised to clients has to hold for servers.
        promise(&mut plan.front);
        for server in &mut plan.servers {
            if !rng.percent(3) {
                promise(&mut server.kind);
            }
        }
    }
    if level == 1 && Rng::new(seed ^ 0xca11).percent(30) {
        calm(&mut plan);
    }
    if plan.clients.iter().any(|c| matches!(c.kind, Kind::Smol(_))) {
        // smoltcp (0.14) does not send again what lies behind the edge of a window that has shrunk, as it does where a
        // server takes less than the switch had offered before there was one.
        widen(&mut plan.front);
        for server in &mut plan.servers {
            widen(&mut server.kind);
        }
    }
    // Of its own, so that seeds keep what they had before.
    let mut more = Rng::new(seed ^ 0xa150);
    let mut start = 0;
    for id in 0..size.connections {
        start += rng.pick(&[0, MS, 50 * MS, SECOND]);
        let mut conn = connection(rng, id as u32, hosts as usize, start);
        if level == 0 {
            conn.what = What::Http([exchange(id as u32, 0)].into(), 1);
            conn.service = HTTP;
            conn.end = End::Fin;
        }
        if level > 0 && conn.service == HTTP && more.percent(25) {
            conn.service = ALSO;
        }
        plan.conns.push(conn);
    }
    if size.extras {
        proxies::add(&mut plan);
        let rng = &mut Rng::new(plan.seed ^ 0xb09d);
        if level > 0 && rng.percent(25) {
            plan.rules.bound = Some(rng.pick(&[1, 1, 2, 3, 8]));
        }
    }
    plan
}
