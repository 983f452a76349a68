// SPDX-License-Identifier: MIT
//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use clap_complete::Shell;

use self::admin_api::AdminApi;
use crate::accept::listen::Sharing;
use crate::exposed::access::Files;
use crate::kernel::Mode;
use crate::observe::access_log::Config;
use crate::observe::access_log::Fields;
use crate::observe::access_log::Format;
use crate::observe::access_log::Sample;
use crate::observe::access_log::Target;
use crate::observe::spans;
use crate::observe::spans::Endpoint;

mod admin_api;

/// Switches HTTP, HTTPS, TLS and TCP by the rules of a rule file.
///
/// Signals: SIGHUP reloads the rules (a change of the file does too). SIGUSR1 reopens the access log. SIGUSR2 starts a successor,
/// the program as it lies on disk then, which takes over without a gap.
/// SIGTERM and SIGINT shut down after the requests in progress; a second one shuts down at once.
#[derive(Clone, Debug, Parser)]
#[command(name = "l7switch", version)]
pub struct Cli {
    /// Rule file, or folder of rule files (*.toml).
    #[arg(
        env = "L7SWITCH_RULES",
        required_unless_present_any = ["demo", "man", "completions"],
        conflicts_with = "demo"
    )]
    pub rules: Option<PathBuf>,

    /// Admin socket [default: as root /run/l7switch/admin.sock, $XDG_RUNTIME_DIR/l7switch.sock, else
    /// /tmp/l7switch-UID.sock].
    #[arg(long, value_name = "PATH", env = "L7SWITCH_ADMIN")]
    pub admin: Option<PathBuf>,

    /// Group whose members may read at the admin socket; changes stay its owner's and root's [default: none].
    #[arg(long, value_name = "GROUP", env = "L7SWITCH_ADMIN_GROUP", value_parser = group)]
    pub admin_group: Option<GroupId>,

    /// The same over TCP.
    #[command(flatten)]
    pub admin_api: AdminApi,

    /// Take the place of the front that runs behind the admin socket: its listening sockets, what administrators have set, health of
    /// servers; it ends after its requests in progress. Where none runs, start as usual.
    #[arg(long, conflicts_with = "demo")]
    pub take_over: bool,

    /// File that keeps what administrators have set, and health of servers, for the next start [default: none].
    #[arg(
        long,
        value_name = "FILE",
        env = "L7SWITCH_STATE",
        conflicts_with = "demo"
    )]
    pub state: Option<PathBuf>,

    /// Let other processes of the same user listen on the same addresses (SO_REUSEPORT): two containers that overlap.
    #[arg(long, env = "L7SWITCH_REUSE_PORT")]
    pub reuse_port: bool,

    /// Address of the metrics and the status page, for everybody who reaches it or who has the token, with /live and /ready [default: none].
    #[arg(long, value_name = "ADDRESS", env = "L7SWITCH_METRICS")]
    pub metrics: Option<SocketAddr>,

    /// Certificate chain (PEM) of the metrics address, which speaks TLS then.
    #[arg(
        long,
        value_name = "FILE",
        env = "L7SWITCH_METRICS_CERTIFICATE",
        requires_all = ["metrics", "metrics_key"]
    )]
    pub metrics_certificate: Option<PathBuf>,

    /// Its key (PEM).
    #[arg(
        long,
        value_name = "FILE",
        env = "L7SWITCH_METRICS_KEY",
        requires_all = ["metrics", "metrics_certificate"]
    )]
    pub metrics_key: Option<PathBuf>,

    /// File of the bearer token that /metrics and the status page's numbers need; /live and /ready need none. Without it, the
    /// status page's numbers are for loopback addresses only.
    #[arg(
        long,
        value_name = "FILE",
        env = "L7SWITCH_METRICS_TOKEN",
        requires = "metrics"
    )]
    pub metrics_token: Option<PathBuf>,

    /// File of a second bearer token, with which servers may be drained and put back there; without it, nothing can be
    /// changed.
    #[arg(
        long,
        value_name = "FILE",
        env = "L7SWITCH_METRICS_OPERATE_TOKEN",
        requires = "metrics"
    )]
    pub metrics_operate_token: Option<PathBuf>,

    /// Target of the access log: a file, - for standard output, journald, syslog:ADDRESS (UDP), syslog:PATH (a Unix socket,
    /// /dev/log unless given), or off [default: off; with --demo, -].
    #[arg(long, value_name = "TARGET", env = "L7SWITCH_ACCESS_LOG")]
    pub access_log: Option<Target>,

    /// Format of the access log: text, json, common, combined, or a template with $fields [default: text].
    #[arg(long, value_name = "FORMAT", env = "L7SWITCH_LOG_FORMAT")]
    pub log_format: Option<Format>,

    /// Fields of the access log in text or JSON: a list of names, +NAME,... to add some to the usual ones, or all.
    #[arg(long, value_name = "FIELDS", env = "L7SWITCH_LOG_FIELDS")]
    pub log_fields: Option<Fields>,

    /// Part of the requests that are logged, such as 1%; those that failed, or were answered with 400 or above, are all
    /// logged [default: 100%].
    #[arg(long, value_name = "PERCENT", env = "L7SWITCH_LOG_SAMPLE")]
    pub log_sample: Option<Sample>,

    /// URL of an OpenTelemetry collector that traces are sent to by OTLP/HTTP, such as http://collector:4318, or off [default:
    /// OTEL_EXPORTER_OTLP_ENDPOINT, if that is set; else off].
    #[arg(long, value_name = "URL", env = "L7SWITCH_OTLP")]
    pub otlp: Option<Endpoint>,

    /// Part of the requests whose traces are recorded, such as 1%. For requests that belong to a trace already, a trusted proxy has
    /// decided [default: 100%].
    #[arg(long, value_name = "PERCENT", env = "L7SWITCH_OTLP_SAMPLE")]
    pub otlp_sample: Option<Sample>,

    /// Worker threads [default: one for each CPU].
    #[arg(long, value_name = "N", env = "L7SWITCH_THREADS", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,

    /// How long requests in progress may continue after SIGTERM, or when a successor has taken over.
    #[arg(long, value_name = "TIME", default_value = "30s", env = "L7SWITCH_DRAIN_TIMEOUT", value_parser = humantime::parse_duration)]
    pub drain_timeout: Duration,

    /// Use of the kernel module: auto: while it is loaded and permitted (CAP_NET_ADMIN); off: never; require: do not
    /// start without it [default: auto; with --demo, off].
    #[arg(
        long,
        value_enum,
        env = "L7SWITCH_KERNEL",
        hide_possible_values = true,
        value_name = "auto|off|require"
    )]
    pub kernel: Option<Mode>,

    /// Do not reload when the rule file changes.
    #[arg(long, env = "L7SWITCH_NO_WATCH")]
    pub no_watch: bool,

    /// Log level of standard error: error, warn, info, debug, trace or off, or a filter as in RUST_LOG,
    /// which it overrides [default: info].
    #[arg(long, value_name = "FILTER", env = "L7SWITCH_LOG_LEVEL", value_parser = log_filter)]
    pub log_level: Option<String>,

    /// Format of standard error.
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        env = "L7SWITCH_ERROR_LOG_FORMAT"
    )]
    pub error_log_format: ErrorLogFormat,

    /// Check the rules, and all files that they name, and exit; l7ctl check says more.
    #[arg(
        short = 't',
        long,
        short_alias = 'c',
        visible_alias = "check",
        conflicts_with = "demo"
    )]
    pub test: bool,

    /// Run the quickstart: small real servers on loopback, and a switch in front of them.
    #[arg(long)]
    pub demo: bool,

    /// Print the man page.
    #[arg(long, hide = true)]
    pub man: bool,

    /// Print a completion script for this shell.
    #[arg(long, value_name = "SHELL", hide = true)]
    pub completions: Option<Shell>,
}

