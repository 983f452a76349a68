// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A request and its answers: messages taken out of datagrams, sequence numbers, acks and the ends of lists.

use netlink_packet_core::NLM_F_ACK;
use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_core::NLM_F_DUMP_INTR;
use netlink_packet_core::NetlinkBuffer;

use crate::ack::Ack;
use crate::error::Error;
use crate::error::Malformed;
use crate::request::Request;
use crate::socket::Transport;

const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_OVERRUN: u16 = 4;

/// Length of generic netlink's header, bytes.
const GENERIC_HEADER: usize = 4;

/// A message in a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// Command and attributes of a message of a family.
    pub(crate) fn generic(self) -> Result<(u8, &'a [u8]), Malformed> {
        let split = self.payload.split_at_checked(GENERIC_HEADER);
        match split {
            Some((&[command, ..], attributes)) => Ok((command, attributes)),
            _ => Err(Malformed("a message without a command".to_owned())),
        }
    }
}

/// The messages of a datagram. After one that does not fit there are no more.
pub(crate) fn messages(datagram: &[u8]) -> impl Iterator<Item = Result<Message<'_>, Malformed>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let all = std::mem::take(&mut rest);
        let header = match NetlinkBuffer::new_checked(all) {
            Ok(header) => header,
            Err(error) => return Some(Err(Malformed(error.to_string()))),
        };
        let length = usize::try_from(header.length()).unwrap_or(usize::MAX);
        rest = length
            .checked_next_multiple_of(4)
            .and_then(|next| all.get(next..))
            .unwrap_or_default();
        Some(Ok(Message {
            kind: header.message_type(),
            flags: header.flags(),
            sequence: header.sequence_number(),
            payload: all.get(16..length).unwrap_or_default(),
        }))
    })
}

/// Why a request was not answered.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The kernel says no; with the request as it was sent.
    Refused { ack: Ack, request: Vec<u8> },
    /// Anything else.
    Failed(Error),
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// One end of a conversation with the kernel.
#[derive(Debug)]
pub(crate) struct Link<T> {
    transport: T,
    sequence: u32,
    buffer: Vec<u8>,
}

impl<T: Transport> Link<T> {
    pub(crate) const fn new(transport: T) -> Self {
        Self {
            transport,
            sequence: 0,
            buffer: Vec::new(),
        }
    }

    pub(crate) const fn transport(&self) -> &T {
        &self.transport
    }

    pub(crate) fn into_transport(self) -> T {
        self.transport
    }

    /// Sends a request and gives the attributes of each answer to `take`, until the ack comes. The first
    /// error of `take` is given when all answers were read.
    pub(crate) fn ask(
        &mut self,
        request: &Request,
        take: impl FnMut(&[u8]) -> Result<(), Malformed>,
    ) -> Result<(), CallError> {
        self.exchange(request, NLM_F_ACK, take).map(|_| ())
    }

    /// Like [`Link::ask`] for a list. Gives whether it was whole: false where it changed while it was read.
    pub(crate) fn list(
        &mut self,
        request: &Request,
        take: impl FnMut(&[u8]) -> Result<(), Malformed>,
    ) -> Result<bool, CallError> {
        self.exchange(request, NLM_F_DUMP, take)
    }

