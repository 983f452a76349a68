// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A host whose TCP is smoltcp's.

use std::cell::Cell;
use std::collections::HashMap;
use std::collections::VecDeque;

use l7switch_engine::endpoint::Endpoint;
use l7switch_engine::endpoint::is_ipv4;
use l7switch_engine::flow::segment::ACK;
use l7switch_engine::flow::segment::FIN;
use l7switch_engine::flow::segment::SYN;
use smoltcp::iface::Config;
use smoltcp::iface::Interface;
use smoltcp::iface::SocketHandle;
use smoltcp::iface::SocketSet;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::phy::Device;
use smoltcp::phy::DeviceCapabilities;
use smoltcp::phy::Medium;
use smoltcp::phy::RxToken;
use smoltcp::phy::TxToken;
use smoltcp::socket::tcp::CongestionControl;
use smoltcp::socket::tcp::Socket;
use smoltcp::socket::tcp::SocketBuffer;
use smoltcp::socket::tcp::State;
use smoltcp::time::Duration;
use smoltcp::time::Instant;
use smoltcp::wire::HardwareAddress;
use smoltcp::wire::IpAddress;
use smoltcp::wire::IpCidr;
use smoltcp::wire::IpEndpoint;
use smoltcp::wire::Ipv4Address;
use smoltcp::wire::Ipv6Address;

use crate::lost::SILENCE;
use crate::stack::Handle;
use crate::stack::Stack;
use crate::stack::Status;

thread_local! {
    static CLOCK: Cell<u32> = const { Cell::new(0) };
}

fn clock() -> u32 {
    CLOCK.get()
}

/// How a host of this kind is set.
#[derive(Clone, Debug)]
pub struct SmolConfig {
    /// Bytes of the receive buffer, the window.
    pub receive: usize,
    /// Bytes of the send buffer.
    pub send: usize,
    /// Largest packet.
    pub mtu: usize,
    /// Nagle's algorithm.
    pub nagle: bool,
    /// Delayed acknowledgements, ms.
    pub ack_delay: Option<u64>,
    /// Timestamps.
    pub timestamps: bool,
    /// 0: none, 1: Reno, 2: Cubic.
    pub congestion: u8,
    /// Probes of idle connections, ms.
    pub keep_alive: Option<u64>,
}

struct Wire {
    receive: VecDeque<Vec<u8>>,
    send: VecDeque<Vec<u8>>,
    mtu: usize,
}

