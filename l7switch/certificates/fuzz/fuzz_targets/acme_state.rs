// SPDX-License-Identifier: MIT
//! Any bytes in the files of the state folder: each is used or told of, what is told by the check is what the front finds, and what is
//! kept is found again.
#![no_main]

use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use l7switch_certificates::state;
use l7switch_certificates::state::Folder;
use l7switch_rules::model;
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

/// In memory, where there is such a place.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => TempDir::new_in(memory).unwrap(),
        false => TempDir::new().unwrap(),
    }
});

fn put(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

fuzz_target!(|bytes: &[u8]| {
    let rules = model::Acme {
        directory: "https://acme.example/directory".to_owned(),
        contact: Vec::new(),
        state: FOLDER.path().to_owned(),
        challenge: model::Challenge::Http,
        ca: None,
        profile: None,
        external_account: None,
    };
    let ordered = model::OrderedCertificate {
        acme: vec!["a.example".to_owned()],
    };
    let look = || state::look(&rules, [&ordered]);
    // What the run before has left.
    let folder = match Folder::open(&rules) {
        Ok(folder) => folder,
        Err(_) => {
            fs::remove_dir_all(FOLDER.path()).unwrap();
            Folder::open(&rules).unwrap()
        }
    };
    let certificate = folder.certificate(&ordered.acme);
    let pause = certificate.with_extension("retry.json");
    let account = certificate.with_file_name("account.json");
    for path in [&certificate, &pause, &account] {
        let _ = fs::remove_file(path);
    }
    assert!(look().is_empty());

    put(&certificate, bytes);
    let read = state::read_certificate(&certificate).unwrap().unwrap();
    assert_eq!(read.is_err(), !look().is_empty());
    if let Ok(pair) = read {
        assert!(!pair.label().is_empty());
    }
    let now = state::time(1_900_000_000);
    let _ = folder.with_names(&ordered.acme, now);
    fs::remove_file(&certificate).unwrap();

    put(&pause, bytes);
    let read = state::retry(&certificate, now);
    let latest = now + state::LONGEST_WAIT + Duration::from_secs(1);
    assert!(state::time(read.not_before) <= latest);
    state::keep_retry(&certificate, Some(read)).unwrap();
    assert_eq!(state::retry(&certificate, now), read);
    assert!(look().is_empty());
    state::keep_retry(&certificate, None).unwrap();

    put(&account, bytes);
    match folder.account() {
        Ok(read) => {
            assert!(look().is_empty());
            folder.keep_account(&read.unwrap()).unwrap();
            assert!(folder.account().unwrap().is_some());
        }
        Err(_) => assert_eq!(look().len(), 1),
    }
});
