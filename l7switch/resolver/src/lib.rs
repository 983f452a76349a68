// SPDX-License-Identifier: MIT
//! One look-up of a name of servers: /etc/hosts, then DNS. For the front, which looks names up again and again, and for `l7ctl check`.
//!
//! Both files of the system's configuration are read anew each time, so that changes of them take effect.

#![forbid(unsafe_code)]

mod check;

use std::net::IpAddr;
use std::net::SocketAddr;
use std::time::Duration;
use std::time::Instant;

use hickory_resolver::Hosts;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::ConnectionConfig;
use hickory_resolver::config::NameServerConfig;
use hickory_resolver::config::ResolveHosts;
use hickory_resolver::config::ResolverConfig;
use hickory_resolver::lookup::Lookup as Records;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::RecordType;
use hickory_resolver::proto::rr::rdata::SRV;
use l7switch_rules::names::Found;
use l7switch_rules::names::Lookup;
use l7switch_rules::names::ServiceRecord;

pub use check::check;

/// After this time, a name in /etc/hosts is looked up again.
const HOSTS_AGAIN: Duration = Duration::from_secs(5);

/// Most addresses of one name, and most records of one service: an answer of DNS can have thousands.
const MOST: usize = 256;

/// What a look-up found.
#[derive(Debug)]
pub struct Answer {
    /// Not empty; in the order of the answer.
    pub found: Vec<Found>,
    /// When it has to be asked again; absent: soon, since a part of it could not be had.
    pub until: Option<Instant>,
}

/// Where names are looked up.
struct Directory {
    hosts: Hosts,
    /// Or why there is no DNS.
    dns: Result<TokioResolver, String>,
}

/// Looks a name up; `known` is what is known of it so far, and `server` a name server in place of the system's configuration.
///
/// # Errors
///
/// Why there is no answer.
pub async fn look_up(
    server: Option<SocketAddr>,
    name: Lookup,
    known: Vec<Found>,
) -> Result<Answer, String> {
    // It reads files.
    let directory = tokio::task::spawn_blocking(move || Directory::open(server)).await;
    let directory = directory.map_err(|error| error.to_string())?;
    match &name {
        Lookup::Host(host) => {
            let known: Vec<IpAddr> = known.iter().map(|found| found.address).collect();
            let addresses = directory.host(&parsed(host)?, &known).await?;
            let found = |&address| Found {
                address,
                record: None,
            };
            Ok(Answer {
                found: addresses.list.iter().map(found).collect(),
                until: addresses.until,
            })
        }
        Lookup::Service(service) => directory.service(&parsed(service)?).await,
    }
}

fn parsed(name: &str) -> Result<Name, String> {
    Name::from_ascii(name).map_err(|error| error.to_string())
}

/// Addresses of a host.
#[derive(Debug)]
struct Addresses {
    list: Vec<IpAddr>,
    until: Option<Instant>,
}

impl Directory {
    fn open(server: Option<SocketAddr>) -> Self {
        let hosts = match server {
            Some(_) => Hosts::default(),
            None => Hosts::from_system().unwrap_or_default(),
        };
        let builder = match server {
            Some(server) => Ok(TokioResolver::builder_with_config(
                only(server),
                TokioRuntimeProvider::default(),
            )),
            None => TokioResolver::builder_tokio(),
        };
        let dns = builder.and_then(|mut builder| {
            builder.options_mut().use_hosts_file = ResolveHosts::Never;
            builder.build()
        });
        Self {
            hosts,
            dns: dns.map_err(|error| format!("/etc/resolv.conf: {error}")),
        }
    }

    /// The addresses of a host. As with the system's own resolver, a name that is in /etc/hosts is not asked of DNS.
    async fn host(&self, name: &Name, known: &[IpAddr]) -> Result<Addresses, String> {
        let listed = [RecordType::A, RecordType::AAAA].map(|kind| {
            let found = self
                .hosts
                .lookup_static_host(&Query::query(name.clone(), kind));
            found.map(|records| addresses(&records)).unwrap_or_default()
        });
        let list = usable(listed.concat());
        if !list.is_empty() {
            return Ok(Addresses {
                list,
                until: Some(Instant::now() + HOSTS_AGAIN),
            });
        }
        let dns = self.dns.as_ref().map_err(Clone::clone)?;
        let (v4, v6) = tokio::join!(
            dns.lookup(name.clone(), RecordType::A),
            dns.lookup(name.clone(), RecordType::AAAA)
        );
        both(v4, v6, known)
    }