    fn exchange(
        &mut self,
        request: &Request,
        flags: u16,
        mut take: impl FnMut(&[u8]) -> Result<(), Malformed>,
    ) -> Result<bool, CallError> {
        self.sequence = self.sequence.wrapping_add(1);
        let sent = request.finish(flags, self.sequence);
        self.transport.send(&sent).map_err(Error::Socket)?;
        let mut whole = true;
        let mut outcome = Ok(());
        loop {
            self.transport
                .receive(&mut self.buffer)
                .map_err(Error::Socket)?;
            for message in messages(&self.buffer) {
                let message = message.map_err(Error::from)?;
                // Answers to a request that was given up.
                if message.sequence != self.sequence {
                    continue;
                }
                whole &= message.flags & NLM_F_DUMP_INTR == 0;
                let ack = match message.kind {
                    NLMSG_NOOP => continue,
                    NLMSG_ERROR => Ack::of_error(message.flags, message.payload),
                    NLMSG_DONE => Ack::of_done(message.flags, message.payload),
                    NLMSG_OVERRUN => {
                        return Err(Error::Malformed("data was lost".to_owned()).into());
                    }
                    _ => {
                        let taken = message
                            .generic()
                            .and_then(|(_, attributes)| take(attributes));
                        outcome = outcome.and(taken);
                        continue;
                    }
                };
                let cut_off = || Error::Malformed("an ack that is cut off".to_owned());
                let ack = ack.ok_or_else(cut_off)?;
                if ack.errno != 0 {
                    return Err(CallError::Refused { ack, request: sent });
                }
                outcome.map_err(Error::from)?;
                return Ok(whole);
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::io;

    use l7switch_engine::netlink::Command;

    use super::*;
    use crate::request;

    /// A kernel that has its answers written down.
    #[derive(Debug, Default)]
    pub(crate) struct Script {
        pub(crate) answers: RefCell<VecDeque<Vec<u8>>>,
        pub(crate) sent: RefCell<Vec<Vec<u8>>>,
    }

    impl Script {
        pub(crate) fn new(answers: impl IntoIterator<Item = Vec<u8>>) -> Self {
            Self {
                answers: RefCell::new(answers.into_iter().collect()),
                sent: RefCell::default(),
            }
        }
    }

    impl Transport for Script {
        fn send(&self, message: &[u8]) -> io::Result<()> {
            self.sent.borrow_mut().push(message.to_vec());
            Ok(())
        }

        fn receive(&self, buffer: &mut Vec<u8>) -> io::Result<()> {
            *buffer = self
                .answers
                .borrow_mut()
                .pop_front()
                .ok_or(io::ErrorKind::TimedOut)?;
            Ok(())
        }
    }

    pub(crate) fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = request::message(kind, flags, sequence, payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    pub(crate) fn error(sequence: u32, errno: i32) -> Vec<u8> {
        let mut payload = (-errno).to_ne_bytes().to_vec();
        payload.extend([0; 16]);
        message(NLMSG_ERROR, 0x100, sequence, &payload)
    }

    pub(crate) fn answer(sequence: u32, attributes: &[u8]) -> Vec<u8> {
        message(30, 0, sequence, &[&[1, 1, 0, 0], attributes].concat())
    }

    fn ask(answers: Vec<Vec<u8>>) -> (Result<(), CallError>, Vec<Vec<u8>>) {
        let mut link = Link::new(Script::new(answers));
        let mut taken = Vec::new();
        let result = link.ask(&Request::new(30, Command::ModuleGet), |attributes| {
            taken.push(attributes.to_vec());
            Ok(())
        });
        (result, taken)
    }

    #[test]
    fn answers_of_an_older_request_are_passed_over() {
        let old = [answer(0, &[9, 9, 9, 9]), error(0, 5)].concat();
        let (result, taken) = ask(vec![old, [answer(1, &[1, 2, 3, 4]), error(1, 0)].concat()]);
        result.unwrap();
        assert_eq!(taken, [[1, 2, 3, 4]]);
    }

    #[test]
    fn an_error_ends_the_exchange() {
        let (result, _) = ask(vec![error(1, 22)]);
        match result {
            Err(CallError::Refused { ack, .. }) => assert_eq!(ack.errno, 22),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_list_that_changed_is_not_whole() {
        let changed = message(30, 2 | NLM_F_DUMP_INTR, 1, &[7, 1, 0, 0]);
        let done = message(NLMSG_DONE, 2, 1, &[0; 4]);
        let mut link = Link::new(Script::new([changed, done.clone()]));
        let request = Request::new(30, Command::ServiceGet);
        assert!(!link.list(&request, |_| Ok(())).unwrap());
        let mut link = Link::new(Script::new([done]));
        assert!(link.list(&request, |_| Ok(())).unwrap());
        let sent = link.transport().sent.borrow();
        assert_eq!(sent[0][6..8], 0x301_u16.to_ne_bytes());
    }

    #[test]
    fn bytes_that_are_no_messages_are_errors() {
        let hostile: [&[u8]; 5] = [
            &[1],
            &[0; 16],
            &[15, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
            &[255, 255, 255, 255, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
            &message(NLMSG_OVERRUN, 0, 1, &[]),
        ];
        for bytes in hostile {
            let (result, _) = ask(vec![bytes.to_vec()]);
            assert!(
                matches!(result, Err(CallError::Failed(Error::Malformed(_)))),
                "{bytes:?}: {result:?}"
            );
        }
        // A message too short for its command is an error once the ack is there.
        let (result, taken) = ask(vec![message(30, 0, 1, &[1, 1]), error(1, 0)]);
        assert!(matches!(
            result,
            Err(CallError::Failed(Error::Malformed(_)))
        ));
        assert!(taken.is_empty());
    }
}
