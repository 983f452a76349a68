// SPDX-License-Identifier: MIT
//! What may be read: the same documents at the admin socket and at the metrics listener.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use http::StatusCode;
use l7switch_admin_api::KernelCounted;
use l7switch_admin_api::KernelNumbers;
use l7switch_admin_api::KernelRoute;
use l7switch_admin_api::KernelServer;
use l7switch_admin_api::KernelService;
use l7switch_admin_api::Maintenance;
use l7switch_admin_api::Operation;
use l7switch_admin_api::RouteStatus;
use l7switch_admin_api::Routes;
use l7switch_admin_api::ServerStatus;
use l7switch_admin_api::Servers;
use l7switch_admin_api::ServiceStatus;
use l7switch_admin_api::Status;
use l7switch_admin_api::Times;
use l7switch_rules::short;

use super::Answer;
use super::Problem;
use super::answer;
use super::change::percent_decoded;
use super::json;
use crate::accept::listen;
use crate::handover::state::told_of;
use crate::kernel::Numbers;
use crate::kernel::metrics as kernel_metrics;
use crate::kernel::numbers;
use crate::net::shown::Shown;
use crate::observe::exposition::Format;
use crate::observe::metrics;
use crate::observe::process::Process;
use crate::observe::stats::by_class;
use crate::ruleset::counted;
use crate::ruleset::times;
use crate::switch::Switch;

/// A service that is not closed for maintenance.
const OPEN: Maintenance = Maintenance::Closed(false);

/// The description, as it is served.
static DESCRIPTION: LazyLock<Bytes> = LazyLock::new(|| {
    let mut text = format!("{:#}", l7switch_admin_api::description());
    text.push('\n');
    text.into()
});

/// A document ([`Operation::is_document`]), and the query of its target.
///
/// # Errors
///
/// The query makes no sense.
pub(crate) async fn document(
    switch: &Switch,
    operation: Operation,
    query: Option<&str>,
) -> Result<Answer, Problem> {
    let ok = StatusCode::OK;
    Ok(match operation {
        Operation::Status => json(ok, &status(switch)),
        Operation::Servers => {
            let servers = servers(switch);
            json(ok, &Servers { servers })
        }
        Operation::Routes => json(ok, &routes(switch, most(query)?).await),
        Operation::Events => json(ok, &switch.core().events.status()),
        Operation::Kernel => json(ok, &kernel(switch).await),
        Operation::Description => answer(ok, "application/json", DESCRIPTION.clone()),
        _ => {
            return Err(Problem::new(
                StatusCode::NOT_FOUND,
                "there is no such document",
            ));
        }
    })
}

/// How many routes are asked for: `most=N`, or all. What else a query has is not looked at.
///
/// # Errors
///
/// It is not a number, or is there twice.
fn most(query: Option<&str>) -> Result<usize, Problem> {
    let bad = |why: String| Problem::new(StatusCode::BAD_REQUEST, why);
    let fields = query.unwrap_or_default().split('&');
    let mut asked = fields.filter_map(|field| {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        (percent_decoded(name) == "most").then(|| percent_decoded(value))
    });
    let Some(most) = asked.next() else {
        return Ok(usize::MAX);
    };
    if asked.next().is_some() {
        return Err(bad("`most` is there twice".to_owned()));
    }
    let is_number = !most.is_empty() && most.bytes().all(|digit| digit.is_ascii_digit());
    let number = is_number.then(|| most.parse::<u64>().ok()).flatten();
    let number = number.ok_or_else(|| {
        bad(format!(
            "`most` is a number from 0 to {}, not `{most}`",
            u64::MAX
        ))
    })?;
    Ok(usize::try_from(number).unwrap_or(usize::MAX))
}

/// All metrics.
pub async fn metrics(switch: &Switch, format: Format) -> String {
    let status = status(switch);
    let numbers = numbers(status.kernel.state).await;
    let mut text = metrics::render(&status, &servers(switch), format);
    let first_byte = numbers.as_ref().map(|numbers| &numbers.module.first_byte);
    let front = switch.core().first_byte();
    let generation = switch.generation();
    text += &counted::route_responses(&generation, format);
    text += &times::render(&generation, &front, first_byte, format);
    text += &metrics::events(&switch.core().events, format);
    text += &metrics::connections(switch.core(), listen::failures(), format);
    text += &metrics::listener(
        &switch.core().metrics_listener,
        &switch.core().admin_api,
        format,
    );
    if let Some(spans) = &switch.core().spans {
        text += &spans.counts().render(format);
    }
    if let Some(process) = Process::read().await {
        text += &process.render(format);
    }
    if let Some(numbers) = &numbers {
        text += &kernel_metrics::render(numbers, format);
    }
    text + format.end()
}

