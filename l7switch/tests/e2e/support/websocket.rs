// SPDX-License-Identifier: MIT
//! An open WebSocket that says short texts and gets them back.

use std::net::SocketAddr;

use super::raw::Raw;

/// The client's side (RFC 6455).
#[derive(Debug)]
pub(crate) struct WebSocket {
    raw: Raw,
    said: u64,
}

impl WebSocket {
    #[track_caller]
    pub(crate) fn open(address: SocketAddr) -> Self {
        let mut raw = Raw::connect(address).unwrap();
        raw.send(
            "GET /websocket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .unwrap();
        let response = raw.response().unwrap().unwrap();
        assert_eq!(response.status, 101, "{response:?}");
        let accept = response.field("sec-websocket-accept");
        assert_eq!(
            accept,
            Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            "RFC 6455, 1.3"
        );
        Self { raw, said: 0 }
    }

    /// Says a text, and fails the test where it does not come back.
    #[track_caller]
    pub(crate) fn say(&mut self) {
        self.said += 1;
        let text = format!("message {}", self.said);
        let length = u8::try_from(text.len()).unwrap();
        // The mask is zero, which is one like all others (5.3).
        let mut frame = vec![0x81, 0x80 | length, 0, 0, 0, 0];
        frame.extend(text.as_bytes());
        self.raw.send(frame).unwrap();
        let head = self.raw.exactly(2).unwrap();
        assert_eq!(head, [0x81, length]);
        assert_eq!(self.raw.exactly(text.len()).unwrap(), text.as_bytes());
    }

    /// Closes it in order.
    #[track_caller]
    pub(crate) fn close(mut self) {
        self.raw.send([0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8]).unwrap();
        assert_eq!(self.raw.exactly(4).unwrap(), [0x88, 2, 0x03, 0xe8]);
        assert_eq!(self.raw.rest().unwrap(), b"");
    }
}
