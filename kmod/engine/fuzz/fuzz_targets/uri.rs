// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The comparison form of a path or host is one: it has none but itself, no segment that leads up, and is no longer than what
//! was sent. The first byte is what the service allows.
#![no_main]

use l7switch_engine::uri;
use l7switch_engine::uri::Allow;
use l7switch_engine::uri::MAX_HOST;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&allow, text)) = data.split_first() else {
        return;
    };
    let allow = Allow::from_bits(u32::from(allow));
    let (mut once, mut twice) = (vec![0; text.len()], vec![0; text.len() + 1]);
    if let Ok(path) = uri::normalise(text, allow, &mut once) {
        assert!(path.len() <= text.len().max(1));
        let again = uri::normalise(path, allow, &mut twice).expect("a form has a form");
        assert_eq!(again, path, "of {text:?}");
        assert!(!path
            .split(|&b| b == b'/')
            .any(|segment| segment == b".." || segment == b"."));
    }
    let (mut once, mut twice) = ([0; MAX_HOST], [0; MAX_HOST]);
    if let Ok(host) = uri::host(text, &mut once) {
        assert!(host.len() <= text.len());
        // Of two dots at the end one is taken off: what is left is no name.
        if !host.is_empty() && !host.ends_with(b".") {
            assert_eq!(uri::host(host, &mut twice), Ok(host), "of {text:?}");
        }
        assert!(!host.iter().any(u8::is_ascii_uppercase));
    }
    if let Ok((host, port)) = uri::split_port(text) {
        assert!(text.starts_with(host));
        assert_eq!(
            port.is_none(),
            host.len() == text.len() || text.ends_with(b":")
        );
    }
});
