// SPDX-License-Identifier: MIT
//! Checking virtual services: listen addresses, protocol, what the kernel can serve.

use std::net::SocketAddr;

use ipnet::IpNet;
use ipnet::Ipv4Net;
use ipnet::Ipv6Net;

use super::Check;
use super::route::Pools;
use super::route::Seen;
use crate::front_only::FrontOnly;
use crate::model::*;
use crate::text::diagnostic::Diagnostic;
use crate::text::language::AcceptProxyChoice;
use crate::text::language::ServiceText;
use crate::text::source::At;
use crate::text::source::Span;
use crate::text::value::Allowed;
use crate::text::value::OneOrMany;
use crate::text::value::Prefix;
use crate::text::value::Refused;

/// A listen address that was seen already.
pub(super) struct Listen {
    address: SocketAddr,
    span: Span,
    service: String,
    protocol: Protocol,
}

/// Whether two sockets cannot listen at the same time.
fn overlaps(a: SocketAddr, b: SocketAddr) -> bool {
    let (x, y) = (a.ip(), b.ip());
    let one_is_all = x.is_ipv4() == y.is_ipv4() && (x.is_unspecified() || y.is_unspecified());
    a.port() == b.port() && (x == y || one_is_all)
}

/// What is wrong with two addresses that overlap.
fn listen_conflict(first: &Listen, second: &Listen) -> Diagnostic {
    let address = second.address;
    let message = if first.service == second.service {
        format!("{address} is listed twice")
    } else if first.protocol != second.protocol {
        format!(
            "{address} is used by service `{}` with another protocol ({}, here {})",
            first.service,
            first.protocol.as_str(),
            second.protocol.as_str(),
        )
    } else {
        format!("{address} is already used by service `{}`", first.service)
    };
    let help = if first.address != address {
        let all = if address.ip().is_unspecified() {
            address
        } else {
            first.address
        };
        format!("{all} includes every address with that port: list single addresses instead")
    } else if first.service == second.service || first.protocol != second.protocol {
        "remove one of them, or use another port".to_owned()
    } else {
        "merge the two services: routes separate them by host".to_owned()
    };
    Diagnostic::error("listen-conflict", second.span, message)
        .label("again")
        .related(first.span, "first here")
        .help(help)
}

