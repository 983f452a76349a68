// SPDX-License-Identifier: MIT
//! Routes.

use l7switch_admin_api::RouteStatus;
use l7switch_admin_api::Routes;
use l7switch_admin_api::Times;

use super::below;
use super::cells;
use super::printable;
use super::table_with;
use crate::watch::Before;

/// Routes, a line each; what a route takes stands below it. After `before`, rates and times are those since.
pub(crate) fn routes(routes: &Routes, before: Option<&Before<Routes>>) -> String {
    let requests = match before {
        Some(_) => "REQ/S",
        None => "REQUESTS",
    };
    let heading = [
        "SERVICE", "ROUTE", "ACTION", requests, "KERNEL", "2xx", "3xx", "4xx", "5xx", "P50", "P99",
    ];
    let mut rows = vec![(cells(heading), String::new())];
    for route in &routes.routes {
        let was = before.and_then(|before| {
            let mut all = before.was.routes.iter();
            all.find(|was| was.service == route.service && was.route == route.route)
        });
        let kernel = |route: &RouteStatus| route.kernel.as_ref().map(|kernel| kernel.requests);
        let (shown, of_kernel) = match (before, was) {
            (Some(before), Some(was)) => {
                let of_kernel = kernel(route).zip(kernel(was));
                (
                    before.rate(route.requests, was.requests),
                    of_kernel.map(|(now, was)| before.rate(now, was)),
                )
            }
            (Some(_), None) => ("-".to_owned(), None),
            (None, _) => (
                route.requests.to_string(),
                kernel(route).map(|n| n.to_string()),
            ),
        };
        let class = |name: &str| {
            let kernel = route.kernel.as_ref();
            let kernel = kernel.and_then(|kernel| kernel.responses.get(name));
            let front = route.responses.get(name).copied().unwrap_or(0);
            front
                .saturating_add(kernel.copied().unwrap_or(0))
                .to_string()
        };
        let times = match (
            &route.first_byte,
            was.and_then(|was| was.first_byte.as_ref()),
        ) {
            (Some(now), Some(was)) => Some(now.since(was)),
            (now, _) => now.clone(),
        };
        let times = times.unwrap_or_default();
        let row = vec![
            printable(&route.service),
            printable(&route.route),
            printable(&route.action),
            shown,
            of_kernel.unwrap_or_else(|| "-".to_owned()),
            class("2xx"),
            class("3xx"),
            class("4xx"),
            class("5xx"),
            time(&times, times.p50_ms),
            time(&times, times.p99_ms),
        ];
        rows.push((row, below(&printable(&route.matches.join("; ")))));
    }
    table_with(&rows)
}

/// A quantile with its unit.
fn time(times: &Times, ms: Option<f64>) -> String {
    match ms {
        Some(ms) if times.count > 0 && ms < 10.0 => format!("{ms:.2} ms"),
        Some(ms) if times.count > 0 => format!("{ms:.0} ms"),
        _ => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use l7switch_admin_api::KernelRoute;

    use super::*;

    #[test]
    fn both_data_paths_and_rates_are_shown() {
        let mut classes = vec![0; 26];
        classes[11] = 4;
        let of = |requests: u64| RouteStatus {
            service: "web".to_owned(),
            route: "api".to_owned(),
            matches: vec!["host a\u{1b}".to_owned(), "path prefix /api".to_owned()],
            action: "pool p".to_owned(),
            requests,
            responses: [("2xx".to_owned(), requests)].into(),
            first_byte: Some(Times::of(classes.clone())),
            duration: None,
            kernel: Some(KernelRoute {
                requests: 100 * requests,
                responses: [("2xx".to_owned(), 100 * requests)].into(),
            }),
        };
        let all = |route: RouteStatus| Routes {
            routes: vec![route],
            left_out: 0,
        };
        let text = routes(&all(of(4)), None);
        let lines: Vec<&str> = text.lines().collect();
        let words: Vec<&str> = lines[1].split_whitespace().collect();
        let expected = [
            "web", "api", "pool", "p", "4", "400", "404", "0", "0", "0", "1.57", "ms", "2.09", "ms",
        ];
        assert_eq!(words, expected, "{text}");
        assert_eq!(lines[2], "    host a\\u{1b}; path prefix /api");
        let before = Before {
            was: all(of(4)),
            seconds: 2.0,
        };
        let text = routes(&all(of(7)), Some(&before));
        let words: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        let expected = [
            "web", "api", "pool", "p", "1.5", "150.0", "707", "0", "0", "0", "-", "-",
        ];
        assert_eq!(words, expected, "{text}");
    }
}
