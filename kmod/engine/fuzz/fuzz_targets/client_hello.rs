// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A ClientHello is read the same however it arrives and however it is spread over records. The
//! first byte is the length of the pieces and of the records.
#![no_main]

use l7switch_engine::tls::ClientHello;
use l7switch_engine::tls::ClientHelloParser;
use l7switch_engine::tls::HelloError;
use libfuzzer_sys::fuzz_target;

/// Server name and protocols.
type Summary = (Option<Vec<u8>>, Vec<Vec<u8>>);

fn summary(hello: &ClientHello) -> Summary {
    let name = hello.server_name().map(<[u8]>::to_vec);
    if let Some(name) = &name {
        assert!((1..=253).contains(&name.len()) && !name.ends_with(b"."));
        assert!(name
            .iter()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.')));
    }
    (name, hello.alpn().map(<[u8]>::to_vec).collect())
}

fn read(buf: &[u8], step: usize) -> Result<Option<(usize, Summary)>, HelloError> {
    let mut parser = ClientHelloParser::new();
    for end in (0..buf.len()).step_by(step).chain([buf.len()]) {
        if let Some(hello) = parser.parse(&buf[..end])? {
            assert!(hello.len() <= end);
            return Ok(Some((hello.len(), summary(&hello))));
        }
    }
    Ok(None)
}

/// The content of records that are known to be right, in records of other lengths.
fn spread(mut records: &[u8], length: usize) -> Vec<u8> {
    let mut message = Vec::new();
    while let [_, _, _, high, low, rest @ ..] = records {
        let (content, rest) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        message.extend(content);
        records = rest;
    }
    let mut buf = Vec::new();
    for content in message.chunks(length) {
        buf.extend([22, 3, 1]);
        buf.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
        buf.extend(content);
    }
    buf
}

fuzz_target!(|data: &[u8]| {
    let Some((&step, buf)) = data.split_first() else {
        return;
    };
    let step = usize::from(step).max(1);
    let whole = read(buf, usize::MAX);
    assert_eq!(read(buf, step), whole);
    if let Ok(Some((len, summary))) = whole {
        let other = spread(&buf[..len], step);
        assert_eq!(read(&other, usize::MAX), Ok(Some((other.len(), summary))));
    }
});