/// How lines of standard error look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ErrorLogFormat {
    /// Time, level, message, and `key=value` pairs. Mistakes in rules are drawn over several lines.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// A group by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupId(pub u32);

/// A group by its name or its number.
fn group(text: &str) -> Result<GroupId, String> {
    match (nix::unistd::Group::from_name(text), text.parse()) {
        (Ok(Some(group)), _) => Ok(GroupId(group.gid.as_raw())),
        // -1 leaves a file's group as it is (chown(2)).
        (_, Ok(number)) if number != u32::MAX => Ok(GroupId(number)),
        (Err(error), _) => Err(format!("the groups cannot be read: {error}")),
        _ => Err("there is no such group".to_owned()),
    }
}

/// A word that is no level would be taken for the name of a part of the program, and silence all others.
fn log_filter(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    for part in text.split(',').map(str::trim) {
        let (_, level) = part.rsplit_once('=').unwrap_or(("", part));
        if !LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
            return Err(format!(
                "`{part}` is neither a level ({}) nor TARGET=LEVEL",
                LEVELS.join(", ")
            ));
        }
    }
    Ok(text.to_owned())
}

impl Cli {
    /// Who may read metrics.
    pub fn metrics_files(&self) -> Files {
        let pair = self.metrics_certificate.clone();
        Files {
            pair: pair.zip(self.metrics_key.clone()),
            token: self.metrics_token.clone(),
            operate: self.metrics_operate_token.clone(),
        }
    }

