// SPDX-License-Identifier: GPL-2.0 OR MIT
//! ClientHellos of a real client and made by hand, in any number of records and pieces.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests"
)]

use std::sync::Arc;

use l7switch_engine::tls::ClientHello;
use l7switch_engine::tls::ClientHelloParser;
use l7switch_engine::tls::HelloError;
use l7switch_engine::tls::HelloError::*;
use l7switch_engine::tls::ALPN_MAX;
use l7switch_engine::tls::EXTENSIONS_MAX;
use l7switch_engine::tls::MESSAGE_MAX;
use proptest::collection::vec;
use proptest::prelude::*;
use rustls::pki_types::ServerName;
use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::RootCertStore;

/// What a hello says, to be compared.
#[derive(Debug, PartialEq)]
struct Summary {
    len: usize,
    name: Option<String>,
    alpn: Vec<String>,
    versions: (u16, u16),
}

impl From<ClientHello> for Summary {
    fn from(hello: ClientHello) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            len: hello.len(),
            name: hello.server_name().map(text),
            alpn: hello.alpn().map(text).collect(),
            versions: (hello.record_version(), hello.client_version()),
        }
    }
}

fn in_pieces(
    buf: &[u8],
    ends: impl IntoIterator<Item = usize>,
) -> Result<Option<Summary>, HelloError> {
    let mut parser = ClientHelloParser::new();
    for end in ends.into_iter().chain([buf.len()]) {
        match parser.parse(&buf[..end.min(buf.len())]) {
            Ok(None) => (),
            Ok(Some(hello)) => {
                assert_eq!(parser.parse(buf).unwrap().unwrap().len(), hello.len());
                return Ok(Some(hello.into()));
            }
            Err(error) => {
                assert_eq!(parser.parse(buf).unwrap_err(), error);
                return Err(error);
            }
        }
    }
    Ok(None)
}

fn read(buf: &[u8]) -> Result<Option<Summary>, HelloError> {
    let whole = in_pieces(buf, []);
    assert_eq!(in_pieces(buf, 0..buf.len()), whole);
    whole
}

/// Puts a message into records of these lengths, over and over.
fn records(message: &[u8], lengths: &[usize]) -> Vec<u8> {
    let mut buf = Vec::new();
    let mut rest = message;
    for &length in lengths.iter().cycle() {
        let (now, later) = rest.split_at(length.min(rest.len()));
        buf.extend([22, 3, 1]);
        buf.extend(u16::try_from(now.len()).unwrap().to_be_bytes());
        buf.extend(now);
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    buf
}

/// What rustls sends first.
fn real(
    name: &'static str,
    alpn: &[&str],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = alpn
        .iter()
        .map(|protocol| protocol.as_bytes().to_vec())
        .collect();
    let name = ServerName::try_from(name).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut buf = Vec::new();
    client.write_tls(&mut buf).unwrap();
    buf
}

#[test]
fn real_hellos() {
    for versions in [
        &[&rustls::version::TLS13][..],
        &[&rustls::version::TLS12],
        rustls::ALL_VERSIONS,
    ] {
        let buf = real("WWW.Example.COM", &["h2", "http/1.1"], versions);
        let expected = Summary {
            len: buf.len(),
            name: Some("www.example.com".into()),
            alpn: vec!["h2".into(), "http/1.1".into()],
            versions: (u16::from_be_bytes([buf[1], buf[2]]), 0x0303),
        };
        assert_eq!(read(&buf), Ok(Some(expected)));
        assert_eq!(in_pieces(&buf[..buf.len() - 1], []), Ok(None));
    }
    // To an address, rustls sends no name.
    let hello = read(&real("127.0.0.1", &[], rustls::ALL_VERSIONS))
        .unwrap()
        .unwrap();
    assert_eq!((hello.name, hello.alpn), (None, vec![]));
}

#[test]
fn real_hello_in_many_records() {
    let buf = real("a.example", &["h2"], rustls::ALL_VERSIONS);
    let message = &buf[5..];
    let whole = read(&buf).unwrap().unwrap();
    for length in 1..message.len() {
        let buf = records(message, &[length]);
        let hello = read(&buf).unwrap().unwrap();
        assert_eq!(hello.len, buf.len());
        assert_eq!((&hello.name, &hello.alpn), (&whole.name, &whole.alpn));
    }
}

fn vector8(content: &[u8]) -> Vec<u8> {
    [&[u8::try_from(content.len()).unwrap()], content].concat()
}

fn vector16(content: &[u8]) -> Vec<u8> {
    [
        &u16::try_from(content.len()).unwrap().to_be_bytes(),
        content,
    ]
    .concat()
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &vector16(data)].concat()
}