struct Receive(Vec<u8>);
struct Send<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for Receive {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Send<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.push_back(packet);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Receive;
    type TxToken<'a> = Send<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Receive, Send<'_>)> {
        let packet = self.receive.pop_front()?;
        Some((Receive(packet), Send(&mut self.send)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Send<'_>> {
        Some(Send(&mut self.send))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        capabilities.checksum = ChecksumCapabilities::default();
        capabilities
    }
}

enum Slot {
    Used(SocketHandle, Endpoint),
    Released(SocketHandle),
    Free,
}

/// The host.
pub struct Smol {
    config: SmolConfig,
    address: [u8; 16],
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    slots: Vec<Slot>,
    listening: Vec<(u16, Vec<SocketHandle>)>,
    accepted: VecDeque<Handle>,
    base: u64,
    /// The latest SYN of a peer.
    syns: HashMap<(Endpoint, Endpoint), u32>,
    /// When something was last sent that has a number: by local and remote end.
    sent: HashMap<(Endpoint, Endpoint), u64>,
}

fn instant(ns: u64) -> Instant {
    Instant::from_micros((ns / 1000) as i64)
}

fn ip(address: &[u8; 16]) -> IpAddress {
    if is_ipv4(address) {
        let [.., a, b, c, d] = *address;
        IpAddress::Ipv4(Ipv4Address::new(a, b, c, d))
    } else {
        IpAddress::Ipv6(Ipv6Address::from(*address))
    }
}

fn end(endpoint: Option<IpEndpoint>) -> Endpoint {
    let Some(endpoint) = endpoint else {
        return Endpoint {
            address: [0; 16],
            port: 0,
        };
    };
    let address = match endpoint.addr {
        IpAddress::Ipv4(address) => address.to_ipv6_mapped().octets(),
        IpAddress::Ipv6(address) => address.octets(),
    };
    Endpoint {
        address,
        port: endpoint.port,
    }
}

/// Sockets that wait for a connection at a port.
const BACKLOG: usize = 6;

impl Smol {
    /// A host at an address.
    pub fn new(config: SmolConfig, address: [u8; 16], seed: u64) -> Self {
        let mut wire = Wire {
            receive: VecDeque::new(),
            send: VecDeque::new(),
            mtu: config.mtu,
        };
        let mut settings = Config::new(HardwareAddress::Ip);
        settings.random_seed = seed;
        let mut interface = Interface::new(settings, &mut wire, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            let len = if is_ipv4(&address) { 8 } else { 64 };
            let _ = addresses.push(IpCidr::new(ip(&address), len));
        });
        let routes = interface.routes_mut();
        if is_ipv4(&address) {
            let _ = routes.add_default_ipv4_route(Ipv4Address::new(10, 255, 0, 1));
        } else {
            let _ = routes.add_default_ipv6_route(Ipv6Address::new(0xfd, 0, 0, 0, 0, 0, 0, 0xffff));
        }
        Self {
            config,
            address,
            wire,
            interface,
            sockets: SocketSet::new(Vec::new()),
            slots: Vec::new(),
            listening: Vec::new(),
            accepted: VecDeque::new(),
            base: seed >> 33,
            syns: HashMap::new(),
            sent: HashMap::new(),
        }
    }

    fn socket(&mut self) -> Socket<'static> {
        let mut socket = Socket::new(
            SocketBuffer::new(vec![0; self.config.receive]),
            SocketBuffer::new(vec![0; self.config.send]),
        );
        socket.set_nagle_enabled(self.config.nagle);
        socket.set_ack_delay(self.config.ack_delay.map(Duration::from_millis));
        socket.set_keep_alive(self.config.keep_alive.map(Duration::from_millis));
        socket.set_congestion_control(match self.config.congestion {
            1 => CongestionControl::Reno,
            2 => CongestionControl::Cubic,
            _ => CongestionControl::None,
        });
        if self.config.timestamps {
            socket.set_tsval_generator(Some(clock));
        }
        socket
    }

    fn tick(&self, now: u64) {
        CLOCK.set((now / 1_000_000 + self.base) as u32);
    }

    fn slot(&mut self, slot: Slot) -> Handle {
        match self.slots.iter().position(|s| matches!(s, Slot::Free)) {
            Some(index) => {
                self.slots[index] = slot;
                index
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        }
    }

    /// Listening sockets that are connected are handed out, and others put in their place.
    fn collect(&mut self) {
        for at in 0..self.listening.len() {
            let port = self.listening[at].0;
            for index in 0..self.listening[at].1.len() {
                let handle = self.listening[at].1[index];
                let socket = self.sockets.get::<Socket<'_>>(handle);
                match socket.state() {
                    State::Listen => {}
                    State::SynReceived => {}
                    State::Closed => {
                        let socket = self.sockets.get_mut::<Socket<'_>>(handle);
                        let _ = socket.listen(port);
                    }
                    _ => {
                        let remote = end(socket.remote_endpoint());
                        let slot = self.slot(Slot::Used(handle, remote));
                        self.accepted.push_back(slot);
                        let mut fresh = self.socket();
                        let _ = fresh.listen(port);
                        self.listening[at].1[index] = self.sockets.add(fresh);
                    }
                }
            }
        }
        for slot in &mut self.slots {
            if let Slot::Released(handle) = slot {
                let state = self.sockets.get::<Socket<'_>>(*handle).state();
                if state == State::Closed {
                    self.sockets.remove(*handle);
                    *slot = Slot::Free;
                }
            }
        }
    }

    fn get(&self, handle: Handle) -> &Socket<'static> {
        match self.slots[handle] {
            Slot::Used(handle, ..) | Slot::Released(handle) => self.sockets.get(handle),
            Slot::Free => unreachable!("a handle that was released"),
        }
    }

    fn get_mut(&mut self, handle: Handle) -> &mut Socket<'static> {
        match self.slots[handle] {
            Slot::Used(handle, ..) | Slot::Released(handle) => self.sockets.get_mut(handle),
            Slot::Free => unreachable!("a handle that was released"),
        }
    }
}

