// SPDX-License-Identifier: MIT
//! Namespaces, devices, addresses and routes by the kernel's own calls (linux/rtnetlink.h). `ip` would do, but where a
//! processor is emulated a process costs as much as all of a network's messages.

use std::fs;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::thread;

use netlink_sys::Socket;
use netlink_sys::protocols::NETLINK_ROUTE;
use rustix::io::Errno;
use rustix::mount::mount_bind;
use rustix::thread::UnshareFlags;

use super::netlink::ACK;
use super::netlink::ERROR;
use super::netlink::NESTED;
use super::netlink::REQUEST;
use super::netlink::attribute;

/// Flags of a request that makes something: it must be new.
const NEW: u16 = 0x600;
// Types of requests.
const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
// Attributes of a link.
const LINK_NAME: u16 = 3;
const LINK_INFO: u16 = 18;
const LINK_NAMESPACE: u16 = 28;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const VETH_PEER: u16 = 1;
/// The link is to be up.
const UP: u32 = 1;
// Attributes of an address, and that nobody is asked whether another has it.
const ADDRESS: u16 = 1;
const ADDRESS_LOCAL: u16 = 2;
const NO_DAD: u8 = 2;
// Attributes of a route, and what is said of each: the main table, made by an administrator, for single hosts.
const ROUTE_TO: u16 = 1;
const ROUTE_DEVICE: u16 = 4;
const ROUTE_GATEWAY: u16 = 5;
const ROUTE_SOURCE: u16 = 7;
const MAIN_TABLE: u8 = 254;
const BY_BOOT: u8 = 3;
const UNICAST: u8 = 1;
const SCOPE_LINK: u8 = 253;

/// Makes a network namespace with its loopback device up, named for `ip netns`, and calls a function in it. Anything else
/// of the process stays where it is.
///
/// # Panics
///
/// Where there is one of this name already.
pub(super) fn new_namespace(name: &str, inside: impl FnOnce() + Send) -> File {
    let path = Path::new("/run/netns").join(name);
    fs::create_dir_all("/run/netns").expect("/run is writable");
    File::create_new(&path).unwrap_or_else(|error| panic!("host {name}: {error}"));
    thread::scope(|scope| {
        let made = scope.spawn(|| {
            // Deprecated for what it can do to descriptors, which is not asked here.
            #[expect(deprecated, reason = "the other one is unsafe")]
            rustix::thread::unshare(UnshareFlags::NEWNET).expect("a namespace can be made");
            mount_bind("/proc/thread-self/ns/net", &path).expect("a namespace can be named");
            Links::open().set_up("lo");
            inside();
        });
        made.join().expect("the namespace is made");
    });
    File::open(&path).expect("the namespace is there")
}

/// A socket to the devices of the calling thread's network namespace.
pub(crate) struct Links {
    socket: Socket,
}

impl Links {
    /// Opens it.
    pub(crate) fn open() -> Self {
        let mut socket = Socket::new(NETLINK_ROUTE).expect("there is rtnetlink");
        socket.bind_auto().expect("a port is free");
        Self { socket }
    }

    /// Joins two namespaces by a pair of devices.
    pub(super) fn join(&self, one: (&str, &File), other: (&str, &File)) {
        let end = |(name, namespace): (&str, &File)| {
            [
                attribute(LINK_NAME, &text(name)),
                attribute(LINK_NAMESPACE, &namespace.as_raw_fd().to_ne_bytes()),
            ]
            .concat()
        };
        let peer = attribute(
            VETH_PEER | NESTED,
            &[link(0, 0).to_vec(), end(other)].concat(),
        );
        let info = [
            attribute(INFO_KIND, &text("veth")),
            attribute(INFO_DATA | NESTED, &peer),
        ]
        .concat();
        let info = attribute(LINK_INFO | NESTED, &info);
        self.ask(
            NEW_LINK,
            NEW,
            &[link(0, 0).to_vec(), end(one), info].concat(),
        );
    }

    /// Sets a device up.
    pub(crate) fn set_up(&self, device: &str) {
        let name = attribute(LINK_NAME, &text(device));
        self.ask(NEW_LINK, 0, &[link(0, UP).to_vec(), name].concat());
    }

