// SPDX-License-Identifier: MIT
//! Any bytes are a table or are refused, and what is taken for a table answers without a fault.
//!
//! An input's first byte chooses: the rest is a table itself, or edits (offset and value of a word) of a good one.
#![no_main]

use std::sync::LazyLock;

use l7switch_engine::decide::decide;
use l7switch_engine::form::Buffers;
use l7switch_engine::policy::Key;
use l7switch_engine::table::Request;
use l7switch_engine::table::Table;
use l7switch_engine::table::format::PoolRecord;
use libfuzzer_sys::fuzz_target;

/// Tables of the examples.
static GOOD: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let texts = [
        include_str!("../../examples/quickstart.toml"),
        include_str!("../../examples/canary.toml"),
        include_str!("../../examples/api-versions.toml"),
        include_str!("../../examples/path-split.toml"),
        include_str!("../../examples/static-content.toml"),
        include_str!("../../examples/virtual-hosting.toml"),
    ];
    texts
        .into_iter()
        .filter_map(|t| l7switch_rules::load_text("example", t).ok())
        .map(|rules| rules.table.as_bytes().to_vec())
        .collect()
});

fn ask(table: &Table<&[u8]>) {
    let fields: &[(&[u8], &[u8])] = &[
        (b"Accept", b"application/vnd.example.v3+json"),
        (b"X-Canary", b"always"),
        (b"X-Canary", b"never"),
        (b"Cookie", b"canary=1; x"),
    ];
    let hosts: [&[u8]; 4] = [
        b"",
        b"www.example.com",
        b"a.b.users.example.org",
        b"api.example.com",
    ];
    let paths: [&[u8]; 4] = [b"/", b"/api/orders/export/x", b"/v2.1/a.png", b"*"];
    for service in 0..3 {
        for (host, path) in hosts
            .into_iter()
            .flat_map(|h| paths.into_iter().map(move |p| (h, p)))
        {
            let request = Request {
                host,
                method: b"OPTIONS",
                path,
                query: b"debug=1&q",
                source: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 20, 30, 40],
                fields,
            };
            let _ = table.route_within(service, &request, 10_000);
        }
        decide_all(table, service);
    }
}

/// The first bytes of a connection, as the module decides about them, and the keys of every pool.
fn decide_all(table: &Table<&[u8]>, service: u32) {
    const FIRST: [&[u8]; 3] = [
        b"GET /v2.1/%61?debug=1 HTTP/1.1\r\nHost: api.example.com\r\nX: 1\r\nx: 2\r\nCookie: canary=1\r\n\r\n",
        b"OPTIONS * HTTP/1.0\r\n\r\n",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03",
    ];
    let source = [7; 16];
    for bytes in FIRST {
        let (mut host, mut path) = ([0; 255], [0; 256]);
        let buffers = Buffers {
            host: &mut host,
            path: &mut path,
        };
        let decision = decide(table, service, source, bytes, buffers);
        for index in 0..table.count::<PoolRecord>().min(64) {
            if let Some(pool) = table.get::<PoolRecord>(index) {
                // A verified pool has a key.
                let key = Key::of(table, &pool).map(|key| key.hash(&decision.request(source)));
                assert!(key.is_some());
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&choice, rest)) = data.split_first() else {
        return;
    };
    let good = GOOD.get(usize::from(choice));
    let Some(good) = good else {
        if let Ok(table) = Table::verify(rest) {
            ask(&table);
        }
        return;
    };
    let mut edited = good.clone();
    for edit in rest.chunks_exact(6) {
        let (at, value) = edit.split_at(2);
        let words = edited.len() / 4;
        let at = usize::from(u16::from_le_bytes([at[0], at[1]])) % words * 4;
        edited[at..at + 4].copy_from_slice(value);
    }
    if let Ok(table) = Table::verify(edited.as_slice()) {
        ask(&table);
    }
});
