// SPDX-License-Identifier: MIT
//! The configurations of the contenders, each as its own documentation recommends, and of the load.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::case::Case;
use super::case::NAME;
use super::case::Speech;
use super::fill;

/// What the real server has to give: names and contents.
pub(super) fn files() -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    let files = [
        ("small", 128),
        ("1k", 1 << 10),
        ("100k", 100 << 10),
        ("1m", 1 << 20),
    ];
    files.into_iter().map(|(name, len)| (name, vec![b'a'; len]))
}

/// How nginx makes use of so many processors.
fn workers(processors: u8) -> String {
    match processors {
        1 => "master_process off;".to_owned(),
        _ => format!("user root;\nworker_processes {processors};"),
    }
}

/// The real server, nginx: files below `root`, and `/upload`, which reads what it is sent. `directives` say where it
/// listens.
pub(super) fn origin(case: &Case, directives: &str, folder: &str) -> String {
    let workers = workers(case.processors);
    format!(
        "load_module modules/ngx_http_echo_module.so;\n\
         daemon off;\n{workers}\npid {folder}/origin.pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n  access_log off;\n  keepalive_requests 1000000;\n  client_body_buffer_size 128k;\n  \
         client_body_temp_path {folder}/origin-body;\n  proxy_temp_path {folder}/origin-proxy;\n  \
         server {{\n    {directives}\n    root {folder}/root;\n    \
         location /upload {{ echo_read_request_body; echo -n taken; }}\n  }}\n}}\n"
    )
}

fn each(servers: &[SocketAddr], words: impl Fn(&SocketAddr) -> String) -> String {
    servers.iter().map(words).collect()
}

/// The script that wrk runs: what is sent, and what is printed in the end: requests, bytes, microseconds, errors.
pub(super) fn load(case: &Case) -> String {
    let done = "function done(summary)
  local e = summary.errors
  local errors = e.connect + e.read + e.write + e.status + e.timeout
  print(string.format('DONE %d %d %d %d', summary.requests, summary.bytes, summary.duration, errors))
end
";
    if case.new_heads {
        let path = case.path;
        return format!(
            "local count = 0\nfunction request()\n  count = count + 1\n  \
             return 'GET /{path}?' .. count .. ' HTTP/1.1\\r\\nHost: bench\\r\\n\\r\\n'\nend\n{done}"
        );
    }
    match case.uploads() {
        true => format!(
            "wrk.method = 'POST'\nwrk.body = string.rep('a', {})\n{done}",
            case.body
        ),
        false => done.to_owned(),
    }
}

/// The host and the path of each route but the last one, which takes all. What is asked for is the last one's.
fn routes(case: &Case) -> impl Iterator<Item = (String, String)> {
    (1..case.routes).map(|route| (format!("h{}.test", route % 1000), format!("/p{route}")))
}

/// Idle connections to servers that a proxy may keep: one for each of the client's, and for each server. The front gives a
/// connection to a new client only after a silence, so that it has more of them where each request has its own connection.
fn kept(case: &Case) -> u32 {
    case.connections.max(case.servers.into()).max(512)
}

/// For the module and the front; `forward` is the module's way to pass packets on.
pub(super) fn rules(case: &Case, at: SocketAddr, to: &[SocketAddr], forward: &str) -> String {
    let (protocol, condition) = match case.speech {
        Speech::Http => ("http", "path = { prefix = \"/\" }".to_owned()),
        Speech::Opaque => ("tcp", String::new()),
        Speech::Tls => ("tls", format!("host = \"{NAME}\"")),
    };
    let mut text = format!("[service.bench]\nlisten = \"{at}\"\nprotocol = \"{protocol}\"\n");
    for (host, path) in routes(case) {
        text += &format!(
            "[[service.bench.route]]\nhost = \"{host}\"\npath = {{ prefix = \"{path}\" }}\npool = \"p\"\n"
        );
    }
    let limit = |requests: u32, per: &str| match case.limited {
        true => format!("rate_limit = {{ requests = {requests}, per = \"{per}\" }}\n"),
        false => String::new(),
    };
    text += &format!(
        "[[service.bench.route]]\n{condition}\npool = \"p\"\n{}",
        limit(1_000_000, "1s")
    );
    if case.flows > 0 {
        text += &format!(
            "[service.others]\nlisten = \"{}\"\nprotocol = \"http\"\n[[service.others.route]]\npool = \"others\"\n{}\
             [pool.others]\nservers = [\"{}\"]\n",
            fill::SERVICE,
            limit(1, "24h"),
            fill::server()
        );
    }
    let servers = each(to, |server| format!("\"{server}\", "));
    text + &format!(
        "[pool.p]\nservers = [{servers}]\nforward = \"{forward}\"\nkeepalive = {}\n",
        kept(case)
    )
}

