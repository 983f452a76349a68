// SPDX-License-Identifier: MIT
//! A body of 1 GiB from nginx: unchanged, in constant memory, at the client's pace.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;

use crate::support::curl::curl;
use crate::support::nginx::Nginx;
use crate::support::process::program;
use crate::support::raw::Raw;
use crate::support::switch::Switch;
use crate::support::switch::simple;
use crate::uploads::MEMORY_MAX;

const LENGTH: u64 = 1 << 30;

/// A file of 1 GiB: its own offset every 65,521 bytes (a prime, so that no block of a usual size looks
/// like another), holes between.
fn big_file(path: &Path) {
    let file = File::create(path).unwrap();
    file.set_len(LENGTH).unwrap();
    let mut offset = 0;
    while offset + 8 < LENGTH {
        file.write_all_at(&offset.to_be_bytes(), offset).unwrap();
        offset += 65_521;
    }
}

/// Whether curl gets from the URL what is in the file.
fn same(arguments: &[&str], url: &str, file: &Path) {
    let mut download = curl()
        .args(arguments)
        .command(url)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let content = download.stdout.take().unwrap();
    let compared = program("cmp", "diffutils")
        .arg("-")
        .arg(file)
        .stdin(content)
        .status();
    assert!(download.wait().unwrap().success(), "{arguments:?}");
    assert!(compared.unwrap().success(), "{arguments:?}");
}

#[test]
fn a_gibibyte_unchanged_in_constant_memory() {
    let nginx = Nginx::start("nginx");
    let file = nginx.root().join("big");
    big_file(&file);
    let switch = Switch::start(&simple(&[nginx.address], "", ""));
    let url = switch.url("web") + "/big";
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        same(&[version], &url, &file);
        let peak = switch.peak_memory();
        assert!(
            peak < MEMORY_MAX,
            "{version}: {} KiB were resident",
            peak >> 10
        );
    }
    crate::support::until("all is counted", || {
        switch.status().services["web"].bytes_out == 2 * LENGTH
    });
}

#[test]
fn clients_slower_than_the_server_do_not_grow_memory() {
    const PART: usize = 24 << 20;
    let nginx = Nginx::start("nginx");
    let (big, part) = (nginx.root().join("big"), nginx.root().join("part"));
    big_file(&big);
    std::fs::write(&part, crate::support::pattern(PART)).unwrap();
    let switch = Switch::start(&simple(&[nginx.address], "", ""));
    // Eight that ask for the gibibyte and read nothing of it.
    let mut stalled = Vec::new();
    for _ in 0..8 {
        let mut client = Raw::connect(switch.address("web")).unwrap();
        client.send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        stalled.push(client);
    }
    // Two that read slowly, and get it right.
    std::thread::scope(|scope| {
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            let (url, part) = (switch.url("web") + "/part", &part);
            scope.spawn(move || same(&[version, "--limit-rate", "8M"], &url, part));
        }
    });
    let active = switch.status().services["web"].active;
    assert!(active >= 8, "the stalled clients are gone: {active}");
    let peak = switch.peak_memory();
    assert!(peak < MEMORY_MAX, "{} KiB were resident", peak >> 10);
}
