// SPDX-License-Identifier: MIT
//! Files of the state folder, good and bad.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn rules(folder: &Path) -> model::Acme {
    model::Acme {
        directory: "https://acme.example:14000/dir".to_owned(),
        contact: Vec::new(),
        state: folder.join("state"),
        challenge: model::Challenge::Http,
        ca: None,
        profile: None,
        external_account: None,
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn account() -> StoredAccount {
    StoredAccount {
        contact: vec!["mailto:a@example".to_owned()],
        credentials: serde_json::json!({ "id": "1" }),
    }
}

#[test]
fn folders_and_files_are_the_owners_alone() {
    let temporary = tempfile::tempdir().unwrap();
    let rules = rules(temporary.path());
    let folder = Folder::open(&rules).unwrap();
    assert!(folder.account().unwrap().is_none());
    folder.keep_account(&account()).unwrap();
    assert_eq!(mode(&rules.state), 0o700);
    assert_eq!(mode(&folder.0), 0o700);
    assert_eq!(mode(&folder.account_path()), 0o600);
    let name = folder.0.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("acme.example-"), "{name}");
    let known = Folder::open(&rules).unwrap().account().unwrap().unwrap();
    assert_eq!(known.contact, ["mailto:a@example"]);
    // Nothing is left of the writing.
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1);
    // Another directory has a folder of its own.
    let other = model::Acme {
        directory: "https://acme.example:14000/other".to_owned(),
        ..rules
    };
    assert!(Folder::open(&other).unwrap().account().unwrap().is_none());
}

#[test]
fn what_others_could_read_is_not_used() {
    let temporary = tempfile::tempdir().unwrap();
    let rules = rules(temporary.path());
    let folder = Folder::open(&rules).unwrap();
    folder.keep_account(&account()).unwrap();
    let expect = |path: &Path, wrong, right: u32| {
        set_mode(path, wrong);
        let error = Folder::open(&rules).unwrap_err().to_string();
        let help = format!("(mode {wrong:04o}): chmod {right:o} {}", path.display());
        assert!(error.contains(&help), "{error}");
        set_mode(path, right);
        Folder::open(&rules).unwrap();
    };
    expect(&rules.state, 0o755, 0o700);
    expect(&folder.0, 0o710, 0o700);
    expect(&folder.account_path(), 0o644, 0o600);
    let certificate = folder.certificate(&["a.example".to_owned()]);
    fs::write(&certificate, "").unwrap();
    set_mode(&certificate, 0o640);
    let error = read_certificate(&certificate).unwrap_err().to_string();
    assert!(error.contains("others have access (mode 0640)"), "{error}");
}

#[test]
fn a_file_that_is_cut_is_told_of() {
    let temporary = tempfile::tempdir().unwrap();
    let rules = rules(temporary.path());
    let folder = Folder::open(&rules).unwrap();
    folder.keep_account(&account()).unwrap();
    let whole = fs::read(folder.account_path()).unwrap();
    for length in [0, 1, whole.len() / 2, whole.len() - 1] {
        fs::write(folder.account_path(), &whole[..length]).unwrap();
        let error = Folder::open(&rules).unwrap_err().to_string();
        assert!(
            error.contains("account.json: it holds no account") && error.contains("remove it"),
            "{error}"
        );
    }
    fs::remove_file(folder.account_path()).unwrap();
    fs::create_dir(folder.account_path()).unwrap();
    set_mode(&folder.account_path(), 0o700);
    assert!(Folder::open(&rules).is_err());
    // The state folder may be no folder at all.
    let none = model::Acme {
        state: PathBuf::from("/dev/null/state"),
        ..rules
    };
    assert!(Folder::open(&none).is_err());
}

#[test]
fn certificates_are_known_by_all_of_their_names() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = Folder::open(&rules(temporary.path())).unwrap();
    let path = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        folder.certificate(&names)
    };
    assert_ne!(path(&["a.example"]), path(&["a.example", "b.example"]));
    let hash = |path: &Path| {
        path.to_str()
            .unwrap()
            .rsplit('-')
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        hash(&path(&["a.example", "b.example"])),
        hash(&path(&["b.example", "a.example"]))
    );
    let long = format!("{}.example", vec!["a".repeat(60); 4].join("."));
    assert!(path(&[&long]).file_name().unwrap().len() < 240);

    let certificate = path(&["a.example"]);
    assert!(read_certificate(&certificate).unwrap().is_none());
    keep_certificate(&certificate, b"half a certific").unwrap();
    let error = read_certificate(&certificate)
        .unwrap()
        .unwrap()
        .unwrap_err();
    assert!(error.contains("a.example-"), "{error}");
    let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    let pem = made.signing_key.serialize_pem() + &made.cert.pem();
    keep_certificate(&certificate, pem.as_bytes()).unwrap();
    let pair = read_certificate(&certificate).unwrap().unwrap().unwrap();
    assert_eq!(pair.names, ["a.example"]);
    assert_eq!(mode(&certificate), 0o600);
}

#[test]
fn a_pause_is_kept_and_a_strange_one_is_none() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = Folder::open(&rules(temporary.path())).unwrap();
    let certificate = folder.certificate(&["a.example".to_owned()]);
    let now = time(1_000_000_000);
    assert_eq!(retry(&certificate, now), Retry::default());
    let kept = Retry {
        failures: 3,
        not_before: 1_000_000_240,
    };
    keep_retry(&certificate, Some(kept)).unwrap();
    assert_eq!(retry(&certificate, now), kept);
    // A clock that was a year ahead has written this.
    assert_eq!(retry(&certificate, time(900_000_000)), Retry::default());
    keep_retry(&certificate, None).unwrap();
    keep_retry(&certificate, None).unwrap();
    assert_eq!(retry(&certificate, now), Retry::default());
    fs::write(certificate.with_extension("retry.json"), "{").unwrap();
    assert_eq!(retry(&certificate, now), Retry::default());
}
