// SPDX-License-Identifier: MIT
//! The table against the plain reading of the rules: random rules, random requests, the same answer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::net::IpAddr;
use std::net::Ipv4Addr;

use l7switch_engine::table::Table;
use l7switch_rules::automata::Cache;
use l7switch_rules::compile::compile;
use l7switch_rules::evaluate::Ask;
use l7switch_rules::evaluate::Fields;
use l7switch_rules::evaluate::evaluate_all;
use l7switch_rules::model::*;
use proptest::prelude::*;
use proptest::sample::select;

fn hosts() -> impl Strategy<Value = Vec<HostMatch>> {
    let name = select(vec!["a.b", "x.a.b", "b", "c", "y.x.a.b", "a.c"]);
    let host = (proptest::bool::ANY, name).prop_map(|(wildcard, name)| {
        if wildcard {
            HostMatch::Wildcard(name.into())
        } else {
            HostMatch::Exact(name.into())
        }
    });
    proptest::collection::vec(host, 0..3)
}

fn host_regexes() -> impl Strategy<Value = Vec<String>> {
    let pattern = select(vec!["^a", "b$", "^x\\.", "", "^(x|y)\\..*b$"]).prop_map(String::from);
    prop_oneof![3 => Just(Vec::new()), 1 => proptest::collection::vec(pattern, 1..3)]
}

fn paths() -> impl Strategy<Value = Vec<PathMatch>> {
    let path = prop_oneof![
        select(vec!["/", "/a", "/a/", "/a/b", "/a/b/c", "//", "/b"])
            .prop_map(|p| PathMatch::Exact(p.into())),
        select(vec!["", "/a", "/a/b", "/b", "/a/b/c"]).prop_map(|p| PathMatch::Prefix(p.into())),
        select(vec!["^/a", "b$", "a.*b", "[bc]", "^/a/b/?$", "", "x|y"])
            .prop_map(|p| PathMatch::Regex(p.into())),
    ];
    proptest::collection::vec(path, 0..3)
}

fn fields() -> impl Strategy<Value = Vec<FieldMatch>> {
    let value = prop_oneof![
        proptest::bool::ANY.prop_map(ValueMatch::Present),
        select(vec!["1", "2", ""]).prop_map(|v| ValueMatch::None(vec![ValueTest::Exact(v.into())])),
        select(vec!["^1", "2$"]).prop_map(|v| ValueMatch::None(vec![
            ValueTest::Regex(v.into()),
            ValueTest::Exact("3".into())
        ])),
        select(vec!["1", "2", "1, 2", ""])
            .prop_map(|v| ValueMatch::Any(vec![ValueTest::Exact(v.into())])),
        select(vec!["^1", "2$", "1.*2"]).prop_map(|v| ValueMatch::Any(vec![
            ValueTest::Regex(v.into()),
            ValueTest::Exact("3".into()),
        ])),
    ];
    proptest::collection::btree_map(select(vec!["m", "n"]), value, 0..2).prop_map(|map| {
        map.into_iter()
            .map(|(name, value)| FieldMatch {
                name: name.into(),
                value,
            })
            .collect()
    })
}

fn route() -> impl Strategy<Value = Route> {
    let methods = proptest::collection::vec(select(vec!["GET", "POST", "PURGE"]), 0..2);
    let sources = proptest::collection::vec(
        select(vec![
            "10.0.0.0/8",
            "10.1.0.0/16",
            "0.0.0.0/0",
            "::/0",
            "2001:db8::/32",
            "10.1.2.3/32",
        ]),
        0..3,
    );
    let not_sources = proptest::collection::vec(
        select(vec![
            "10.1.0.0/16",
            "10.1.2.3/32",
            "2001:db8::/32",
            "0.0.0.0/0",
        ]),
        0..2,
    );
    (
        prop_oneof![4 => Just(0), 1 => -1..2i32],
        (hosts(), host_regexes()),
        paths(),
        methods,
        fields(),
        fields(),
        fields(),
        (sources, not_sources),
    )
        .prop_map(
            |(
                priority,
                (hosts, host_regexes),
                paths,
                methods,
                headers,
                query,
                cookies,
                (sources, not_sources),
            )| {
                Route {
                    name: None,
                    priority,
                    // Names and expressions are not given together.
                    host_regexes: if hosts.is_empty() {
                        host_regexes
                    } else {
                        Vec::new()
                    },
                    hosts,
                    paths,
                    methods: methods.into_iter().map(String::from).collect(),
                    headers,
                    query,
                    cookies,
                    sources: sources.into_iter().map(|s| s.parse().unwrap()).collect(),
                    not_sources: not_sources
                        .into_iter()
                        .map(|s| s.parse().unwrap())
                        .collect(),
                    strict: false,
                    rate_limit: None,
                    body_limit: None,
                    error_pages: Vec::new(),
                    cors: None,
                    basic_auth: None,
                    external_auth: None,
                    mirror: None,
                    sticky: None,
                    filters: Filters::default(),
                    action: Action::Respond(Respond {
                        status: 200,
                        body: Content::Text(String::new()),
                        content_type: String::new(),
                    }),
                }
            },
        )
}

fn model(services: Vec<Vec<Route>>) -> Model {
    let services = services.into_iter().enumerate().map(|(n, routes)| Service {
        name: format!("s{n}"),
        listen: Vec::new(),
        protocol: Protocol::Http,
        datapath: Datapath::Auto,
        allow: AllowPath::default(),
        certificates: Vec::new(),
        tls: ServiceTls::default(),
        limits: Limits::default(),
        trusted: Vec::new(),
        accept_proxy: Vec::new(),
        via: false,
        maintenance: Maintenance::Off,
        error_pages: Vec::new(),
        routes,
    });
    Model {
        services: services.collect(),
        pools: Vec::new(),
        acme: None,
    }
}

