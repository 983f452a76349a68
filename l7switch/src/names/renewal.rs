// SPDX-License-Identifier: MIT
//! New servers for the same rules.

use std::sync::Arc;
use std::sync::Weak;
use std::time::Duration;

use tokio::sync::Notify;

use crate::switch::SetError;
use crate::switch::Switch;

/// Shortest time between two generations that names make.
const RENEW: Duration = Duration::from_secs(1);

/// Time after which one that could not be made is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// Renews the servers whenever names have other addresses, for as long as the switch lives.
pub(crate) async fn renew(switch: Weak<Switch>, changed: Arc<Notify>) {
    let mut said = None;
    loop {
        changed.notified().await;
        let Some(there) = switch.upgrade() else {
            return;
        };
        let why = match there.renew().await {
            Ok(()) => None,
            Err(SetError::Draining) => return,
            // A certificate may be unreadable for a while.
            Err(error) => {
                changed.notify_one();
                Some(error.to_string())
            }
        };
        drop(there);
        if let Some(why) = &why
            && said.as_ref() != Some(why)
        {
            tracing::error!("names have other addresses, which are not in force yet: {why}");
        }
        let wait = if why.is_some() { AGAIN } else { RENEW };
        said = why;
        tokio::time::sleep(wait).await;
    }
}
