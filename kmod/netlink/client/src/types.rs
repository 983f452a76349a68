// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the module answers. The meaning of every field is in kmod/netlink/l7switch.yaml.

use std::borrow::Cow;
use std::net::SocketAddr;

use l7switch_engine::netlink::Action;
use l7switch_engine::netlink::Datapath;
use l7switch_engine::netlink::FlowState;
use l7switch_engine::netlink::Outcome;
use l7switch_engine::netlink::Protocol;
use l7switch_engine::netlink::ServerState;
use serde::Serialize;
use serde::Serializer;

use crate::attribute::Numbered;
use crate::attributes::Attributes;
use crate::error::Malformed;
use crate::sets;

/// The module as it is in this network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Module {
    /// Version of the module.
    pub version: String,
    /// Version of the table's layout that it reads.
    pub table_layout: u32,
    /// Counts the tables that were put in force or unloaded; 0 where there never was one.
    pub generation: u64,
    /// Length of the table in force, bytes; absent where there is none.
    pub table_len: Option<u32>,
    /// Virtual services.
    pub services: u32,
    /// Routes.
    pub routes: u32,
    /// Pools.
    pub pools: u32,
    /// Real servers, counted once in each pool.
    pub servers: u32,
    /// Transaction that is being loaded; absent where there is none.
    pub loading: Option<u32>,
    /// Longest table that is taken, bytes.
    pub max_table_len: u32,
    /// Longest chunk that is taken, bytes.
    pub max_chunk_len: u32,
    /// Connections followed now.
    pub flows: u32,
    /// Most connections followed at once.
    pub max_flows: u32,
    /// Everything counted.
    pub counters: Vec<Counter>,
    /// Time from a request to its response's first byte.
    pub first_byte: Histogram,
    /// Connections followed now by how far they have come; empty where this module does not say.
    pub flow_counts: Vec<FlowCount>,
}

impl Module {
    /// What a counter of this name has come to; `None` where this module has none.
    #[must_use]
    pub fn counter(&self, name: &str) -> Option<u64> {
        let counter = self.counters.iter().find(|counter| counter.name == name)?;
        Some(counter.value)
    }

    /// How many connections have come so far and no farther; 0 where this module does not say.
    #[must_use]
    pub fn flows_in(&self, state: FlowState) -> u32 {
        let mut counts = self.flow_counts.iter();
        let count = counts.find(|count| count.state == state);
        count.map_or(0, |count| count.count)
    }
}

/// How many connections have come so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FlowCount {
    /// How far.
    #[serde(serialize_with = "by_name")]
    pub state: FlowState,
    /// How many.
    pub count: u32,
}

/// Times, counted by class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Histogram {
    /// The classes, in ascending order.
    pub classes: Vec<Class>,
    /// Sum of all times, ns.
    pub sum: u64,
}

/// A class of a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Class {
    /// Times below this are in it, ns, and not in the one before; `None`: all that are longer.
    pub below: Option<u64>,
    /// How many.
    pub count: u64,
}

/// A count by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Counter {
    /// What is counted.
    pub name: String,
    /// How often.
    pub value: u64,
}

/// A virtual service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Service {
    /// Position in the table.
    pub index: u32,
    /// Name.
    pub name: String,
    /// What it speaks.
    #[serde(serialize_with = "by_name")]
    pub protocol: Protocol,
    /// Which data path the rules ask for.
    #[serde(serialize_with = "by_name")]
    pub datapath: Datapath,
    /// Where it listens.
    pub listen: Vec<SocketAddr>,
    /// Routes.
    pub routes: u32,
    /// What was counted.
    pub traffic: Traffic,
}

/// What was counted, since the table came or the counters were reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Connections that clients opened.
    pub connections: u64,
    /// Packets from clients.
    pub packets: u64,
    /// Bytes in them, IP headers included.
    pub bytes: u64,
    /// Requests that were passed on.
    pub requests: u64,
    /// Bytes of packets to clients that the module rewrote, IP headers included.
    pub bytes_out: u64,
    /// Responses by class: 1xx to 5xx.
    pub responses: [u64; 5],
}

/// A real server of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Server {
    /// Its pool.
    pub pool: String,
    /// Its address.
    pub address: SocketAddr,
    /// Weight in force.
    pub weight: u32,
    /// What it may get.
    #[serde(serialize_with = "by_name")]
    pub state: ServerState,
    /// Weight in the table.
    pub table_weight: u32,
    /// Scheduler of the pool.
    pub scheduler: String,
    /// Outstanding requests or connections.
    pub active: u32,
    /// Whether it is left out for a while, since it refused or did not answer.
    pub failing: bool,
    /// Requests that were passed to it by the module.
    pub requests: u64,
    /// Connections that it refused or did not answer.
    pub failures: u64,
}

