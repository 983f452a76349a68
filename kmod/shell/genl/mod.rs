// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Generic netlink: families with commands, dumps, events, policies and extended acknowledgements.
//!
//! The kernel crate's `net::netlink` registers a family and multicasts; this adds what answers requests.
//!
//! C headers: include/net/genetlink.h, include/net/netlink.h

mod attribute;
mod dump;
mod family;
mod message;
mod policy;
mod request;

pub(crate) use attribute::Attribute;
pub(crate) use dump::Dump;
pub(crate) use family::Act;
pub(crate) use family::Family;
pub(crate) use family::List;
pub(crate) use family::Operation;
pub(crate) use family::Registration;
pub(crate) use message::Message;
pub(crate) use policy::table;
pub(crate) use policy::Policy;
pub(crate) use policy::Range;
pub(crate) use request::Request;
