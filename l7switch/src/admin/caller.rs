// SPDX-License-Identifier: MIT
//! Who asks something of the admin API, and what they may do.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use http::StatusCode;
use l7switch_admin_api::Role;
use tokio::net::UnixListener;
use tokio::net::unix::UCred;

use super::ADMINISTRATOR;
use super::Problem;
use super::remote::Shown;
use crate::observe::log_limit::Gate;
use crate::switch::Switch;

/// Lets lines about refused requests into the log.
static REFUSED: Gate = Gate::new();

/// Who asks, and of what.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) switch: Arc<Switch>,
    pub(super) way: Way,
}

/// How they came.
#[derive(Clone)]
pub(super) enum Way {
    /// By the admin socket.
    Socket {
        socket: Arc<UnixListener>,
        /// The group whose members may open the socket.
        readers: Option<u32>,
        peer: Option<UCred>,
    },
    /// Over TCP, with a certificate.
    Certificate(Arc<Shown>),
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refusal {
    /// The role is less than it needs.
    Role,
    /// Descriptors go over no TCP.
    TakeOver,
}

impl Caller {
    /// What they may do. Where a group may open the socket, those who are neither its owner nor root are of that group.
    pub(super) fn role(&self) -> Role {
        match &self.way {
            Way::Socket { readers, peer, .. } => {
                let own = rustix::process::geteuid().as_raw();
                let is_owner = |peer: UCred| [0, own].contains(&peer.uid());
                match readers.is_none() || peer.is_some_and(is_owner) {
                    true => Role::Operate,
                    false => Role::Read,
                }
            }
            Way::Certificate(shown) => shown.role(),
        }
    }

    /// Whether anybody may operate this way.
    pub(super) fn may_be_operated(&self) -> bool {
        match &self.way {
            Way::Socket { .. } => true,
            Way::Certificate(shown) => shown.may_be_operated(),
        }
    }

    /// Who changes something, such as `by an administrator`.
    pub(super) fn who(&self) -> String {
        match &self.way {
            Way::Socket { .. } => ADMINISTRATOR.to_owned(),
            Way::Certificate(shown) => format!("by {} at {}", shown.label, shown.peer.ip()),
        }
    }

    /// Looks at the certificate of a connection again: it may have expired meanwhile, and other authorities may be believed.
    ///
    /// # Errors
    ///
    /// It is not good any more. That is counted, and the connection ends.
    pub(super) fn verify_again(&self, path: &str) -> Result<(), Problem> {
        let Way::Certificate(shown) = &self.way else {
            return Ok(());
        };
        shown.verify_again().map_err(|error| {
            let count = &self.switch.core().admin_api.tls;
            count.fetch_add(1, Relaxed);
            let why = format!("the certificate {} is refused: {error}", shown.label);
            self.log(path, &why);
            Problem::new(StatusCode::FORBIDDEN, why).and_close()
        })
    }

    /// The answer to one who may not do that, who is counted.
    pub(super) fn refuse(&self, refusal: Refusal, path: &str) -> Problem {
        let counts = &self.switch.core().admin_api;
        let (count, why) = match (refusal, &self.way) {
            (Refusal::Role, Way::Socket { readers, .. }) => {
                let group = readers.unwrap_or_default();
                let why = format!("this needs the role operate, and group {group} may read");
                (&counts.role, why)
            }
            (Refusal::Role, Way::Certificate(shown)) => {
                let label = &shown.label;
                let why = format!(
                    "this needs the role operate, and {label} may read: none of its names is in --admin-operators"
                );
                (&counts.role, why)
            }
            (Refusal::TakeOver, _) => {
                let why = "the front's place is given at the admin socket only: descriptors do not go over TCP";
                (&counts.take_over, why.to_owned())
            }
        };
        count.fetch_add(1, Relaxed);
        self.log(path, &why);
        Problem::new(StatusCode::FORBIDDEN, why)
    }

    fn log(&self, path: &str, why: &str) {
        let Some(suppressed) = REFUSED.due() else {
            return;
        };
        match &self.way {
            Way::Socket { peer, .. } => {
                let (uid, pid) = (peer.map(|p| p.uid()), peer.and_then(|p| p.pid()));
                tracing::info!(
                    uid,
                    pid,
                    path,
                    suppressed,
                    "refused at the admin socket: {why}"
                );
            }
            Way::Certificate(shown) => {
                let (client, certificate) = (shown.peer, &shown.label);
                let names = &shown.names;
                tracing::info!(%client, certificate, ?names, path, suppressed, "refused at the admin API: {why}");
            }
        }
    }
}
