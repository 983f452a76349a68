// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What becomes of the first bytes that a client sends: read by the service's protocol, brought into comparison form,
//! matched.

use core::fmt;
use core::ops::Deref;

use crate::form::Buffers;
use crate::form::Form;
use crate::form::FormError;
use crate::http1::h2_preface;
use crate::http1::Head;
use crate::http1::HeadError;
use crate::http1::HeadParser;
use crate::http1::Limits;
use crate::http1::Preface;
use crate::table::codes::Protocol;
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

/// Steps that a match may take in the kernel; see [`Table::winner_within`].
pub const STEPS: u32 = 4096;

/// Why a request is refused before any route is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The head breaks a rule of HTTP/1.
    Head(HeadError),
    /// The ClientHello breaks a rule of TLS.
    Hello(HelloError),
    /// Host or path have no comparison form that the service allows.
    Form(FormError),
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
            Self::Form(FormError::Host(_)) => "bad_host",
            Self::Form(FormError::Path(_)) => "bad_path",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(error) => error.fmt(f),
            Self::Hello(error) => error.fmt(f),
            Self::Form(error) => error.fmt(f),
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
    /// The path in comparison form, or as it was sent where it has none; empty where the protocol has none.
    pub path: &'a [u8],
    /// The request's head, where the protocol has one.
    pub head: Option<Head<'a>>,
}

impl<'a> Decision<'a> {
    /// The request of a client, as it was matched.
    #[inline]
    pub fn request(&self, source: [u8; 16]) -> Request<'_, Option<Head<'a>>> {
        let head = self.head.as_ref();
        Request {
            host: self.host,
            method: head.map(Head::method).unwrap_or_default(),
            path: self.path,
            query: head.and_then(Head::query).unwrap_or_default(),
            source,
            fields: &self.head,
        }
    }

    const fn of(verdict: Verdict) -> Self {
        Self {
            verdict,
            host: &[],
            path: &[],
            head: None,
        }
    }
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
    buffers: Buffers<'a>,
) -> Decision<'a> {
    let Some(record) = table.get::<ServiceRecord>(service) else {
        return Decision::of(Verdict::NoRoute);
    };
    match Protocol::from_number(record.protocol) {
        Some(Protocol::Http) => {
            let limits = Limits::default();
            http(table, service, record, source, bytes, buffers, limits)
        }
        Some(Protocol::Tls) => by_name(table, service, source, bytes, buffers),
        Some(Protocol::Tcp) => {
            Decision::of(route(table, service, &Request::without_fields(&[], source)))
        }
        Some(Protocol::Https) | None => Decision::of(Verdict::Front(ToFront::Terminates)),
    }
}

fn http<'a, B: Deref<Target = [u8]>>(
    table: &Table<B>,
    service: u32,
    record: ServiceRecord,
    source: [u8; 16],
    bytes: &'a [u8],
    buffers: Buffers<'a>,
    limits: Limits,
) -> Decision<'a> {
    match h2_preface(bytes) {
        Preface::Yes => return Decision::of(Verdict::Front(ToFront::Http2)),
        Preface::Maybe => return Decision::of(Verdict::Incomplete),
        Preface::No => {}
    }
    let fast = HeadParser::fast(limits, bytes);
    let slow;
    // Not copied before it is where it stays.
    let head = match &fast {
        Some(head) => head,
        None => match HeadParser::slow(limits, bytes) {
            Ok(Some(head)) => {
                slow = head;
                &slow
            }
            Ok(None) => return Decision::of(Verdict::Incomplete),
            Err(error) => return Decision::of(unread(error)),
        },
    };
    let form = match Form::of(head, Allow::from_bits(record.allow), buffers) {
        Ok(form) => form,
        Err((error, form)) => {
            return Decision {
                verdict: Verdict::Refused(Refusal::Form(error)),
                host: form.host,
                path: form.path,
                head: Some(*head),
            }
        }
    };
    let request = Request {
        host: form.host,
        method: head.method(),
        path: form.path,
        query: head.query().unwrap_or_default(),
        source,
        fields: head,
    };
    Decision {
        verdict: verdict_of(table.winner_of(service, record, &request, STEPS)),
        host: form.host,
        path: form.path,
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
    buffers: Buffers<'a>,
) -> Decision<'a> {
    let hello = match ClientHelloParser::new().parse(bytes) {
        Ok(Some(hello)) => hello,
        Ok(None) => return Decision::of(Verdict::Incomplete),
        Err(error) => return Decision::of(Verdict::Refused(Refusal::Hello(error))),
    };
    let host = match uri::host(hello.server_name().unwrap_or_default(), buffers.host) {
        Ok(host) => host,
        Err(error) => return Decision::of(Verdict::Refused(Refusal::Form(FormError::Host(error)))),
    };
    let verdict = route(table, service, &Request::without_fields(host, source));
    Decision {
        verdict,
        host,
        path: &[],
        head: None,
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
