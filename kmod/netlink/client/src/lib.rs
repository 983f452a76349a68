// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A typed client of the kernel module's generic netlink family.
//!
//! `kmod/netlink/l7switch.yaml` is the contract; [`Client`] has a method for each of its commands and
//! [`Events`] gives its notifications. Both work on the network namespace in which they are opened, and need
//! `CAP_NET_ADMIN` in the user namespace that owns it. All calls block, for no longer than the kernel works: it
//! answers a request before the request's system call returns.
//!
//! An attribute's width is part of its Rust type (`sets`), so what is sent and taken cannot differ from one
//! table, which the test `specification` holds to the contract. Numbers come from [`l7switch_engine::netlink`].
//!
//! The sockets are netlink-sys's and the walk over attributes netlink-packet-core's, both of rust-netlink:
//! small, kept well, and they check bounds. Their message types are passed over. They copy each message into
//! an enum of one protocol, leave an extended ack as raw bytes, and truncate the length of an attribute that
//! is too long. neli, the other well-kept one, holds its sockets together with such types.
#![forbid(unsafe_code)]

mod ack;
mod attribute;
mod attributes;
mod client;
mod concerns;
mod error;
mod events;
mod family;
mod link;
mod request;
mod sets;
mod socket;
mod types;

pub use attribute::Entry;
pub use attribute::Form;
pub use client::Client;
pub use client::MatchRequest;
pub use client::ServerChange;
pub use client::WeightChange;
pub use concerns::Concern;
pub use error::BadAttribute;
pub use error::Error;
pub use error::Refusal;
pub use events::Event;
pub use events::Events;
pub use sets::SETS;
pub use sets::set_of;
pub use types::Class;
pub use types::Counter;
pub use types::Flow;
pub use types::FlowCount;
pub use types::Histogram;
pub use types::Match;
pub use types::Module;
pub use types::Route;
pub use types::Server;
pub use types::Service;
pub use types::Share;
pub use types::Traffic;

/// Reads attributes as those of any answer or event, for a fuzz target: nothing may panic.
#[cfg(fuzzing)]
pub fn read_any(choice: u8, attributes: &[u8]) {
    use types::Answer as _;
    let readers: [fn(&[u8]) -> bool; 6] = [
        |bytes| Module::read(bytes).is_ok(),
        |bytes| Service::read(bytes).is_ok(),
        |bytes| Server::read(bytes).is_ok(),
        |bytes| Flow::read(bytes).is_ok(),
        |bytes| Match::read(bytes).is_ok(),
        |bytes| Route::read(bytes).is_ok(),
    ];
    match readers.get(usize::from(choice)) {
        Some(reader) => {
            reader(attributes);
        }
        None => {
            let _ = Event::read(choice & 0x7f, attributes);
        }
    }
}
