// SPDX-License-Identifier: MIT
//! Any text is rules or gets a report; and what the table of good rules answers is what the rules say.
#![no_main]

use l7switch_rules::automata::Cache;
use l7switch_rules::evaluate::Ask;
use l7switch_rules::evaluate::Fields;
use l7switch_rules::evaluate::evaluate_all;
use l7switch_rules::model::HostMatch;
use l7switch_rules::model::PathMatch;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let rules = match l7switch_rules::load_text("fuzz.toml", text) {
        Ok(rules) => rules,
        Err(report) => {
            assert!(report.has_errors());
            assert!(!report.render(false).is_empty());
            assert!(report.to_json().is_array());
            return;
        }
    };
    let mut cache = Cache::default();
    for (number, service) in (0u32..).zip(&rules.model.services) {
        // Requests made of what the routes themselves name.
        let hosts = service
            .routes
            .iter()
            .flat_map(|r| &r.hosts)
            .map(|h| match h {
                HostMatch::Exact(name) => name.clone(),
                HostMatch::Wildcard(name) => format!("x.{name}"),
            });
        let paths = service
            .routes
            .iter()
            .flat_map(|r| &r.paths)
            .map(|p| match p {
                PathMatch::Exact(path) => path.clone(),
                PathMatch::Prefix(path) => format!("{path}/x"),
                PathMatch::Regex(_) => "/a".to_owned(),
            });
        let hosts: Vec<String> = hosts.take(4).chain(["".into()]).collect();
        let paths: Vec<String> = paths.take(4).chain(["/".into()]).collect();
        for (host, path) in hosts.iter().flat_map(|h| paths.iter().map(move |p| (h, p))) {
            let ask = Ask {
                method: "GET".into(),
                host: host.clone(),
                path: path.clone(),
                query: "a=1".into(),
                headers: Fields(vec![("Cookie".into(), b"a=1".to_vec())]),
                source: [10, 0, 0, 1].into(),
            };
            let winner = evaluate_all(service, &ask, &mut cache)
                .into_iter()
                .find(|v| v.failed.is_empty())
                .and_then(|v| u32::try_from(v.position).ok());
            assert_eq!(
                rules.table.route(number, &ask.as_request()),
                winner,
                "{ask:?}"
            );
        }
    }
});
