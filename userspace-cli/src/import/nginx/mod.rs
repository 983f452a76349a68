// SPDX-License-Identifier: MIT
//! nginx's configuration as rules: servers that listen on the same addresses are a service, locations are routes, upstreams are pools.

mod choice;
mod choose;
mod location;
mod proxy;
mod read;
mod rewrite;
mod scope;
mod server;
mod stream;
mod upstream;
mod words;

use std::path::Path;

use super::rules::Item;
use super::rules::Rules;
use super::rules::Service;
use super::rules::route;
use super::source::Wrong;
use super::toml::Toml;
use read::Directive;
use scope::Scope;
use server::Shared;
use words::duration;
use words::reason;

/// Translates a file and what it includes.
///
/// # Errors
///
/// [`Wrong`] where it is not nginx's language.
pub(super) fn import(path: &Path) -> Result<Rules, Wrong> {
    let all = read::read(path)?;
    // Relative paths are those of the configuration's folder.
    let whole = std::path::absolute(path).unwrap_or(path.to_path_buf());
    Ok(translate(&all, whole.parent().unwrap_or(Path::new("/"))))
}

/// Translates a text. For tests.
#[cfg(test)]
pub(super) fn import_text(text: &str) -> Result<Rules, Wrong> {
    Ok(translate(&read::read_text(text)?, Path::new("/etc/nginx")))
}

fn translate(all: &[Directive], folder: &Path) -> Rules {
    let mut rules = Rules::default();
    let mut http: Vec<Directive> = Vec::new();
    let mut stream: Vec<Directive> = Vec::new();
    for directive in all {
        match directive.name.as_str() {
            "http" => http.extend(directive.inside().iter().cloned()),
            "stream" => stream.extend(directive.inside().iter().cloned()),
            // A file of sites-available: it stands within http.
            "server" | "upstream" | "map" | "split_clients" | "limit_req_zone" => {
                http.push(directive.clone())
            }
            "events" => {}
            _ => rules.note(format!(
                "{}: {}",
                directive.origin(),
                reason(&directive.name)
            )),
        }
    }
    services(&http, folder, &mut rules);
    stream::services(&stream, &mut rules);
    let directives = count(all);
    rules.translated = directives.saturating_sub(rules.left);
    rules
}

fn count(all: &[Directive]) -> usize {
    all.iter()
        .map(|directive| 1 + count(directive.inside()))
        .sum()
}

/// Directives of `http` that have an effect somewhere.
const KNOWN: &[&str] = &[
    "server",
    "upstream",
    "map",
    "split_clients",
    "limit_req_zone",
    "limit_req",
    "limit_req_status",
    "include",
    "client_max_body_size",
    "keepalive_timeout",
    "client_header_timeout",
    "client_body_timeout",
    "proxy_set_header",
    "add_header",
    "proxy_hide_header",
    "proxy_read_timeout",
    "proxy_connect_timeout",
    "proxy_send_timeout",
    "proxy_http_version",
    "ssl_protocols",
    "ssl_certificate",
    "ssl_certificate_key",
    "ssl_client_certificate",
    "ssl_verify_client",
    "ssl_crl",
    "auth_basic",
    "auth_basic_user_file",
    "allow",
    "deny",
    "set_real_ip_from",
    "real_ip_header",
    "real_ip_recursive",
    "error_page",
    "root",
    "default_type",
    "proxy_intercept_errors",
    "proxy_next_upstream",
    "proxy_next_upstream_tries",
    "proxy_ssl_verify",
    "proxy_ssl_trusted_certificate",
    "proxy_ssl_name",
    "proxy_ssl_server_name",
    "proxy_redirect",
    "listen",
    "server_name",
    "location",
    "return",
    "rewrite",
    "if",
    "http2",
    "satisfy",
    "index",
    "auth_request",
    "proxy_ssl_certificate",
    "proxy_ssl_certificate_key",
    "ssl",
];

/// An address that servers listen on, and the servers.
struct Socket<'d> {
    address: String,
    tls: bool,
    proxy: bool,
    servers: Vec<&'d Directive>,
    default: Option<&'d Directive>,
}

