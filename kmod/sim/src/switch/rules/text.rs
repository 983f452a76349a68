// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The rule file of a plan.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;

use crate::plan::ALSO;
use crate::plan::EAGER;
use crate::plan::ELSEWHERE;
use crate::plan::HTTP;
use crate::plan::LIMITED;
use crate::plan::POOLS;
use crate::plan::Plan;
use crate::plan::TLS;

fn socket(address: [u8; 16], port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::from(address)).to_canonical(), port)
}

/// The addresses of clients' hosts, each in quotation marks.
fn quoted(plan: &Plan, hosts: &[usize]) -> Vec<String> {
    let quote = |host: &usize| format!("\"{}\"", socket(plan.client(*host), 0).ip());
    hosts.iter().map(quote).collect()
}

/// Whose connections to a service begin with a PROXY header.
fn accept_proxy(plan: &Plan, port: u16) -> String {
    if !plan.proxies.services.contains(&port) {
        return String::new();
    }
    if plan.proxies.all {
        return "accept_proxy = true\n".into();
    }
    let mut peers = quoted(plan, &plan.proxies.hosts);
    // Others, too.
    peers.push("\"192.0.2.0/24\"".into());
    peers.push("\"2001:db8::/32\"".into());
    format!("accept_proxy = [{}]\n", peers.join(", "))
}

/// The condition of routes that lead clients of some addresses to other pools.
fn elsewhere(plan: &Plan) -> Option<String> {
    let mut sources = quoted(plan, plan.proxies.elsewhere.as_ref()?);
    sources.extend(ELSEWHERE.map(|network| format!("\"{network}\"")));
    Some(format!("source = [{}]\n", sources.join(", ")))
}

/// The rule file of a generation: every one has the same routes, but neither the same order nor the same weights.
pub(super) fn text(
    plan: &Plan,
    service: [u8; 16],
    servers: &[[u8; 16]],
    generation: u64,
) -> String {
    let mut text = String::new();
    let odd = generation % 2 == 1;
    if odd {
        // What stands before the others moves their numbers.
        text += "[service.a-first]\nlisten = \"192.0.2.1:9\"\nroute = [{ pool = \"a-first\" }]\n";
        text += "[pool.a-first]\nservers = [\"192.0.2.2:80\"]\n";
    }
    let elsewhere = elsewhere(plan);
    let http = |text: &mut String, name: &str, port: u16| {
        let _ = writeln!(
            text,
            "[service.{name}]\nlisten = \"{}\"",
            socket(service, port)
        );
        *text += &accept_proxy(plan, port);
        for pool in 0..POOLS {
            if let Some(source) = &elsewhere {
                let next = (pool + 1) % POOLS;
                let _ = writeln!(
                    text,
                    "[[service.{name}.route]]\npath = {{ prefix = \"/p{pool}/\" }}\n{source}pool = \"h{next}\""
                );
            }
            let _ = writeln!(
                text,
                "[[service.{name}.route]]\npath = {{ prefix = \"/p{pool}/\" }}"
            );
            if let Some(limit) = plan.rules.limit.filter(|_| pool == LIMITED) {
                let _ = writeln!(
                    text,
                    "rate_limit = {{ requests = 1, per = \"24h\", burst = {}, key = \"{}\" }}",
                    limit.burst,
                    if limit.by_source { "source" } else { "route" }
                );
            }
            if plan.rules.split {
                let _ = writeln!(
                    text,
                    "pools = [{{ name = \"h{pool}\", weight = 3 }}, {{ name = \"i{pool}\", weight = {} }}]",
                    // Nothing new for a while.
                    match generation % 3 {
                        0 => 0,
                        _ => 2,
                    }
                );
            } else {
                let _ = writeln!(text, "pool = \"h{pool}\"");
            }
        }
    };
    http(&mut text, if odd { "z-http" } else { "b-http" }, HTTP);
    http(&mut text, "c-also", ALSO);
    let _ = writeln!(
        text,
        "[service.d-tls]\nlisten = \"{}\"\nprotocol = \"tls\"\n{}",
        socket(service, TLS),
        accept_proxy(plan, TLS),
    );
    for pool in 0..POOLS {
        if let Some(source) = &elsewhere {
            let next = (pool + 1) % POOLS;
            let _ = writeln!(
                text,
                "[[service.d-tls.route]]\nhost = \"p{pool}.test\"\n{source}pool = \"t{next}\""
            );
        }
        let _ = writeln!(
            text,
            "[[service.d-tls.route]]\nhost = \"p{pool}.test\"\npool = \"t{pool}\""
        );
    }
    let _ = writeln!(
        text,
        "[service.e-eager]\nlisten = \"{}\"\nprotocol = \"tcp\"\n{}[[service.e-eager.route]]\npool = \"u0\"",
        socket(service, EAGER),
        accept_proxy(plan, EAGER),
    );
    if let Some(source) = &elsewhere {
        let _ = writeln!(text, "[[service.e-eager.route]]\n{source}pool = \"u1\"");
    }
    for (names, port) in [("hi", HTTP), ("t", TLS), ("u", EAGER)] {
        for (name, pool) in names.chars().flat_map(|n| (0..POOLS).map(move |p| (n, p))) {
            let used = match name {
                'i' => plan.rules.split,
                'u' => pool < plan.eager_pools(),
                _ => true,
            };
            if !used {
                continue;
            }
            let scheduler = &plan.rules.schedulers[usize::from(pool)];
            let (kind, key) = match name {
                'h' | 'i' => (scheduler.kind, scheduler.key),
                // What is not read has neither fields nor a path.
                _ => (scheduler.kind, "source"),
            };
            let _ = writeln!(text, "[pool.{name}{pool}]");
            if kind.hashes() {
                let _ = writeln!(
                    text,
                    "scheduler = {{ name = \"{}\", key = \"{key}\" }}",
                    kind.as_str()
                );
            } else {
                let _ = writeln!(text, "scheduler = \"{}\"", kind.as_str());
            }
            if plan.fullnat(pool) {
                text += "forward = \"fullnat\"\n";
            }
            if let Some(version) = plan.proxies.send[usize::from(pool)] {
                let _ = writeln!(text, "send_proxy = \"{}\"", version.name());
            }
            let _ = writeln!(text, "retries = {}", plan.rules.retries);
            if let Some(bound) = plan.rules.bound {
                let _ = writeln!(text, "max_connections = {bound}\nqueue = {{ length = 0 }}");
            }
            let of_pool = plan.servers.iter().zip(servers).enumerate();
            let of_pool = of_pool.filter(|(_, (server, _))| server.pool == pool);
            let list: Vec<String> = of_pool
                .enumerate()
                .map(|(place, (_, (_, address)))| {
                    // One that there are others beside of gets nothing new for a while.
                    let weight = match (generation % 3, place) {
                        (2, 1) => 0,
                        (_, place) => place + 1,
                    };
                    format!(
                        "{{ address = \"{}\", weight = {weight} }}",
                        socket(*address, port)
                    )
                })
                .collect();
            let _ = writeln!(text, "servers = [{}]", list.join(", "));
        }
    }
    text
}
