// SPDX-License-Identifier: MIT
//! Hosts as network namespaces, joined by veth pairs.
//!
//! ```text
//! client                     switch                                       server1, server2, ...
//! 10.0.1.2 fd00:1::2   ---   10.0.1.1 fd00:1::1, VIP 10.0.1.100 fd00:1::100
//!                            10.0.2.1 fd00:2::1                     ---   10.0.2.2 fd00:2::2, 10.0.2.3 fd00:2::3, ...
//! ```

use std::fmt::Write as _;
use std::fs;
use std::fs::File;
use std::io::Write as _;
use std::net::IpAddr;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use rustix::thread::LinkNameSpaceType;
use rustix::thread::move_into_link_name_space;

use super::process;
use super::process::Attempt;
use super::process::Process;
use super::wait::limit;
use super::wait::wait_until;
use crate::guest::program;

/// The client's addresses.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 2);
/// The client's, IPv6.
pub const CLIENT6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 2);
/// The switch's virtual address.
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 100);
/// The switch's virtual address, IPv6.
pub const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0x100);

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
        ip(&format!("netns add {name}"));
        Self::made(name)
    }

    fn made(name: &str) -> Self {
        let namespace =
            File::open(Path::new("/run/netns").join(name)).expect("the namespace is there");
        let host = Self {
            name: name.to_owned(),
            namespace,
        };
        // Else the first packets by IPv6 wait for a second.
        for setting in ["all", "default"] {
            host.set(&format!("net.ipv6.conf.{setting}.accept_dad"), "0");
        }
        host
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
            "curl --silent --show-error --fail --globoff --max-time {} {arguments}",
            limit().as_secs()
        ))
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

    /// A TCP connection from this host.
    ///
    /// # Panics
    ///
    /// Where it is not established in 10 seconds. Reads and writes of it fail after 10.
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

    /// Waits until a connection from this host is accepted.
    ///
    /// # Panics
    ///
    /// Where none is in 10 seconds.
    pub fn wait_for_port(&self, to: impl Into<SocketAddr>) {
        let to = to.into();
        wait_until(&format!("{} reaches {to}", self.name), || {
            self.inside(|| TcpStream::connect_timeout(&to, Duration::from_secs(1)).is_ok())
        });
    }

    /// Runs commands of `ip`, one a line, on this host.
    ///
    /// # Panics
    ///
    /// Where one fails.
    pub fn ip(&self, commands: &str) {
        self.inside(|| ip(commands));
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
        let mut commands = String::from("netns add client\nnetns add switch\n");
        for server in 1..=number {
            let _ = writeln!(commands, "netns add server{server}");
        }
        commands += "link add eth0 netns client type veth peer name client netns switch\n";
        for server in 1..=number {
            let _ = writeln!(
                commands,
                "link add eth0 netns server{server} type veth peer name server{server} netns switch"
            );
        }
        ip(&commands);

        let client = Host::made("client");
        client.ip(&end_host(
            IpAddr::V4(CLIENT),
            "10.0.1.1",
            &CLIENT6.to_string(),
            "fd00:1::1",
        ));
        let servers: Vec<Host> = (1..=number)
            .map(|number| {
                let host = Host::made(&format!("server{number}"));
                host.ip(&end_host(
                    IpAddr::V4(server(number)),
                    "10.0.2.1",
                    &server6(number).to_string(),
                    "fd00:2::1",
                ));
                host
            })
            .collect();

        let switch = Host::made("switch");
        let mut commands = format!(
            "link set lo up\nlink set client up\naddr add 10.0.1.1/24 dev client\naddr add {VIP}/32 dev client\n\
             addr add fd00:1::1/64 dev client nodad\naddr add {VIP6}/128 dev client nodad\n"
        );
        // A point-to-point link to each server: no bridge stands between.
        for number in 1..=number {
            let (device, v4, v6) = (format!("server{number}"), server(number), server6(number));
            let _ = write!(
                commands,
                "link set {device} up\naddr add 10.0.2.1/32 dev {device}\nroute add {v4}/32 dev {device} src 10.0.2.1\n\
                 addr add fd00:2::1/128 dev {device} nodad\nroute add {v6}/128 dev {device} src fd00:2::1\n"
            );
        }
        switch.ip(&commands);
        switch.set("net.ipv4.ip_forward", "1");
        switch.set("net.ipv6.conf.all.forwarding", "1");
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

/// What makes a host of one link, whose default route is the switch.
fn end_host(v4: IpAddr, gateway4: &str, v6: &str, gateway6: &str) -> String {
    format!(
        "link set lo up\nlink set eth0 up\naddr add {v4}/24 dev eth0\naddr add {v6}/64 dev eth0 nodad\n\
         route add default via {gateway4}\nroute add default via {gateway6}\n"
    )
}

/// Runs commands of `ip`, one a line, where the calling thread is. One process for all: each costs time.
fn ip(commands: &str) {
    let mut child = program("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::inherit())
        .spawn()
        .expect("ip starts");
    child
        .stdin
        .take()
        .expect("it has an input")
        .write_all(commands.as_bytes())
        .expect("ip reads");
    assert!(
        child.wait().expect("it ends").success(),
        "ip -batch failed:\n{commands}"
    );
}
