// SPDX-License-Identifier: MIT
//! A client's port that is used again while the connection before is still known.

use super::Setup;
use super::rules_with;
use crate::kit::network::VIP;
use crate::kit::network::VIP6;

/// Asks on a connection, forgets it without a word (`TCP_REPAIR`), and asks on another from the same port, five times.
const FORGETS: &str = r#"
import os, socket, sys
address = sys.argv[1]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
for turn in range(5):
    client = socket.socket(family)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    client.settimeout(float(os.environ["LIMIT"]))
    client.bind(("", 20000))
    client.connect((address, 80))
    client.sendall(b"GET /one HTTP/1.1\r\nHost: a\r\n\r\n")
    print(client.recv(4096).split(b"\r\n")[0].decode())
    client.setsockopt(socket.IPPROTO_TCP, 19, 1)
    client.close()
"#;

pub(in super::super) fn a_client_that_has_forgotten_its_connection_begins_another_from_its_port() {
    let mut setup = Setup::new(&rules_with("nat"));
    std::fs::write("/tmp/forgets.py", FORGETS).unwrap();
    for (address, challenged) in [(VIP.to_string(), 4), (VIP6.to_string(), 8)] {
        let line = format!("python3 -IS /tmp/forgets.py {address}");
        let answers = setup.network.client.attempt(&line);
        setup.show();
        assert_eq!(
            answers.stdout,
            "HTTP/1.1 200 OK\n".repeat(5),
            "{address}: {answers:?}"
        );
        assert_eq!(setup.counter("syns_challenged"), challenged, "{address}");
    }
    assert_eq!(setup.counter("no_front"), 0);
}
