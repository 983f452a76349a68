// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Reading and writing of records: what a switch tells another one, or its own successor, of a connection.
//!
//! Numbers are little-endian. Those that are small as a rule have seven bits a byte, the lowest first, and the highest bit
//! says that another byte follows (LEB128: DWARF 5, 7.6); each has one spelling. A sequence number that lies near another one
//! is written as the distance to it, with the sign in the lowest bit.
//!
//! What is read may be anything. It is refused, never repaired: a connection that is followed by a wrong number gives one
//! client's bytes to another.

use core::fmt;

use crate::endpoint::is_ipv4;
use crate::endpoint::Endpoint;

/// The version that is written, and read.
pub const VERSION: u8 = 1;

/// Before an address of 4 bytes.
const IPV4: u8 = 4;
/// Before one of 16.
const IPV6: u8 = 6;
/// Bytes of the longest number of 64 bits.
const NUMBER_MAX: u32 = 10;

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportError {
    /// It ends before it is whole.
    Short,
    /// Something follows it.
    Long,
    /// It is of a version that is not read.
    Version(u8),
    /// What it says of this cannot be.
    Field(&'static str),
}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => f.write_str("the record ends too early"),
            Self::Long => f.write_str("something follows the record"),
            Self::Version(version) => write!(f, "the record is of version {version}"),
            Self::Field(what) => write!(f, "the record cannot be: {what}"),
        }
    }
}

impl core::error::Error for ImportError {}

/// Writes a record into memory.
#[derive(Debug)]
pub struct Writer<'b> {
    to: &'b mut [u8],
    len: usize,
    full: bool,
}

impl<'b> Writer<'b> {
    /// At the start of some memory.
    pub fn new(to: &'b mut [u8]) -> Self {
        Self {
            to,
            len: 0,
            full: false,
        }
    }

    /// Bytes that were written; `None` where there was no room for all.
    pub fn finish(self) -> Option<usize> {
        (!self.full).then_some(self.len)
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        let end = self.len.saturating_add(bytes.len());
        let Some(place) = self.to.get_mut(self.len..end) else {
            self.full = true;
            return;
        };
        for (place, byte) in place.iter_mut().zip(bytes) {
            *place = *byte;
        }
        self.len = end;
    }

    /// One byte.
    pub fn byte(&mut self, byte: u8) {
        self.bytes(&[byte]);
    }

    /// A number of 16 bits.
    pub fn half(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }

    /// A number of 32 bits.
    pub fn word(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    /// A number that is small as a rule.
    pub fn number(&mut self, mut value: u64) {
        loop {
            let [low, ..] = value.to_le_bytes();
            value = value.wrapping_shr(7);
            if value == 0 {
                self.byte(low);
                return;
            }
            self.byte(low | 0x80);
        }
    }

    /// A sequence number near another one.
    pub fn near(&mut self, other: u32, value: u32) {
        let distance = value.wrapping_sub(other);
        let sign = 0u32.wrapping_sub(distance.wrapping_shr(31));
        self.number(u64::from(distance.wrapping_shl(1) ^ sign));
    }

    /// An end of a connection: 7 or 19 bytes.
    pub fn endpoint(&mut self, endpoint: &Endpoint) {
        let [.., a, b, c, d] = endpoint.address;
        if is_ipv4(&endpoint.address) {
            self.bytes(&[IPV4, a, b, c, d]);
        } else {
            self.byte(IPV6);
            self.bytes(&endpoint.address);
        }
        self.half(endpoint.port);
    }
}

/// Reads a record.
#[derive(Clone, Debug)]
pub struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    /// At its start.
    pub const fn new(rest: &'b [u8]) -> Self {
        Self { rest }
    }

