// SPDX-License-Identifier: MIT
//! Checking the servers of a pool.

use std::collections::HashMap;

use super::Check;
use crate::model::*;
use crate::text::address::ServerAddress;
use crate::text::diagnostic::Diagnostic;
use crate::text::language::*;
use crate::text::source::At;
use crate::text::source::Span;
use crate::text::value::OneOrMany;

impl Check<'_> {
    /// The servers of a pool: those that are given by address, and those that are given by name. `bound` is the pool's for each.
    pub(super) fn servers(
        &mut self,
        pool: &str,
        given: &At<OneOrMany<At<ServerChoice>>>,
        bound: Option<u32>,
    ) -> (Vec<RealServer>, Vec<NamedServer>) {
        let mut seen: HashMap<&ServerAddress, Span> = HashMap::new();
        let mut servers = Vec::with_capacity(given.value.0.len());
        let mut names = Vec::new();
        let plain = ServerText::default();
        for At { value, span } in &given.value.0 {
            let (address, text) = match value {
                ServerChoice::Address(address) => (Some(address), &plain),
                ServerChoice::Table(table) => (table.address.as_ref(), table),
            };
            let Some(At {
                value: address,
                span,
            }) = address
            else {
                let help = "add: address = \"10.0.0.1:8080\"";
                self.missing(
                    text.broken,
                    *span,
                    "the server has no address".to_owned(),
                    help,
                );
                continue;
            };
            let weight = (text.weight.as_ref())
                .map_or(Some(1), |w| self.number(w, 0, 65_535))
                .unwrap_or(1);
            let backup = text.backup.unwrap_or_default();
            let drain = text.drain.unwrap_or_default();
            let health_port = self.port(text.health_port.as_ref());
            let max_connections = self.bound(text.max_connections.as_ref()).or(bound);
            self.server_keys(address, text);
            if let Some(&first) = seen.get(address) {
                let message = format!("{address} is listed twice in pool `{pool}`");
                self.note(
                    Diagnostic::error("duplicate", *span, message)
                        .label("again")
                        .related(first, "first here")
                        .help("to give it more requests, increase its weight"),
                );
                continue;
            }
            seen.insert(address, *span);
            match address {
                ServerAddress::Address(address) => {
                    if address.ip().is_unspecified() || address.ip().is_multicast() {
                        let message = format!("{} is not an address of a server", address.ip());
                        self.note(Diagnostic::error("bad-value", *span, message));
                    }
                    servers.push(RealServer {
                        address: (*address).into(),
                        name: None,
                        weight,
                        backup,
                        drain,
                        health_port,
                        max_connections,
                    });
                }
                ServerAddress::Unix(path) => servers.push(RealServer {
                    address: crate::model::ServerAddress::Unix(path.as_str().into()),
                    name: None,
                    weight,
                    backup,
                    drain,
                    health_port,
                    max_connections,
                }),
                ServerAddress::Name(name, port) => {
                    self.outside.entry(name.clone().into()).or_insert(*span);
                    names.push(NamedServer {
                        name: name.clone(),
                        port: *port,
                        weight,
                        backup,
                        drain,
                        resolve: text
                            .resolve
                            .as_ref()
                            .map_or_else(Resolve::default, |r| r.value.0),
                        health_port,
                        max_connections,
                    });
                }
            }
        }
        let all = || {
            let of_names = names.iter().map(|named| (named.weight, named.backup));
            let of_servers = servers.iter().map(|server| (server.weight, server.backup));
            of_servers.chain(of_names)
        };
        let is_empty = all().next().is_none();
        if !is_empty && all().all(|(weight, _)| weight == 0) {
            let message = format!("no server of pool `{pool}` gets requests: all weights are zero");
            self.note(Diagnostic::warning("no-weight", given.span, message));
        }
        if !is_empty && all().all(|(_, backup)| backup) {
            let message = format!("all servers of pool `{pool}` are backups");
            self.note(
                Diagnostic::error("impossible", given.span, message)
                    .help("remove `backup` from those that get the requests"),
            );
        }
        servers.sort_by_key(|server| server.backup);
        (servers, names)
    }

    /// Notes keys that say nothing of a server that is given so.
    fn server_keys(&mut self, address: &ServerAddress, text: &ServerText) {
        let is_service = matches!(address, ServerAddress::Name(Lookup::Service(_), _));
        if let Some(weight) = &text.weight
            && is_service
        {
            let message = "the records of a service say the weight of each server";
            self.note(Diagnostic::error("impossible", weight.span, message));
        }
        if let Some(resolve) = &text.resolve {
            let message = match address {
                ServerAddress::Address(_) | ServerAddress::Unix(_) => "`resolve` is for host names",
                ServerAddress::Name(..) if is_service => "all servers of a service are used",
                ServerAddress::Name(..) => return,
            };
            self.note(Diagnostic::error("impossible", resolve.span, message));
        }
    }
}