impl Stack for Smol {
    fn input(&mut self, now: u64, packet: Vec<u8>) {
        if let Some(read) = crate::wire::read(&packet) {
            let segment = read.segment;
            if segment.flags & (SYN | ACK) == SYN {
                // smoltcp (0.14) would open another connection of the same addresses and ports beside the old one.
                let ends = (segment.source, segment.destination);
                let seen = self.syns.insert(ends, segment.seq) == Some(segment.seq);
                let olds = self.sockets.iter_mut().filter_map(|(_, socket)| {
                    let smoltcp::socket::Socket::Tcp(socket) = socket;
                    let same = end(socket.remote_endpoint()) == segment.source
                        && end(socket.local_endpoint()) == segment.destination
                        && !matches!(socket.state(), State::SynReceived | State::SynSent);
                    same.then_some(socket)
                });
                for old in olds {
                    if seen {
                        return;
                    }
                    old.abort();
                }
                let mut out = Vec::new();
                self.poll(now, &mut out);
                self.wire.send.extend(out);
            }
            if segment.is(FIN) && segment.payload > 0 {
                // smoltcp (0.14) takes a FIN although it lies behind data that its window has no room for.
                let mut out = Vec::new();
                self.poll(now, &mut out);
                self.wire.send.extend(out);
                let fits = self.sockets.iter().all(|(_, socket)| {
                    let smoltcp::socket::Socket::Tcp(socket) = socket;
                    end(socket.remote_endpoint()) != segment.source
                        || end(socket.local_endpoint()) != segment.destination
                        || segment.payload as usize <= socket.recv_capacity() - socket.recv_queue()
                });
                if !fits {
                    return;
                }
            }
        }
        self.wire.receive.push_back(packet);
    }

    fn poll(&mut self, now: u64, out: &mut Vec<Vec<u8>>) {
        self.tick(now);
        self.interface
            .poll(instant(now), &mut self.wire, &mut self.sockets);
        self.collect();
        for packet in self.wire.send.drain(..) {
            if let Some(read) = crate::wire::read(&packet)
                && !read.segment.is_empty()
            {
                let ends = (read.segment.source, read.segment.destination);
                self.sent.insert(ends, now);
            }
            out.push(packet);
        }
    }

    fn wake(&mut self, now: u64) -> Option<u64> {
        self.tick(now);
        let at = self.interface.poll_at(instant(now), &self.sockets)?;
        let at = at.total_micros() as u64 * 1000;
        // Where it says "at once" there is something that it could not do now: not at the same instant again.
        Some(at.max(now + 10_000))
    }

    fn listen(&mut self, port: u16) {
        let mut handles = Vec::new();
        for _ in 0..BACKLOG {
            let mut socket = self.socket();
            let _ = socket.listen(port);
            handles.push(self.sockets.add(socket));
        }
        self.listening.push((port, handles));
    }

    fn connect(&mut self, now: u64, port: u16, to: Endpoint) -> Option<Handle> {
        self.tick(now);
        let mut old = None;
        for (handle, socket) in self.sockets.iter() {
            let smoltcp::socket::Socket::Tcp(socket) = socket;
            if socket.local_endpoint().is_some_and(|e| e.port == port)
                && socket.remote_endpoint() == Some(IpEndpoint::new(ip(&to.address), to.port))
            {
                if !matches!(socket.state(), State::TimeWait | State::Closed) {
                    return None;
                }
                old = Some(handle);
            }
        }
        if let Some(old) = old {
            // The port is used again before its time: the old connection is forgotten.
            let slot = self
                .slots
                .iter_mut()
                .find(|slot| matches!(slot, Slot::Used(h, ..) | Slot::Released(h) if *h == old));
            match slot {
                Some(slot @ Slot::Released(_)) => *slot = Slot::Free,
                _ => return None,
            }
            self.sockets.remove(old);
        }
        let mut socket = self.socket();
        let remote = IpEndpoint::new(ip(&to.address), to.port);
        let local = IpEndpoint::new(ip(&self.address), port);
        socket
            .connect(self.interface.context(), remote, local)
            .ok()?;
        let handle = self.sockets.add(socket);
        Some(self.slot(Slot::Used(handle, to)))
    }