fn server_name(names: &[(u8, &str)]) -> Vec<u8> {
    let list = names
        .iter()
        .map(|(kind, name)| [vec![*kind], vector16(name.as_bytes())].concat());
    extension(0, &vector16(&list.collect::<Vec<_>>().concat()))
}

fn alpn(protocols: &[&str]) -> Vec<u8> {
    let list = protocols
        .iter()
        .map(|protocol| vector8(protocol.as_bytes()));
    extension(16, &vector16(&list.collect::<Vec<_>>().concat()))
}

/// A ClientHello by its parts, the variable ones with their lengths.
struct Parts {
    version: [u8; 2],
    session: Vec<u8>,
    suites: Vec<u8>,
    compression: Vec<u8>,
    extensions: Vec<u8>,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            version: [3, 3],
            session: vector8(&[]),
            suites: vector16(&[0x13, 1]),
            compression: vector8(&[0]),
            extensions: vector16(&[]),
        }
    }
}

impl Parts {
    fn with(extensions: &[Vec<u8>]) -> Self {
        Self {
            extensions: vector16(&extensions.concat()),
            ..Self::default()
        }
    }

    fn message(&self) -> Vec<u8> {
        let body = [
            &self.version[..],
            &[7; 32],
            &self.session,
            &self.suites,
            &self.compression,
            &self.extensions,
        ]
        .concat();
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[1], &length[1..], &body].concat()
    }

    fn read(&self) -> Result<Summary, HelloError> {
        let message = self.message();
        // Byte by byte is quadratic in this test.
        let parse = if message.len() < 2000 {
            read
        } else {
            |buf: &[u8]| in_pieces(buf, [])
        };
        let whole = parse(&records(&message, &[1 << 14]))?.expect("a whole message");
        let parts = parse(&records(&message, &[1, 5, 3]))?.expect("a whole message");
        assert_eq!((&whole.name, &whole.alpn), (&parts.name, &parts.alpn));
        Ok(whole)
    }
}

#[test]
fn hellos_that_are_accepted() {
    let none = Parts {
        extensions: vec![],
        ..Parts::default()
    }
    .read()
    .unwrap();
    assert_eq!((none.name, none.alpn), (None, vec![]));
    assert!(Parts::default().read().is_ok());
    let old = Parts {
        version: [3, 1],
        session: vector8(&[1; 32]),
        ..Parts::default()
    };
    assert_eq!(old.read().unwrap().versions, (0x0301, 0x0301));
    let deflate_too = Parts {
        compression: vector8(&[1, 0]),
        ..Parts::default()
    };
    assert!(deflate_too.read().is_ok());

    let hello = Parts::with(&[
        extension(0x0a0a, b""),
        alpn(&["h2", "\0\n,"]),
        extension(43, b"\x02\x03\x04"),
        server_name(&[(0, "A.b.")]),
        extension(0x1a1a, b"x"),
    ]);
    let hello = hello.read().unwrap();
    assert_eq!(hello.name.as_deref(), Some("a.b"));
    assert_eq!(hello.alpn, ["h2", "\0\n,"]);
}

