// SPDX-License-Identifier: MIT
//! Requests that the module itself switches, from real clients to real servers.

use l7switch_netlink::Client;

use super::requests::rules;
use crate::kit::Module;
use crate::kit::Network;
use crate::kit::Nginx;
use crate::kit::network::VIP;
use crate::kit::network::VIP6;
use crate::kit::network::server;
use crate::kit::network::server6;

/// Two servers, each in a pool of its own by the path, over both families.
struct Setup {
    network: Network,
    client: Client,
    _servers: Vec<Nginx>,
    _module: Module,
}

fn by_path(forward: &str) -> String {
    format!(
        "[service.v4]\nlisten = [\"{VIP}:80\"]\nprotocol = \"http\"\n\
         [[service.v4.route]]\npath = {{ prefix = \"/one\" }}\npool = \"one\"\n\
         [[service.v4.route]]\npath = {{ prefix = \"/two\" }}\npool = \"two\"\n\
         [service.v6]\nlisten = [\"[{VIP6}]:80\"]\nprotocol = \"http\"\n\
         [[service.v6.route]]\npath = {{ prefix = \"/one\" }}\npool = \"one6\"\n\
         [[service.v6.route]]\npath = {{ prefix = \"/two\" }}\npool = \"two6\"\n\
         [pool.one]\nforward = \"{forward}\"\nservers = [\"{}:80\"]\n\
         [pool.two]\nforward = \"{forward}\"\nservers = [\"{}:80\"]\n\
         [pool.one6]\nforward = \"{forward}\"\nservers = [\"[{}]:80\"]\n\
         [pool.two6]\nforward = \"{forward}\"\nservers = [\"[{}]:80\"]\n",
        server(1),
        server(2),
        server6(1),
        server6(2),
    )
}

impl Setup {
    fn new(rules_text: &str) -> Self {
        let module = Module::load();
        let network = Network::new();
        let servers = network
            .servers
            .iter()
            .map(|host| {
                let name = host.name();
                Nginx::with(
                    host,
                    &format!("location / {{ return 200 \"{name} $remote_addr\\n\"; }}"),
                )
            })
            .collect();
        let mut client = network.switch.inside(|| Client::open().unwrap());
        client.load(rules(rules_text).table.as_bytes()).unwrap();
        Self {
            network,
            client,
            _servers: servers,
            _module: module,
        }
    }

    fn counters(&mut self) -> String {
        let module = self.client.module().unwrap();
        let counters = module.counters.iter().filter(|counter| counter.value > 0);
        counters.map(|counter| format!("{} {}\n", counter.name, counter.value)).collect()
    }
}

pub(super) fn requests_go_where_the_rules_say() {
    let mut setup = Setup::new(&by_path("nat"));
    for (url, address) in [(VIP.to_string(), "10.0.1.2"), (format!("[{VIP6}]"), "fd00:1::2")] {
        let paths = [("one", "server1"), ("two", "server2")];
        for (path, server) in paths {
            let answer = setup.network.client.attempt(&format!("curl -sv --max-time 8 http://{url}/{path}"));
            println!("{answer:?}");
            println!("{}", setup.counters());
            println!("{:?}", setup.client.flows().unwrap());
            assert!(format!("{answer:?}").contains(&format!("{server} {address}")));
        }
    }
}