/// A route of a virtual service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Route {
    /// Its service.
    pub service: String,
    /// Its position in the service, 0 the first.
    pub position: u32,
    /// Its name; absent where it has none.
    pub name: Option<String>,
    /// What it does with its requests.
    #[serde(serialize_with = "by_name")]
    pub action: Action,
    /// Requests that it took and that were passed on.
    pub requests: u64,
    /// Responses to them by class: 1xx to 5xx.
    pub responses: [u64; 5],
}

impl Route {
    /// Its name, or `#` and its number in the service, from 1: as logs and metrics of the front have it.
    #[must_use]
    pub fn label(&self) -> Cow<'_, str> {
        match &self.name {
            Some(name) => Cow::Borrowed(name),
            None => Cow::Owned(format!("#{}", u64::from(self.position).saturating_add(1))),
        }
    }
}

/// A connection of a client to a virtual service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flow {
    /// Its service.
    pub service: String,
    /// The client.
    pub client: SocketAddr,
    /// The address of the service that the client connected to.
    #[serde(rename = "virtual")]
    pub destination: SocketAddr,
    /// How far it has come.
    #[serde(serialize_with = "by_name")]
    pub state: FlowState,
    /// Since its first packet, ms.
    pub age: u64,
    /// Since its last packet, ms.
    pub idle: u64,
    /// Packets from the client.
    pub packets: u64,
    /// Bytes in them, IP headers included.
    pub bytes: u64,
    /// The real server that its requests go to now; of the front, the service's address.
    pub server: Option<SocketAddr>,
}

/// What would become of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Match {
    /// The service that was asked.
    pub service: String,
    /// What came of it.
    #[serde(serialize_with = "by_name")]
    pub outcome: Outcome,
    /// What decided, in words.
    pub why: String,
    /// Of a refusal, its short name.
    pub reason: Option<String>,
    /// What was compared, the host in comparison form.
    #[serde(serialize_with = "as_text")]
    pub host: Option<Vec<u8>>,
    /// What was compared, the path in comparison form.
    #[serde(serialize_with = "as_text")]
    pub path: Option<Vec<u8>>,
    /// Position of the route in its service, 0 the first.
    pub route: Option<u32>,
    /// The route's name.
    pub route_name: Option<String>,
    /// What the route does.
    #[serde(serialize_with = "by_name_if_any")]
    pub action: Option<Action>,
    /// The route's pools.
    pub shares: Vec<Share>,
    /// Of the table that was asked.
    pub generation: u64,
}

/// A pool's part of a route's requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Share {
    /// The pool.
    pub pool: String,
    /// Its weight.
    pub weight: u32,
    /// Whom the scheduler would pick, did it begin anew; absent where no server may be picked.
    pub server: Option<SocketAddr>,
}

fn by_name<E: Numbered, S: Serializer>(value: &E, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(value.to_name())
}

fn by_name_if_any<E: Numbered, S: Serializer>(
    value: &Option<E>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    value.map(E::to_name).serialize(serializer)
}

fn as_text<S: Serializer>(value: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    value
        .as_deref()
        .map(String::from_utf8_lossy)
        .serialize(serializer)
}

/// What an answer is read into.
pub(crate) trait Answer: Sized {
    /// Reads the attributes of a message.
    fn read(attributes: &[u8]) -> Result<Self, Malformed>;
}

fn endpoint(attributes: Attributes<'_, sets::Endpoint>) -> Result<SocketAddr, Malformed> {
    let address = attributes.need(sets::Endpoint::ADDRESS)?;
    Ok(SocketAddr::new(
        address,
        attributes.need(sets::Endpoint::PORT)?,
    ))
}

/// The address of a real server.
pub(crate) fn server_address(
    attributes: Attributes<'_, sets::Server>,
) -> Result<SocketAddr, Malformed> {
    let address = attributes.need(sets::Server::ADDRESS)?;
    Ok(SocketAddr::new(
        address,
        attributes.need(sets::Server::PORT)?,
    ))
}

impl Histogram {
    fn of(histogram: Attributes<'_, sets::Histogram>) -> Result<Self, Malformed> {
        let classes = histogram.all(sets::Histogram::CLASS).map(|class| {
            let class = class?;
            Ok(Class {
                below: class.get(sets::Class::BELOW)?,
                count: class.need(sets::Class::COUNT)?,
            })
        });
        Ok(Self {
            classes: classes.collect::<Result<_, Malformed>>()?,
            sum: histogram.get(sets::Histogram::SUM)?.unwrap_or(0),
        })
    }
}

