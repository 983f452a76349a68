// SPDX-License-Identifier: MIT
//! Segments of every layout: what is read of them is what is sent, wherever their bytes lie and whoever can change them.

use l7switch_netlink::Client;

use super::rules;
use super::show;
use crate::kit::Host;
use crate::kit::Module;
use crate::kit::Network;
use crate::kit::Process;
use crate::kit::limit;
use crate::kit::module::modprobe;
use crate::kit::network::VIP;
use crate::kit::network::VIP6;
use crate::kit::network::server;
use crate::kit::network::server6;

const PAGES: &str = include_str!("pages.py");

/// `/one` to server 1, all else to server 2.
pub(super) fn two_pools(forward: &str, port: u16) -> String {
    let mut text = String::new();
    for (name, listen) in [("v4", VIP.to_string()), ("v6", format!("[{VIP6}]"))] {
        text += &format!(
            "[service.{name}]\nlisten = [\"{listen}:80\"]\nprotocol = \"http\"\n\
             [[service.{name}.route]]\npath = {{ prefix = \"/one\" }}\npool = \"one_{name}\"\n\
             [[service.{name}.route]]\npool = \"two_{name}\"\n"
        );
    }
    for (number, name) in [(1, "one"), (2, "two")] {
        let addresses = [
            ("v4", server(number).to_string()),
            ("v6", format!("[{}]", server6(number))),
        ];
        for (family, address) in addresses {
            text += &format!(
                "[pool.{name}_{family}]\nforward = \"{forward}\"\nservers = [\"{address}:{port}\"]\n"
            );
        }
    }
    text
}

/// Starts a script as a server on both hosts, and waits until it listens.
pub(super) fn start_servers(network: &Network, file: &str, arguments: &str) -> Vec<Process> {
    let start = |host: &Host| {
        let mut process = host.start(&format!("python3 -IS {file} {arguments}"));
        process.wait_for_output("listening");
        process
    };
    network.servers.iter().map(start).collect()
}

fn set_offloads(network: &Network, value: &str) {
    for host in [&network.client, &network.servers[0], &network.servers[1]] {
        host.run(&format!(
            "ethtool -K eth0 gso {value} tso {value} gro {value} sg {value}"
        ));
    }
}

pub(in super::super) fn segments_of_any_layout_are_read() {
    let _module = Module::load();
    let network = Network::new();
    std::fs::write("/tmp/pages.py", PAGES).unwrap();
    let _servers = start_servers(&network, "/tmp/pages.py", "serve 8090");
    let mut client = network.switch.inside(|| Client::open().unwrap());
    client
        .load(rules(&two_pools("nat", 8090)).table.as_bytes())
        .unwrap();
    let seconds = 20 * limit().as_secs();
    for (offloads, address) in [
        ("on", VIP.to_string()),
        ("on", VIP6.to_string()),
        ("off", VIP.to_string()),
    ] {
        set_offloads(&network, offloads);
        let line = format!("timeout {seconds} python3 -IS /tmp/pages.py ask {address} 80");
        let answer = network.client.attempt(&line);
        show(&mut client);
        assert_eq!(
            answer.stdout, "all right\n",
            "{offloads} {address}: {answer:?}"
        );
    }
    let module = client.module().unwrap();
    assert_eq!(module.counter("unreadable"), Some(0));
    assert_eq!(module.counter("inconsistent"), Some(0));
    set_offloads(&network, "on");
    // Through the stack; and of a client on the switch itself, whose packets are seen when they go out.
    let watch = "nft 'table inet look { chain look { type filter hook forward priority 0; }; }'";
    network.switch.run(watch);
    for host in [&network.client, &network.switch] {
        let line = format!("timeout {seconds} python3 -IS /tmp/pages.py ask {VIP} 80");
        let answer = host.attempt(&line);
        show(&mut client);
        assert_eq!(answer.stdout, "all right\n", "{answer:?}");
    }
}

/// A client whose request lies in a file's page, and that changes it once it has been read.
const CHANGES: &str = r#"
import mmap, os, socket, sys, time
descriptor = os.open("/tmp/changes", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
head = b"GET /one/memory/5 HTTP/1.1\r\nHost: h\r\n\r\n"
os.write(descriptor, head)
page = mmap.mmap(descriptor, 0)
s = socket.create_connection((sys.argv[1], 80), float(os.environ["LIMIT"]))
assert os.sendfile(s.fileno(), descriptor, 0, len(head)) == len(head)
# It is held until the server has answered the switch's SYN.
time.sleep(.1)
page[5:8] = b"two"
print(s.recv(4096).decode("latin1").split("\r\n")[1])
"#;

pub(in super::super) fn what_was_read_is_what_is_sent() {
    let _module = Module::load();
    let network = Network::new();
    std::fs::write("/tmp/pages.py", PAGES).unwrap();
    std::fs::write("/tmp/changes.py", CHANGES).unwrap();
    let _servers = start_servers(&network, "/tmp/pages.py", "serve 8090");
    let mut client = network.switch.inside(|| Client::open().unwrap());
    client
        .load(rules(&two_pools("nat", 8090)).table.as_bytes())
        .unwrap();
    modprobe("sch_netem");
    network.servers[0].run("tc qdisc add dev eth0 root netem delay 400ms");
    for (offloads, address) in [
        ("on", VIP.to_string()),
        ("on", VIP6.to_string()),
        ("off", VIP.to_string()),
    ] {
        set_offloads(&network, offloads);
        let answer = network
            .client
            .attempt(&format!("python3 -IS /tmp/changes.py {address}"));
        show(&mut client);
        assert_eq!(answer.stdout, "Path: /one/memory/5\n", "{answer:?}");
    }
}
