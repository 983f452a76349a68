// SPDX-License-Identifier: MIT
//! What `l7ctl check` says of the state folder of ACME to one who may not use it.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs::Permissions;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// nobody, as whom it runs where the tests run as root, who may do everything.
const NOBODY: u32 = 65534;

#[test]
fn a_folder_of_another_user_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let set_mode = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    set_mode(folder.path(), 0o755);
    let rules = folder.path().join("rules.toml");
    let text = "[acme]\nterms_agreed = true\nstate = 'state'\n\
                [service.plain]\nlisten = '127.0.0.1:80'\nroute = [{ respond = { status = 204 } }]\n\
                [service.a]\nlisten = '127.0.0.1:443'\nprotocol = 'https'\n\
                certificates = [{ acme = ['a.example'] }]\nroute = [{ respond = { status = 204 } }]\n";
    std::fs::write(&rules, text).unwrap();
    // Where other users may run it.
    let program = folder.path().join("l7ctl");
    std::fs::copy(env!("CARGO_BIN_EXE_l7ctl"), &program).unwrap();
    set_mode(&program, 0o755);
    let is_root = std::fs::metadata(&rules).unwrap().uid() == 0;
    let check = |options: &[&str]| {
        let mut command = Command::new(&program);
        command.arg("check").args(options).arg(&rules);
        if is_root {
            command.uid(NOBODY).gid(NOBODY);
        }
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text)
    };
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    set_mode(&state, 0o500);
    let denied = format!("{}: Permission denied", state.display());
    let (code, text) = check(&[]);
    assert_eq!(code, Some(0), "{text}");
    for part in [
        &*denied,
        "state = 'state'",
        "the user that l7switch runs as",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let (_, text) = check(&["--no-files"]);
    assert!(!text.contains("Permission denied"), "{text}");
    // Nor may it be made there.
    std::fs::remove_dir(&state).unwrap();
    set_mode(folder.path(), 0o555);
    let (code, text) = check(&[]);
    set_mode(folder.path(), 0o755);
    assert_eq!(code, Some(0), "{text}");
    let where_to = format!("where {} is to be made", state.display());
    assert!(text.contains(&where_to), "{text}");
    assert!(!state.exists());
    // What nobody could use is a mistake.
    std::fs::write(&state, "").unwrap();
    let (code, text) = check(&[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("this is no folder"), "{text}");
}
