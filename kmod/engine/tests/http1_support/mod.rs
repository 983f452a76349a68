// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Comparisons of the head parser with itself and with httparse; the fuzz targets use them too.
#![allow(dead_code, unreachable_pub, reason = "each test uses some of it")]

use l7switch_engine::http1::Framing;
use l7switch_engine::http1::Head;
use l7switch_engine::http1::HeadError;
use l7switch_engine::http1::HeadParser;
use l7switch_engine::http1::Limits;
use l7switch_engine::http1::Target;
use l7switch_engine::http1::Version;

/// Everything that a head says, to be compared.
#[derive(Debug, PartialEq)]
pub struct Summary<'a> {
    pub len: usize,
    pub method: &'a [u8],
    pub target: Target<'a>,
    pub path: &'a [u8],
    pub version: Version,
    pub host: Option<&'a [u8]>,
    pub host_field: Option<&'a [u8]>,
    pub framing: Framing,
    pub persistent: bool,
    pub expect_continue: bool,
    pub upgrade: Option<&'a [u8]>,
    pub fields: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> From<Head<'a>> for Summary<'a> {
    fn from(head: Head<'a>) -> Self {
        Self {
            len: head.len(),
            method: head.method(),
            target: head.target(),
            path: head.path(),
            version: head.version(),
            host: head.host(),
            host_field: head.host_field(),
            framing: head.framing(),
            persistent: head.persistent(),
            expect_continue: head.expect_continue(),
            upgrade: head.upgrade(),
            fields: head.fields().collect(),
        }
    }
}

/// Reads a head that arrives in pieces which end at these offsets, and then whole.
pub fn in_pieces<'a>(
    limits: Limits,
    buf: &'a [u8],
    ends: impl IntoIterator<Item = usize>,
) -> Result<Option<Summary<'a>>, HeadError> {
    let mut parser = HeadParser::new(limits);
    for end in ends.into_iter().chain([buf.len()]) {
        let end = end.min(buf.len());
        if let Some(head) = parser.parse(&buf[..end])? {
            assert!(head.len() <= end);
            // A copy goes on like the one that it was made from.
            assert_eq!(
                parser.clone().parse(buf)?.map(|head| head.len()),
                Some(head.len())
            );
            return Ok(Some(head.into()));
        }
    }
    Ok(None)
}

/// Reads a head whole and byte by byte, which must be the same.
pub fn read(limits: Limits, buf: &[u8]) -> Result<Option<Summary<'_>>, HeadError> {
    let whole = in_pieces(limits, buf, []);
    assert_eq!(in_pieces(limits, buf, 1..buf.len()), whole);
    whole
}

/// What is accepted here, httparse accepts too, and reads the same in it. Gives whether it was
/// accepted.
pub fn compare_with_httparse(buf: &[u8]) -> bool {
    let limits = Limits {
        fields: 64,
        ..Limits::default()
    };
    let Ok(Some(ours)) = in_pieces(limits, buf, []) else {
        return false;
    };
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut theirs = httparse::Request::new(&mut fields);
    let status = theirs.parse(buf);
    assert_eq!(status, Ok(httparse::Status::Complete(ours.len)));
    assert_eq!(theirs.method.map(str::as_bytes), Some(ours.method));
    let start = buf.iter().position(|&byte| byte == b' ').expect("a space") + 1;
    let target = theirs.path.expect("a target").as_bytes();
    assert_eq!(
        &buf[start..start + target.len() + 1],
        [target, b" "].concat()
    );
    match ours.target {
        Target::Origin { path, query } => {
            let query = query.map_or(Vec::new(), |query| [b"?", query].concat());
            assert_eq!(target, [path, &query].concat());
        }
        Target::Absolute {
            scheme,
            authority,
            path,
            query,
        } => {
            let query = query.map_or(Vec::new(), |query| [b"?", query].concat());
            assert_eq!(target, [scheme, b"://", authority, path, &query].concat());
        }
        Target::Authority(authority) => assert_eq!(target, authority),
        Target::Asterisk => assert_eq!(target, b"*"),
    }
    let minor = match ours.version {
        Version::Http10 => 0,
        Version::Http11 => 1,
    };
    assert_eq!(theirs.version, Some(minor));
    let names = theirs
        .headers
        .iter()
        .map(|field| (field.name.as_bytes(), field.value));
    assert_eq!(names.collect::<Vec<_>>(), ours.fields);
    true
}
