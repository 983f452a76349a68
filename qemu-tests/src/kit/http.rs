// SPDX-License-Identifier: MIT
//! HTTP/1 as tests speak it by hand.

use std::io::Read;

/// Reads a head, up to the empty line behind it and no farther.
///
/// # Panics
///
/// Where the stream ends before, or the head is no UTF-8.
pub fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream
            .read_exact(&mut byte)
            .expect("there is more of the head");
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("a head in UTF-8")
}
