// SPDX-License-Identifier: MIT
//! What both text formats of metrics ask of every page, whatever it tells.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// Fails where a page breaks a rule that Prometheus' `promtool check metrics` or OpenMetrics 1.0 knows.
pub(crate) fn check(text: &str) {
    let mut families = BTreeMap::new();
    let mut samples = BTreeSet::new();
    let mut family = ("", "");
    let mut buckets = Vec::<(f64, f64)>::new();
    let mut helped = "";
    assert!(text.ends_with('\n'));
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(help) = line.strip_prefix("# HELP ") {
            helped = help.split_once(' ').expect("a help has words").0;
            continue;
        }
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            family = kind.split_once(' ').unwrap();
            assert_eq!(helped, family.0, "help and type stand together");
            let before = families.insert(family.0, family.1);
            assert_eq!(before, None, "{line}: a family is described once");
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap();
        let value: f64 = value.parse().unwrap();
        assert!(samples.insert(sample), "{line}: twice");
        let name = sample.split('{').next().unwrap();
        let (of, kind) = family;
        let suffix = name
            .strip_prefix(of)
            .expect("a sample stands in its family");
        let is_right = match kind {
            "counter" => suffix == "_total" || (suffix.is_empty() && name.ends_with("_total")),
            "info" => suffix == "_info" && value == 1.0,
            "gauge" => suffix.is_empty() && !name.ends_with("_total"),
            "histogram" => ["_bucket", "_sum", "_count"].contains(&suffix),
            other => panic!("{other}"),
        };
        assert!(is_right, "{line}: not as a {kind}'s");
        assert!(kind == "gauge" || value >= 0.0, "{line}");
        match suffix {
            "_bucket" => {
                let bound = sample.rsplit_once("le=\"").unwrap().1;
                let bound: f64 = bound.strip_suffix("\"}").unwrap().parse().unwrap();
                let rises = |last: &(f64, f64)| last.0 < bound && last.1 <= value;
                assert!(buckets.last().is_none_or(rises), "{line}");
                buckets.push((bound, value));
            }
            "_count" if kind == "histogram" => {
                let all = (f64::INFINITY, value);
                assert_eq!(buckets.pop(), Some(all), "{line}");
                assert_eq!(buckets.len(), 25, "{line}");
                buckets.clear();
            }
            _ => (),
        }
    }
    assert!(families.values().any(|kind| *kind == "histogram"));
}
