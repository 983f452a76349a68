// SPDX-License-Identifier: MIT
//! Connections of clients, as the module follows them by their packets.

use std::any::Any;
use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use l7switch_engine::netlink::FlowState;
use l7switch_netlink::Client;
use l7switch_netlink::Flow;
use l7switch_netlink::Traffic;

use super::requests::rules;
use crate::kit::Host;
use crate::kit::Module;
use crate::kit::Network;
use crate::kit::Nginx;
use crate::kit::Origin;
use crate::kit::limit;
use crate::kit::network::VIP;
use crate::kit::network::VIP6;
use crate::kit::wait_until;

/// Services by name, each on a port of the virtual addresses.
fn services(services: &[(&str, u16)]) -> l7switch_rules::RuleSet {
    let one = |(name, port): &(&str, u16)| {
        format!(
            "[service.{name}]\nlisten = [\"{VIP}:{port}\", \"[{VIP6}]:{port}\"]\nprotocol = \"http\"\n\
             [[service.{name}.route]]\npool = \"p\"\n"
        )
    };
    let text: String = services.iter().map(one).collect();
    rules(&(text + "[pool.p]\nservers = [\"10.0.2.2:80\"]\n"))
}

/// A network, a server on ports 80 and 81 of its switch, and a client of the module there.
struct Setup {
    network: Network,
    client: Client,
    _server: Box<dyn Any>,
    _module: Module,
}

impl Setup {
    fn new(parameters: &str, wanted: &[(&str, u16)]) -> Self {
        let server = |switch: &Host| Box::new(Origin::on(switch, &[80, 81])) as Box<dyn Any>;
        Self::with_server(parameters, wanted, server)
    }

    fn with_server(
        parameters: &str,
        wanted: &[(&str, u16)],
        server: impl FnOnce(&Host) -> Box<dyn Any>,
    ) -> Self {
        let module = Module::try_load(parameters).unwrap();
        let network = Network::with_servers(0);
        let server = server(&network.switch);
        let mut client = network.switch.inside(|| Client::open().unwrap());
        client.load(services(wanted).table.as_bytes()).unwrap();
        Self {
            network,
            client,
            _server: server,
            _module: module,
        }
    }

    /// The flow of a connection.
    fn flow_of(&mut self, client: SocketAddr) -> Option<Flow> {
        let flows = self.client.flows().unwrap();
        flows.into_iter().find(|flow| flow.client == client)
    }

    fn traffic(&mut self, service: &str) -> Traffic {
        let services = self.client.services().unwrap();
        let service = services.iter().find(|found| found.name == service);
        service.unwrap_or_else(|| panic!("{services:?}")).traffic
    }

    fn counter(&mut self, name: &str) -> u64 {
        let module = self.client.module().unwrap();
        let counter = module.counters.iter().find(|counter| counter.name == name);
        counter.unwrap().value
    }

    /// Waits until a flow has so many packets.
    fn wait_for_packets(&mut self, client: SocketAddr, packets: u64) -> Flow {
        let mut flow = None;
        wait_until("the packets are counted", || {
            flow = self.flow_of(client);
            flow.as_ref().is_some_and(|flow| flow.packets >= packets)
        });
        flow.unwrap()
    }
}

fn get(stream: &mut TcpStream) {
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let mut answer = [0; 4096];
    assert!(stream.read(&mut answer).unwrap() > 0);
}

