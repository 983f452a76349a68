// SPDX-License-Identifier: MIT
//! The network of a crossing: hosts, links, the module, the front beside it, real servers.

use std::any::Any;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;

use l7switch_netlink::Client;
use l7switch_netlink::Module as Counted;

use super::CASES;
use super::Crossing;
use super::Family;
use super::Forward;
use super::Make;
use super::Place;
use super::exchange::DOWNLOAD;
use super::exchange::Kind;
use super::server;
use super::server::Server;
use crate::kit::Host;
use crate::kit::Module;
use crate::kit::Network;
use crate::kit::Process;
use crate::kit::network::VIP;
use crate::kit::network::VIP6;
use crate::kit::network::server;
use crate::kit::network::server6;

/// A link of the switch's to another host.
pub(super) struct Link<'a> {
    /// The other host.
    pub(super) host: &'a Host,
    /// The switch's device.
    pub(super) device: String,
    /// The device that is made on top of it, on the switch; x0 on the other host.
    pub(super) new: String,
    /// Its number: 0 is the client's.
    pub(super) number: usize,
}

impl Link<'_> {
    /// Both hosts' addresses below what is made on top: the switch's first.
    pub(super) fn below(&self) -> [[String; 2]; 2] {
        let number = self.number;
        [1, 2].map(|end| {
            [
                format!("192.168.{number}.{end}"),
                format!("fd01:{number}::{end}"),
            ]
        })
    }

    /// What goes over it, of both families: the networks behind the switch and at the other host.
    pub(super) fn selectors(&self) -> [[String; 2]; 2] {
        let end = self.number + 1;
        match self.number {
            0 => [
                ["0.0.0.0/0".to_owned(), "10.0.1.2/32".to_owned()],
                ["::/0".to_owned(), "fd00:1::2/128".to_owned()],
            ],
            _ => [
                ["0.0.0.0/0".to_owned(), format!("10.0.2.{end}/32")],
                ["::/0".to_owned(), format!("fd00:2::{end}/128")],
            ],
        }
    }

    /// Fills in what stands for a device or an address.
    fn fill(&self, line: &str, at_switch: bool) -> String {
        let [switch, host] = self.below();
        let (dev, new, own, peer) = match at_switch {
            true => (self.device.as_str(), self.new.as_str(), switch, host),
            false => ("eth0", "x0", host, switch),
        };
        line.replace("{number}", &self.number.to_string())
            .replace("{host}", self.host.name())
            .replace("{dev}", dev)
            .replace("{new}", new)
            .replace("{own}", &own[0])
            .replace("{peer}", &peer[0])
            .replace("{own6}", &own[1])
            .replace("{peer6}", &peer[1])
    }

    /// The switch's addresses and routes, on a device.
    pub(super) fn at_switch(&self, device: &str) -> String {
        if self.number == 0 {
            return format!(
                "addr add 10.0.1.1/24 dev {device}\naddr add {VIP}/32 dev {device}\n\
                 addr add fd00:1::1/64 dev {device} nodad\naddr add {VIP6}/128 dev {device} nodad\n"
            );
        }
        let number = u8::try_from(self.number).expect("there are few servers");
        let (to, to6) = (server(number), server6(number));
        format!(
            "addr add 10.0.2.1/32 dev {device}\nroute replace {to} dev {device} src 10.0.2.1\n\
             addr add fd00:2::1/128 dev {device} nodad\nroute replace {to6} dev {device} src fd00:2::1\n"
        )
    }

    /// The other host's addresses and routes, on a device.
    pub(super) fn at_host(&self, device: &str) -> String {
        let net = if self.number == 0 { 1 } else { 2 };
        let end = 1 + self.number.max(1);
        format!(
            "addr add 10.0.{net}.{end}/24 dev {device}\naddr add fd00:{net}::{end}/64 dev {device} nodad\n\
             route replace default via 10.0.{net}.1 dev {device}\nroute replace default via fd00:{net}::1 dev {device}\n"
        )
    }
}

/// The network of a crossing.
pub(super) struct Site {
    /// The hosts.
    pub(super) network: Network,
    /// How the client connects.
    pub(super) kind: Kind,
    /// Whether servers listen by MPTCP.
    pub(super) mptcp_servers: bool,
    /// How much is downloaded.
    pub(super) download: usize,
    /// Where clients connect to, instead of the service: by family and forwarding method.
    pub(super) instead: Option<fn(Family, Forward) -> SocketAddr>,
    /// What has to be there as long as the crossing is.
    pub(super) keep: Vec<Box<dyn Any>>,
    servers: Vec<Server>,
    front: Option<Process>,
    control: Option<Client>,
    module: Option<Module>,
}

impl Site {
    /// The network, and nothing on it.
    pub(super) fn new() -> Self {
        Self {
            network: Network::new(),
            kind: Kind::Tcp,
            mptcp_servers: false,
            download: DOWNLOAD,
            instead: None,
            keep: Vec::new(),
            servers: Vec::new(),
            front: None,
            control: None,
            module: None,
        }
    }

