// SPDX-License-Identifier: MIT
//! What a request is refused with that no server has answered.

use http::StatusCode;

use super::connect::ConnectError;
use crate::observe::reason::Reason;
use crate::observe::reason::Refusal;

/// There is no room at any server.
pub(super) fn queue_refusal(reason: Reason) -> Refusal {
    let detail = "all servers have as many requests as they may";
    Refusal::new(reason, StatusCode::SERVICE_UNAVAILABLE, detail)
}

pub(super) fn no_server() -> Refusal {
    Refusal::new(
        Reason::NoServer,
        StatusCode::SERVICE_UNAVAILABLE,
        "no server is available",
    )
}

pub(super) fn connect_refusal(error: &ConnectError) -> Refusal {
    let (status, detail) = match error {
        ConnectError::Refused(_) => (StatusCode::BAD_GATEWAY, "no server accepts the connection"),
        ConnectError::Here(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the switch has no room for another connection",
        ),
        ConnectError::Timeout(_) => (
            StatusCode::GATEWAY_TIMEOUT,
            "no server accepted the connection in time",
        ),
        ConnectError::Tls(_) => (
            StatusCode::BAD_GATEWAY,
            "the TLS handshake with the server failed",
        ),
    };
    Refusal::new(error.reason(), status, detail)
}

/// The servers have not seen the request, as they say themselves.
pub(super) fn stream_refusal() -> Refusal {
    Refusal::new(
        Reason::StreamRefused,
        StatusCode::BAD_GATEWAY,
        "the servers take no request",
    )
}

/// The server takes no WebSockets, which is no fault of it.
pub(super) fn websocket_refusal() -> Refusal {
    Refusal::new(
        Reason::NoWebsocket,
        StatusCode::BAD_GATEWAY,
        "the server takes no WebSockets by HTTP/2 (RFC 8441)",
    )
}

/// The server closed the connection, or what it sent is no response.
pub(super) fn no_response() -> Refusal {
    Refusal::new(
        Reason::BadResponse,
        StatusCode::BAD_GATEWAY,
        "the server gave no valid response",
    )
}