    /// The servers of a service.
    async fn service(&self, name: &Name) -> Result<Answer, String> {
        let dns = self.dns.as_ref().map_err(Clone::clone)?;
        let records = dns.srv_lookup(name.clone()).await;
        let records = records.map_err(|error| said(&error))?;
        let targets: Vec<&SRV> = records
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                // A port of 0 is none, and the root is nobody (RFC 2782).
                RData::SRV(target) if target.port != 0 && !target.target.is_root() => Some(target),
                _ => None,
            })
            .take(MOST)
            .collect();
        let first = targets.iter().map(|target| target.priority).min();
        let mut answer = Answer {
            found: Vec::new(),
            until: Some(records.valid_until()),
        };
        let mut error = "the service has no servers".to_owned();
        for target in targets {
            match self.host(&target.target, &[]).await {
                Ok(addresses) => {
                    let record = ServiceRecord {
                        port: target.port,
                        weight: target.weight.max(1),
                        backup: Some(target.priority) != first,
                    };
                    let found = |address| Found {
                        address,
                        record: Some(record),
                    };
                    answer.found.extend(addresses.list.into_iter().map(found));
                    answer.until = answer.until.min(addresses.until);
                }
                // The others are asked again soon, and may serve meanwhile.
                Err(why) => {
                    error = format!("{}: {why}", target.target);
                    answer.until = None;
                }
            }
        }
        answer.found.truncate(MOST);
        match answer.found.is_empty() {
            true => Err(error),
            false => Ok(answer),
        }
    }
}

/// A configuration with one name server.
fn only(server: SocketAddr) -> ResolverConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    let server = NameServerConfig::new(server.ip(), true, connections.into());
    ResolverConfig::from_parts(None, Vec::new(), vec![server])
}

/// Both families together. Where one of them could not be had, what is known of it is kept.
fn both(
    v4: Result<Records, NetError>,
    v6: Result<Records, NetError>,
    known: &[IpAddr],
) -> Result<Addresses, String> {
    let mut list = Vec::new();
    let mut until = Vec::new();
    let mut failed = None;
    let mut none = "the name has no address".to_owned();
    for (records, is_v4) in [(v4, true), (v6, false)] {
        match records {
            Ok(records) => {
                list.extend(addresses(&records));
                until.push(records.valid_until());
            }
            Err(error) if error.is_nx_domain() => none = said(&error),
            Err(error) if error.is_no_records_found() => {}
            Err(error) => {
                list.extend(known.iter().filter(|address| address.is_ipv4() == is_v4));
                failed = Some(said(&error));
            }
        }
    }
    let list = usable(list);
    match failed {
        _ if list.is_empty() => Err(failed.unwrap_or(none)),
        Some(error) if until.is_empty() => Err(error),
        Some(_) => Ok(Addresses { list, until: None }),
        None => Ok(Addresses {
            list,
            until: until.into_iter().min(),
        }),
    }
}

/// An error of DNS in words.
fn said(error: &NetError) -> String {
    match error {
        NetError::NoConnections => "no name server can be reached".to_owned(),
        NetError::Timeout => "no name server answers".to_owned(),
        error if error.is_nx_domain() => "there is no such name".to_owned(),
        error if error.is_no_records_found() => "the name has no such record".to_owned(),
        other => other.to_string(),
    }
}

fn addresses(records: &Records) -> Vec<IpAddr> {
    let addresses = records
        .answers()
        .iter()
        .filter_map(|record| record.data.ip_addr());
    addresses.map(|address| address.to_canonical()).collect()
}

/// Those that a server can have, each once.
fn usable(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let mut list = Vec::new();
    for address in addresses {
        let is_nobody = match address {
            IpAddr::V4(v4) => v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast(),
            IpAddr::V6(v6) => v6.is_unspecified() || v6.is_multicast(),
        };
        if !is_nobody && !list.contains(&address) && list.len() < MOST {
            list.push(address);
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_no_server_has_are_left_out() {
        let given = [
            "10.0.0.1",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "::1",
            "10.0.0.1",
        ];
        let given = given.map(|address| address.parse().unwrap());
        let wanted: [IpAddr; 2] = ["10.0.0.1", "::1"].map(|address| address.parse().unwrap());
        assert_eq!(usable(given.to_vec()), wanted);
        let many =
            (0..=u16::MAX).map(|n| IpAddr::from([10, 1, n.to_be_bytes()[0], n.to_be_bytes()[1]]));
        assert_eq!(usable(many.collect()).len(), MOST);
    }
}
