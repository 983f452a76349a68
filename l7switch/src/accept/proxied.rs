// SPDX-License-Identifier: MIT
//! Connections that a proxy makes for its clients, and begins with a PROXY header.

use std::time::Duration;

use crate::client::Client;
use crate::net::proxy_header;
use crate::net::proxy_header::ReadError;
use crate::net::stream::SharedStream;
use crate::observe::log_limit;
use crate::observe::reason::Reason;

/// Learns from the header whose connection it is. `false`: there is none, and the connection is over.
pub async fn learn(client: &mut Client, stream: &mut SharedStream, patience: Duration) -> bool {
    let read = tokio::time::timeout(patience, proxy_header::read(stream)).await;
    let detail = match read {
        Ok(Ok(Some(ends))) => {
            client.learn(ends);
            return true;
        }
        Ok(Ok(None)) => return true,
        Ok(Err(ReadError::Nothing)) => return false,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the PROXY header did not arrive in time".to_owned(),
    };
    client.stats.refused(Reason::BadProxyHeader);
    log_limit::hostile(Reason::BadProxyHeader, client.peer, &detail);
    false
}
