// SPDX-License-Identifier: MIT
//! The gate alone: what passes, however the bytes arrive.

use super::*;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::DuplexStream;

fn gate(limits: Limits) -> (DuplexStream, Gate<DuplexStream>, Arc<Shared>) {
    let (client, stream) = tokio::io::duplex(64 * 1024);
    let (gate, shared) = Gate::new(stream, BytesMut::new(), limits, None);
    (client, gate, shared)
}

/// What the gate lets through of bytes that arrive in these pieces before the connection ends.
async fn passed(pieces: &[&[u8]]) -> (Vec<u8>, Arc<Shared>) {
    let (mut client, mut gate, shared) = gate(Limits::default());
    let mut out = Vec::new();
    for piece in pieces {
        client.write_all(piece).await.unwrap();
        // Let it read what there is.
        let mut buffer = [0; 512];
        while let Ok(Ok(count)) = tokio::time::timeout(Duration::ZERO, gate.read(&mut buffer)).await
        {
            out.extend_from_slice(&buffer[..count]);
            if count == 0 {
                return (out, shared);
            }
        }
    }
    client.shutdown().await.unwrap();
    let _ = gate.read_to_end(&mut out).await;
    (out, shared)
}

#[tokio::test]
async fn every_division_of_good_bytes_passes_unchanged() {
    let good: &[u8] = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n\
        POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\
        POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: v\r\n\r\n\
        GET /d HTTP/1.1\r\nHost: a\r\n\r\n";
    for at in 0..=good.len() {
        let (first, second) = good.split_at(at);
        let (out, shared) = passed(&[first, second]).await;
        assert_eq!(out, good, "divided at {at}");
        // The next would be the fifth.
        assert_eq!(shared.pass(), 5);
        assert!(shared.is_clean());
    }
}

#[tokio::test]
async fn every_division_of_bad_bytes_is_replaced() {
    let good: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let bad: &[u8] =
        b"GET /bad HTTP/1.1\r\nHost : a\r\n\r\nGET /behind HTTP/1.1\r\nHost: a\r\n\r\n";
    let all = [good, bad].concat();
    for at in 0..=all.len() {
        let (first, second) = all.split_at(at);
        let (out, shared) = passed(&[first, second]).await;
        assert_eq!(out, [good, SYNTHETIC].concat(), "divided at {at}");
        assert_eq!(shared.begin().number, 1);
        let ticket = shared.begin();
        assert_eq!(ticket.number, 2);
        assert_eq!(ticket.refusal.unwrap().status, StatusCode::BAD_REQUEST);
        assert!(!shared.is_clean());
    }
}

#[tokio::test]
async fn a_chunk_that_breaks_the_rules_ends_the_body_with_an_error() {
    let (mut client, mut gate, shared) = gate(Limits::default());
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n")
        .await
        .unwrap();
    let mut out = Vec::new();
    let error = gate.read_to_end(&mut out).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(!out.ends_with(b"ab\r\n"));
    assert_eq!(
        shared.broken_body().unwrap().status,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn behind_an_upgrade_nothing_is_looked_at() {
    let (mut client, mut gate, shared) = gate(Limits::default());
    let ask = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    client.write_all(ask).await.unwrap();
    client.write_all(b"\0no HTTP").await.unwrap();
    let mut out = vec![0; ask.len()];
    gate.read_exact(&mut out).await.unwrap();
    assert_eq!(out, ask);
    let mut byte = [0; 8];
    // Held until the answer is known.
    let held = tokio::time::timeout(Duration::from_millis(20), gate.read(&mut byte)).await;
    assert!(held.is_err());
    shared.decide_upgrade(shared.begin().number, true);
    gate.read_exact(&mut byte).await.unwrap();
    assert_eq!(&byte, b"\0no HTTP");
    assert!(shared.has_changed());
}

#[tokio::test(start_paused = true)]
async fn patience_is_measured_from_the_first_byte_of_a_head() {
    let limits = Limits {
        head_timeout: Duration::from_secs(5),
        ..Limits::default()
    };
    let (mut client, mut gate, shared) = gate(limits);
    let reading = tokio::spawn(async move {
        let mut out = Vec::new();
        gate.read_to_end(&mut out).await.unwrap();
        (out, gate)
    });
    // Silence before the first byte is no part of it.
    tokio::time::sleep(Duration::from_secs(30)).await;
    for byte in b"GET /" {
        client.write_all(&[*byte]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let (out, _gate) = reading.await.unwrap();
    assert_eq!(out, SYNTHETIC);
    assert_eq!(shared.begin().refusal.unwrap().reason, Reason::HeadTimeout);
}

#[tokio::test(start_paused = true)]
async fn silence_between_requests_is_an_orderly_end() {
    let (_client, mut gate, shared) = gate(Limits::default());
    let mut out = Vec::new();
    gate.read_to_end(&mut out).await.unwrap();
    assert!(out.is_empty());
    assert!(shared.is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_given_up() {
    let (_client, mut gate, _) = gate(Limits::default());
    let error = gate.write_all(&vec![0; 1 << 20]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[test]
fn usual_targets_are_ones_that_hyper_reads() {
    let usual: Vec<u8> = (0..=u8::MAX)
        .filter(|&byte| is_usual(&[b'/', byte]))
        .collect();
    assert_eq!(usual.len(), 26 + 26 + 10 + 5);
    for first in &usual {
        for second in &usual {
            let target = [b'/', *first, *second];
            assert!(is_usual(&target));
            assert!(Uri::try_from(&target[..]).is_ok(), "{target:?}");
        }
    }
    let long = [b"/".as_slice(), &[b'a'; 4094]].concat();
    assert!(is_usual(&long) && Uri::try_from(long).is_ok());
    for other in [&b""[..], b"*", b"a", b"/a?b", b"/%41", b"/a b", b"/\xff"] {
        assert!(!is_usual(other), "{other:?}");
    }
}
