// SPDX-License-Identifier: MIT
//! The switch as a whole: started, reloaded, drained.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::Weak;
use std::time::Duration;

use l7switch_admin_api::KernelStatus;
use l7switch_admin_api::NameStatus;
use l7switch_rules::RuleSet;
use l7switch_rules::model::Model;
use l7switch_rules::names::Answers;
use l7switch_rules::text::diagnostic::Report;
use tokio::sync::Notify;

use self::listeners::open;
use crate::accept::listen::Listener;
use crate::accept::listen::Sharing;
use crate::acme::Acme;
use crate::acme::keeper;
use crate::handover::Place;
use crate::handover::sockets::Sockets;
use crate::handover::state;
use crate::handover::state::OfServer;
use crate::handover::take::Legacy;
use crate::kernel::Kernel;
use crate::kernel::Mode;
use crate::kernel::module::Connect;
use crate::names::Names;
use crate::names::Task;
use crate::names::renew;
use crate::net::clock::Steps;
use crate::observe::access_log::AccessLog;
use crate::observe::events::Kind;
use crate::observe::spans::Spans;
use crate::ruleset::build;
use crate::ruleset::generation::Core;
use crate::ruleset::generation::Generation;
use crate::ruleset::generation::StatsRegistry;
use crate::ruleset::told::Told;
use crate::state_file::StateFileStatus;
use crate::systemd::Manager;
use crate::upstream::health::Checks;

mod again;
mod listeners;
mod maintenance;
mod place;
mod setting;

use self::again::Others;
pub use self::again::ReadAgain;
pub use self::setting::Options;
pub use self::setting::ReloadStatus;
pub use self::setting::SetError;

/// How often idle connections to servers are looked through.
const PRUNE: Duration = Duration::from_secs(1);

/// Where rules come from.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// They were loaded.
    Loaded,
    /// They are those in force with other addresses of names, or other maintenance.
    Renewed,
}

/// A running switch.
#[derive(Debug)]
pub struct Switch {
    core: Arc<Core>,
    rules_path: Option<PathBuf>,
    listeners: Mutex<Vec<Listener>>,
    checks: Mutex<Checks>,
    status: Mutex<ReloadStatus>,
    /// One reload at a time.
    reloading: tokio::sync::Mutex<()>,
    kernel: OnceLock<Kernel>,
    names: Arc<Names>,
    told: Mutex<Told>,
    /// Makes the generations that follow from names.
    renewal: OnceLock<Task>,
    sharing: Sharing,
    /// Its place among the processes of this host.
    place: Place,
    /// What is known of servers whose names were not resolved yet.
    rest: Mutex<Vec<OfServer>>,
    /// Told when something changes that the state file has.
    changed: Notify,
    state_file: StateFileStatus,
    /// What reads its files again with each reload.
    others: Others,
    manager: OnceLock<Manager>,
}

impl Switch {
    /// Starts a switch: all listeners are bound when it is returned. Servers that the rules give by name are added when
    /// they are known.
    ///
    /// # Errors
    ///
    /// See [`SetError`].
    pub fn start(
        rules: RuleSet,
        rules_path: Option<PathBuf>,
        options: &Options,
    ) -> Result<Arc<Self>, SetError> {
        let names = Names::new(options.name_server, Arc::default());
        Self::start_with(rules, rules_path, options, names, &mut Legacy::default())
    }

    /// The same, and waits for the first answers to names, at most two seconds.
    ///
    /// # Errors
    ///
    /// See [`SetError`].
    pub async fn start_resolved(
        rules: RuleSet,
        rules_path: Option<PathBuf>,
        options: &Options,
    ) -> Result<Arc<Self>, SetError> {
        Self::start_after(rules, rules_path, options, &mut Legacy::default()).await
    }

    /// The same with what another process has left. What is not used of it stays there.
    ///
    /// # Errors
    ///
    /// See [`SetError`].
    pub async fn start_after(
        rules: RuleSet,
        rules_path: Option<PathBuf>,
        options: &Options,
        legacy: &mut Legacy,
    ) -> Result<Arc<Self>, SetError> {
        let names = Names::new(options.name_server, Arc::default());
        names.first(&rules.model).await;
        Self::start_with(rules, rules_path, options, names, legacy)
    }