/// What `GET /v1/status` answers.
pub fn status(switch: &Switch) -> Status {
    let core = switch.core();
    let generation = switch.generation();
    let reloads = switch.reload_status();
    let mut bound = switch.bound();
    let told = switch.told();
    let services = generation
        .rules
        .model
        .services
        .iter()
        .zip(&generation.services)
        .map(|(model, service)| {
            let stats = &service.stats;
            let counts = ServiceStatus {
                protocol: model.protocol.as_str().to_owned(),
                listen: bound.remove(&model.name).unwrap_or_default(),
                active: u64::try_from(stats.room.open()).unwrap_or(u64::MAX),
                connections: stats.connections.load(Relaxed),
                requests: stats.requests.load(Relaxed),
                interim_dropped: stats.interim_dropped.load(Relaxed),
                bytes_in: stats.bytes_in.load(Relaxed),
                bytes_out: stats.bytes_out.load(Relaxed),
                responses: by_class(stats.responses.counts()),
                refused: stats
                    .refusals()
                    .map(|(r, n)| (r.as_str().to_owned(), n))
                    .collect(),
                routes: service
                    .routes
                    .iter()
                    .map(|route| (route.label.clone(), route.stats.requests.load(Relaxed)))
                    .collect(),
                mirrored: stats
                    .mirrored
                    .outcomes()
                    .map(|(word, n)| (word.to_owned(), n))
                    .collect(),
                first_byte: stats.first_byte.counts().status(),
                maintenance: Some(told_of(&model.maintenance)).filter(|told| *told != OPEN),
                maintenance_told: told.has_told(&model.name),
                certificates: service
                    .tls
                    .iter()
                    .flat_map(|tls| tls.shown.iter().map(Shown::status))
                    .collect(),
            };
            (model.name.clone(), counts)
        });
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uptime: core.started.elapsed().as_secs_f64(),
        generation: generation.number,
        rules: switch.rules_path().map(Path::to_owned),
        reloads: reloads.succeeded,
        reload_failures: reloads.refused,
        last_error: reloads.last_error,
        draining: core.shutdown.is_draining(),
        access_log_dropped: core.log.dropped(),
        services: services.collect(),
        pools: generation
            .pools
            .iter()
            .map(|pool| (pool.config().name.clone(), pool.status()))
            .collect(),
        names: switch.names(),
        kernel: switch.kernel_status(),
        take_overs: switch.place().counts(),
        state_file: switch.state_file().status(),
    }
}

/// Every real server of the rules in force, in the order of the rule file.
pub fn servers(switch: &Switch) -> Vec<ServerStatus> {
    let generation = switch.generation();
    generation
        .pools
        .iter()
        .flat_map(|pool| pool.servers())
        .map(|server| server.status())
        .collect()
}

/// What `GET /v1/routes` answers: at most so many routes, those with the most requests.
pub async fn routes(switch: &Switch, most: usize) -> Routes {
    let generation = switch.generation();
    let numbers = numbers(switch.kernel_status().state).await;
    let of_kernel = numbers.iter().flat_map(|numbers| &numbers.routes);
    let of_kernel: BTreeMap<(&str, usize), KernelRoute> = of_kernel
        .filter_map(|route| {
            let position = usize::try_from(route.position).ok()?;
            let counted = KernelRoute {
                requests: route.requests,
                responses: by_class(route.responses),
            };
            Some(((route.service.as_str(), position), counted))
        })
        .collect();
    let model = &generation.rules.model;
    let services = model.services.iter().zip(&generation.services);
    let mut all: Vec<_> = services
        .flat_map(|(service, has)| {
            let routes = service.routes.iter().zip(&has.routes).enumerate();
            routes.map(move |(position, (rules, route))| {
                let front = route.stats.requests.load(Relaxed);
                (service, position, rules, route, front)
            })
        })
        .collect();
    let left_out = all.len().saturating_sub(most);
    if left_out > 0 {
        // Which is which stays as it is in the rule file.
        let mut counts: Vec<(u64, usize)> = all
            .iter()
            .enumerate()
            .map(|(number, (service, position, _, _, front))| {
                let counted = of_kernel.get(&(service.name.as_str(), *position));
                let kernel = counted.map_or(0, |counted| counted.requests);
                (front.saturating_add(kernel), number)
            })
            .collect();
        counts.sort_by_key(|(count, number)| (Reverse(*count), *number));
        let mut keep = vec![false; all.len()];
        for (_, number) in counts.into_iter().take(most) {
            if let Some(keep) = keep.get_mut(number) {
                *keep = true;
            }
        }
        let mut keep = keep.into_iter();
        all.retain(|_| keep.next().unwrap_or_default());
    }
    let routes = all
        .into_iter()
        .map(|(service, position, rules, route, requests)| {
            let own = route.stats.times.own();
            let counted = of_kernel.get(&(service.name.as_str(), position));
            RouteStatus {
                service: service.name.clone(),
                route: route.label.clone(),
                matches: short::conditions(rules),
                action: short::action(rules, model),
                requests,
                responses: by_class(route.stats.responses.counts()),
                first_byte: own.map(|own| own.first_byte.counts().status()),
                duration: own.map(|own| own.duration.counts().status()),
                kernel: counted.cloned(),
            }
        });
    Routes {
        routes: routes.collect(),
        left_out: u64::try_from(left_out).unwrap_or(u64::MAX),
    }
}

