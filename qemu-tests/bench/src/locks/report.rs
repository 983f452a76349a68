// SPDX-License-Identifier: MIT
//! What was found of locks, for people: a page in Markdown.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::Row;
use super::contention::Contention;
use super::contention::Place;
use super::contention::Sum;
use super::module_of;

/// The page; `place` says on what and when it was measured.
#[must_use]
pub(crate) fn page(rows: &[Row], place: &str) -> String {
    let versions: BTreeSet<String> = rows
        .iter()
        .map(|row| format!("{} {}", row.contender, row.found.version))
        .collect();
    let versions = Vec::from_iter(versions).join(", ");
    let most = |what: fn(&Row) -> f64| rows.iter().map(what).fold(0.0, f64::max);
    let least = rows
        .iter()
        .map(|row| row.found.least_share())
        .fold(0.5, f64::min);
    let mut text = format!(
        "<!-- SPDX-License-Identifier: MIT -->\n# Locks that were waited for\n\n\
         `make bench-locks` writes this page; [measurements.md](../measurements.md#locks) says how.\n\n\
         Waits for locks per 1,000 requests, client, switch and server together on {} processors; those below the contender's\n\
         functions in the kernel, with all that these call; those for locks that these functions take themselves. Then the time\n\
         of spinning: µs per request, which under emulation can be compared with one another only, and its part of all\n\
         processors' time.\n\n{}\n\
         {place}.\n{versions}.\n\
         Each processor took in at least {:.0} % of the switch's packets. Watching made requests slower by up to {:.0} %, by up\n\
         to {:.0} % where stacks were written. The guest's processors had none of the machine's for up to {:.1} % of the time; waits\n\
         for one that had a lock then are left out, {:.1} % of all at most.\n\n\
         ## Where\n",
        super::PROCESSORS,
        table(rows),
        100.0 * least,
        100.0 * most(|row| row.found.slower),
        100.0 * most(|row| row.found.places.slower),
        100.0 * most(|row| row.waited),
        100.0 * most(|row| long(&row.found.contention).max(long(&row.found.places.contention))),
    );
    for row in rows {
        let _ = write!(text, "\n### {}, {}\n\n", row.case.name, row.contender);
        if row.found.places.contention.places.is_empty() {
            text += "Nothing was waited for.\n";
            continue;
        }
        text += "| per 1,000 requests | lock | wanted by | below |\n|---:|---|---|---|\n";
        for place in &row.found.places.contention.places {
            text += &line(place, row);
        }
    }
    text
}

/// What part of the waits is left out.
fn long(contention: &Contention) -> f64 {
    let Contention { long, all, .. } = contention;
    ratio(long.count, long.count + all.count)
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| | | requests | waits | below its functions | its own | µs a request | part of time |\n\
         |---|---|---:|---:|---:|---:|---:|---:|\n",
    );
    for row in rows {
        let found = &row.found;
        let places = &found.places;
        let its = |sum: Sum| match module_of(row.contender) {
            Some(_) => format!("{:.2}", 1e3 * ratio(sum.count, places.requests)),
            None => "–".to_owned(),
        };
        let spinning = found.contention.spinning.micros;
        let _ = writeln!(
            text,
            "| {} | {} | {} | {:.1} | {} | {} | {:.3} | {:.3} % |",
            row.case.name,
            row.contender,
            found.requests,
            1e3 * ratio(found.contention.all.count, found.requests),
            its(places.contention.below),
            its(places.contention.own),
            ratio(spinning, found.requests),
            ratio(spinning, 1) / (1e4 * found.seconds * f64::from(super::PROCESSORS)),
        );
    }
    text
}

fn line(place: &Place, row: &Row) -> String {
    let stack: Vec<String> = place.stack.iter().map(|name| format!("`{name}`")).collect();
    format!(
        "| {:.2} | {} | {} | {} |\n",
        1e3 * ratio(place.sum.count, row.found.places.requests),
        place.kind.replace('|', ", "),
        stack.join(" ← "),
        place
            .below
            .as_ref()
            .map_or_else(String::new, |name| format!("`{name}`")),
    )
}

#[expect(clippy::cast_precision_loss, reason = "quotients of counts")]
fn ratio(of: u64, by: u64) -> f64 {
    of as f64 / by.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::super::Case;
    use super::super::Contender;
    use super::super::contention::Found;
    use super::super::contention::Places;
    use super::*;

    #[test]
    fn the_page_has_all_numbers() {
        let sum = |count, micros| Sum { count, micros };
        let row = |contender| Row {
            contender,
            case: Case::find("keepalive-128B").unwrap(),
            waited: 0.021,
            found: Found {
                version: "1.2".to_owned(),
                requests: 10_000,
                seconds: 2.0,
                slower: 0.05,
                packets: vec![300, 700],
                lost: 0,
                contention: Contention {
                    long: sum(20, 90_000),
                    all: sum(500, 5_000),
                    spinning: sum(400, 4_000),
                    ..Contention::default()
                },
                places: Places {
                    requests: 5_000,
                    slower: 0.13,
                    contention: Contention {
                        below: sum(30, 0),
                        own: sum(15, 0),
                        places: vec![Place {
                            kind: "SPIN|READ".to_owned(),
                            stack: vec!["a".to_owned(), "b [m]".to_owned()],
                            below: Some("b [m]".to_owned()),
                            sum: sum(25, 9),
                        }],
                        ..Contention::default()
                    },
                },
            },
        };
        let page = page(&[row(Contender::Direct), row(Contender::ModuleNat)], "Here");
        for part in [
            "| keepalive-128B | direct | 10000 | 50.0 | – | – | 0.400 | 0.100 % |\n",
            "| keepalive-128B | module-nat | 10000 | 50.0 | 6.00 | 3.00 | 0.400 | 0.100 % |\n",
            "Here.\ndirect 1.2, module-nat 1.2.\n",
            "at least 30 % of the switch's packets",
            "slower by up to 5 %, by up\nto 13 %",
            "up to 2.1 % of the time; waits\nfor one that had a lock then are left out, 3.8 % of all at most",
            "### keepalive-128B, module-nat\n",
            "| 5.00 | SPIN, READ | `a` ← `b [m]` | `b [m]` |\n",
        ] {
            assert!(page.contains(part), "{part}\nis not in\n{page}");
        }
    }
}