    /// Gives a device an address, without asking the others whether they have it.
    pub(super) fn address(&self, device: &str, address: impl Into<IpAddr>, prefix: u8) {
        let (family, bytes) = bytes(address.into());
        let flags = if bytes.len() == 16 { NO_DAD } else { 0 };
        let head = [
            &[family, prefix, flags, 0],
            &self.index(device).to_ne_bytes()[..],
        ]
        .concat();
        let attributes = [attribute(ADDRESS, &bytes), attribute(ADDRESS_LOCAL, &bytes)];
        self.ask(NEW_ADDRESS, NEW, &[head, attributes.concat()].concat());
    }

    /// A default route.
    pub(super) fn default_route(&self, gateway: impl Into<IpAddr>) {
        let (family, gateway) = bytes(gateway.into());
        let head = route(family, 0, 0);
        self.ask(
            NEW_ROUTE,
            NEW,
            &[head.to_vec(), attribute(ROUTE_GATEWAY, &gateway)].concat(),
        );
    }

    /// A route to a host that is at the other end of a device, with the address that this one has there.
    pub(super) fn host_route(
        &self,
        to: impl Into<IpAddr>,
        device: &str,
        source: impl Into<IpAddr>,
    ) {
        let (family, to) = bytes(to.into());
        let (_, source) = bytes(source.into());
        let whole = u8::try_from(to.len() * 8).expect("an address is this short");
        let scope = if to.len() == 4 { SCOPE_LINK } else { 0 };
        let attributes = [
            attribute(ROUTE_TO, &to),
            attribute(ROUTE_DEVICE, &self.index(device).to_ne_bytes()),
            attribute(ROUTE_SOURCE, &source),
        ];
        let head = route(family, whole, scope).to_vec();
        self.ask(NEW_ROUTE, NEW, &[head, attributes.concat()].concat());
    }

    /// The number of a device.
    fn index(&self, device: &str) -> u32 {
        let name = attribute(LINK_NAME, &text(device));
        let answer = self.ask(GET_LINK, 0, &[link(0, 0).to_vec(), name].concat());
        u32::from_ne_bytes(answer[4..8].try_into().expect("a link has a number"))
    }

    /// Sends a request and gives what the kernel tells before its acknowledgement, from the family's header on.
    #[track_caller]
    fn ask(&self, kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
        let len = u32::try_from(payload.len() + 16).expect("a message is this short");
        let mut message = len.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend((REQUEST | ACK | flags).to_ne_bytes());
        message.extend([0; 8]);
        message.extend(payload);
        self.socket
            .send(&message, 0)
            .expect("a request can be sent");
        let mut told = Vec::new();
        loop {
            let (answers, _) = self.socket.recv_from_full().expect("the kernel answers");
            let mut rest = answers.as_slice();
            while let Some(len) = rest.first_chunk() {
                let len = u32::from_ne_bytes(*len) as usize;
                if u16::from_ne_bytes([rest[4], rest[5]]) == ERROR {
                    let number =
                        i32::from_ne_bytes(rest[16..20].try_into().expect("it has a number"));
                    if number != 0 {
                        let error = Errno::from_raw_os_error(-number);
                        panic!("rtnetlink, type {kind}: {error}: {payload:?}");
                    }
                    return told;
                }
                told = rest[16..len].to_vec();
                rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

/// What is said of a link before its attributes.
fn link(index: u32, flags: u32) -> [u8; 16] {
    let words = [0, index, flags, flags].map(u32::to_ne_bytes);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(words.as_flattened());
    bytes
}

/// What is said of a route before its attributes.
fn route(family: u8, prefix: u8, scope: u8) -> [u8; 12] {
    [
        family, prefix, 0, 0, MAIN_TABLE, BY_BOOT, scope, UNICAST, 0, 0, 0, 0,
    ]
}

/// Family and bytes of an address.
fn bytes(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(address) => (2, address.octets().to_vec()),
        IpAddr::V6(address) => (10, address.octets().to_vec()),
    }
}

/// A name as the kernel takes it.
fn text(name: &str) -> Vec<u8> {
    [name.as_bytes(), &[0]].concat()
}
