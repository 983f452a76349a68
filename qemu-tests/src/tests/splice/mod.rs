// SPDX-License-Identifier: MIT
//! Requests that the module itself switches, from real clients to real servers.

mod bodies;
mod bounds;
mod browser;
mod changes;
pub(super) mod crossing;
mod flood;
mod front;
mod ingress;
mod ipsec;
mod known;
mod limits;
mod network;
mod pages;
mod ports;
mod proxied;
mod receivers;
mod routing;
mod tls;
mod ways;

use std::io::Read as _;
use std::net::TcpStream;

use l7switch_netlink::Client;

use super::requests::rules;
use crate::kit::Module;
use crate::kit::Network;
use crate::kit::Nginx;
use crate::kit::Process;
use crate::kit::network::VIP;
use crate::kit::network::VIP6;
use crate::kit::network::server;
use crate::kit::network::server6;
use crate::kit::origin;
use crate::kit::read_head;

pub(super) use bodies::a_gigabyte_is_downloaded;
pub(super) use bodies::bodies_are_identical;
pub(super) use bodies::clients_may_send_byte_by_byte;
pub(super) use bodies::servers_may_answer_before_they_have_the_body;
pub(super) use bodies::upgrades_are_opaque;
pub(super) use bounds::what_servers_may_not_have_is_refused_by_the_front;
pub(super) use browser::a_browser_is_served;
pub(super) use changes::fronts_are_replaced_under_load;
pub(super) use changes::servers_start_slowly;
pub(super) use changes::tables_are_replaced_and_servers_drained_under_load;
pub(super) use changes::the_module_goes_and_comes_under_load;
pub(super) use flood::a_hundred_thousand_idle_connections_take_no_memory;
pub(super) use flood::a_syn_flood_takes_no_memory;
pub(super) use flood::idle_connections_take_no_memory;
pub(super) use front::ambiguous_requests_reach_no_server;
pub(super) use front::the_front_serves_what_the_kernel_cannot;
pub(super) use ingress::ingress_follows_devices_under_load;
pub(super) use ingress::packet_sockets_see_what_is_taken_at_ingress;
pub(super) use ingress::packets_are_taken_at_ingress_unless_a_hook_looks;
pub(super) use ipsec::clear_text_that_ipsec_refuses_is_not_taken;
pub(super) use known::known_heads_go_where_the_rules_say_now;
pub(super) use limits::what_is_over_a_rate_limit_is_refused_by_the_front;
pub(super) use network::bad_networks_lose_nothing;
pub(super) use network::bad_networks_lose_nothing_in_ten_thousand_requests;
pub(super) use network::fragments_are_put_together;
pub(super) use network::options_of_tcp_may_be_missing_on_either_side;
pub(super) use network::paths_of_any_size_are_passed;
pub(super) use pages::segments_of_any_layout_are_read;
pub(super) use pages::what_was_read_is_what_is_sent;
pub(super) use ports::a_client_that_has_forgotten_its_connection_begins_another_from_its_port;
pub(super) use proxied::proxy_headers_are_read_and_sent;
pub(super) use proxied::proxy_headers_survive_bad_networks;
pub(super) use receivers::clients_of_small_segments_are_served;
pub(super) use receivers::servers_get_no_longer_segments_than_they_take;
pub(super) use receivers::what_nobody_asked_for_is_no_answer;
pub(super) use routing::one_connection_goes_to_many_servers;
pub(super) use routing::pipelined_requests_are_answered_in_order;
pub(super) use routing::requests_go_where_the_rules_say;
pub(super) use routing::servers_that_refuse_are_passed_over;
pub(super) use tls::servers_may_speak_first;
pub(super) use tls::tls_goes_by_server_name;
pub(super) use ways::rules_and_routes_are_heeded;

/// The routes of a service: by path, host, header and cookie to two pools, on nginx and on the origin of two hosts.
fn service(name: &str, listen: &str, six: &str) -> String {
    let mut text = format!("[service.{name}]\nlisten = [\"{listen}\"]\nprotocol = \"http\"\n");
    let mut route = |condition: &str, pool: &str| {
        text += &format!("[[service.{name}.route]]\n{condition}\npool = \"{pool}{six}\"\n");
    };
    route("path = { prefix = \"/one\" }", "nginx1");
    route("path = { prefix = \"/two\" }", "nginx2");
    route("path = { prefix = \"/origin1\" }", "origin1");
    route("path = { prefix = \"/origin2\" }", "origin2");
    route("host = \"a.test\"", "nginx1");
    route("host = \"*.b.test\"", "origin2");
    route("headers = { \"X-To\" = \"two\" }", "nginx2");
    route("cookies = { to = \"origin\" }", "origin1");
    text
}

