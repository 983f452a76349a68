// SPDX-License-Identifier: MIT
//! Hosts as network namespaces, joined by veth pairs.
//!
//! ```text
//! client                     switch                                       server1, server2, ...
//! 10.0.1.2 fd00:1::2   ---   10.0.1.1 fd00:1::1, VIP 10.0.1.100 fd00:1::100
//!                            10.0.2.1 fd00:2::1                     ---   10.0.2.2 fd00:2::2, 10.0.2.3 fd00:2::3, ...
//! ```

use std::fs;
use std::fs::File;
use std::io;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::panic::resume_unwind;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::thread::LinkNameSpaceType;
use rustix::thread::move_into_link_name_space;

use super::links::Links;
use super::links::new_namespace;
use super::process;
use super::process::Attempt;
use super::process::Process;
use super::wait::limit;
use super::wait::wait_until;

/// The beginning of a script in Python that sends frames of its own: kit/frames.py says what is there.
pub const FRAMES: &str = include_str!("frames.py");

/// The client's addresses.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 2);
/// The client's, IPv6.
pub const CLIENT6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 2);
/// The switch's virtual address.
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 100);
/// The switch's virtual address, IPv6.
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0x100);

/// The switch's own addresses: towards the client, towards the servers.
const GATEWAYS: [(Ipv4Addr, Ipv6Addr); 2] = [
    (
        Ipv4Addr::new(10, 0, 1, 1),
        Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 1),
    ),
    (
        Ipv4Addr::new(10, 0, 2, 1),
        Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 1),
    ),
];

/// The address of a real server, counted from 1: 10.0.2.2 and up.
#[must_use]
pub fn server(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 2, number + 1)
}

/// The address of a real server, counted from 1: fd00:2::2 and up.
#[must_use]
pub fn server6(number: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, u16::from(number) + 1)
}

/// A host: a network namespace with a name, for `ip netns` too.
#[derive(Debug)]
pub struct Host {
    name: String,
    namespace: File,
}

impl Host {
    /// Makes a host of this name, with only a loopback device.
    ///
    /// # Panics
    ///
    /// Where there is one already.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let namespace = new_namespace(name, || {
            // Else the first packets by IPv6 wait for a second.
            for setting in ["all", "default"] {
                fs::write(format!("/proc/sys/net/ipv6/conf/{setting}/accept_dad"), "0")
                    .expect("there is IPv6");
            }
        });
        Self {
            name: name.to_owned(),
            namespace,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Calls a function on this host: sockets that it makes, and programs that it starts, are this host's for as long
    /// as they live. Anything else of the process stays as it is.
    pub fn inside<T: Send>(&self, function: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let entered = scope.spawn(|| {
                move_into_link_name_space(self.namespace.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("the namespace can be entered");
                function()
            });
            entered.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Runs a line of shell to its end; gives what it prints on standard output.
    ///
    /// # Panics
    ///
    /// Where it ends with an exit code other than 0; shows what it printed.
    pub fn run(&self, line: &str) -> String {
        let attempt = self.attempt(line);
        assert!(
            attempt.is_good(),
            "on {}: {line}: {}\n{}{}",
            self.name,
            attempt.status,
            attempt.stdout,
            attempt.stderr
        );
        attempt.stdout
    }

    /// Runs a line of shell that may fail.
    #[must_use]
    pub fn attempt(&self, line: &str) -> Attempt {
        self.inside(|| process::attempt(line))
    }

    /// Starts a program, given as a line of shell, that goes on until it ends or is dropped.
    #[must_use]
    pub fn start(&self, line: &str) -> Process {
        self.inside(|| process::start(line))
    }

    /// Fetches a URL with curl and gives the body; `arguments` are words of shell for curl.
    ///
    /// # Panics
    ///
    /// Where curl fails, or the status is 400 or above.
    pub fn curl(&self, arguments: &str) -> String {
        self.run(&format!(
            "curl --silent --show-error --fail --globoff --max-time $LIMIT {arguments}"
        ))
    }

    /// Fetches `http://HOST/PATH`, where the host is an address, perhaps with a port, and gives the body. It costs a tenth
    /// of what [`Host::curl`] does.
    ///
    /// # Panics
    ///
    /// Where there is no answer, or its status is 400 or above.
    pub fn get(&self, url: &str) -> String {
        self.try_get(url)
            .unwrap_or_else(|problem| panic!("{} gets {url}: {problem}", self.name))
    }

    /// As [`Host::get`], with what went wrong.
    ///
    /// # Errors
    ///
    /// What the socket says, or the answer that is not good.
    pub fn try_get(&self, url: &str) -> Result<String, String> {
        let rest = url.strip_prefix("http://").expect("it is HTTP");
        let (host, path) = rest.split_once('/').expect("it has a path");
        let to: SocketAddr = host
            .parse()
            .or_else(|_| format!("{host}:80").parse())
            .expect("the host is an address");
        let exchange = || -> io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&to, limit())?;
            stream.set_read_timeout(Some(limit()))?;
            let request =
                format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes())?;
            let mut answer = String::new();
            // Until the end of what it announces: a server may leave the connection open.
            let mut reader = BufReader::new(stream);
            let mut len = None;
            while reader.read_line(&mut answer)? > 2 {
                let line = answer.lines().last().unwrap_or_default();
                if let Some((name, value)) = line.split_once(':')
                    && name.eq_ignore_ascii_case("content-length")
                {
                    len = value.trim().parse().ok();
                }
            }
            match len {
                Some(len) => reader.take(len).read_to_string(&mut answer)?,
                None => reader.read_to_string(&mut answer)?,
            };
            Ok(answer)
        };
        let answer = self.inside(exchange).map_err(|error| error.to_string())?;
        let good = ["2", "3"].contains(&answer.get(9..10).unwrap_or_default());
        match answer.split_once("\r\n\r\n") {
            Some((head, body))
                if good && !head.to_ascii_lowercase().contains("transfer-encoding") =>
            {
                Ok(body.to_owned())
            }
            _ => Err(answer),
        }
    }

    /// Asks a generic netlink family by the kernel's Python tool (tools/net/ynl); `arguments` are words of shell for it:
    /// `--do x --json '{...}'`, `--dump x`. Gives its answer as JSON. The family's specification is in
    /// /l7/share/netlink/specs; it is taken as it stands, since checking it costs seconds here.
    ///
    /// # Panics
    ///
    /// Where the kernel refuses.
    pub fn ynl(&self, family: &str, arguments: &str) -> String {
        self.run(&format!(
            "python3 /l7/share/pyynl/cli.py --spec /l7/share/netlink/specs/{family}.yaml --no-schema --output-json \
             {arguments}"
        ))
    }

    /// Sets a sysctl, as `sysctl -w` names it.
    ///
    /// # Panics
    ///
    /// Where this host has none of that name.
    pub fn set(&self, setting: &str, value: &str) {
        let path = Path::new("/proc/sys").join(setting.replace('.', "/"));
        self.inside(|| fs::write(&path, value))
            .unwrap_or_else(|error| panic!("{setting} on {}: {error}", self.name));
    }

    /// The hardware address of a device.
    #[must_use]
    pub fn mac(&self, device: &str) -> String {
        let line = format!("ip -brief link show dev {device} | awk '{{print $3}}'");
        self.run(&line).trim().to_owned()
    }

    /// A TCP connection from this host.
    ///
    /// # Panics
    ///
    /// Where it is not established in time. Reads and writes of it fail after [`limit`].
    pub fn connect(&self, to: impl Into<SocketAddr>) -> TcpStream {
        let to = to.into();
        let stream = self
            .inside(|| TcpStream::connect_timeout(&to, limit()))
            .unwrap_or_else(|error| panic!("from {} to {to}: {error}", self.name));
        let limit = Some(limit());
        stream.set_read_timeout(limit).expect("a limit can be set");
        stream.set_write_timeout(limit).expect("a limit can be set");
        stream
    }

    /// Makes it a host of one link, whose default route is the switch.
    fn is_end(&self, own: (Ipv4Addr, Ipv6Addr), gateway: (Ipv4Addr, Ipv6Addr)) {
        self.inside(|| {
            let links = Links::open();
            links.set_up("eth0");
            links.address("eth0", own.0, 24);
            links.address("eth0", own.1, 64);
            links.default_route(gateway.0);
            links.default_route(gateway.1);
        });
    }

    /// Waits until a connection from this host is accepted.
    ///
    /// # Panics
    ///
    /// Where none is in time.
    pub fn wait_for_port(&self, to: impl Into<SocketAddr>) {
        let to = to.into();
        wait_until(&format!("{} reaches {to}", self.name), || {
            self.inside(|| TcpStream::connect_timeout(&to, Duration::from_secs(1)).is_ok())
        });
    }
}

