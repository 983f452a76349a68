// SPDX-License-Identifier: MIT
//! The commands for a running switch.

use std::collections::BTreeMap;
use std::io;
use std::time::Instant;
use std::time::SystemTime;

use http::Method;
use http::StatusCode;
use l7switch_admin_api::Events;
use l7switch_admin_api::Explained;
use l7switch_admin_api::Failure;
use l7switch_admin_api::Maintenance;
use l7switch_admin_api::Question;
use l7switch_admin_api::Reloaded;
use l7switch_admin_api::Routes;
use l7switch_admin_api::ServerChange;
use l7switch_admin_api::Servers;
use l7switch_admin_api::ServiceChange;
use l7switch_admin_api::ServiceStatus;
use l7switch_admin_api::Status;
use l7switch_admin_api::WantedState;
use serde::de::DeserializeOwned;

use crate::Outcome;
use crate::cli::Explain;
use crate::cli::Running;
use crate::cli::Wanted;
use crate::diff;
use crate::drain;
use crate::print;
use crate::print_json;
use crate::server::ServerName;
use crate::show;
use crate::switch::Answer;
use crate::switch::Switch;
use crate::top;
use crate::watch;
use l7switch_rules::names::UNIX_PREFIX;

fn parse<T: DeserializeOwned>(answer: &Answer) -> Result<T, String> {
    if !answer.status.is_success() {
        return Err(failure(answer));
    }
    serde_json::from_slice(&answer.body).map_err(|error| format!("the switch's answer: {error}"))
}

/// An error answer in words.
fn failure(answer: &Answer) -> String {
    match serde_json::from_slice::<Failure>(&answer.body) {
        Ok(failure) if failure.known.is_empty() => failure.error,
        Ok(failure) => format!("{}; there are: {}", failure.error, failure.known.join(", ")),
        Err(_) => format!("the switch answered {}", answer.status),
    }
}

/// A document of the switch.
fn get<T: DeserializeOwned>(switch: &Switch, target: &str) -> Result<T, String> {
    parse(&switch.ask(Method::GET, target, Vec::new())?)
}

/// Unix time in seconds.
fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap_or_default().as_secs()
}

pub(crate) fn run(switch: &Switch, command: Running, out: &mut impl io::Write) -> Outcome {
    match command {
        Running::Status { json } => {
            let status: Status = get(switch, "/v1/status")?;
            if json {
                print_json(out, &status)?
            } else {
                print(out, &show::status(&status, now()))?
            }
        }
        Running::Servers { json: true, .. } => {
            print_json(out, &get::<Servers>(switch, "/v1/servers")?)?;
        }
        Running::Servers { watch, .. } => {
            let read = || get::<Servers>(switch, "/v1/servers");
            watch::run(&watch, out, read, |servers, before| {
                show::servers(servers, before, now())
            })?;
        }
        Running::Routes {
            service,
            json,
            watch,
        } => {
            let read = || {
                let mut routes: Routes = get(switch, "/v1/routes")?;
                if let Some(service) = &service {
                    routes.routes.retain(|route| route.service == *service);
                    if routes.routes.is_empty() {
                        return Err(format!("there is no service `{service}`"));
                    }
                }
                Ok(routes)
            };
            match json {
                true => print_json(out, &read()?)?,
                false => watch::run(&watch, out, read, show::routes)?,
            }
        }
        Running::Certs { json } => {
            let status: Status = get(switch, "/v1/status")?;
            if json {
                let services = status.services.into_iter();
                let all: BTreeMap<_, _> = services
                    .map(|(name, service)| (name, service.certificates))
                    .filter(|(_, certificates)| !certificates.is_empty())
                    .collect();
                print_json(out, &all)?
            } else {
                print(out, &show::certificates(&status, now()))?
            }
        }
        Running::Events { json } => {
            let events: Events = get(switch, "/v1/events")?;
            if json {
                print_json(out, &events)?
            } else {
                print(out, &show::events(&events))?
            }
        }
        Running::Top { interval } => {
            let read = || {
                Ok(top::Reading {
                    status: get(switch, "/v1/status")?,
                    routes: get(switch, "/v1/routes")?,
                    servers: get(switch, "/v1/servers")?,
                    kernel: get(switch, "/v1/kernel")?,
                    at: Instant::now(),
                    now: now(),
                })
            };
            let drain = |server: &str, is_drained| {
                let state = match is_drained {
                    true => WantedState::Drain,
                    false => WantedState::Up,
                };
                let changed = changed(switch, server, &to(state))?;
                let words = changed.servers.first().map(|server| server.state.as_str());
                Ok(format!("{server} is {}", words.unwrap_or("gone")))
            };
            return top::run(interval, read, drain);
        }
        Running::Diff { rules, json } => {
            let running = parse(&switch.ask(Method::GET, "/v1/rules", Vec::new())?)?;
            return diff::diff(&rules, running, json, out);
        }
        Running::Reload => {
            let answer = switch.ask(Method::POST, "/v1/reload", Vec::new())?;
            if answer.status == StatusCode::UNPROCESSABLE_ENTITY {
                print(out, &format!("{}\n", failure(&answer)))?;
                return Ok(false);
            }
            let reloaded: Reloaded = parse(&answer)?;
            for warning in &reloaded.warnings {
                print(out, &format!("{warning}\n"))?;
            }
            print(
                out,
                &format!("reloaded: generation {}\n", reloaded.generation),
            )?;
        }
        Running::Drain { server, wait } => {
            let drained = change(switch, &server, &to(WantedState::Drain), out)?;
            if let Some(patience) = wait {
                let read = || Ok((get(switch, "/v1/servers")?, get(switch, "/v1/kernel")?));
                return drain::wait(&drained, patience, read, out);
            }
        }
        Running::Disable { server } => {
            change(switch, &server, &to(WantedState::Down), out)?;
        }
        Running::Undrain { server } => {
            change(switch, &server, &to(WantedState::Up), out)?;
        }
        Running::Maintenance {
            service,
            wanted,
            except,
        } => {
            let except = except.iter().map(ToString::to_string).collect::<Vec<_>>();
            let maintenance = match (wanted, except.is_empty()) {
                (Wanted::On, true) => Some(Maintenance::Closed(true)),
                (Wanted::On, false) => Some(Maintenance::Except { except }),
                (_, false) => return Err("--except is for \"on\"".to_owned()),
                (Wanted::Off, true) => Some(Maintenance::Closed(false)),
                (Wanted::Default, true) => None,
            };
            let change = ServiceChange {
                maintenance: Some(maintenance),
            };
            let body = serde_json::to_vec(&change).map_err(|error| error.to_string())?;
            let target = format!("/v1/services/{}", escaped(&service));
            let now: ServiceStatus = parse(&switch.ask(Method::PATCH, &target, body)?)?;
            let name = show::printable(&service);
            let line = match show::maintenance(&now) {
                Some(line) => format!("{name}: {line}\n"),
                None => format!("{name}: open\n"),
            };
            print(out, &line)?;
        }
        Running::Weight { server, weight } => {
            change(
                switch,
                &server,
                &ServerChange {
                    state: None,
                    weight: Some(weight.0),
                },
                out,
            )?;
        }
    }
    Ok(true)
}

