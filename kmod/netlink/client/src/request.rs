// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A request, written attribute by attribute.

use l7switch_engine::netlink::Command;
use l7switch_engine::netlink::VERSION;
use netlink_packet_core::NLA_F_NESTED;
use netlink_packet_core::NLA_HEADER_SIZE;
use netlink_packet_core::NLM_F_REQUEST;

use crate::attribute::Attribute;
use crate::attribute::Encode;
use crate::attribute::Nest;
use crate::error::Error;

/// Bytes of a netlink header.
const HEADER: usize = 16;
/// Where the attributes begin, bytes: a netlink header and generic netlink's (4) stand before them.
pub(crate) const ATTRIBUTES: usize = HEADER + 4;

/// The attributes of a request or of a nest.
#[derive(Debug, Default)]
pub(crate) struct Written {
    bytes: Vec<u8>,
}

impl Written {
    /// Adds an attribute.
    pub(crate) fn put<S, K: Encode>(
        &mut self,
        attribute: Attribute<S, K>,
        value: K::Given<'_>,
    ) -> Result<(), Error> {
        let mut payload = Vec::new();
        K::encode(value, &mut payload)
            .map_err(|why| Error::Input(format!("`{}`: {why}", attribute.name)))?;
        self.push(attribute.number, attribute.name, &payload)
    }

    /// Adds a nest of attributes.
    pub(crate) fn nest<S, T>(
        &mut self,
        attribute: Attribute<S, Nest<T>>,
        fill: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut inner = Self::default();
        fill(&mut inner)?;
        self.push(
            attribute.number | NLA_F_NESTED,
            attribute.name,
            &inner.bytes,
        )
    }

    fn push(&mut self, number: u16, name: &str, payload: &[u8]) -> Result<(), Error> {
        let length = payload.len().saturating_add(NLA_HEADER_SIZE);
        let length = u16::try_from(length).map_err(|_| {
            let most = l7switch_engine::netlink::MAX_ATTRIBUTE;
            let bytes = payload.len();
            Error::Input(format!(
                "`{name}` has {bytes} bytes; {most} can be sent to the kernel"
            ))
        })?;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&number.to_ne_bytes());
        self.bytes.extend_from_slice(payload);
        let whole = self.bytes.len().next_multiple_of(4);
        self.bytes.resize(whole, 0);
        Ok(())
    }
}

/// A request to a family.
#[derive(Debug)]
pub(crate) struct Request {
    family: u16,
    command: u8,
    version: u8,
    attributes: Written,
}

impl Request {
    /// A request to the module, whose family has this number.
    pub(crate) fn new(family: u16, command: Command) -> Self {
        Self::to_family(family, command.number(), VERSION)
    }

    /// A request to any family.
    pub(crate) fn to_family(family: u16, command: u8, version: u8) -> Self {
        Self {
            family,
            command,
            version,
            attributes: Written::default(),
        }
    }

    /// Adds an attribute; see [`Written::put`].
    pub(crate) fn put<S, K: Encode>(
        &mut self,
        attribute: Attribute<S, K>,
        value: K::Given<'_>,
    ) -> Result<(), Error> {
        self.attributes.put(attribute, value)
    }

    /// Adds a nest; see [`Written::nest`].
    pub(crate) fn nest<S, T>(
        &mut self,
        attribute: Attribute<S, Nest<T>>,
        fill: impl FnOnce(&mut Written) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.attributes.nest(attribute, fill)
    }

    /// Takes bytes as they are in place of attributes.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.attributes.bytes = bytes.to_vec();
    }

    /// The whole message. `flags` go with `NLM_F_REQUEST`.
    pub(crate) fn finish(&self, flags: u16, sequence: u32) -> Vec<u8> {
        let head = [self.command, self.version, 0, 0];
        let payload = [&head, self.attributes.bytes.as_slice()].concat();
        message(self.family, NLM_F_REQUEST | flags, sequence, &payload)
    }
}

/// A message of netlink.
pub(crate) fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    // Attributes are shorter than 64 KiB each and few.
    let length = u32::try_from(HEADER + payload.len()).unwrap_or(u32::MAX);
    let mut message = Vec::with_capacity(HEADER + payload.len());
    message.extend_from_slice(&length.to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&flags.to_ne_bytes());
    message.extend_from_slice(&sequence.to_ne_bytes());
    // The port: the kernel fills it in.
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(payload);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sets::Server;
    use crate::sets::Table;

    #[test]
    fn a_request_lies_as_the_kernel_reads_it() {
        let mut request = Request::new(0x1f, Command::ServerSet);
        request.put(Server::POOL, "p").unwrap();
        request.put(Server::WEIGHT, 7).unwrap();
        request.put(Server::RESET_WEIGHT, ()).unwrap();
        let mut wanted = Vec::new();
        wanted.extend(40_u32.to_ne_bytes());
        wanted.extend(0x1f_u16.to_ne_bytes());
        wanted.extend(5_u16.to_ne_bytes());
        wanted.extend(9_u32.to_ne_bytes());
        wanted.extend([0; 4]);
        wanted.extend([9, 1, 0, 0]);
        wanted.extend([6_u16.to_ne_bytes(), 1_u16.to_ne_bytes()].concat());
        wanted.extend(b"p\0\0\0");
        wanted.extend([8_u16.to_ne_bytes(), 4_u16.to_ne_bytes()].concat());
        wanted.extend(7_u32.to_ne_bytes());
        wanted.extend([4_u16.to_ne_bytes(), 7_u16.to_ne_bytes()].concat());
        assert_eq!(request.finish(4, 9), wanted);
    }

    #[test]
    fn what_does_not_fit_is_refused_here() {
        let mut request = Request::new(0x1f, Command::TableChunk);
        let most = l7switch_engine::netlink::MAX_ATTRIBUTE;
        request.put(Table::DATA, &vec![0; most]).unwrap();
        let error = request.put(Table::DATA, &vec![0; most + 1]).unwrap_err();
        assert!(
            error.to_string().contains("`data` has 65532 bytes"),
            "{error}"
        );
    }
}
