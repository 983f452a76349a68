// SPDX-License-Identifier: MIT
//! What the switch costs: in a machine that retires one instruction per virtual nanosecond, a rate is a count of
//! instructions, of client, switch and server together. What a contender adds is the difference to plain forwarding.

use std::fs;

use l7switch_netlink::Client;

use super::requests::rules;
use crate::kit::Host;
use crate::kit::Module;
use crate::kit::Network;
use crate::kit::Nginx;
use crate::kit::module::modprobe;
use crate::kit::network::VIP;
use crate::kit::network::server;

/// What is asked for: a name, a path, an option of wrk, and seconds.
const LOADS: [(&str, &str, &str, u32); 3] = [
    ("keep-alive, 128 B", "small", "", 2),
    (
        "new connection, 128 B",
        "small",
        "-H 'Connection: close'",
        2,
    ),
    ("1 MiB", "large", "", 4),
];

/// Instructions per request, all in all, in thousands.
fn price(network: &Network, url: &str, option: &str, seconds: u32) -> f64 {
    let line = format!("wrk -t1 -c16 -d{seconds}s {option} {url}");
    network
        .client
        .run(&format!("wrk -t1 -c16 -d1s {option} {url}"));
    let printed = network.client.run(&line);
    assert!(!printed.contains("Non-2xx"), "{printed}");
    let rate = printed
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:"));
    let rate: f64 = rate
        .unwrap_or_else(|| panic!("{printed}"))
        .trim()
        .parse()
        .unwrap();
    1e6 / rate
}

fn many_routes(number: usize) -> String {
    let mut text = format!("[service.web]\nlisten = \"{VIP}:80\"\nprotocol = \"http\"\n");
    for route in 1..number {
        text += &format!(
            "[[service.web.route]]\nhost = \"h{}.test\"\npath = {{ prefix = \"/p{route}\" }}\npool = \"p\"\n",
            route % 1000
        );
    }
    text += "[[service.web.route]]\npath = { prefix = \"/\" }\npool = \"p\"\n";
    text + &format!("[pool.p]\nservers = [\"{}:80\"]\n", server(3))
}

/// A server of what is asked for.
fn nginx(host: &Host) -> Nginx {
    let nginx = Nginx::with(host, "location / { }");
    fs::write(format!("{}/small", nginx.folder()), [b'a'; 128]).unwrap();
    fs::write(format!("{}/large", nginx.folder()), vec![b'a'; 1 << 20]).unwrap();
    nginx
}

/// Puts IPVS before a server, on port 8080.
fn ipvs(switch: &Host, number: u8) {
    modprobe("ip_vs");
    switch.run(&format!(
        "ipvsadm -A -t {VIP}:8080 -s rr; ipvsadm -a -t {VIP}:8080 -r {}:80 -m",
        server(number)
    ));
}

pub(super) fn of_the_module_and_of_ipvs() {
    // Each contender has a server of its own: connections that linger there are not met by the next one.
    let network = Network::with_servers(3);
    let nginx: Vec<Nginx> = network.servers.iter().map(nginx).collect();
    ipvs(&network.switch, 2);
    let direct = LOADS.map(|(_, path, option, seconds)| {
        price(
            &network,
            &format!("http://{}/{path}", server(1)),
            option,
            seconds,
        )
    });
    println!("direct: {direct:.1?}");
    let show = |who: &str, prices: [f64; 3]| {
        for ((load, ..), (price, direct)) in LOADS.iter().zip(prices.iter().zip(direct)) {
            println!(
                "{who}: {load}: {:+.1} thousand instructions",
                price - direct
            );
        }
    };
    let prices = LOADS.map(|(_, path, option, seconds)| {
        price(
            &network,
            &format!("http://{VIP}:8080/{path}"),
            option,
            seconds,
        )
    });
    show("IPVS", prices);
    let module = Module::load();
    for routes in [1, 10_000] {
        let mut client = network.switch.inside(|| Client::open().unwrap());
        client
            .load(rules(&many_routes(routes)).table.as_bytes())
            .unwrap();
        let prices = LOADS.map(|(_, path, option, seconds)| {
            price(&network, &format!("http://{VIP}/{path}"), option, seconds)
        });
        show(&format!("l7switch, {routes} routes"), prices);
        let module = client.module().unwrap();
        let counted = module.counters.iter().filter(|counter| counter.value > 0);
        for counter in counted {
            println!("  {} {}", counter.name, counter.value);
        }
    }
    drop(module);
    drop(nginx);
}

/// For a profile: one load, by the kernel's command line: `l7.via=direct|module|ipvs l7.load=0..2 l7.seconds=N`.
pub(super) fn of_one_load() {
    let line = fs::read_to_string("/proc/cmdline").unwrap();
    let word = |name: &str| {
        let found = line.split_whitespace().find_map(|w| w.strip_prefix(name));
        found
            .unwrap_or_else(|| panic!("no {name} in {line}"))
            .to_owned()
    };
    let network = Network::with_servers(3);
    let nginx = nginx(&network.servers[2]);
    let mut module = None;
    let host = match word("l7.via=").as_str() {
        "direct" => server(3).to_string(),
        "ipvs" => {
            ipvs(&network.switch, 3);
            format!("{VIP}:8080")
        }
        _ => {
            let loaded = Module::load();
            let mut client = network.switch.inside(|| Client::open().unwrap());
            client
                .load(rules(&many_routes(1)).table.as_bytes())
                .unwrap();
            module = Some((loaded, client));
            VIP.to_string()
        }
    };
    let (_, path, option, _) = LOADS[word("l7.load=").parse::<usize>().unwrap()];
    let url = format!("http://{host}/{path}");
    let line = format!("wrk -t1 -c16 -d{}s {option} {url}", word("l7.seconds="));
    println!("{}", network.client.run(&line));
    println!(
        "SYMBOLS {}",
        network
            .switch
            .run("grep -i ' t ' /proc/kallsyms | gzip -9 | base64 -w0")
    );
    drop(module);
    drop(nginx);
}
