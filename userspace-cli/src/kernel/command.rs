// SPDX-License-Identifier: MIT
//! `l7ctl kernel …`: what may be typed, and its help.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::ArgGroup;
use clap::Args;
use clap::Subcommand;
use clap::ValueEnum;
use l7switch_engine::netlink::ServerState;

use crate::cli::Weight;
use crate::cli::header;
use crate::cli::weight;
use crate::server::ServerName;

/// What is asked of the kernel module. Needs `CAP_NET_ADMIN`.
#[derive(Debug, Subcommand)]
pub(crate) enum Kernel {
    /// Show the module, the table in force and the counters
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Check rules, compile them, and put the table in force
    Load {
        /// Rule file, folder of *.toml files, or a table written by `l7ctl compile`
        rules: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Unload the table in force: the kernel switches nothing more
    Unload,
    /// Show which route the kernel chooses for a request
    Match(Match),
    /// Show real servers as the kernel has them
    Servers {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show routes, with their requests in the kernel
    Routes {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the clients' connections in the kernel
    Flows {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Set the state or weight of a real server in the kernel
    ///
    /// A front that uses the kernel takes the change over. It sets a server down again that its checks have taken out.
    Set(Set),
    /// Set all counters to 0
    ResetCounters,
    /// Print the kernel module's events, one line each, until Ctrl-C
    Watch {
        /// Print one JSON object per line
        #[arg(long)]
        json: bool,
        /// Exit after N events
        #[arg(long, value_name = "N")]
        count: Option<u64>,
    },
}

/// Show which route the kernel chooses for a request.
#[derive(Debug, Args)]
pub(crate) struct Match {
    #[arg(
        help = "URL, such as http://www.example.com/img/a.png?x=1, or a path",
        required_unless_present = "raw"
    )]
    pub(crate) request: Option<String>,
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
    /// File with the first bytes that the client sends; - for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["request", "headers", "method", "sni"])]
    pub(crate) raw: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Set state or weight of a real server.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("change").args(["state", "weight"]).required(true).multiple(true)))]
pub(crate) struct Set {
    /// ADDRESS:PORT in every pool, or POOL/ADDRESS:PORT in one
    #[arg(value_parser = ServerName::parse)]
    pub(crate) server: ServerName,
    /// New state
    #[arg(long)]
    pub(crate) state: Option<State>,
    /// 0 to 65535, or "default" for the weight in the table
    #[arg(long, value_name = "N", value_parser = weight)]
    pub(crate) weight: Option<Weight>,
}

/// What a real server may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    /// It gets requests
    Up,
    /// It gets no new requests; existing requests finish
    Draining,
    /// It is considered dead
    Down,
}

impl From<State> for ServerState {
    fn from(state: State) -> Self {
        match state {
            State::Up => Self::Up,
            State::Draining => Self::Draining,
            State::Down => Self::Down,
        }
    }
}
