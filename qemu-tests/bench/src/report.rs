// SPDX-License-Identifier: MIT
//! What was measured, for people: a table in Markdown.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use clap::ValueEnum as _;

use super::case::CASES;
use super::contender::Contender;
use super::record::Entry;
use super::record::Record;

/// The table of a record: thousand instructions added per request, and for bodies per MiB; in brackets, how many times
/// what the module adds.
#[must_use]
pub(crate) fn table(record: &Record) -> String {
    let mut text = String::from("| | direct, all in all |");
    for contender in others() {
        let _ = write!(text, " {contender} |");
    }
    text += "\n|---|";
    text += &"---:|".repeat(others().count() + 1);
    text.push('\n');
    for case in CASES {
        let Some(direct) = record.find(Contender::Direct, case.name) else {
            continue;
        };
        let _ = write!(
            text,
            "| {} | {:.1} |",
            case.name,
            direct.instructions() / 1e3
        );
        let module = record.find(Contender::ModuleNat, case.name);
        for contender in others() {
            let cell = record.find(contender, case.name);
            let _ = write!(
                text,
                " {} |",
                cell.map_or("–".to_owned(), |entry| price(entry, module))
            );
        }
        text.push('\n');
    }
    text
}

/// How a measurement repeats: a line with its rate and by how much that of the record is another.
#[must_use]
pub(crate) fn beside(entry: &Entry, recorded: &Entry) -> String {
    let change = 100.0 * (entry.rate / recorded.rate - 1.0);
    format!(
        "{} {}: {:.2} requests per second, {change:+.2} % beside the record",
        entry.contender, entry.case, entry.rate
    )
}

fn price(entry: &Entry, module: Option<&Entry>) -> String {
    let added = format!("{:+.2}", entry.added / 1e3);
    match module {
        // A multiple of next to nothing says nothing.
        Some(module) if module.added > 100.0 && !entry.contender.is_module() => {
            format!("{added} ({:.1}×)", entry.added / module.added)
        }
        _ => added,
    }
}

/// What a processor does in a second, for estimates: 3 GHz, an instruction a cycle.
const PROCESSOR: f64 = 3e9;

/// What it would come to: processors that switching takes, beside those for forwarding and for the card's driver.
fn on_paper(record: &Record) -> String {
    let loads = [
        (
            "1,000,000 requests of 128 B per second, connections stay",
            "keepalive-128B",
            1e6,
        ),
        ("100,000 new connections per second", "connection-128B", 1e5),
        (
            "100 Gbit/s in answers of 1 MiB",
            "body-1MiB",
            100e9 / 8.0 / f64::from(1 << 20),
        ),
    ];
    let mut text = String::from("| processors for |");
    for contender in others() {
        let _ = write!(text, " {contender} |");
    }
    text += "\n|---|";
    text += &"---:|".repeat(others().count());
    for (load, case, rate) in loads {
        let _ = write!(text, "\n| {load} |");
        for contender in others() {
            let cell = record
                .find(contender, case)
                .map_or("–".to_owned(), |entry| {
                    format!("{:.2}", entry.added * rate / PROCESSOR)
                });
            let _ = write!(text, " {cell} |");
        }
    }
    text + "\n"
}

/// Those that add to plain forwarding.
fn others() -> impl Iterator<Item = Contender> {
    let all = Contender::value_variants().iter().copied();
    all.filter(|contender| *contender != Contender::Direct)
}

/// The page about a record: where it was measured, the table, the charts.
#[must_use]
pub(crate) fn page(record: &Record, place: &str, table: &str) -> String {
    let versions: BTreeSet<String> = CASES
        .iter()
        .flat_map(|case| record.of(case.name))
        .map(|entry| format!("{} {}", entry.contender, entry.version))
        .collect();
    let versions = Vec::from_iter(versions).join(", ");
    let mut text = format!(
        "<!-- SPDX-License-Identifier: MIT -->\n# Measured in the guest\n\n\
         `make bench` and `make bench-full` write this page; [measurements.md](../measurements.md) says what it means.\n\n\
         Thousand instructions that a contender adds to a request over plain forwarding; in brackets, how many times what\n\
         the module adds.\n\n{table}\n{place}.\n{versions}.\n\n\
         ## On paper\n\nWhat it comes to where a processor takes 3·10⁹ instructions a second (3 GHz, one a cycle), beside what\n\
         forwarding and the cards' drivers take:\n\n{}\n",
        on_paper(record)
    );
    for case in CASES {
        if record.of(case.name).next().is_some() {
            let _ = writeln!(
                text,
                "![{}: {}]({}.svg)\n",
                case.name, case.about, case.name
            );
        }
    }
    text.truncate(text.trim_end().len());
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_a_measurement_is_from_the_record() {
        let entry = |rate| Entry {
            contender: Contender::Nginx,
            case: "keepalive-128B".to_owned(),
            rate,
            added: 0.0,
            kernel: String::new(),
            version: String::new(),
        };
        assert_eq!(
            beside(&entry(990.0), &entry(1000.0)),
            "nginx keepalive-128B: 990.00 requests per second, -1.00 % beside the record"
        );
    }
}
