// SPDX-License-Identifier: MIT
//! HAProxy's configuration as text: words with quotes and escapes, lines, sections, and what sections inherit of `defaults`.

use std::collections::HashMap;

use crate::import::source::Wrong;
use crate::import::source::checked;

/// A line of a section: a keyword and its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) number: usize,
    pub(super) words: Vec<String>,
    /// Whether it stands in a section `defaults`.
    pub(super) inherited: bool,
}

impl Line {
    /// A word, or nothing.
    pub(super) fn word(&self, number: usize) -> &str {
        self.words.get(number).map_or("", String::as_str)
    }

    /// The words from one on.
    pub(super) fn from(&self, number: usize) -> &[String] {
        self.words.get(number..).unwrap_or_default()
    }
}

/// What a section is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Frontend,
    Backend,
    /// Both in one.
    Listen,
    /// Settings of the process, and sections that have no counterpart.
    Other,
}

/// A section. Lines of `defaults` that it inherits come first.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) kind: Kind,
    pub(super) word: String,
    pub(super) name: String,
    pub(super) number: usize,
    pub(super) lines: Vec<Line>,
}

const OTHER: &[&str] = &[
    "global",
    "userlist",
    "peers",
    "resolvers",
    "mailers",
    "cache",
    "program",
    "http-errors",
    "ring",
    "log-forward",
    "fcgi-app",
    "crt-store",
    "traces",
    "acme",
    "log-profile",
];

/// Most words of a line.
const MOST_WORDS: usize = 512;

/// Reads all sections. `defaults` are among them once, as [`Kind::Other`], for what is to be said of them.
///
/// # Errors
///
/// [`Wrong`] where it is not HAProxy's language.
pub(super) fn read(file: &str, text: &str) -> Result<Vec<Section>, Wrong> {
    checked(file, text)?;
    let mut sections: Vec<Section> = Vec::new();
    let mut defaults: HashMap<String, Vec<Line>> = HashMap::new();
    // The defaults that a section without `from` has.
    let mut latest: Vec<Line> = Vec::new();
    let mut open: Option<(String, Vec<Line>)> = None;
    for (index, raw) in text.lines().enumerate() {
        let number = index + 1;
        let words = words(raw).map_err(|(column, why)| Wrong::at(file, number, column, why))?;
        let Some(first) = words.first() else {
            continue;
        };
        let kind = match first.as_str() {
            "frontend" => Kind::Frontend,
            "backend" => Kind::Backend,
            "listen" => Kind::Listen,
            "defaults" => Kind::Other,
            word if OTHER.contains(&word) => Kind::Other,
            word => {
                let inherited = open.is_some();
                let line = Line {
                    number,
                    words: words.clone(),
                    inherited,
                };
                let Some(section) = sections.last_mut() else {
                    let why = format!("`{word}` stands in no section, and is the name of none");
                    return Err(Wrong::at(file, number, 1, why));
                };
                if let Some((_, lines)) = &mut open {
                    lines.push(line.clone());
                }
                section.lines.push(line);
                continue;
            }
        };
        close(&mut open, &mut defaults, &mut latest);
        let name = match words.get(1).map(String::as_str) {
            None | Some("from") => "",
            Some(name) => name,
        };
        if name.is_empty() && matches!(kind, Kind::Frontend | Kind::Backend | Kind::Listen) {
            return Err(Wrong::at(
                file,
                number,
                1,
                format!("a `{first}` needs a name"),
            ));
        }
        let from = words.iter().position(|word| word == "from");
        let from = from.and_then(|at| words.get(at + 1));
        let inherited = match from {
            None if first == "defaults" => Vec::new(),
            None => latest.clone(),
            Some(from) => match defaults.get(from) {
                Some(lines) => lines.clone(),
                None => {
                    let why = format!("there are no defaults `{from}` above");
                    return Err(Wrong::at(file, number, 1, why));
                }
            },
        };
        if first == "defaults" {
            open = Some((name.to_owned(), inherited.clone()));
        }
        let lines = match kind {
            Kind::Other => Vec::new(),
            _ => inherited,
        };
        sections.push(Section {
            kind,
            word: first.clone(),
            name: name.to_owned(),
            number,
            lines,
        });
    }
    if sections.is_empty() {
        return Err(Wrong::at(file, 1, 1, "there is no section"));
    }
    Ok(sections)
}

