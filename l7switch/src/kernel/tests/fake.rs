// SPDX-License-Identifier: MIT
//! A kernel that behaves as the contract says, for tests of the keeper.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;

use l7switch_engine::netlink::Command;
use l7switch_engine::netlink::ServerState;
use l7switch_netlink::Error;
use l7switch_netlink::Event;
use l7switch_netlink::Refusal;
use l7switch_netlink::Server;
use l7switch_netlink::ServerChange;
use l7switch_netlink::WeightChange;

use crate::kernel::module::Connect;
use crate::kernel::module::Module;
use crate::kernel::module::Standing;

/// Port of the front's client.
const OWN: u32 = 7;
/// Port of someone else's.
pub(super) const OTHER: u32 = 8;

/// A kernel that behaves as the contract says.
#[derive(Debug, Default)]
pub(super) struct World {
    /// Number of the loading of the module; `None`: it is not loaded.
    pub(super) loading: Option<u64>,
    generation: u64,
    pub(super) table: Option<Vec<u8>>,
    /// Pool and address; state, weight, the table's weight.
    servers: BTreeMap<(String, SocketAddr), (ServerState, u32, u32)>,
    pub(super) staged: HashMap<u32, Vec<u8>>,
    transactions: u32,
    pub(super) events: VecDeque<Event>,
    /// Error numbers of the next commits.
    pub(super) refuse: VecDeque<i32>,
    /// A table that someone else loads just before the generation is asked for.
    pub(super) late: Option<Vec<u8>>,
    /// What was asked, in words.
    asked: Vec<String>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Fake(Arc<Mutex<World>>);

#[derive(Debug)]
pub(super) struct FakeModule {
    world: Fake,
    loading: u64,
}

impl Fake {
    pub(super) fn loaded() -> Self {
        let fake = Self::default();
        fake.world().loading = Some(1);
        fake
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    /// What was asked since the last call.
    pub(super) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.world().asked)
    }

    pub(super) fn server(&self, pool: &str, address: &str) -> (ServerState, u32) {
        let key = (pool.to_owned(), address.parse().unwrap());
        let (state, weight, _) = self.world().servers[&key];
        (state, weight)
    }

    /// Someone else changes a server.
    pub(super) fn change(
        &self,
        pool: &str,
        address: &str,
        state: Option<ServerState>,
        weight: Option<u32>,
    ) {
        let change = ServerChange {
            pool: Some(pool.to_owned()),
            address: address.parse().unwrap(),
            state,
            weight: weight.map(WeightChange::To),
        };
        self.world().set(&change, OTHER).unwrap();
    }
}

fn refused(command: Command, errno: i32) -> Error {
    Error::Refused(Box::new(Refusal {
        command,
        errno,
        message: Some("no".to_owned()),
        attribute: None,
        missing: None,
    }))
}

impl World {
    fn set(&mut self, change: &ServerChange, by: u32) -> Result<(), Error> {
        let mut found = false;
        for ((pool, address), (state, weight, table_weight)) in &mut self.servers {
            let meant = change.pool.as_ref().is_none_or(|wanted| wanted == pool);
            if !meant || *address != change.address {
                continue;
            }
            found = true;
            *state = change.state.unwrap_or(*state);
            *weight = match change.weight {
                Some(WeightChange::To(weight)) => weight,
                Some(WeightChange::Reset) => *table_weight,
                None => *weight,
            };
            self.events.push_back(Event::ServerChanged {
                pool: pool.clone(),
                address: *address,
                weight: *weight,
                state: *state,
                by,
            });
        }
        if found {
            Ok(())
        } else {
            Err(refused(Command::ServerSet, 2))
        }
    }

    /// Puts a table in force.
    pub(super) fn load(&mut self, table: Vec<u8>, by: u32) -> u64 {
        let before = std::mem::take(&mut self.servers);
        for (pool, address, weight) in servers_of(&table) {
            let key = (pool, address);
            let entry = match before.get(&key) {
                // One that was set stays.
                Some(&(state, set, old)) if set != old => (state, set, weight),
                Some(&(state, ..)) => (state, weight, weight),
                None => (ServerState::Up, weight, weight),
            };
            self.servers.insert(key, entry);
        }
        self.generation += 1;
        self.events.push_back(Event::TableReplaced {
            generation: self.generation,
            len: u32::try_from(table.len()).unwrap(),
            by,
        });
        self.table = Some(table);
        self.generation
    }

