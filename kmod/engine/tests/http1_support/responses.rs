// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Comparisons of the reader of response heads with itself and with a plain one; the fuzz target uses
//! them too.
#![allow(dead_code, unreachable_pub, reason = "each test uses some of it")]

use l7switch_engine::http1::RequestKind;
use l7switch_engine::http1::ResponseBody;
use l7switch_engine::http1::ResponseError;
use l7switch_engine::http1::ResponseHead;
use l7switch_engine::http1::ResponseParser;
use l7switch_engine::http1::Version;

/// A head's length and what it says.
pub type Read = Result<Option<(usize, ResponseHead)>, ResponseError>;

/// Reads a head that arrives in pieces which end at these offsets, in order, and then whole.
pub fn in_pieces(buf: &[u8], ends: impl IntoIterator<Item = usize>) -> Read {
    let mut parser = ResponseParser::new();
    let mut start = 0;
    for end in ends.into_iter().chain([buf.len()]) {
        let part = &buf[start..end.clamp(start, buf.len())];
        let mut copy = parser;
        let progress = match parser.consume(part) {
            Ok(progress) => progress,
            Err(error) => {
                assert_eq!(copy.consume(part), Err(error));
                for after in [&b""[..], b"HTTP/1.1 200 OK\r\n\r\n"] {
                    assert_eq!(parser.consume(after), Err(error), "an error stays");
                }
                return Err(error);
            }
        };
        assert_eq!(copy.consume(part), Ok(progress));
        start += progress.consumed;
        if let Some(head) = progress.head {
            let again = parser.consume(&buf[start..]);
            assert_eq!(again.map(|p| (p.consumed, p.head)), Ok((0, Some(head))));
            return Ok(Some((start, head)));
        }
        assert_eq!(progress.consumed, part.len());
    }
    Ok(None)
}

/// Reads a head whole, byte by byte and in two parts, which must be the same.
pub fn read(buf: &[u8]) -> Read {
    let whole = in_pieces(buf, []);
    assert_eq!(in_pieces(buf, 1..buf.len()), whole);
    if buf.len() < 500 {
        for end in 1..buf.len() {
            assert_eq!(in_pieces(buf, [end]), whole, "divided at {end}");
        }
    }
    whole
}

/// What the plainest reading gives for a head.
#[derive(Debug, PartialEq)]
pub struct Plain {
    pub len: usize,
    pub status: u16,
    pub version: Version,
    pub persistent: bool,
    pub body: ResponseBody,
}

impl Plain {
    pub fn of(read: Read) -> Option<Self> {
        let (len, head) = read.ok()??;
        Some(Self {
            len,
            status: head.status,
            version: head.version,
            persistent: head.persistent,
            body: head.body(RequestKind::Normal),
        })
    }
}

fn is_token(text: &str) -> bool {
    let special = "!#$%&'*+-.^_`|~";
    let tchar = |c: char| c.is_ascii_alphanumeric() || special.contains(c);
    !text.is_empty() && text.chars().all(tchar)
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// A whole head, line by line. `None`: incomplete or not right.
pub fn plain(buf: &[u8]) -> Option<Plain> {
    // One character for each byte.
    let text: String = buf.iter().copied().map(char::from).collect();
    let mut len = 0;
    let mut lines = Vec::new();
    for line in text.split_inclusive('\n') {
        len += line.chars().count();
        let line = line.strip_suffix('\n')?;
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() && !lines.is_empty() {
            break;
        }
        lines.push(line);
    }
    let ended = text.chars().take(len).collect::<String>();
    if len > 65536
        || ended.contains('\0')
        || !(ended.ends_with("\n\n") || ended.ends_with("\n\r\n"))
    {
        return None;
    }
    let mut lines = lines.into_iter();
    let line = lines.next()?;
    let (version, rest) = line
        .strip_prefix("HTTP/1.1 ")
        .map(|rest| (Version::Http11, rest))
        .or_else(|| Some((Version::Http10, line.strip_prefix("HTTP/1.0 ")?)))?;
    let code = rest.split(' ').next()?;
    if code.len() != 3 || !code.bytes().all(|b| b.is_ascii_digit()) || line.contains('\r') {
        return None;
    }
    let status: u16 = code.parse().ok().filter(|status| *status >= 100)?;
    let (mut lengths, mut codings, mut options) = (Vec::new(), Vec::new(), Vec::new());
    for line in lines {
        let (name, value) = line.split_once(':')?;
        if !is_token(name) || value.contains('\r') {
            return None;
        }
        let list = || value.split(',').map(|item| trim(item).to_ascii_lowercase());
        match name.to_ascii_lowercase().as_str() {
            "content-length" => lengths.push(trim(value)),
            "transfer-encoding" => codings.extend(list()),
            "connection" => {
                for option in list().filter(|option| !option.is_empty()) {
                    if !is_token(&option) {
                        // What ends in white space was read before it was clear that more follows.
                        let first = option.split([' ', '\t']).next().unwrap_or_default();
                        if first.len() < option.len() && is_token(first) {
                            options.push(first.to_owned());
                        }
                        options.push("close".to_owned());
                        break;
                    }
                    options.push(option);
                }
            }
            _ => (),
        }
    }
    if !codings.iter().all(|word| is_token(word)) {
        return None;
    }
    let has = |option: &str| options.iter().any(|other| other == option);
    let chunked = codings.iter().filter(|coding| *coding == "chunked").count();
    let body = match (lengths.as_slice(), codings.last()) {
        ([], None) => ResponseBody::UntilClose,
        ([], Some(_)) if version == Version::Http10 || chunked > 1 => return None,
        ([], Some(last)) if last == "chunked" => ResponseBody::Chunked,
        ([], Some(_)) if chunked == 0 => ResponseBody::UntilClose,
        ([digits], None) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            ResponseBody::Length(digits.parse().ok()?)
        }
        _ => return None,
    };
    Some(Plain {
        len,
        status,
        version,
        persistent: !has("close") && (version == Version::Http11 || has("keep-alive")),
        body: match status {
            101 => ResponseBody::Opaque,
            100..=199 | 204 | 304 => ResponseBody::None,
            _ => body,
        },
    })
    .filter(|_| !has("content-length"))
}
