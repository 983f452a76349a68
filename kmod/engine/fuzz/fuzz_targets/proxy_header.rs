// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A PROXY header is read the same however it is cut: until it is whole, more is waited for, and what comes behind it changes
//! nothing.
#![no_main]

use l7switch_engine::proxy_header::parse;
use l7switch_engine::proxy_header::HEADER_MAX;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let whole = parse(data);
    match whole {
        Ok(Some(header)) => {
            assert!(header.len <= data.len() && header.len <= HEADER_MAX);
            assert_eq!(parse(&data[..header.len]), whole);
            for end in 0..header.len {
                assert_eq!(parse(&data[..end]), Ok(None), "{end}");
            }
        }
        // What waits for more has not been refused before.
        Ok(None) => assert!((0..data.len()).all(|end| parse(&data[..end]) == Ok(None))),
        Err(_) => assert!((0..data.len()).all(|end| !matches!(parse(&data[..end]), Ok(Some(_))))),
    }
});
