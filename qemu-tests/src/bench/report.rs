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
pub fn table(record: &Record) -> String {
    let mut text = String::from("| | direct, all in all |");
    let others: Vec<Contender> = Contender::value_variants()
        .iter()
        .copied()
        .filter(|contender| *contender != Contender::Direct)
        .collect();
    for contender in &others {
        let _ = write!(text, " {contender} |");
    }
    text += "\n|---|";
    text += &"---:|".repeat(others.len() + 1);
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
        for contender in &others {
            let cell = record.find(*contender, case.name);
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

/// The page about a record: where it was measured, the table, the charts.
#[must_use]
pub fn page(record: &Record, place: &str, table: &str) -> String {
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
         the module adds.\n\n{table}\n{place}.\n{versions}.\n\n"
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
