// SPDX-License-Identifier: MIT
//! Keeps the module in step with the front: its table, and the standing of real servers both ways.
//!
//! Nothing here waits or knows of time: each [`Keeper::step`] looks at what there is and does what is missing. The
//! front's rules win: they are loaded at the start and after each reload. What someone else loads or takes away after
//! that stays until the next reload; servers are kept in step only while the module has the front's table.
//!
//! Of servers, who speaks last is right. Events tell of every change in the order in which the kernel made them, also
//! of this front's own, which only say what the kernel holds now; what differs from the front's standing after the
//! last of them is set again. So two changes that cross end in the same standing on both sides.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use l7switch_admin_api::KernelState;
use l7switch_admin_api::KernelStatus;
use l7switch_admin_api::ServerState as FrontState;
use l7switch_engine::netlink::ServerState;
use l7switch_netlink::Error;
use l7switch_netlink::Event;
use l7switch_netlink::ServerChange;
use l7switch_netlink::WeightChange;
use tokio::sync::Notify;

use super::concerns::Logged;
use super::connection::Connection;
use super::connection::Held;
use super::connection::Staged;
use super::connection::Table;
use super::connection::is_passing;
use super::connection::place;
use super::module::Connect;
use super::module::Module;
use crate::observe::events::Kind;
use crate::ruleset::generation::Generation;
use crate::upstream::RealServer;

/// Keeps the module in step.
#[derive(Debug)]
pub struct Keeper<C: Connect> {
    connect: C,
    connection: Option<Connection<C::Module>>,
    /// Told by servers whose standing changes.
    told: Arc<Notify>,
    /// Number of the front's generation that was looked at last.
    followed: u64,
    /// Connections so far.
    connections: u64,
    /// What has been said of this host.
    logged: Logged,
    /// The module is another process's.
    has_let_go: bool,
    status: KernelStatus,
}

impl<C: Connect> Keeper<C> {
    /// One that has done nothing yet. `told` is notified when a step is due.
    pub fn new(connect: C, told: Arc<Notify>) -> Self {
        Self {
            connect,
            connection: None,
            told,
            followed: 0,
            connections: 0,
            logged: Logged::default(),
            has_let_go: false,
            status: KernelStatus {
                state: KernelState::Absent,
                ..KernelStatus::default()
            },
        }
    }

    /// What is known.
    pub const fn status(&self) -> &KernelStatus {
        &self.status
    }

    /// The connection, for [`Module::readiness`].
    pub fn module(&self) -> Option<&C::Module> {
        self.connection.as_ref().map(|there| &there.module)
    }

    /// How many connections there have been.
    pub const fn connections(&self) -> u64 {
        self.connections
    }

    /// Sends the table of rules that are about to come into force, so that little is left to do then. Failures are
    /// left to the step that follows.
    pub fn stage(&mut self, table: &[u8]) {
        let Some(there) = &mut self.connection else {
            return;
        };
        there.discard();
        match there.module.stage(table) {
            Ok(transaction) => {
                let bytes = place(table);
                there.staged = Some(Staged { bytes, transaction });
            }
            Err(error) => tracing::debug!(%error, "kernel: the table was not sent in advance"),
        }
    }

    /// Forgets a table that was sent and did not come into force: its reload has ended.
    pub fn forget(&mut self) {
        if let Some(there) = &mut self.connection {
            there.discard();
        }
    }

    /// Lets go of the module, which is another process's then; or takes it again, and replaces what that has loaded.
    pub fn let_go(&mut self, lets_go: bool) {
        if lets_go {
            self.forget();
            self.connection = None;
        }
        self.has_let_go = lets_go;
    }

