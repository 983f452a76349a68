// SPDX-License-Identifier: MIT
//! What came of asking a real server through the kernel path, and the page that `make test-programs` writes of it.

use std::fmt::Write as _;
use std::fs;

use serde::Deserialize;
use serde::Serialize;

use crate::error::Doing as _;
use crate::error::Result;
use crate::host::tool;
use crate::printed::Printed;

/// Where the page is, below the project's folder.
const PAGE: &str = "docs/programs.md";

const TOP: &str = "\
<!-- SPDX-License-Identifier: MIT -->
# Real servers behind the kernel path

`make test-programs` writes this page. It boots a guest with Debian's servers, two of each, as their packages configure
them. The kernel module switches between client and servers, with `forward = \"nat\"`, with `forward = \"fullnat\"`, and by IPv6;
the front stands behind it. Each request goes to the server itself and through the switch, and the two answers are compared:
version, status and reason, every field but `Date`, how the content's end is told, the content byte by byte, interim
responses, and whether the connection stays. The module's counters say whether a request took the kernel path or the front's.

What is asked: GET of files of 0 bytes, 16 bytes, 5 KB, 35 KB and 1 MiB, of a missing one, in two segments, accepting gzip, with
validators (304) and ranges (206, several ranges, 416) where the server has them, with `Connection: close`, over HTTP/1.0 with and without
keep-alive; HEAD; OPTIONS; POST of 1 KB and of 300 KB, in chunks, and after `100 Continue`. Behind each answer another request
on the same connection, where the server lets it stay. Then sixteen requests of one connection to one server, 23 to two servers in turn,
and both pipelined. [servers.md](servers.md) has more servers, behind the front.

| Server | Package | Configuration | Requests | Left to the front | Differences | Notes |
|---|---|---|---:|---:|---|---|
";

/// What came of one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Debian's package and its version.
    pub package: String,
    /// What of its configuration is not as shipped.
    pub configuration: String,
    /// Requests through the switch.
    pub asked: u64,
    /// How many of these the kernel left to the front.
    pub by_front: u64,
    /// Differences that have a reason, with the reason.
    pub explained: Vec<(String, String)>,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

impl Printed for Row {
    const PREFIX: &'static str = "PROGRAM ";
}

/// The page of these rows.
fn page(rows: &[Row]) -> String {
    let mut text = TOP.to_owned();
    for row in rows {
        let differences = match row.explained.len() {
            0 => "none".to_owned(),
            number => format!("{number} explained"),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {differences} | {} |",
            row.name,
            row.package,
            cell(&row.configuration),
            row.asked,
            row.by_front,
            cell(&row.notes.join("; ")),
        );
    }
    let explained: Vec<_> = rows
        .iter()
        .flat_map(|row| row.explained.iter().map(move |what| (&row.name, what)))
        .collect();
    if !explained.is_empty() {
        text += "\n## Differences that have a reason\n\n| Server | Where | Why |\n|---|---|---|\n";
        for (name, (ask, reason)) in explained {
            let _ = writeln!(text, "| {name} | {} | {} |", cell(ask), cell(reason));
        }
    }
    text
}

/// Text that is safe in a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
        .replace('\n', " ")
        .replace('<', "&lt;")
}

/// Writes the page.
///
/// # Errors
///
/// Where it cannot be written.
pub fn write(rows: &mut [Row]) -> Result<()> {
    rows.sort_by_key(|row| row.name.to_lowercase());
    let file = tool::repository().join(PAGE);
    fs::write(&file, page(rows)).doing_with("write", &file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_found_and_shown() {
        let row = Row {
            name: "a".to_owned(),
            package: "a 1".to_owned(),
            configuration: "as shipped".to_owned(),
            asked: 3,
            by_front: 1,
            explained: vec![("GET".to_owned(), "one|other".to_owned())],
            notes: vec!["x".to_owned(), "<y>".to_owned()],
        };
        assert_eq!(
            Row::find(&format!("b\n{}\nc", row.line())),
            Some(row.clone())
        );
        let text = page(&[row]);
        assert!(text.contains("| a | a 1 | as shipped | 3 | 1 | 1 explained | x; &lt;y> |\n"));
        assert!(text.ends_with("| a | GET | one\\|other |\n"));
    }
}
