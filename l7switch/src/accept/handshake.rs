// SPDX-License-Identifier: MIT
//! The TLS handshake of a client, and what is said to one that speaks clear text instead.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::io::AsyncWriteExt;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::acme::ACME_TLS;
use crate::acme::is_challenge;
use crate::client::Client;
use crate::net::stream::SharedStream;
use crate::net::stream::StreamHandle;
use crate::net::tickets::Tickets;
use crate::net::tls::ServiceTls;
use crate::observe::log_limit;
use crate::observe::reason::Reason;

/// The answer to HTTP in clear text. The client's request is not read: it may hold what nobody should see.
const SAY_HTTPS: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 60\r\n\
                         Connection: close\r\n\r\nthis port speaks HTTPS, and the request came in clear text.\n";

/// What has come of a handshake.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are of the large one, which is moved on at once"
)]
enum Shaken {
    /// It is done.
    Hands(TlsStream<Tickets>),
    /// HTTP in clear text came, and was told so.
    ClearText,
    /// The client has gone and said nothing.
    Nobody,
}

/// Shakes hands. `None`: it has failed, which is counted and logged, and the client has been told.
pub(super) async fn shake(
    client: &mut Client,
    mut stream: SharedStream,
    handle: &StreamHandle,
    tls: &ServiceTls,
    time: Duration,
) -> Option<TlsStream<Tickets>> {
    let handshake = async {
        let mut first = [0];
        // Health checks of balancers connect and end: nothing has failed.
        let Ok(1..) = poll_fn(|cx| stream.poll_peek(cx, &mut first)).await else {
            return Ok(Shaken::Nobody);
        };
        // Methods begin with a letter, and no record of TLS does (RFC 8446, 5.1).
        if first.iter().all(u8::is_ascii_uppercase) {
            stream.write_all(SAY_HTTPS.as_bytes()).await?;
            return Ok(Shaken::ClearText);
        }
        let stream = Tickets::new(stream);
        // Only while a challenge is pending: what is in the hello is of no interest otherwise.
        if let Some(challenge) = client.core.acme.challenges.tls() {
            return choose(stream, tls, challenge).await.map(Shaken::Hands);
        }
        let acceptor = TlsAcceptor::from(Arc::clone(&tls.config));
        acceptor.accept(stream).await.map(Shaken::Hands)
    };
    let (reason, detail, is_told) = match tokio::time::timeout(time, handshake).await {
        // The authority has seen what it came for (RFC 8737, 3).
        Ok(Ok(Shaken::Hands(mut stream)))
            if stream.get_ref().1.alpn_protocol() == Some(ACME_TLS) =>
        {
            let _ = tokio::time::timeout(time, stream.shutdown()).await;
            handle.linger().await;
            return None;
        }
        Ok(Ok(Shaken::Nobody)) => return None,
        Ok(Ok(Shaken::Hands(mut stream))) => match tls.verify_again(stream.get_ref().1) {
            Ok(()) => {
                stream.get_mut().0.end();
                client.has_shaken_hands(stream.get_ref().1);
                return Some(stream);
            }
            Err(error) => (Reason::ClientCertificate, error.to_string(), true),
        },
        Ok(Ok(Shaken::ClearText)) => (
            Reason::PlainHttp,
            "HTTP in clear text came".to_owned(),
            true,
        ),
        Ok(Err(error)) => (reason(&error), error.to_string(), true),
        Err(_) => {
            let detail = "the handshake did not finish in time".to_owned();
            (Reason::TlsHandshake, detail, false)
        }
    };
    client.stats.refused(reason);
    log_limit::hostile(reason, client.peer, &detail);
    if is_told {
        // What tells the client why must not be overtaken by a reset.
        handle.linger().await;
    }
    None
}

/// Shakes hands, for a challenge with a client that asks for nothing else.
async fn choose(
    stream: Tickets,
    tls: &ServiceTls,
    challenge: Arc<ServerConfig>,
) -> io::Result<TlsStream<Tickets>> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let config = match is_challenge(&start.client_hello()) {
        true => challenge,
        false => Arc::clone(&tls.config),
    };
    start.into_stream(config).await
}

/// What rustls says where a server has no certificate for a client.
const NO_CERTIFICATE: &str = "no server certificate chain resolved";

/// Why a handshake has failed.
fn reason(error: &io::Error) -> Reason {
    let inner = error.get_ref().and_then(|error| error.downcast_ref());
    match inner {
        Some(
            rustls::Error::NoCertificatesPresented
            | rustls::Error::InvalidCertificate(_)
            | rustls::Error::InvalidCertRevocationList(_),
        ) => Reason::ClientCertificate,
        Some(rustls::Error::General(why)) if why == NO_CERTIFICATE => Reason::NoCertificate,
        _ => Reason::TlsHandshake,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_as_long_as_it_says() {
        let (head, body) = SAY_HTTPS.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
    }
}
