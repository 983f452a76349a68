// SPDX-License-Identifier: MIT
//! Any bytes as a client's certificate: it has a fingerprint, names, and a subject or none. A subject of any bytes in a whole certificate too.
#![no_main]

use l7switch_certificates::ClientCertificate;
use l7switch_certificates::ClientName;
use libfuzzer_sys::fuzz_target;

/// The tag of a SEQUENCE (X.690, 8.9).
const SEQUENCE: u8 = 0x30;

/// A tag, a length and the content (X.690, 8.1.3).
fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len().to_be_bytes();
    match content.len() {
        short @ 0..128 => out.push(u8::try_from(short).unwrap()),
        _ => {
            let length: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
            out.push(0x80 | u8::try_from(length.len()).unwrap());
            out.extend(length);
        }
    }
    out.extend(content);
    out
}

/// A certificate (RFC 5280, 4.1) that is good but for its subject, which is this.
fn certificate(subject: &[u8]) -> Vec<u8> {
    // ecdsa-with-SHA256, and a key of id-ecPublicKey that nobody looks at.
    let algorithm = tagged(SEQUENCE, &tagged(6, b"\x2a\x86\x48\xce\x3d\x04\x03\x02"));
    let kind = tagged(SEQUENCE, &tagged(6, b"\x2a\x86\x48\xce\x3d\x02\x01"));
    let time = tagged(0x17, b"300101000000Z");
    let content = [
        tagged(0xa0, &tagged(2, &[2])),
        tagged(2, &[1]),
        algorithm.clone(),
        tagged(SEQUENCE, b""),
        tagged(SEQUENCE, &[time.clone(), time].concat()),
        subject.to_vec(),
        tagged(SEQUENCE, &[kind, tagged(3, &[0, 4])].concat()),
    ];
    let content = tagged(SEQUENCE, &content.concat());
    tagged(SEQUENCE, &[content, algorithm, tagged(3, &[0])].concat())
}

fn told(der: &[u8]) -> ClientCertificate {
    let told = ClientCertificate::of(der);
    assert_eq!(told.fingerprint.len(), 64);
    let mut digits = told.fingerprint.bytes();
    assert!(digits.all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')));
    // It becomes a part of a field's value, and of a log's line.
    assert!(told.subject.len() <= 16 * der.len());
    assert_eq!(told, ClientCertificate::of(der));
    let _ = ClientName::all_of(der);
    told
}

fuzz_target!(|bytes: &[u8]| {
    told(bytes);
    told(&certificate(bytes));
    // A name of one attribute, of which the kind and the text are these.
    let (kind, text) = bytes.split_at(bytes.len().min(4));
    let tag = kind.first().map_or(12, |byte| byte % 32);
    let kind = kind.get(1).copied().unwrap_or(3) % 128;
    let id = tagged(6, &[0x55, 4, kind]);
    let attribute = tagged(SEQUENCE, &[id, tagged(tag, text)].concat());
    let name = tagged(SEQUENCE, &tagged(0x31, &attribute));
    let certificate = certificate(&name);
    let one = told(&certificate);
    // Text that is good is told, and is the common name where it says so.
    if tag == 12
        && let Ok(text) = std::str::from_utf8(text)
        && !text.is_empty()
    {
        assert!(!one.subject.is_empty());
        let names = ClientName::all_of(&certificate);
        let common = ClientName::Common(text.to_owned());
        assert_eq!(names, if kind == 3 { vec![common] } else { Vec::new() });
    }
});