pub(super) fn connections_are_followed_from_open_to_close() {
    let mut setup = Setup::new("", &[("web", 80)]);
    let vips: [(SocketAddr, u64, u64); 2] = [((VIP, 80).into(), 20, 0), ((VIP6, 80).into(), 40, 1)];
    for (virtual_address, header, before) in vips {
        let mut stream = setup.network.client.connect(virtual_address);
        let own = stream.local_addr().unwrap();
        let flow = setup.wait_for_packets(own, 2);
        assert_eq!(
            (flow.service.as_str(), flow.destination),
            ("web", virtual_address)
        );
        assert_eq!((flow.state, flow.packets), (FlowState::Open, 2));
        // A SYN has 40 bytes of TCP here, an ACK 32.
        assert_eq!(flow.bytes, 2 * header + 40 + 32);
        assert!(flow.age >= flow.idle && flow.age < 10_000, "{flow:?}");
        let traffic = setup.traffic("web");
        assert_eq!(traffic.connections, before + 1);

        get(&mut stream);
        let flow = setup.wait_for_packets(own, 3);
        assert_eq!(flow.state, FlowState::Open);
        assert!(flow.bytes >= 3 * header + 40 + 2 * 32 + 27, "{flow:?}");
        let flows = setup.client.flows().unwrap();
        let (packets, bytes) = flows
            .iter()
            .fold((0, 0), |(p, b), flow| (p + flow.packets, b + flow.bytes));
        let traffic = setup.traffic("web");
        assert_eq!((traffic.packets, traffic.bytes), (packets, bytes));

        drop(stream);
        wait_until("it closes", || {
            setup
                .flow_of(own)
                .is_some_and(|flow| flow.state == FlowState::Closing)
        });
    }
    // To another port or address of the switch.
    drop(setup.network.client.connect((VIP, 81)));
    drop(setup.network.client.connect(([10, 0, 1, 1], 80)));
    assert_eq!(setup.client.flows().unwrap().len(), 2);
    assert_eq!(setup.client.module().unwrap().flows, 2);

    // A connection that gets no answer.
    setup.network.switch.run(
        "nft 'add table inet f; add chain inet f in { type filter hook input priority 0; }; \
         add rule inet f in tcp dport 80 drop'",
    );
    let to = SocketAddr::from((VIP, 80));
    let gone = setup
        .network
        .client
        .inside(|| TcpStream::connect_timeout(&to, Duration::from_millis(20)));
    assert!(gone.is_err());
    let opening = setup
        .client
        .flows()
        .unwrap()
        .into_iter()
        .filter(|flow| flow.state == FlowState::Opening);
    assert_eq!(opening.count(), 1);
    setup.network.switch.run("nft delete table inet f");

    // Counters become 0, flows stay.
    setup.client.reset_counters().unwrap();
    assert_eq!(setup.traffic("web"), Traffic::default());
    assert_eq!(setup.client.flows().unwrap().len(), 3);
    setup.client.unload().unwrap();
    assert_eq!(
        (
            setup.client.flows().unwrap().len(),
            setup.client.module().unwrap().flows
        ),
        (0, 0)
    );
    setup.network.client.get(&format!("http://{VIP}/"));
    assert_eq!(setup.client.module().unwrap().flows, 0);
}

pub(super) fn closed_connections_are_forgotten() {
    let mut setup = Setup::new("", &[("web", 80)]);
    let open = setup.network.client.connect((VIP, 80));
    let closed = Instant::now();
    for _ in 0..20 {
        drop(setup.network.client.connect((VIP, 80)));
    }
    wait_until("all are closing", || {
        let flows = setup.client.flows().unwrap();
        flows
            .iter()
            .filter(|flow| flow.state == FlowState::Closing)
            .count()
            == 20
    });
    // After 10 seconds of silence, and the turn that finds them, of 8.
    thread::sleep(Duration::from_secs(9).saturating_sub(closed.elapsed()));
    assert_eq!(setup.client.module().unwrap().flows, 21);
    while setup.client.module().unwrap().flows > 1 {
        assert!(
            closed.elapsed() < 2 * limit() + Duration::from_secs(2),
            "they stay"
        );
        thread::sleep(Duration::from_millis(100));
    }
    println!("forgotten after {:?}", closed.elapsed());
    let flows = setup.client.flows().unwrap();
    assert_eq!(flows.len(), 1);
    assert_eq!(flows[0].client, open.local_addr().unwrap());
    assert!(
        flows[0].idle > 9_000 && flows[0].age >= flows[0].idle,
        "{flows:?}"
    );
}

