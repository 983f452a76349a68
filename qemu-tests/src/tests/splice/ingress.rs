// SPDX-License-Identifier: MIT
//! Packets that are taken where a device gives them to the stack, and when they are not.

use std::net::SocketAddr;
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use super::Setup;
use super::rules_with;
use super::ways::answered;
use super::ways::ask;
use crate::kit::network::VIP;
use crate::kit::network::VIP6;
use crate::kit::wait_until;

/// Both addresses of the service, and what nft calls their family.
fn addresses() -> [(SocketAddr, &'static str); 2] {
    [
        (SocketAddr::from((VIP, 80)), "ip"),
        (SocketAddr::from((VIP6, 80)), "ip6"),
    ]
}

impl Setup {
    fn ingress_missed(&mut self) -> u64 {
        self.counter("ingress_missed")
    }

    /// Asks some times, and gives how many packets were not taken at ingress.
    fn exchange(&mut self, stream: &mut TcpStream) -> u64 {
        let before = self.ingress_missed();
        for _ in 0..5 {
            ask(stream);
            answered(stream);
        }
        // An acknowledgement may come late.
        sleep(Duration::from_millis(100));
        self.ingress_missed() - before
    }

    /// A connection on which a request was answered.
    fn connection(&mut self, address: SocketAddr) -> TcpStream {
        let mut stream = self.network.client.connect(address);
        ask(&mut stream);
        answered(&mut stream);
        stream
    }
}

/// The number behind a word in what nft prints.
fn counted(printed: &str) -> u64 {
    printed
        .split_once("packets ")
        .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("{printed}"))
}

pub(in super::super) fn packets_are_taken_at_ingress_unless_a_hook_looks() {
    let mut setup = Setup::new(&rules_with("nat"));
    for forward in ["nat", "fullnat"] {
        setup.load(&rules_with(forward));
        for (address, family) in addresses() {
            let mut stream = setup.connection(address);
            assert_eq!(setup.exchange(&mut stream), 0, "{address}");

            // Before the module's own hook, and behind it.
            for priority in [-350, -150] {
                let hook = format!("type filter hook prerouting priority {priority};");
                setup.network.switch.run(&format!(
                    "nft 'table {family} watch {{ chain seen {{ {hook} meta l4proto tcp counter; }}; }}'"
                ));
                let late = setup.exchange(&mut stream);
                let printed = setup
                    .network
                    .switch
                    .run(&format!("nft list table {family} watch"));
                assert!(late >= 10, "{address} {priority}: {late}");
                assert_eq!(counted(&printed), late, "{address} {priority}: {printed}");
                setup
                    .network
                    .switch
                    .run(&format!("nft delete table {family} watch"));
                assert_eq!(setup.exchange(&mut stream), 0, "{address} {priority}");
            }

            // What looks at packets that go on has them from the stack; connection tracking does not see them.
            setup.network.switch.run(&format!(
                "nft 'table {family} watch {{ chain seen {{ type filter hook forward priority 0; \
                 meta l4proto tcp ct state untracked counter; }}; }}'"
            ));
            assert_eq!(setup.exchange(&mut stream), 0, "{address}");
            let printed = setup
                .network
                .switch
                .run(&format!("nft list table {family} watch"));
            assert!(counted(&printed) >= 10, "{address}: {printed}");
            setup
                .network
                .switch
                .run(&format!("nft delete table {family} watch"));
            assert_eq!(setup.exchange(&mut stream), 0, "{address}");
        }
    }
    setup.show();
}

/// Prints that a packet socket of one protocol has seen a request.
const SOCKET: &str = r#"
import socket, sys
link = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(int(sys.argv[1], 16)))
if len(sys.argv) > 2:
    link.bind((sys.argv[2], int(sys.argv[1], 16)))
print("listens", flush=True)
while True:
    if b"GET /one" in link.recv(65536):
        print("seen", flush=True)
"#;

