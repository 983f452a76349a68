// SPDX-License-Identifier: MIT
//! A server that is in use: counted as outstanding until the lease ends, its connection kept or
//! closed by how it ended.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;

use super::idle::Ending;
use super::idle::Link;
use super::idle::Own;
use super::pool::Fault;
use super::pool::Pool;
use super::server::RealServer;
use super::server::Sender;
use crate::body::Progress;
use crate::clock::now_ns;

/// So long the rest of a request may stand still whose response is over.
const REST: Duration = Duration::from_secs(60);

/// Ends a connection whose response is over once the rest of its request stands still.
async fn let_end(task: AbortHandle, upload: Arc<Progress>) {
    while !task.is_finished() {
        tokio::time::sleep(REST / 60).await;
        let still = Duration::from_nanos(now_ns().saturating_sub(upload.moved_ns()));
        if still >= REST {
            task.abort();
        }
    }
}

/// A request or connection that a server has. Counted until it is dropped.
#[derive(Debug)]
pub struct Outstanding {
    server: Arc<RealServer>,
}

impl Outstanding {
    pub(super) fn new(server: Arc<RealServer>) -> Self {
        server.start();
        Self { server }
    }

    /// The server.
    pub const fn server(&self) -> &Arc<RealServer> {
        &self.server
    }
}

impl Drop for Outstanding {
    fn drop(&mut self) {
        self.server.sched().finish();
    }
}

/// A server whose response is being read. Dropped, the connection is closed.
#[derive(Debug)]
pub struct Lease {
    pub(super) pool: Arc<Pool>,
    pub(super) outstanding: Outstanding,
    pub(super) link: Link<Sender>,
    pub(super) own: Arc<Own>,
    pub(super) upload: Arc<Progress>,
}

impl Lease {
    /// The server.
    pub const fn server(&self) -> &Arc<RealServer> {
        self.outstanding.server()
    }

    /// The pool.
    pub const fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// The response was read to its end. The connection is free if the request was sent to its end
    /// too; otherwise nobody knows what the server takes the rest for.
    pub fn completed(self, ending: Ending) {
        let Self {
            pool,
            outstanding,
            mut link,
            own,
            upload,
        } = self;
        link.connection.unfinished = false;
        if !upload.is_done() {
            // A server that has answered early may read on, and gets the rest while it does.
            if let Some(task) = link.connection.task.take() {
                tokio::spawn(let_end(task, upload));
            }
            return;
        }
        if ending != Ending::Withheld {
            link.answered(ending == Ending::Clear);
            outstanding
                .server()
                .keep_idle(link, &own, pool.config().keepalive);
        }
    }

    /// The response broke off.
    pub fn failed(self) {
        self.pool.failed(self.server(), Fault::Answer);
    }

    /// The connection becomes another protocol's: only the count is left.
    pub fn into_outstanding(mut self) -> Outstanding {
        self.link.connection.task = None;
        self.outstanding
    }
}
