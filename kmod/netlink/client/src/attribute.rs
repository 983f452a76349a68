// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Attributes as types: the set that one belongs to, and how its value lies on the wire.
//!
//! Numbers are of the host's byte order (Documentation/userspace-api/netlink/specs.rst in the kernel's tree).

use std::borrow::Cow;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::net::Ipv6Addr;

use l7switch_engine::netlink;

use crate::attributes::Attributes;

/// How a value lies on the wire, in the words of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// `type`.
    pub kind: &'static str,
    /// `nested-attributes`.
    pub nested: Option<&'static str>,
    /// `enum`.
    pub enumeration: Option<&'static str>,
    /// `checks: exact-len`, bytes.
    pub exact_len: Option<usize>,
}

impl Form {
    const fn plain(kind: &'static str) -> Self {
        Self {
            kind,
            nested: None,
            enumeration: None,
            exact_len: None,
        }
    }
}

/// An attribute as the client sends and takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number in its set.
    pub number: u16,
    /// Its name in the contract.
    pub name: &'static str,
    /// Its form.
    pub form: Form,
}

/// A set of attributes.
pub(crate) trait Set {
    /// Its name in the contract.
    const SET: &'static str;
}

/// An attribute of the set `S` with values of the kind `K`.
#[derive(Debug)]
pub(crate) struct Attribute<S, K> {
    pub(crate) number: u16,
    pub(crate) name: &'static str,
    marker: PhantomData<(S, K)>,
}

impl<S, K> Clone for Attribute<S, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, K> Copy for Attribute<S, K> {}

impl<S, K> Attribute<S, K> {
    pub(crate) const fn new(number: u16, name: &'static str) -> Self {
        Self {
            number,
            name,
            marker: PhantomData,
        }
    }
}

/// A kind of values.
pub(crate) trait Kind {
    /// How they lie on the wire.
    const FORM: Form;
    /// What is read.
    type Value<'a>;
    /// Reads one; `None` where the bytes are none.
    fn decode(payload: &[u8]) -> Option<Self::Value<'_>>;
}

/// A kind that is sent.
pub(crate) trait Encode: Kind {
    /// What is given.
    type Given<'a>;
    /// Writes one, or says why it cannot be.
    fn encode(given: Self::Given<'_>, out: &mut Vec<u8>) -> Result<(), &'static str>;
}

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident($number:ty, $kind:literal);)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        pub(crate) enum $name {}

        impl Kind for $name {
            const FORM: Form = Form::plain($kind);
            type Value<'a> = $number;

            fn decode(payload: &[u8]) -> Option<$number> {
                payload.try_into().ok().map(<$number>::from_ne_bytes)
            }
        }

        impl Encode for $name {
            type Given<'a> = $number;

            fn encode(given: $number, out: &mut Vec<u8>) -> Result<(), &'static str> {
                out.extend_from_slice(&given.to_ne_bytes());
                Ok(())
            }
        }
    )*};
}

numbers! {
    /// `u16`.
    U16(u16, "u16");
    /// `u32`.
    U32(u32, "u32");
}

/// `uint`: 4 bytes where the number fits, otherwise 8.
#[derive(Debug)]
pub(crate) enum Uint {}

impl Kind for Uint {
    const FORM: Form = Form::plain("uint");
    type Value<'a> = u64;

    fn decode(payload: &[u8]) -> Option<u64> {
        match *payload {
            [a, b, c, d] => Some(u32::from_ne_bytes([a, b, c, d]).into()),
            [a, b, c, d, e, f, g, h] => Some(u64::from_ne_bytes([a, b, c, d, e, f, g, h])),
            _ => None,
        }
    }
}

/// `flag`: there or not.
#[derive(Debug)]
pub(crate) enum Flag {}

impl Kind for Flag {
    const FORM: Form = Form::plain("flag");
    type Value<'a> = ();

    fn decode(payload: &[u8]) -> Option<()> {
        payload.is_empty().then_some(())
    }
}

impl Encode for Flag {
    type Given<'a> = ();

    fn encode((): (), _: &mut Vec<u8>) -> Result<(), &'static str> {
        Ok(())
    }
}

/// `string`: ends with a NUL, which the reader does without.
#[derive(Debug)]
pub(crate) enum Text {}

impl Kind for Text {
    const FORM: Form = Form::plain("string");
    type Value<'a> = Cow<'a, str>;

    fn decode(payload: &[u8]) -> Option<Cow<'_, str>> {
        let text = payload.split(|&byte| byte == 0).next().unwrap_or_default();
        Some(String::from_utf8_lossy(text))
    }
}

impl Encode for Text {
    type Given<'a> = &'a str;

    fn encode(given: &str, out: &mut Vec<u8>) -> Result<(), &'static str> {
        if given.contains('\0') {
            return Err("it holds a NUL");
        }
        out.extend_from_slice(given.as_bytes());
        out.push(0);
        Ok(())
    }
}

/// `binary` of any length.
#[derive(Debug)]
pub(crate) enum Binary {}

impl Kind for Binary {
    const FORM: Form = Form::plain("binary");
    type Value<'a> = &'a [u8];

    fn decode(payload: &[u8]) -> Option<&[u8]> {
        Some(payload)
    }
}

impl Encode for Binary {
    type Given<'a> = &'a [u8];

