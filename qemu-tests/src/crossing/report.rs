// SPDX-License-Identifier: MIT
//! The page: docs/crossing.md.

use std::fmt::Write as _;

use super::CASES;
use super::Crossing;
use super::Group;
use super::Place;
use super::outcome::Outcome;
use super::outcome::Way;

const HEAD: &str = "<!-- SPDX-License-Identifier: MIT -->
# The kernel path between devices and beside neighbours

`make test-crossing` boots guests, makes each of these crossings between a client, a switch and two servers, asks, and writes this
page. It fails where something else comes of one than its table says (`qemu-tests/src/crossing/`).

Each is asked by IPv4 and IPv6, with servers whose forwarding method is `nat` and `fullnat`, the same four exchanges: one request, an upload of
200,000 bytes, a download of 1 MiB, and two requests to two servers on one connection. Every byte is compared. A front runs
beside the module; counters tell which of them served, and servers say from which address they were asked.

| Result | Means |
|---|---|
| works | the module passed on every request |
| through the stack | requests were answered as they should be, but not by the module |
| does not work | a request was not answered, or not as it should be |
| not there | this kernel cannot make the crossing |

\"Where\" says which links were changed: either side stands for two crossings with the same result. \"At ingress\" says whether packets of
connections that the module passed on were taken there ([datapath.md](datapath.md#at-ingress)) or at `PRE_ROUTING`.
";

const GROUPS: [(Group, &str); 4] = [
    (Group::Devices, "Devices"),
    (Group::Beside, "Beside others in the network stack"),
    (Group::Protocol, "Features of TCP and offloads"),
    (Group::Changes, "Changes in the midst of a transfer"),
];

/// The page of what came of all crossings.
pub(super) fn page(outcomes: &[&Outcome], kernel: &str) -> String {
    let mut text = format!("{HEAD}\nKernel {kernel}.\n");
    for (group, title) in GROUPS {
        let _ = write!(
            text,
            "\n## {title}\n\n| Crossing | Where | Result | At ingress | Notes |\n|---|---|---|---|---|\n"
        );
        let rows = outcomes.iter().filter_map(|outcome| {
            let crossing = Crossing::named(&outcome.name)?;
            (crossing.group == group).then(|| (outcome, row(outcome, crossing)))
        });
        let rows: Vec<_> = rows.collect();
        for same in
            rows.chunk_by(|(one, its), (other, others)| one.name == other.name && its == others)
        {
            let [(outcome, row), ..] = same else { continue };
            let place = match (outcome.place, same.len()) {
                (Place::Whole, _) => "",
                (_, 2) => "either side",
                (Place::Ingress, _) => "between client and switch",
                (Place::Egress, _) => "between switch and servers",
            };
            let _ = writeln!(text, "| {} | {place} | {row}", outcome.name);
        }
    }
    text
}

/// What the page says of it behind its name and place.
fn row(outcome: &Outcome, crossing: &Crossing) -> String {
    let mut notes = Vec::new();
    if !crossing.note.is_empty() {
        notes.push(crossing.note.to_owned());
    }
    for case in CASES {
        let (_, why) = crossing.expected(case);
        if !why.is_empty() && !notes.iter().any(|note| note == why) {
            notes.push(why.to_owned());
        }
    }
    format!(
        "{} | {} | {} |",
        short(outcome),
        ingress(outcome),
        notes.join("; ")
    )
}

/// What came of it, in words: each result once, with the cases that came to it.
pub(super) fn short(outcome: &Outcome) -> String {
    let mut parts: Vec<(Way, Vec<&str>)> = Vec::new();
    let names = ["IPv4 nat", "IPv4 fullnat", "IPv6 nat", "IPv6 fullnat"];
    for (case, name) in CASES.into_iter().zip(names) {
        let (way, _) = outcome.came_to(case);
        match parts.iter_mut().find(|(its, _)| *its == way) {
            Some((_, names)) => names.push(name),
            None => parts.push((way, vec![name])),
        }
    }
    if let [(way, _)] = parts.as_slice() {
        return words(*way).to_owned();
    }
    let parts: Vec<String> = parts
        .into_iter()
        .map(|(way, names)| format!("{}: {}", words(way), names.join(", ")))
        .collect();
    parts.join("; ")
}

const fn words(way: Way) -> &'static str {
    match way {
        Way::Kernel => "works",
        Way::Stack => "through the stack",
        Way::Fails => "does not work",
        Way::Missing => "not there",
    }
}

/// Whether packets were taken at ingress. The first packets of a connection never are.
fn ingress(outcome: &Outcome) -> &'static str {
    let cases = outcome.cases.iter().filter(|case| case.way == Way::Kernel);
    let (all, past) = cases.fold((0, 0), |(all, past), case| {
        (all + case.packets, past + case.ingress_missed)
    });
    match (all, past) {
        (0, _) => "",
        (all, past) if past * 10 < all => "yes",
        (all, past) if past * 2 < all => "in part",
        _ => "no",
    }
}

#[cfg(test)]
mod tests {
    use super::super::outcome::Case;
    use super::*;

    fn outcome(name: &str, place: Place, ways: [Way; 4]) -> Outcome {
        let case = |((family, forward), way)| Case {
            family,
            forward,
            way,
            detail: String::new(),
            packets: 100,
            ingress_missed: 9,
        };
        Outcome {
            name: name.to_owned(),
            place,
            missing: None,
            unproved: None,
            cases: CASES.into_iter().zip(ways).map(case).collect(),
        }
    }

    #[test]
    fn the_page_says_each_result_once() {
        let (works, fails) = (Way::Kernel, Way::Fails);
        let vlan = outcome("VLAN", Place::Egress, [works; 4]);
        let both = outcome("VLAN", Place::Ingress, [works; 4]);
        let bond = outcome("macvlan", Place::Ingress, [works, fails, works, fails]);
        let page = page(&[&both, &vlan, &bond], "7");
        for part in [
            "Kernel 7.\n",
            "| VLAN | either side | works | yes |",
            "| macvlan | between client and switch | works: IPv4 nat, IPv6 nat; does not work: IPv4 fullnat, IPv6 fullnat | yes |",
        ] {
            assert!(page.contains(part), "{part}\nis not in\n{page}");
        }
    }

    #[test]
    fn what_is_missing_has_no_result() {
        let mut outcome = outcome("VLAN", Place::Egress, [Way::Kernel; 4]);
        outcome.missing = Some("no such device".to_owned());
        outcome.cases.clear();
        assert_eq!(short(&outcome), "not there");
        assert_eq!(ingress(&outcome), "");
    }
}