    /// Nothing follows.
    ///
    /// # Errors
    ///
    /// [`ImportError::Long`].
    pub const fn finish(self) -> Result<(), ImportError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(ImportError::Long)
        }
    }

    /// So many bytes.
    ///
    /// # Errors
    ///
    /// [`ImportError::Short`], as of all that follow.
    pub fn bytes(&mut self, len: usize) -> Result<&'b [u8], ImportError> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(ImportError::Short)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ImportError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(ImportError::Short)?;
        self.rest = rest;
        Ok(*array)
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, ImportError> {
        self.array().map(|[byte]| byte)
    }

    /// A byte that has one of some values, `what` it says.
    pub fn code<T: Copy>(&mut self, values: &[T], what: &'static str) -> Result<T, ImportError> {
        let code = usize::from(self.byte()?);
        values.get(code).copied().ok_or(ImportError::Field(what))
    }

    /// A number of 16 bits.
    pub fn half(&mut self) -> Result<u16, ImportError> {
        self.array().map(u16::from_le_bytes)
    }

    /// A number of 32 bits.
    pub fn word(&mut self) -> Result<u32, ImportError> {
        self.array().map(u32::from_le_bytes)
    }

    /// A number of 64 bits.
    pub fn long(&mut self) -> Result<u64, ImportError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A number that is small as a rule.
    ///
    /// # Errors
    ///
    /// Also where it is no number of 64 bits, or not spelled as [`Writer::number`] does.
    pub fn number(&mut self) -> Result<u64, ImportError> {
        let mut value = 0u64;
        for turn in 0..NUMBER_MAX {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            let shift = turn.wrapping_mul(7);
            let shifted = bits.wrapping_shl(shift);
            if shifted.wrapping_shr(shift) != bits || (byte == 0 && turn > 0) {
                break;
            }
            value |= shifted;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ImportError::Field("a number"))
    }

    /// The same where it has to fit into less than 64 bits; `what` it says.
    pub fn small<T: TryFrom<u64>>(&mut self, what: &'static str) -> Result<T, ImportError> {
        T::try_from(self.number()?).map_err(|_| ImportError::Field(what))
    }

    /// A sequence number near another one.
    pub fn near(&mut self, other: u32) -> Result<u32, ImportError> {
        let number: u32 = self.small("a distance")?;
        let distance = number.wrapping_shr(1) ^ 0u32.wrapping_sub(number & 1);
        Ok(other.wrapping_add(distance))
    }

    /// An end of a connection.
    pub fn endpoint(&mut self) -> Result<Endpoint, ImportError> {
        let address = match self.byte()? {
            IPV4 => {
                let [a, b, c, d] = self.array()?;
                [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
            }
            IPV6 => {
                let address = self.array()?;
                if is_ipv4(&address) {
                    return Err(ImportError::Field("an IPv4 address in 16 bytes"));
                }
                address
            }
            _ => return Err(ImportError::Field("a family of addresses")),
        };
        let port = self.half()?;
        Ok(Endpoint { address, port })
    }
}

/// The place of a value among those that [`Reader::code`] reads.
pub(crate) fn code_of<T: PartialEq>(values: &[T], value: &T) -> u8 {
    let place = values.iter().position(|known| known == value);
    place
        .and_then(|place| u8::try_from(place).ok())
        .unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut bytes = [0; 64];
        let mut writer = Writer::new(&mut bytes);
        write(&mut writer);
        let len = writer.finish().unwrap();
        bytes[..len].to_vec()
    }

    #[test]
    fn numbers_have_one_spelling() {
        for (value, bytes) in [
            (0, &[0][..]),
            (127, &[127]),
            (128, &[0x80, 1]),
            (300, &[0xac, 2]),
            (
                u64::MAX,
                &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            ),
        ] {
            assert_eq!(written(|writer| writer.number(value)), bytes);
            assert_eq!(Reader::new(bytes).number(), Ok(value));
        }
        for bad in [
            &[0x80, 0][..],
            &[0x80, 0x80, 0],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
            &[0xff; 11],
        ] {
            assert_eq!(
                Reader::new(bad).number(),
                Err(ImportError::Field("a number"))
            );
        }
        assert_eq!(Reader::new(&[0x80]).number(), Err(ImportError::Short));
        assert_eq!(
            Reader::new(&[0x80, 2]).small::<u8>("this"),
            Err(ImportError::Field("this"))
        );
    }

    #[test]
    fn what_has_no_room_is_not_written() {
        let mut bytes = [0; 3];
        let mut writer = Writer::new(&mut bytes);
        writer.half(0x0201);
        writer.word(9);
        assert_eq!(writer.finish(), None);
        assert_eq!(bytes, [1, 2, 0]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            number in any::<u64>(), shift in 0u32..64, other in any::<u32>(), value in any::<u32>(),
            address in any::<[u8; 16]>(), ipv4 in any::<bool>(), port in any::<u16>(),
        ) {
            let number = number >> shift;
            let mut endpoint = Endpoint { address, port };
            if ipv4 {
                endpoint.address[..12].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
            }
            let bytes = written(|writer| {
                writer.number(number);
                writer.near(other, value);
                writer.endpoint(&endpoint);
            });
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.number(), Ok(number));
            prop_assert_eq!(reader.near(other), Ok(value));
            prop_assert_eq!(reader.endpoint(), Ok(endpoint));
            prop_assert_eq!(reader.finish(), Ok(()));
        }

        #[test]
        fn what_is_near_is_short(other in any::<u32>(), distance in -64i32..64) {
            let value = other.wrapping_add_signed(distance);
            prop_assert_eq!(written(|writer| writer.near(other, value)).len(), 1);
        }
    }
}