/// Rules for IPv4 and IPv6 with a forwarding method.
fn rules_with(forward: &str) -> String {
    let mut text = service("v4", &format!("{VIP}:80"), "");
    text += &service("v6", &format!("[{VIP6}]:80"), "_6");
    let mut pool = |name: &str, server: String| {
        text += &format!("[pool.{name}]\nforward = \"{forward}\"\nservers = [\"{server}\"]\n");
    };
    for number in [1, 2] {
        pool(&format!("nginx{number}"), format!("{}:80", server(number)));
        pool(
            &format!("origin{number}"),
            format!("{}:8080", server(number)),
        );
        pool(
            &format!("nginx{number}_6"),
            format!("[{}]:80", server6(number)),
        );
        pool(
            &format!("origin{number}_6"),
            format!("[{}]:8080", server6(number)),
        );
    }
    text
}

/// A front on the switch with the rules of a file, which uses the module; and a connection to the module.
fn front_and_kernel(network: &Network, rules: &str) -> (Process, Client) {
    let front = start_front(network, rules, "");
    (front, network.switch.inside(|| Client::open().unwrap()))
}

/// The front alone, with more arguments.
fn start_front(network: &Network, rules: &str, more: &str) -> Process {
    let line = format!("l7switch {rules} --admin /tmp/admin --no-watch --kernel require {more}");
    let mut front = network.switch.start(&line);
    front.wait_for_output("ready,");
    front
}

/// Two servers, each with nginx and with the origin.
struct Setup {
    network: Network,
    client: Client,
    _origins: Vec<Process>,
    nginx: Vec<Nginx>,
    _module: Module,
}

impl Setup {
    fn new(text: &str) -> Self {
        let module = Module::load();
        let network = Network::new();
        let nginx = network.servers.iter().map(|host| {
            let name = host.name();
            Nginx::with(
                host,
                &format!(
                    "location / {{ return 200 \"{name} $remote_addr\\n\"; }} \
                     location = /one/large {{ sendfile on; try_files /large =404; }} \
                     location = /one/page {{ default_type text/html; try_files /page =404; }}"
                ),
            )
        });
        let nginx = nginx.collect();
        let origins = network.servers.iter().map(origin::origin).collect();
        let client = network.switch.inside(|| Client::open().unwrap());
        let mut setup = Self {
            network,
            client,
            _origins: origins,
            nginx,
            _module: module,
        };
        setup.load(text);
        setup
    }

    fn load(&mut self, text: &str) {
        self.client.load(rules(text).table.as_bytes()).unwrap();
    }

    /// A counter of the module.
    fn counter(&mut self, name: &str) -> u64 {
        self.client.module().unwrap().counter(name).unwrap()
    }

    /// Prints what is counted, for whoever reads a failure.
    fn show(&mut self) {
        show(&mut self.client);
    }

    fn curl(&mut self, arguments: &str) -> String {
        let line = format!("curl -sS -g --max-time $LIMIT {arguments}");
        let answer = self.network.client.attempt(&line);
        if !answer.is_good() {
            self.show();
            panic!("{line}: {answer:?}");
        }
        answer.stdout
    }
}

/// Prints what a module has counted, and its flows.
pub(super) fn show(client: &mut Client) {
    let module = client.module().unwrap();
    let counted = module.counters.iter().filter(|counter| counter.value > 0);
    let counted: Vec<String> = counted
        .map(|counter| format!("{} {}", counter.name, counter.value))
        .collect();
    println!("{}", counted.join(", "));
    println!("{:?}", client.flows().unwrap());
}

/// Reads one response with Content-Length from a stream: its head, and its body.
fn response(stream: &mut TcpStream) -> (String, String) {
    let head = read_head(stream);
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().unwrap())
    });
    let mut body = vec![0; length.unwrap()];
    stream.read_exact(&mut body).unwrap();
    (head, String::from_utf8(body).unwrap())
}
