// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Extended acks: what the kernel says beside an error number (`enum nlmsgerr_attrs` in
//! include/uapi/linux/netlink.h), and the names of the attributes that it means.

use netlink_packet_core::NLA_F_NESTED;
use netlink_packet_core::NLM_F_ACK_TLVS;
use netlink_packet_core::NLM_F_CAPPED;
use netlink_packet_core::NlasIterator;

use crate::attribute::Attribute;
use crate::attribute::Entry;
use crate::attribute::Set;
use crate::attribute::Text;
use crate::attribute::U32;
use crate::attributes::Attributes;
use crate::error::BadAttribute;
use crate::request::ATTRIBUTES;
use crate::sets::entries;

/// Length of a netlink header, bytes.
const HEADER: usize = 16;

enum AckSet {}

impl Set for AckSet {
    const SET: &'static str = "extended ack";
}

const MESSAGE: Attribute<AckSet, Text> = Attribute::new(1, "msg");
const OFFSET: Attribute<AckSet, U32> = Attribute::new(2, "offs");
const MISSING_TYPE: Attribute<AckSet, U32> = Attribute::new(5, "miss-type");
const MISSING_NEST: Attribute<AckSet, U32> = Attribute::new(6, "miss-nest");

/// The error number of an `NLMSG_ERROR` or `NLMSG_DONE`, and what goes with it. What cannot be read is left out:
/// the number counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ack {
    /// Positive; 0: well.
    pub(crate) errno: i32,
    pub(crate) message: Option<String>,
    offset: Option<u32>,
    missing_type: Option<u32>,
    missing_nest: Option<u32>,
}

impl Ack {
    /// Reads an `NLMSG_ERROR`: the number, the request's header, the whole request unless the answer is capped, then
    /// attributes.
    pub(crate) fn of_error(flags: u16, payload: &[u8]) -> Option<Self> {
        let (errno, rest) = errno(payload)?;
        let length = rest.first_chunk().map(|l| u32::from_ne_bytes(*l))?;
        let request = if flags & NLM_F_CAPPED != 0 {
            HEADER
        } else {
            usize::try_from(length).ok()?.checked_next_multiple_of(4)?
        };
        Some(Self::with(errno, flags, rest.get(request..)))
    }

    /// Reads an `NLMSG_DONE`: the number, then attributes. An empty one is well.
    pub(crate) fn of_done(flags: u16, payload: &[u8]) -> Option<Self> {
        if payload.is_empty() {
            return Some(Self::default());
        }
        let (errno, rest) = errno(payload)?;
        Some(Self::with(errno, flags, Some(rest)))
    }

    fn with(errno: i32, flags: u16, attributes: Option<&[u8]>) -> Self {
        let bare = Self {
            errno,
            ..Self::default()
        };
        let Some(bytes) = attributes.filter(|_| flags & NLM_F_ACK_TLVS != 0) else {
            return bare;
        };
        let said = Attributes::<AckSet>::new(bytes);
        let number = |attribute| said.get(attribute).ok().flatten();
        Self {
            message: said
                .get(MESSAGE)
                .ok()
                .flatten()
                .map(|text| text.into_owned()),
            offset: number(OFFSET),
            missing_type: number(MISSING_TYPE),
            missing_nest: number(MISSING_NEST),
            ..bare
        }
    }

    /// The attribute of `request`, whose attributes are of `set`, that is pointed at.
    pub(crate) fn attribute(&self, request: &[u8], set: &str) -> Option<BadAttribute> {
        let offset = self.offset?;
        let place = usize::try_from(offset).ok();
        let found = place.and_then(|place| find(request, ATTRIBUTES, place, set));
        Some(BadAttribute {
            offset,
            name: found.map(|(path, _)| path),
        })
    }

    /// The name of the attribute that is missing.
    pub(crate) fn missing(&self, request: &[u8], set: &str) -> Option<String> {
        let number = self.missing_type?;
        let nest = self
            .missing_nest
            .and_then(|offset| usize::try_from(offset).ok())
            .and_then(|place| find(request, ATTRIBUTES, place, set));
        let (path, list) = match nest {
            Some((path, entry)) => (format!("{path}."), entries(entry.form.nested?)),
            None => (String::new(), entries(set)),
        };
        let known = list.iter().find(|entry| u32::from(entry.number) == number);
        Some(match known {
            Some(entry) => format!("{path}{}", entry.name),
            None => format!("{path}{number}"),
        })
    }
}

