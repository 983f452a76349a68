// SPDX-License-Identifier: GPL-2.0 OR MIT
//! How a connection that starts with HTTP/2 is told from one that starts with HTTP/1.

/// What an HTTP/2 connection starts with (RFC 9113, 3.4). To [`HeadParser`](super::HeadParser) it is
/// a request with a target that its method may not have, so it has to be looked for first.
pub const H2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the first bytes of a connection say about [`H2_PREFACE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preface {
    /// They are no HTTP/2.
    No,
    /// They may become the preface, or a request whose method starts alike: wait.
    Maybe,
    /// They start with the whole of it.
    Yes,
}

/// Compares every byte received so far, from the first of the connection, with [`H2_PREFACE`].
#[inline]
pub fn h2_preface(buf: &[u8]) -> Preface {
    match (buf.first(), H2_PREFACE.first()) {
        (Some(byte), Some(first)) if byte != first => Preface::No,
        _ => compare(buf),
    }
}

#[inline(never)]
fn compare(buf: &[u8]) -> Preface {
    if buf.starts_with(H2_PREFACE) {
        Preface::Yes
    } else if H2_PREFACE.starts_with(buf) {
        Preface::Maybe
    } else {
        Preface::No
    }
}
