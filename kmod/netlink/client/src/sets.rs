// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Every attribute of the contract, with the form in which the client sends and takes it.
//!
//! The compiler holds these tables to the numbers in [`l7switch_engine::netlink`]: nothing may be left out. The
//! test `specification` holds them to the contract.

use l7switch_engine::netlink;
use l7switch_engine::netlink::Command;

use crate::attribute::Address;
use crate::attribute::Attribute;
use crate::attribute::Binary;
use crate::attribute::Code;
use crate::attribute::Entry;
use crate::attribute::Flag;
use crate::attribute::Kind;
use crate::attribute::Nest;
use crate::attribute::Set;
use crate::attribute::Text;
use crate::attribute::U16;
use crate::attribute::U32;
use crate::attribute::Uint;

macro_rules! sets {
    ($($(#[$doc:meta])* $name:ident: $numbers:ident = $text:literal {
        $($constant:ident = $variant:ident: $kind:ty,)*
    })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub(crate) enum $name {}

            impl $name {
                $(
                    pub(crate) const $constant: Attribute<Self, $kind> = Attribute::new(
                        netlink::$numbers::$variant.number(),
                        netlink::$numbers::$variant.name(),
                    );
                )*

                /// Does not compile where an attribute is left out.
                const fn complete(number: netlink::$numbers) -> u16 {
                    match number {
                        $(netlink::$numbers::$variant => Self::$constant.number,)*
                    }
                }
            }

            const _: fn(netlink::$numbers) -> u16 = $name::complete;

            impl Set for $name {
                const SET: &'static str = $text;
            }
        )*

        /// Every set by its name in the contract.
        pub const SETS: &[(&str, &[Entry])] = &[
            $(($text, &[
                $(Entry {
                    number: netlink::$numbers::$variant.number(),
                    name: netlink::$numbers::$variant.name(),
                    form: <$kind as Kind>::FORM,
                },)*
            ]),)*
        ];
    };
}

