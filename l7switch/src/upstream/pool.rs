// SPDX-License-Identifier: MIT
//! A pool of real servers in one generation of the rules.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use l7switch_engine::sched;
use l7switch_engine::sched::Cursor;
use l7switch_engine::sched::Lookup;
use l7switch_rules::model;

use super::balance;
use super::balance::LookupTable;
use super::balance::Member;
use super::lease::Outstanding;
use super::server::RealServer;
use super::tls::Manner;
use crate::net::tls::TlsError;

/// What a server has done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not take connections.
    Connect,
    /// It does not answer, or not as it should.
    Answer,
}

/// A pool. Its servers are shared with the generations before and after.
#[derive(Debug)]
pub struct Pool {
    config: model::Pool,
    /// Whether another pool takes the requests while no server of this one can.
    has_substitute: bool,
    /// How its servers are spoken to.
    manner: Manner,
    members: Vec<Member>,
    cursor: Arc<Cursor>,
    lookup: ArcSwap<LookupTable>,
}

impl Pool {
    /// The pool as the rules say, with the servers of `before` that it has in common with it.
    ///
    /// # Errors
    ///
    /// A file of its TLS cannot be used.
    pub fn new(
        config: model::Pool,
        has_substitute: bool,
        before: Option<&Self>,
    ) -> Result<Self, TlsError> {
        let manner = Manner::new(&config)?;
        let known: HashMap<SocketAddr, &Arc<RealServer>> = before
            .iter()
            .flat_map(|pool| &pool.members)
            .map(|member| (member.0.address(), &member.0))
            .collect();
        let name: Arc<str> = config.name.as_str().into();
        let members = config
            .servers
            .iter()
            .map(|server| {
                Member(match known.get(&server.address) {
                    Some(known) => Arc::clone(known),
                    None => Arc::new(RealServer::new(
                        Arc::clone(&name),
                        server.address,
                        server.weight,
                    )),
                })
            })
            .collect();
        Ok(Self {
            has_substitute,
            manner,
            members,
            cursor: before.map_or_else(Arc::default, |pool| Arc::clone(&pool.cursor)),
            lookup: ArcSwap::from_pointee(LookupTable::None),
            config,
        })
    }

    /// Puts the rules' weights in force: for the generation that becomes the one in force.
    pub fn activate(&self) {
        for (member, server) in self.members.iter().zip(&self.config.servers) {
            member.0.configure(server);
            member.0.speak(self.manner.towards(server));
            member.0.set_checked(self.config.health.is_some());
        }
        self.rebuild_lookup();
    }

    /// Makes the lookup table anew, after weights have changed.
    pub fn rebuild_lookup(&self) {
        let table = LookupTable::build(self.config.scheduler.kind, self.groups().0);
        self.lookup.store(Arc::new(table));
    }

    /// What the rules say.
    pub const fn config(&self) -> &model::Pool {
        &self.config
    }

    /// The servers, in the order of the rule file.
    pub fn servers(&self) -> impl Iterator<Item = &Arc<RealServer>> {
        self.members.iter().map(|member| &member.0)
    }

    /// A request has failed by the fault of one of the servers.
    pub fn failed(&self, server: &Arc<RealServer>, fault: Fault) {
        server.failed(&self.config.passive, || self.can_do_without(server, fault));
    }

    /// Whether a server may be ejected. The last one to which requests may come never is, whatever it does (as with nginx),
    /// unless it takes no connections and another pool takes its requests then.
    /// A client can have the wrong answers of one path from all servers, and must not take all of them from everybody with
    /// it: for answers, at most half of the servers are ejected at a time (Envoy's `max_ejection_percent` is the same idea).
    fn can_do_without(&self, server: &Arc<RealServer>, fault: Fault) -> bool {
        let (mut present, mut ejected) = (0_usize, 0_usize);
        for member in &self.members {
            let (there, out) = member.0.turnout();
            if there {
                present = present.saturating_add(1);
                if out && !Arc::ptr_eq(&member.0, server) {
                    ejected = ejected.saturating_add(1);
                }
            }
        }
        match fault {
            Fault::Connect => self.has_substitute || ejected.saturating_add(1) < present,
            Fault::Answer => ejected < present / 2,
        }
    }

