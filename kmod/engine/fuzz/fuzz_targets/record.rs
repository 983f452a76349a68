// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A connection's record is refused, or read as it stands: what is read is written as the same bytes.
#![no_main]

use l7switch_engine::environment::Imported;
use l7switch_engine::environment::RECORD_MAX;
use l7switch_engine::flow::Flow;
use l7switch_engine::record::Reader;
use l7switch_engine::record::Writer;
use libfuzzer_sys::fuzz_target;

/// Ns, more than any age.
const NOW: u64 = 1 << 62;

fuzz_target!(|data: &[u8]| {
    if Imported::read(data, NOW).is_err() {
        return;
    }
    let Ok(flow) = Flow::import(NOW, &mut Reader::new(&data[1..])) else {
        panic!("a connection without a flow");
    };
    let mut bytes = [0; RECORD_MAX];
    let mut writer = Writer::new(&mut bytes);
    flow.export(NOW, &mut writer);
    let Some(len) = writer.finish() else {
        panic!("a flow's record is longer than a connection's may be");
    };
    assert_eq!(bytes[..len], data[1..=len]);
    assert_eq!(flow.broken(), None);
});
