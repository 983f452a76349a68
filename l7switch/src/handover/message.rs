// SPDX-License-Identifier: MIT
//! What the front and its successor say to each other, as JSON in [`super::wire`]'s frames.

use std::net::SocketAddr;

use l7switch_admin_api::TakeOvers;
use serde::Deserialize;
use serde::Serialize;

use super::state::OfLimit;
use super::state::OfTickets;
use super::state::State;
use crate::secrets::Secrets;

/// What the front says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub enum Given {
    /// Listening sockets, one for each descriptor of the frame.
    Sockets {
        /// What they are.
        sockets: Vec<Socket>,
    },
    /// What it has made for itself.
    Secrets(Secrets),
    /// Servers, services, and how often the place was taken over.
    State {
        /// Servers and services.
        state: State,
        /// The counts.
        counts: TakeOvers,
    },
    /// Keys of session tickets.
    Tickets(OfTickets),
    /// A rate limit, or a part of it.
    Limit(OfLimit),
    /// That was all.
    End,
    /// It has let go of the kernel module.
    Kernel,
    /// The place is the successor's if it says thanks.
    Yours {
        /// Servers and services as they stand now.
        state: State,
    },
    /// It accepts no more.
    Done,
    /// It keeps its place.
    Refused {
        /// Why.
        why: String,
    },
}

/// What the successor says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "kebab-case")]
pub enum Asked {
    /// It is ready to get descriptors.
    Begin,
    /// It wants the kernel module.
    Kernel,
    /// It accepts.
    Ready,
    /// It has the last of all.
    Thanks,
    /// It does not start.
    Failed {
        /// Why.
        why: String,
    },
}

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "kebab-case")]
pub enum Socket {
    /// Of a service.
    Service {
        /// The address that the rule file names.
        address: SocketAddr,
    },
    /// Of the metrics.
    Metrics {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// Of the admin API, over TCP.
    AdminApi {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// The admin socket.
    Admin,
}