pub(super) fn local_clients_are_followed_once() {
    let mut setup = Setup::new("", &[("web", 80)]);
    let mut streams = Vec::new();
    for to in [SocketAddr::from((VIP, 80)), SocketAddr::from((VIP6, 80))] {
        let stream = setup.network.switch.connect(to);
        let own = stream.local_addr().unwrap();
        let flow = setup.wait_for_packets(own, 2);
        assert_eq!((flow.state, flow.destination), (FlowState::Open, to));
        // Each packet passes the loopback device, too.
        assert_eq!(flow.packets, 2, "{flow:?}");
        streams.push(stream);
    }
    let traffic = setup.traffic("web");
    assert_eq!((traffic.connections, traffic.packets), (2, 4));

    // A client on the switch of a service that is elsewhere.
    let server = Host::new("far");
    setup.network.switch.run(
        "ip link add far type veth peer name eth0 netns far && ip addr add 10.0.9.1/24 dev far && ip link set far up && \
         ip -n far addr add 10.0.9.2/24 dev eth0 && ip -n far link set eth0 up",
    );
    let listener = server.inside(|| TcpListener::bind("10.0.9.2:80").unwrap());
    let text = "[service.far]\nlisten = \"10.0.9.2:80\"\nprotocol = \"http\"\n[[service.far.route]]\npool = \"p\"\n\
                [pool.p]\nservers = [\"10.0.2.2:80\"]\n";
    setup.client.load(rules(text).table.as_bytes()).unwrap();
    let stream = setup.network.switch.connect(([10, 0, 9, 2], 80));
    let flow = setup.wait_for_packets(stream.local_addr().unwrap(), 2);
    assert_eq!((flow.service.as_str(), flow.packets), ("far", 2));
    drop(listener);
}

pub(super) fn flows_of_services_that_stay_outlive_a_table() {
    let mut setup = Setup::new("", &[("other", 81), ("web", 80)]);
    let mut stays = setup.network.client.connect((VIP, 80));
    let mut goes = setup.network.client.connect((VIP, 81));
    get(&mut stays);
    get(&mut goes);
    let own = stays.local_addr().unwrap();
    let before = setup.wait_for_packets(own, 3);
    let traffic = setup.traffic("web");
    assert_eq!(setup.client.flows().unwrap().len(), 2);

    // The service has another place in the table, and a name that sorts elsewhere is before it.
    let generation = setup
        .client
        .load(
            services(&[("aaa", 79), ("bbb", 78), ("web", 80)])
                .table
                .as_bytes(),
        )
        .unwrap();
    assert_eq!(generation, 2);
    let flows = setup.client.flows().unwrap();
    assert_eq!(flows.len(), 1, "{flows:?}");
    assert_eq!((flows[0].service.as_str(), flows[0].client), ("web", own));
    assert!(flows[0].packets >= before.packets && flows[0].age >= before.age);
    let after = setup.traffic("web");
    assert!(
        after.packets >= traffic.packets && after.connections == 1,
        "{after:?}"
    );
    get(&mut stays);
    get(&mut goes);
    assert_eq!(
        setup.wait_for_packets(own, before.packets + 1).service,
        "web"
    );

    // A connection that was there before the service is not followed, but its packets count.
    setup
        .client
        .load(services(&[("other", 81), ("web", 80)]).table.as_bytes())
        .unwrap();
    get(&mut goes);
    let other = setup.traffic("other");
    assert!(other.packets > 0 && other.connections == 0, "{other:?}");
    assert_eq!(setup.client.flows().unwrap().len(), 1);

    // Another service on the same address, by name another: nothing stays.
    setup
        .client
        .load(services(&[("renamed", 80)]).table.as_bytes())
        .unwrap();
    assert_eq!(setup.client.flows().unwrap(), []);
    get(&mut stays);
    assert_eq!(setup.client.module().unwrap().flows, 0);
}

pub(super) fn a_full_table_of_flows_is_counted_and_breaks_nothing() {
    // One connection is rounded up to 8 in each of 64 parts. nginx takes them as fast as they come: a second SYN of one
    // that is not followed would count again.
    let mut setup = Setup::with_server("max_flows=1", &[("web", 80)], |switch| {
        Box::new(Nginx::start(switch))
    });
    assert_eq!(setup.client.module().unwrap().max_flows, 1);
    // Held open: closed ones would be forgotten within seconds, of which a slow kernel takes many.
    let open: Vec<TcpStream> = setup.network.client.inside(|| {
        (0..900)
            .map(|_| TcpStream::connect((VIP, 80)).unwrap())
            .collect()
    });
    let full = setup.counter("flows_full");
    let followed = u64::from(setup.client.module().unwrap().flows);
    println!("{followed} followed, {full} not");
    assert!(followed <= 512 && followed > 300);
    assert_eq!(setup.traffic("web").connections, 900);
    assert_eq!(followed + full, 900);
    assert_eq!(setup.client.flows().unwrap().len() as u64, followed);
    drop(open);
    assert_eq!(
        setup.network.client.get(&format!("http://{VIP}/")),
        "switch\n"
    );
}
