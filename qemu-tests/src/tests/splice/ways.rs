// SPDX-License-Identifier: MIT
//! Packets that go on without the stack: rules of a firewall and changes of routes are heeded all the same.

use std::io::ErrorKind;
use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::time::Duration;

use super::Setup;
use super::response;
use super::rules_with;
use crate::kit::limit;
use crate::kit::network::VIP;
use crate::kit::network::VIP6;

pub(super) fn ask(stream: &mut TcpStream) {
    let request = b"GET /one HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(request).unwrap();
}

pub(super) fn answered(stream: &mut TcpStream) {
    let (_, body) = response(stream);
    assert!(body.starts_with("server1"), "{body}");
}

/// Whether nothing comes for half a second.
pub(super) fn is_silent(stream: &mut TcpStream) -> bool {
    let half = Duration::from_millis(500);
    stream.set_read_timeout(Some(half)).unwrap();
    let seen = stream.read(&mut [0]);
    stream.set_read_timeout(Some(limit())).unwrap();
    seen.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

pub(in super::super) fn rules_and_routes_are_heeded() {
    let mut setup = Setup::new(&rules_with("nat"));
    for forward in ["nat", "fullnat"] {
        setup.load(&rules_with(forward));
        for (address, client) in [
            (SocketAddr::from((VIP, 80)), "10.0.1.2"),
            (SocketAddr::from((VIP6, 80)), "fd00:1::2"),
        ] {
            let switch = &setup.network.switch;
            let mut stream = setup.network.client.connect(address);
            ask(&mut stream);
            answered(&mut stream);

            // A connection that has found its way already.
            switch.run("nft add table inet watch");
            switch.run("nft add chain inet watch seen '{ type filter hook forward priority 0; }'");
            switch.run("nft add rule inet watch seen counter");
            ask(&mut stream);
            answered(&mut stream);
            let seen = switch.run("nft list chain inet watch seen");
            let count: u32 = seen
                .split_once("packets ")
                .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok())
                .unwrap_or_else(|| panic!("{seen}"));
            assert!(count >= 2, "{seen}");
            switch.run("nft add rule inet watch seen drop");
            ask(&mut stream);
            assert!(is_silent(&mut stream));
            switch.run("nft delete table inet watch");
            answered(&mut stream);

            // A route that leads nowhere.
            switch.run(&format!("ip route add blackhole {client}"));
            ask(&mut stream);
            assert!(is_silent(&mut stream));
            switch.run(&format!("ip route del blackhole {client}"));
            answered(&mut stream);
            ask(&mut stream);
            answered(&mut stream);
        }
    }
    setup.show();
}