/// HAProxy's configuration manual: a thread for each processor, no log, data moved within the kernel, connections to
/// servers used again by any client.
pub(super) fn haproxy(case: &Case, at: SocketAddr, to: &[SocketAddr], folder: &str) -> String {
    let (mode, decide) = match case.speech {
        Speech::Http if case.routes > 1 => (
            "http",
            format!("  use_backend %[base,map_beg({folder}/routes.map,servers)]\n"),
        ),
        Speech::Http => (
            "http",
            "  use_backend servers if { path_beg / }\n".to_owned(),
        ),
        Speech::Opaque => ("tcp", "  default_backend servers\n".to_owned()),
        Speech::Tls => (
            "tcp",
            format!(
                "  tcp-request inspect-delay 5s\n  tcp-request content accept if {{ req_ssl_hello_type 1 }}\n  \
                 use_backend servers if {{ req_ssl_sni -i {NAME} }}\n"
            ),
        ),
    };
    format!(
        "global\n  maxconn 4096\n  nbthread {}\n\
         defaults\n  mode {mode}\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  \
         option splice-auto\n{}\
         frontend bench\n  bind {at}\n{decide}\
         backend servers\n{}",
        case.processors,
        if mode == "http" {
            "  http-reuse always\n"
        } else {
            ""
        },
        each(to, |server| format!(
            "  server {} {server}\n",
            server.to_string().replace(['[', ']'], "")
        ))
    )
}

/// The file `routes.map` beside it.
pub(super) fn haproxy_map(case: &Case) -> String {
    routes(case).fold(String::new(), |text, (host, path)| {
        text + &format!("{host}{path} servers\n")
    })
}

/// nginx's documentation of ngx_http_upstream_module and ngx_http_proxy_module: HTTP/1.1 and connections that stay; no
/// log; uploads are not gathered first.
pub(super) fn nginx(case: &Case, at: SocketAddr, to: &[SocketAddr], folder: &str) -> String {
    let head = format!(
        "daemon off;\n{}\npid {folder}/nginx.pid;\nerror_log stderr warn;\n\
         events {{ worker_connections 4096; }}\n",
        workers(case.processors)
    );
    let servers = each(to, |server| format!("server {server}; "));
    let stream = |more: &str| {
        format!(
            "load_module modules/ngx_stream_module.so;\n{head}stream {{\n  upstream servers {{ {servers}}}\n  server {{ listen {at}; {more} }}\n}}\n"
        )
    };
    match case.speech {
        Speech::Opaque => stream("proxy_pass servers;"),
        Speech::Tls => {
            let map = format!("map $ssl_preread_server_name $chosen {{ {NAME} servers; }}");
            stream("ssl_preread on; proxy_pass $chosen;")
                .replace("stream {", &format!("stream {{\n  {map}"))
        }
        Speech::Http => {
            let pass = "proxy_pass http://servers;";
            let kept = kept(case);
            let mut hosts: BTreeMap<String, String> = BTreeMap::new();
            for (host, path) in routes(case) {
                *hosts.entry(host).or_default() += &format!("location {path} {{ {pass} }} ");
            }
            let hosts: String = hosts
                .iter()
                .map(|(host, locations)| {
                    format!("  server {{ listen {at}; server_name {host}; {locations} }}\n")
                })
                .collect();
            format!(
                "{head}http {{\n  access_log off;\n  keepalive_requests 1000000;\n  server_names_hash_max_size 8192;\n  \
                 client_body_temp_path {folder}/body;\n  proxy_temp_path {folder}/proxy;\n  \
                 proxy_http_version 1.1;\n  proxy_set_header Connection \"\";\n  proxy_request_buffering off;\n  \
                 upstream servers {{ {servers}keepalive {kept}; keepalive_requests 1000000; }}\n  \
                 server {{ listen {at} default_server; location / {{ {pass} }} }}\n{hosts}}}\n"
            )
        }
    }
}
