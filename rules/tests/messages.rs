// SPDX-License-Identifier: MIT
//! What a person sees for every kind of mistake: rules/tests/bad/NAME.toml gives exactly NAME.txt.
//!
//! After a change that is meant, write the messages anew with `UPDATE_GOLDEN=1 cargo test -p l7switch-rules`
//! and read the difference.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::collections::BTreeSet;
use std::path::Path;

use l7switch_rules::load_text;
use l7switch_rules::model::Maintenance;
use l7switch_rules::model::TlsVersion;
use l7switch_rules::text::diagnostic::Report;

fn report(name: &str, text: &str) -> Report {
    match load_text(name, text) {
        Ok(rules) => rules.warnings,
        Err(report) => report,
    }
}

#[test]
fn messages_are_what_they_should_be() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut codes = BTreeSet::new();
    let mut different = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "toml") {
            continue;
        }
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let found = report(&name, &std::fs::read_to_string(&path).unwrap());
        assert!(!found.is_empty(), "{name} is not bad");
        codes.extend(found.diagnostics().iter().map(|d| d.code));
        let shown = found.render(false);
        let golden = path.with_extension("txt");
        if update {
            std::fs::write(&golden, &shown).unwrap();
        }
        if std::fs::read_to_string(&golden).unwrap_or_default() != shown {
            different.push(format!("{name} now says:\n{shown}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    // Every kind of mistake has a case here: the codes are those of docs/rules.md.
    let page = include_str!("../../docs/rules.md");
    let documented: BTreeSet<&str> = page
        .lines()
        .filter_map(|l| l.strip_prefix("| `")?.split_once("` |"))
        .map(|(code, _)| code)
        .filter(|code| page.contains(&format!("| `{code}` | ")))
        .collect();
    for code in &codes {
        assert!(
            documented.contains(code),
            "docs/rules.md does not tell of `{code}`"
        );
    }
}

#[test]
fn json_says_where() {
    let text = "[service.web]\nlisten = \"0.0.0.0:80\"\nroute = [{ pool = \"a\" }]\n";
    let json = report("web.toml", text).to_json();
    let entry = &json.as_array().unwrap()[0];
    assert_eq!(entry["severity"], "error");
    assert_eq!(entry["code"], "unknown-pool");
    assert_eq!(entry["file"], "web.toml");
    assert_eq!(
        (entry["line"].as_u64(), entry["column"].as_u64()),
        (Some(3), Some(19))
    );
    assert_eq!(
        (entry["end_line"].as_u64(), entry["end_column"].as_u64()),
        (Some(3), Some(22))
    );
    assert_eq!(entry["help"], "add a table [pool.a] with its servers");
}

#[test]
fn a_service_may_stand_in_several_files() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "10-web.toml",
        "[service.web]\nlisten = \"0.0.0.0:80\"\n[pool.a]\nservers = [\"10.0.0.1:80\"]\n",
    );
    write(
        "20-team.toml",
        "[[service.web.route]]\nname = \"one\"\npool = \"a\"\n",
    );
    write(
        "30-team.toml",
        "[[service.web.route]]\nname = \"two\"\npath = { exact = \"/2\" }\npool = \"b\"\n",
    );
    write("40-pool.toml", "[pool.b]\nservers = [\"10.0.0.2:80\"]\n");
    let rules = l7switch_rules::load(folder.path()).unwrap();
    let names: Vec<_> = rules.model.services[0]
        .routes
        .iter()
        .map(|r| r.name.clone().unwrap())
        .collect();
    assert_eq!(names, ["one", "two"]);

    write(
        "50-again.toml",
        "[service.web]\nlisten = \"0.0.0.0:81\"\n[pool.a]\nservers = [\"10.0.0.9:80\"]\n",
    );
    let report = l7switch_rules::load(folder.path()).unwrap_err();
    let messages: Vec<&str> = report
        .diagnostics()
        .iter()
        .map(|d| d.message.as_str())
        .collect();
    assert_eq!(
        messages,
        [
            "service `web` has `listen` in two files",
            "pool `a` is defined twice"
        ]
    );
    assert!(
        report.render(false).contains("10-web.toml:3:7"),
        "{}",
        report.render(false)
    );
}

/// `maintenance` and `error_pages` of a later file had no effect.
#[test]
fn keys_of_a_service_may_stand_in_its_second_file() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("10-routes.toml", "[[service.web.route]]\npool = \"a\"\n");
    write(
        "20-web.toml",
        "[service.web]\nlisten = \"0.0.0.0:443\"\nprotocol = \"https\"\nmaintenance = true\n\
         certificates = { cert = \"c\", key = \"k\", ocsp = \"o\" }\nclient_certificates = { ca = \"ca\", crl = \"r\", required = false }\n\
         tls = { min_version = \"1.3\" }\nerror_pages = { \"404\" = { body = \"none\" } }\n\
         [pool.a]\nservers = [\"10.0.0.1:80\"]\n",
    );
    let rules = l7switch_rules::load(folder.path()).unwrap();
    let service = &rules.model.services[0];
    assert_eq!(service.maintenance, Maintenance::Except(Vec::new()));
    assert_eq!(service.error_pages.len(), 1);
    assert_eq!(service.tls.min_version, TlsVersion::V13);
    let clients = service.tls.client_certificates.as_ref().unwrap();
    assert_eq!(
        (clients.required, &clients.ca),
        (false, &folder.path().join("ca"))
    );
    // All of them are watched.
    let files = ["c", "k", "o", "ca", "r"].map(|name| folder.path().join(name));
    assert_eq!(rules.model.files(), files);
}

#[test]
fn the_schema_takes_the_examples_and_no_unknown_key() {
    let schema = l7switch_rules::text::language::json_schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let value =
        |text: &str| serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap();
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")).unwrap()
    {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let errors: Vec<String> = validator
            .iter_errors(&value(&text))
            .map(|e| format!("{}: {e}", e.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{}: {errors:?}", path.display());
    }
    for bad in [
        include_str!("bad/unknown-key.toml"),
        include_str!("bad/wrong-types.toml"),
        "[service.web]\nprotocol = \"htp\"",
        "[pool.a]\nscheduler = { name = \"wcl\" }",
    ] {
        assert!(!validator.is_valid(&value(bad)), "{bad}");
    }
}
