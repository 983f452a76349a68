// SPDX-License-Identifier: MIT
//! Netlink byte by byte: what no client would send, and what is not seen through one.

use std::io;

use l7switch_engine::netlink::Command;
use l7switch_engine::netlink::FAMILY;
use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_GENERIC;

/// A request, and that its end is to be told (netlink(7)).
pub const REQUEST: u16 = 1;
/// An acknowledgement is wanted.
pub const ACK: u16 = 4;
/// A list is wanted.
pub const DUMP: u16 = 0x300;
/// On an answer: the list changed while it was read.
pub const INTERRUPTED: u16 = 0x10;
/// Type of an answer: an error, or with number 0 an acknowledgement.
pub const ERROR: u16 = 2;
/// Type of an answer: the end of a list.
pub const DONE: u16 = 3;
/// On the type of an attribute: it holds attributes.
pub const NESTED: u16 = 0x8000;

/// The family of families, and its command that finds one by name (attribute 2).
const CONTROLLER: u16 = 0x10;
const GET_FAMILY: u8 = 3;

/// An attribute, padded.
///
/// # Panics
///
/// Where the content is longer than an attribute's length can say.
#[must_use]
pub fn attribute(number: u16, content: &[u8]) -> Vec<u8> {
    let len = u16::try_from(content.len() + 4).expect("an attribute is this short");
    attribute_of_len(len, number, content)
}

/// An attribute that says of its length what it wants.
#[must_use]
pub fn attribute_of_len(len: u16, number: u16, content: &[u8]) -> Vec<u8> {
    let mut bytes = [len.to_ne_bytes(), number.to_ne_bytes()].concat();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The content of the first attribute of this number.
#[must_use]
pub fn find(attributes: &[u8], number: u16) -> Option<&[u8]> {
    let mut rest = attributes;
    loop {
        let len = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
        let kind = u16::from_ne_bytes(*rest.get(2..)?.first_chunk()?);
        let content = rest.get(4..len)?;
        if kind & 0x3fff == number {
            return Some(content);
        }
        rest = rest.get(len.next_multiple_of(4)..)?;
    }
}

/// A message of generic netlink.
#[must_use]
pub fn message(kind: u16, flags: u16, sequence: u32, command: u8, attributes: &[u8]) -> Vec<u8> {
    let payload = [&[command, 1, 0, 0], attributes].concat();
    let mut bytes = u32::try_from(payload.len() + 16)
        .expect("a message is this short")
        .to_ne_bytes()
        .to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// A message of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its type: [`ERROR`], [`DONE`], or a family's number.
    pub kind: u16,
    /// Its flags.
    pub flags: u16,
    /// The sequence number of the request.
    pub sequence: u32,
    /// What follows the netlink header.
    pub payload: Vec<u8>,
}

impl Answer {
    /// The number of an error, 0 for an acknowledgement; none of other messages.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        let number = i32::from_ne_bytes(*self.payload.first_chunk()?);
        (self.kind == ERROR).then_some(-number)
    }

    /// The attributes of a message of a family.
    #[must_use]
    pub fn attributes(&self) -> &[u8] {
        self.payload.get(4..).unwrap_or_default()
    }
}

/// A socket of generic netlink that does not wait: the kernel has answered when a request is sent.
#[derive(Debug)]
pub struct Raw {
    socket: Socket,
    port: u32,
}

impl Raw {
    /// Opens one in the network namespace of the calling thread.
    ///
    /// # Panics
    ///
    /// Where the kernel refuses.
    #[must_use]
    pub fn open() -> Self {
        let mut socket = Socket::new(NETLINK_GENERIC).expect("there is generic netlink");
        let port = socket.bind_auto().expect("a port is free").port_number();
        socket.set_ext_ack(true).expect("acks can say more");
        socket.set_cap_ack(true).expect("acks can be short");
        socket.set_non_blocking(true).expect("it need not wait");
        Self { socket, port }
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u32 {
        self.port
    }

    /// Sends a datagram.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn send(&self, datagram: &[u8]) -> io::Result<usize> {
        // Without an address: then who opened the socket has to have the right as well (net/netlink/af_netlink.c,
        // NETLINK_SKB_DST).
        self.socket.send(datagram, 0)
    }

    /// The messages of the next datagram, if one is there.
    ///
    /// # Panics
    ///
    /// Where it cannot be read, or is not made of messages.
    #[must_use]
    pub fn receive(&self) -> Option<Vec<Answer>> {
        let mut buffer = Vec::with_capacity(256 * 1024);
        match self.socket.recv_from(&mut buffer, 0) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Err(error) => panic!("netlink: {error}"),
        }
        let mut rest = buffer.as_slice();
        let mut answers = Vec::new();
        while !rest.is_empty() {
            let number = |at: usize| u16::from_ne_bytes([rest[at], rest[at + 1]]);
            let word = |at: usize| u32::from_ne_bytes(rest[at..at + 4].try_into().unwrap());
            let len = usize::try_from(word(0)).unwrap();
            answers.push(Answer {
                kind: number(4),
                flags: number(6),
                sequence: word(8),
                payload: rest[16..len].to_vec(),
            });
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        Some(answers)
    }

    /// All messages that are there.
    #[must_use]
    pub fn drain(&self) -> Vec<Answer> {
        std::iter::from_fn(|| self.receive()).flatten().collect()
    }

    /// Sends a datagram and gives what comes.
    ///
    /// # Panics
    ///
    /// Where it cannot be sent.
    #[must_use]
    pub fn ask(&self, datagram: &[u8]) -> Vec<Answer> {
        self.send(datagram).expect("it can be sent");
        self.drain()
    }

    /// The number of the module's family.
    ///
    /// # Panics
    ///
    /// Where there is none.
    #[must_use]
    pub fn family(&self) -> u16 {
        let name = attribute(2, format!("{FAMILY}\0").as_bytes());
        let answers = self.ask(&message(CONTROLLER, REQUEST, 1, GET_FAMILY, &name));
        let number = find(answers[0].attributes(), 1).expect("the family is there");
        u16::from_ne_bytes(*number.first_chunk().expect("it has 16 bits"))
    }

    /// Asks a command of the module and gives the number of the error, 0 where there is none.
    ///
    /// # Panics
    ///
    /// Where there is no acknowledgement.
    pub fn errno(&self, family: u16, flags: u16, command: Command, attributes: &[u8]) -> i32 {
        let answers = self.ask(&message(
            family,
            REQUEST | flags,
            7,
            command.number(),
            attributes,
        ));
        answers
            .iter()
            .find_map(Answer::errno)
            .unwrap_or_else(|| panic!("{command:?} has no acknowledgement: {answers:?}"))
    }
}