impl Answer for Module {
    fn read(attributes: &[u8]) -> Result<Self, Malformed> {
        use sets::Counter as CounterSet;
        use sets::Module as Set;
        let module = Attributes::<Set>::new(attributes);
        let counters = module.all(Set::COUNTER).map(|counter| {
            let counter = counter?;
            Ok(Counter {
                name: counter.need(CounterSet::NAME)?.into_owned(),
                value: counter.need(CounterSet::VALUE)?,
            })
        });
        let flow_counts = module.all(Set::FLOW_COUNT).map(|count| {
            let count = count?;
            Ok(FlowCount {
                state: count.need(sets::FlowCount::STATE)?,
                count: count.need(sets::FlowCount::COUNT)?,
            })
        });
        Ok(Self {
            version: module.need(Set::VERSION)?.into_owned(),
            table_layout: module.need(Set::TABLE_LAYOUT)?,
            generation: module.need(Set::GENERATION)?,
            table_len: module.get(Set::TABLE_LEN)?,
            services: module.get(Set::SERVICES)?.unwrap_or(0),
            routes: module.get(Set::ROUTES)?.unwrap_or(0),
            pools: module.get(Set::POOLS)?.unwrap_or(0),
            servers: module.get(Set::SERVERS)?.unwrap_or(0),
            loading: module.get(Set::LOADING)?,
            max_table_len: module.need(Set::MAX_TABLE_LEN)?,
            max_chunk_len: module.need(Set::MAX_CHUNK_LEN)?,
            flows: module.get(Set::FLOWS)?.unwrap_or(0),
            max_flows: module.get(Set::MAX_FLOWS)?.unwrap_or(0),
            counters: counters.collect::<Result<_, Malformed>>()?,
            first_byte: match module.get(Set::FIRST_BYTE)? {
                Some(histogram) => Histogram::of(histogram)?,
                None => Histogram::default(),
            },
            flow_counts: flow_counts.collect::<Result<_, Malformed>>()?,
        })
    }
}

/// Responses by class.
fn responses(traffic: Attributes<'_, sets::Traffic>) -> Result<[u64; 5], Malformed> {
    use sets::Traffic as Set;
    Ok([
        traffic.get(Set::RESPONSES_1XX)?.unwrap_or(0),
        traffic.get(Set::RESPONSES_2XX)?.unwrap_or(0),
        traffic.get(Set::RESPONSES_3XX)?.unwrap_or(0),
        traffic.get(Set::RESPONSES_4XX)?.unwrap_or(0),
        traffic.get(Set::RESPONSES_5XX)?.unwrap_or(0),
    ])
}

impl Answer for Service {
    fn read(attributes: &[u8]) -> Result<Self, Malformed> {
        use sets::Service as Set;
        use sets::Traffic as TrafficSet;
        let service = Attributes::<Set>::new(attributes);
        let listen = service.all(Set::LISTEN).map(|nest| endpoint(nest?));
        let traffic = match service.get(Set::TRAFFIC)? {
            Some(traffic) => Traffic {
                connections: traffic.need(TrafficSet::CONNECTIONS)?,
                packets: traffic.need(TrafficSet::PACKETS)?,
                bytes: traffic.need(TrafficSet::BYTES)?,
                requests: traffic.get(TrafficSet::REQUESTS)?.unwrap_or(0),
                bytes_out: traffic.get(TrafficSet::BYTES_OUT)?.unwrap_or(0),
                responses: responses(traffic)?,
            },
            None => Traffic::default(),
        };
        Ok(Self {
            index: service.need(Set::INDEX)?,
            name: service.need(Set::NAME)?.into_owned(),
            protocol: service.need(Set::PROTOCOL)?,
            datapath: service.need(Set::DATAPATH)?,
            listen: listen.collect::<Result<_, Malformed>>()?,
            routes: service.need(Set::ROUTES)?,
            traffic,
        })
    }
}

impl Answer for Server {
    fn read(attributes: &[u8]) -> Result<Self, Malformed> {
        use sets::Server as Set;
        let server = Attributes::<Set>::new(attributes);
        Ok(Self {
            pool: server.need(Set::POOL)?.into_owned(),
            address: server_address(server)?,
            weight: server.need(Set::WEIGHT)?,
            state: server.need(Set::STATE)?,
            table_weight: server.need(Set::TABLE_WEIGHT)?,
            scheduler: server.need(Set::SCHEDULER)?.into_owned(),
            active: server.need(Set::ACTIVE)?,
            failing: server.get(Set::FAILING)?.is_some(),
            requests: server.get(Set::REQUESTS)?.unwrap_or(0),
            failures: server.get(Set::FAILURES)?.unwrap_or(0),
        })
    }
}