impl Check<'_> {
    /// Checks a service; beside it the places of its routes.
    pub(super) fn service(
        &mut self,
        name: &str,
        span: Span,
        text: ServiceText,
        pools: &mut Pools<'_>,
        listens: &mut Vec<Listen>,
    ) -> (Service, Vec<Span>) {
        let protocol = text.protocol.as_ref().map_or(Protocol::Http, |p| p.value.0);
        let pages_at = text.error_pages.as_ref().map(|given| given.span);
        let mut service = Service {
            name: name.to_owned(),
            listen: Vec::new(),
            protocol,
            datapath: text
                .datapath
                .as_ref()
                .map_or_else(Datapath::default, |d| d.value.0),
            allow: AllowPath::default(),
            certificates: Vec::new(),
            tls: ServiceTls {
                client_certificates: self.client_certificates(protocol, text.client_certificates),
                ..self.tls(protocol, text.tls)
            },
            limits: self.limits(protocol, text.limits),
            trusted: self.trusted(text.trusted.as_ref()),
            accept_proxy: self.accept_proxy(text.accept_proxy.as_ref()),
            via: text.via.as_ref().is_some_and(|via| via.value),
            maintenance: self.maintenance(protocol, text.maintenance),
            error_pages: self.error_pages(text.error_pages),
            routes: Vec::new(),
        };
        self.bytes_only(
            protocol,
            &[
                ("via", text.via.as_ref().map(|given| given.span)),
                ("error_pages", pages_at),
            ],
        );
        match &text.listen {
            Some(addresses) if !addresses.value.0.is_empty() => {
                for address in &addresses.value.0 {
                    service.listen.push(address.value.0);
                    let address = At {
                        value: address.value.0,
                        span: address.span,
                    };
                    self.listen(name, protocol, &address, listens);
                }
            }
            given => self.absent(
                text.broken,
                (span, given.as_ref().map(|given| given.span)),
                format!("service `{name}` has no address to listen on"),
                "add a line such as: listen = \"0.0.0.0:80\"",
            ),
        }
        if let (Some(path), Datapath::Kernel, Protocol::Https) =
            (&text.datapath, service.datapath, protocol)
        {
            let message = "the kernel cannot terminate TLS";
            self.note(Diagnostic::error("impossible", path.span, message).help(
                "use datapath = \"auto\" for https, or protocol = \"tls\" to pass it through",
            ));
        }
        for allowed in text.allow.unwrap_or_default().0 {
            match allowed.0 {
                Allowed::EncodedSlash => service.allow.encoded_slash = true,
                Allowed::Nul => service.allow.nul = true,
                Allowed::Backslash => service.allow.backslash = true,
                Allowed::BadEscape => service.allow.bad_escape = true,
            }
        }
        for refused in text.refuse.unwrap_or_default().0 {
            match refused.0 {
                Refused::EncodedSlash => service.allow.encoded_slash = false,
            }
        }
        self.certificates(&mut service, (text.broken, span), text.certificates);
        let routes = text.route.unwrap_or_default();
        if routes.is_empty() && !text.broken && self.syntax_is_good {
            let message = format!("service `{name}` has no route: every request is refused");
            self.note(Diagnostic::warning("no-route", span, message));
        }
        let mut places = Vec::with_capacity(routes.len());
        let mut seen = Seen::default();
        for route in routes {
            places.push(route.span);
            let checked = self.route(&service, route, pools, &mut seen);
            service.routes.push(checked);
        }
        (service, places)
    }

    /// Notes pools with TLS behind services that pass TLS through, and pools with HTTP/2 behind services that read no HTTP; `places`:
    /// those of their routes.
    pub(super) fn not_http(&mut self, model: &Model, places: &[(Span, Vec<Span>)]) {
        for (service, (_, routes)) in model.services.iter().zip(places) {
            if service.protocol.is_http() {
                continue;
            }
            for (route, place) in service.routes.iter().zip(routes) {
                let Action::Forward(shares) = &route.action else {
                    continue;
                };
                let pools = shares
                    .iter()
                    .filter_map(|share| model.pools.get(share.pool));
                for pool in pools.clone() {
                    if pool.protocol != ServerProtocol::Http1 {
                        let word = service.protocol.as_str();
                        let message = format!(
                            "pool `{}` speaks HTTP/2, and a {word} service reads no HTTP",
                            pool.name
                        );
                        self.note(Diagnostic::error("impossible", *place, message).help(
                            "remove `protocol` from the pool: bytes are passed on as they come",
                        ));
                    }
                }
                for pool in
                    pools.filter(|pool| service.protocol == Protocol::Tls && pool.tls.is_some())
                {
                    let message = format!(
                        "pool `{}` has `tls`: that would be TLS within TLS",
                        pool.name
                    );
                    self.note(
                        Diagnostic::error("impossible", *place, message)
                            .help("a tls service passes on what is encrypted already: remove `tls` from the pool"),
                    );
                }
            }
        }
    }

    /// Notes what only the front can serve in services with `datapath = "kernel"`; `places`: those of their routes.
    pub(super) fn kernel_can(&mut self, model: &Model, places: &[(Span, Vec<Span>)]) {
        let front = FrontOnly::of(model);
        for (service, (name, routes)) in model.services.iter().zip(places) {
            if service.datapath != Datapath::Kernel || service.protocol == Protocol::Https {
                continue;
            }
            if let Some(why) = front.service(service) {
                let message = format!("the kernel cannot serve `{}`: {why}", service.name);
                let help = "use datapath = \"auto\": the front then serves it";
                self.note(Diagnostic::error("impossible", *name, message).help(help));
                continue;
            }
            for (route, place) in service.routes.iter().zip(routes) {
                let Some(why) = front.route(route) else {
                    continue;
                };
                let message = format!("the kernel cannot serve this route: {why}");
                let help = "use datapath = \"auto\": the front then serves this route, the kernel the others";
                self.note(Diagnostic::error("impossible", *place, message).help(help));
            }
        }
    }

    /// Notes keys that say what is done with requests where there are none to be seen.
    fn bytes_only(&mut self, protocol: Protocol, keys: &[(&str, Option<Span>)]) {
        if protocol.is_http() {
            return;
        }
        let word = protocol.as_str();
        for (key, span) in keys {
            if let Some(span) = span {
                let message = format!("`{key}` cannot be used with protocol = \"{word}\"");
                self.note(
                    Diagnostic::error("impossible", *span, message)
                        .help("there are no requests to be seen, only bytes"),
                );
            }
        }
    }

    /// The proxies whose fields are believed.
    fn trusted(&mut self, given: Option<&At<OneOrMany<Prefix>>>) -> Vec<IpNet> {
        let Some(At { value, span }) = given else {
            return Vec::new();
        };
        let trusted: Vec<_> = value.0.iter().map(|prefix| prefix.0).collect();
        if trusted.iter().any(|prefix| prefix.prefix_len() == 0) {
            let message = "everybody is trusted: any client can say that it is another one";
            self.note(
                Diagnostic::warning("trusts-all", *span, message)
                    .help("give the addresses of the proxies in front of the switch"),
            );
        }
        trusted
    }

    /// The peers whose connections begin with a PROXY header.
    fn accept_proxy(&mut self, given: Option<&At<AcceptProxyChoice>>) -> Vec<IpNet> {
        let Some(At { value, span }) = given else {
            return Vec::new();
        };
        match value {
            AcceptProxyChoice::All(false) => Vec::new(),
            AcceptProxyChoice::All(true) => {
                vec![Ipv4Net::default().into(), Ipv6Net::default().into()]
            }
            AcceptProxyChoice::From(peers) => {
                if peers.0.is_empty() {
                    let message = "`accept_proxy` names no peer";
                    self.note(
                        Diagnostic::error("empty-list", *span, message)
                            .help("write true, or the addresses of those whose connections begin with a PROXY header"),
                    );
                }
                peers.0.iter().map(|peer| peer.0).collect()
            }
        }
    }

    fn listen(
        &mut self,
        service: &str,
        protocol: Protocol,
        address: &At<SocketAddr>,
        listens: &mut Vec<Listen>,
    ) {
        let new = Listen {
            address: address.value,
            span: address.span,
            service: service.to_owned(),
            protocol,
        };
        if let Some(other) = listens.iter().find(|l| overlaps(l.address, new.address)) {
            // Services come in the order of their names: in the text the other one may be the second.
            let (first, second) = if other.span < new.span {
                (other, &new)
            } else {
                (&new, other)
            };
            let conflict = listen_conflict(first, second);
            self.note(conflict);
        }
        listens.push(new);
    }
}
