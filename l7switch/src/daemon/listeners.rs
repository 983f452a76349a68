// SPDX-License-Identifier: MIT
//! The listeners for operators: the admin socket, the admin API over TCP, the metrics listener.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use l7switch::Switch;
use l7switch::admin::Admin;
use l7switch::admin::remote;
use l7switch::admin::remote::Remote;
use l7switch::cli::Cli;
use l7switch::exposed::Exposed;
use l7switch::exposed::StartError;
use l7switch::handover::sockets;
use l7switch::handover::take::Legacy;

/// Where the admin socket is.
pub(crate) fn admin_path(cli: &Cli) -> PathBuf {
    let path = cli.admin.clone();
    path.unwrap_or_else(l7switch_admin_api::default_path)
}

/// Opens the admin socket, or goes on with that of the front before. One that was asked for must be had; without the usual one, which another switch may
/// have, requests are served all the same.
pub(crate) async fn admin(
    cli: &Cli,
    switch: &Arc<Switch>,
    given: Option<OwnedFd>,
) -> Result<Option<Admin>, String> {
    let path = admin_path(cli);
    if cli.admin.is_none() && rustix::process::geteuid().is_root() {
        // Where no unit has made root's folder. One that cannot be made is told of below.
        let _ = path.parent().map(std::fs::create_dir);
    }
    let readers = cli.admin_group.map(|group| group.0);
    let started = match given.map(sockets::unix) {
        Some(Ok(socket)) => Admin::start_with(Arc::clone(switch), &path, readers, socket),
        Some(Err(error)) => Err(error),
        None => Admin::start_for(Arc::clone(switch), &path, readers).await,
    };
    match started {
        Ok(admin) => Ok(Some(admin)),
        Err(error) if cli.admin.is_some() || readers.is_some() => Err(format!(
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
pub(crate) fn exposed(
    cli: &Cli,
    switch: &Arc<Switch>,
    legacy: &mut Legacy,
) -> Result<Option<Exposed>, String> {
    let Some(address) = cli.metrics else {
        return Ok(None);
    };
    let open = |given| Exposed::open(switch, address, cli.metrics_files(), given);
    let exposed = legacy
        .metrics_socket(address)
        .map_err(StartError::Bind)
        .and_then(open)
        .map_err(|error| format!("the metrics listener {address} cannot be opened: {error}"))?;
    let scheme = if exposed.is_https() { "https" } else { "http" };
    let bound = exposed.bound();
    tracing::info!("metrics on {scheme}://{bound}/metrics, the status page on {scheme}://{bound}/");
    if cli.metrics_operate_token.is_some() && !exposed.is_https() && !bound.ip().is_loopback() {
        tracing::warn!(
            "--metrics-operate-token: on {bound} the token goes in clear text: use --metrics-certificate"
        );
    }
    Ok(Some(exposed))
}

/// Opens the admin API over TCP, if it was asked for.
pub(crate) fn admin_api(
    cli: &Cli,
    switch: &Switch,
    legacy: &mut Legacy,
) -> Result<Option<Remote>, String> {
    let Some((address, files)) = cli.admin_api.wanted() else {
        return Ok(None);
    };
    let operators = files.operators.len();
    let open = |given| Remote::open(switch, address, files, given);
    let remote = legacy
        .admin_api_socket(address)
        .map_err(remote::StartError::Bind)
        .and_then(open)
        .map_err(|error| format!("the admin API cannot be opened on {address}: {error}"))?;
    let bound = remote.bound();
    match operators {
        0 => tracing::info!(
            "the admin API is on https://{bound}/; nobody operates there without --admin-operators"
        ),
        _ => tracing::info!("the admin API is on https://{bound}/"),
    }
    Ok(Some(remote))
}
