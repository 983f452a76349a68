// SPDX-License-Identifier: MIT
//! What the kernel module has counted, in the text formats of Prometheus and OpenMetrics.

use crate::kernel::Numbers;
use crate::observe::exposition::Format;
use crate::observe::exposition::Text;
use crate::observe::stats::CLASSES;

/// Everything that the module says.
pub(crate) fn render(numbers: &Numbers, format: Format) -> String {
    let mut out = Text::new(format);
    out.family(
        "kernel_flows",
        "gauge",
        "Connections in the module's table.",
    );
    out.sample("kernel_flows", &[], numbers.module.flows);
    let name = "kernel_state_flows";
    out.family(name, "gauge", "Connections in the module's table by state.");
    for flows in &numbers.module.flow_counts {
        out.sample(name, &[("state", flows.state.name())], flows.count);
    }
    out.family(
        "kernel_events_total",
        "counter",
        "Counters of the module by name (docs/datapath.md).",
    );
    for counter in &numbers.module.counters {
        let labels = [("event", counter.name.as_str())];
        out.sample("kernel_events_total", &labels, counter.value);
    }
    services(&mut out, numbers);
    routes(&mut out, numbers);
    servers(&mut out, numbers);
    out.into_string()
}

fn services(out: &mut Text, numbers: &Numbers) {
    let families = [
        ("kernel_connections_total", "Connections by service."),
        ("kernel_requests_total", "Forwarded requests by service."),
        (
            "kernel_received_bytes_total",
            "Bytes of packets from clients, by service.",
        ),
        (
            "kernel_sent_bytes_total",
            "Bytes of packets to clients, by service.",
        ),
    ];
    for (index, (name, help)) in families.into_iter().enumerate() {
        out.family(name, "counter", help);
        for service in &numbers.services {
            let traffic = &service.traffic;
            let values = [
                traffic.connections,
                traffic.requests,
                traffic.bytes,
                traffic.bytes_out,
            ];
            let value = values.get(index).copied().unwrap_or_default();
            out.sample(name, &[("service", &service.name)], value);
        }
    }
    let name = "kernel_responses_total";
    out.family(name, "counter", "Responses by service and class.");
    for service in &numbers.services {
        for (class, count) in CLASSES.into_iter().zip(service.traffic.responses) {
            let labels = [("service", service.name.as_str()), ("class", class)];
            out.sample(name, &labels, count);
        }
    }
}

/// Those that a request has come to: there may be very many, and each is six samples.
fn routes(out: &mut Text, numbers: &Numbers) {
    let used = || numbers.routes.iter().filter(|route| route.requests > 0);
    let name = "kernel_route_requests_total";
    let help = "Forwarded requests by route; routes without requests are left out.";
    out.family(name, "counter", help);
    for route in used() {
        let label = route.label();
        let labels = [("service", route.service.as_str()), ("route", &label)];
        out.sample(name, &labels, route.requests);
    }
    let name = "kernel_route_responses_total";
    out.family(name, "counter", "Responses by route and class.");
    for route in used() {
        let label = route.label();
        for (class, count) in CLASSES.into_iter().zip(route.responses) {
            let labels = [
                ("service", route.service.as_str()),
                ("route", &label),
                ("class", class),
            ];
            out.sample(name, &labels, count);
        }
    }
}

fn servers(out: &mut Text, numbers: &Numbers) {
    let families = [
        (
            "kernel_server_requests_total",
            "counter",
            "Requests by real server.",
        ),
        (
            "kernel_server_failures_total",
            "counter",
            "Connections that a real server refused or did not answer.",
        ),
        (
            "kernel_server_active",
            "gauge",
            "Outstanding requests by real server.",
        ),
        (
            "kernel_server_failing",
            "gauge",
            "1: left out for a while after failed connections.",
        ),
    ];
    for (index, (name, kind, help)) in families.into_iter().enumerate() {
        out.family(name, kind, help);
        for server in &numbers.servers {
            let values = [
                server.requests,
                server.failures,
                u64::from(server.active),
                u64::from(server.failing),
            ];
            let value = values.get(index).copied().unwrap_or_default();
            let address = server.address.to_string();
            out.sample(name, &[("pool", &server.pool), ("server", &address)], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use l7switch_engine::netlink::Action;
    use l7switch_engine::netlink::FlowState;
    use l7switch_netlink::Class;
    use l7switch_netlink::Counter;
    use l7switch_netlink::FlowCount;
    use l7switch_netlink::Histogram;
    use l7switch_netlink::Module;
    use l7switch_netlink::Route;

    use super::*;

    fn route(position: u32, name: Option<&str>, requests: u64) -> Route {
        Route {
            service: "web".to_owned(),
            position,
            name: name.map(str::to_owned),
            action: Action::Forward,
            requests,
            responses: [0, requests.saturating_sub(1), 0, requests.min(1), 0],
        }
    }

    #[test]
    fn used_routes_and_all_counters_are_shown() {
        let class = |below, count| Class { below, count };
        let numbers = Numbers {
            module: Module {
                version: "1".to_owned(),
                table_layout: 1,
                generation: 1,
                table_len: None,
                services: 0,
                routes: 0,
                pools: 0,
                servers: 0,
                loading: None,
                max_table_len: 1,
                max_chunk_len: 1,
                flows: 3,
                max_flows: 9,
                counters: vec![Counter {
                    name: "requests".to_owned(),
                    value: 5,
                }],
                first_byte: Histogram {
                    classes: vec![class(Some(1024), 2), class(None, 3)],
                    sum: 7_000_000_001,
                },
                flow_counts: vec![
                    FlowCount {
                        state: FlowState::Opening,
                        count: 0,
                    },
                    FlowCount {
                        state: FlowState::Reading,
                        count: 3,
                    },
                ],
            },
            services: Vec::new(),
            routes: vec![
                route(0, Some("a\"b"), 7),
                route(1, None, 1),
                route(2, Some("idle"), 0),
            ],
            servers: Vec::new(),
        };
        let text = render(&numbers, Format::Prometheus);
        assert!(!text.contains("idle"), "no request has come to it");
        for line in [
            "l7switch_kernel_flows 3",
            "l7switch_kernel_state_flows{state=\"opening\"} 0",
            "l7switch_kernel_state_flows{state=\"reading\"} 3",
            "l7switch_kernel_route_requests_total{service=\"web\",route=\"a\\\"b\"} 7",
            "l7switch_kernel_route_requests_total{service=\"web\",route=\"#2\"} 1",
            "l7switch_kernel_route_responses_total{service=\"web\",route=\"#2\",class=\"1xx\"} 0",
            "l7switch_kernel_route_responses_total{service=\"web\",route=\"#2\",class=\"4xx\"} 1",
            "l7switch_kernel_events_total{event=\"requests\"} 5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