    fn encode(given: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
        out.extend_from_slice(given);
        Ok(())
    }
}

/// `binary` of 16 bytes, an address of network order; IPv4 as IPv4-mapped IPv6 (RFC 4291, 2.5.5.2).
#[derive(Debug)]
pub(crate) enum Address {}

impl Kind for Address {
    const FORM: Form = Form {
        exact_len: Some(16),
        ..Form::plain("binary")
    };
    type Value<'a> = IpAddr;

    fn decode(payload: &[u8]) -> Option<IpAddr> {
        let bytes: [u8; 16] = payload.try_into().ok()?;
        Some(IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical())
    }
}

impl Encode for Address {
    type Given<'a> = IpAddr;

    fn encode(given: IpAddr, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let bytes = match given {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        out.extend_from_slice(&bytes);
        Ok(())
    }
}

/// `nest` of another set.
#[derive(Debug)]
pub(crate) struct Nest<S>(PhantomData<S>);

impl<S: Set> Kind for Nest<S> {
    const FORM: Form = Form {
        nested: Some(S::SET),
        ..Form::plain("nest")
    };
    type Value<'a> = Attributes<'a, S>;

    fn decode(payload: &[u8]) -> Option<Attributes<'_, S>> {
        Some(Attributes::new(payload))
    }
}

/// An enumeration of the contract.
pub(crate) trait Numbered: Copy {
    /// Its name in the contract.
    const NAME: &'static str;
    /// The number of one.
    fn to_number(self) -> u32;
    /// The one with a number.
    fn of_number(number: u32) -> Option<Self>;
    /// Its name in the contract.
    fn to_name(self) -> &'static str;
}

macro_rules! enumerations {
    ($($name:ident = $text:literal,)*) => {$(
        impl Numbered for netlink::$name {
            const NAME: &'static str = $text;

            fn to_number(self) -> u32 {
                self.number()
            }

            fn of_number(number: u32) -> Option<Self> {
                Self::from_number(number)
            }

            fn to_name(self) -> &'static str {
                self.name()
            }
        }
    )*};
}

enumerations! {
    Protocol = "protocol",
    Datapath = "datapath",
    ServerState = "server-state",
    Outcome = "outcome",
    Action = "action",
    FlowState = "flow-state",
}

/// `u32` with a number of an enumeration.
#[derive(Debug)]
pub(crate) struct Code<E>(PhantomData<E>);

impl<E: Numbered> Kind for Code<E> {
    const FORM: Form = Form {
        enumeration: Some(E::NAME),
        ..Form::plain("u32")
    };
    type Value<'a> = E;

    fn decode(payload: &[u8]) -> Option<E> {
        U32::decode(payload).and_then(E::of_number)
    }
}

impl<E: Numbered> Encode for Code<E> {
    type Given<'a> = E;

    fn encode(given: E, out: &mut Vec<u8>) -> Result<(), &'static str> {
        U32::encode(given.to_number(), out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use l7switch_engine::netlink::ServerState;

    fn encoded<K: Encode>(given: K::Given<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        K::encode(given, &mut out).unwrap();
        out
    }

    #[test]
    fn values_have_the_width_of_their_kind() {
        assert_eq!(encoded::<U16>(0x1234), 0x1234_u16.to_ne_bytes());
        assert_eq!(encoded::<U32>(7), 7_u32.to_ne_bytes());
        assert_eq!(encoded::<Text>("web"), b"web\0");
        assert_eq!(encoded::<Flag>(()), b"");
        assert_eq!(
            encoded::<Code<ServerState>>(ServerState::Down),
            2_u32.to_ne_bytes()
        );
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1];
        assert_eq!(encoded::<Address>("10.0.0.1".parse().unwrap()), mapped);
        assert_eq!(
            Address::decode(&mapped),
            Some(IpAddr::from([10, 0, 0, 1])),
            "IPv4 comes back as IPv4"
        );
    }

    #[test]
    fn a_uint_has_four_or_eight_bytes() {
        assert_eq!(Uint::decode(&5_u32.to_ne_bytes()), Some(5));
        assert_eq!(Uint::decode(&(1_u64 << 40).to_ne_bytes()), Some(1 << 40));
        assert_eq!(Uint::decode(&[]), None);
        assert_eq!(Uint::decode(&[0; 5]), None);
    }

    #[test]
    fn values_of_a_wrong_width_are_none() {
        assert_eq!(U16::decode(&[0; 4]), None);
        assert_eq!(U32::decode(&[0; 3]), None);
        assert_eq!(Flag::decode(&[0]), None);
        assert_eq!(Address::decode(&[0; 15]), None);
        assert_eq!(
            Code::<ServerState>::decode(&3_u32.to_ne_bytes()),
            None,
            "no such state"
        );
    }

    #[test]
    fn texts_end_at_a_nul_and_need_not_have_one() {
        assert_eq!(Text::decode(b"web\0").unwrap(), "web");
        assert_eq!(Text::decode(b"web").unwrap(), "web");
        assert_eq!(Text::decode(b"").unwrap(), "");
        assert_eq!(Text::decode(b"a\0b").unwrap(), "a");
        assert_eq!(Text::decode(b"\xff").unwrap(), "\u{fffd}");
        assert!(Text::encode("a\0b", &mut Vec::new()).is_err());
    }
}