    /// Does what is missing. `look`: also asks whether the module and its table are still there, of which no event
    /// may have told.
    pub fn step(&mut self, generation: &Generation, look: bool) {
        if self.has_let_go {
            return;
        }
        let before = self.said();
        if self.followed != generation.number {
            self.followed = generation.number;
            for server in generation.pools.iter().flat_map(|pool| pool.servers()) {
                server.watch(&self.told);
            }
            if let Some(there) = &mut self.connection {
                there.table = Table::Untried;
            }
        }
        if let Err(error) = self.follow(generation, look) {
            self.connection = None;
            self.status.generation = None;
            let state = match &error {
                Error::NotLoaded | Error::NoNetlink(_) => KernelState::Absent,
                Error::NotPermitted => KernelState::NotPermitted,
                _ => KernelState::Failed,
            };
            // That it is absent says all.
            let why = (state != KernelState::Absent).then(|| error.to_string());
            self.stand(state, why);
        }
        if before != self.said() {
            self.log();
        }
    }

    /// What is worth a line when it changes.
    fn said(&self) -> (KernelState, Option<String>, u64, u64) {
        let status = &self.status;
        (
            status.state,
            status.why.clone(),
            status.loads,
            status.refusals,
        )
    }

    fn stand(&mut self, state: KernelState, why: Option<String>) {
        self.status.state = state;
        self.status.why = why;
    }

    /// Says what has changed, once.
    fn log(&self) {
        let generation = self.status.generation;
        let why = self.status.why.as_deref().unwrap_or_default();
        match self.status.state {
            KernelState::Off => {}
            KernelState::Absent => {
                tracing::info!("kernel: the module is not loaded, the front serves alone")
            }
            KernelState::Loaded => tracing::info!(generation, "kernel: the rules are in force"),
            KernelState::NotPermitted => tracing::info!("kernel: not permitted: {why}"),
            KernelState::Refused => {
                tracing::error!("kernel: it refused these rules, the front serves alone: {why}");
            }
            KernelState::Replaced => {
                tracing::warn!(
                    generation,
                    "kernel: its rules differ from the front's until the next reload: {why}"
                );
            }
            KernelState::Unloaded => {
                tracing::warn!("kernel: not used until the next reload: {why}");
            }
            KernelState::Failed => tracing::warn!("kernel: not used for now: {why}"),
        }
    }

    /// An error means that the connection is of no use any more.
    fn follow(&mut self, generation: &Generation, look: bool) -> Result<(), Error> {
        if self.connection.is_none() {
            self.connection = Some(Connection {
                module: self.connect.connect()?,
                table: Table::Untried,
                staged: None,
                held: HashMap::new(),
            });
            self.connections = self.connections.wrapping_add(1);
        }
        self.events(generation)?;
        if look && !self.is_in_place()? {
            // Its event may have come while that was asked, and says whose doing it is.
            self.events(generation)?;
            self.look()?;
        }
        self.load(generation)?;
        self.servers(generation)
    }

    fn there(&mut self) -> Result<&mut Connection<C::Module>, Error> {
        self.connection.as_mut().ok_or(Error::NotLoaded)
    }

