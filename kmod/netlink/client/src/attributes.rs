// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Attributes of a received message, read with their bounds checked. Unknown ones are passed over.

use std::marker::PhantomData;

use netlink_packet_core::NLA_HEADER_SIZE;
use netlink_packet_core::NlasIterator;

use crate::attribute::Attribute;
use crate::attribute::Kind;
use crate::attribute::Set;
use crate::error::Malformed;

/// Attributes of the set `S`.
#[derive(Debug)]
pub(crate) struct Attributes<'a, S> {
    bytes: &'a [u8],
    set: PhantomData<S>,
}

impl<S> Clone for Attributes<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Attributes<'_, S> {}

impl<'a, S: Set> Attributes<'a, S> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            set: PhantomData,
        }
    }

    /// Number and value of each.
    fn walk(self) -> impl Iterator<Item = Result<(u16, &'a [u8]), Malformed>> {
        NlasIterator::new(self.bytes).map(|found| {
            let attribute = found.map_err(|error| malformed::<S>(&error.to_string()))?;
            let (number, length) = (attribute.kind(), usize::from(attribute.length()));
            let value = attribute.into_inner().get(NLA_HEADER_SIZE..length);
            Ok((number, value.unwrap_or_default()))
        })
    }

    /// Every one of those that may come several times.
    pub(crate) fn all<K: Kind>(
        self,
        attribute: Attribute<S, K>,
    ) -> impl Iterator<Item = Result<K::Value<'a>, Malformed>> {
        self.walk().filter_map(move |found| match found {
            Ok((number, value)) if number == attribute.number => Some(
                K::decode(value)
                    .ok_or_else(|| malformed::<S>(&unreadable(attribute.name, value.len()))),
            ),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        })
    }

    /// The last one with this number, as the kernel would read it.
    pub(crate) fn get<K: Kind>(
        self,
        attribute: Attribute<S, K>,
    ) -> Result<Option<K::Value<'a>>, Malformed> {
        let mut last = None;
        for found in self.all(attribute) {
            last = Some(found?);
        }
        Ok(last)
    }

    /// One that has to be there.
    pub(crate) fn need<K: Kind>(
        self,
        attribute: Attribute<S, K>,
    ) -> Result<K::Value<'a>, Malformed> {
        self.get(attribute)?
            .ok_or_else(|| malformed::<S>(&format!("`{}` is missing", attribute.name)))
    }

    /// All as nests of one set, whatever their numbers: an array as nlctrl makes them.
    pub(crate) fn array<T: Set>(
        self,
    ) -> impl Iterator<Item = Result<Attributes<'a, T>, Malformed>> {
        self.walk()
            .map(|found| found.map(|(_, value)| Attributes::new(value)))
    }
}

fn unreadable(name: &str, length: usize) -> String {
    format!("`{name}` with {length} bytes holds no value of its kind")
}

fn malformed<S: Set>(what: &str) -> Malformed {
    Malformed(format!("attributes of `{}`: {what}", S::SET))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sets::Endpoint;
    use crate::sets::Flow;

    /// A port of the wrong width; then one of the right width, with a length below the header's.
    const HOSTILE: [&[u8]; 5] = [
        &[6, 0, 2, 0],
        &[8, 0, 2, 0, 1, 2, 3, 4],
        &[0, 0, 2, 0],
        &[3, 0, 2, 0, 9, 9, 9, 9],
        &[1],
    ];

    #[test]
    fn lengths_that_lie_are_errors() {
        for bytes in HOSTILE {
            let attributes = Attributes::<Endpoint>::new(bytes);
            assert!(attributes.get(Endpoint::PORT).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_missing_attribute_is_named() {
        let error = Attributes::<Endpoint>::new(&[])
            .need(Endpoint::PORT)
            .unwrap_err();
        assert_eq!(error.0, "attributes of `endpoint`: `port` is missing");
    }

    #[test]
    fn unknown_attributes_are_passed_over_and_the_last_of_two_counts() {
        let mut bytes = vec![5, 0, 77, 0, 1, 0, 0, 0];
        for port in [80_u16, 81] {
            bytes.extend([6, 0, 2, 0]);
            bytes.extend(port.to_ne_bytes());
            bytes.extend([0, 0]);
        }
        let attributes = Attributes::<Endpoint>::new(&bytes);
        assert_eq!(attributes.get(Endpoint::PORT).unwrap(), Some(81));
        assert_eq!(attributes.all(Endpoint::PORT).count(), 2);
    }

    #[test]
    fn a_nest_that_holds_a_number_is_an_error_where_it_is_read() {
        // `client` of a flow, with four bytes that are no attribute.
        let bytes = [8, 0, 2, 0x80, 255, 255, 1, 0];
        let client = Attributes::<Flow>::new(&bytes).need(Flow::CLIENT).unwrap();
        assert!(client.need(Endpoint::PORT).is_err());
    }
}