#[test]
fn hellos_that_are_refused() {
    let parts = Parts::default;
    let name = server_name(&[(0, "a.b")]);
    let long = "p".repeat(255);
    for (parts, error) in [
        (
            Parts {
                version: [3, 0],
                ..parts()
            },
            ClientVersion,
        ),
        (
            Parts {
                version: [2, 0],
                ..parts()
            },
            ClientVersion,
        ),
        (
            Parts {
                session: vector8(&[0; 33]),
                ..parts()
            },
            SessionId,
        ),
        (
            Parts {
                suites: vector16(&[]),
                ..parts()
            },
            CipherSuites,
        ),
        (
            Parts {
                suites: vector16(&[1, 2, 3]),
                ..parts()
            },
            CipherSuites,
        ),
        (
            Parts {
                compression: vector8(&[]),
                ..parts()
            },
            Compression,
        ),
        (
            Parts {
                compression: vector8(&[1]),
                ..parts()
            },
            Compression,
        ),
        // Lengths: beyond the message, short of it, beyond and short of the extension.
        (
            Parts {
                session: vec![255],
                ..parts()
            },
            Length,
        ),
        (
            Parts {
                suites: vec![255, 254],
                ..parts()
            },
            Length,
        ),
        (
            Parts {
                compression: vec![9, 0],
                ..parts()
            },
            Length,
        ),
        (
            Parts {
                extensions: vec![0],
                ..parts()
            },
            Length,
        ),
        (
            Parts {
                extensions: vec![0, 1],
                ..parts()
            },
            Length,
        ),
        (
            Parts {
                extensions: vec![0, 0, 0],
                ..parts()
            },
            Length,
        ),
        (
            Parts {
                extensions: vector16(&[0, 23, 0]),
                ..parts()
            },
            Length,
        ),
        (
            Parts {
                extensions: vector16(&[0, 23, 0, 1]),
                ..parts()
            },
            Length,
        ),
        (Parts::with(&[extension(0, b"")]), Length),
        (Parts::with(&[extension(0, b"\0\x04\0\0\x01")]), Length),
        (Parts::with(&[extension(0, b"\0\x04\0\0\x01ax")]), Length),
        (Parts::with(&[extension(0, b"\0\x04\0\0\x02a")]), Length),
        (Parts::with(&[extension(16, b"\0\x03\x03h2")]), Length),
        (Parts::with(&[extension(16, b"\0\x03\x02h2x")]), Length),
        (Parts::with(&[extension(16, b"")]), Length),
        // Extensions.
        (
            Parts::with(&[name.clone(), name.clone()]),
            DuplicateExtension,
        ),
        (
            Parts::with(&[extension(23, b""), extension(23, b"")]),
            DuplicateExtension,
        ),
        (Parts::with(&[server_name(&[])]), ServerNameList),
        (Parts::with(&[server_name(&[(1, "a.b")])]), ServerNameList),
        (
            Parts::with(&[server_name(&[(0, "a.b"), (1, "c")])]),
            ServerNameList,
        ),
        (
            Parts::with(&[server_name(&[(0, "a.b"), (0, "a.b")])]),
            RepeatedServerName,
        ),
        (Parts::with(&[server_name(&[(0, "")])]), ServerName),
        (Parts::with(&[server_name(&[(0, "a\0.b")])]), ServerName),
        (Parts::with(&[server_name(&[(0, "192.0.2.1")])]), ServerName),
        (
            Parts::with(&[server_name(&[(0, &"a.".repeat(20_000))])]),
            ServerName,
        ),
        (Parts::with(&[alpn(&[])]), Alpn),
        (Parts::with(&[alpn(&["h2", ""])]), Alpn),
        (Parts::with(&[alpn(&[&long, "a"])]), AlpnTooLong),
    ] {
        assert_eq!(parts.read(), Err(error), "{:?}", parts.message());
        assert!(error.rule().starts_with("RFC "));
        assert!(
            error.to_string().ends_with(&format!(" ({})", error.rule())),
            "{error}"
        );
    }
}

