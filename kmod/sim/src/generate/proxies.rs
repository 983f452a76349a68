// SPDX-License-Identifier: GPL-2.0 OR MIT
//! PROXY headers in a plan.

use l7switch_engine::endpoint::Endpoint;
use l7switch_engine::proxy_header::Ends;
use l7switch_engine::table::codes::ProxyVersion;

use crate::header::ClientHeader;
use crate::plan::ALSO;
use crate::plan::EAGER;
use crate::plan::HTTP;
use crate::plan::Plan;
use crate::plan::TLS;
use crate::plan::told;
use crate::rng::Rng;

/// Clients that proxies speak for, in each network.
const TOLD: u64 = 3;

/// Adds headers to a plan without: of clients, of pools, and routes by source, in a quarter of the plans each.
pub(super) fn add(plan: &mut Plan) {
    let rng = &mut Rng::new(plan.seed ^ 0x9a0c);
    let hosts = plan.clients.len();
    let some = |rng: &mut Rng| (0..hosts).filter(|_| rng.percent(60)).collect::<Vec<_>>();
    if rng.percent(25) {
        for service in [HTTP, ALSO, TLS, EAGER] {
            if service == HTTP || rng.percent(75) {
                plan.proxies.services.push(service);
            }
        }
        plan.proxies.all = rng.percent(50);
        plan.proxies.hosts = some(rng);
        let first = rng.below(hosts as u64) as usize;
        if !plan.proxies.hosts.contains(&first) {
            plan.proxies.hosts.push(first);
        }
    }
    if rng.percent(25) {
        for version in &mut plan.proxies.send {
            *version = rng.pick(&[None, Some(ProxyVersion::V1), Some(ProxyVersion::V2)]);
        }
    }
    if rng.percent(25) {
        plan.proxies.elsewhere = Some(some(rng));
    }
    for index in 0..plan.conns.len() {
        let conn = &plan.conns[index];
        if plan.proxies.accepts(conn.service, conn.host) {
            let mut header = header(rng, index);
            if conn.trickle.is_some_and(|(most, _)| most < 100) {
                // Not for ever.
                header.padding = header.padding.map(|len| len.min(100));
            }
            plan.conns[index].header = Some(header);
        }
    }
}

fn header(rng: &mut Rng, index: usize) -> ClientHeader {
    let v6 = rng.percent(30);
    let mut end = |port| Endpoint {
        address: told(v6, rng.percent(50), rng.below(TOLD) as u8),
        port,
    };
    let ends = Ends {
        source: end(20_000 + index as u16),
        destination: end(443),
    };
    ClientHeader {
        version: rng.pick(&[ProxyVersion::V1, ProxyVersion::V2]),
        ends: (!rng.percent(20)).then_some(ends),
        padding: rng.pick(&[
            None,
            None,
            None,
            Some(0),
            Some(100),
            Some(1_500),
            Some(4_000),
        ]),
        checked: rng.percent(25),
        apart: rng.percent(40),
    }
}
