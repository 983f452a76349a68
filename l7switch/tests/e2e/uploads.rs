// SPDX-License-Identifier: MIT
//! Content from clients: chunked and by length, over every version, whole and in constant memory.

use std::io::Read;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::support::curl::curl;
use crate::support::python::Echo;
use crate::support::python::Python;
use crate::support::raw::Raw;
use crate::support::sha256;
use crate::support::switch::Switch;
use crate::support::switch::simple;
use crate::support::until;

/// More than the switch may ever have resident, whatever passes through it.
pub(crate) const MEMORY_MAX: u64 = 64 << 20;

fn random_file(folder: &TempDir, length: u64) -> PathBuf {
    let path = folder.path().join("upload");
    let mut file = std::fs::File::create(&path).unwrap();
    let random = std::fs::File::open("/dev/urandom").unwrap();
    std::io::copy(&mut random.take(length), &mut file).unwrap();
    path
}

#[test]
fn a_hundred_megabytes_chunked_and_by_length() {
    const LENGTH: u64 = 100_000_000;
    let folder = tempfile::tempdir().unwrap();
    let file = random_file(&folder, LENGTH);
    let hash = sha256(&file);
    let python = Python::start("python");
    let switch = Switch::start(&simple(&[python.address], "", ""));
    let url = switch.url("web") + "/echo";
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for streamed in [true, false] {
            let curl = curl().arg(version);
            let curl = if streamed {
                curl.upload_stream(&file)
            } else {
                curl.arg("-T").arg(&file)
            };
            let echo = Echo::parse(&curl.ok(&url).body);
            let what = format!("{version}, streamed: {streamed}");
            assert_eq!(
                (echo.length, echo.sha256.as_str()),
                (LENGTH, hash.as_str()),
                "{what}"
            );
            assert_eq!(echo.method, "PUT");
            if streamed {
                assert_eq!(echo.field("transfer-encoding"), "chunked", "{what}");
                assert_eq!(echo.field("content-length"), "", "{what}");
            } else {
                assert_eq!(echo.field("content-length"), LENGTH.to_string(), "{what}");
                assert_eq!(echo.field("transfer-encoding"), "", "{what}");
            }
        }
    }
    let peak = switch.peak_memory();
    assert!(peak < MEMORY_MAX, "{} KiB were resident", peak >> 10);
    until("all is counted", || {
        switch.status().services["web"].bytes_in == 4 * LENGTH
    });
}

#[test]
fn many_uploads_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = random_file(&folder, 3_000_000);
    let hash = sha256(&file);
    let python = Python::start("python");
    let switch = Switch::start(&simple(&[python.address], "", ""));
    let url = switch.url("web") + "/echo";
    std::thread::scope(|scope| {
        for number in 0..12 {
            let (file, hash, url) = (&file, &hash, &url);
            scope.spawn(move || {
                let version = ["--http1.1", "--http2-prior-knowledge"][number % 2];
                let answer = curl().arg(version).upload_stream(file).ok(url);
                assert_eq!(&Echo::parse(&answer.body).sha256, hash);
            });
        }
    });
}

#[test]
fn a_server_that_does_not_read_holds_the_client_back() {
    const BLOCK: usize = 1 << 20;
    let python = Python::start("python");
    let switch = Switch::start(&simple(&[python.address], "", ""));
    let gate = python.gate("open");
    let mut client = Raw::connect(switch.address("web")).unwrap();
    client
        .send(format!(
            "POST /unread?file={} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
            gate.display(),
            400 * BLOCK
        ))
        .unwrap();
    let taken = client.send_until_stalled(&vec![b'x'; BLOCK], 400 * BLOCK);
    // What the kernel keeps in its buffers on the way is not the switch's.
    assert!(taken < 100 * BLOCK, "{taken} bytes went nowhere");
    assert!(switch.peak_memory() < MEMORY_MAX);
    std::fs::write(gate, "").unwrap();
    client.send(vec![b'x'; 400 * BLOCK - taken]).unwrap();
    let echo = Echo::parse(&client.response().unwrap().unwrap().body);
    assert_eq!(usize::try_from(echo.length), Ok(400 * BLOCK));
    assert!(switch.peak_memory() < MEMORY_MAX);
}

#[test]
fn content_that_breaks_off_is_no_request() {
    let python = Python::start("python");
    let switch = Switch::start(&simple(&[python.address], "", ""));
    for head in [
        "Content-Length: 10\r\n\r\nhalf",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nha",
    ] {
        let mut client = Raw::connect(switch.address("web")).unwrap();
        client
            .send(format!("POST /echo HTTP/1.1\r\nHost: a\r\n{head}"))
            .unwrap();
        client.finish();
        let response = client.response().unwrap();
        assert!(
            response.is_none_or(|response| response.status == 400),
            "{head}"
        );
    }
    // The switch and its connections are as good as before.
    let answer = curl()
        .args(["-d", "whole"])
        .ok(&(switch.url("web") + "/echo"));
    assert_eq!(Echo::parse(&answer.body).length, 5);
}