impl Answer for Route {
    fn read(attributes: &[u8]) -> Result<Self, Malformed> {
        use sets::Route as Set;
        let route = Attributes::<Set>::new(attributes);
        let traffic = route.need(Set::TRAFFIC)?;
        Ok(Self {
            service: route.need(Set::SERVICE)?.into_owned(),
            position: route.need(Set::POSITION)?,
            name: route.get(Set::NAME)?.map(Cow::into_owned),
            action: route.need(Set::ACTION)?,
            requests: traffic.need(sets::Traffic::REQUESTS)?,
            responses: responses(traffic)?,
        })
    }
}

impl Answer for Flow {
    fn read(attributes: &[u8]) -> Result<Self, Malformed> {
        use sets::Flow as Set;
        let flow = Attributes::<Set>::new(attributes);
        Ok(Self {
            service: flow.need(Set::SERVICE)?.into_owned(),
            client: endpoint(flow.need(Set::CLIENT)?)?,
            destination: endpoint(flow.need(Set::VIRTUAL)?)?,
            state: flow.need(Set::STATE)?,
            age: flow.need(Set::AGE)?,
            idle: flow.need(Set::IDLE)?,
            packets: flow.need(Set::PACKETS)?,
            bytes: flow.need(Set::BYTES)?,
            server: flow.get(Set::SERVER)?.map(endpoint).transpose()?,
        })
    }
}