sets! {
    /// `module`
    Module: ModuleAttr = "module" {
        VERSION = Version: Text,
        TABLE_LAYOUT = TableLayout: U32,
        GENERATION = Generation: Uint,
        TABLE_LEN = TableLen: U32,
        SERVICES = Services: U32,
        ROUTES = Routes: U32,
        POOLS = Pools: U32,
        SERVERS = Servers: U32,
        LOADING = Loading: U32,
        MAX_TABLE_LEN = MaxTableLen: U32,
        MAX_CHUNK_LEN = MaxChunkLen: U32,
        FLOWS = Flows: U32,
        MAX_FLOWS = MaxFlows: U32,
        COUNTER = Counter: Nest<Counter>,
        FIRST_BYTE = FirstByte: Nest<Histogram>,
        FLOW_COUNT = FlowCount: Nest<FlowCount>,
    }
    /// `histogram`
    Histogram: HistogramAttr = "histogram" {
        CLASS = Class: Nest<Class>,
        SUM = Sum: Uint,
    }
    /// `class`
    Class: ClassAttr = "class" {
        BELOW = Below: Uint,
        COUNT = Count: Uint,
    }
    /// `counter`
    Counter: CounterAttr = "counter" {
        NAME = Name: Text,
        VALUE = Value: Uint,
    }
    /// `table`
    Table: TableAttr = "table" {
        TRANSACTION = Transaction: U32,
        LEN = Len: U32,
        OFFSET = Offset: U32,
        DATA = Data: Binary,
        GENERATION = Generation: Uint,
        BY = By: U32,
    }
    /// `service`
    Service: ServiceAttr = "service" {
        INDEX = Index: U32,
        NAME = Name: Text,
        PROTOCOL = Protocol: Code<netlink::Protocol>,
        DATAPATH = Datapath: Code<netlink::Datapath>,
        LISTEN = Listen: Nest<Endpoint>,
        ROUTES = Routes: U32,
        TRAFFIC = Traffic: Nest<Traffic>,
    }
    /// `endpoint`
    Endpoint: EndpointAttr = "endpoint" {
        ADDRESS = Address: Address,
        PORT = Port: U16,
    }
    /// `traffic`
    Traffic: TrafficAttr = "traffic" {
        CONNECTIONS = Connections: Uint,
        PACKETS = Packets: Uint,
        BYTES = Bytes: Uint,
        REQUESTS = Requests: Uint,
        BYTES_OUT = BytesOut: Uint,
        RESPONSES_1XX = Responses1xx: Uint,
        RESPONSES_2XX = Responses2xx: Uint,
        RESPONSES_3XX = Responses3xx: Uint,
        RESPONSES_4XX = Responses4xx: Uint,
        RESPONSES_5XX = Responses5xx: Uint,
    }
    /// `server`
    Server: ServerAttr = "server" {
        POOL = Pool: Text,
        ADDRESS = Address: Address,
        PORT = Port: U16,
        WEIGHT = Weight: U32,
        STATE = State: Code<netlink::ServerState>,
        TABLE_WEIGHT = TableWeight: U32,
        RESET_WEIGHT = ResetWeight: Flag,
        SCHEDULER = Scheduler: Text,
        ACTIVE = Active: U32,
        CHANGED = Changed: U32,
        BY = By: U32,
        FAILING = Failing: Flag,
        REQUESTS = Requests: Uint,
        FAILURES = Failures: Uint,
    }
    /// `flow`
    Flow: FlowAttr = "flow" {
        SERVICE = Service: Text,
        CLIENT = Client: Nest<Endpoint>,
        VIRTUAL = Virtual: Nest<Endpoint>,
        STATE = State: Code<netlink::FlowState>,
        AGE = Age: Uint,
        IDLE = Idle: Uint,
        PACKETS = Packets: Uint,
        BYTES = Bytes: Uint,
        SERVER = Server: Nest<Endpoint>,
    }
    /// `match`
    Match: MatchAttr = "match" {
        SERVICE = Service: Text,
        VIRTUAL = Virtual: Nest<Endpoint>,
        SOURCE = Source: Address,
        REQUEST = Request: Binary,
        OUTCOME = Outcome: Code<netlink::Outcome>,
        WHY = Why: Text,
        REASON = Reason: Text,
        HOST = Host: Binary,
        PATH = Path: Binary,
        ROUTE = Route: U32,
        ROUTE_NAME = RouteName: Text,
        ACTION = Action: Code<netlink::Action>,
        SHARE = Share: Nest<Share>,
        GENERATION = Generation: Uint,
    }
    /// `share`
    Share: ShareAttr = "share" {
        POOL = Pool: Text,
        WEIGHT = Weight: U32,
        SERVER = Server: Nest<Endpoint>,
    }
    /// `flow-count`
    FlowCount: FlowCountAttr = "flow-count" {
        STATE = State: Code<netlink::FlowState>,
        COUNT = Count: U32,
    }
    /// `route`
    Route: RouteAttr = "route" {
        SERVICE = Service: Text,
        POSITION = Position: U32,
        NAME = Name: Text,
        ACTION = Action: Code<netlink::Action>,
        TRAFFIC = Traffic: Nest<Traffic>,
    }
}

/// The name of the set that a command's or event's attributes are of.
pub const fn set_of(command: Command) -> &'static str {
    match command {
        Command::ModuleGet | Command::CountersReset | Command::FlowsFull => Module::SET,
        Command::TableBegin
        | Command::TableChunk
        | Command::TableCommit
        | Command::TableAbort
        | Command::TableUnload
        | Command::TableReplaced
        | Command::TableUnloaded
        | Command::CountersCleared => Table::SET,
        Command::ServiceGet => Service::SET,
        Command::ServerGet
        | Command::ServerSet
        | Command::ServerChanged
        | Command::ServerFailing => Server::SET,
        Command::FlowGet => Flow::SET,
        Command::RequestMatch => Match::SET,
        Command::RouteGet => Route::SET,
    }
}

/// The attributes of a set.
pub(crate) fn entries(set: &str) -> &'static [Entry] {
    SETS.iter()
        .find(|(name, _)| *name == set)
        .map_or(&[], |(_, entries)| *entries)
}