    fn start_with(
        rules: RuleSet,
        rules_path: Option<PathBuf>,
        options: &Options,
        names: Arc<Names>,
        legacy: &mut Legacy,
    ) -> Result<Arc<Self>, SetError> {
        names.add(&rules.model);
        let mut told = Told::default();
        told.remember(std::mem::take(&mut legacy.state.maintenance));
        let rules = resolved(rules, &names.answers(), &mut told)?;
        let mut stats = StatsRegistry::default();
        let acme = Arc::<Acme>::default();
        let first = build::build(rules, None, &mut stats, &acme)?;
        let sockets = open(&first, &[], &mut legacy.sockets, options.sharing)?;
        let log = AccessLog::open(&options.access_log).map_err(SetError::AccessLog)?;
        let spans = Spans::start(&options.spans).map_err(SetError::Spans)?;
        let events = Arc::clone(names.events());
        build::activate(&first, &events);
        let rest = state::remember(&first, std::mem::take(&mut legacy.state.servers));
        state::take_tickets(&first, &legacy.tickets);
        for limit in &legacy.limits {
            state::take_limit(&first, limit);
        }
        let place = Place::after(&legacy.counts, Arc::clone(&events));
        let switch = Arc::new(Self {
            core: Arc::new(Core::new(first, stats, log, spans, events, acme)),
            rules_path,
            listeners: Mutex::default(),
            checks: Mutex::default(),
            status: Mutex::default(),
            reloading: tokio::sync::Mutex::default(),
            kernel: OnceLock::new(),
            names,
            told: Mutex::new(told),
            renewal: OnceLock::new(),
            sharing: options.sharing,
            place,
            rest: Mutex::new(rest),
            changed: Notify::new(),
            state_file: StateFileStatus::default(),
            others: Others::default(),
            manager: OnceLock::new(),
        });
        switch.follow(sockets)?;
        warn_of_certificates(&switch.generation());
        let renewal = renew(Arc::downgrade(&switch), switch.names.changed());
        let _ = switch.renewal.set(Task::start(renewal));
        let (core, acme) = (Arc::downgrade(&switch.core), Arc::clone(&switch.core.acme));
        tokio::spawn(keeper::keep(core, acme));
        tokio::spawn(prune(Arc::downgrade(&switch.core)));
        Ok(switch)
    }

    /// Uses the kernel module beside the front, from now on and for as long as the switch lives; once.
    ///
    /// # Errors
    ///
    /// With [`Mode::Require`], why the module has not taken the rules.
    pub async fn use_kernel(&self, mode: Mode, connect: impl Connect) -> Result<(), String> {
        if mode == Mode::Off {
            return Ok(());
        }
        let kernel = Kernel::start(&self.core, connect).await;
        let required = kernel.required();
        let _ = self.kernel.set(kernel);
        match mode {
            Mode::Require => required,
            Mode::Auto | Mode::Off => Ok(()),
        }
    }

    /// What is known of the kernel module.
    pub fn kernel_status(&self) -> KernelStatus {
        self.kernel.get().map(Kernel::status).unwrap_or_default()
    }

    /// What its parts share.
    pub const fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// The rule file or folder.
    pub fn rules_path(&self) -> Option<&Path> {
        self.rules_path.as_deref()
    }

    /// The generation in force.
    pub fn generation(&self) -> Arc<Generation> {
        self.core.active.load_full()
    }

