// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Holds the numbers in kmod/engine/src/netlink.rs, and the forms in which this client sends and takes attributes,
//! to the contract in kmod/netlink/l7switch.yaml.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::collections::BTreeMap;

use l7switch_engine::netlink;
use l7switch_engine::netlink::Command;
use l7switch_netlink::Form;
use l7switch_netlink::SETS;
use l7switch_netlink::set_of;
use saphyr::LoadableYamlNode;
use saphyr::Yaml;

const CONTRACT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../l7switch.yaml");

fn contract<T>(test: impl FnOnce(&Yaml<'_>) -> T) -> T {
    let text = std::fs::read_to_string(CONTRACT).unwrap();
    let documents = Yaml::load_from_str(&text).unwrap();
    assert_eq!(documents.len(), 1);
    test(&documents[0])
}

fn text<'a>(node: &'a Yaml<'_>, key: &str) -> Option<&'a str> {
    node.as_mapping_get(key)
        .map(|value| value.as_str().unwrap())
}

fn list<'a>(node: &'a Yaml<'a>, key: &str) -> &'a [Yaml<'a>] {
    node.as_mapping_get(key)
        .map_or(&[], |value| value.as_sequence().unwrap())
}

/// Names with the numbers that their order gives them (the contract gives none explicitly), from `first`.
fn numbered(entries: &[Yaml<'_>], first: u32) -> Vec<(String, u32)> {
    let name = |entry: &Yaml<'_>| match entry.as_str() {
        Some(name) => name.to_owned(),
        None => {
            assert!(
                entry.as_mapping_get("value").is_none(),
                "count it here then"
            );
            text(entry, "name").unwrap().to_owned()
        }
    };
    entries.iter().map(name).zip(first..).collect()
}

/// The same of an enumeration of the engine.
macro_rules! engine {
    ($name:ident) => {
        netlink::$name::ALL
            .iter()
            .map(|one| (one.name().to_owned(), u32::from(one.number())))
            .collect::<Vec<_>>()
    };
}

#[test]
fn the_family_and_its_group_are_the_contracts() {
    contract(|contract| {
        assert_eq!(text(contract, "name"), Some(netlink::FAMILY));
        assert_eq!(text(contract, "protocol"), Some("genetlink"));
        let version = contract.as_mapping_get("version");
        assert!(version.is_none() && netlink::VERSION == 1, "1 unless given");
        let groups = list(contract.as_mapping_get("mcast-groups").unwrap(), "list");
        assert_eq!(numbered(groups, 0), [(netlink::EVENTS.to_owned(), 0)]);
    });
}

#[test]
fn commands_and_events_have_the_numbers_of_the_contract() {
    contract(|contract| {
        let operations = contract.as_mapping_get("operations").unwrap();
        assert!(
            operations.as_mapping_get("enum-model").is_none(),
            "unified unless given: requests, answers and events count together"
        );
        let operations = list(operations, "list");
        assert_eq!(engine!(Command), numbered(operations, 1));
        for (command, operation) in Command::ALL.iter().zip(operations) {
            assert_eq!(
                Some(set_of(*command)),
                text(operation, "attribute-set"),
                "{}",
                command.name()
            );
        }
    });
}

#[test]
fn enumerations_have_the_numbers_of_the_contract() {
    let known = BTreeMap::from([
        ("protocol", engine!(Protocol)),
        ("datapath", engine!(Datapath)),
        ("server-state", engine!(ServerState)),
        ("outcome", engine!(Outcome)),
        ("action", engine!(Action)),
        ("flow-state", engine!(FlowState)),
    ]);
    contract(|contract| {
        let definitions = list(contract, "definitions");
        assert_eq!(definitions.len(), known.len());
        for definition in definitions {
            let name = text(definition, "name").unwrap();
            assert_eq!(text(definition, "type"), Some("enum"), "{name}");
            assert!(definition.as_mapping_get("value-start").is_none());
            assert_eq!(
                known.get(name),
                Some(&numbered(list(definition, "entries"), 0)),
                "{name}"
            );
        }
    });
}

#[test]
fn attributes_have_the_numbers_of_the_contract() {
    let known = BTreeMap::from([
        ("module", engine!(ModuleAttr)),
        ("histogram", engine!(HistogramAttr)),
        ("class", engine!(ClassAttr)),
        ("counter", engine!(CounterAttr)),
        ("table", engine!(TableAttr)),
        ("service", engine!(ServiceAttr)),
        ("endpoint", engine!(EndpointAttr)),
        ("traffic", engine!(TrafficAttr)),
        ("server", engine!(ServerAttr)),
        ("flow", engine!(FlowAttr)),
        ("match", engine!(MatchAttr)),
        ("share", engine!(ShareAttr)),
        ("flow-count", engine!(FlowCountAttr)),
        ("route", engine!(RouteAttr)),
    ]);
    contract(|contract| {
        let sets = list(contract, "attribute-sets");
        assert_eq!(sets.len(), known.len());
        for set in sets {
            let name = text(set, "name").unwrap();
            let wanted = numbered(list(set, "attributes"), 1);
            assert_eq!(known.get(name), Some(&wanted), "{name}");
        }
    });
}

/// What the contract says of an attribute's form.
fn form(attribute: &Yaml<'_>) -> (String, Option<String>, Option<String>, Option<usize>) {
    let word = |key| text(attribute, key).map(str::to_owned);
    let exact = attribute
        .as_mapping_get("checks")
        .and_then(|checks| checks.as_mapping_get("exact-len"))
        .map(|length| usize::try_from(length.as_integer().unwrap()).unwrap());
    (
        word("type").unwrap(),
        word("nested-attributes"),
        word("enum"),
        exact,
    )
}

#[test]
fn the_client_sends_and_takes_each_attribute_in_the_form_of_the_contract() {
    contract(|contract| {
        let sets = list(contract, "attribute-sets");
        assert_eq!(sets.len(), SETS.len());
        for (set, (name, entries)) in sets.iter().zip(SETS) {
            assert_eq!(text(set, "name"), Some(*name));
            let attributes = list(set, "attributes");
            assert_eq!(attributes.len(), entries.len(), "{name}");
            for ((attribute, number), entry) in attributes.iter().zip(1..).zip(*entries) {
                assert_eq!(entry.number, number, "{name}: {}", entry.name);
                assert_eq!(text(attribute, "name"), Some(entry.name), "{name}");
                assert!(
                    attribute.as_mapping_get("byte-order").is_none(),
                    "the host's"
                );
                let Form {
                    kind,
                    nested,
                    enumeration,
                    exact_len,
                } = entry.form;
                let ours = (
                    kind.to_owned(),
                    nested.map(str::to_owned),
                    enumeration.map(str::to_owned),
                    exact_len,
                );
                assert_eq!(ours, form(attribute), "{name}: {}", entry.name);
            }
        }
    });
}
