// SPDX-License-Identifier: MIT
//! nginx's `stream`: TCP and TLS that is passed through.

use super::address;
use super::choose::Values;
use super::choose::Variables;
use super::read::Directive;
use super::scope::Scope;
use super::upstream::Towards;
use super::upstream::Upstreams;
use super::words::duration;
use super::words::reason;
use crate::import::conditions::All;
use crate::import::conditions::Atom;
use crate::import::flow::End;
use crate::import::flow::Leaf;
use crate::import::flow::rank;
use crate::import::rules::Rules;
use crate::import::rules::Service;
use crate::import::rules::route;
use crate::import::toml::Toml;

const KNOWN: &[&str] = &[
    "server",
    "upstream",
    "map",
    "listen",
    "proxy_pass",
    "ssl_preread",
    "proxy_timeout",
    "proxy_connect_timeout",
    "proxy_protocol",
    "allow",
    "deny",
    "include",
    "tcp_nodelay",
];

/// The services of `stream`.
pub(super) fn services(stream: &[Directive], rules: &mut Rules) {
    let upstreams = Upstreams::new(stream);
    let variables = Variables::new(stream);
    let outer = Scope::default().inside(stream);
    for directive in stream.iter().filter(|d| !KNOWN.contains(&d.name.as_str())) {
        rules.note(format!(
            "{}: {}",
            directive.origin(),
            reason(&directive.name)
        ));
    }
    for server in stream.iter().filter(|d| d.name == "server") {
        let scope = outer.inside(server.inside());
        let mut service = Service::default();
        service
            .item
            .note(format!("{}:{}: server", server.file, server.line));
        let mut addresses = Vec::new();
        let mut bad = None;
        for listen in server.inside().iter().filter(|d| d.name == "listen") {
            let has = |word: &str| listen.arguments.iter().any(|a| a == word);
            addresses.extend(address(listen.word(0)));
            if has("udp") {
                bad = Some("UDP is not switched");
            } else if has("ssl") {
                bad = Some(
                    "TLS ends at the switch for HTTP only: pass it through with protocol = \"tls\"",
                );
            }
            if has("proxy_protocol") {
                service.item.set("accept_proxy", Toml::Bool(true));
            }
        }
        let port = addresses
            .first()
            .and_then(|a| a.rsplit_once(':'))
            .map_or("", |(_, port)| port);
        let sni = scope.is_on("ssl_preread");
        let protocol = if sni { "tls" } else { "tcp" };
        service.name = rules.free_service(&format!("{protocol}-{port}"));
        service
            .item
            .keys
            .insert(0, ("listen", Toml::one_or_many(&addresses)));
        service.item.set("protocol", protocol);
        if let Some(time) = scope.word("proxy_timeout").and_then(duration) {
            service.item.set_in("limits", "idle_timeout", time);
        }
        for directive in server
            .inside()
            .iter()
            .filter(|d| !KNOWN.contains(&d.name.as_str()))
        {
            let protects =
                directive.name.starts_with("proxy_ssl") || directive.name.starts_with("ssl_");
            let note = format!("{}: {}", directive.origin(), reason(&directive.name));
            match protects {
                true => rules.close(&mut service, &note),
                false => rules.note_at(&mut service, note),
            }
        }
        let towards = Towards {
            connect_timeout: scope.word("proxy_connect_timeout").and_then(duration),
            send_proxy: scope.is_on("proxy_protocol"),
            port: 0,
            ..Towards::default()
        };
        let mut leaves = Vec::new();
        let pass = scope.word("proxy_pass").unwrap_or_default();
        let base = match sources(&scope) {
            Ok(base) => base,
            Err(why) => {
                rules.close(&mut service, &why);
                Some(All::default())
            }
        };
        match (base, pass.strip_prefix('$')) {
            (None, _) => service.item.note("nobody is allowed"),
            (Some(base), None) => leaves.push((base, pass.to_owned())),
            (Some(base), Some(name)) => match variables.values(name, true) {
                Ok(Values::ByCondition(values)) => {
                    for (atom, value) in values {
                        let all = atom.map_or(Ok(Some(base.clone())), |atom| base.and(&atom));
                        match all {
                            Ok(Some(all)) if !value.is_empty() && !value.contains('$') => {
                                leaves.push((all, value))
                            }
                            Ok(None) => {}
                            _ => rules.note_at(
                                &mut service,
                                format!("proxy_pass {pass}: `{value}` has no counterpart"),
                            ),
                        }
                    }
                }
                Ok(Values::ByWeight(_)) => rules.close(
                    &mut service,
                    "proxy_pass of split_clients: write pools = […]",
                ),
                Err(why) => rules.close(&mut service, &format!("proxy_pass {pass}: {why}")),
            },
        }
        let pass: Vec<String> = scope
            .one("proxy_pass")
            .map(Directive::origin)
            .into_iter()
            .collect();
        let mut leaves: Vec<Leaf> = leaves
            .into_iter()
            .map(|(all, value)| Leaf {
                all,
                edits: Vec::new(),
                end: End::Pool(upstreams.pool(&value, &towards, rules)),
                origin: pass.clone(),
                guards: false,
                priority: 0,
            })
            .collect();
        rank(&mut leaves);
        service.routes = leaves.iter().map(route).collect();
        if let Some(why) = bad {
            rules.close(&mut service, why);
        }
        rules.services.push(service);
    }
}

/// Who is let in; `None`: nobody.
fn sources(scope: &Scope<'_>) -> Result<Option<All>, String> {
    let (mut allowed, mut denied) = (Vec::new(), Vec::new());
    for directive in scope.all(&["allow", "deny"]) {
        let net = crate::import::net(directive.word(0));
        match (directive.name.as_str(), net) {
            _ if directive.word(0) == "all" => {
                let denies = directive.name == "deny";
                if denies && allowed.is_empty() {
                    return Ok(None);
                }
                if !denies {
                    allowed.clear();
                }
                return All::default()
                    .and(&Atom::Source(allowed, denied))
                    .map_err(|why| why.to_string());
            }
            (_, None) => return Err(format!("{}: not an address", directive.origin())),
            ("allow", Some(net)) => allowed.push(net),
            // An exception of an exception would be let in.
            (_, Some(net)) if allowed.iter().any(|a: &ipnet::IpNet| net.contains(a)) => {
                return Err(format!(
                    "{}: who is denied and allowed in this order has no counterpart",
                    directive.origin()
                ));
            }
            (_, Some(net)) => denied.push(net),
        }
    }
    // Without `deny all`, all others are let in.
    All::default()
        .and(&Atom::Source(Vec::new(), denied))
        .map_err(|why| why.to_string())
}
