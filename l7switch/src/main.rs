// SPDX-License-Identifier: MIT
//! `l7switch`: the userspace front as a daemon.

use std::io;
use std::io::IsTerminal;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use clap::CommandFactory as _;
use clap::Parser;
use l7switch::Options;
use l7switch::SetError;
use l7switch::Switch;
use l7switch::admin::Admin;
use l7switch::cli::Cli;
use l7switch::demo;
use l7switch::exposed::Exposed;
use l7switch::kernel::module::Netlink;
use l7switch::observe::access_log::Target;
use l7switch::watch::Watch;
use l7switch_rules::RuleSet;
use l7switch_rules::text::diagnostic::Report;
use mimalloc::MiMalloc;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::getrlimit;
use rustix::process::setrlimit;
use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tracing_subscriber::EnvFilter;

/// A connection with one request allocates eleven times; with glibc's allocator it takes 22,200 instructions in user space, with this
/// one 18,900.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.man || cli.completions.is_some() {
        return describe(&cli);
    }
    start_log(cli.log_level.as_deref());
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
            let outcome = runtime.block_on(run(&cli));
            // What is still in progress has had its time.
            runtime.shutdown_background();
            outcome
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let _ = writeln!(io::stderr(), "l7switch: {}", message.trim_end());
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

fn start_log(level: Option<&str>) {
    let wanted = level
        .map(str::to_owned)
        .or_else(|| std::env::var(EnvFilter::DEFAULT_ENV).ok())
        .unwrap_or_else(|| "info".to_owned());
    // The HTTP/2 library warns of each wrong frame of a client, as often as it comes. The switch says the same by itself,
    // once a second and with the client's address.
    // The resolver warns of odd lines in /etc/hosts, as often as it reads the file.
    let mut quiet = wanted;
    for library in ["h2", "hickory_resolver"] {
        if !quiet.contains(&format!("{library}=")) {
            quiet = format!("{quiet},{library}=error");
        }
    }
    let usual = || EnvFilter::new("info,h2=error,hickory_resolver=error");
    let filter = EnvFilter::try_new(&quiet).unwrap_or_else(|_| usual());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
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

fn report(report: &Report) -> String {
    format!(
        "the rules are not valid\n{}",
        report.render(io::stderr().is_terminal())
    )
}

fn load(cli: &Cli) -> Result<RuleSet, String> {
    let loaded = match &cli.rules {
        Some(path) => l7switch_rules::load(path),
        None => demo::rules(),
    };
    loaded.map_err(|error| report(&error))
}

async fn run(cli: &Cli) -> Result<(), String> {
    let rules = load(cli)?;
    if !rules.warnings.is_empty() {
        let _ = write!(
            io::stderr(),
            "{}",
            rules.warnings.render(io::stderr().is_terminal())
        );
    }
    let mut signals = Signals::new().map_err(|error| format!("no signals: {error}"))?;
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
        ..Options::default()
    };
    let switch = Switch::start_resolved(rules, cli.rules.clone(), &options).await;
    let switch = switch.map_err(|error| match error {
        SetError::Rules(error) => report(&error),
        other => other.to_string(),
    })?;
    switch
        .use_kernel(cli.kernel(), Netlink)
        .await
        .map_err(|why| format!("--kernel require: {why}"))?;
    let admin = admin(cli, &switch).await?;
    let exposed = exposed(cli, &switch)?;
    let _watch = cli
        .rules
        .as_ref()
        .filter(|_| !cli.no_watch)
        .and_then(|path| {
            Watch::start(&switch, path)
                .inspect_err(|error| tracing::warn!(%error, "the rule file is not watched"))
                .ok()
        });
    say_ready(&switch);
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
    loop {
        tokio::select! {
            _ = signals.reload.recv() => {
                if let Some(Err(error)) = exposed.as_ref().map(Exposed::reload) {
                    tracing::error!(%error, "the metrics listener stays as it is");
                }
                let switch = Arc::clone(&switch);
                // The outcome is logged and counted there.
                tokio::spawn(async move { switch.reload().await.is_ok() });
            }
            _ = signals.reopen.recv() => switch.core().log.reopen(),
            () = signals.end.recv() => break,
        }
    }
    tracing::info!("shutting down after the requests in progress");
    tokio::select! {
        finished = switch.drain(cli.drain_timeout) => {
            if !finished {
                tracing::warn!("some requests did not finish within {:?}", cli.drain_timeout);
            }
            Ok(())
        }
        () = signals.end.recv() => {
            switch.core().log.flush();
            Ok(())
        }
    }
}

/// Opens the admin socket. One that was asked for must be had; without the usual one, which another switch may
/// have, requests are served all the same.
async fn admin(cli: &Cli, switch: &Arc<Switch>) -> Result<Option<Admin>, String> {
    let path = cli
        .admin
        .clone()
        .unwrap_or_else(l7switch_admin_api::default_path);
    match Admin::start(Arc::clone(switch), &path).await {
        Ok(admin) => Ok(Some(admin)),
        Err(error) if cli.admin.is_some() => Err(format!(
            "the admin socket {} cannot be opened: {error}",
            path.display()
        )),
        Err(error) => {
            tracing::warn!(
                "no admin socket: {} cannot be opened ({error}); use --admin for another path",
                path.display()
            );
            Ok(None)
        }
    }
}

/// Opens the metrics listener, if it was asked for.
fn exposed(cli: &Cli, switch: &Arc<Switch>) -> Result<Option<Exposed>, String> {
    let Some(address) = cli.metrics else {
        return Ok(None);
    };
    let exposed = Exposed::start(Arc::clone(switch), address, cli.metrics_files())
        .map_err(|error| format!("the metrics listener {address} cannot be opened: {error}"))?;
    let scheme = if exposed.is_https() { "https" } else { "http" };
    tracing::info!("metrics on {scheme}://{}/metrics", exposed.bound());
    Ok(Some(exposed))
}

struct Signals {
    reload: Signal,
    reopen: Signal,
    end: End,
}

/// SIGTERM or SIGINT.
struct End {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            reload: signal(SignalKind::hangup())?,
            reopen: signal(SignalKind::user_defined1())?,
            end: End {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            },
        })
    }
}

impl End {
    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => (),
            _ = self.interrupt.recv() => (),
        }
    }
}

fn say_ready(switch: &Switch) {
    let bound = switch.bound();
    let count = switch.generation().services.len();
    let addresses: Vec<String> = bound.values().flatten().map(ToString::to_string).collect();
    let noun = if count == 1 { "service" } else { "services" };
    say(&format!(
        "l7switch: ready, {count} {noun} on {}",
        addresses.join(", ")
    ));
}

fn say(text: &str) {
    let mut out = io::stdout().lock();
    // Nobody may be reading.
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}
