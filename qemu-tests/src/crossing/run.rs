// SPDX-License-Identifier: MIT
//! The runner, in the guest: makes a crossing, asks, and says which way that went.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::time::Duration;

use super::CASES;
use super::Crossing;
use super::Family;
use super::Forward;
use super::Make;
use super::Order;
use super::Place;
use super::exchange::Client;
use super::exchange::EXCHANGES;
use super::exchange::Exchange;
use super::outcome::Case;
use super::outcome::Outcome;
use super::outcome::Way;
use super::server;
use super::site::Site;
use crate::kit;
use crate::kit::network::CLIENT;
use crate::kit::network::CLIENT6;
use crate::printed::Printed as _;

/// How long a client waits for anything: SYNs that are lost and sent again are answered in that time.
const PATIENCE: Duration = Duration::from_secs(8);
/// The same where something happens in the midst: what is lost is sent again after times that double.
const LONG_PATIENCE: Duration = Duration::from_secs(20);

/// Asks, and prints what came of it.
pub(crate) fn run(order: &Order) {
    cross(order.crossing, order.place).print();
}

/// Asks as a test: fails where something else comes of it than is expected.
pub(crate) fn check(name: &str, place: Place) {
    let crossing = Crossing::named(name).expect("there is a crossing of this name");
    let surprises = cross(crossing, place).surprises(crossing);
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}

fn cross(crossing: &'static Crossing, place: Place) -> Outcome {
    let mut site = Site::new();
    let mut outcome = Outcome {
        name: crossing.name.to_owned(),
        place,
        missing: None,
        unproved: None,
        cases: Vec::new(),
    };
    let made = catch_unwind(AssertUnwindSafe(|| site.make(crossing, place)));
    match made {
        Ok(Ok(())) => {}
        Ok(Err(why)) => outcome.missing = Some(why),
        Err(panic) => outcome.missing = Some(message(panic.as_ref())),
    }
    if outcome.missing.is_some() {
        return outcome;
    }
    site.start();
    for case in CASES {
        let mut case = ask(&mut site, crossing, place, case);
        println!("{}, {place}: {case:?}", crossing.name);
        if case.way == Way::Fails {
            show(&mut site);
            // What does not work without the module says nothing of it.
            if let Err(error) = direct(&site, case.family) {
                case.detail += &format!("; asked directly: {error}");
                outcome.unproved = Some(case.detail.clone());
            }
        }
        outcome.cases.push(case);
    }
    if let Some(proof) = crossing.proof {
        let attempt = site.network.switch.attempt(proof);
        if !attempt.is_good() {
            outcome.unproved = Some(format!("{proof}: {}{}", attempt.stdout, attempt.stderr));
        }
    }
    outcome
}

/// What a panic says.
fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()))
        .unwrap_or_default()
}

fn ask(
    site: &mut Site,
    crossing: &Crossing,
    place: Place,
    (family, forward): (Family, Forward),
) -> Case {
    let mut case = Case {
        family,
        forward,
        way: Way::Kernel,
        detail: String::new(),
        packets: 0,
        ingress_missed: 0,
    };
    let (before, packets) = site.counted();
    for exchange in &EXCHANGES {
        let (way, detail) = one(site, crossing, place, (family, forward), exchange);
        if way != Way::Kernel {
            case.way = way;
            case.detail = format!("{}: {detail}", exchange.name);
        }
        if way == Way::Fails {
            break;
        }
    }
    let (after, packets_after) = site.counted();
    let counter = |name: &str| {
        let of = |module: &l7switch_netlink::Module| module.counter(name).unwrap_or_default();
        of(&after).saturating_sub(of(&before))
    };
    case.packets = packets_after.saturating_sub(packets);
    case.ingress_missed = counter("ingress_missed");
    if case.way != Way::Kernel {
        let counted = after
            .counters
            .iter()
            .map(|c| (c.name.as_str(), counter(&c.name)));
        let counted = counted.filter(|(_, count)| *count > 0);
        let counted: Vec<String> = counted
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        println!("counted: {}", counted.join(", "));
    }
    case
}

/// Asks a server itself, by the same network: the switch is no more than a router then.
fn direct(site: &Site, family: Family) -> Result<(), String> {
    let to: SocketAddr = match family {
        Family::V4 => (kit::network::server(1), server::PORT).into(),
        Family::V6 => (kit::network::server6(1), server::PORT).into(),
    };
    let client = Client {
        host: &site.network.client,
        to,
        kind: site.kind,
        patience: PATIENCE,
        download: site.download,
        midst: &|| {},
    };
    for exchange in EXCHANGES.iter().filter(|exchange| exchange.requests == 1) {
        (exchange.make)(&client).map_err(|error| format!("{}: {error}", exchange.name))?;
    }
    Ok(())
}

/// Makes an exchange, and says which way it went.
fn one(
    site: &mut Site,
    crossing: &Crossing,
    place: Place,
    (family, forward): (Family, Forward),
    exchange: &Exchange,
) -> (Way, String) {
    let (before, _) = site.counted();
    let midst = || {
        if let Make::Change { change, .. } = crossing.make {
            change(site, place);
        }
    };
    let changes = matches!(crossing.make, Make::Change { .. });
    let client = Client {
        host: &site.network.client,
        to: site.address(family, forward),
        kind: site.kind,
        patience: if changes { LONG_PATIENCE } else { PATIENCE },
        download: site.download,
        midst: &midst,
    };
    let answered = (exchange.make)(&client);
    if let Make::Change { back, .. } = crossing.make
        && exchange.name != EXCHANGES[0].name
    {
        back(site, place);
    }
    let (after, _) = site.counted();
    let counter = |name: &str| {
        let of = |module: &l7switch_netlink::Module| module.counter(name).unwrap_or_default();
        of(&after).saturating_sub(of(&before))
    };
    let peers = match answered {
        Ok(peers) => peers,
        Err(error) => return (Way::Fails, error.to_string()),
    };
    if counter("requests") < exchange.requests || counter("to_front") > 0 {
        return (Way::Stack, "not by the module".to_owned());
    }
    let client: IpAddr = match family {
        Family::V4 => CLIENT.into(),
        Family::V6 => CLIENT6.into(),
    };
    for peer in peers {
        if (peer == client) != (forward == Forward::Nat) {
            return (Way::Fails, format!("the server was asked by {peer}"));
        }
    }
    (Way::Kernel, String::new())
}

/// Prints what tells why an exchange failed.
fn show(site: &mut Site) {
    println!("flows: {}", site.flows());
    let lines = "ip -brief addr; ip route show table all; ip -6 route show table all | grep -v ff00; ip neigh; \
                 ip -s link | head -60; nstat -az 2>/dev/null | grep -i -E 'drop|filter|martian|NoRoutes|Discards|Err' | grep -v ' 0 '; grep -v '\t0$' /proc/net/xfrm_stat 2>/dev/null || true";
    for host in [
        &site.network.switch,
        &site.network.client,
        &site.network.servers[0],
    ] {
        println!("--- {}\n{}", host.name(), host.attempt(lines).stdout);
    }
}
