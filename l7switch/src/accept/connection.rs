// SPDX-License-Identifier: MIT
//! One client connection of an `http` or `https` service, from its first byte to its last.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::BytesMut;
use l7switch_engine::http1::Preface;
use l7switch_engine::http1::h2_preface;
use l7switch_rules::model::Limits;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;

use crate::accept::handshake;
use crate::accept::http2;
use crate::accept::proxied;
use crate::client::Client;
use crate::http::h1;
use crate::http::h1::End;
use crate::limit::sources;
use crate::net::stream::MaybeRaw;
use crate::net::stream::Prefixed;
use crate::net::stream::SharedStream;
use crate::net::stream::StreamHandle;
use crate::net::timer::Expired;
use crate::net::timer::Timer;
use crate::net::tls::ServiceTls;

/// Read at a time where a connection begins.
const PREFACE_READ: usize = 1024;

/// Serves a connection.
pub async fn serve(
    mut client: Box<Client>,
    stream: TcpStream,
    limits: Limits,
    tls: Option<Arc<ServiceTls>>,
) {
    let (mut stream, handle) = SharedStream::new(stream);
    client.has_socket(&handle);
    if client.is_proxied {
        let learned = proxied::learn(&mut client, &mut stream, limits.head_timeout);
        if !Box::pin(learned).await {
            return;
        }
    }
    if !sources::admit(&mut client, &limits) {
        return stream.abort();
    }
    match tls {
        // Apart, as HTTP/2 below: what a connection in clear text does not need is not part of its task.
        Some(tls) => Box::pin(secure(client, stream, handle, limits, tls)).await,
        None => clear(client, stream, handle, limits).await,
    }
}

/// TLS, and in it the protocol that was agreed upon.
async fn secure(
    mut client: Box<Client>,
    stream: SharedStream,
    handle: StreamHandle,
    limits: Limits,
    tls: Arc<ServiceTls>,
) {
    let time = limits.head_timeout;
    let shaken = handshake::shake(&mut client, stream, &handle, &tls, time).await;
    let Some(stream) = shaken else {
        return;
    };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        Box::pin(http2::serve(client, stream, handle, limits)).await;
    } else {
        let draining = pin!(client.core.shutdown.draining());
        let (received, timer) = (BytesMut::new(), Timer::default());
        http1(client, stream, received, handle, limits, timer, draining).await;
    }
}

/// Clear text: HTTP/2 with prior knowledge, or HTTP/1.
async fn clear(
    client: Box<Client>,
    mut stream: SharedStream,
    handle: StreamHandle,
    limits: Limits,
) {
    let mut received = BytesMut::with_capacity(PREFACE_READ);
    let mut timer = Timer::default();
    let mut draining = pin!(client.core.shutdown.draining());
    let outcome = tokio::select! {
        biased;
        outcome = preface(&mut stream, &mut received, &limits, &mut timer) => outcome,
        () = async { draining.as_mut().await; client.core.shutdown.last_chance().await } => return,
    };
    match outcome {
        Ok(Preface::Yes) => {
            let stream = Prefixed::new(received.freeze(), stream);
            Box::pin(http2::serve(client, stream, handle, limits)).await;
        }
        // What was begun and not ended is refused there.
        Ok(Preface::No | Preface::Maybe) if !received.is_empty() => {
            http1(client, stream, received, handle, limits, timer, draining).await;
        }
        Ok(_) | Err(_) => (),
    }
}

/// Reads until it is clear whether the connection begins with HTTP/2's preface, it ends, or the
/// time for it has passed.
async fn preface(
    stream: &mut SharedStream,
    received: &mut BytesMut,
    limits: &Limits,
    timer: &mut Timer,
) -> io::Result<Preface> {
    timer.start(limits.idle_timeout);
    loop {
        received.reserve(PREFACE_READ);
        let read = timer.within(|cx| poll_read_buf(Pin::new(&mut *stream), cx, received));
        match read.await {
            Err(Expired) | Ok(Ok(0)) => return Ok(Preface::Maybe),
            Ok(Err(error)) => return Err(error),
            Ok(Ok(_)) => match h2_preface(received) {
                Preface::Maybe => timer.start(limits.head_timeout),
                known => return Ok(known),
            },
        }
    }
}

/// HTTP/1.
async fn http1<S>(
    client: Box<Client>,
    mut stream: S,
    received: BytesMut,
    handle: StreamHandle,
    limits: Limits,
    timer: Timer,
    draining: Pin<&mut impl Future<Output = ()>>,
) where
    S: AsyncRead + AsyncWrite + MaybeRaw + Unpin + Send + 'static,
{
    let end = {
        let serving = h1::serve(&client, &mut stream, received, &limits, timer, draining);
        let mut serving = pin!(serving);
        let mut broken = pin!(handle.broken());
        poll_fn(|cx| match serving.as_mut().poll(cx) {
            Poll::Ready(end) => Poll::Ready(Some(end)),
            // What is in progress for a client that has gone is dropped with the connection.
            Poll::Pending => broken.as_mut().poll(cx).map(|()| None),
        })
        .await
    };
    match end {
        None => (),
        // The client must not take what it has for the whole.
        Some(End::Cut) => handle.abort(),
        Some(End::Over { unread }) => {
            if client.scheme == "https" {
                // TLS has an end of its own.
                let shutdown = tokio::time::timeout(limits.idle_timeout, stream.shutdown());
                let _ = Box::pin(shutdown).await;
            }
            if unread || handle.has_unread() {
                Box::pin(handle.linger()).await;
            }
        }
    }
}