fn services(http: &[Directive], folder: &Path, rules: &mut Rules) {
    let shared = Shared::new(http, folder.to_path_buf());
    let scope = Scope::default().inside(http);
    for directive in http.iter().filter(|d| !KNOWN.contains(&d.name.as_str())) {
        rules.note(format!(
            "{}: {}",
            directive.origin(),
            reason(&directive.name)
        ));
    }
    let mut sockets: Vec<Socket<'_>> = Vec::new();
    for server in http.iter().filter(|d| d.name == "server") {
        let mut listens: Vec<&Directive> = server
            .inside()
            .iter()
            .filter(|d| d.name == "listen")
            .collect();
        let usual = Directive {
            name: "listen".to_owned(),
            arguments: vec!["80".to_owned()],
            block: None,
            ..server.clone()
        };
        if listens.is_empty() {
            listens.push(&usual);
        }
        for listen in listens {
            let Some(address) = address(listen.word(0)) else {
                rules.note(format!(
                    "{}: only addresses can be listened on",
                    listen.origin()
                ));
                continue;
            };
            let has = |word: &str| listen.arguments.iter().any(|a| a == word);
            if has("quic") {
                rules.note(format!("{}: HTTP/3 is not spoken", listen.origin()));
                continue;
            }
            let socket = match sockets.iter_mut().position(|s| s.address == address) {
                Some(at) => sockets.get_mut(at),
                None => {
                    sockets.push(Socket {
                        address,
                        tls: false,
                        proxy: false,
                        servers: Vec::new(),
                        default: None,
                    });
                    sockets.last_mut()
                }
            };
            let Some(socket) = socket else {
                continue;
            };
            socket.tls |= has("ssl")
                || server
                    .inside()
                    .iter()
                    .any(|d| d.name == "ssl" && d.word(0) == "on");
            socket.proxy |= has("proxy_protocol");
            if !socket
                .servers
                .iter()
                .any(|known| std::ptr::eq(*known, server))
            {
                socket.servers.push(server);
            }
            if has("default_server") || has("default") {
                socket.default = socket.default.or(Some(server));
            }
        }
    }
    // Sockets of the same servers are one service.
    let mut groups: Vec<Vec<Socket<'_>>> = Vec::new();
    for socket in sockets {
        let same = |group: &&mut Vec<Socket<'_>>| {
            group.first().is_some_and(|first| {
                let pairs = first.servers.iter().zip(&socket.servers);
                let default = first.default.or(first.servers.first().copied());
                let own = socket.default.or(socket.servers.first().copied());
                first.tls == socket.tls
                    && first.proxy == socket.proxy
                    && first.servers.len() == socket.servers.len()
                    && pairs.into_iter().all(|(a, b)| std::ptr::eq(*a, *b))
                    && default.zip(own).is_some_and(|(a, b)| std::ptr::eq(a, b))
            })
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(socket),
            None => groups.push(vec![socket]),
        }
    }
    for group in groups {
        service(&group, &scope, &shared, rules);
    }
}

fn service<'d>(group: &[Socket<'d>], scope: &Scope<'d>, shared: &Shared<'d>, rules: &mut Rules) {
    let Some(first) = group.first() else {
        return;
    };
    let Some(default) = first.default.or(first.servers.first().copied()) else {
        return;
    };
    let word = if first.tls { "https" } else { "http" };
    let port = first.address.rsplit_once(':').map_or("", |(_, port)| port);
    let wanted = match (first.tls, port) {
        (false, "80") | (true, "443") => word.to_owned(),
        _ => format!("{word}-{port}"),
    };
    let mut service = Service {
        name: rules.free_service(&wanted),
        ..Service::default()
    };
    for server in &first.servers {
        let name = server.inside().iter().find(|d| d.name == "server_name");
        let name = name.map_or(String::new(), |d| format!(" {}", d.arguments.join(" ")));
        service
            .item
            .note(format!("{}:{}: server{name}", server.file, server.line));
    }
    let addresses: Vec<String> = group.iter().map(|socket| socket.address.clone()).collect();
    service.item.set("listen", Toml::one_or_many(&addresses));
    let here = scope.inside(default.inside());
    if first.tls {
        service.item.set("protocol", "https");
        tls(first, default, scope, shared, &mut service, rules);
    }
    let other_address = limits(&here, first.proxy, &mut service.item);
    for server in &first.servers {
        let unknown = server
            .inside()
            .iter()
            .filter(|d| !KNOWN.contains(&d.name.as_str()));
        for directive in unknown {
            rules.note_at(
                &mut service,
                format!("{}: {}", directive.origin(), reason(&directive.name)),
            );
        }
    }
    let (steps, notes) = server::servers(&first.servers, default, scope, first.tls, shared, rules);
    for note in notes {
        rules.note_at(&mut service, note);
    }
    let leaves = rules.routes(&mut service, steps);
    service.routes = leaves.iter().map(route).collect();
    if let Some(why) = other_address {
        let mut items = service.routes.iter().map(|route| &route.item);
        match items.any(|item| item.get("source").is_some()) {
            true => rules.close(&mut service, why),
            false => rules.note_at(&mut service, why.to_owned()),
        }
    }
    rules.services.push(service);
}

