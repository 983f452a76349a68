// SPDX-License-Identifier: MIT
//! `l7switch`: the userspace front as a daemon.

use std::io;
use std::io::IsTerminal;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::CommandFactory as _;
use clap::Parser;
use l7switch::Options;
use l7switch::SetError;
use l7switch::Switch;
use l7switch::acme::Acme;
use l7switch::admin::Admin;
use l7switch::admin::remote::Remote;
use l7switch::cli::Cli;
use l7switch::cli::ErrorLogFormat;
use l7switch::demo;
use l7switch::exposed::Exposed;
use l7switch::handover::spawn;
use l7switch::handover::spawn::Program;
use l7switch::handover::take;
use l7switch::handover::take::Legacy;
use l7switch::handover::take::Predecessor;
use l7switch::handover::take::TakeError;
use l7switch::kernel::Mode;
use l7switch::kernel::module::Netlink;
use l7switch::observe::access_log::Target;
use l7switch::ruleset::build;
use l7switch::ruleset::generation::StatsRegistry;
use l7switch::state_file;
use l7switch::state_file::StateFile;
use l7switch::systemd;
use l7switch::systemd::Manager;
use l7switch::watch::Watch;
use l7switch_rules::RuleSet;
use l7switch_rules::text::diagnostic::Report;
use mimalloc::MiMalloc;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::getrlimit;
use rustix::process::setrlimit;

mod daemon;

use self::daemon::listeners::admin;
use self::daemon::listeners::admin_api;
use self::daemon::listeners::admin_path;
use self::daemon::listeners::exposed;
use self::daemon::log;
use self::daemon::signals::Signals;

/// How long what is in progress may take to end where it is cut.
const CUT: Duration = Duration::from_secs(1);

/// A connection with one request allocates eleven times; with glibc's allocator it takes 22,200 instructions in user space, with this
/// one 18,900.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    if let Some(code) = spawn::relay() {
        return code;
    }
    let cli = Cli::parse();
    if cli.man || cli.completions.is_some() {
        return describe(&cli);
    }
    log::start(&cli);
    if cli.test {
        return test(&cli);
    }
    // Before anything is opened.
    let given = systemd::given();
    raise_descriptor_limit();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all();
    if let Some(threads) = cli.threads {
        builder.worker_threads(usize::from(threads));
    }
    let outcome = builder
        .build()
        .map_err(|error| format!("the runtime cannot be started: {error}"))
        .and_then(|runtime| {
            let outcome = runtime.block_on(run(&cli, given));
            // What is still in progress has had its time. It leaves lines in the access log.
            runtime.shutdown_timeout(CUT);
            outcome.map(|switch| {
                switch.core().log.flush();
                if let Some(spans) = &switch.core().spans {
                    spans.flush();
                }
            })
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            match cli.error_log_format {
                ErrorLogFormat::Json => tracing::error!("{}", message.trim_end()),
                ErrorLogFormat::Text => {
                    let _ = writeln!(io::stderr(), "l7switch: {}", message.trim_end());
                }
            }
            ExitCode::FAILURE
        }
    }
}

/// Reads the rules and what they name, as a start does. Nothing is listened on, and no server asked.
fn test(cli: &Cli) -> ExitCode {
    let colours = io::stderr().is_terminal();
    let built = load(cli, colours).and_then(|rules| {
        let _ = write!(io::stderr(), "{}", rules.warnings.render(colours));
        let (mut stats, acme) = (StatsRegistry::default(), Acme::default());
        build::build(rules, None, &mut stats, &acme).map_err(|error| error.to_string())
    });
    match built {
        Ok(_) => {
            say("l7switch: the rules are valid");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(io::stderr(), "l7switch: {}", error.trim_end());
            ExitCode::FAILURE
        }
    }
}

/// Prints the man page or a completion script, both made from the definition of the command line.
fn describe(cli: &Cli) -> ExitCode {
    let mut text = Vec::new();
    let mut command = Cli::command();
    let written = match cli.completions {
        Some(shell) => {
            clap_complete::generate(shell, &mut command, "l7switch", &mut text);
            Ok(())
        }
        None => clap_mangen::Man::new(command).render(&mut text),
    };
    match written.and_then(|()| io::stdout().write_all(&text)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Each request may need two descriptors, and what shells give is often 1024.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays at {:?}", limit.current);
    }
}

fn report(report: &Report, colours: bool) -> String {
    format!("the rules are not valid\n{}", report.render(colours))
}

fn load(cli: &Cli, colours: bool) -> Result<RuleSet, String> {
    let loaded = match &cli.rules {
        Some(path) => l7switch_rules::load(path),
        None => demo::rules(),
    };
    loaded.map_err(|error| report(&error, colours))
}

