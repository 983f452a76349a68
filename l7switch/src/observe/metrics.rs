// SPDX-License-Identifier: MIT
//! The counts in the text formats of Prometheus and OpenMetrics.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use l7switch_admin_api::KernelState;
use l7switch_admin_api::KernelStatus;
use l7switch_admin_api::OrderStatus;
use l7switch_admin_api::PoolStatus;
use l7switch_admin_api::ServerState;
use l7switch_admin_api::ServerStatus;
use l7switch_admin_api::ServiceStatus;
use l7switch_admin_api::Status;
use l7switch_engine::table::format;

use crate::observe::events::Events;
use crate::observe::exposition::Format;
use crate::observe::exposition::Text;
use crate::observe::stats::AdminApi;
use crate::observe::stats::MetricsListener;
use crate::ruleset::generation::Core;

/// Everything that [`Status`] and the servers' status say.
pub fn render(status: &Status, servers: &[ServerStatus], format: Format) -> String {
    let mut out = Text::new(format);
    let help = "What runs: its version, the layout version of its compiled tables, and the processor that it is built for.";
    out.family("build_info", "info", help);
    let layout = format::VERSION.to_string();
    let labels = [
        ("version", status.version.as_str()),
        ("table_layout", &layout),
        ("arch", std::env::consts::ARCH),
    ];
    out.sample("build_info", &labels, 1);
    out.family("uptime_seconds", "gauge", "Time since the start.");
    out.sample("uptime_seconds", &[], status.uptime);
    out.family("generation", "gauge", "Number of the rule set in force.");
    out.sample("generation", &[], status.generation);
    out.family("reloads_total", "counter", "Reloads by result.");
    out.sample("reloads_total", &[("result", "ok")], status.reloads);
    out.sample(
        "reloads_total",
        &[("result", "refused")],
        status.reload_failures,
    );
    out.family(
        "access_log_dropped_total",
        "counter",
        "Lost lines of the access log.",
    );
    out.sample("access_log_dropped_total", &[], status.access_log_dropped);
    take_overs(&mut out, status);
    pools(&mut out, status);
    names(&mut out, status);
    kernel(&mut out, &status.kernel);
    services(&mut out, status);
    certificates(&mut out, status);
    orders(&mut out, status);
    real_servers(&mut out, servers);
    out.into_string()
}

/// Client connections of all services, and those that were not accepted at once.
pub fn connections(core: &Core, accept_failures: u64, format: Format) -> String {
    let mut out = Text::new(format);
    let name = "client_connections";
    out.family(name, "gauge", "Client connections of all services.");
    out.sample(name, &[], core.room.open());
    let name = "client_connections_max";
    let help = "Most client connections: each may need two descriptors of process_max_fds.";
    out.family(name, "gauge", help);
    match core.most_connections {
        usize::MAX => out.sample(name, &[], "+Inf"),
        most => out.sample(name, &[], most),
    }
    let name = "client_connections_full_total";
    let help = "How often a listener found that many open, and accepted no more.";
    out.family(name, "counter", help);
    out.sample(name, &[], core.rooms_full.load(Relaxed));
    let name = "accept_failures_total";
    let help = "Attempts to accept a connection that failed for want of descriptors or memory.";
    out.family(name, "counter", help);
    out.sample(name, &[], accept_failures);
    out.into_string()
}

/// Who was refused by the metrics listener and the admin API, and what was changed at the former.
pub fn listener(listener: &MetricsListener, admin_api: &AdminApi, format: Format) -> String {
    let mut out = Text::new(format);
    let name = "metrics_refused_total";
    let help = "Requests that may not have what they ask for, and failed TLS handshakes, at the metrics listener.";
    out.family(name, "counter", help);
    let reasons = [
        ("token", &listener.token),
        ("role", &listener.role),
        ("peer", &listener.peer),
        ("tls", &listener.tls),
        ("connections", &listener.connections),
    ];
    for (reason, count) in reasons {
        out.sample(name, &[("reason", reason)], count.load(Relaxed));
    }
    let name = "admin_refused_total";
    let help = "Requests that may not have what they ask for, and failed TLS handshakes, at the admin API.";
    out.family(name, "counter", help);
    let reasons = [
        ("role", &admin_api.role),
        ("take_over", &admin_api.take_over),
        ("tls", &admin_api.tls),
        ("connections", &admin_api.connections),
    ];
    for (reason, count) in reasons {
        out.sample(name, &[("reason", reason)], count.load(Relaxed));
    }
    let name = "metrics_changes_total";
    let help = "Changes of servers at the metrics listener by result.";
    out.family(name, "counter", help);
    let results = [
        ("ok", &listener.changes),
        ("failed", &listener.changes_failed),
    ];
    for (result, count) in results {
        out.sample(name, &[("result", result)], count.load(Relaxed));
    }
    out.into_string()
}