/// A client, a switch and real servers, joined so that the switch routes between them.
#[derive(Debug)]
pub struct Network {
    /// Where requests come from.
    pub client: Host,
    /// The one in the middle.
    pub switch: Host,
    /// The real servers: the first one is 10.0.2.2.
    pub servers: Vec<Host>,
}

impl Network {
    /// One with two real servers.
    #[must_use]
    pub fn new() -> Self {
        Self::with_servers(2)
    }

    /// One with so many real servers.
    ///
    /// # Panics
    ///
    /// Where the kernel refuses, say for want of veth.
    #[must_use]
    pub fn with_servers(number: u8) -> Self {
        let client = Host::new("client");
        let switch = Host::new("switch");
        let servers: Vec<Host> = (1..=number)
            .map(|number| Host::new(&format!("server{number}")))
            .collect();
        let links = Links::open();
        for host in servers.iter().chain([&client]) {
            let at_switch = (host.name.as_str(), &switch.namespace);
            links.join(("eth0", &host.namespace), at_switch);
        }
        // A point-to-point link to each server: no bridge stands between.
        switch.inside(|| {
            let links = Links::open();
            links.set_up("client");
            for (address, prefix) in [(GATEWAYS[0].0, 24), (VIP, 32)] {
                links.address("client", address, prefix);
            }
            for (address, prefix) in [(GATEWAYS[0].1, 64), (VIP6, 128)] {
                links.address("client", address, prefix);
            }
            for number in 1..=number {
                let device = format!("server{number}");
                let (own, own6) = GATEWAYS[1];
                links.set_up(&device);
                links.address(&device, own, 32);
                links.host_route(server(number), &device, own);
                links.address(&device, own6, 128);
                links.host_route(server6(number), &device, own6);
            }
            for setting in ["ipv4/ip_forward", "ipv6/conf/all/forwarding"] {
                fs::write(format!("/proc/sys/net/{setting}"), "1").expect("it can forward");
            }
        });
        client.is_end((CLIENT, CLIENT6), GATEWAYS[0]);
        for (number, host) in (1..).zip(&servers) {
            host.is_end((server(number), server6(number)), GATEWAYS[1]);
        }
        Self {
            client,
            switch,
            servers,
        }
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}
