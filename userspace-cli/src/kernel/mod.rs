// SPDX-License-Identifier: MIT
//! `l7ctl kernel …`: the kernel module in this network namespace.

pub(crate) mod command;
mod load;
mod request;
mod show;
mod watch;

use std::io;

use l7switch_engine::netlink::ServerState;
use l7switch_netlink::Client;
use l7switch_netlink::Error;
use l7switch_netlink::MatchRequest;
use l7switch_netlink::Server;
use l7switch_netlink::ServerChange;
use l7switch_netlink::WeightChange;
use serde_json::json;

use crate::Outcome;
use crate::cli::Weight;
use crate::print;
use crate::print_json;
use crate::show::printable;

use command::Kernel;
use command::Match;
use command::Set;

/// `ENOENT`.
const NO_SUCH: i32 = 2;

/// An error's words. What the kernel says in them may hold a name of a table that anyone has made.
fn words(error: Error) -> String {
    printable(&error.to_string())
}

fn client() -> Result<Client, String> {
    Client::open().map_err(words)
}

pub(crate) fn run(command: Kernel, out: &mut impl io::Write) -> Outcome {
    match command {
        Kernel::Status { json } => {
            let mut client = client()?;
            let module = client.module().map_err(words)?;
            let services = client.services().map_err(words)?;
            if json {
                print_json(out, &json!({ "module": module, "services": services }))?;
            } else {
                print(out, &show::status(&module, &services))?;
            }
        }
        Kernel::Load { rules, json } => return load::run(&rules, json, out),
        Kernel::Unload => {
            let generation = client()?.unload().map_err(words)?;
            print(out, &format!("unloaded: generation {generation}\n"))?;
        }
        Kernel::Match(asked) => ask(asked, out)?,
        Kernel::Servers { json } => {
            let servers = client()?.servers().map_err(words)?;
            if json {
                print_json(out, &json!({ "servers": servers }))?;
            } else {
                print(out, &show::servers(&servers))?;
            }
        }
        Kernel::Routes { json } => {
            let routes = client()?.routes().map_err(words)?;
            if json {
                print_json(out, &json!({ "routes": routes }))?;
            } else {
                print(out, &show::routes(&routes))?;
            }
        }
        Kernel::Flows { json } => {
            let flows = client()?.flows().map_err(words)?;
            if json {
                print_json(out, &json!({ "flows": flows }))?;
            } else {
                print(out, &show::flows(&flows))?;
            }
        }
        Kernel::Set(set) => change(set, out)?,
        Kernel::ResetCounters => {
            client()?.reset_counters().map_err(words)?;
            print(out, "all counters are 0\n")?;
        }
        Kernel::Watch { json, count } => watch::run(json, count, out)?,
    }
    Ok(true)
}

fn ask(asked: Match, out: &mut impl io::Write) -> Result<(), String> {
    let mut client = client()?;
    let services = client.services().map_err(words)?;
    let question = request::question(&asked, &services)?;
    let found = client
        .match_request(&MatchRequest {
            service: Some(question.service.clone()),
            destination: None,
            source: asked.source,
            request: question.bytes,
        })
        .map_err(words)?;
    if asked.json {
        print_json(out, &found)
    } else {
        let method = asked.raw.is_none().then_some(asked.method.as_str());
        let method = method.filter(|_| question.is_http);
        print(out, &show::matched(&found, &question.why, method))
    }
}

/// Changes a server in the pools that it is in, and shows what it is now.
fn change(set: Set, out: &mut impl io::Write) -> Result<(), String> {
    let mut client = client()?;
    let change = ServerChange {
        pool: set.server.pool,
        address: set.server.address,
        state: set.state.map(ServerState::from),
        weight: set.weight.map(|Weight(weight)| match weight {
            Some(weight) => WeightChange::To(weight),
            None => WeightChange::Reset,
        }),
    };
    let changed = client.set_server(&change);
    let servers = match &changed {
        Ok(_) => client.servers().map_err(words)?,
        Err(error) if error.errno() == Some(NO_SUCH) && !error.is_absent() => {
            client.servers().unwrap_or_default()
        }
        Err(_) => Vec::new(),
    };
    if let Err(error) = changed {
        let known: Vec<String> = servers.iter().map(name).collect();
        let known = if known.is_empty() {
            String::new()
        } else {
            format!("; there are: {}", known.join(", "))
        };
        return Err(format!("{}{known}", words(error)));
    }
    let meant = |server: &Server| {
        server.address == change.address
            && change.pool.as_ref().is_none_or(|pool| *pool == server.pool)
    };
    let changed: Vec<Server> = servers.into_iter().filter(meant).collect();
    print(out, &show::servers(&changed))
}

/// A server as it is named on the command line.
fn name(server: &Server) -> String {
    format!("{}/{}", printable(&server.pool), server.address)
}