fn ask() -> impl Strategy<Value = Ask> {
    let header = (
        select(vec!["M", "n", "Cookie", "x"]),
        select(vec!["1", "2", "3", "m=1", "n=2; m=3", " m = 1;n=", "12"]),
    );
    (
        select(vec!["GET", "POST", "PURGE", "HEAD"]),
        select(vec![
            "",
            "a.b",
            "x.a.b",
            "b",
            "c",
            "z.y.x.a.b",
            "a.c",
            ".a.b",
            "d",
        ]),
        select(vec![
            "/", "/a", "/a/", "/a/b", "/a/b/", "/a/b/c", "/a/b/c/d", "//", "/ab", "/b/x", "*",
        ]),
        select(vec![
            "",
            "m=1",
            "n=2&m=1",
            "m=%31",
            "m&n=",
            "n=1%2c%202",
            "m=2&m=1",
        ]),
        proptest::collection::vec(header, 0..4),
        prop_oneof![
            select(vec![
                [10, 1, 2, 3],
                [10, 1, 9, 9],
                [10, 9, 9, 9],
                [192, 0, 2, 1]
            ])
            .prop_map(|v4| IpAddr::V4(Ipv4Addr::from(v4))),
            Just("2001:db8::1".parse().unwrap()),
            Just("::1".parse().unwrap()),
        ],
    )
        .prop_map(|(method, host, path, query, headers, source)| Ask {
            method: method.into(),
            host: host.into(),
            path: path.into(),
            query: query.into(),
            headers: Fields(
                headers
                    .into_iter()
                    .map(|(n, v)| (n.into(), v.trim().as_bytes().to_vec()))
                    .collect(),
            ),
            source,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_table_agrees_with_the_rules(
        services in proptest::collection::vec(proptest::collection::vec(route(), 0..12), 1..3),
        asks in proptest::collection::vec(ask(), 24),
    ) {
        let model = model(services);
        let table = Table::verify(compile(&model).unwrap()).unwrap();
        let mut cache = Cache::default();
        for ask in &asks {
            for (number, service) in (0u32..).zip(&model.services) {
                let winner = evaluate_all(service, ask, &mut cache)
                    .into_iter()
                    .find(|v| v.failed.is_empty())
                    .map(|v| u32::try_from(v.position).unwrap());
                prop_assert_eq!(table.route(number, &ask.as_request()), winner, "{:?}", ask);
            }
        }
    }

    #[test]
    fn damaged_tables_are_refused_or_harmless(
        routes in proptest::collection::vec(route(), 1..6),
        ask in ask(),
        damage in proptest::collection::vec((proptest::num::usize::ANY, proptest::num::u32::ANY), 1..4),
    ) {
        let good = compile(&model(vec![routes])).unwrap();
        let mut bad = good.clone();
        for (at, word) in damage {
            let at = at % (bad.len() / 4) * 4;
            let word = if word % 2 == 0 { word } else { word % 300 };
            bad[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        if let Ok(table) = Table::verify(bad) {
            let _ = table.route_within(0, &ask.as_request(), 100_000);
        }
        let cut = good.len() / 2 / 4 * 4;
        prop_assert!(Table::verify(&good[..cut]).is_err());
    }
}

/// Every word of a table set to values that are out of range almost everywhere: never a fault.
#[test]
fn every_word_damaged() {
    let text = include_str!("../examples/quickstart.toml");
    let rules = l7switch_rules::load_text("quickstart.toml", text).unwrap();
    let good = rules.table.as_bytes();
    let ask = Ask {
        method: "GET".into(),
        host: "api.example.com".into(),
        path: "/img/x".into(),
        query: String::new(),
        headers: Fields::default(),
        source: "192.0.2.1".parse().unwrap(),
    };
    let mut refused = 0;
    for at in (0..good.len()).step_by(4) {
        for word in [u32::MAX, 0x8000_0000, 0xffff, 1 << 20] {
            let mut bad = good.to_vec();
            bad[at..at + 4].copy_from_slice(&word.to_le_bytes());
            match Table::verify(bad) {
                Ok(table) => drop(table.route_within(0, &ask.as_request(), 10_000)),
                Err(_) => refused += 1,
            }
        }
    }
    assert!(
        refused > good.len() / 4,
        "most damage is noticed: {refused}"
    );
}

#[test]
fn steps_are_bounded() {
    let many: Vec<Route> = (0..1000)
        .map(|n| Route {
            name: None,
            priority: 0,
            hosts: Vec::new(),
            host_regexes: Vec::new(),
            paths: Vec::new(),
            methods: Vec::new(),
            headers: vec![FieldMatch {
                name: "x".into(),
                value: ValueMatch::Any(vec![ValueTest::Exact(n.to_string())]),
            }],
            query: Vec::new(),
            cookies: Vec::new(),
            sources: Vec::new(),
            not_sources: Vec::new(),
            strict: false,
            rate_limit: None,
            body_limit: None,
            error_pages: Vec::new(),
            cors: None,
            basic_auth: None,
            external_auth: None,
            mirror: None,
            sticky: None,
            filters: Filters::default(),
            action: Action::Forward(Vec::new()),
        })
        .collect();
    let table = Table::verify(compile(&model(vec![many])).unwrap()).unwrap();
    let ask = Ask {
        method: "GET".into(),
        host: String::new(),
        path: "/".into(),
        query: String::new(),
        headers: Fields(vec![("X".into(), b"999".to_vec())]),
        source: "192.0.2.1".parse().unwrap(),
    };
    assert_eq!(table.route(0, &ask.as_request()), Some(999));
    assert!(table.route_within(0, &ask.as_request(), 100).is_err());
}
