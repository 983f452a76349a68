// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The rules of the simulation.

use std::sync::OnceLock;

use l7switch_engine::table::Table;

const RULES: &str = r#"
[service.a-http]
listen = "10.0.0.1:80"
[[service.a-http.route]]
path = { prefix = "/p0/" }
pool = "p0"
[[service.a-http.route]]
path = { prefix = "/p1/" }
pool = "p1"
[[service.a-http.route]]
path = { prefix = "/p2/" }
pool = "p2"

[service.b-also]
listen = "10.0.0.1:8080"
[[service.b-also.route]]
path = { prefix = "/p0/" }
pool = "p0"
[[service.b-also.route]]
path = { prefix = "/p1/" }
pool = "p1"
[[service.b-also.route]]
path = { prefix = "/p2/" }
pool = "p2"

[service.c-tls]
listen = "10.0.0.1:443"
protocol = "tls"
[[service.c-tls.route]]
host = "p0.test"
pool = "p0"
[[service.c-tls.route]]
host = "p1.test"
pool = "p1"
[[service.c-tls.route]]
host = "p2.test"
pool = "p2"

[service.d-eager]
listen = "10.0.0.1:25"
protocol = "tcp"
[[service.d-eager.route]]
pool = "p0"

[pool.p0]
servers = ["10.2.0.1:80"]
[pool.p1]
servers = ["10.2.0.2:80"]
[pool.p2]
servers = ["10.2.0.3:80"]
"#;

pub(super) fn table() -> &'static Table<Vec<u8>> {
    static TABLE: OnceLock<Table<Vec<u8>>> = OnceLock::new();
    TABLE.get_or_init(|| match l7switch_rules::load_text("sim", RULES) {
        Ok(rules) => rules.table,
        Err(report) => panic!("the simulation's rules: {report:?}"),
    })
}