    fn accept(&mut self) -> Option<Handle> {
        self.accepted.pop_front()
    }

    fn remote(&self, handle: Handle) -> Endpoint {
        match self.slots[handle] {
            Slot::Used(_, remote) => remote,
            _ => end(None),
        }
    }

    fn local(&self, handle: Handle) -> Endpoint {
        end(self.get(handle).local_endpoint())
    }

    fn status(&self, handle: Handle) -> Status {
        match self.get(handle).state() {
            State::SynSent | State::SynReceived | State::Listen => Status::Opening,
            State::Closed => Status::Reset,
            State::TimeWait => Status::Closed,
            _ => Status::Open,
        }
    }

    fn read(&mut self, handle: Handle, limit: usize, to: &mut Vec<u8>) -> usize {
        let socket = self.get_mut(handle);
        let mut total = 0;
        while socket.can_recv() && total < limit {
            let read = socket.recv(|data| {
                let len = data.len().min(limit - total);
                to.extend_from_slice(&data[..len]);
                (len, len)
            });
            match read {
                Ok(len) if len > 0 => total += len,
                _ => break,
            }
        }
        total
    }

    fn ended(&self, handle: Handle) -> bool {
        let socket = self.get(handle);
        !socket.may_recv()
            && !socket.can_recv()
            && !matches!(
                socket.state(),
                State::SynSent | State::SynReceived | State::Listen
            )
    }

    fn write(&mut self, handle: Handle, bytes: &[u8]) -> usize {
        self.get_mut(handle).send_slice(bytes).unwrap_or_default()
    }

    fn unacknowledged(&self, handle: Handle) -> usize {
        self.get(handle).send_queue()
    }

    fn shutdown(&mut self, handle: Handle) {
        self.get_mut(handle).close();
    }

    fn abort(&mut self, handle: Handle) {
        self.get_mut(handle).abort();
    }

    fn release(&mut self, handle: Handle) {
        if let Slot::Used(socket, ..) = self.slots[handle] {
            self.slots[handle] = Slot::Released(socket);
        }
    }

    fn resets_what_is_closed(&self) -> bool {
        false
    }

    fn stands_still(&self, now: u64, of: &dyn Fn(&Endpoint, &Endpoint) -> bool) -> bool {
        // smoltcp (0.14) does not always send a lost FIN again, and has no timer where a time to send again came while the
        // window was closed. Another TCP would have sent something (RFC 6298, 2.5; RFC 9293, 3.8.6.1).
        self.sockets.iter().any(|(_, socket)| {
            let smoltcp::socket::Socket::Tcp(socket) = socket;
            let ends = matches!(
                socket.state(),
                State::FinWait1 | State::Closing | State::LastAck
            );
            let (local, remote) = (end(socket.local_endpoint()), end(socket.remote_endpoint()));
            let silent = || {
                let sent = self.sent.get(&(local, remote));
                sent.is_none_or(|sent| now > sent + SILENCE)
            };
            (ends || socket.send_queue() > 0) && of(&local, &remote) && silent()
        })
    }

    fn errors(&mut self) -> Vec<String> {
        Vec::new()
    }

    fn dump(&self) -> String {
        self.sockets
            .iter()
            .filter_map(|(_, socket)| {
                let smoltcp::socket::Socket::Tcp(socket) = socket;
                (socket.state() != State::Listen && socket.state() != State::Closed).then(|| {
                    format!(
                        "{:?}-{:?} {} unsent {} unread {}; ",
                        socket.local_endpoint(),
                        socket.remote_endpoint(),
                        socket.state(),
                        socket.send_queue(),
                        socket.recv_queue()
                    )
                })
            })
            .collect()
    }
}