    fn events(&mut self, generation: &Generation) -> Result<(), Error> {
        loop {
            let there = self.there()?;
            let own = there.module.port();
            let in_force = there.in_force();
            match there.module.event() {
                Ok(None) => return Ok(()),
                Ok(Some(Event::ServerChanged {
                    pool,
                    address,
                    weight,
                    state,
                    by,
                })) => {
                    let now = Held { state, weight };
                    let was = there.hold(&pool, address, now);
                    if in_force.is_some() && by != own {
                        self.take_over(generation, &pool, address, (was, now), Some(by));
                    }
                }
                Ok(Some(Event::TableReplaced {
                    generation: now,
                    by,
                    ..
                })) if by != own && in_force.is_some_and(|ours| now > ours) => {
                    let why = format!("netlink port {by} loaded a table");
                    self.lose(KernelState::Replaced, now, why)?;
                }
                Ok(Some(Event::TableUnloaded {
                    generation: now,
                    by,
                })) if by != own && in_force.is_some_and(|ours| now > ours) => {
                    let why = format!("netlink port {by} unloaded the table");
                    self.lose(KernelState::Unloaded, now, why)?;
                }
                Ok(Some(Event::Lost)) => {
                    self.look()?;
                    self.ask_servers(generation)?;
                }
                Ok(Some(_)) => {}
                Err(Error::Malformed(error)) => tracing::warn!(error, "kernel: event"),
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks whether the module is there and has the table that it was given, if it was given one.
    fn is_in_place(&mut self) -> Result<bool, Error> {
        let there = self.there()?;
        let standing = there.module.standing()?;
        let in_force = there.in_force();
        self.logged.log(&standing.concerns);
        Ok(in_force.is_none_or(|ours| ours == standing.generation))
    }

    /// Asks the same, and notes what has become of the table.
    fn look(&mut self) -> Result<(), Error> {
        let there = self.there()?;
        let standing = there.module.standing()?;
        let (now, is_table) = (standing.generation, standing.has_table);
        match there.in_force() {
            Some(ours) if ours != now && is_table => {
                let why = "another program loaded a table".to_owned();
                self.lose(KernelState::Replaced, now, why)
            }
            Some(ours) if ours != now => {
                let why = "another program unloaded the table".to_owned();
                self.lose(KernelState::Unloaded, now, why)
            }
            _ => Ok(()),
        }
    }

    /// Someone else's doing has taken the place of the front's table.
    fn lose(&mut self, state: KernelState, now: u64, why: String) -> Result<(), Error> {
        self.there()?.table = Table::Out;
        self.status.generation = Some(now);
        self.stand(state, Some(why));
        Ok(())
    }

    /// Puts the front's table in force where that was not tried.
    fn load(&mut self, generation: &Generation) -> Result<(), Error> {
        let table = generation.rules.table();
        let there = self.there()?;
        if there.table != Table::Untried {
            // What was sent meanwhile is of a reload that goes on.
            return Ok(());
        }
        let staged = there.staged.take_if(|staged| staged.bytes == place(table));
        there.discard();
        let loaded = match staged {
            Some(staged) => Ok(staged.transaction),
            None => there.module.stage(table),
        }
        .and_then(|transaction| there.module.commit(transaction));
        match loaded {
            Ok(number) => {
                there.table = Table::InForce(number);
                self.status.loads = self.status.loads.saturating_add(1);
                self.status.generation = Some(number);
                self.stand(KernelState::Loaded, None);
                // Not taken over: a table that comes brings the front's standing with it.
                self.there()?.ask_held()
            }
            Err(error @ (Error::Refused(_) | Error::Input(_))) if !is_passing(&error) => {
                there.table = Table::Out;
                self.status.refusals = self.status.refusals.saturating_add(1);
                self.refused(error.to_string())
            }
            Err(error) => {
                if !error.is_absent() {
                    self.status.failures = self.status.failures.saturating_add(1);
                }
                Err(error)
            }
        }
    }

    /// The kernel would go on by older rules than the front's, and the two give different answers; without a table
    /// everything comes to the front.
    fn refused(&mut self, why: String) -> Result<(), Error> {
        let there = self.there()?;
        let number = there.module.unload();
        self.status.generation = match number {
            Ok(number) => Some(number),
            Err(error @ (Error::Refused(_) | Error::Malformed(_))) => {
                // There was none.
                tracing::debug!(%error, "kernel: unload");
                None
            }
            Err(error) => return Err(error),
        };
        self.stand(KernelState::Refused, Some(why));
        Ok(())
    }

    /// Asks for all servers after events were lost, and takes over what differs from what was known.
    fn ask_servers(&mut self, generation: &Generation) -> Result<(), Error> {
        let there = self.there()?;
        if there.in_force().is_none() {
            return Ok(());
        }
        for server in there.module.servers()? {
            let now = Held {
                state: server.state,
                weight: server.weight,
            };
            let was = self.there()?.hold(&server.pool, server.address, now);
            self.take_over(generation, &server.pool, server.address, (was, now), None);
        }
        Ok(())
    }

    /// Does to the front's server what someone else did to the kernel's; `by`: its netlink port, if that is known.
    fn take_over(
        &mut self,
        generation: &Generation,
        pool: &str,
        address: SocketAddr,
        (was, now): (Option<Held>, Held),
        by: Option<u32>,
    ) {
        if was == Some(now) {
            return;
        }
        let Some(pool) = generation.pool(pool) else {
            return;
        };
        let Some(server) = pool
            .servers()
            .find(|server| server.address().inet() == Some(address))
        else {
            return;
        };
        let who = match by {
            Some(port) => format!("in the kernel, by netlink port {port}"),
            None => "in the kernel".to_owned(),
        };
        // What was there before is not that one's doing: a state may be what this front's checks found.
        if was.is_none_or(|was| was.state != now.state) {
            match now.state {
                ServerState::Up => server.set_draining_by(false, &who),
                ServerState::Draining => server.set_draining_by(true, &who),
                ServerState::Down => server.hold_down(&who),
            }
        }
        if was.is_none_or(|was| was.weight != now.weight) {
            let configured = server.status().weight;
            let weight = now.weight / pool.config().weight_scale().max(1);
            server.set_admin_weight((weight != configured).then_some(weight));
        }
        pool.rebuild_lookup();
        self.status.changes_taken = self.status.changes_taken.saturating_add(1);
        let (state, weight) = (now.state.name(), now.weight);
        tracing::info!(pool = server.pool(), server = %address, weight, state, "changed in the kernel");
        server.report(
            Kind::ServerChanged,
            format!("{state}, weight {weight}, {who}"),
        );
    }

    /// Sets in the kernel what differs from the front.
    fn servers(&mut self, generation: &Generation) -> Result<(), Error> {
        let there = self.connection.as_mut().ok_or(Error::NotLoaded)?;
        if there.in_force().is_none() {
            return Ok(());
        }
        for server in generation.pools.iter().flat_map(|pool| pool.servers()) {
            // A Unix socket is no server of the kernel's.
            let Some(address) = server.address().inet() else {
                continue;
            };
            let Some(held) = there.held_by(server.pool(), address) else {
                continue;
            };
            let Some((change, wanted)) = difference(server, address, held) else {
                continue;
            };
            match there.module.set_server(&change) {
                Ok(()) => {
                    self.status.changes_sent = self.status.changes_sent.saturating_add(1);
                }
                // Not asked again before something changes.
                Err(error @ (Error::Refused(_) | Error::Input(_))) => {
                    tracing::warn!(pool = server.pool(), server = %server.address(), %error, "kernel");
                    server.report(Kind::KernelRefused, error.to_string());
                }
                Err(error) => return Err(error),
            }
            there.hold(server.pool(), address, wanted);
        }
        Ok(())
    }
}

/// What has to be set so that the kernel's server stands as the front's, and how it stands then.
fn difference(
    server: &RealServer,
    address: SocketAddr,
    held: Held,
) -> Option<(ServerChange, Held)> {
    let standing = server.standing();
    let wanted = Held {
        state: match standing.state {
            FrontState::Up => ServerState::Up,
            FrontState::Draining => ServerState::Draining,
            FrontState::Down | FrontState::Ejected => ServerState::Down,
        },
        weight: standing.weight,
    };
    if wanted == held {
        return None;
    }
    let weight = if standing.weight_is_set {
        WeightChange::To(wanted.weight)
    } else {
        WeightChange::Reset
    };
    let change = ServerChange {
        pool: Some(server.pool().to_owned()),
        address,
        state: (wanted.state != held.state).then_some(wanted.state),
        weight: (wanted.weight != held.weight).then_some(weight),
    };
    Some((change, wanted))
}
