// SPDX-License-Identifier: MIT
//! Servers that the rules give by name: what is looked up, and the servers that come of the answers.
//!
//! Rules are read from files only, so that a pool has no server of a name at first. Who resolves names, the front, puts
//! the answers in with [`RuleSet::with_addresses`].

use std::collections::BTreeMap;
use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;
use std::net::SocketAddr;

use serde::Serialize;
use serde::Serializer;

use crate::RuleSet;
use crate::compile_model;
use crate::model::Model;
use crate::model::Pool;
use crate::model::RealServer;
use crate::model::ServerAddress;
use crate::text::diagnostic::Report;

/// What stands before the name of a service in the rules.
pub const SERVICE_PREFIX: &str = "srv:";

/// What stands before the path of a Unix socket in the rules.
pub const UNIX_PREFIX: &str = "unix:";

/// A question to the resolver. The name is in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lookup {
    /// Addresses of a host (A and AAAA records).
    Host(String),
    /// Servers of a service (SRV records, RFC 2782).
    Service(String),
}

impl Lookup {
    /// Whom a certificate of the servers names unless the rules say otherwise. Of a service it is the domain: nobody
    /// vouches for the targets that its records name.
    pub fn certificate_name(&self) -> &str {
        let name = match self {
            Self::Host(name) => name.as_str(),
            Self::Service(name) => name
                .split_once("._tcp.")
                .map_or(name.as_str(), |(_, domain)| domain),
        };
        name.trim_end_matches('.')
    }
}

impl fmt::Display for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(name) => f.write_str(name),
            Self::Service(name) => write!(f, "{SERVICE_PREFIX}{name}"),
        }
    }
}

impl Serialize for Lookup {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// Which of a name's addresses are servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Resolve {
    /// Each, with the name's weight.
    #[default]
    All,
    /// The first.
    One,
}

/// Servers given by a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamedServer {
    /// What is looked up.
    pub name: Lookup,
    /// Port; absent for a service, whose records have it.
    pub port: Option<u16>,
    /// Weight of each address; for a service, the records have it.
    pub weight: u32,
    /// Whether they get requests only while no other server of the pool can.
    pub backup: bool,
    /// Whether they get nothing new.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub drain: bool,
    /// Which addresses are servers.
    pub resolve: Resolve,
    /// The port that active checks try; absent: the pool's, or each server's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health_port: Option<u16>,
    /// Most requests that each address has at a time; absent: no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
}

impl fmt::Display for NamedServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.name),
            None => write!(f, "{}", self.name),
        }
    }
}

/// One address of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Found {
    /// The address.
    pub address: IpAddr,
    /// Port, weight and rank of a service's server; absent for a host.
    pub record: Option<ServiceRecord>,
}

/// What an SRV record says of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceRecord {
    /// Port.
    pub port: u16,
    /// Weight, not 0.
    pub weight: u16,
    /// Whether others have a lower priority, which go first.
    pub backup: bool,
}

/// What is known of names. The order of a name's addresses matters for [`Resolve::One`] only.
pub type Answers = BTreeMap<Lookup, Vec<Found>>;

impl NamedServer {
    /// The servers that come of an answer.
    fn servers(&self, answer: &[Found]) -> Vec<RealServer> {
        let taken = match self.resolve {
            Resolve::All => answer,
            Resolve::One => answer.get(..1).unwrap_or_default(),
        };
        let mut servers: Vec<RealServer> = taken
            .iter()
            .filter_map(|found| {
                let record = found.record;
                let port = record.map(|record| record.port).or(self.port)?;
                Some(RealServer {
                    address: SocketAddr::new(found.address, port).into(),
                    name: Some(self.name.clone()),
                    weight: record.map_or(self.weight, |record| record.weight.into()),
                    backup: self.backup || record.is_some_and(|record| record.backup),
                    drain: self.drain,
                    health_port: self.health_port,
                    max_connections: self.max_connections,
                })
            })
            .collect();
        // Resolvers give addresses in any order, and another order is no other answer.
        servers.sort_by(|a, b| a.address.cmp(&b.address));
        servers
    }
}

impl Pool {
    /// Puts the servers in that come of these answers, in place of those that came of others. An address that the pool
    /// has already is not added.
    fn put_addresses(&mut self, answers: &Answers) {
        if self.names.is_empty() {
            return;
        }
        self.servers.retain(|server| server.name.is_none());
        let mut seen: HashSet<ServerAddress> =
            self.servers.iter().map(|s| s.address.clone()).collect();
        for named in &self.names {
            let answer = answers.get(&named.name).map_or(&[][..], Vec::as_slice);
            let servers = named.servers(answer);
            self.servers.extend(
                servers
                    .into_iter()
                    .filter(|s| seen.insert(s.address.clone())),
            );
        }
        self.servers.sort_by_key(|server| server.backup);
        self.drain();
    }
}

impl Model {
    /// The names in it.
    pub fn lookups(&self) -> impl Iterator<Item = &Lookup> {
        self.pools
            .iter()
            .flat_map(|pool| &pool.names)
            .map(|named| &named.name)
    }

