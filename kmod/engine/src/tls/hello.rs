// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The ClientHello, read as it arrives.

use super::cursor::Cursor;
use super::cursor::RECORD_HEADER;
use super::name::ServerName;
use super::HelloError;

/// Longest ClientHello that is read, in bytes, without the four of its handshake header.
pub const MESSAGE_MAX: usize = 64 * 1024;

/// Most extensions that are read. Clients send about twenty.
pub const EXTENSIONS_MAX: usize = 64;

/// Longest list of ALPN protocols that is read, in bytes, with one byte of length for each. Clients
/// send about a dozen.
pub const ALPN_MAX: usize = 256;

/// Longest record content, in bytes.
const RECORD_MAX: usize = 1 << 14;
/// Bytes of a handshake header: type, length.
const MESSAGE_HEADER: usize = 4;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
const ALPN: u16 = 16;

/// Reader of one ClientHello: a few words of plain data, which may be copied and kept while bytes are
/// awaited.
#[derive(Clone, Debug)]
pub struct ClientHelloParser {
    /// Offset of the header of the first record that was not whole yet.
    record: usize,
    /// Bytes of the message in the records before it.
    gathered: usize,
    failed: Option<HelloError>,
}

impl Default for ClientHelloParser {
    fn default() -> Self {
        Self::new()
    }
}

impl ClientHelloParser {
    /// A reader that has seen nothing.
    pub const fn new() -> Self {
        Self {
            record: 0,
            gathered: 0,
            failed: None,
        }
    }

    /// Reads on.
    ///
    /// `buf` has every byte received so far, from the first of the connection; whatever follows the
    /// ClientHello's last record in it is left alone. `None`: more bytes are needed. Headers of
    /// records that were whole in an earlier call are not read again; the message is gone through
    /// once, when its last byte is there.
    ///
    /// # Errors
    ///
    /// The rule that was broken; again by every later call. The same for every division of the same
    /// bytes.
    pub fn parse(&mut self, buf: &[u8]) -> Result<Option<ClientHello>, HelloError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = self.advance(buf);
        self.failed = result.as_ref().err().copied();
        result
    }

    fn advance(&mut self, buf: &[u8]) -> Result<Option<ClientHello>, HelloError> {
        loop {
            let rest = buf.get(self.record..).unwrap_or_default();
            let Some(length) = record_length(rest)? else {
                return Ok(None);
            };
            let content = rest.get(RECORD_HEADER..).unwrap_or_default();
            let gathered = self.gathered.saturating_add(content.len().min(length));
            let Some(wanted) = message_length(buf, gathered)? else {
                // Records so short that the header of the message spans several.
                if content.len() < length {
                    return Ok(None);
                }
                self.next_record(length);
                continue;
            };
            if self.gathered.saturating_add(length) > wanted {
                return Err(HelloError::TrailingData);
            }
            if content.len() < length {
                return Ok(None);
            }
            if gathered < wanted {
                self.next_record(length);
                continue;
            }
            let end = self
                .record
                .saturating_add(RECORD_HEADER)
                .saturating_add(length);
            let hello = ClientHello::read(buf.get(..end).unwrap_or_default(), wanted)?;
            return Ok(Some(hello));
        }
    }

    fn next_record(&mut self, length: usize) {
        self.gathered = self.gathered.saturating_add(length);
        self.record = self
            .record
            .saturating_add(RECORD_HEADER)
            .saturating_add(length);
    }
}

/// Checks as much of a record header as there is and gives the length of the content.
fn record_length(record: &[u8]) -> Result<Option<usize>, HelloError> {
    if record.first().is_some_and(|&kind| kind != HANDSHAKE) {
        return Err(HelloError::NotHandshake);
    }
    // RFC 5246, E.1: clients have sent every minor version here, and it says nothing.
    if record.get(1).is_some_and(|&major| major != 3) {
        return Err(HelloError::RecordVersion);
    }
    let Some(&[.., high, low]) = record.first_chunk::<RECORD_HEADER>() else {
        return Ok(None);
    };
    match usize::from(u16::from_be_bytes([high, low])) {
        0 => Err(HelloError::EmptyRecord),
        length if length > RECORD_MAX => Err(HelloError::RecordTooLong),
        length => Ok(Some(length)),
    }
}

/// Checks as much of the handshake header as there is, and gives the length of the message with its
/// header. `gathered`: bytes of the message in `buf`.
fn message_length(buf: &[u8], gathered: usize) -> Result<Option<usize>, HelloError> {
    let mut message = Cursor::new(buf, gathered.min(MESSAGE_HEADER));
    if message.is_empty() {
        return Ok(None);
    }
    if message.u8()? != CLIENT_HELLO {
        return Err(HelloError::NotClientHello);
    }
    if message.left() < MESSAGE_HEADER.wrapping_sub(1) {
        return Ok(None);
    }
    let [high, middle, low] = [message.u8()?, message.u8()?, message.u8()?];
    let length = u32::from_be_bytes([0, high, middle, low]);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MESSAGE_MAX {
        return Err(HelloError::MessageTooLong);
    }
    Ok(Some(length.wrapping_add(MESSAGE_HEADER)))
}