impl Answer for Match {
    fn read(attributes: &[u8]) -> Result<Self, Malformed> {
        use sets::Match as Set;
        use sets::Share as ShareSet;
        let found = Attributes::<Set>::new(attributes);
        let shares = found.all(Set::SHARE).map(|share| {
            let share = share?;
            Ok(Share {
                pool: share.need(ShareSet::POOL)?.into_owned(),
                weight: share.need(ShareSet::WEIGHT)?,
                server: share.get(ShareSet::SERVER)?.map(endpoint).transpose()?,
            })
        });
        Ok(Self {
            service: found.need(Set::SERVICE)?.into_owned(),
            outcome: found.need(Set::OUTCOME)?,
            why: found
                .get(Set::WHY)?
                .map_or_else(String::new, Cow::into_owned),
            reason: found.get(Set::REASON)?.map(Cow::into_owned),
            host: found.get(Set::HOST)?.map(<[u8]>::to_vec),
            path: found.get(Set::PATH)?.map(<[u8]>::to_vec),
            route: found.get(Set::ROUTE)?,
            route_name: found.get(Set::ROUTE_NAME)?.map(Cow::into_owned),
            action: found.get(Set::ACTION)?,
            shares: shares.collect::<Result<_, Malformed>>()?,
            generation: found.need(Set::GENERATION)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ack::Ack;
    use crate::events::Event;
    use crate::link::messages;

    /// A `u32` attribute.
    fn number(kind: u16, value: u32) -> Vec<u8> {
        let mut bytes = [8_u16.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value.to_ne_bytes());
        bytes
    }

    /// A string attribute.
    fn text(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len() + 1).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn a_module_without_a_table_is_read() {
        let mut bytes = text(1, b"0.1.0");
        bytes.extend(
            [
                number(2, 1),
                number(3, 0),
                number(10, 1000),
                number(11, 500),
            ]
            .concat(),
        );
        // A counter, and an attribute that this client does not know.
        bytes.extend([20_u16.to_ne_bytes(), 0x800e_u16.to_ne_bytes()].concat());
        bytes.extend([text(1, b"abc"), number(2, 7)].concat());
        bytes.extend(number(99, 1));
        let module = Module::read(&bytes).unwrap();
        assert_eq!(module.version, "0.1.0");
        assert_eq!(module.table_len, None);
        assert_eq!(module.max_chunk_len, 500);
        let counter = Counter {
            name: "abc".to_owned(),
            value: 7,
        };
        assert_eq!(module.counters, [counter]);
        assert!(Module::read(&bytes[12..]).is_err(), "no version");
        for cut in 1..bytes.len() {
            // Cut anywhere, it is an error or a shorter answer.
            let _ = Module::read(&bytes[..cut]);
        }
    }

    #[test]
    fn enumerations_are_words_in_json() {
        let server = Server {
            pool: "p".to_owned(),
            address: "10.0.0.1:80".parse().unwrap(),
            weight: 1,
            state: ServerState::Draining,
            table_weight: 1,
            scheduler: "rr".to_owned(),
            active: 0,
            failing: false,
            requests: 0,
            failures: 0,
        };
        let json = serde_json::to_value(&server).unwrap();
        assert_eq!(json["state"], "draining");
        assert_eq!(json["address"], "10.0.0.1:80");
    }

    #[test]
    fn a_route_is_read_and_has_the_fronts_label() {
        let nest = |kind: u16, content: &[u8]| {
            let length = u16::try_from(4 + content.len()).unwrap();
            [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), content].concat()
        };
        let traffic = [number(4, 9), number(7, 5), number(10, 1)].concat();
        let fixed = [
            text(1, b"web"),
            number(2, 2),
            number(4, 1),
            nest(5, &traffic),
        ]
        .concat();
        let route = Route::read(&fixed).unwrap();
        assert_eq!((route.service.as_str(), route.position), ("web", 2));
        assert_eq!(route.action, Action::Answer);
        assert_eq!((route.requests, route.responses), (9, [0, 5, 0, 0, 1]));
        assert_eq!(route.label(), "#3");
        let named = Route::read(&[fixed.clone(), text(3, b"images")].concat()).unwrap();
        assert_eq!(named.label(), "images");
        assert_eq!(serde_json::to_value(&named).unwrap()["action"], "answer");
        let without = &fixed[..fixed.len() - traffic.len() - 4];
        assert!(Route::read(without).is_err(), "no counters");
    }

    #[test]
    fn flows_are_counted_by_state() {
        let count = |state, count| {
            let content = [number(1, state), number(2, count)].concat();
            let length = u16::try_from(4 + content.len()).unwrap();
            let header = [length.to_ne_bytes(), 0x8010_u16.to_ne_bytes()].concat();
            [header, content].concat()
        };
        let fixed = [
            text(1, b"0.1.0"),
            number(2, 1),
            number(3, 0),
            number(10, 1000),
            number(11, 500),
        ];
        let module = Module::read(&fixed.concat()).unwrap();
        assert_eq!(module.flows_in(FlowState::Open), 0, "an older module");
        let counted = [fixed.concat(), count(1, 5), count(3, 2)].concat();
        let module = Module::read(&counted).unwrap();
        assert_eq!(module.flows_in(FlowState::Open), 5);
        assert_eq!(module.flows_in(FlowState::Reading), 2);
        assert_eq!(module.flows_in(FlowState::Closing), 0);
        let json = serde_json::to_value(&module).unwrap();
        assert_eq!(json["flow_counts"][1]["state"], "reading");
        let unknown = [fixed.concat(), count(9, 1)].concat();
        assert!(Module::read(&unknown).is_err(), "no such state");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_readers_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..256),
            flags in any::<u16>(),
            command in any::<u8>(),
        ) {
            let _ = Module::read(&bytes);
            let _ = Service::read(&bytes);
            let _ = Server::read(&bytes);
            let _ = Route::read(&bytes);
            let _ = Flow::read(&bytes);
            let _ = Match::read(&bytes);
            let _ = Event::read(command, &bytes);
            for message in messages(&bytes).flatten() {
                let _ = message.generic();
            }
            for ack in [Ack::of_error(flags, &bytes), Ack::of_done(flags, &bytes)].into_iter().flatten() {
                let _ = (ack.attribute(&bytes, "match"), ack.missing(&bytes, "match"));
            }
        }

        /// Attributes with right headers and hostile content reach further into the readers.
        #[test]
        fn no_attributes_make_the_readers_panic(
            parts in proptest::collection::vec(
                (0_u16..20, proptest::collection::vec(prop_oneof![Just(0_u8), Just(8), any::<u8>()], 0..40), any::<bool>()),
                0..20,
            ),
            command in 10_u8..22,
        ) {
            let mut bytes = vec![0; 20];
            for (kind, value, nested) in parts {
                let length = u16::try_from(4 + value.len()).unwrap();
                bytes.extend(length.to_ne_bytes());
                bytes.extend((kind | if nested { 0x8000 } else { 0 }).to_ne_bytes());
                bytes.extend(value);
                bytes.resize(bytes.len().next_multiple_of(4), 0);
            }
            let attributes = &bytes[20..];
            let _ = Module::read(attributes);
            let _ = Service::read(attributes);
            let _ = Server::read(attributes);
            let _ = Route::read(attributes);
            let _ = Flow::read(attributes);
            let _ = Match::read(attributes);
            let _ = Event::read(command, attributes);
            let ack = [&[1, 0, 0, 0], &bytes[..16], attributes].concat();
            if let Some(ack) = Ack::of_error(0x300, &ack) {
                let _ = (ack.attribute(&bytes, "match"), ack.missing(&bytes, "match"));
            }
        }
    }
}