pub(in super::super) fn packet_sockets_see_what_is_taken_at_ingress() {
    let mut setup = Setup::new(&rules_with("nat"));
    std::fs::write("/tmp/socket.py", SOCKET).unwrap();
    for ((address, _), protocol) in addresses().into_iter().zip(["800", "86dd"]) {
        let mut stream = setup.connection(address);

        // One of every protocol sees packets before they are taken.
        let line = "tcpdump -n -l -i client tcp";
        let mut dump = setup.network.switch.start(line);
        dump.wait_for_output("listening on");
        assert_eq!(setup.exchange(&mut stream), 0, "{address}");
        dump.wait_for_output("GET /one");
        dump.wait_for_output("200 OK");
        drop(dump);

        // One of IP's own stands behind: of the device, and of all.
        for device in ["client", ""] {
            let line = format!("python3 -I -S /tmp/socket.py {protocol} {device}");
            let mut socket = setup.network.switch.start(&line);
            socket.wait_for_output("listens");
            let late = setup.exchange(&mut stream);
            assert!(late >= 5, "{address} {device}: {late}");
            socket.wait_for_output("seen");
            drop(socket);
            wait_until("packets are taken at ingress again", || {
                setup.exchange(&mut stream) == 0
            });
        }
    }
    setup.show();
}

pub(in super::super) fn ingress_follows_devices_under_load() {
    let mut setup = Setup::new(&rules_with("nat"));
    let mut streams = addresses().map(|(address, _)| setup.connection(address));
    let line = format!("wrk -t1 -c8 -d60s --timeout 1s http://{VIP}/one");
    let load = setup.network.client.start(&line);
    // The switch's addresses go with the device.
    let addresses_back = |device: &str| {
        let add = |address: &str| format!("ip addr add {address} dev {device} nodad; ");
        let all = ["fd00:1::1/64", "fd00:1::100/128"].map(add).concat();
        format!(
            "ip addr add 10.0.1.1/24 dev {device}; ip addr add {VIP}/32 dev {device}; {all} ip link set {device} up"
        )
    };
    let good = |setup: &mut Setup, streams: &mut [TcpStream; 2]| {
        for stream in &mut *streams {
            ask(stream);
            answered(stream);
        }
        let before = setup.ingress_missed();
        for stream in &mut *streams {
            ask(stream);
            answered(stream);
        }
        assert_eq!(setup.ingress_missed(), before);
    };

    setup.network.switch.run("ip link set client name other");
    good(&mut setup, &mut streams);
    setup.network.switch.run("ip link set other name client");
    good(&mut setup, &mut streams);

    // To a namespace where nothing is switched, and back, three times.
    setup.network.switch.run("ip netns add side");
    for _ in 0..3 {
        setup.network.switch.run("ip link set client netns side");
        setup
            .network
            .switch
            .run("ip netns exec side ip link set client netns switch");
        setup.network.switch.run(&addresses_back("client"));
        good(&mut setup, &mut streams);
    }

    // Removed, and another one in its place.
    setup.network.switch.run("ip link del client");
    setup
        .network
        .switch
        .run("ip link add client type veth peer name eth0 netns client");
    setup.network.client.run(
        "ip addr add 10.0.1.2/24 dev eth0; ip addr add fd00:1::2/64 dev eth0 nodad; ip link set eth0 up; \
         ip route add default via 10.0.1.1; ip route add default via fd00:1::1",
    );
    setup.network.switch.run(&addresses_back("client"));
    good(&mut setup, &mut streams);

    // It goes with the namespace that it was moved to, under load.
    drop(load);
    let line = format!("wrk -t1 -c8 -d60s --timeout 1s http://{VIP}/one");
    let _load = setup.network.client.start(&line);
    good(&mut setup, &mut streams);
    setup.network.switch.run("ip link set client netns side");
    setup.network.switch.run("ip netns del side");
    setup.show();
}
