// SPDX-License-Identifier: MIT
//! What only the front can serve, and why: `explain` says it, the table has it, with `datapath = "kernel"` it is an error.

use crate::model::*;

/// Why the module leaves a whole service to the front; `None` where it does not. Of `https` it is said elsewhere: there it
/// depends on nothing else.
pub(crate) fn service(model: &Model, service: &Service) -> Option<&'static str> {
    if service.datapath == Datapath::Front {
        Some("the service says datapath = \"front\"")
    } else if !service.accept_proxy.is_empty() {
        Some("the front reads the PROXY header")
    } else if service.limits.connections_per_source.is_some() {
        Some("the front counts the connections of each client")
    } else if service.limits.body.is_some() {
        Some("the front limits the content of requests")
    } else if service.limits.tunnel_timeout.is_some() {
        Some("the front ends silent tunnels")
    } else if service.maintenance != Maintenance::Off {
        Some("the service is closed for maintenance, which the front says")
    } else if service.error_pages.iter().any(|page| page.intercept) {
        Some("the front replaces errors of servers by pages")
    } else if !service.trusted.is_empty() && goes_by_source(model, service) {
        Some(
            "routes or servers are chosen by the client's address, which `trusted` proxies tell in fields",
        )
    } else {
        None
    }
}

/// Whether a request's route or server depends on its client's address.
fn goes_by_source(model: &Model, service: &Service) -> bool {
    service.protocol.is_http()
        && service.routes.iter().any(|route| {
            !route.sources.is_empty()
                || pools(model, route).any(|pool| pool.scheduler.hashes_source())
        })
}

/// Why the module leaves a route to the front; `None` where it does not.
pub(crate) fn route(model: &Model, route: &Route) -> Option<&'static str> {
    match route.action {
        Action::Respond(_) => Some("the front answers (respond)"),
        Action::Redirect(_) => Some("the front answers (redirect)"),
        Action::Forward(_) if !route.filters.is_empty() => Some("the route has filters"),
        Action::Forward(_) if route.rate_limit.is_some() => {
            Some("the front limits the rate of requests")
        }
        Action::Forward(_) if route.cors.is_some() => {
            Some("the front says what pages of other origins may do")
        }
        Action::Forward(_) if route.basic_auth.is_some() => Some("the front asks for passwords"),
        Action::Forward(_) if route.external_auth.is_some() => {
            Some("the front asks other servers whether a request goes on")
        }
        Action::Forward(_) if route.mirror.is_some() => Some("the front copies requests"),
        Action::Forward(_) if route.sticky.is_some() => {
            Some("the front sets the cookie by which clients stay")
        }
        Action::Forward(_) if route.body_limit.is_some() => {
            Some("the front limits the content of requests")
        }
        Action::Forward(_) if route.error_pages.iter().any(|page| page.intercept) => {
            Some("the front replaces errors of servers by pages")
        }
        Action::Forward(_) => pools(model, route).find_map(pool),
    }
}

/// Why the module leaves the requests for a pool to the front.
fn pool(pool: &Pool) -> Option<&'static str> {
    if pool.protocol != ServerProtocol::Http1 {
        Some("the front speaks HTTP/2 to its servers")
    } else if pool.tls.is_some() {
        Some("the front speaks TLS to its servers")
    } else if pool.send_proxy.is_some() {
        Some("the front sends the PROXY header")
    } else if pool.has_unix_server() {
        Some("a server is a Unix socket")
    } else if pool.is_bounded() {
        Some("the front counts the requests of each server")
    } else if pool.retries.rule.is_some() {
        Some("the front repeats requests by rule")
    } else if pool.slow_start.is_some() {
        Some("the front starts servers slowly")
    } else {
        None
    }
}

fn pools<'m>(model: &'m Model, route: &Route) -> impl Iterator<Item = &'m Pool> {
    let shares: &[PoolShare] = match &route.action {
        Action::Forward(shares) => shares,
        Action::Respond(_) | Action::Redirect(_) => &[],
    };
    shares
        .iter()
        .filter_map(|share| model.pools.get(share.pool))
}