/// What has happened.
pub fn events(events: &Events, format: Format) -> String {
    let mut out = Text::new(format);
    let help = "What has happened that an operator wants to know, by kind.";
    out.family("events_total", "counter", help);
    for (kind, count) in events.counts() {
        out.sample("events_total", &[("kind", kind.as_str())], count);
    }
    let help = "Events that were forgotten for newer ones.";
    out.family("events_lost_total", "counter", help);
    out.sample("events_lost_total", &[], events.lost());
    out.into_string()
}

/// Who has taken the place of the front, and what has become of the state file.
fn take_overs(out: &mut Text, status: &Status) {
    let of = &status.take_overs;
    let help = "Successors of the front by result, over all processes that had its place.";
    out.family("take_overs_total", "counter", help);
    let results = [
        ("ok", of.taken),
        ("failed", of.failed),
        ("refused", of.refused),
    ];
    for (result, count) in results {
        out.sample("take_overs_total", &[("result", result)], count);
    }
    if let Some(file) = &status.state_file {
        let help = "Writes of the state file by result.";
        out.family("state_file_writes_total", "counter", help);
        for (result, count) in [("ok", file.writes), ("failed", file.failures)] {
            out.sample("state_file_writes_total", &[("result", result)], count);
        }
    }
}

/// Who waits for servers, and who was sent to another one.
fn pools(out: &mut Text, status: &Status) {
    type Value = fn(&PoolStatus) -> u64;
    let families: [(&str, &str, &str, Value); 3] = [
        (
            "pool_queue_length",
            "gauge",
            "Requests or connections that wait for a server.",
            |pool| pool.queued,
        ),
        (
            "pool_retries_total",
            "counter",
            "Requests sent to another server.",
            |pool| pool.retries,
        ),
        (
            "pool_retries_refused_total",
            "counter",
            "Requests not sent to another server, for want of budget.",
            |pool| pool.retries_refused,
        ),
    ];
    for (name, kind, help, value) in families {
        out.family(name, kind, help);
        for (pool, status) in &status.pools {
            out.sample(name, &[("pool", pool)], whole(value(status)));
        }
    }
}

/// Names of servers, where the rules have any.
fn names(out: &mut Text, status: &Status) {
    if status.names.is_empty() {
        return;
    }
    out.family("name_addresses", "gauge", "Known addresses of a name.");
    for (name, of) in &status.names {
        out.sample("name_addresses", &[("name", name)], of.addresses);
    }
    let help = "Look-ups of a name by result.";
    out.family("name_resolutions_total", "counter", help);
    for (name, of) in &status.names {
        for (result, count) in [("ok", of.resolutions), ("failed", of.failures)] {
            let labels = [("name", name.as_str()), ("result", result)];
            out.sample("name_resolutions_total", &labels, count);
        }
    }
}

/// The kernel module, where it is to be used.
fn kernel(out: &mut Text, kernel: &KernelStatus) {
    if kernel.state == KernelState::Off {
        return;
    }
    out.family(
        "kernel_up",
        "gauge",
        "1: the kernel has the rules in force.",
    );
    let up = u8::from(kernel.state == KernelState::Loaded);
    out.sample("kernel_up", &[], up);
    if let Some(generation) = kernel.generation {
        out.family(
            "kernel_generation",
            "gauge",
            "The kernel's number of its table.",
        );
        out.sample("kernel_generation", &[], generation);
    }
    out.family(
        "kernel_table_loads_total",
        "counter",
        "Loads of a table into the kernel by result.",
    );
    for (result, count) in [
        ("ok", kernel.loads),
        ("refused", kernel.refusals),
        ("failed", kernel.failures),
    ] {
        out.sample("kernel_table_loads_total", &[("result", result)], count);
    }
    out.family(
        "kernel_server_changes_total",
        "counter",
        "Changes of real servers by direction.",
    );
    for (direction, count) in [
        ("to_kernel", kernel.changes_sent),
        ("from_kernel", kernel.changes_taken),
    ] {
        out.sample(
            "kernel_server_changes_total",
            &[("direction", direction)],
            count,
        );
    }
}

