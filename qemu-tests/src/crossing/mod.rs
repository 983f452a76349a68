// SPDX-License-Identifier: MIT
//! The module between each kind of device, beside its neighbours in the network stack, with TCP's features and under changes.
//!
//! A crossing is an entry of a table: a name, what it makes of the network, what is expected. One runner asks it the same four
//! exchanges by IPv4 and IPv6, with servers whose forwarding method is nat and fullnat.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "what a test calls fails by panicking"
)]

mod beside;
mod changes;
pub mod command;
mod devices;
mod exchange;
mod outcome;
mod protocol;
mod report;
mod run;
mod server;
mod site;
mod tunnels;

pub(crate) use run::check;
pub(crate) use run::run;

use std::fmt;

use serde::Deserialize;
use serde::Serialize;

use outcome::Way;
use site::Site;

/// What crossings are about: a section of the page each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// Devices that packets come and go by.
    Devices,
    /// Others that look at packets in the network stack.
    Beside,
    /// Features of TCP and of offloads.
    Protocol,
    /// Changes of the network in the midst of a transfer.
    Changes,
}

/// Which part of the network it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// Between the client and the switch.
    Ingress,
    /// Between the switch and its servers.
    Egress,
    /// The switch, or all hosts.
    Whole,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
            Self::Whole => "whole",
        })
    }
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A forwarding method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Forward {
    /// `forward = "nat"`.
    Nat,
    /// `forward = "fullnat"`.
    Fullnat,
}

/// The four cases in which each crossing is asked.
pub(crate) const CASES: [(Family, Forward); 4] = [
    (Family::V4, Forward::Nat),
    (Family::V4, Forward::Fullnat),
    (Family::V6, Forward::Nat),
    (Family::V6, Forward::Fullnat),
];

/// What is not as nearly everywhere: where, what comes of it instead, and why.
#[derive(Debug, Clone, Copy)]
struct But {
    forward: Option<Forward>,
    way: Way,
    why: &'static str,
}

impl But {
    /// Everywhere.
    const fn all(way: Way, why: &'static str) -> Self {
        Self {
            forward: None,
            way,
            why,
        }
    }

    /// With this forwarding method only.
    const fn with(mut self, forward: Forward) -> Self {
        self.forward = Some(forward);
        self
    }

    fn is_of(&self, (_, forward): (Family, Forward)) -> bool {
        self.forward.is_none_or(|of| of == forward)
    }
}

/// A crossing.
#[derive(Debug, Clone, Copy)]
pub struct Crossing {
    /// As the page calls it.
    name: &'static str,
    group: Group,
    places: &'static [Place],
    /// Modules that the switch's kernel needs for it.
    modules: &'static [&'static str],
    make: Make,
    /// Where it does not work through the kernel alone.
    but: &'static [But],
    /// A line of shell, on the switch, that fails where the crossing had no part in what was asked.
    proof: Option<&'static str>,
    /// What the page says of it.
    note: &'static str,
}

/// How a crossing changes the network.
#[derive(Debug, Clone, Copy)]
enum Make {
    /// Nothing is changed.
    Nothing,
    /// Devices on top of those of the place's links, which get their addresses. Lines for `ip -batch`, in which {dev} is the
    /// device below, {new} the one that is to be made, {own} and {peer} the addresses of the links below, {own6} and {peer6}; {number}
    /// is the link's, {host} the other host.
    Devices {
        /// On the switch.
        switch: &'static str,
        /// On the other host; its addresses stay where they are if that is empty.
        host: &'static str,
    },
    /// A script on the switch. In it {in} is the device of the client's link, {outs} are those of the servers', in quotation
    /// marks and separated by commas.
    Script(&'static str),
    /// Anything else, before servers and front are started.
    With(fn(&mut Site, Place)),
    /// Prepares, and has a change that is made in the midst of each exchange, and undone behind it.
    Change {
        /// Prepares.
        before: fn(&mut Site, Place),
        /// Changes.
        change: fn(&Site, Place),
        /// Changes back.
        back: fn(&Site, Place),
    },
}

/// What most crossings are, to be changed where one is not.
const PLAIN: Crossing = Crossing {
    name: "",
    group: Group::Devices,
    places: &[Place::Ingress, Place::Egress],
    modules: &[],
    make: Make::Nothing,
    but: &[],
    proof: None,
    note: "",
};

/// Every crossing.
pub(crate) fn all() -> impl Iterator<Item = &'static Crossing> {
    [
        devices::CROSSINGS,
        beside::CROSSINGS,
        protocol::CROSSINGS,
        changes::CROSSINGS,
    ]
    .into_iter()
    .flatten()
}

impl Crossing {
    /// The crossing of this name.
    fn named(name: &str) -> Option<&'static Self> {
        all().find(|crossing| crossing.name == name)
    }

    /// What is expected of a case, and why where it is not the kernel path.
    fn expected(&self, case: (Family, Forward)) -> (Way, &'static str) {
        let but = self.but.iter().find(|but| but.is_of(case));
        but.map_or((Way::Kernel, ""), |but| (but.way, but.why))
    }
}

/// A crossing in a place, as host and guest call it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order {
    /// Which.
    pub(crate) crossing: &'static Crossing,
    /// Where.
    pub(crate) place: Place,
}

const PREFIX: &str = "crossing ";

impl Order {
    /// What the host asks the guest to run, in place of a test's name.
    pub(crate) fn name(&self) -> String {
        format!("{PREFIX}{} {}", self.place, self.crossing.name)
    }

    /// Reads such a name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (place, crossing) = name.strip_prefix(PREFIX)?.split_once(' ')?;
        let crossing = Crossing::named(crossing)?;
        let mut places = crossing.places.iter();
        let place = *places.find(|own| own.to_string() == place)?;
        Some(Self { crossing, place })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_crossing_has_a_name_of_its_own_and_is_found_by_it() {
        let mut names = HashSet::new();
        for crossing in all() {
            for &place in crossing.places {
                let name = Order { crossing, place }.name();
                let found = Order::parse(&name).expect("it is found");
                assert_eq!((found.crossing.name, found.place), (crossing.name, place));
                assert!(names.insert(name.clone()), "{name} is there twice");
            }
        }
        assert!(Order::parse("crossing whole no such").is_none());
        assert!(Order::parse("boot::tools_run").is_none());
    }
}