#[test]
fn bounds_are_inclusive() {
    let kinds = |count: usize| -> Vec<_> {
        (0..count)
            .map(|kind| extension(u16::try_from(kind + 100).unwrap(), b""))
            .collect()
    };
    assert!(Parts::with(&kinds(EXTENSIONS_MAX)).read().is_ok());
    assert_eq!(
        Parts::with(&kinds(EXTENSIONS_MAX + 1)).read(),
        Err(TooManyExtensions)
    );

    let long = "p".repeat(ALPN_MAX - 1);
    assert_eq!(Parts::with(&[alpn(&[&long])]).read().unwrap().alpn, [long]);

    let rest = Parts::with(&[extension(21, &[])]).message().len() - 4;
    let padded = |length: usize| Parts::with(&[extension(21, &vec![0; length - rest])]);
    assert!(padded(MESSAGE_MAX).read().is_ok());
    let header = |length: usize| {
        let length = u32::try_from(length).unwrap().to_be_bytes();
        records(&[&[1], &length[1..]].concat(), &[4])
    };
    assert_eq!(read(&header(MESSAGE_MAX)), Ok(None));
    assert_eq!(read(&header(MESSAGE_MAX + 1)), Err(MessageTooLong));
}

#[test]
fn records_that_are_refused() {
    for (buf, error) in [
        (&b"G"[..], NotHandshake),
        (b"\x15", NotHandshake),
        // SSL 2.0: the length of a CLIENT-HELLO.
        (b"\x80", NotHandshake),
        (b"\x16\x02", RecordVersion),
        (b"\x16\x04", RecordVersion),
        (b"\x16\x03\x01\0\0", EmptyRecord),
        (b"\x16\x03\x01\x40\x01", RecordTooLong),
        (b"\x16\x03\x01\xff\xff", RecordTooLong),
        (b"\x16\x03\x01\0\x01\x02", NotClientHello),
        (b"\x16\x03\x01\0\x01\x01\x17", NotHandshake),
        (b"\x16\x03\x01\0\x01\x01\x16\x03\x01\0\0", EmptyRecord),
        (b"\x16\x03\x01\0\x05\x01\0\0\0", TrailingData),
        (b"\x16\x03\x01\0\x04\x01\0\0\0", Length),
        (b"\x16\x03\x01\0\x04\x01\x01\0\x01", MessageTooLong),
    ] {
        assert_eq!(read(buf), Err(error), "{buf:?}");
        // Not earlier.
        assert_eq!(read(&buf[..buf.len() - 1]), Ok(None), "{buf:?}");
    }
    let message = Parts::default().message();
    let with_more = records(&[&message[..], b"\x0b"].concat(), &[10]);
    assert_eq!(read(&with_more), Err(TrailingData));
    let mut next_record = records(&message, &[10]);
    let len = next_record.len();
    next_record.extend(b"\x17\x03\x03\0\x01x");
    assert_eq!(read(&next_record).unwrap().unwrap().len, len);
}

#[test]
fn a_buffer_that_shrinks_or_changes_is_survived() {
    let buf = records(&Parts::with(&[server_name(&[(0, "a.b")])]).message(), &[3]);
    for end in 0..buf.len() {
        for other in 0..buf.len() {
            let mut parser = ClientHelloParser::new();
            assert!(parser.parse(&buf[..end]).unwrap().is_none());
            let _ = parser.clone().parse(&buf[..other]);
            let _ = parser.clone().parse(&vec![22; other]);
            let _ = parser.parse(&buf[1..]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn division_does_not_matter(
        lengths in vec(1_usize..40, 1..5),
        mut ends in vec(0_usize..400, 0..6),
        edits in vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let parts = Parts::with(&[server_name(&[(0, "a.example")]), alpn(&["h2", "http/1.1"])]);
        let mut buf = records(&parts.message(), &lengths);
        for (place, byte) in edits {
            let place = place.index(buf.len());
            buf[place] = byte;
        }
        ends.sort_unstable();
        prop_assert_eq!(in_pieces(&buf, ends), read(&buf));
    }

    #[test]
    fn arbitrary_messages_are_survived(body in vec(any::<u8>(), 0..200), lengths in vec(1_usize..80, 1..5)) {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        let _ = read(&records(&[&[1], &length[1..], &body].concat(), &lengths));
        let _ = read(&body);
    }
}
