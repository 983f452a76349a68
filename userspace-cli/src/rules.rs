// SPDX-License-Identifier: MIT
//! `l7ctl check`, `compile` and `explain`: what needs rules and no running switch.

use std::io;
use std::io::IsTerminal as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::SystemTime;

use l7switch_rules::RuleSet;
use l7switch_rules::explain::Question;
use l7switch_rules::model::Model;
use l7switch_rules::text::diagnostic::Report;
use l7switch_rules::text::diagnostic::Severity;
use serde_json::json;

use crate::Outcome;
use crate::cli::Explain;
use crate::closed;
use crate::print;
use crate::print_json;

/// Whether a person with a terminal reads along, who has not asked for no colour (no-color.org).
pub(crate) fn colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

fn count(model: &Model) -> (usize, usize, usize) {
    let routes = model.services.iter().map(|s| s.routes.len()).sum();
    (model.services.len(), routes, model.pools.len())
}

fn by_severity(report: &Report, severity: Severity) -> Vec<serde_json::Value> {
    let all = match report.to_json() {
        serde_json::Value::Array(all) => all,
        _ => Vec::new(),
    };
    let word = serde_json::to_value(severity).unwrap_or_default();
    all.into_iter()
        .filter(|d| d.get("severity") == Some(&word))
        .collect()
}

/// What is checked besides the rules.
pub(crate) struct Outside {
    /// The certificates, keys and other files that they name.
    pub(crate) files: bool,
    /// The names of servers.
    pub(crate) names: bool,
    /// The name server that is asked; absent: as the system is configured.
    pub(crate) name_server: Option<SocketAddr>,
}

/// Checks rules, and what they name.
pub(crate) fn check(
    path: &Path,
    outside: &Outside,
    as_json: bool,
    out: &mut impl io::Write,
) -> Outcome {
    let checked = l7switch_rules::load(path).and_then(|mut rules| {
        if outside.files {
            rules.warnings = l7switch_certificates::check(&rules, SystemTime::now());
        }
        if outside.names && !rules.warnings.has_errors() && rules.model.lookups().next().is_some() {
            match tokio::runtime::Runtime::new() {
                Ok(runtime) => {
                    rules.warnings =
                        runtime.block_on(l7switch_resolver::check(&rules, outside.name_server));
                    // A look-up that is still under way reads a file, or nothing.
                    runtime.shutdown_background();
                }
                Err(error) => return Err(Report::of_file("unresolved", error.to_string())),
            }
        }
        match rules.warnings.has_errors() {
            true => Err(rules.warnings),
            false => Ok(rules),
        }
    });
    match checked {
        Ok(rules) => {
            let (services, routes, pools) = count(&rules.model);
            let bytes = rules.for_kernel().as_bytes().len();
            if as_json {
                let answer = json!({
                    "ok": true,
                    "errors": [],
                    "warnings": warnings(&rules),
                    "services": services,
                    "routes": routes,
                    "pools": pools,
                    "table_bytes": bytes,
                });
                print_json(out, &answer)?;
            } else {
                print(out, &rules.warnings.render(colour()))?;
                let line = format!("{}: valid: {}\n", path.display(), summary(&rules));
                print(out, &line)?;
            }
            Ok(true)
        }
        Err(report) => {
            wrong(path, &report, as_json, out)?;
            Ok(false)
        }
    }
}

/// Shows what is wrong in rules.
pub(crate) fn wrong(
    path: &Path,
    report: &Report,
    as_json: bool,
    out: &mut impl io::Write,
) -> Result<(), String> {
    let errors = by_severity(report, Severity::Error);
    let warnings = by_severity(report, Severity::Warning);
    if as_json {
        let answer = json!({ "ok": false, "errors": errors, "warnings": warnings });
        return print_json(out, &answer);
    }
    print(out, &report.render(colour()))?;
    let line = format!("{}: {}\n", path.display(), plural(errors.len(), "error"));
    print(out, &line)
}

/// The warnings of a check, as JSON.
pub(crate) fn warnings(rules: &RuleSet) -> Vec<serde_json::Value> {
    by_severity(&rules.warnings, Severity::Warning)
}

/// What a table lacks that is made of rules as they are: the servers of names. A line, or nothing.
pub(crate) fn unresolved(rules: &RuleSet) -> String {
    let names: Vec<String> = rules.model.lookups().map(ToString::to_string).collect();
    match names.is_empty() {
        true => String::new(),
        false => format!(
            "names that only l7switch resolves, without servers in the table: {}\n",
            names.join(", ")
        ),
    }
}

/// What rules have, in words.
pub(crate) fn summary(rules: &RuleSet) -> String {
    let (services, routes, pools) = count(&rules.model);
    format!(
        "{}, {}, {}; the table has {} bytes",
        plural(services, "service"),
        plural(routes, "route"),
        plural(pools, "pool"),
        rules.for_kernel().as_bytes().len(),
    )
}

/// Checks rules and writes their table to a file, or to standard output.
pub(crate) fn compile(path: &Path, target: &Path, out: &mut impl io::Write) -> Outcome {
    let rules = match l7switch_rules::load(path) {
        Ok(rules) => rules,
        Err(report) => {
            let mut shown = Vec::new();
            wrong(path, &report, false, &mut shown)?;
            // Standard output may be where the table goes.
            let _ = io::stderr().write_all(&shown);
            return Ok(false);
        }
    };
    let warnings = rules.warnings.render(colour()) + &unresolved(&rules);
    if target == Path::new("-") {
        let _ = io::stderr().write_all(warnings.as_bytes());
        out.write_all(rules.for_kernel().as_bytes())
            .or_else(|error| closed(&error))?;
        return Ok(true);
    }
    std::fs::write(target, rules.for_kernel().as_bytes())
        .map_err(|error| format!("{}: {error}", target.display()))?;
    print(out, &warnings)?;
    let line = format!("{}: {}\n", target.display(), summary(&rules));
    print(out, &line)?;
    Ok(true)
}

fn plural(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

pub(crate) fn explain(
    path: &Path,
    url: &str,
    given: &Explain,
    out: &mut impl io::Write,
) -> Outcome {
    let rules = match l7switch_rules::load(path) {
        Ok(rules) => rules,
        Err(report) => {
            if given.json {
                let errors = by_severity(&report, Severity::Error);
                print_json(
                    out,
                    &json!({ "error": "the rules have errors", "errors": errors }),
                )?;
            } else {
                print(out, &report.render(colour()))?;
            }
            return Ok(false);
        }
    };
    let question = Question {
        url: url.to_owned(),
        method: Some(given.method.clone()),
        headers: given.headers.clone(),
        source: given.source,
        sni: given.sni.clone(),
        service: given.service.clone(),
    };
    let explanation = l7switch_rules::explain::explain(&rules.model, &rules.table, &question)
        .map_err(|error| error.to_string())?;
    if given.json {
        print_json(out, &explanation)?;
    } else {
        print(out, &explanation.to_string())?;
    }
    Ok(true)
}