fn close(
    open: &mut Option<(String, Vec<Line>)>,
    defaults: &mut HashMap<String, Vec<Line>>,
    latest: &mut Vec<Line>,
) {
    if let Some((name, lines)) = open.take() {
        latest.clone_from(&lines);
        if !name.is_empty() {
            defaults.insert(name, lines);
        }
    }
}

/// The words of a line (HAProxy's manual, 2.2, "Quoting and escaping"), or the column and the reason.
fn words(raw: &str) -> Result<Vec<String>, (usize, &'static str)> {
    let mut all = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = raw.chars().enumerate();
    while let Some((column, c)) = chars.next() {
        match c {
            '#' => break,
            ' ' | '\t' => all.extend(word.take()),
            '\\' => {
                let Some((_, next)) = chars.next() else {
                    return Err((column + 1, "a backslash escapes nothing"));
                };
                let word = word.get_or_insert_default();
                match next {
                    'n' => word.push('\n'),
                    'r' => word.push('\r'),
                    't' => word.push('\t'),
                    '#' | ' ' | '\\' | '"' | '\'' => word.push(next),
                    // As in an expression that stands without quotes.
                    other => word.extend(['\\', other]),
                }
            }
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some((_, '\'')) => break,
                        Some((_, c)) => word.push(c),
                        None => return Err((column + 1, "this quote is not closed")),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some((_, '"')) => break,
                        Some((_, '\\')) => match chars.next() {
                            Some((_, c @ ('"' | '\\' | '$' | '\''))) => word.push(c),
                            Some((_, 'n')) => word.push('\n'),
                            Some((_, 'r')) => word.push('\r'),
                            Some((_, 't')) => word.push('\t'),
                            Some((_, c)) => word.extend(['\\', c]),
                            None => return Err((column + 1, "this quote is not closed")),
                        },
                        Some((_, c)) => word.push(c),
                        None => return Err((column + 1, "this quote is not closed")),
                    }
                }
            }
            c => word.get_or_insert_default().push(c),
        }
        if all.len() > MOST_WORDS {
            return Err((column + 1, "the line has too many words"));
        }
    }
    all.extend(word);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_escapes() {
        let read = |text| words(text).unwrap();
        assert_eq!(
            read(r#"a "b c" 'd "e' f\ g # h"#),
            ["a", "b c", "d \"e", "f g"]
        );
        assert_eq!(read(r"path_reg \.php$ ''"), ["path_reg", r"\.php$", ""]);
        assert_eq!(read(r#"x "\"y\\""#), ["x", "\"y\\"]);
        assert_eq!(words("a 'b").unwrap_err().0, 3);
        assert!(words("a\\").is_err());
    }

    #[test]
    fn sections_inherit() {
        let text = "defaults base\n mode tcp\ndefaults\n mode http\nfrontend a\n bind :80\n\
                    backend b from base\n server s 10.0.0.1:1\n";
        let sections = read("x", text).unwrap();
        let of = |name: &str| sections.iter().find(|s| s.name == name).unwrap();
        assert_eq!(of("a").lines[0].words, ["mode", "http"]);
        assert!(of("a").lines[0].inherited && !of("a").lines[1].inherited);
        assert_eq!(of("b").lines[0].words, ["mode", "tcp"]);
        assert_eq!(read("x", "\nbind :80").unwrap_err().line, 2);
        assert_eq!(read("x", "frontend").unwrap_err().line, 1);
        assert!(read("x", "backend b from none").is_err());
    }
}