async fn run(cli: &Cli, given: Vec<(OwnedFd, String)>) -> Result<Arc<Switch>, String> {
    let mut legacy = Legacy::default();
    let mut predecessor = None;
    if cli.take_over {
        let taken = take::ask(&admin_path(cli)).await;
        match taken.map_err(|error| format!("--take-over: {error}"))? {
            Some((front, its)) => {
                predecessor = Some(front);
                legacy = its;
            }
            None => tracing::info!("no front runs behind the admin socket"),
        }
    }
    legacy.sockets.join(systemd::sockets(given));
    let started = match start(cli, legacy, predecessor.as_ref()).await {
        Ok(started) => started,
        Err(why) => {
            if let Some(predecessor) = predecessor {
                // The rest is here, and in its rules.
                let lines = why.lines().map(str::trim).filter(|line| !line.is_empty());
                let short: Vec<&str> = lines.take(3).collect();
                predecessor.fail(&short.join(": ")).await;
            }
            return Err(why);
        }
    };
    drop(predecessor);
    let switch = Arc::clone(&started.switch);
    started.serve(cli).await?;
    Ok(switch)
}

/// A switch that serves, and what belongs to it.
struct Started {
    switch: Arc<Switch>,
    signals: Signals,
    program: io::Result<Program>,
    admin: Option<Admin>,
    admin_api: Option<Remote>,
    exposed: Option<Exposed>,
    watch: Option<Watch>,
    state_file: Option<StateFile>,
}

async fn start(
    cli: &Cli,
    mut legacy: Legacy,
    predecessor: Option<&Predecessor>,
) -> Result<Started, String> {
    // What a front before is told has no colours.
    let is_text = cli.error_log_format == ErrorLogFormat::Text;
    let colours = is_text && io::stderr().is_terminal() && predecessor.is_none();
    let program = Program::own();
    let rules = load(cli, colours)?;
    if !rules.warnings.is_empty() {
        match cli.error_log_format {
            ErrorLogFormat::Json => tracing::warn!("{}", rules.warnings.render(false)),
            ErrorLogFormat::Text => {
                let _ = write!(io::stderr(), "{}", rules.warnings.render(colours));
            }
        }
    }
    let signals = Signals::new().map_err(|error| format!("no signals: {error}"))?;
    let curl_lines = cli.demo.then(|| demo::curl_lines(&rules.model));
    if cli.demo {
        demo::start_servers(&rules.model).map_err(|(address, error)| {
            format!("a real server cannot listen on {address}: {error}")
        })?;
    }
    let log_default = if cli.demo {
        Target::Stdout
    } else {
        Target::Off
    };
    let options = Options {
        access_log: cli.access_log(log_default)?,
        spans: cli.spans(),
        sharing: cli.sharing(),
        ..Options::default()
    };
    if let Some(path) = cli.state.as_ref().filter(|_| !legacy.is_whole) {
        match state_file::read(path) {
            Ok(state) => legacy.state = state.unwrap_or_default(),
            Err(why) => tracing::warn!("the state file {} is not used: {why}", path.display()),
        }
    }
    let of_units = legacy.sockets.of_units();
    let switch = Switch::start_after(rules, cli.rules.clone(), &options, &mut legacy).await;
    let switch = switch.map_err(|error| match error {
        SetError::Rules(error) => report(&error, colours),
        other => other.to_string(),
    })?;
    let mut exposed = exposed(cli, &switch, &mut legacy)?;
    let mut admin_api = admin_api(cli, &switch, &mut legacy)?;
    if let Some(predecessor) = predecessor.filter(|_| cli.kernel() != Mode::Off) {
        let let_go = predecessor.let_go_of_kernel().await;
        let_go.map_err(|error| format!("--take-over: {error}"))?;
    }
    switch
        .use_kernel(cli.kernel(), Netlink)
        .await
        .map_err(|why| format!("--kernel require: {why}"))?;
    if let Some(predecessor) = predecessor {
        take_place(predecessor, &switch)
            .await
            .map_err(|error| format!("--take-over: {error}"))?;
    }
    let admin = admin(cli, &switch, legacy.admin.take()).await?;
    if let Some(exposed) = &mut exposed {
        exposed.serve(Arc::clone(&switch));
    }
    if let Some(admin_api) = &mut admin_api {
        admin_api.serve(Arc::clone(&switch));
    }
    let watch = cli
        .rules
        .as_ref()
        .filter(|_| !cli.no_watch)
        .and_then(|path| {
            Watch::start(&switch, path)
                .inspect_err(|error| tracing::warn!(%error, "the rule file is not watched"))
                .ok()
        });
    let state_file = cli.state.as_ref();
    let state_file = state_file.map(|path| StateFile::start(&switch, path));
    let manager = Manager::find(of_units).map(|manager| switch.tell(manager));
    for (address, name) in legacy.left() {
        tracing::warn!("the listening socket of {address} is closed: nothing here listens on it");
        match (manager, name) {
            (Some(manager), Some(name)) => manager.forget(&name),
            (Some(manager), None) => manager.forget_address(address),
            (None, _) => (),
        }
    }
    if let Some(manager) = manager {
        manager.ready();
    }
    let ready = ready(&switch);
    // Lines of the access log stand alone, where it was asked for.
    if cli.access_log == Some(Target::Stdout) {
        tracing::info!("{ready}");
    } else {
        say(&format!("l7switch: {ready}"));
    }
    if let Some(lines) = curl_lines {
        say(&format!(
            "\nTry, in another terminal:\n  {}",
            lines.join("\n  ")
        ));
        if let Some(admin) = &admin {
            say(&format!("\nAdmin socket: {}", admin.path().display()));
        }
        say("Ctrl-C ends everything.\n");
    }
    Ok(Started {
        switch,
        signals,
        program,
        admin,
        admin_api,
        exposed,
        watch,
        state_file,
    })
}