    pub(super) fn unload(&mut self, by: u32) -> u64 {
        self.table = None;
        self.servers.clear();
        self.generation += 1;
        let generation = self.generation;
        self.events
            .push_back(Event::TableUnloaded { generation, by });
        generation
    }

    /// Loads the module again: nothing is as it was.
    pub(super) fn reload(&mut self) {
        let loading = self.transactions.into();
        *self = Self {
            loading: Some(loading),
            transactions: self.transactions + 100,
            ..Self::default()
        };
    }
}

/// Servers of the pools in a table.
fn servers_of(table: &[u8]) -> Vec<(String, SocketAddr, u32)> {
    let known = RULES.lock().unwrap();
    let (_, servers) = known.iter().find(|(bytes, _)| bytes == table).unwrap();
    servers.clone()
}

/// Tables of these tests with what they hold: only the kernel reads pools out of a table.
pub(super) type Known = Vec<(Vec<u8>, Vec<(String, SocketAddr, u32)>)>;
pub(super) static RULES: Mutex<Known> = Mutex::new(Vec::new());

impl Connect for Fake {
    type Module = FakeModule;

    fn connect(&mut self) -> Result<FakeModule, Error> {
        let loading = self.world().loading.ok_or(Error::NotLoaded)?;
        self.world().events.clear();
        Ok(FakeModule {
            world: self.clone(),
            loading,
        })
    }
}

impl FakeModule {
    fn ask(&self, what: impl Into<String>) -> Result<MutexGuard<'_, World>, Error> {
        let mut world = self.world.world();
        if world.loading != Some(self.loading) {
            return Err(Error::NotLoaded);
        }
        world.asked.push(what.into());
        Ok(world)
    }
}

impl Module for FakeModule {
    fn port(&self) -> u32 {
        OWN
    }

    fn standing(&mut self) -> Result<Standing, Error> {
        let mut world = self.ask("generation")?;
        if let Some(table) = world.late.take() {
            world.load(table, OTHER);
        }
        Ok(Standing {
            generation: world.generation,
            has_table: world.table.is_some(),
            concerns: Vec::new(),
        })
    }

    fn stage(&mut self, table: &[u8]) -> Result<u32, Error> {
        let mut world = self.ask("stage")?;
        world.transactions += 1;
        let transaction = world.transactions;
        world.staged.insert(transaction, table.to_vec());
        Ok(transaction)
    }

    fn commit(&mut self, transaction: u32) -> Result<u64, Error> {
        let mut world = self.ask("commit")?;
        let table = world
            .staged
            .remove(&transaction)
            .ok_or_else(|| refused(Command::TableCommit, 2))?;
        match world.refuse.pop_front() {
            Some(errno) => Err(refused(Command::TableCommit, errno)),
            None => Ok(world.load(table, OWN)),
        }
    }

    fn abort(&mut self, transaction: u32) -> Result<(), Error> {
        self.ask("abort")?.staged.remove(&transaction);
        Ok(())
    }

    fn unload(&mut self) -> Result<u64, Error> {
        Ok(self.ask("unload")?.unload(OWN))
    }

    fn servers(&mut self) -> Result<Vec<Server>, Error> {
        let world = self.ask("servers")?;
        let server = |(key, value): (&(String, SocketAddr), &(ServerState, u32, u32))| Server {
            pool: key.0.clone(),
            address: key.1,
            weight: value.1,
            state: value.0,
            table_weight: value.2,
            scheduler: "rr".to_owned(),
            active: 0,
            failing: false,
            requests: 0,
            failures: 0,
        };
        Ok(world.servers.iter().map(server).collect())
    }

    fn set_server(&mut self, change: &ServerChange) -> Result<(), Error> {
        let pool = change.pool.as_deref().unwrap_or("*");
        let mut what = format!("set {pool}/{}", change.address);
        if let Some(state) = change.state {
            what.push_str(&format!(" {}", state.name()));
        }
        match change.weight {
            Some(WeightChange::To(weight)) => what.push_str(&format!(" {weight}")),
            Some(WeightChange::Reset) => what.push_str(" default"),
            None => {}
        }
        self.ask(what)?.set(change, OWN)
    }

    fn event(&mut self) -> Result<Option<Event>, Error> {
        // The socket of a module that is gone is silent.
        let mut world = self.world.world();
        Ok(world
            .events
            .pop_front()
            .filter(|_| world.loading == Some(self.loading)))
    }

    fn readiness(&self) -> Option<OwnedFd> {
        None
    }
}
