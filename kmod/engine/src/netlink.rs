// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Numbers of the generic netlink contract, for the module and for its clients.
//!
//! `kmod/netlink/l7switch.yaml` is the contract, with what every command and attribute means; a test of
//! the client crate holds this file to it. A number, once given, keeps its meaning: what is new goes to the end.
#![allow(missing_docs, reason = "documented in kmod/netlink/l7switch.yaml")]

use crate::numbered::numbered;

/// Name of the family.
pub const FAMILY: &str = "l7switch";
/// Version of the family.
pub const VERSION: u8 = 1;
/// Name of the multicast group of events.
pub const EVENTS: &str = "events";
/// Longest request that a match is asked for, bytes: an attribute's length is 16 bits, its header's 4 bytes included.
pub const MAX_ATTRIBUTE: usize = 0xffff - 4;

numbered! {
    /// Commands and events.
    Command: u8 {
        ModuleGet = 1 "module-get",
        TableBegin = 2 "table-begin",
        TableChunk = 3 "table-chunk",
        TableCommit = 4 "table-commit",
        TableAbort = 5 "table-abort",
        TableUnload = 6 "table-unload",
        ServiceGet = 7 "service-get",
        ServerGet = 8 "server-get",
        ServerSet = 9 "server-set",
        FlowGet = 10 "flow-get",
        CountersReset = 11 "counters-reset",
        RequestMatch = 12 "request-match",
        TableReplaced = 13 "table-replaced",
        TableUnloaded = 14 "table-unloaded",
        ServerChanged = 15 "server-changed",
        CountersCleared = 16 "counters-cleared",
        ServerFailing = 17 "server-failing",
        FlowsFull = 18 "flows-full",
        RouteGet = 19 "route-get",
    }
    /// What a virtual service speaks, as the rule language says it.
    Protocol: u32 {
        Http = 0 "http",
        Https = 1 "https",
        Tls = 2 "tls",
        Tcp = 3 "tcp",
    }
    /// Which data path the rules ask for.
    Datapath: u32 {
        Auto = 0 "auto",
        Kernel = 1 "kernel",
        Front = 2 "front",
    }
    /// What a real server may get.
    ServerState: u32 {
        Up = 0 "up",
        Draining = 1 "draining",
        Down = 2 "down",
    }
    /// What came of matching a request.
    Outcome: u32 {
        Route = 0 "route",
        NoRoute = 1 "no-route",
        Refused = 2 "refused",
        Incomplete = 3 "incomplete",
        OverBudget = 4 "over-budget",
        Front = 5 "front",
    }
    /// What a route does with its requests.
    Action: u32 {
        Forward = 0 "forward",
        Answer = 1 "answer",
        Filter = 2 "filter",
    }
    /// How far a connection of a client has come.
    FlowState: u32 {
        Opening = 0 "opening",
        Open = 1 "open",
        Closing = 2 "closing",
        Reading = 3 "reading",
    }
    /// Attributes of the set `module`.
    ModuleAttr: u16 {
        Version = 1 "version",
        TableLayout = 2 "table-layout",
        Generation = 3 "generation",
        TableLen = 4 "table-len",
        Services = 5 "services",
        Routes = 6 "routes",
        Pools = 7 "pools",
        Servers = 8 "servers",
        Loading = 9 "loading",
        MaxTableLen = 10 "max-table-len",
        MaxChunkLen = 11 "max-chunk-len",
        Flows = 12 "flows",
        MaxFlows = 13 "max-flows",
        Counter = 14 "counter",
        FirstByte = 15 "first-byte",
        FlowCount = 16 "flow-count",
    }
    /// Attributes of the set `histogram`.
    HistogramAttr: u16 {
        Class = 1 "class",
        Sum = 2 "sum",
    }
    /// Attributes of the set `class`.
    ClassAttr: u16 {
        Below = 1 "below",
        Count = 2 "count",
    }
    /// Attributes of the set `counter`.
    CounterAttr: u16 {
        Name = 1 "name",
        Value = 2 "value",
    }
    /// Attributes of the set `table`.
    TableAttr: u16 {
        Transaction = 1 "transaction",
        Len = 2 "len",
        Offset = 3 "offset",
        Data = 4 "data",
        Generation = 5 "generation",
        By = 6 "by",
    }
    /// Attributes of the set `service`.
    ServiceAttr: u16 {
        Index = 1 "index",
        Name = 2 "name",
        Protocol = 3 "protocol",
        Datapath = 4 "datapath",
        Listen = 5 "listen",
        Routes = 6 "routes",
        Traffic = 7 "traffic",
    }
    /// Attributes of the set `endpoint`.
    EndpointAttr: u16 {
        Address = 1 "address",
        Port = 2 "port",
    }
    /// Attributes of the set `traffic`.
    TrafficAttr: u16 {
        Connections = 1 "connections",
        Packets = 2 "packets",
        Bytes = 3 "bytes",
        Requests = 4 "requests",
        BytesOut = 5 "bytes-out",
        Responses1xx = 6 "responses-1xx",
        Responses2xx = 7 "responses-2xx",
        Responses3xx = 8 "responses-3xx",
        Responses4xx = 9 "responses-4xx",
        Responses5xx = 10 "responses-5xx",
    }
    /// Attributes of the set `server`.
    ServerAttr: u16 {
        Pool = 1 "pool",
        Address = 2 "address",
        Port = 3 "port",
        Weight = 4 "weight",
        State = 5 "state",
        TableWeight = 6 "table-weight",
        ResetWeight = 7 "reset-weight",
        Scheduler = 8 "scheduler",
        Active = 9 "active",
        Changed = 10 "changed",
        By = 11 "by",
        Failing = 12 "failing",
        Requests = 13 "requests",
        Failures = 14 "failures",
    }
    /// Attributes of the set `flow`.
    FlowAttr: u16 {
        Service = 1 "service",
        Client = 2 "client",
        Virtual = 3 "virtual",
        State = 4 "state",
        Age = 5 "age",
        Idle = 6 "idle",
        Packets = 7 "packets",
        Bytes = 8 "bytes",
        Server = 9 "server",
    }
    /// Attributes of the set `match`.
    MatchAttr: u16 {
        Service = 1 "service",
        Virtual = 2 "virtual",
        Source = 3 "source",
        Request = 4 "request",
        Outcome = 5 "outcome",
        Why = 6 "why",
        Reason = 7 "reason",
        Host = 8 "host",
        Path = 9 "path",
        Route = 10 "route",
        RouteName = 11 "route-name",
        Action = 12 "action",
        Share = 13 "share",
        Generation = 14 "generation",
    }
    /// Attributes of the set `share`.
    ShareAttr: u16 {
        Pool = 1 "pool",
        Weight = 2 "weight",
        Server = 3 "server",
    }
    /// Attributes of the set `flow-count`.
    FlowCountAttr: u16 {
        State = 1 "state",
        Count = 2 "count",
    }
    /// Attributes of the set `route`.
    RouteAttr: u16 {
        Service = 1 "service",
        Position = 2 "position",
        Name = 3 "name",
        Action = 4 "action",
        Traffic = 5 "traffic",
    }
}