/// Asks the running switch what becomes of a request.
pub(crate) fn explain(
    switch: &Switch,
    url: &str,
    given: &Explain,
    out: &mut impl io::Write,
) -> Outcome {
    let question = Question {
        url: url.to_owned(),
        method: Some(given.method.clone()),
        headers: given.headers.clone(),
        source: given.source,
        sni: given.sni.clone(),
        service: given.service.clone(),
    };
    let body = serde_json::to_vec(&question).map_err(|error| error.to_string())?;
    let explained: Explained = parse(&switch.ask(Method::POST, "/v1/explain", body)?)?;
    if given.json {
        print_json(out, &explained)?;
        return Ok(true);
    }
    print(out, &explained.text)?;
    if !explained.servers.is_empty() {
        let servers = Servers {
            servers: explained.servers,
        };
        print(out, &format!("\n{}", show::servers(&servers, None, now())))?;
    }
    Ok(true)
}

/// A change of a server's state.
const fn to(state: WantedState) -> ServerChange {
    ServerChange {
        state: Some(state),
        weight: None,
    }
}

/// Changes a server in the pools that it is in. Gives what it is now.
fn changed(switch: &Switch, server: &str, change: &ServerChange) -> Result<Servers, String> {
    let target = target(server)?;
    let body = serde_json::to_vec(change).map_err(|error| error.to_string())?;
    parse(&switch.ask(Method::PATCH, &target, body)?)
}

/// The same, and shows it.
fn change(
    switch: &Switch,
    server: &str,
    change: &ServerChange,
    out: &mut impl io::Write,
) -> Result<Servers, String> {
    let changed = changed(switch, server, change)?;
    print(out, &show::servers(&changed, None, now()))?;
    Ok(changed)
}

/// A server as a target.
fn target(server: &str) -> Result<String, String> {
    if let Some(target) = unix_target(server) {
        return Ok(target);
    }
    let server = ServerName::parse(server)?;
    // Brackets do not stand in a path (RFC 3986, 3.3).
    let address = server.address.to_string();
    let address = address.replace('[', "%5B").replace(']', "%5D");
    Ok(match server.pool {
        None => format!("/v1/servers/{address}"),
        Some(pool) => format!("/v1/servers/{pool}/{address}"),
    })
}

/// The same of a Unix socket, `unix:/PATH` or `POOL/unix:/PATH`.
fn unix_target(server: &str) -> Option<String> {
    let (pool, path) = server.split_once(UNIX_PREFIX)?;
    let is_pool = pool.is_empty() || pool.strip_suffix('/').is_some_and(|p| !p.contains('/'));
    if !is_pool || !path.starts_with('/') {
        return None;
    }
    Some(format!("/v1/servers/{pool}{UNIX_PREFIX}{}", escaped(path)))
}

/// A segment of a path (RFC 3986, 3.3).
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_with_or_without_their_pool() {
        assert_eq!(
            target("10.0.0.1:80").as_deref(),
            Ok("/v1/servers/10.0.0.1:80")
        );
        assert_eq!(
            target("web/[::1]:80").as_deref(),
            Ok("/v1/servers/web/%5B::1%5D:80")
        );
        assert_eq!(
            target("unix:/run/a b.sock").as_deref(),
            Ok("/v1/servers/unix:%2Frun%2Fa%20b.sock")
        );
        assert_eq!(
            target("web/unix:/run/app.sock").as_deref(),
            Ok("/v1/servers/web/unix:%2Frun%2Fapp.sock")
        );
        assert!(target("unix:run/app.sock").is_err());
        assert!(target("10.0.0.1").is_err());
        assert!(target("a b/10.0.0.1:80").is_err());
        assert!(target("/10.0.0.1:80").is_err());
    }
}