/// What `GET /v1/kernel` answers.
pub async fn kernel(switch: &Switch) -> KernelNumbers {
    let status = switch.kernel_status();
    let numbers = numbers(status.state).await;
    KernelNumbers {
        counted: numbers.as_ref().map(counted),
        status,
    }
}

fn counted(numbers: &Numbers) -> KernelCounted {
    let module = &numbers.module;
    let states = module.flow_counts.iter();
    let classes = module.first_byte.classes.iter();
    let services = numbers.services.iter().map(|service| {
        let traffic = &service.traffic;
        let counted = KernelService {
            connections: traffic.connections,
            requests: traffic.requests,
            bytes_in: traffic.bytes,
            bytes_out: traffic.bytes_out,
            responses: by_class(traffic.responses),
        };
        (service.name.clone(), counted)
    });
    let servers = numbers.servers.iter().map(|server| KernelServer {
        pool: server.pool.clone(),
        address: server.address.to_string(),
        active: server.active.into(),
        requests: server.requests,
        failures: server.failures,
        failing: server.failing,
    });
    KernelCounted {
        flows: module.flows.into(),
        max_flows: module.max_flows.into(),
        flow_states: states
            .map(|flows| (flows.state.name().to_owned(), flows.count.into()))
            .collect(),
        first_byte: Times::of(classes.map(|class| class.count).collect()),
        services: services.collect(),
        servers: servers.collect(),
    }
}

#[cfg(test)]
mod tests {
    use l7switch_engine::netlink::FlowState;
    use l7switch_netlink::Class;
    use l7switch_netlink::FlowCount;
    use l7switch_netlink::Histogram;
    use l7switch_netlink::Module;

    use super::*;

    #[test]
    fn a_query_may_ask_for_fewer() {
        for (query, expected) in [
            (None, Some(usize::MAX)),
            (Some(""), Some(usize::MAX)),
            (Some("most=5"), Some(5)),
            (Some("m%6Fst=%35"), Some(5)),
            (Some("a=b&most=0"), Some(0)),
            (Some("least=x"), Some(usize::MAX)),
            (Some("most=18446744073709551615"), Some(usize::MAX)),
            (Some("most=18446744073709551616"), None),
            (Some("most=-1"), None),
            (Some("most=+1"), None),
            (Some("most=1.0"), None),
            (Some("most=many"), None),
            (Some("most="), None),
            (Some("most"), None),
            (Some("most=1&most=1"), None),
        ] {
            assert_eq!(most(query).ok(), expected, "{query:?}");
        }
    }

    #[test]
    fn what_the_kernel_has_counted_is_told() {
        let class = |below, count| Class { below, count };
        let module = Module {
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
            counters: Vec::new(),
            first_byte: Histogram {
                classes: vec![class(Some(1024), 2), class(None, 0)],
                sum: 7,
            },
            flow_counts: vec![FlowCount {
                state: FlowState::Reading,
                count: 3,
            }],
        };
        let told = counted(&Numbers {
            module,
            services: Vec::new(),
            routes: Vec::new(),
            servers: Vec::new(),
        });
        assert_eq!((told.flows, told.max_flows), (3, 9));
        assert_eq!(told.flow_states["reading"], 3);
        assert_eq!(told.first_byte.count, 2);
    }
}