    /// The links of a place.
    pub(super) fn links(&self, place: Place) -> Vec<Link<'_>> {
        let all = [&self.network.client]
            .into_iter()
            .chain(&self.network.servers);
        let links = all.enumerate().map(|(number, host)| Link {
            host,
            device: host.name().to_owned(),
            new: format!("x{number}"),
            number,
        });
        let is_of = |link: &Link<'_>| match place {
            Place::Ingress => link.number == 0,
            Place::Egress => link.number > 0,
            Place::Whole => true,
        };
        links.filter(is_of).collect()
    }

    /// Changes the network as a crossing wants it.
    ///
    /// # Errors
    ///
    /// What the kernel or a program says where it has no such thing.
    pub(super) fn make(&mut self, crossing: &Crossing, place: Place) -> Result<(), String> {
        for module in crossing.modules {
            sh(&self.network.switch, &format!("modprobe {module}"))?;
        }
        match crossing.make {
            Make::Nothing => {}
            Make::Devices { switch, host } => {
                for link in self.links(place) {
                    self.stack(&link, switch, host)?;
                }
            }
            Make::Script(script) => self.script(script)?,
            Make::With(make) | Make::Change { before: make, .. } => make(self, place),
        }
        Ok(())
    }

    /// Runs a script on the switch, in which the devices are filled in.
    pub(super) fn script(&self, script: &str) -> Result<(), String> {
        let line = script
            .replace("{in}", "\"client\"")
            .replace("{outs}", "\"server1\", \"server2\"");
        sh(&self.network.switch, &line)
    }

    /// Makes devices on top of a link's, and has the addresses there.
    pub(super) fn stack(&self, link: &Link<'_>, switch: &str, host: &str) -> Result<(), String> {
        let ends = [
            (
                &self.network.switch,
                switch,
                true,
                link.device.as_str(),
                link.new.as_str(),
            ),
            (link.host, host, false, "eth0", "x0"),
        ];
        let below = link.below();
        for ((at, lines, at_switch, device, new), own) in ends.into_iter().zip(below) {
            if lines.is_empty() {
                continue;
            }
            let addresses = match at_switch {
                true => link.at_switch(new),
                false => link.at_host(new),
            };
            ip(
                at,
                &format!(
                    "addr flush dev {device} scope global\naddr add {}/24 dev {device}\n\
                     addr add {}/64 dev {device} nodad\n{}\nlink set {device} up\nlink set {new} up\n{addresses}",
                    own[0],
                    own[1],
                    link.fill(lines, at_switch),
                ),
            )?;
        }
        Ok(())
    }

    /// Loads the module, and starts servers and the front.
    pub(super) fn start(&mut self) {
        self.module = Some(Module::load());
        let servers = self.network.servers.iter();
        self.servers = servers
            .map(|host| Server::start(host, self.mptcp_servers))
            .collect();
        fs::write("/tmp/crossing.toml", rules()).expect("/tmp is writable");
        let line = "l7switch /tmp/crossing.toml --no-watch --kernel require";
        let mut front = self.network.switch.start(line);
        front.wait_for_output("ready,");
        self.front = Some(front);
        let control = self.network.switch.inside(Client::open);
        self.control = Some(control.expect("the module is there"));
    }

    /// Where clients connect to.
    pub(super) fn address(&self, family: Family, forward: Forward) -> SocketAddr {
        self.instead.unwrap_or(service)(family, forward)
    }

    /// What the module has counted, and packets from clients.
    pub(super) fn counted(&mut self) -> (Counted, u64) {
        let control = self.control.as_mut().expect("it was started");
        let counted = control.module().expect("the module answers");
        let services = control.services().expect("the module answers");
        (
            counted,
            services.iter().map(|service| service.traffic.packets).sum(),
        )
    }

    /// The connections that the module follows, for whoever reads a failure.
    pub(super) fn flows(&mut self) -> String {
        let control = self.control.as_mut().expect("it was started");
        format!("{:?}", control.flows())
    }
}

/// The address of the service with a forwarding method.
pub(super) fn service(family: Family, forward: Forward) -> SocketAddr {
    let port = match forward {
        Forward::Nat => 80,
        Forward::Fullnat => 81,
    };
    match family {
        Family::V4 => (VIP, port).into(),
        Family::V6 => (VIP6, port).into(),
    }
}

/// A service for each case, with two pools of one server.
fn rules() -> String {
    let mut text = String::new();
    for (family, forward) in CASES {
        let method = match forward {
            Forward::Nat => "nat",
            Forward::Fullnat => "fullnat",
        };
        let name = format!("{method}-{family:?}").to_lowercase();
        let listen = service(family, forward);
        let _ = write!(
            text,
            "[service.{name}]\nlisten = \"{listen}\"\nprotocol = \"http\"\n"
        );
        for number in [1, 2] {
            let _ = write!(
                text,
                "[[service.{name}.route]]\npath = {{ prefix = \"/{number}\" }}\npool = \"{name}-{number}\"\n"
            );
        }
        for number in [1, 2] {
            let address = match family {
                Family::V4 => SocketAddr::from((server(number), server::PORT)),
                Family::V6 => SocketAddr::from((server6(number), server::PORT)),
            };
            let _ = write!(
                text,
                "[pool.{name}-{number}]\nforward = \"{method}\"\nservers = [\"{address}\"]\n"
            );
        }
    }
    text
}

/// Runs lines of `ip` on a host.
pub(super) fn ip(host: &Host, lines: &str) -> Result<(), String> {
    sh(host, &format!("ip -batch - <<'END'\n{lines}\nEND"))
}

/// Runs a script on a host; what it complains of is the error.
pub(super) fn sh(host: &Host, script: &str) -> Result<(), String> {
    let attempt = host.attempt(script);
    match attempt.is_good() {
        true => Ok(()),
        false => {
            let said = attempt.stderr.trim().replace('\n', "; ");
            Err(format!("on {}: {said}", host.name()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_are_good() {
        if let Err(report) = l7switch_rules::load_text("rules", &rules()) {
            panic!("{}", report.render(false));
        }
    }
}
