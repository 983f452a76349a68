// SPDX-License-Identifier: MIT
//! The command line: what may be typed, and its help.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::Parser;
use clap::Subcommand;
use clap::builder::OsStringValueParser;
use clap::builder::TypedValueParser as _;
use clap_complete::Shell;

use crate::import::Program;
use crate::kernel::command::Kernel;
use crate::switch::Place;
use crate::tls::Identity;
use crate::watch::Watch;
use crate::watch::interval;

/// Checks and explains the rules of l7switch; shows and changes a running switch.
#[derive(Debug, Parser)]
#[command(
    name = "l7ctl",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(
    after_help = "Exit status: 0: success; 1: negative result (rules with errors, a refused reload, \
                        a table that the kernel refuses, differences); 2: the command failed."
)]
pub(crate) struct Cli {
    /// Admin socket of the running switch, or https://HOST:PORT of one with --admin-listen [default: as root
    /// /run/l7switch/admin.sock, $XDG_RUNTIME_DIR/l7switch.sock, else /tmp/l7switch-UID.sock]
    #[arg(long, global = true, value_name = "PATH|URL", env = "L7SWITCH_ADMIN",
          value_parser = OsStringValueParser::new().try_map(|text| Place::parse(&text)))]
    pub(crate) admin: Option<Place>,
    #[command(flatten)]
    pub(crate) identity: Identity,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check rules: report every error, with its line and a proposal
    #[command(visible_aliases = ["validate", "test"])]
    Check {
        /// Rule file, or folder of *.toml files
        rules: PathBuf,
        /// Do not read the certificates and keys that the rules name
        #[arg(long)]
        no_files: bool,
        /// Do not look up the names of servers
        #[arg(long)]
        offline: bool,
        /// Name server that is asked, in place of the system's
        #[arg(long, value_name = "ADDR:PORT", conflicts_with = "offline")]
        name_server: Option<SocketAddr>,
        /// Print JSON: { ok, errors, warnings, … }
        #[arg(long)]
        json: bool,
    },
    /// Check rules and write their table for the kernel module to a file
    Compile {
        /// Rule file, or folder of *.toml files
        rules: PathBuf,
        /// Output file; - for standard output
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
    },
    /// Make rules of the configuration of another program
    ///
    /// What can be translated is; the rest stands as a comment with the reason. What protects something and cannot be translated closes the
    /// route or the service. Exit status 1: the file is not in that program's language.
    Import {
        /// Whose configuration it is
        program: Program,
        /// Its file, such as /etc/haproxy/haproxy.cfg
        file: PathBuf,
        /// Rule file that is written, in place of standard output
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Show which route takes a request, why, and why others do not
    Explain(Explain),
    /// Show and change the kernel module in this network namespace
    #[command(subcommand)]
    Kernel(Kernel),
    /// Print the JSON Schema of the rule language, for editors
    Schema,
    /// Print a completion script
    Completions {
        /// Shell
        shell: Shell,
    },
    /// Write man pages
    Man {
        /// Output folder
        folder: PathBuf,
    },
    #[command(flatten)]
    Running(Running),
}

/// Show which route takes a request.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    #[arg(required = true, num_args = 1..=2, value_names = ["RULES", "URL"],
          help = "Rule file, or folder of *.toml files, if it is not the running switch that is asked; then a URL, such as \
                  http://www.example.com/img/a.png?x=1, or a path")]
    given: Vec<String>,
    /// Header field
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub(crate) headers: Vec<(String, String)>,
    /// Method
    #[arg(long, short = 'X', default_value = "GET")]
    pub(crate) method: String,
    /// Address of the client
    #[arg(long, value_name = "ADDR")]
    pub(crate) source: Option<IpAddr>,
    /// TLS server name, if it is not the URL's host
    #[arg(long, value_name = "NAME")]
    pub(crate) sni: Option<String>,
    /// Service, if the URL leads to several
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl Explain {
    /// The rules, unless those of the running switch are meant, and the URL.
    pub(crate) fn given(&self) -> (Option<&Path>, &str) {
        match self.given.as_slice() {
            [rules, url, ..] => (Some(Path::new(rules)), url),
            [url] => (None, url),
            [] => (None, ""),
        }
    }
}

