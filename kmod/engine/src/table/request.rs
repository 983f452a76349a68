// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the matcher is asked: a view of a request, whoever parsed it.

/// Header fields of a request, in the order in which they were received.
pub trait Fields {
    /// Iterates over names (any case) and values (surrounding white space taken off).
    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])>;
}

/// A request, or as much of one as the protocol shows: what is not there is empty.
pub struct Request<'a, F: ?Sized> {
    /// Host or server name in comparison form, see [`crate::uri::host`]; empty: none.
    pub host: &'a [u8],
    /// Method, as sent.
    pub method: &'a [u8],
    /// Path in comparison form, see [`crate::uri::normalise`]; `*` for the asterisk form.
    pub path: &'a [u8],
    /// Query without the question mark, as sent.
    pub query: &'a [u8],
    /// The client's address: 16 bytes, network order, IPv4 as IPv4-mapped IPv6.
    pub source: [u8; 16],
    /// Header fields.
    pub fields: &'a F,
}

impl<'a> Request<'a, [(&'a [u8], &'a [u8])]> {
    /// One of which no more is known than a name and the client's address.
    pub(crate) const fn without_fields(host: &'a [u8], source: [u8; 16]) -> Self {
        Self {
            host,
            method: &[],
            path: &[],
            query: &[],
            source,
            fields: &[],
        }
    }
}

impl Fields for [(&[u8], &[u8])] {
    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        <[_]>::iter(self).copied()
    }
}

impl<F: Fields> Fields for Option<F> {
    fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.as_ref().into_iter().flat_map(Fields::iter)
    }
}
