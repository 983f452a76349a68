// SPDX-License-Identifier: MIT
//! The chief crossings: all of them are made by `make test-crossing`.

use crate::crossing;
use crate::crossing::Place;

pub(super) fn nothing_between() {
    crossing::check("veth", Place::Whole);
}

pub(super) fn by_a_vlan() {
    crossing::check("VLAN", Place::Ingress);
}

pub(super) fn by_a_tunnel() {
    crossing::check("vxlan", Place::Egress);
}

pub(super) fn beside_ipvs() {
    crossing::check("IPVS on the same addresses and ports", Place::Whole);
}

pub(super) fn beside_a_flowtable() {
    crossing::check("nftables flowtable", Place::Whole);
}

pub(super) fn while_addresses_move() {
    crossing::check(
        "the service's address moves to another device",
        Place::Whole,
    );
}