/// Bounds, and how the client's address is known. Returns why it is another one than with nginx, if it is.
fn limits(scope: &Scope<'_>, proxy: bool, item: &mut Item) -> Option<&'static str> {
    let time = |name| {
        scope
            .word(name)
            .and_then(duration)
            .filter(|time| time != "0s")
    };
    if let Some(time) = time("client_header_timeout") {
        item.set_in("limits", "head_timeout", time);
    }
    if let Some(time) = time("keepalive_timeout") {
        item.set_in("limits", "idle_timeout", time);
    }
    let from: Vec<String> = scope
        .all(&["set_real_ip_from"])
        .iter()
        .map(|d| d.word(0).to_owned())
        .collect();
    let header = scope.word("real_ip_header").unwrap_or("X-Real-IP");
    match (proxy, from.is_empty()) {
        (true, true) => {
            item.set("accept_proxy", Toml::Bool(true));
            return Some(
                "proxy_protocol without set_real_ip_from: nginx goes by the peer's address",
            );
        }
        (true, false) => item.set("accept_proxy", Toml::one_or_many(&from)),
        (false, true) => {}
        (false, false) if header.eq_ignore_ascii_case("X-Forwarded-For") => {
            item.set("trusted", Toml::one_or_many(&from));
        }
        (false, false) => {
            return Some("real_ip_header: the client's address is read of X-Forwarded-For only");
        }
    }
    None
}

/// Certificates, versions, and clients' certificates.
fn tls<'d>(
    socket: &Socket<'d>,
    default: &'d Directive,
    scope: &Scope<'d>,
    shared: &Shared<'d>,
    service: &mut Service,
    rules: &mut Rules,
) {
    let mut certificates = Vec::new();
    let mut clients = Vec::new();
    let others = socket
        .servers
        .iter()
        .copied()
        .filter(|server| !std::ptr::eq(*server, default));
    for server in [default].into_iter().chain(others) {
        let here = scope.inside(server.inside());
        let certs = here.all(&["ssl_certificate"]);
        let keys = here.all(&["ssl_certificate_key"]);
        for (cert, key) in certs.iter().zip(&keys) {
            let one = Toml::table([
                ("cert", shared.path(cert.word(0)).into()),
                ("key", shared.path(key.word(0)).into()),
            ]);
            if !certificates.contains(&one) {
                certificates.push(one);
            }
        }
        let verify = here.word("ssl_verify_client").filter(|word| *word != "off");
        clients.push(verify.map(|verify| {
            let mut table = Toml::Table(Vec::new());
            let ca = here.word("ssl_client_certificate").unwrap_or_default();
            table.set("ca", shared.path(ca).into());
            if verify != "on" {
                table.set("required", Toml::Bool(false));
            }
            if let Some(crl) = here.word("ssl_crl") {
                table.set("crl", shared.path(crl).into());
            }
            (table, verify == "optional_no_ca")
        }));
    }
    service.item.set("certificates", Toml::List(certificates));
    let first = clients.first().cloned().flatten();
    if clients.iter().any(|one| *one != first) {
        let why = "servers of one address with different ssl_verify_client have no counterpart: give them addresses of their own";
        rules.close(service, why);
    } else if let Some((table, unchecked)) = first {
        service.item.set("client_certificates", table);
        if unchecked {
            rules.close(
                service,
                "ssl_verify_client optional_no_ca has no counterpart",
            );
        }
    }
    let here = scope.inside(default.inside());
    let versions = here.one("ssl_protocols").map(|d| d.arguments.as_slice());
    if versions.is_some_and(|all| *all == ["TLSv1.3"]) {
        service
            .item
            .set("tls", Toml::table([("min_version", "1.3".into())]));
    }
}

/// An address of `listen`.
fn address(text: &str) -> Option<String> {
    if text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty() {
        return Some(format!("0.0.0.0:{text}"));
    }
    if text.starts_with("unix:") {
        return None;
    }
    if text.starts_with('[') {
        return Some(match text.ends_with(']') {
            true => format!("{text}:80"),
            false => text.to_owned(),
        });
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, "80"));
    Some(match host {
        "*" | "" => format!("0.0.0.0:{port}"),
        "localhost" => format!("127.0.0.1:{port}"),
        host => format!("{host}:{port}"),
    })
}