    /// The access log, which goes to `usual` where nothing else is said.
    ///
    /// # Errors
    ///
    /// Fields are chosen for a template.
    pub fn access_log(&self, usual: Target) -> Result<Config, String> {
        let format = self.log_format.clone().unwrap_or_default();
        Ok(Config {
            target: self.access_log.clone().unwrap_or(usual),
            format: match &self.log_fields {
                Some(fields) => format
                    .with(fields)
                    .map_err(|error| format!("--log-fields: {error}"))?,
                None => format,
            },
            sample: self.log_sample.unwrap_or_default(),
        })
    }

    /// What is traced, and where it goes.
    pub fn spans(&self) -> spans::Config {
        spans::Config {
            endpoint: self.otlp.clone().unwrap_or_else(Endpoint::usual),
            sample: self.otlp_sample.unwrap_or_default(),
            timeout: None,
        }
    }

    /// Whether other processes may listen on the same addresses.
    pub const fn sharing(&self) -> Sharing {
        match self.reuse_port {
            true => Sharing::Shared,
            false => Sharing::Alone,
        }
    }

    /// Whether the kernel module is used. The demonstration does not take the kernel from a running switch.
    pub fn kernel(&self) -> Mode {
        let usual = if self.demo { Mode::Off } else { Mode::Auto };
        self.kernel.unwrap_or(usual)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        let cli = Cli::parse_from(["l7switch", "rules.toml", "--access-log", "-"]);
        assert_eq!(cli.access_log, Some(Target::Stdout));
        assert_eq!(cli.drain_timeout, Duration::from_secs(30));
        assert_eq!(cli.kernel(), Mode::Auto);
        let demo = Cli::parse_from(["l7switch", "--demo"]);
        assert_eq!(demo.kernel(), Mode::Off);
        let group = |group| Cli::try_parse_from(["l7switch", "--demo", "--admin-group", group]);
        assert_eq!(group("root").unwrap().admin_group, Some(GroupId(0)));
        assert_eq!(group("54321").unwrap().admin_group, Some(GroupId(54_321)));
        for wrong in ["", "-1", "4294967295", "no such group"] {
            assert!(group(wrong).is_err(), "{wrong}");
        }
        let required = Cli::parse_from(["l7switch", "--demo", "--kernel", "require"]);
        assert_eq!(required.kernel(), Mode::Require);
        let metrics = |more: &[&'static str]| {
            let line = ["l7switch", "--demo"].iter().chain(more).copied();
            Cli::try_parse_from(line).map(|cli| cli.metrics_files())
        };
        let at = ["--metrics", "127.0.0.1:0"];
        let certificate = ["--metrics-certificate", "c"];
        let key = ["--metrics-key", "k"];
        let both = metrics(&[at, certificate, key].concat()).unwrap();
        assert_eq!(both.pair, Some(("c".into(), "k".into())));
        let token = metrics(&[at, ["--metrics-token", "t"]].concat()).unwrap();
        assert_eq!((token.pair, token.token), (None, Some("t".into())));
        assert!(metrics(&[at, certificate].concat()).is_err());
        assert!(metrics(&[at, key].concat()).is_err());
        assert!(metrics(&[certificate, key].concat()).is_err());
        assert!(metrics(&["--metrics-token", "t"]).is_err());
        let operate = metrics(&[at, ["--metrics-operate-token", "o"]].concat()).unwrap();
        assert_eq!(operate.operate, Some("o".into()));
        assert!(metrics(&["--metrics-operate-token", "o"]).is_err());
        let level = |level: &str| {
            let line = ["l7switch", "--demo", "--log-level", level];
            Cli::try_parse_from(line).is_ok()
        };
        for right in [
            "debug",
            "WARN",
            "off",
            "info,h2=trace",
            "l7switch::kernel=debug",
        ] {
            assert!(level(right), "{right}");
        }
        for wrong in ["verbose", "", "info,", "h2", "h2=loud"] {
            assert!(!level(wrong), "{wrong}");
        }
        for check in ["-t", "-c", "--check", "--test"] {
            assert!(Cli::parse_from(["l7switch", check, "rules.toml"]).test);
        }
        assert!(Cli::try_parse_from(["l7switch"]).is_err());
        assert!(Cli::try_parse_from(["l7switch", "--demo"]).is_ok());
    }
}