    /// Puts the servers in that come of these answers. Gives whether that changed anything.
    pub fn put_addresses(&mut self, answers: &Answers) -> bool {
        let mut changed = false;
        for pool in &mut self.pools {
            let before = pool.servers.clone();
            pool.put_addresses(answers);
            changed |= pool.servers != before;
        }
        changed
    }
}

impl RuleSet {
    /// The rules with the servers that come of these answers.
    ///
    /// # Errors
    ///
    /// The compiled table would be too large.
    pub fn with_addresses(mut self, answers: &Answers) -> Result<Self, Report> {
        if self.model.put_addresses(answers) {
            return compile_model(self.model, self.warnings);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use l7switch_engine::table::format::ServerRecord;

    use super::*;
    use crate::load_text;

    const RULES: &str = "[service.web]\nlisten = '0.0.0.0:80'\n[[service.web.route]]\npool = 'p'\n";

    fn found(address: &str) -> Found {
        Found {
            address: address.parse().unwrap(),
            record: None,
        }
    }

    fn servers(rules: &RuleSet) -> Vec<String> {
        let describe = |s: &RealServer| format!("{} {} {}", s.address, s.weight, s.backup);
        rules.model.pools[0].servers.iter().map(describe).collect()
    }

    #[test]
    fn addresses_take_the_place_of_names() {
        let pool = "[pool.p]\nservers = ['10.0.0.9:80', \
            { address = 'Spare.internal.:81', backup = true, resolve = 'one' }, { address = 'app:80', weight = 2 }]";
        let rules = load_text("r", &format!("{RULES}{pool}")).unwrap();
        assert_eq!(servers(&rules), ["10.0.0.9:80 1 false"]);
        let spare = Lookup::Host("spare.internal.".to_owned());
        let app = Lookup::Host("app".to_owned());
        assert_eq!(rules.model.lookups().collect::<Vec<_>>(), [&spare, &app]);
        let answers = Answers::from([
            (
                app,
                ["10.0.0.2", "10.0.0.9", "::1", "10.0.0.1"]
                    .map(found)
                    .to_vec(),
            ),
            (spare, ["10.0.0.8", "10.0.0.7"].map(found).to_vec()),
        ]);
        let rules = rules.with_addresses(&answers).unwrap();
        let wanted = [
            "10.0.0.9:80 1 false",
            "10.0.0.1:80 2 false",
            "10.0.0.2:80 2 false",
            "[::1]:80 2 false",
            "10.0.0.8:81 1 true",
        ];
        assert_eq!(servers(&rules), wanted);
        assert!(
            !rules.model.clone().put_addresses(&answers),
            "the same again"
        );
        let rules = rules.with_addresses(&Answers::new()).unwrap();
        assert_eq!(servers(&rules), ["10.0.0.9:80 1 false"]);
    }

    #[test]
    fn servers_are_drained_one_by_one_or_with_their_pool() {
        let drained = |keys: &str| {
            let rules = load_text("r", &format!("{RULES}[pool.p]\n{keys}")).unwrap();
            assert!(rules.warnings.is_empty());
            let answer = vec![found("10.0.0.1"), found("10.0.0.2")];
            let answers = Answers::from([(Lookup::Host("app".to_owned()), answer)]);
            let rules = rules.with_addresses(&answers).unwrap();
            let servers = rules.model.pools[0].servers.iter();
            let table = rules.for_kernel();
            let records = 0..table.count::<ServerRecord>();
            let weights = records.map(|at| table.get::<ServerRecord>(at).unwrap().weight);
            let all: Vec<_> = servers.map(|s| (s.drain, s.weight)).zip(weights).collect();
            all
        };
        let (is, not) = (
            |weight| ((true, weight), 0),
            |weight| ((false, weight), weight),
        );
        let app = "{ address = 'app:80', weight = 2";
        assert_eq!(
            drained(&format!(
                "drain = true\nservers = ['10.0.0.9:80', {app} }}]"
            )),
            [is(1), is(2), is(2)]
        );
        assert_eq!(
            drained(&format!(
                "servers = ['10.0.0.9:80', {app}, drain = true }}]"
            )),
            [not(1), is(2), is(2)]
        );
        assert_eq!(
            drained(&format!(
                "servers = [{{ address = '10.0.0.9:80', drain = true, weight = 3 }}, {app} }}]"
            )),
            [is(3), not(2), not(2)]
        );
    }

    #[test]
    fn records_of_a_service_say_port_weight_and_rank() {
        let pool = "[pool.p]\nservers = 'srv:_http._tcp.app.internal'";
        let rules = load_text("r", &format!("{RULES}{pool}")).unwrap();
        let name = Lookup::Service("_http._tcp.app.internal".to_owned());
        assert_eq!(name.certificate_name(), "app.internal");
        let record = |address: &str, port, weight, backup| Found {
            record: Some(ServiceRecord {
                port,
                weight,
                backup,
            }),
            ..found(address)
        };
        let answer = vec![
            record("10.0.0.1", 81, 9, true),
            record("10.0.0.2", 82, 7, false),
        ];
        let rules = rules
            .with_addresses(&Answers::from([(name, answer)]))
            .unwrap();
        assert_eq!(
            servers(&rules),
            ["10.0.0.2:82 7 false", "10.0.0.1:81 9 true"]
        );
    }
}
