// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The family and its group of events by name, asked of nlctrl (include/uapi/linux/genetlink.h).

use std::io;

use l7switch_engine::netlink::EVENTS;
use l7switch_engine::netlink::FAMILY;
use rustix::io::Errno;

use crate::attribute::Attribute;
use crate::attribute::Nest;
use crate::attribute::Set;
use crate::attribute::Text;
use crate::attribute::U16;
use crate::attribute::U32;
use crate::attributes::Attributes;
use crate::error::Error;
use crate::error::Malformed;
use crate::link::CallError;
use crate::link::Link;
use crate::request::Request;
use crate::socket::GenericSocket;
use crate::socket::Transport;

/// The number of nlctrl itself, `GENL_ID_CTRL`.
const CONTROL: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const CONTROL_VERSION: u8 = 2;

enum ControlSet {}

impl Set for ControlSet {
    const SET: &'static str = "nlctrl";
}

enum GroupSet {}

impl Set for GroupSet {
    const SET: &'static str = "mcast-group";
}

const FAMILY_ID: Attribute<ControlSet, U16> = Attribute::new(1, "family-id");
const FAMILY_NAME: Attribute<ControlSet, Text> = Attribute::new(2, "family-name");
const GROUPS: Attribute<ControlSet, Nest<ControlSet>> = Attribute::new(7, "mcast-groups");
const GROUP_NAME: Attribute<GroupSet, Text> = Attribute::new(1, "name");
const GROUP_ID: Attribute<GroupSet, U32> = Attribute::new(2, "id");

/// Numbers that the kernel gave the family when the module was loaded; another loading has others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Family {
    pub(crate) number: u16,
    pub(crate) events: Option<u32>,
}

impl Family {
    /// Asks for it.
    pub(crate) fn find<T: Transport>(link: &mut Link<T>) -> Result<Self, Error> {
        let mut request = Request::to_family(CONTROL, GET_FAMILY, CONTROL_VERSION);
        request.put(FAMILY_NAME, FAMILY)?;
        let mut found = None;
        let asked = link.ask(&request, |answer| {
            found = Some(Self::read(answer)?);
            Ok(())
        });
        match asked {
            Ok(()) => found.ok_or(Error::NotLoaded),
            Err(CallError::Refused { ack, .. }) if ack.errno == Errno::NOENT.raw_os_error() => {
                Err(Error::NotLoaded)
            }
            Err(CallError::Refused { ack, .. }) => {
                Err(io::Error::from_raw_os_error(ack.errno).into())
            }
            Err(CallError::Failed(error)) => Err(error),
        }
    }

    fn read(answer: &[u8]) -> Result<Self, Malformed> {
        let attributes = Attributes::<ControlSet>::new(answer);
        let mut events = None;
        if let Some(groups) = attributes.get(GROUPS)? {
            for group in groups.array::<GroupSet>() {
                let group = group?;
                if group.need(GROUP_NAME)? == EVENTS {
                    events = Some(group.need(GROUP_ID)?);
                }
            }
        }
        Ok(Self {
            number: attributes.need(FAMILY_ID)?,
            events,
        })
    }
}

/// A socket and the family, in the network namespace of the caller.
pub(crate) fn open() -> Result<(Link<GenericSocket>, Family), Error> {
    let socket = GenericSocket::open().map_err(|error| {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::AFNOSUPPORT | Errno::PROTONOSUPPORT) => Error::NoNetlink(error),
            _ => Error::Socket(error),
        }
    })?;
    let mut link = Link::new(socket);
    let family = Family::find(&mut link)?;
    Ok((link, family))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::tests::Script;
    use crate::link::tests::answer;
    use crate::link::tests::error;

    /// What Linux 6.12 answers for a family with number 0x1f and the groups `other` (5) and `events` (6).
    fn described() -> Vec<u8> {
        let group = |index: u16, name: &[u8; 8], number: u32| {
            let mut bytes = [24_u16.to_ne_bytes(), (index | 0x8000).to_ne_bytes()].concat();
            bytes.extend([8_u16.to_ne_bytes(), 2_u16.to_ne_bytes()].concat());
            bytes.extend(number.to_ne_bytes());
            bytes.extend([12_u16.to_ne_bytes(), 1_u16.to_ne_bytes()].concat());
            bytes.extend(name);
            bytes
        };
        let mut bytes = [13_u16.to_ne_bytes(), 2_u16.to_ne_bytes()].concat();
        bytes.extend(b"l7switch\0\0\0\0");
        bytes.extend([6_u16.to_ne_bytes(), 1_u16.to_ne_bytes()].concat());
        bytes.extend([0x1f_u16.to_ne_bytes(), [0; 2]].concat());
        bytes.extend([52_u16.to_ne_bytes(), 0x8007_u16.to_ne_bytes()].concat());
        bytes.extend(group(1, b"other\0\0\0", 5));
        bytes.extend(group(2, b"events\0\0", 6));
        bytes
    }

    #[test]
    fn the_family_and_its_group_are_found() {
        let answers = [answer(1, &described()), error(1, 0)];
        let found = Family::find(&mut Link::new(Script::new(answers))).unwrap();
        let wanted = Family {
            number: 0x1f,
            events: Some(6),
        };
        assert_eq!(found, wanted);
    }

    #[test]
    fn no_family_is_a_module_that_is_not_loaded() {
        let none = Family::find(&mut Link::new(Script::new([error(1, 2)]))).unwrap_err();
        assert!(none.is_absent());
        assert!(none.to_string().contains("modprobe l7switch"));
        let other = Family::find(&mut Link::new(Script::new([error(1, 12)]))).unwrap_err();
        assert!(!other.is_absent());
    }

    #[test]
    fn a_description_without_a_number_is_an_error() {
        let answers = [answer(1, &described()[..16]), error(1, 0)];
        let found = Family::find(&mut Link::new(Script::new(answers)));
        assert!(matches!(found, Err(Error::Malformed(_))));
    }
}
