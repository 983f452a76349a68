// SPDX-License-Identifier: MIT
//! Examples, made as the switch makes its answers.

use std::collections::BTreeMap;

use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::written;
use crate::Allowed;
use crate::Event;
use crate::Events;
use crate::Explained;
use crate::Failure;
use crate::Health;
use crate::KernelNumbers;
use crate::KernelState;
use crate::KernelStatus;
use crate::LastCheck;
use crate::Level;
use crate::Maintenance;
use crate::Operation;
use crate::Question;
use crate::Reloaded;
use crate::Role;
use crate::RouteStatus;
use crate::Routes;
use crate::RulesInForce;
use crate::ServerChange;
use crate::ServerState;
use crate::ServerStatus;
use crate::Servers;
use crate::ServiceChange;
use crate::ServiceStatus;
use crate::Status;
use crate::Times;
use crate::WantedState;

/// A time in the examples, Unix time in seconds.
const THEN: u64 = 1_767_225_600;

/// Bodies of requests, by name.
pub(super) fn sent(operation: Operation) -> Value {
    let of_server = || {
        vec![
            (
                "drain",
                written(&ServerChange {
                    state: Some(WantedState::Drain),
                    weight: None,
                }),
            ),
            (
                "weight",
                written(&ServerChange {
                    state: Some(WantedState::Up),
                    weight: Some(Some(5)),
                }),
            ),
            (
                "weightOfTheRuleFile",
                written(&ServerChange {
                    state: None,
                    weight: Some(None),
                }),
            ),
        ]
    };
    let close = |maintenance| written(&ServiceChange { maintenance });
    let examples = match operation {
        Operation::ChangeServer | Operation::ChangeServerInAll => of_server(),
        Operation::ChangeService => vec![
            ("close", close(Some(Some(Maintenance::Closed(true))))),
            (
                "closeToMost",
                close(Some(Some(Maintenance::Except {
                    except: vec!["192.0.2.0/24".to_owned(), "2001:db8::1".to_owned()],
                }))),
            ),
            ("asTheRuleFileSays", close(Some(None))),
        ],
        Operation::Explain => vec![(
            "url",
            written(&Question {
                url: "http://www.example.com/img/a.png".to_owned(),
                headers: vec![("Cookie".to_owned(), "canary=1".to_owned())],
                source: Some([192, 0, 2, 7].into()),
                ..Question::default()
            }),
        )],
        _ => Vec::new(),
    };
    let examples = examples.into_iter();
    let named = examples.map(|(name, value)| (name.to_owned(), json!({ "value": value })));
    Value::Object(named.collect::<Map<_, _>>())
}

/// A good answer.
pub(super) fn answered(operation: Operation) -> Option<Value> {
    let responses = || BTreeMap::from([("2xx".to_owned(), 531), ("5xx".to_owned(), 1)]);
    let service = || ServiceStatus {
        protocol: "http".to_owned(),
        listen: vec![([192, 0, 2, 1], 80).into()],
        connections: 17,
        requests: 532,
        responses: responses(),
        ..ServiceStatus::default()
    };
    let kernel = || KernelStatus {
        state: KernelState::Absent,
        ..KernelStatus::default()
    };
    Some(match operation {
        Operation::Status => written(&Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: 4711,
            uptime: 3600.5,
            generation: 2,
            rules: Some("/etc/l7switch/rules.toml".into()),
            reloads: 1,
            services: BTreeMap::from([("web".to_owned(), service())]),
            kernel: kernel(),
            ..Status::default()
        }),
        Operation::Servers | Operation::ChangeServer | Operation::ChangeServerInAll => {
            written(&Servers {
                servers: vec![server()],
            })
        }
        Operation::Routes => written(&Routes {
            routes: vec![RouteStatus {
                service: "web".to_owned(),
                route: "api".to_owned(),
                matches: vec!["path prefix /api".to_owned()],
                action: "pool api".to_owned(),
                requests: 532,
                responses: responses(),
                ..RouteStatus::default()
            }],
            left_out: 0,
        }),
        Operation::Events => written(&Events {
            events: vec![Event {
                number: 1,
                first: THEN,
                last: THEN,
                count: 1,
                kind: "server_down".to_owned(),
                level: Level::Warning,
                pool: Some("api".to_owned()),
                server: Some("10.0.0.1:80".to_owned()),
                text: "connection refused".to_owned(),
            }],
            lost: 0,
        }),
        Operation::Kernel => written(&KernelNumbers {
            status: kernel(),
            counted: None,
        }),
        Operation::Rules => written(&RulesInForce {
            generation: 2,
            rules: Some("/etc/l7switch/rules.toml".into()),
            model: json!({}),
        }),
        Operation::Role => written(&Allowed {
            role: Role::Operate,
            operable: true,
        }),
        Operation::ChangeService => written(&ServiceStatus {
            maintenance: Some(Maintenance::Closed(true)),
            maintenance_told: true,
            ..service()
        }),
        Operation::Explain => written(&Explained {
            generation: 2,
            explanation: json!({}),
            text: "route    api\n".to_owned(),
            servers: vec![server()],
        }),
        Operation::Reload => written(&Reloaded {
            generation: 3,
            warnings: Vec::new(),
        }),
        Operation::Description | Operation::Metrics | Operation::TakeOver => return None,
    })
}

fn server() -> ServerStatus {
    ServerStatus {
        pool: "api".to_owned(),
        address: "10.0.0.1:80".to_owned(),
        name: Some("app.internal".to_owned()),
        weight: 2,
        effective_weight: 0,
        backup: false,
        state: ServerState::Draining,
        since: THEN,
        why: Some("by an administrator".to_owned()),
        back: None,
        health: Some(Health::Up),
        last_check: Some(LastCheck {
            at: THEN,
            took_ms: 0.6,
            error: None,
        }),
        active: 1,
        total: 532,
        failures: 1,
        responses: BTreeMap::from([("2xx".to_owned(), 531), ("5xx".to_owned(), 1)]),
        surplus: 0,
        idle: 4,
        ewma_ms: 0.81,
        first_byte: Some(Times::default()),
    }
}

/// An answer that tells what is wrong.
pub(super) fn failure(operation: Operation, status: &u16) -> Option<Value> {
    let failure = |error: &str, known: &[&str]| {
        let known = known.iter().map(|name| (*name).to_owned()).collect();
        Some(written(&Failure {
            error: error.to_owned(),
            known,
            diagnostics: Vec::new(),
        }))
    };
    match (operation, status) {
        (Operation::ChangeServer, 404) => failure(
            "there is no server `10.0.0.9:80` in pool `api`",
            &["10.0.0.1:80", "10.0.0.2:80"],
        ),
        (Operation::ChangeServerInAll, 404) => failure(
            "there is no server `10.0.0.9:80`",
            &["10.0.0.1:80", "10.0.0.2:80"],
        ),
        (Operation::ChangeServer | Operation::ChangeServerInAll, 400) => {
            failure("weight 70000 is over 65535", &[])
        }
        (Operation::ChangeService | Operation::Explain, 404) => {
            failure("there is no service `wep`", &["web"])
        }
        (Operation::Routes, 400) => failure("`most` is a number, not `many`", &[]),
        _ => None,
    }
}