/// What a switch asks of a ClientHello, copied out of it: in the bytes received it may be torn apart
/// by record headers.
///
/// With Encrypted Client Hello this is the outer one, which names the server that can decrypt the
/// inner one.
#[derive(Clone, Debug)]
pub struct ClientHello {
    length: usize,
    record_version: u16,
    client_version: u16,
    server_name: Option<ServerName>,
    alpn: [u8; ALPN_MAX],
    alpn_length: usize,
}

impl ClientHello {
    /// `records` ends with the record in which the message ends; `length` is the message's.
    fn read(records: &[u8], length: usize) -> Result<Self, HelloError> {
        let mut message = Cursor::new(records, length);
        message.pass(MESSAGE_HEADER)?;
        let client_version = message.u16()?;
        if client_version <= 0x0300 {
            return Err(HelloError::ClientVersion);
        }
        // The random.
        message.pass(32)?;
        if message.vector8()?.left() > 32 {
            return Err(HelloError::SessionId);
        }
        let suites = message.vector16()?.left();
        if suites == 0 || suites & 1 != 0 {
            return Err(HelloError::CipherSuites);
        }
        if !message.vector8()?.any(|method| method == 0) {
            return Err(HelloError::Compression);
        }
        let mut hello = Self {
            length: records.len(),
            record_version: match records {
                [_, major, minor, ..] => u16::from_be_bytes([*major, *minor]),
                _ => 0,
            },
            client_version,
            server_name: None,
            alpn: [0; ALPN_MAX],
            alpn_length: 0,
        };
        // Before TLS 1.3 a client need not send extensions.
        if !message.is_empty() {
            let extensions = message.vector16()?;
            message.end()?;
            hello.extensions(extensions)?;
        }
        Ok(hello)
    }

    fn extensions(&mut self, mut list: Cursor<'_>) -> Result<(), HelloError> {
        let mut seen = [0_u16; EXTENSIONS_MAX];
        let mut count: usize = 0;
        while !list.is_empty() {
            let kind = list.u16()?;
            let data = list.vector16()?;
            if seen.get(..count).unwrap_or_default().contains(&kind) {
                return Err(HelloError::DuplicateExtension);
            }
            *seen.get_mut(count).ok_or(HelloError::TooManyExtensions)? = kind;
            count = count.wrapping_add(1);
            match kind {
                SERVER_NAME => self.read_server_name(data)?,
                ALPN => self.read_alpn(data)?,
                _ => (),
            }
        }
        Ok(())
    }

    /// RFC 6066, 3.
    fn read_server_name(&mut self, mut data: Cursor<'_>) -> Result<(), HelloError> {
        let mut list = data.vector16()?;
        data.end()?;
        if list.is_empty() {
            return Err(HelloError::ServerNameList);
        }
        while !list.is_empty() {
            // No other type was ever defined, so what follows another number is not known.
            if list.u8()? != HOST_NAME {
                return Err(HelloError::ServerNameList);
            }
            let name = ServerName::read(list.vector16()?)?;
            if self.server_name.replace(name).is_some() {
                return Err(HelloError::RepeatedServerName);
            }
        }
        Ok(())
    }

    /// RFC 7301, 3.1.
    fn read_alpn(&mut self, mut data: Cursor<'_>) -> Result<(), HelloError> {
        let list = data.vector16()?;
        data.end()?;
        if list.is_empty() {
            return Err(HelloError::Alpn);
        }
        let mut protocols = list.clone();
        while !protocols.is_empty() {
            if protocols.vector8()?.is_empty() {
                return Err(HelloError::Alpn);
            }
        }
        if list.left() > ALPN_MAX {
            return Err(HelloError::AlpnTooLong);
        }
        self.alpn_length = list.left();
        for (place, byte) in self.alpn.iter_mut().zip(list) {
            *place = byte;
        }
        Ok(())
    }

    /// Bytes from the first of the connection to the end of the record in which the message ends.
    #[expect(clippy::len_without_is_empty, reason = "no message is empty")]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Version in the first record's header, `0x0301` for TLS 1.0. It says nothing about what the
    /// client speaks.
    pub const fn record_version(&self) -> u16 {
        self.record_version
    }

    /// `legacy_version`: the newest version that the client speaks up to TLS 1.2, `0x0303`, which
    /// newer clients send too.
    pub const fn client_version(&self) -> u16 {
        self.client_version
    }

    /// Server name in lower case without a trailing dot, if the client sent one.
    pub fn server_name(&self) -> Option<&[u8]> {
        self.server_name.as_ref().map(ServerName::as_bytes)
    }

    /// Protocols that the client offers, most wanted first; none if it sent no ALPN extension.
    pub fn alpn(&self) -> AlpnIter<'_> {
        AlpnIter {
            rest: self.alpn.get(..self.alpn_length).unwrap_or_default(),
        }
    }
}

/// Iterator over the protocols that a [`ClientHello`] offers.
#[derive(Clone, Debug)]
pub struct AlpnIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for AlpnIter<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (&length, rest) = self.rest.split_first()?;
        let (protocol, rest) = rest.split_at_checked(usize::from(length))?;
        self.rest = rest;
        Some(protocol)
    }
}
