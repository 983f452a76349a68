// SPDX-License-Identifier: MIT
//! The measurement, in the guest: memory that is not available any more when a table, or connections, have come.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a measurement fails by panicking, as a test does"
)]

use std::fs;
use std::net::SocketAddr;

use l7switch_netlink::Client;
use l7switch_qemu_tests::kit::Module;
use l7switch_qemu_tests::kit::Network;
use l7switch_qemu_tests::kit::count_free_pages;
use l7switch_qemu_tests::kit::shrink_slabs;
use l7switch_qemu_tests::kit::taken;
use l7switch_qemu_tests::printed::Printed as _;

use super::ROOMS;
use super::Taken;
use super::pieces;
use super::pieces::Pieces;
use crate::case::Case;
use crate::configuration;
use crate::contender::Contender;
use crate::fill;
use crate::programs;

/// Connections that live at once.
const LIVE: u32 = 100_000;
/// Connections of which a part of a head has come: they are left to the front when the rest does not come in two seconds.
const BEGUN: u32 = 1_000;
/// Pieces of less are not told of.
const SMALL: u64 = 1 << 20;

/// Measures, and prints what came of it.
pub(crate) fn run(case: &Case) {
    let case = &Case {
        flows: LIVE,
        ..*case
    };
    let network = Network::with_servers(1);
    let text = configuration::rules(
        case,
        SocketAddr::new(case.vip(), case.port()),
        &case.servers(),
        "nat",
    );
    let rules = l7switch_rules::load_text("rules", &text)
        .unwrap_or_else(|report| panic!("{}", report.render(false)));
    let table = rules.table.as_bytes();
    count_free_pages();

    // What the first load leaves behind for good is none of the table's.
    let _ = empty(&network, table, ROOMS[0]);
    let empty = ROOMS.map(|room| (room, empty(&network, table, room)));

    let module = Module::try_load(&format!("max_flows={}", LIVE + 2 * BEGUN)).unwrap();
    let mut client = network.switch.inside(|| Client::open().unwrap());
    client.load(table).unwrap();
    // The first ones set things up that stay.
    let mut others = fill::Others::new(&network, LIVE + BEGUN);
    others.ask(BEGUN).unwrap();
    shrink_slabs();
    let (live, ()) = taken(|| {
        others.ask(LIVE - BEGUN).unwrap();
        shrink_slabs();
    });
    assert_eq!(client.module().unwrap().flows, LIVE);
    let (begun, ()) = taken(|| others.begin(BEGUN).unwrap());
    let module_now = client.module().unwrap();
    programs::show(&module_now);
    assert_eq!(module_now.flows, LIVE + BEGUN);
    drop(client);
    drop(module);
    Taken {
        version: programs::version(Contender::ModuleNat, &network.switch),
        kernel: programs::version(Contender::Direct, &network.switch),
        tables: empty
            .iter()
            .map(|(room, (bytes, _))| (*room, *bytes))
            .collect(),
        pieces: empty
            .into_iter()
            .next_back()
            .map(|(_, (_, pieces))| pieces)
            .unwrap(),
        live: (LIVE - BEGUN, live),
        begun: (BEGUN, begun),
        part: fill::PART,
    }
    .print();
}

/// Bytes that a table takes with room for so many connections and none in it, and its largest pieces.
fn empty(network: &Network, table: &[u8], room: u32) -> (i64, Vec<Pieces>) {
    let virtual_memory = || fs::read_to_string("/proc/vmallocinfo").unwrap();
    let module = Module::try_load(&format!("max_flows={room}")).unwrap();
    let mut client = network.switch.inside(|| Client::open().unwrap());
    let before = virtual_memory();
    shrink_slabs();
    let (bytes, _) = taken(|| client.load(table).unwrap());
    let mut pieces = pieces::new(&before, &virtual_memory());
    pieces.retain(|pieces| pieces.count * pieces.bytes >= SMALL);
    assert_eq!(client.module().unwrap().max_flows, room);
    client.unload().unwrap();
    drop(client);
    module.unload_soon();
    (bytes, pieces)
}
