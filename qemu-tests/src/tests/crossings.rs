// SPDX-License-Identifier: MIT
//! The chief crossings: all of them are made by `make test-crossing`.

use crate::crossing;

pub(super) fn nothing_between() {
    crossing::check("veth");
}

pub(super) fn between_vlans() {
    crossing::check("VLAN");
}

pub(super) fn between_tunnels() {
    crossing::check("vxlan");
}

pub(super) fn beside_ipvs() {
    crossing::check("IPVS on the same addresses and ports");
}

pub(super) fn beside_a_flowtable() {
    crossing::check("nftables flowtable");
}

pub(super) fn while_addresses_move() {
    crossing::check("the service's address moves to another device");
}