fn services(out: &mut Text, status: &Status) {
    type Value = fn(&ServiceStatus) -> u64;
    let plain: [(&str, &str, &str, Value); 6] = [
        (
            "connections_active",
            "gauge",
            "Client connections now.",
            |s| s.active,
        ),
        ("connections_total", "counter", "Client connections.", |s| {
            s.connections
        }),
        (
            "requests_total",
            "counter",
            "Requests; for tls and tcp, connections.",
            |s| s.requests,
        ),
        (
            "interim_dropped_total",
            "counter",
            "Interim responses beyond 100 of a request, which are not passed on.",
            |s| s.interim_dropped,
        ),
        (
            "received_bytes_total",
            "counter",
            "Content bytes from clients.",
            |s| s.bytes_in,
        ),
        (
            "sent_bytes_total",
            "counter",
            "Content bytes to clients.",
            |s| s.bytes_out,
        ),
    ];
    for (name, kind, help, value) in plain {
        out.family(name, kind, help);
        for (service, counts) in &status.services {
            out.sample(name, &[("service", service)], value(counts));
        }
    }
    type Keyed = for<'a> fn(&'a ServiceStatus) -> &'a BTreeMap<String, u64>;
    let keyed: [(&str, &str, &str, Keyed); 4] = [
        (
            "responses_total",
            "class",
            "Responses by class.",
            |s: &l7switch_admin_api::ServiceStatus| &s.responses,
        ),
        (
            "refused_total",
            "reason",
            "Refused or aborted requests and connections by reason.",
            |s| &s.refused,
        ),
        ("route_requests_total", "route", "Requests by route.", |s| {
            &s.routes
        }),
        (
            "mirrored_total",
            "outcome",
            "Copies of requests by what became of them.",
            |s| &s.mirrored,
        ),
    ];
    out.family(
        "maintenance",
        "gauge",
        "Whether a service is closed for maintenance.",
    );
    for (service, counts) in &status.services {
        let closed = u64::from(counts.maintenance.is_some());
        out.sample("maintenance", &[("service", service)], closed);
    }
    for (name, label, help, values) in keyed {
        out.family(name, "counter", help);
        for (service, counts) in &status.services {
            for (key, value) in values(counts) {
                out.sample(name, &[("service", service), (label, key)], value);
            }
        }
    }
}

/// When certificates expire: of those of a service with the same first name, the first one.
fn certificates(out: &mut Text, status: &Status) {
    let mut ends = BTreeMap::<(&str, &str), u64>::new();
    for (service, of) in &status.services {
        for certificate in &of.certificates {
            let Some(end) = certificate.not_after else {
                continue;
            };
            let known = ends.entry((service, &certificate.name)).or_insert(end);
            *known = end.min(*known);
        }
    }
    if ends.is_empty() {
        return;
    }
    let help = "When a certificate expires, in Unix time.";
    out.family("certificate_expiry_seconds", "gauge", help);
    for ((service, name), end) in ends {
        let labels = [("service", service), ("name", name)];
        out.sample("certificate_expiry_seconds", &labels, end);
    }
}

