// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What becomes of the first bytes that a client sends: read by the service's protocol, brought into comparison form,
//! matched.

use core::fmt;
use core::ops::Deref;

use crate::http1::h2_preface;
use crate::http1::Head;
use crate::http1::HeadError;
use crate::http1::HeadParser;
use crate::http1::Limits;
use crate::http1::Preface;
use crate::netlink::Protocol;
use crate::table::cookie_in;
use crate::table::format::PoolRecord;
use crate::table::format::ServiceRecord;
use crate::table::Fields;
use crate::table::OverBudget;
use crate::table::Request;
use crate::table::Table;
use crate::table::Winner;
use crate::tls::ClientHelloParser;
use crate::tls::HelloError;
use crate::uri;
use crate::uri::Allow;
use crate::uri::HostError;
use crate::uri::PathError;
use crate::uri::MAX_HOST;

/// Steps that a match may take in the kernel; see [`Table::winner_within`].
pub const STEPS: u32 = 4096;

/// Why a request is refused before any route is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The head breaks a rule of HTTP/1.
    Head(HeadError),
    /// The ClientHello breaks a rule of TLS.
    Hello(HelloError),
    /// The host has no comparison form.
    Host(HostError),
    /// The path has no comparison form that the service allows.
    Path(PathError),
}

impl Refusal {
    /// A short name for counters, the same as in the front's.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Head(error) => match error.status() {
                501 => "not_implemented",
                505 => "bad_version",
                _ => "bad_request",
            },
            Self::Hello(_) => "not_tls",
            Self::Host(_) => "bad_host",
            Self::Path(_) => "bad_path",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(error) => error.fmt(f),
            Self::Hello(error) => error.fmt(f),
            Self::Host(error) => error.fmt(f),
            Self::Path(error) => error.fmt(f),
        }
    }
}

/// Why the front has to read a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToFront {
    /// The service terminates TLS.
    Terminates,
    /// The client speaks HTTP/2.
    Http2,
    /// The head is over the limits that hold in the kernel; the service's own may be wider.
    Limits(HeadError),
    /// Too many routes differ in their conditions only.
    OverBudget,
}

impl fmt::Display for ToFront {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Terminates => f.write_str("the service terminates TLS"),
            Self::Http2 => f.write_str("the client speaks HTTP/2"),
            Self::Limits(error) => error.fmt(f),
            Self::OverBudget => f.write_str("too many routes to try for one request"),
        }
    }
}

/// What becomes of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This route takes the request.
    Route(Winner),
    /// No route takes it.
    NoRoute,
    /// More bytes are needed.
    Incomplete,
    /// It is refused.
    Refused(Refusal),
    /// The front reads it.
    Front(ToFront),
}

/// What was decided, and what was compared.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// What becomes of the bytes.
    pub verdict: Verdict,
    /// The host in comparison form, or the TLS server name.
    pub host: &'a [u8],
    /// The path in comparison form; empty where the protocol has none.
    pub path: &'a [u8],
    /// The request's head, where the protocol has one.
    pub head: Option<Head<'a>>,
}

impl Decision<'_> {
    const fn of(verdict: Verdict) -> Self {
        Self {
            verdict,
            host: &[],
            path: &[],
            head: None,
        }
    }
}

/// Room for what is brought into comparison form.
#[derive(Debug)]
pub struct Space<'a> {
    /// For the host.
    pub host: &'a mut [u8; MAX_HOST],
    /// For the path: as long as the bytes that are read, at least.
    pub path: &'a mut [u8],
}

/// Decides about the first bytes of a connection, or of the next request on one, of service `service`.
///
/// `source` is the client's address: 16 bytes, network order, IPv4 as IPv4-mapped IPv6. A service that does not exist takes
/// nothing.
pub fn decide<'a, B: Deref<Target = [u8]>>(
    table: &Table<B>,
    service: u32,
    source: [u8; 16],
    bytes: &'a [u8],
    space: Space<'a>,
) -> Decision<'a> {
    let Some(record) = table.get::<ServiceRecord>(service) else {
        return Decision::of(Verdict::NoRoute);
    };
    match Protocol::from_number(record.protocol) {
        Some(Protocol::Http) => {
            let limits = Limits::default();
            http(table, service, record, source, bytes, space, limits)
        }
        Some(Protocol::Tls) => by_name(table, service, source, bytes, space),
        Some(Protocol::Tcp) => Decision::of(route(table, service, &without_fields(&[], source))),
        Some(Protocol::Https) | None => Decision::of(Verdict::Front(ToFront::Terminates)),
    }
}

fn http<'a, B: Deref<Target = [u8]>>(
    table: &Table<B>,
    service: u32,
    record: ServiceRecord,
    source: [u8; 16],
    bytes: &'a [u8],
    space: Space<'a>,
    limits: Limits,
) -> Decision<'a> {
    match h2_preface(bytes) {
        Preface::Yes => return Decision::of(Verdict::Front(ToFront::Http2)),
        Preface::Maybe => return Decision::of(Verdict::Incomplete),
        Preface::No => {}
    }
    let usual = HeadParser::usual(limits, bytes);
    let unusual;
    // Not copied before it is where it stays.
    let head = match &usual {
        Some(head) => head,
        None => match HeadParser::unusual(limits, bytes) {
            Ok(Some(head)) => {
                unusual = head;
                &unusual
            }
            Ok(None) => return Decision::of(Verdict::Incomplete),
            Err(error) => return Decision::of(unread(error)),
        },
    };
    let host = match head.plain_host() {
        Some(host) => host,
        None => match uri::host(head.host().unwrap_or_default(), space.host) {
            Ok(host) => host,
            Err(error) => return Decision::of(Verdict::Refused(Refusal::Host(error))),
        },
    };
    let normal = match head.plain_path() {
        Some(path) => Ok(path),
        None => uri::normalise(head.path(), Allow::from_bits(record.allow), space.path),
    };
    let verdict = match normal {
        Ok(path) => {
            let request = Request {
                host,
                method: head.method(),
                path,
                query: head.query().unwrap_or_default(),
                source,
                fields: head,
            };
            verdict_of(table.winner_of(service, record, &request, STEPS))
        }
        Err(error) => Verdict::Refused(Refusal::Path(error)),
    };
    Decision {
        verdict,
        host,
        path: normal.unwrap_or_else(|_| head.path()),
        head: Some(*head),
    }
}