/// Says that this process accepts, and gets the last of what the front before knows.
async fn take_place(predecessor: &Predecessor, switch: &Switch) -> Result<(), TakeError> {
    // Where it has died, there is nobody to thank.
    if let Some(last) = predecessor.ready().await? {
        switch.remember(last).await;
        predecessor.thank().await?;
    }
    tracing::info!(predecessor = predecessor.pid(), "taken over");
    Ok(())
}

impl Started {
    /// Serves until the process is told to end, or another one has its place.
    async fn serve(mut self, cli: &Cli) -> Result<(), String> {
        let switch = Arc::clone(&self.switch);
        let mut over = pin!(switch.place().over());
        let mut watched = pin!(async {
            match switch.manager() {
                Some(manager) => manager.watched().await,
                None => std::future::pending().await,
            }
        });
        loop {
            tokio::select! {
                _ = self.signals.reload.recv() => {
                    let switch = Arc::clone(&switch);
                    // The outcome is logged and counted there.
                    tokio::spawn(async move { switch.reload().await.is_ok() });
                }
                _ = self.signals.reopen.recv() => switch.core().log.reopen(),
                _ = self.signals.succeed.recv() => self.start_successor(cli),
                () = self.signals.end.recv() => break,
                () = &mut watched => (),
                successor = &mut over => {
                    tracing::info!(successor, "ending after the requests in progress");
                    // Its files are the successor's now, and its sockets.
                    (self.watch, self.exposed, self.admin) = (None, None, None);
                    (self.admin_api, self.state_file) = (None, None);
                    return self.drain(cli).await;
                }
            }
        }
        tracing::info!("shutting down after the requests in progress");
        if let Some(manager) = switch.manager() {
            manager.stopping();
        }
        if let Some(state_file) = self.state_file.take() {
            state_file.end(&switch).await;
        }
        self.drain(cli).await
    }

    async fn drain(&mut self, cli: &Cli) -> Result<(), String> {
        tokio::select! {
            finished = self.switch.drain(cli.drain_timeout) => {
                if !finished {
                    self.switch.core().shutdown.cut();
                    tracing::warn!("some connections did not end within {:?}", cli.drain_timeout);
                }
                Ok(())
            }
            () = self.signals.end.recv() => {
                self.switch.core().shutdown.cut();
                Ok(())
            }
        }
    }

    fn start_successor(&self, cli: &Cli) {
        match &self.program {
            _ if cli.demo => tracing::warn!("the quickstart has no successor"),
            _ if self.admin.is_none() => {
                tracing::error!("no successor is started: there is no admin socket to ask by");
            }
            Ok(program) => program.start(&self.switch),
            Err(error) => tracing::error!(%error, "no successor is started"),
        }
    }
}

fn ready(switch: &Switch) -> String {
    let bound = switch.bound();
    let count = switch.generation().services.len();
    let addresses: Vec<String> = bound.values().flatten().map(ToString::to_string).collect();
    let noun = if count == 1 { "service" } else { "services" };
    format!("ready, {count} {noun} on {}", addresses.join(", "))
}

fn say(text: &str) {
    let mut out = io::stdout().lock();
    // Nobody may be reading.
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}
