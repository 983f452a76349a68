// SPDX-License-Identifier: MIT
//! Connections by TLS server name, and of services of which nothing is read.

use std::io::Read as _;
use std::io::Write as _;

use l7switch_netlink::Client;

use super::rules;
use crate::kit::Module;
use crate::kit::Network;
use crate::kit::Process;
use crate::kit::network::VIP;
use crate::kit::wait_until;

fn secured(network: &Network) -> Vec<Process> {
    network
        .servers
        .iter()
        .map(|host| {
            let name = host.name();
            host.run(&format!(
                "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 9 -subj /CN={name} \
                 -keyout /tmp/{name}.key -out /tmp/{name}.crt 2>/dev/null"
            ));
            let server = host.start(&format!(
                "openssl s_server -accept 443 -cert /tmp/{name}.crt -key /tmp/{name}.key -www -quiet"
            ));
            host.wait_for_port(([127, 0, 0, 1], 443));
            server
        })
        .collect()
}

pub(in super::super) fn tls_goes_by_server_name() {
    let _module = Module::load();
    let network = Network::new();
    let _servers = secured(&network);
    let text = format!(
        "[service.tls]\nlisten = [\"{VIP}:443\"]\nprotocol = \"tls\"\n\
         [[service.tls.route]]\nhost = \"a.test\"\npool = \"one\"\n\
         [[service.tls.route]]\nhost = \"*.b.test\"\npool = \"two\"\n\
         [pool.one]\nservers = [\"10.0.2.2:443\"]\n[pool.two]\nservers = [\"10.0.2.3:443\"]\n"
    );
    let mut client = network.switch.inside(|| Client::open().unwrap());
    client.load(rules(&text).table.as_bytes()).unwrap();
    for (name, server) in [
        ("a.test", "server1"),
        ("x.b.test", "server2"),
        ("a.test", "server1"),
    ] {
        let shown = network.client.attempt(&format!(
            "curl -sSkv --max-time $LIMIT -o /dev/null --resolve {name}:443:{VIP} https://{name}/"
        ));
        assert!(
            shown.stderr.contains(&format!("CN={server}")),
            "{name}: {shown:?}"
        );
    }
    // No route, and no front that would say so.
    let refused = network.client.attempt(&format!(
        "curl -sSk --max-time $LIMIT -o /dev/null --resolve c.test:443:{VIP} https://c.test/"
    ));
    assert!(!refused.is_good(), "{refused:?}");
    let module = client.module().unwrap();
    let count = |name: &str| module.counter(name).unwrap();
    assert_eq!((count("requests"), count("no_front")), (4, 1));
    // Responses are not read.
    let routes = client.routes().unwrap();
    let counts = routes.iter().map(|route| (route.requests, route.responses));
    assert_eq!(counts.collect::<Vec<_>>(), [(2, [0; 5]), (1, [0; 5])]);
}

pub(in super::super) fn servers_may_speak_first() {
    let _module = Module::load();
    let network = Network::new();
    let greeter = "import socketserver\n\
        class Greeter(socketserver.StreamRequestHandler):\n    \
            def handle(self):\n        \
                self.wfile.write(b'220 hello\\r\\n')\n        \
                self.wfile.write(b'you said ' + self.rfile.readline())\n\
        socketserver.ThreadingTCPServer.allow_reuse_address = True\n\
        print('ready', flush=True)\n\
        socketserver.ThreadingTCPServer(('', 25), Greeter).serve_forever()\n";
    std::fs::write("/tmp/greeter.py", greeter).unwrap();
    let mut server = network.servers[0].start("python3 -I -S /tmp/greeter.py");
    server.wait_for_output("ready");
    network.servers[0].wait_for_port(([127, 0, 0, 1], 25));
    let text = format!(
        "[service.mail]\nlisten = [\"{VIP}:25\"]\nprotocol = \"tcp\"\n[[service.mail.route]]\npool = \"one\"\n\
         [pool.one]\nservers = [\"10.0.2.9:25\", \"10.0.2.2:25\", \"10.0.2.2:26\"]\n"
    );
    let mut client = network.switch.inside(|| Client::open().unwrap());
    client.load(rules(&text).table.as_bytes()).unwrap();
    for _ in 0..4 {
        let mut stream = network.client.connect((VIP, 25));
        let mut greeting = [0; 11];
        stream.read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting, b"220 hello\r\n");
        stream.write_all(b"this\n").unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "you said this\n");
    }
    wait_until("all have closed", || client.flows().unwrap().is_empty());
}
