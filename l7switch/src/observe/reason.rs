// SPDX-License-Identifier: MIT
//! Why something was refused or ended early: the words of logs and metrics, and whose fault it is.

use std::borrow::Cow;

use http::StatusCode;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// Why a request or connection was refused or ended early.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word in logs and metrics.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

reasons! {
    /// The client broke a rule of the protocol.
    BadRequest = "bad_request",
    /// The client's host is none.
    BadHost = "bad_host",
    /// The client's path can be read in two ways.
    BadPath = "bad_path",
    /// The client's head is longer, or has more fields, than the service allows.
    HeadTooLarge = "head_too_large",
    /// The client's target is longer than the service allows.
    TargetTooLong = "target_too_long",
    /// The client sent its head too slowly.
    HeadTimeout = "head_timeout",
    /// The client stopped sending in the middle of the content.
    BodyTimeout = "body_timeout",
    /// The exchange took longer than the route allows.
    RequestTimeout = "request_timeout",
    /// The client broke off in the middle of the content.
    BodyBroken = "body_broken",
    /// The client's content is longer than the rules allow.
    BodyTooLarge = "body_too_large",
    /// The service is closed for maintenance.
    Maintenance = "maintenance",
    /// The request has no user and password that the route takes.
    Unauthorized = "unauthorized",
    /// Too many passwords are compared already.
    AuthBusy = "auth_busy",
    /// A server that was asked has not let the request go on.
    AuthDenied = "auth_denied",
    /// No server could be asked whether the request goes on.
    AuthFailed = "auth_failed",
    /// More requests came than the route's rate limit allows.
    RateLimited = "rate_limited",
    /// The client has more connections than the service allows.
    TooManyConnections = "too_many_connections",
    /// The client asked for a method or coding that the switch does not have.
    NotImplemented = "not_implemented",
    /// The client's HTTP version is none that the switch speaks.
    BadVersion = "bad_version",
    /// The client broke a rule of HTTP/2 for which its whole connection ends.
    H2Protocol = "h2_protocol",
    /// The client sent more of what costs the switch work than anybody needs: resets, settings, pings, CONTINUATION.
    H2Flood = "h2_flood",
    /// The client went away.
    ClientGone = "client_gone",
    /// No route takes the request.
    NoRoute = "no_route",
    /// No server of the pool is healthy, or has a weight.
    NoServer = "no_server",
    /// No server had room for another request in time.
    QueueTimeout = "queue_timeout",
    /// No server had room for another request, and as many wait as may.
    QueueFull = "queue_full",
    /// The servers refused the connection.
    ConnectFailed = "connect_failed",
    /// This host has no descriptor or memory for a connection to a server.
    NoResources = "no_resources",
    /// The servers did not answer the connection.
    ConnectTimeout = "connect_timeout",
    /// The TLS handshake with the server failed: its certificate is not to be believed, or it speaks no TLS; or it has refused the
    /// switch's own certificate, which in TLS 1.3 comes behind the handshake.
    ServerTls = "server_tls",
    /// The servers took connections of HTTP/2 and refused the requests on them unseen.
    StreamRefused = "stream_refused",
    /// A WebSocket was wanted of a server that is spoken to in HTTP/2 and takes none there (RFC 8441).
    NoWebsocket = "no_websocket",
    /// The server did not begin its response in time.
    ResponseTimeout = "response_timeout",
    /// The server's response is none, or ended early.
    BadResponse = "bad_response",
    /// The server broke a tunnel off.
    ServerGone = "server_gone",
    /// The server ended a tunnel's connection without ending TLS: what came may not be all (RFC 8446, 6.1).
    TlsTruncated = "tls_truncated",
    /// The connection of a proxy does not begin with a PROXY header.
    BadProxyHeader = "bad_proxy_header",
    /// No certificate can be shown for the TLS server name: it was ordered and has not come.
    NoCertificate = "no_certificate",
    /// The TLS handshake failed.
    TlsHandshake = "tls_handshake",
    /// The client has shown no certificate where one is required, or one that is not to be believed.
    ClientCertificate = "client_certificate",
    /// HTTP in clear text came where TLS is spoken.
    PlainHttp = "plain_http",
    /// What came is no TLS.
    NotTls = "not_tls",
    /// No route takes the TLS server name.
    UnknownName = "unknown_name",
    /// A tunnel was silent for too long.
    IdleTimeout = "idle_timeout",
    /// The switch ended, or the service was taken away by a reload.
    Draining = "draining",
    /// A fault of the switch.
    Internal = "internal",
}

/// A request that is answered by the switch with an error.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Why, for counters and logs.
    pub reason: Reason,
    /// Status of the answer.
    pub status: StatusCode,
    /// Why, for the client.
    pub detail: Cow<'static, str>,
    /// Whether the request may be sent once more, to a server of another pool, though one has had it.
    pub may_repeat: bool,
}

impl Refusal {
    /// A refusal with this answer.
    pub fn new(reason: Reason, status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason,
            status,
            detail: detail.into(),
            may_repeat: false,
        }
    }

    /// The same, where the request may be sent once more.
    #[must_use]
    pub fn repeatable(self) -> Self {
        Self {
            may_repeat: true,
            ..self
        }
    }

    /// 400 for a broken rule of the protocol.
    pub fn bad_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Reason::BadRequest, StatusCode::BAD_REQUEST, detail)
    }

    /// 500 for a fault of the switch.
    pub fn internal(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Reason::Internal, StatusCode::INTERNAL_SERVER_ERROR, detail)
    }
}