/// The error number, made positive, and what follows it.
fn errno(payload: &[u8]) -> Option<(i32, &[u8])> {
    let (number, rest) = payload.split_first_chunk()?;
    Some((i32::from_ne_bytes(*number).checked_neg()?, rest))
}

/// The attribute of `message` that begins at `place`; those of `set` begin at `start`.
fn find(message: &[u8], start: usize, place: usize, set: &str) -> Option<(String, &'static Entry)> {
    let mut begin = start;
    for found in NlasIterator::new(message.get(start..)?) {
        let attribute = found.ok()?;
        let end = begin.checked_add(usize::from(attribute.length()))?;
        let entry = entries(set)
            .iter()
            .find(|entry| entry.number == attribute.kind() & !NLA_F_NESTED);
        if begin == place {
            return entry.map(|entry| (entry.name.to_owned(), entry));
        }
        if place < end {
            let entry = entry?;
            let inner = begin.checked_add(4)?;
            let (path, found) = find(message.get(..end)?, inner, place, entry.form.nested?)?;
            return Some((format!("{}.{path}", entry.name), found));
        }
        begin = end.checked_next_multiple_of(4)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use l7switch_engine::netlink::Command;

    use super::*;
    use crate::request::Request;
    use crate::sets::Endpoint;
    use crate::sets::Match;

    fn attribute(number: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), number.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn request() -> Vec<u8> {
        let mut request = Request::new(30, Command::RequestMatch);
        request.put(Match::REQUEST, b"GET").unwrap();
        request
            .nest(Match::VIRTUAL, |nest| {
                nest.put(Endpoint::ADDRESS, "::1".parse().unwrap())?;
                nest.put(Endpoint::PORT, 80)
            })
            .unwrap();
        request.finish(0, 1)
    }

    #[test]
    fn the_words_stand_after_the_header_or_after_the_whole_request() {
        let request = request();
        let said = attribute(1, b"no such service\0");
        for (flags, echoed) in [(NLM_F_CAPPED, &request[..16]), (0, &request[..])] {
            let mut payload = (-2_i32).to_ne_bytes().to_vec();
            payload.extend(echoed);
            payload.extend(&said);
            let ack = Ack::of_error(flags | NLM_F_ACK_TLVS, &payload).unwrap();
            assert_eq!(ack.errno, 2);
            assert_eq!(ack.message.as_deref(), Some("no such service"));
            let ack = Ack::of_error(flags, &payload).unwrap();
            assert_eq!(ack.message, None, "the flag says that there are none");
        }
    }

    #[test]
    fn offsets_and_missing_types_get_their_names() {
        let request = request();
        let ack = |offset| Ack {
            offset: Some(offset),
            ..Ack::default()
        };
        let name = |offset| ack(offset).attribute(&request, "match").unwrap().name;
        assert_eq!(name(20).as_deref(), Some("request"));
        assert_eq!(name(28).as_deref(), Some("virtual"));
        assert_eq!(name(32).as_deref(), Some("virtual.address"));
        assert_eq!(name(52).as_deref(), Some("virtual.port"));
        for nowhere in [0, 21, 33, 60, u32::MAX] {
            assert_eq!(name(nowhere), None);
        }
        let missing = |kind, nest| {
            let ack = Ack {
                missing_type: Some(kind),
                missing_nest: nest,
                ..Ack::default()
            };
            ack.missing(&request, "match").unwrap()
        };
        assert_eq!(missing(1, None), "service");
        assert_eq!(missing(2, Some(28)), "virtual.port");
        assert_eq!(missing(99, None), "99");
    }

    #[test]
    fn what_is_cut_off_is_no_ack() {
        assert_eq!(Ack::of_error(0, &[0; 3]), None);
        assert_eq!(Ack::of_error(0, &[0; 7]), None);
        assert_eq!(Ack::of_done(0, &[0; 2]), None);
        assert_eq!(Ack::of_done(0, &[]).unwrap().errno, 0);
        let least = i32::MIN.to_ne_bytes();
        assert_eq!(Ack::of_done(0, &least), None, "it has no positive");
        // A request length that lies: no words, but the number.
        let mut payload = (-22_i32).to_ne_bytes().to_vec();
        payload.extend([0xff; 16]);
        let ack = Ack::of_error(NLM_F_ACK_TLVS, &payload).unwrap();
        assert_eq!((ack.errno, ack.message), (22, None));
    }
}