/// Certificates that are ordered, by their first names; one that several services show is one.
fn orders(out: &mut Text, status: &Status) {
    let services = status.services.values();
    let all = services.flat_map(|service| &service.certificates);
    let orders: BTreeMap<&str, &OrderStatus> = all
        .filter_map(|certificate| Some((certificate.name.as_str(), certificate.order.as_ref()?)))
        .collect();
    if orders.is_empty() {
        return;
    }
    let help = "Orders of a certificate by result.";
    out.family("certificate_orders_total", "counter", help);
    for (name, of) in &orders {
        for (result, count) in [("ok", of.orders), ("failed", of.failures)] {
            let labels = [("name", *name), ("result", result)];
            out.sample("certificate_orders_total", &labels, count);
        }
    }
    let help = "1: the last order of a certificate has failed.";
    out.family("certificate_order_failing", "gauge", help);
    for (name, of) in &orders {
        let failing = u8::from(of.error.is_some());
        out.sample("certificate_order_failing", &[("name", name)], failing);
    }
    let help = "When a certificate is ordered next, in Unix time.";
    out.family("certificate_next_order_seconds", "gauge", help);
    for (name, of) in &orders {
        out.sample("certificate_next_order_seconds", &[("name", name)], of.next);
    }
}

fn real_servers(out: &mut Text, servers: &[ServerStatus]) {
    type Value = fn(&ServerStatus) -> f64;
    let families: [(&str, &str, &str, Value); 7] = [
        ("server_up", "gauge", "1: the server gets requests.", |s| {
            f64::from(s.state == ServerState::Up)
        }),
        ("server_weight", "gauge", "Weight in force.", |s| {
            f64::from(s.effective_weight)
        }),
        (
            "server_active",
            "gauge",
            "Requests or connections now.",
            |s| whole(s.active),
        ),
        (
            "server_requests_total",
            "counter",
            "Requests or connections.",
            |s| whole(s.total),
        ),
        (
            "server_failures_total",
            "counter",
            "Failed requests or connections.",
            |s| whole(s.failures),
        ),
        (
            "server_surplus_total",
            "counter",
            "Connections on which the server sent bytes after its response.",
            |s| whole(s.surplus),
        ),
        (
            "server_first_byte_smoothed_seconds",
            "gauge",
            "Smoothed time to first byte.",
            |s| s.ewma_ms / 1000.0,
        ),
    ];
    for (name, kind, help, value) in families {
        out.family(name, kind, help);
        for server in servers {
            let labels = [
                ("pool", server.pool.as_str()),
                ("server", server.address.as_str()),
            ];
            out.sample(name, &labels, value(server));
        }
    }
    let name = "server_responses_total";
    out.family(name, "counter", "Responses of a real server by class.");
    for server in servers {
        for (class, count) in &server.responses {
            let labels = [
                ("pool", server.pool.as_str()),
                ("server", server.address.as_str()),
                ("class", class),
            ];
            out.sample(name, &labels, count);
        }
    }
}

/// A count as Prometheus keeps it: exact up to 2⁵³.
fn whole(count: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "Prometheus keeps no more")]
    let value = count as f64;
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_shown_where_it_is_to_be_used() {
        let mut status = Status::default();
        assert!(!render(&status, &[], Format::Prometheus).contains("l7switch_kernel"));
        status.kernel.state = KernelState::Absent;
        let absent = render(&status, &[], Format::Prometheus);
        assert!(absent.contains("l7switch_kernel_up 0\n"));
        assert!(!absent.contains("l7switch_kernel_generation"));
        status.kernel = KernelStatus {
            state: KernelState::Loaded,
            generation: Some(7),
            loads: 2,
            ..KernelStatus::default()
        };
        let loaded = render(&status, &[], Format::Prometheus);
        assert!(loaded.contains("l7switch_kernel_up 1\n"));
        assert!(loaded.contains("l7switch_kernel_generation 7\n"));
        assert!(loaded.contains("l7switch_kernel_table_loads_total{result=\"ok\"} 2\n"));
    }

    #[test]
    fn labels_are_escaped_and_families_typed() {
        let mut status = Status {
            generation: 3,
            ..Status::default()
        };
        let mut service = ServiceStatus {
            requests: 7,
            ..ServiceStatus::default()
        };
        service.routes.insert("a\"b\\".to_owned(), 2);
        status.services.insert("web".to_owned(), service);
        let text = render(&status, &[], Format::Prometheus);
        assert!(text.contains("# TYPE l7switch_requests_total counter\n"));
        assert!(text.contains("l7switch_requests_total{service=\"web\"} 7\n"));
        assert!(text.contains("l7switch_generation 3\n"));
        let route = "l7switch_route_requests_total{service=\"web\",route=\"a\\\"b\\\\\"} 2\n";
        assert!(text.contains(route));
    }
}
