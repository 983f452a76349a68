// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is counted in a namespace, by name.
#![forbid(unsafe_code)]

use l7switch_engine::environment::Tally;
use l7switch_engine::flow::Event;

use crate::shell::net::netfilter::Filter;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Something counted.
        #[derive(Clone, Copy)]
        pub(crate) enum Counter {
            $($(#[$doc])* $name,)*
        }

        impl Counter {
            /// Every counter, in the order of its index.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$name,)*];
            /// How many there are.
            pub(crate) const COUNT: usize = Self::ALL.len();

            /// Where it is counted.
            pub(crate) const fn index(self) -> usize {
                self as usize
            }

            /// Its name in `l7ctl kernel status` and in metrics.
            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

counters! {
    /// A table was put in force.
    TablesLoaded = "tables_loaded",
    /// A table did not stand up to verification.
    TablesRefused = "tables_refused",
    /// Whoever loaded was gone before commit.
    LoadsAbandoned = "loads_abandoned",
    /// A request was matched for an administrator.
    MatchesAsked = "matches_asked",
    /// A server's weight or state was set.
    ServersSet = "servers_set",
    /// A connection waited in its cookie: the table of flows had no room.
    FlowsFull = "flows_full",
    /// A command was refused by what it said.
    CommandsRefused = "commands_refused",
    /// A packet of a connection that was not taken at a device's ingress, but at `PRE_ROUTING`.
    IngressMissed = "ingress_missed",
    /// A SYN was answered.
    SynsAnswered = "syns_answered",
    /// A segment to a service belonged to no connection of the switch's: the local stack got it.
    UntrackedSegments = "untracked_segments",
    /// A segment to a service's address and port was not to this host: the address is another's, or has moved away.
    Elsewhere = "elsewhere",
    /// A segment with a wrong checksum was dropped.
    BadChecksums = "bad_checksums",
    /// A segment of a connection, or to a service, was left to the stack, since IPsec's policies refuse it.
    IpsecRefused = "ipsec_refused",
    /// A request was passed on.
    Requests = "requests",
    /// A request went to another server than the one before on its connection.
    Rebinds = "rebinds",
    /// A connection to a server, or to the front, was begun.
    Connects = "connects",
    /// A server refused, or did not answer.
    ConnectsFailed = "connects_failed",
    /// A server was left out for a while.
    ServersFailed = "servers_failed",
    /// A request was left to the front.
    ToFront = "to_front",
    /// A request was left to the front to be refused, since its route's rate limit was reached.
    RateLimited = "rate_limited",
    /// A request was left to the front to be refused, since its pool's servers had as many as they may.
    ServersFull = "servers_full",
    /// A request was left to the front since this host forwards no packets of its family.
    ForwardingOff = "forwarding_off",
    /// The front was needed and did not answer.
    NoFront = "no_front",
    /// A connection to a server had the same addresses and ports as another.
    TupleInUse = "tuple_in_use",
    /// No port was left on an address of the switch's.
    PortsExhausted = "ports_exhausted",
    /// A packet could not wait: its connection had too much waiting already.
    HoldsRefused = "holds_refused",
    /// A packet could not be sent: no route, no memory.
    TxDropped = "tx_dropped",
    /// A packet that waited was let go of: its client has it still.
    HoldsDropped = "holds_dropped",
    /// A packet was cut into segments that its server takes.
    SegmentsCut = "segments_cut",
    /// A packet of a connection was dropped by rules of netfilter that saw it behind the module: a firewall's.
    FilteredBehind = "filtered_behind",
    /// One of these was dropped at `PRE_ROUTING`.
    FilteredPrerouting = "filtered_prerouting",
    /// One was dropped at `LOCAL_IN`.
    FilteredInput = "filtered_input",
    /// One was dropped at `FORWARD`.
    FilteredForward = "filtered_forward",
    /// One was dropped at `POST_ROUTING`.
    FilteredPostrouting = "filtered_postrouting",
    /// An ICMP error about a segment of the switch's was passed on to the host that it is for.
    ErrorsPassed = "errors_passed",
    /// A segment was out of its connection's window.
    OutOfWindow = "out_of_window",
    /// A SYN to a live connection: its sender was told what that one expects.
    SynsChallenged = "syns_challenged",
    /// A segment had flags that none of an open connection has.
    Malformed = "malformed",
    /// A segment came to a connection that was over.
    Late = "late",
    /// Nothing of a segment had to go on.
    Absorbed = "absorbed",
    /// A segment's data could not be read.
    Unreadable = "unreadable",
    /// A segment was old by its timestamp.
    OldTimestamps = "old_timestamps",
    /// A segment came before others that have to be read first.
    OutOfOrder = "out_of_order",
    /// A client sent other bytes again than before: they were not passed on.
    Inconsistent = "inconsistent",
    /// A request's body broke the rules: its connection was reset.
    BadBodies = "bad_bodies",
    /// A response broke them.
    BadResponses = "bad_responses",
    /// A server sent what nobody had asked for.
    Unsolicited = "unsolicited",
    /// A request was sent to another connection, since its server had closed before taking it.
    Replays = "replays",
    /// A connection was given up for idleness.
    Idle = "idle",
    /// A client's PROXY header was read.
    ProxyHeadersRead = "proxy_headers_read",
    /// A PROXY header was sent to a server, or to the front.
    ProxyHeadersSent = "proxy_headers_sent",
    /// The same one was sent again.
    ProxyHeadersResent = "proxy_headers_resent",
}

impl Counter {
    /// What an event of the engine is counted as.
    pub(crate) const fn of(event: Event) -> Self {
        match event {
            Event::Request => Self::Requests,
            Event::Rebind => Self::Rebinds,
            Event::Connect => Self::Connects,
            Event::ProxyRead => Self::ProxyHeadersRead,
            Event::ProxySent => Self::ProxyHeadersSent,
            Event::ProxyResent => Self::ProxyHeadersResent,
            Event::OutOfWindow => Self::OutOfWindow,
            Event::OldTimestamp => Self::OldTimestamps,
            Event::OutOfOrder => Self::OutOfOrder,
            Event::Challenge => Self::SynsChallenged,
            Event::Malformed => Self::Malformed,
            Event::Late => Self::Late,
            Event::Absorbed => Self::Absorbed,
            Event::HoldRefused => Self::HoldsRefused,
            Event::Unreadable => Self::Unreadable,
            Event::Inconsistent => Self::Inconsistent,
            Event::BadBody => Self::BadBodies,
            Event::BadResponse => Self::BadResponses,
            Event::Unsolicited => Self::Unsolicited,
            Event::NoFront => Self::NoFront,
            Event::Replay => Self::Replays,
            Event::Idle => Self::Idle,
        }
    }

    /// What a packet is counted as besides that rules of netfilter dropped there; `None`: which hook's is not known.
    pub(crate) const fn of_filter(at: Filter) -> Option<Self> {
        match at {
            Filter::PreRouting => Some(Self::FilteredPrerouting),
            Filter::Input => Some(Self::FilteredInput),
            Filter::Forward => Some(Self::FilteredForward),
            Filter::PostRouting => Some(Self::FilteredPostrouting),
            Filter::Behind => None,
        }
    }

    /// What is counted of a flow's environment.
    pub(crate) const fn of_tally(what: Tally) -> Self {
        match what {
            Tally::ToFront => Self::ToFront,
            Tally::RateLimited => Self::RateLimited,
            Tally::ServersFull => Self::ServersFull,
            Tally::ForwardingOff => Self::ForwardingOff,
            Tally::TupleInUse => Self::TupleInUse,
            Tally::PortsExhausted => Self::PortsExhausted,
            Tally::NoRoute | Tally::TxDropped => Self::TxDropped,
            Tally::HoldDropped => Self::HoldsDropped,
            Tally::ConnectFailed => Self::ConnectsFailed,
            Tally::ServerFailing => Self::ServersFailed,
        }
    }
}
