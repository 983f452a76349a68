// SPDX-License-Identifier: MIT
//! `l7ctl diff`: how the rules of a file differ from those in force, by meaning: other words for the same are no difference.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use l7switch_admin_api::RulesInForce;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;

use crate::Outcome;
use crate::print;
use crate::print_json;
use crate::rules::colour;
use crate::rules::wrong;
use crate::show::printable;

/// One difference. A side that is `null` does not have it.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Difference {
    /// Where, such as `pool.api.servers.10.0.0.1:80.weight`.
    at: String,
    /// In the rules in force.
    running: Value,
    /// In the file.
    file: Value,
}

/// Shows what a reload of the rules at `path` would change.
pub(crate) fn diff(
    path: &Path,
    running: RulesInForce,
    as_json: bool,
    out: &mut impl io::Write,
) -> Outcome {
    let file = match l7switch_rules::load(path) {
        Ok(rules) => rules.model,
        Err(report) => {
            wrong(path, &report, as_json, out)?;
            return Ok(false);
        }
    };
    let file = serde_json::to_value(&file).map_err(|error| error.to_string())?;
    let mut differences = Vec::new();
    compare("", &plain(running.model), &plain(file), &mut differences);
    if as_json {
        let answer = serde_json::json!({
            "generation": running.generation,
            "same": differences.is_empty(),
            "differences": differences,
        });
        print_json(out, &answer)?;
    } else {
        print(out, &text(&differences, colour()))?;
        if differences.is_empty() {
            let generation = running.generation;
            let line = format!("{}: the same as generation {generation}\n", path.display());
            print(out, &line)?;
        }
    }
    Ok(differences.is_empty())
}

/// A model as people write rules: pools by name, durations in words, without what names of servers were resolved to.
fn plain(mut model: Value) -> Value {
    let pools = model.get("pools").and_then(Value::as_array);
    let pools: Vec<String> = pools
        .into_iter()
        .flatten()
        .map(|pool| label(pool).unwrap_or_default())
        .collect();
    rewrite(&mut model, &pools);
    model
}

fn rewrite(value: &mut Value, pools: &[String]) {
    match value {
        Value::Object(object) => {
            if let Some(time) = duration(object) {
                *value = Value::String(humantime::format_duration(time).to_string());
                return;
            }
            for (key, value) in object.iter_mut() {
                let named = (key == "pool" || key == "fallback")
                    .then(|| value.as_u64())
                    .flatten()
                    .and_then(|number| pools.get(usize::try_from(number).ok()?));
                match named {
                    Some(name) => *value = Value::String(name.clone()),
                    None => rewrite(value, pools),
                }
            }
        }
        Value::Array(list) => {
            // An address that a name was resolved to.
            list.retain(|one| one.get("address").is_none() || one.get("name").is_none());
            for value in list {
                rewrite(value, pools);
            }
        }
        _ => {}
    }
}

/// A time as serde writes it.
fn duration(object: &Map<String, Value>) -> Option<Duration> {
    let (secs, nanos) = (
        object.get("secs")?.as_u64()?,
        object.get("nanos")?.as_u64()?,
    );
    (object.len() == 2).then(|| Duration::new(secs, u32::try_from(nanos).unwrap_or(0)))
}

/// What an element of a list is called, in whatever place it stands.
fn label(value: &Value) -> Option<String> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    // A name of servers has a kind.
    let of_servers = || {
        value
            .get("name")
            .filter(|name| name.is_object())
            .map(Value::to_string)
    };
    let matches = || {
        let (hosts, paths) = (value.get("hosts")?, value.get("paths")?);
        Some(format!("{hosts} {paths}"))
    };
    text("name")
        .or_else(|| text("address"))
        .or_else(of_servers)
        .or_else(matches)
}

/// A list whose elements have names, each once.
fn named(list: &[Value]) -> Option<BTreeMap<String, &Value>> {
    let mut all = BTreeMap::new();
    for value in list {
        let name = label(value)?;
        let times = (1..).map(|n| match n {
            1 => name.clone(),
            n => format!("{name} ({n})"),
        });
        let free = times
            .take(list.len())
            .find(|name| !all.contains_key(name))?;
        all.insert(free, value);
    }
    Some(all)
}

fn compare(at: &str, running: &Value, file: &Value, into: &mut Vec<Difference>) {
    if running == file {
        return;
    }
    let children = match (running, file) {
        (Value::Object(running), Value::Object(file)) => Some((entries(running), entries(file))),
        (Value::Array(running), Value::Array(file)) => named(running).zip(named(file)),
        _ => None,
    };
    let Some((running, file)) = children else {
        into.push(Difference {
            at: at.to_owned(),
            running: running.clone(),
            file: file.clone(),
        });
        return;
    };
    let keys: BTreeSet<&String> = running.keys().chain(file.keys()).collect();
    for key in keys {
        let at = match at {
            "" => key.clone(),
            at => format!("{at}.{key}"),
        };
        let of = |side: &BTreeMap<String, &Value>| match side.get(key) {
            Some(value) => (*value).clone(),
            None => Value::Null,
        };
        compare(&at, &of(&running), &of(&file), into);
    }
}

fn entries(object: &Map<String, Value>) -> BTreeMap<String, &Value> {
    object
        .iter()
        .map(|(key, value)| (key.clone(), value))
        .collect()
}

/// Differences as lines: `-` is in force, `+` in the file.
fn text(differences: &[Difference], colour: bool) -> String {
    let (red, green, end) = match colour {
        true => ("\x1b[31m", "\x1b[32m", "\x1b[0m"),
        false => ("", "", ""),
    };
    let mut text = String::new();
    for difference in differences {
        let at = printable(&difference.at);
        for (sign, begin, value) in [
            ('-', red, &difference.running),
            ('+', green, &difference.file),
        ] {
            match value {
                Value::Null => {}
                // All of a service, a route, a pool or a server.
                Value::Object(_) => text += &format!("{begin}{sign} {at}{end}\n"),
                value => {
                    text += &format!(
                        "{begin}{sign} {at} = {}{end}\n",
                        printable(&value.to_string())
                    )
                }
            }
        }
    }
    text
}
