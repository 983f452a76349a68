// SPDX-License-Identifier: MIT
//! Every example of rules/examples is good, and what its `#>` lines say is true.
//!
//! A line is `#> [METHOD] URL [| Name: value]… [@ SOURCE] => ROUTE`, ROUTE `none` for no route.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::path::Path;

use l7switch_rules::explain::Question;
use l7switch_rules::explain::explain;

fn question(text: &str) -> Question {
    let (text, source) = match text.split_once(" @ ") {
        Some((text, source)) => (text, Some(source.trim().parse().unwrap())),
        None => (text, None),
    };
    let mut parts = text.split(" | ");
    let request = parts.next().unwrap().trim();
    let headers = parts
        .map(|h| {
            h.split_once(": ")
                .map(|(n, v)| (n.trim().to_owned(), v.trim().to_owned()))
                .unwrap()
        })
        .collect();
    let (method, url) = request.split_once(' ').unwrap_or(("GET", request));
    Question {
        url: url.to_owned(),
        method: Some(method.to_owned()),
        headers,
        source,
        sni: None,
        service: None,
    }
}

#[test]
fn examples_say_what_they_do() {
    let mut files = 0;
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")).unwrap()
    {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let rules = l7switch_rules::load(&path).unwrap_or_else(|report| panic!("{report}"));
        assert!(rules.warnings.is_empty(), "{name}: {}", rules.warnings);
        let text = std::fs::read_to_string(&path).unwrap();
        let mut claims = 0;
        let mut taken = Vec::new();
        for line in text.lines().filter_map(|l| l.strip_prefix("#> ")) {
            let (request, route) = line.split_once(" => ").unwrap();
            let answer = explain(&rules.model, &rules.table, &question(request)).unwrap();
            let found = answer.route.unwrap_or_else(|| "none".into());
            assert_eq!(found, route, "{name}: {request}");
            taken.push(found);
            claims += 1;
        }
        assert!(claims >= 4, "{name} shows what its routes take");
        for service in &rules.model.services {
            for (position, route) in service.routes.iter().enumerate() {
                let label = route.label(position);
                assert!(
                    taken.contains(&label),
                    "{name}: no line shows route {label}"
                );
            }
        }
        files += 1;
    }
    assert!(files >= 7, "{files} examples");
}

#[test]
fn the_readme_shows_the_quickstart_as_it_is() {
    let readme = include_str!("../../README.md");
    assert!(readme.contains(include_str!("../examples/quickstart.toml")));
}
