// SPDX-License-Identifier: MIT
//! Authorities that are not what they should be, and what they say of renewals.

use std::path::Path;

use super::Place;
use super::authority::DIRECTORY;
use super::authority::Scripted;
use super::order;
use super::until_failed;
use super::with_days;
use super::write_private;
use crate::support::get;
use crate::support::until;

fn json(content: &str) -> String {
    let length = content.len();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nReplay-Nonce: abc\r\n\r\n{content}")
}

#[tokio::test]
async fn a_hostile_directory_does_no_harm() {
    let place = Place::new();
    let own = format!("https://{}:{DIRECTORY}", place.address);
    let directory = |nonce: &str| {
        let nonce = nonce.replace("OWN", &own);
        json(&format!(
            "{{\"newNonce\":\"{nonce}\",\"newAccount\":\"{own}/account\",\"newOrder\":\"{own}/order\"}}"
        ))
    };
    let redirect =
        format!("HTTP/1.1 302 Found\r\nLocation: {own}/dir\r\nContent-Length: 0\r\n\r\n");
    for (response, why) in [
        (json("<html>"), "no directory"),
        (json("{}"), "`newNonce` is no https URL"),
        (directory("not a url"), "`newNonce` is no https URL"),
        (directory("http://127.0.0.1/"), "`newNonce` is no https URL"),
        (redirect, "a redirect, which is not followed"),
        (
            "HTTP/1.1 200 OK\r\n\r\nENDLESS".to_owned(),
            "length limit exceeded",
        ),
        ("HTTP/1.1 200 OK\r\nX: ENDLESS".to_owned(), "large"),
        ("\0\0\0\0\r\n\r\n".to_owned(), "invalid HTTP"),
        (String::new(), "/dir: "),
        // What comes after the directory is the directory again, which is no account.
        (directory("OWN/nonce"), "missing data"),
        (
            "HTTP/1.1 503 Busy\r\nRetry-After: 18446744073709551615\r\nContent-Length: 2\r\n\r\n{}"
                .to_owned(),
            "",
        ),
    ] {
        let script = Scripted::start(&place.identity, place.address, {
            let response = response.clone();
            move |_| response.clone()
        });
        let script = script.await;
        let switch = place.start(&["a.acme.test"], "");
        let error = until_failed(&switch, 1).await;
        assert!(error.contains(why), "{response:?}: {error}");
        assert!(script.seen.lock().unwrap().len() <= 4, "{response:?}");
        assert_eq!(get(place.at(super::HTTP), "/").await.0, 200);
        if response.starts_with("HTTP/1.1 503") {
            let now = std::time::SystemTime::UNIX_EPOCH
                .elapsed()
                .unwrap()
                .as_secs();
            let wait = order(&switch).order.unwrap().next - now;
            assert!((86_000..=86_400).contains(&wait), "{wait}");
        }
        place.stop(switch).await;
        std::fs::remove_dir_all(place.folder.path().join("state")).unwrap();
    }
}

/// An account as instant-acme keeps it; its key is from instant-acme's tests.
const ACCOUNT: &str = r#"{"contact":[],"credentials":{"id":"OWN/account/1","directory":"OWN/dir","key_pkcs8":"MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgJVWC_QzOTCS5vtsJp2IG-UDc8cdDfeoKtxSZxaznM-mhRANCAAQenCPoGgPFTdPJ7VLLKt56RxPlYT1wNXnHc54PEyBg3LxKaH0-sJkX0mL8LyPEdsfL_Oz4TxHkWLJGrXVtNhfH"}}"#;

/// RFC 9773: a window that has passed makes the switch order at once, though a third of the time is left.
#[tokio::test]
async fn the_authority_says_when_to_renew() {
    let place = Place::new();
    let names = ["a.acme.test"];
    let own = format!("https://{}:{DIRECTORY}", place.address);
    // Makes the folder.
    let switch = place.start(&names, "");
    until_failed(&switch, 1).await;
    place.stop(switch).await;
    let retry = place.files().pop().unwrap();
    std::fs::remove_file(&retry).unwrap();
    let certificate = retry.to_str().unwrap().replace(".retry.json", ".pem");
    write_private(Path::new(&certificate), with_days(&names, 80, &place));
    let account = ACCOUNT.replace("OWN", &own);
    write_private(&retry.with_file_name("account.json"), account);
    let directory = json(&format!(
        "{{\"newNonce\":\"{own}/nonce\",\"newAccount\":\"{own}/a\",\"newOrder\":\"{own}/order\",\"renewalInfo\":\"{own}/renewal\"}}"
    ));
    let window = "{\"suggestedWindow\":{\"start\":\"2020-01-01T00:00:00Z\",\"end\":\"2020-01-02T00:00:00Z\"}}";
    let window = json(window).replace("Replay-Nonce: abc", "Retry-After: 21600");
    let script = Scripted::start(&place.identity, place.address, move |line| {
        match line.split(' ').nth(1) {
            Some("/dir") => directory.clone(),
            Some(path) if path.starts_with("/renewal/") => window.clone(),
            _ => json("{}"),
        }
    });
    let script = script.await;
    let switch = place.start(&names, "");
    until_failed(&switch, 1).await;
    let seen = script.seen.lock().unwrap().clone();
    let asked = seen.iter().find(|line| line.starts_with("GET /renewal/"));
    let id = asked.unwrap().split(['/', ' ']).nth(3).unwrap();
    // Authority's key identifier and serial number (RFC 9773, 4.1), base64url without padding.
    let (authority, serial) = id.split_once('.').unwrap();
    assert!(
        authority.len() >= 27 && !serial.is_empty() && !id.contains('='),
        "{id}"
    );
    assert!(
        seen.iter().any(|line| line.starts_with("POST /order ")),
        "{seen:?}"
    );
    until(|| order(&switch).not_after.is_some()).await;
}
