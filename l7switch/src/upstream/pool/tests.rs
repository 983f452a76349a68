// SPDX-License-Identifier: MIT
//! Tests of pools.

use super::*;
use l7switch_rules::model::HashKey;
use l7switch_rules::model::Passive;
use l7switch_rules::model::SchedulerKind;
use std::time::Duration;

/// A pool with these servers, and nothing else.
pub(in crate::upstream) fn config(kind: SchedulerKind, servers: &[(&str, u32)]) -> model::Pool {
    model::Pool {
        name: "p".to_owned(),
        scheduler: model::Scheduler {
            kind,
            key: HashKey::Source,
            load_percent: 0,
        },
        forward: model::Forward::Nat,
        send_proxy: None,
        tls: None,
        protocol: model::ServerProtocol::Http1,
        servers: servers
            .iter()
            .map(|(address, weight)| model::RealServer {
                address: model::ServerAddress::Inet(address.parse().unwrap()),
                name: None,
                weight: *weight,
                backup: false,
                drain: false,
                health_port: None,
                max_connections: None,
            })
            .collect(),
        names: Vec::new(),
        drain: false,
        fallback: None,
        health: None,
        passive: Passive::default(),
        connect_timeout: Duration::from_secs(1),
        response_timeout: Duration::from_secs(1),
        retries: model::Retries::default(),
        queue: model::Queue::default(),
        slow_start: None,
        keepalive: 8,
        keepalive_timeout: Duration::from_secs(1),
    }
}

#[test]
fn every_scheduler_picks_and_passes_over_what_was_tried() {
    for kind in SchedulerKind::ALL {
        let pool = Pool::new(
            config(kind, &[("127.0.0.1:1", 1), ("127.0.0.1:2", 1)]),
            false,
            None,
        )
        .unwrap();
        pool.activate(&Arc::default());
        let (first, held) = pool.pick(7, &[]).unwrap();
        let (second, _) = pool.pick(7, &[first]).unwrap();
        assert_ne!(first, second, "{kind:?}");
        assert!(pool.pick(7, &[0, 1]).is_none());
        assert_eq!(held.server().status().active, 1);
        drop(held);
        assert!(pool.servers().all(|server| server.status().active == 0));
    }
}

#[test]
fn servers_live_on_in_the_next_generation() {
    let old = Pool::new(
        config(SchedulerKind::Mh, &[("127.0.0.1:1", 1)]),
        false,
        None,
    )
    .unwrap();
    old.activate(&Arc::default());
    let (_, held) = old.pick(0, &[]).unwrap();
    held.server().set_draining(true);
    let new = Pool::new(
        config(SchedulerKind::Mh, &[("127.0.0.1:2", 1), ("127.0.0.1:1", 4)]),
        false,
        Some(&old),
    )
    .unwrap();
    new.activate(&Arc::default());
    let status: Vec<_> = new.servers().map(|server| server.status()).collect();
    assert_eq!(status[1].active, 1);
    assert_eq!(status[1].weight, 4);
    assert_eq!(status[1].effective_weight, 0);
    for hash in 0..100 {
        assert_eq!(new.pick(hash << 40, &[]).unwrap().0, 0);
    }
}
