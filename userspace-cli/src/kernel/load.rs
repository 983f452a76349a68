// SPDX-License-Identifier: MIT
//! `l7ctl kernel load`: rules, or a table that was compiled before, put in force in the kernel.

use std::fs::File;
use std::io;
use std::io::Read as _;
use std::path::Path;

use l7switch_engine::table::format::MAGIC;
use l7switch_netlink::Error;
use l7switch_rules::RuleSet;
use serde_json::json;

use crate::Outcome;
use crate::print;
use crate::print_json;
use crate::rules;

use super::client;
use super::words;

/// What is loaded.
enum Source {
    Rules(Box<RuleSet>),
    Table(Vec<u8>),
}

impl Source {
    fn table(&self) -> &[u8] {
        match self {
            Self::Rules(rules) => rules.for_kernel().as_bytes(),
            Self::Table(bytes) => bytes,
        }
    }
}

/// The content of a file that holds a table; `None` for everything else, which is read as rules.
fn compiled(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let failed = |error: io::Error| format!("{}: {error}", path.display());
    // What is not there, or is a folder, is for the reader of rules.
    let Ok(mut file) = File::open(path) else {
        return Ok(None);
    };
    let mut content = Vec::new();
    let begin = file.by_ref().take(4).read_to_end(&mut content);
    if begin.is_err() || content != MAGIC.to_le_bytes() {
        return Ok(None);
    }
    file.read_to_end(&mut content).map_err(failed)?;
    Ok(Some(content))
}

pub(super) fn run(path: &Path, as_json: bool, out: &mut impl io::Write) -> Outcome {
    let source = match compiled(path)? {
        Some(table) => Source::Table(table),
        None => match l7switch_rules::load(path) {
            Ok(rules) => Source::Rules(Box::new(rules)),
            Err(report) => {
                rules::wrong(path, &report, as_json, out)?;
                return Ok(false);
            }
        },
    };
    let warnings = match &source {
        Source::Rules(rules) => rules::warnings(rules),
        Source::Table(_) => Vec::new(),
    };
    if let (Source::Rules(rules), false) = (&source, as_json) {
        print(out, &rules.warnings.render(rules::colour()))?;
        print(out, &rules::unresolved(rules))?;
    }
    let bytes = source.table().len();
    match client()?.load(source.table()) {
        Ok(generation) if as_json => {
            let answer = json!({
                "ok": true,
                "errors": [],
                "warnings": warnings,
                "generation": generation,
                "table_bytes": bytes,
            });
            print_json(out, &answer)?;
            Ok(true)
        }
        Ok(generation) => {
            let what = match &source {
                Source::Rules(rules) => rules::summary(rules),
                Source::Table(_) => format!("the table has {bytes} bytes"),
            };
            print(out, &format!("loaded: generation {generation}; {what}\n"))?;
            Ok(true)
        }
        Err(error @ (Error::Refused(_) | Error::Input(_))) => {
            let why = words(error);
            if as_json {
                let answer = json!({
                    "ok": false,
                    "errors": [],
                    "warnings": warnings,
                    "refused": why,
                });
                print_json(out, &answer)?;
            } else {
                print(out, &format!("{}: {why}\n", path.display()))?;
            }
            Ok(false)
        }
        Err(error) => Err(words(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_known_by_its_first_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, b"L7STrest").unwrap();
        assert_eq!(compiled(&path).unwrap().unwrap(), b"L7STrest");
        std::fs::write(&path, b"[service.web]\n").unwrap();
        assert_eq!(compiled(&path).unwrap(), None);
        std::fs::write(&path, b"L7").unwrap();
        assert_eq!(compiled(&path).unwrap(), None);
        assert_eq!(compiled(folder.path()).unwrap(), None, "a folder of rules");
        assert_eq!(compiled(&folder.path().join("none")).unwrap(), None);
    }
}