    /// Picks a server for a request whose key has this hash, passing over those tried already, and
    /// counts the request there. Gives the server's index too. Backups are picked where no other server can be.
    pub fn pick(&self, hash: u64, tried: &[usize]) -> Option<(usize, Outstanding)> {
        let lookup = self.lookup.load();
        let (primaries, backups) = self.groups();
        let pick = |servers, lookup, first: usize| {
            let pool = sched::Pool {
                kind: self.config.scheduler.kind,
                load_percent: self.config.scheduler.load_percent,
                servers,
                cursor: &self.cursor,
                lookup,
            };
            let is_tried = |index: usize| tried.contains(&first.saturating_add(index));
            let index = pool.pick(&balance::ask(hash), is_tried)?;
            Some(first.saturating_add(index))
        };
        let index = pick(primaries, lookup.as_lookup(), 0)
            .or_else(|| pick(backups, Lookup::None, primaries.len()))?;
        let member = self.members.get(index)?;
        Some((index, Outstanding::new(Arc::clone(&member.0))))
    }

    /// Whether there is a server that could be picked.
    pub fn has_server(&self) -> bool {
        self.members.iter().any(|member| {
            let server = member.0.sched();
            server.available() && server.weight() > 0
        })
    }

    /// The servers, and the backups.
    fn groups(&self) -> (&[Member], &[Member]) {
        self.members
            .split_at_checked(self.config.primaries())
            .unwrap_or((&self.members, &[]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use l7switch_rules::model::HashKey;
    use l7switch_rules::model::Passive;
    use l7switch_rules::model::SchedulerKind;
    use std::time::Duration;

    fn config(kind: SchedulerKind, servers: &[(&str, u32)]) -> model::Pool {
        model::Pool {
            name: "p".to_owned(),
            scheduler: model::Scheduler {
                kind,
                key: HashKey::Source,
                load_percent: 0,
            },
            forward: model::Forward::Nat,
            send_proxy: None,
            tls: None,
            protocol: model::ServerProtocol::Http1,
            servers: servers
                .iter()
                .map(|(address, weight)| model::RealServer {
                    address: address.parse().unwrap(),
                    name: None,
                    weight: *weight,
                    backup: false,
                })
                .collect(),
            names: Vec::new(),
            fallback: None,
            health: None,
            passive: Passive::default(),
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(1),
            retries: 1,
            keepalive: 8,
            keepalive_timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn every_scheduler_picks_and_passes_over_what_was_tried() {
        for kind in SchedulerKind::ALL {
            let pool = Pool::new(
                config(kind, &[("127.0.0.1:1", 1), ("127.0.0.1:2", 1)]),
                false,
                None,
            )
            .unwrap();
            pool.activate();
            let (first, held) = pool.pick(7, &[]).unwrap();
            let (second, _) = pool.pick(7, &[first]).unwrap();
            assert_ne!(first, second, "{kind:?}");
            assert!(pool.pick(7, &[0, 1]).is_none());
            assert_eq!(held.server().status().active, 1);
            drop(held);
            assert!(pool.servers().all(|server| server.status().active == 0));
        }
    }

    #[test]
    fn servers_live_on_in_the_next_generation() {
        let old = Pool::new(
            config(SchedulerKind::Mh, &[("127.0.0.1:1", 1)]),
            false,
            None,
        )
        .unwrap();
        old.activate();
        let (_, held) = old.pick(0, &[]).unwrap();
        held.server().set_draining(true);
        let new = Pool::new(
            config(SchedulerKind::Mh, &[("127.0.0.1:2", 1), ("127.0.0.1:1", 4)]),
            false,
            Some(&old),
        )
        .unwrap();
        new.activate();
        let status: Vec<_> = new.servers().map(|server| server.status()).collect();
        assert_eq!(status[1].active, 1);
        assert_eq!(status[1].weight, 4);
        assert_eq!(status[1].effective_weight, 0);
        for hash in 0..100 {
            assert_eq!(new.pick(hash << 40, &[]).unwrap().0, 0);
        }
    }
}
