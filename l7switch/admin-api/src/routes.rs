// SPDX-License-Identifier: MIT
//! Routes, and what the kernel module has counted.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::Serialize;

use crate::KernelStatus;
use crate::Times;

/// Answer to `GET /v1/routes`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Routes {
    /// The routes of all services, in the order of the rule file.
    pub routes: Vec<RouteStatus>,
    /// How many were left out, as they had fewer requests than the others and not so many were asked for.
    pub left_out: u64,
}

/// A route of a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RouteStatus {
    /// Its service.
    pub service: String,
    /// Its name, or `#n` by position.
    pub route: String,
    /// What a request must have, in short; empty: nothing.
    pub matches: Vec<String>,
    /// What becomes of a request, in short.
    pub action: String,
    /// Requests (connections, for `tls` and `tcp`) in the front.
    pub requests: u64,
    /// Responses in the front by class: keys `1xx` to `5xx`.
    pub responses: BTreeMap<String, u64>,
    /// Times to the response's head, in the front. Null: none, or counted with those of other routes.
    pub first_byte: Option<Times>,
    /// Times to the response's end, in the front. Null: none, or counted with those of other routes.
    pub duration: Option<Times>,
    /// What the kernel module has counted; null: it does not have the rules in force, or not the service.
    pub kernel: Option<KernelRoute>,
}

/// What the kernel module has counted of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KernelRoute {
    /// Requests that were passed on.
    pub requests: u64,
    /// Responses by class: keys `1xx` to `5xx`.
    pub responses: BTreeMap<String, u64>,
}

/// Answer to `GET /v1/kernel`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KernelNumbers {
    /// How it stands.
    pub status: KernelStatus,
    /// What it has counted; null: it does not have the rules in force, or does not answer.
    pub counted: Option<KernelCounted>,
}

/// What the kernel module has counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KernelCounted {
    /// Connections in its table.
    pub flows: u64,
    /// The most that it takes.
    pub max_flows: u64,
    /// Connections in its table by state.
    pub flow_states: BTreeMap<String, u64>,
    /// Times to the response's head.
    pub first_byte: Times,
    /// Services, by name.
    pub services: BTreeMap<String, KernelService>,
    /// Real servers.
    pub servers: Vec<KernelServer>,
}

/// What the kernel module has counted of a real server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KernelServer {
    /// Its pool.
    pub pool: String,
    /// Its address.
    pub address: String,
    /// Requests or connections now.
    pub active: u64,
    /// Requests that were passed on to it.
    pub requests: u64,
    /// Connections that it refused or did not answer.
    pub failures: u64,
    /// Whether it is left out for a while after failed connections.
    pub failing: bool,
}

/// What the kernel module has counted of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KernelService {
    /// Client connections.
    pub connections: u64,
    /// Requests that were passed on.
    pub requests: u64,
    /// Bytes of packets from clients.
    pub bytes_in: u64,
    /// Bytes of packets to clients.
    pub bytes_out: u64,
    /// Responses by class: keys `1xx` to `5xx`.
    pub responses: BTreeMap<String, u64>,
}