/// What becomes of a head that cannot be read.
fn unread(error: HeadError) -> Verdict {
    match error {
        HeadError::MethodTooLong
        | HeadError::TargetTooLong
        | HeadError::TooManyFields
        | HeadError::HeadTooLong => Verdict::Front(ToFront::Limits(error)),
        _ => Verdict::Refused(Refusal::Head(error)),
    }
}

fn by_name<'a, B: Deref<Target = [u8]>>(
    table: &Table<B>,
    service: u32,
    source: [u8; 16],
    bytes: &'a [u8],
    space: Space<'a>,
) -> Decision<'a> {
    let hello = match ClientHelloParser::new().parse(bytes) {
        Ok(Some(hello)) => hello,
        Ok(None) => return Decision::of(Verdict::Incomplete),
        Err(error) => return Decision::of(Verdict::Refused(Refusal::Hello(error))),
    };
    let host = match uri::host(hello.server_name().unwrap_or_default(), space.host) {
        Ok(host) => host,
        Err(error) => return Decision::of(Verdict::Refused(Refusal::Host(error))),
    };
    let verdict = route(table, service, &without_fields(host, source));
    Decision {
        verdict,
        host,
        path: &[],
        head: None,
    }
}

const fn without_fields(host: &[u8], source: [u8; 16]) -> Request<'_, [(&[u8], &[u8])]> {
    Request {
        host,
        method: &[],
        path: &[],
        query: &[],
        source,
        fields: &[],
    }
}

fn route<B: Deref<Target = [u8]>, F: Fields + ?Sized>(
    table: &Table<B>,
    service: u32,
    request: &Request<'_, F>,
) -> Verdict {
    verdict_of(table.winner_within(service, request, STEPS))
}

#[inline]
fn verdict_of(winner: Result<Option<Winner>, OverBudget>) -> Verdict {
    match winner {
        Ok(Some(winner)) => Verdict::Route(winner),
        Ok(None) => Verdict::NoRoute,
        Err(OverBudget) => Verdict::Front(ToFront::OverBudget),
    }
}

/// The key that a pool's scheduler hashes ([`crate::sched::hash_key`]) for a request that was decided; the source where the
/// request has no such field. `scratch` is as long as the head, at least; it is used where a field is repeated.
pub fn key<'a, B: Deref<Target = [u8]>>(
    table: &Table<B>,
    pool: &PoolRecord,
    decision: &Decision<'a>,
    source: &'a [u8; 16],
    scratch: &'a mut [u8],
) -> &'a [u8] {
    let name = table.text(pool.key_name, pool.key_name_len);
    let of_head = match (pool.key, decision.head) {
        (1, _) => Some(decision.path),
        (2, _) => Some(decision.host),
        (3, Some(head)) => joined(head, name, scratch),
        (4, Some(head)) => head
            .fields()
            .filter(|(n, _)| n.eq_ignore_ascii_case(b"cookie"))
            .find_map(|(_, value)| cookie_in(value, name)),
        _ => None,
    };
    of_head.unwrap_or(source)
}

/// All values of a field, joined by comma (RFC 9110, 5.3).
fn joined<'a>(head: Head<'a>, name: &[u8], scratch: &'a mut [u8]) -> Option<&'a [u8]> {
    let mut values = head
        .fields()
        .filter(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, value)| value);
    let first = values.next()?;
    let Some(second) = values.next() else {
        return Some(first);
    };
    let mut len = 0usize;
    let mut put = |bytes: &[u8]| {
        let end = len.wrapping_add(bytes.len());
        if let Some(place) = scratch.get_mut(len..end) {
            for (place, &byte) in place.iter_mut().zip(bytes) {
                *place = byte;
            }
            len = end;
        }
    };
    put(first);
    for value in core::iter::once(second).chain(values) {
        put(b", ");
        put(value);
    }
    scratch.get(..len)
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::vec;
    use std::vec::Vec;

    fn head(bytes: &[u8]) -> Head<'_> {
        HeadParser::new(Limits::default())
            .parse(bytes)
            .unwrap()
            .unwrap()
    }

    #[test]
    fn a_repeated_field_is_joined_as_the_front_joins_it() {
        let bytes = b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\ny: q\r\nx:2 \r\nX:\r\n\r\n";
        let mut scratch = vec![0; bytes.len()];
        assert_eq!(
            joined(head(bytes), b"x", &mut scratch),
            Some(&b"1, 2, "[..])
        );
        assert_eq!(joined(head(bytes), b"y", &mut scratch), Some(&b"q"[..]));
        assert_eq!(joined(head(bytes), b"z", &mut scratch), None);
    }

    #[test]
    fn joined_values_are_never_longer_than_the_head() {
        let mut bytes = Vec::from(&b"GET / HTTP/1.1\r\nHost: a\r\n"[..]);
        for _ in 0..90 {
            bytes.extend_from_slice(b"X:1\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        let mut scratch = vec![0; bytes.len()];
        let all = joined(head(&bytes), b"x", &mut scratch).unwrap();
        assert_eq!(all.len(), 90 + 2 * 89);
    }
}