/// Commands for a running switch.
#[derive(Debug, Subcommand)]
pub(crate) enum Running {
    /// Show services, their requests, and the state of the rules
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show real servers: state, since when and why, and the last check
    Servers {
        /// Print JSON
        #[arg(long, conflicts_with = "watch")]
        json: bool,
        #[command(flatten)]
        watch: Watch,
    },
    /// Show routes: what they take, requests, responses and times
    Routes {
        /// Service [default: all]
        service: Option<String>,
        /// Print JSON
        #[arg(long, conflicts_with = "watch")]
        json: bool,
        #[command(flatten)]
        watch: Watch,
    },
    /// Show certificates: names, when they expire, and orders
    Certs {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show what has happened: servers, reloads, certificates, the kernel module
    Events {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show services, routes and servers again and again: rates, times, states; sort, filter, drain by keys
    Top {
        /// Time between two readings
        #[arg(long, value_name = "TIME", default_value = "2s", value_parser = interval)]
        interval: Duration,
    },
    /// Show what a reload of these rules would change
    Diff {
        /// Rule file, or folder of *.toml files
        rules: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Reload the rule file
    Reload,
    /// Drain a real server: no new requests but of clients that stay there by a cookie; existing
    /// requests finish
    Drain {
        /// ADDRESS:PORT in every pool, or POOL/ADDRESS:PORT in one
        server: String,
        /// Wait until it has no request any more, for at most this time; exit status 1 if it has
        #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, value_parser = humantime::parse_duration)]
        #[expect(
            clippy::option_option,
            reason = "clap: absent, without a value, with one"
        )]
        wait: Option<Option<Duration>>,
    },
    /// Take a real server out: no new requests at all, clients that stay there go elsewhere;
    /// existing requests finish
    #[command(visible_alias = "down")]
    Disable {
        /// ADDRESS:PORT in every pool, or POOL/ADDRESS:PORT in one
        server: String,
    },
    /// Put a drained or disabled real server back
    #[command(visible_aliases = ["enable", "up"])]
    Undrain {
        /// ADDRESS:PORT in every pool, or POOL/ADDRESS:PORT in one
        server: String,
    },
    /// Set a real server's weight
    Weight {
        /// ADDRESS:PORT in every pool, or POOL/ADDRESS:PORT in one
        server: String,
        /// 0 to 65535, or "default" for the weight in the rule file
        #[arg(value_parser = weight)]
        weight: Weight,
    },
    /// Close a service for maintenance, or open it, whatever the rule file says
    Maintenance {
        /// Service
        service: String,
        /// What is wanted
        wanted: Wanted,
        /// With "on": clients that are served all the same
        #[arg(long, value_name = "PREFIX", value_parser = prefix)]
        except: Vec<ipnet::IpNet>,
    },
}

/// What is wanted of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Wanted {
    /// Close it: requests get 503
    On,
    /// Open it
    Off,
    /// As the rule file says
    Default,
}

/// A weight, or the rule file's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Weight(pub(crate) Option<u32>);

pub(crate) fn weight(text: &str) -> Result<Weight, String> {
    if text == "default" {
        return Ok(Weight(None));
    }
    match text.parse::<u16>() {
        Ok(weight) => Ok(Weight(Some(weight.into()))),
        Err(_) => Err("a weight is a number from 0 to 65535, or \"default\"".to_owned()),
    }
}

/// An address prefix, or one address.
fn prefix(text: &str) -> Result<ipnet::IpNet, String> {
    let prefix = text.parse::<ipnet::IpNet>();
    let prefix = prefix.or_else(|_| text.parse::<IpAddr>().map(ipnet::IpNet::from));
    prefix.map_err(|_| "write it as 192.0.2.0/24, 2001:db8::/32 or one address".to_owned())
}

pub(crate) fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) => Ok((name.to_owned(), value.trim().to_owned())),
        None => Err("write it as 'Name: value'".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn weights_and_headers() {
        assert_eq!(weight("default"), Ok(Weight(None)));
        assert_eq!(weight("65535"), Ok(Weight(Some(65_535))));
        assert!(weight("65536").is_err() && weight("-1").is_err());
        assert_eq!(header("A:  b:c "), Ok(("A".into(), "b:c".into())));
        assert!(header("A").is_err());
    }
}