    /// What is known of reloads.
    pub fn reload_status(&self) -> ReloadStatus {
        self.status
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// What is known of names of servers.
    pub fn names(&self) -> BTreeMap<String, NameStatus> {
        self.names.status()
    }

    /// Loads the rule file again. A file that is wrong changes nothing. Files that the rules do not name are read again too; one that
    /// cannot be used is among the warnings.
    ///
    /// # Errors
    ///
    /// See [`SetError`].
    pub async fn reload(self: &Arc<Self>) -> Result<Vec<String>, SetError> {
        let _one = self.reloading.lock().await;
        let _reloading = self.manager.get().map(Manager::reloading);
        let switch = Arc::clone(self);
        let failed = blocking(move || Ok(switch.others.read_again())).await?;
        let result = self.load_and_set().await.map(|mut warnings| {
            warnings.extend(failed);
            warnings
        });
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        match &result {
            Ok(_) => {
                status.succeeded = status.succeeded.saturating_add(1);
                status.last_error = None;
                let generation = self.generation();
                tracing::info!(generation = generation.number, "rules reloaded");
                let text = format!("generation {}", generation.number);
                self.core.events.add(Kind::Reloaded, text);
                warn_of_certificates(&generation);
            }
            Err(error) => {
                status.refused = status.refused.saturating_add(1);
                status.last_error = Some(error.to_string());
                self.core.events.add(Kind::ReloadRefused, error.to_string());
                tracing::error!("the reload failed, the old rules stay in force:\n{error}");
            }
        }
        result
    }

    async fn load_and_set(&self) -> Result<Vec<String>, SetError> {
        let path = self.rules_path.clone().ok_or(SetError::NoFile)?;
        let rules = blocking(move || {
            l7switch_rules::load(&path).map_err(|report| SetError::Rules(Box::new(report)))
        });
        let rules = rules.await?;
        self.names.first(&rules.model).await;
        let answers = self.names.answers();
        let mut told = self.told();
        let rules = blocking(move || {
            let rules = resolved(rules, &answers, &mut told)?;
            Ok((rules, told))
        });
        let result = match rules.await {
            Ok((rules, told)) => self.put_told(rules, Source::Loaded, told).await,
            Err(error) => Err(error),
        };
        self.names.keep(&self.generation().rules.model);
        result
    }

    /// Makes the next generation of the same rules where names have other addresses than in the one in force.
    pub(crate) async fn renew(&self) -> Result<(), SetError> {
        let _one = self.reloading.lock().await;
        let mut model = self.generation().rules.model.clone();
        if !model.put_addresses(&self.names.answers()) {
            return Ok(());
        }
        let rules = blocking(move || compiled(model, Report::default()));
        self.put(rules.await?, Source::Renewed).await?;
        tracing::info!(generation = self.generation().number, "servers renewed");
        Ok(())
    }

    /// Puts rules in force in the front and in the kernel.
    async fn put(&self, rules: RuleSet, source: Source) -> Result<Vec<String>, SetError> {
        let Some(kernel) = self.kernel.get() else {
            return self.replace(rules, source);
        };
        // The kernel has the table before the front swaps and puts it in force right after, so that the two disagree
        // for no longer than a commit takes. The front goes first: its rules can still be refused here.
        let rules = kernel.stage(rules).await.ok_or(SetError::Draining)?;
        let result = self.replace(rules, source);
        kernel.follow(&self.core).await;
        result
    }

    /// Puts rules in force; see [`Switch::reload`]. Gives what the check warned of. Waits for no names.
    ///
    /// # Errors
    ///
    /// See [`SetError`].
    pub fn set(&self, rules: RuleSet) -> Result<Vec<String>, SetError> {
        self.names.add(&rules.model);
        let mut told = self.told();
        let rules = resolved(rules, &self.names.answers(), &mut told);
        let result = rules.and_then(|rules| self.replace(rules, Source::Loaded));
        if result.is_ok() {
            *self.told.lock().unwrap_or_else(PoisonError::into_inner) = told;
        }
        self.names.keep(&self.generation().rules.model);
        result
    }

    /// Makes rules the next generation.
    fn replace(&self, rules: RuleSet, source: Source) -> Result<Vec<String>, SetError> {
        if self.core.shutdown.is_draining() {
            return Err(SetError::Draining);
        }
        let mut warnings = warnings(&rules.warnings);
        let mut stats = self.core.stats();
        let before = self.generation();
        let next = match source {
            Source::Loaded => build::build(rules, Some(&before), &mut stats, &self.core.acme)?,
            Source::Renewed => build::renew(rules, &before),
        };
        // New listeners are bound before anything changes: if one cannot be, nothing has.
        let have: Vec<SocketAddr> = {
            let listeners = self
                .listeners
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            listeners.iter().map(Listener::configured).collect()
        };
        let none = &mut Sockets::default();
        let sockets = open(&next, &have, none, self.sharing)?;
        build::activate(&next, &self.core.events);
        self.remember_rest(&next);
        self.core.keep_stats(stats);
        self.core.active.store(Arc::new(next));
        self.core.acme.changed();
        if let Some(kernel) = self.kernel.get() {
            kernel.wake();
        }
        self.follow(sockets)?;
        warnings.extend(self.generation().certificate_warnings());
        Ok(warnings)
    }

    /// Ends the switch: stops accepting, lets what is in progress end for as long as `patience`.
    /// Gives whether all of it did.
    pub async fn drain(&self, patience: Duration) -> bool {
        for listener in self.take_listeners() {
            listener.stop().await;
        }
        self.core.shutdown.drain();
        *self.checks.lock().unwrap_or_else(PoisonError::into_inner) = Checks::default();
        let finished = self.core.shutdown.wait(patience).await;
        self.core.log.flush();
        finished
    }
}

/// The rules of a file with the servers that are known of their names, and what administrators have told.
fn resolved(mut rules: RuleSet, answers: &Answers, told: &mut Told) -> Result<RuleSet, SetError> {
    told.learn(&rules.model);
    let has_told = told.apply(&mut rules.model);
    if rules.model.put_addresses(answers) || has_told {
        return compiled(rules.model, rules.warnings);
    }
    Ok(rules)
}

fn compiled(model: Model, warnings: Report) -> Result<RuleSet, SetError> {
    l7switch_rules::compile_model(model, warnings)
        .map_err(|report| SetError::Rules(Box::new(report)))
}

/// Does what takes its time beside the tasks.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SetError> + Send + 'static,
) -> Result<T, SetError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        // The runtime ends.
        Err(_) => Err(SetError::Draining),
    }
}

/// The warnings of a check, each as one text.
fn warnings(report: &Report) -> Vec<String> {
    report
        .diagnostics()
        .iter()
        .map(|diagnostic| diagnostic.message.clone())
        .collect()
}

/// Logs what is to be said of the certificates that are shown from now on.
fn warn_of_certificates(generation: &Generation) {
    for warning in generation.certificate_warnings() {
        tracing::warn!("{warning}");
    }
}

/// Closes idle connections to servers that have grown old.
async fn prune(core: Weak<Core>) {
    let mut steps = Steps::new();
    loop {
        tokio::time::sleep(PRUNE).await;
        let Some(core) = core.upgrade() else { return };
        steps.look();
        for pool in &core.active.load().pools {
            pool.serve_queue();
            for server in pool.servers() {
                server.prune_idle(pool.config().keepalive_timeout, pool.config().keepalive);
            }
        }
    }
}
