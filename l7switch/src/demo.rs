// SPDX-License-Identifier: MIT
//! The demonstration: the quickstart rules, and small real servers for them on loopback.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http::Response;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use l7switch_rules::RuleSet;
use l7switch_rules::model::Action;
use l7switch_rules::model::HostMatch;
use l7switch_rules::model::Model;
use l7switch_rules::model::PathMatch;
use l7switch_rules::model::Route;
use l7switch_rules::model::Service;
use l7switch_rules::text::diagnostic::Report;
use tokio::net::TcpListener;

use crate::accept::listen::Sharing;
use crate::accept::listen::bind;

/// The rules of the quickstart.
const QUICKSTART: &str = include_str!("../../rules/examples/quickstart.toml");

/// The rules that the demonstration runs.
///
/// # Errors
///
/// None: a test holds the file to the language.
pub fn rules() -> Result<RuleSet, Report> {
    l7switch_rules::load_text("quickstart.toml", QUICKSTART)
}

/// Starts a small real server for every address that the pools name.
///
/// # Errors
///
/// An address is in use.
pub fn start_servers(model: &Model) -> Result<Vec<SocketAddr>, (SocketAddr, io::Error)> {
    let addresses: BTreeSet<SocketAddr> = model
        .pools
        .iter()
        .flat_map(|pool| &pool.servers)
        .filter_map(|server| server.address.inet())
        .collect();
    for &address in &addresses {
        let socket = bind(address, Sharing::Alone).map_err(|error| (address, error))?;
        tokio::spawn(serve(socket, address));
    }
    Ok(addresses.into_iter().collect())
}

async fn serve(socket: TcpListener, address: SocketAddr) {
    while let Ok((stream, _)) = socket.accept().await {
        tokio::spawn(async move {
            let handler = service_fn(move |request| answer(address, request));
            // A connection that breaks is the other side's affair.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), handler)
                .await;
        });
    }
}

async fn answer(
    address: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut text = format!("server {address}\n{} {}\n", request.method(), request.uri());
    for (name, value) in request.headers() {
        let _ = writeln!(
            text,
            "{name}: {}",
            String::from_utf8_lossy(value.as_bytes())
        );
    }
    Ok(Response::new(Full::new(Bytes::from(text))))
}

/// For each route a command line that leads to it, with who answers.
pub fn curl_lines(model: &Model) -> Vec<String> {
    let mut lines = Vec::new();
    for service in model
        .services
        .iter()
        .filter(|service| service.protocol.is_http())
    {
        let Some(address) = service.listen.first() else {
            continue;
        };
        for (position, route) in service.routes.iter().enumerate() {
            lines.push(curl_line(model, service, route, position, *address));
        }
    }
    lines
}

fn curl_line(
    model: &Model,
    service: &Service,
    route: &Route,
    position: usize,
    address: SocketAddr,
) -> String {
    let host = route
        .hosts
        .first()
        .map_or_else(String::new, |host| match host {
            HostMatch::Exact(name) => format!(" -H 'Host: {name}'"),
            HostMatch::Wildcard(name) => format!(" -H 'Host: any.{name}'"),
        });
    let path = match route.paths.first() {
        Some(PathMatch::Exact(path)) => path.clone(),
        Some(PathMatch::Prefix(prefix)) => format!("{prefix}/example"),
        Some(PathMatch::Regex(_)) | None => "/".to_owned(),
    };
    let to = match &route.action {
        Action::Forward(shares) => {
            let servers: Vec<String> = shares
                .iter()
                .filter_map(|share| model.pools.get(share.pool))
                .flat_map(|pool| &pool.servers)
                .map(|server| server.address.to_string())
                .collect();
            servers.join(" or ")
        }
        Action::Respond(_) => "the switch itself".to_owned(),
        Action::Redirect(_) => "a redirect".to_owned(),
    };
    let scheme = service.protocol.as_str();
    let command = format!("curl{host} {scheme}://{address}{path}");
    format!("{command:<58} # route {}: {to}", route.label(position))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quickstart_is_a_valid_rule_file_with_a_line_for_each_route() {
        let rules = rules().unwrap();
        let lines = curl_lines(&rules.model);
        assert_eq!(lines.len(), rules.model.services[0].routes.len());
        assert!(
            lines
                .iter()
                .any(|line| line.contains("http://127.0.0.1:8080/img/example"))
        );
    }
}
