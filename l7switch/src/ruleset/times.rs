// SPDX-License-Identifier: MIT
//! How long responses take, in the text formats of Prometheus and OpenMetrics.

use l7switch_netlink::Histogram as KernelHistogram;

use super::generation::Generation;
use crate::observe::exposition::Format;
use crate::observe::exposition::Text;
use crate::observe::histogram::Counts;
use crate::observe::histogram::Times;

/// The data path whose times they are.
const DATAPATH: &str = "datapath";

/// Stands for all routes or servers that have no histogram of their own. No name has a `#`.
const OTHER: &str = "#other";

/// The histograms of all responses, of the front and, where it says so, of the kernel; and of the front those by route and by server.
pub fn render(
    generation: &Generation,
    front: &Counts,
    kernel: Option<&KernelHistogram>,
    format: Format,
) -> String {
    let mut out = Text::new(format);
    all(&mut out, front, kernel);
    let by_route: [(&str, &str, Of); 2] = [
        (
            "route_first_byte_seconds",
            "Time from a request's head to its response's head, by route.",
            first_byte,
        ),
        (
            "route_duration_seconds",
            "Time from a request's head to its response's end, by route.",
            duration,
        ),
    ];
    for (name, help, of) in by_route {
        out.family(name, "histogram", help);
        routes(&mut out, name, generation, of);
    }
    let by_server: [(&str, &str, Of); 2] = [
        (
            "server_first_byte_seconds",
            "Time from a request that a real server gets to its response's head.",
            first_byte,
        ),
        (
            "server_duration_seconds",
            "Time from a request that a real server gets to its response's end.",
            duration,
        ),
    ];
    for (name, help, of) in by_server {
        out.family(name, "histogram", help);
        servers(&mut out, name, generation, of);
    }
    out.into_string()
}

/// All responses, by data path.
fn all(out: &mut Text, front: &Counts, kernel: Option<&KernelHistogram>) {
    let name = "first_byte_seconds";
    let help = "Time from a request's head to its response's head.";
    out.family(name, "histogram", help);
    let labels = [(DATAPATH, "front")];
    out.histogram(name, &labels, front.classes(), front.sum_ns);
    if let Some(kernel) = kernel {
        let classes = kernel.classes.iter().map(|of| (of.below, of.count));
        out.histogram(name, &[(DATAPATH, "kernel")], classes, kernel.sum);
    }
}

type Of = fn(&Times) -> Counts;

fn first_byte(times: &Times) -> Counts {
    times.first_byte.counts()
}

fn duration(times: &Times) -> Counts {
    times.duration.counts()
}

fn routes(out: &mut Text, name: &str, generation: &Generation, of: Of) {
    let services = generation.rules.model.services.iter();
    for (model, service) in services.zip(&generation.services) {
        let own = service.routes.iter();
        let own = own.filter_map(|route| Some((route.label.as_str(), route.stats.times.own()?)));
        for (route, times) in own.chain([(OTHER, service.stats.route_times.other())]) {
            let labels = [
                (DATAPATH, "front"),
                ("service", model.name.as_str()),
                ("route", route),
            ];
            sample(out, name, &labels, &of(times));
        }
    }
}

fn servers(out: &mut Text, name: &str, generation: &Generation, of: Of) {
    for pool in &generation.pools {
        let own = pool.servers();
        let own =
            own.filter_map(|server| Some((server.address().to_string(), server.times.own()?)));
        for (server, times) in own.chain([(OTHER.to_owned(), pool.other_times())]) {
            let labels = [
                (DATAPATH, "front"),
                ("pool", pool.config().name.as_str()),
                ("server", server.as_str()),
            ];
            sample(out, name, &labels, &of(times));
        }
    }
}

/// Of those without a time, nothing.
fn sample(out: &mut Text, name: &str, labels: &[(&str, &str)], counts: &Counts) {
    if counts.count() > 0 {
        out.histogram(name, labels, counts.classes(), counts.sum_ns);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use l7switch_netlink::Class;

    use super::*;
    use crate::observe::histogram::Histogram;

    #[test]
    fn both_data_paths_are_under_one_name() {
        let front = Histogram::default();
        front.observe(Duration::from_nanos(1500));
        let class = |below, count| Class { below, count };
        let kernel = KernelHistogram {
            classes: vec![class(Some(1024), 2), class(None, 3)],
            sum: 7_000_000_001,
        };
        let mut out = Text::new(Format::Prometheus);
        all(&mut out, &front.counts(), Some(&kernel));
        let text = out.into_string();
        for line in [
            "l7switch_first_byte_seconds_bucket{datapath=\"front\",le=\"0.000001024\"} 0",
            "l7switch_first_byte_seconds_bucket{datapath=\"front\",le=\"0.000002048\"} 1",
            "l7switch_first_byte_seconds_bucket{datapath=\"front\",le=\"+Inf\"} 1",
            "l7switch_first_byte_seconds_sum{datapath=\"front\"} 0.000001500",
            "l7switch_first_byte_seconds_count{datapath=\"front\"} 1",
            "l7switch_first_byte_seconds_bucket{datapath=\"kernel\",le=\"0.000001024\"} 2",
            "l7switch_first_byte_seconds_bucket{datapath=\"kernel\",le=\"+Inf\"} 5",
            "l7switch_first_byte_seconds_sum{datapath=\"kernel\"} 7.000000001",
            "l7switch_first_byte_seconds_count{datapath=\"kernel\"} 5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert_eq!(text.matches("# TYPE").count(), 1);
    }
}
