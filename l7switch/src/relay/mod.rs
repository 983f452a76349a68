// SPDX-License-Identifier: MIT
//! Usual HTTP/1 exchanges, relayed as they stand in the buffers: what the engine's parser has read is not read again, fields
//! become no map, and what goes on is copied once.
//!
//! Usual is a request of HTTP/1.1 in origin form, of another method than CONNECT, OPTIONS and TRACE, whose content came with its
//! head, and that wants no upgrade, no trailers and no 100 (Continue). With the first one that is not, the connection becomes
//! hyper's, as it is from the start with HTTP/2. By the rules a request goes the same way on both: [`crate::proxy::onward`],
//! [`upstream`](crate::upstream).

mod content;
mod exchange;
mod fields;
mod room;

use std::io;
use std::mem;
use std::pin::Pin;
use std::pin::pin;

use bytes::Buf;
use bytes::BytesMut;
use l7switch_rules::model::Limits;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio_util::io::poll_read_buf;

use crate::client::Client;
use crate::gate;
use crate::io::poll_write_both;
use crate::reason::Refusal;
use crate::timer::Expired;
use crate::timer::Timer;
use room::Room;

/// Read at a time where a request begins.
const READ: usize = 4 * 1024;

/// Room for what the switch says of itself.
const OWN: usize = 160;

/// How a connection's usual exchanges end.
#[derive(Debug)]
pub enum End {
    /// In order.
    Over {
        /// Something was received and not answered: the client must not be reset.
        unread: bool,
    },
    /// A response was cut short, or the client did not take it.
    Cut,
    /// The next request is not usual: the rest of the connection is hyper's. It is to be refused, if that is known already.
    Unusual(Option<Refusal>),
}

/// What comes after an exchange.
enum Next {
    /// The request had so many bytes; another may follow.
    Request(usize),
    /// The request had so many bytes, and is the last.
    Last(usize),
    /// See [`End::Cut`].
    Cut,
    /// The request is not usual, and nothing has been done about it.
    Unusual,
}

/// The client takes nothing, or has gone.
struct NotTaken;

/// Serves the usual exchanges that a connection begins with, of which `received` was read already. There stands in the end what was
/// read and not answered.
pub async fn serve<S>(
    client: &Client,
    stream: &mut S,
    received: &mut BytesMut,
    limits: &Limits,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut relay = Relay::new(client, stream, limits);
    let mut draining = pin!(client.core.shutdown.draining());
    let mut served = false;
    loop {
        if received.is_empty()
            && let Some(end) = relay.idle(received, draining.as_mut(), served).await
        {
            return end;
        }
        let mut parser = gate::fresh(limits);
        let mut begun = false;
        let next = loop {
            match parser.parse(received) {
                Ok(Some(head)) => {
                    relay.room = Room::take();
                    break relay.exchange(&head, received).await;
                }
                Ok(None) => (),
                // The gate reads it again, and refuses it.
                Err(_) => return End::Unusual(None),
            }
            if !begun {
                relay.timer.start(limits.head_timeout);
                begun = true;
            }
            match relay.read(received).await {
                Ok(Ok(0)) => return End::Unusual(None),
                Ok(Ok(_)) => (),
                Ok(Err(_)) => return End::Cut,
                Err(Expired) => return End::Unusual(Some(gate::too_slow())),
            }
        };
        mem::take(&mut relay.room).leave();
        match next {
            Next::Request(length) => received.advance(length),
            Next::Last(length) => {
                return End::Over {
                    unread: received.len() > length,
                };
            }
            Next::Cut => return End::Cut,
            Next::Unusual => return End::Unusual(None),
        }
        served = true;
    }
}

/// A connection, and what is used again from exchange to exchange.
struct Relay<'a, S> {
    client: &'a Client,
    stream: &'a mut S,
    limits: &'a Limits,
    timer: Timer,
    /// What the switch says of itself in a usual request, up to the value of X-Forwarded-Host.
    own: Vec<u8>,
    /// Empty between two exchanges.
    room: Room,
}

impl<'a, S: AsyncRead + AsyncWrite + Unpin> Relay<'a, S> {
    fn new(client: &'a Client, stream: &'a mut S, limits: &'a Limits) -> Self {
        let mut own = Vec::with_capacity(OWN);
        own.extend_from_slice(b"via: 1.1 l7switch\r\n");
        fields::push(&mut own, b"x-forwarded-for", client.peer_text.as_bytes());
        fields::push(&mut own, b"x-forwarded-proto", client.scheme.as_bytes());
        own.extend_from_slice(b"x-forwarded-host: ");
        Self {
            client,
            stream,
            limits,
            timer: Timer::default(),
            own,
            room: Room::default(),
        }
    }

    async fn read(&mut self, received: &mut BytesMut) -> Result<io::Result<usize>, Expired> {
        received.reserve(READ);
        let stream = &mut *self.stream;
        self.timer
            .within(|cx| poll_read_buf(Pin::new(&mut *stream), cx, received))
            .await
    }

    /// Waits for the first bytes of a request. Gives how the connection ends, if it does.
    async fn idle(
        &mut self,
        received: &mut BytesMut,
        draining: Pin<&mut impl Future<Output = ()>>,
        served: bool,
    ) -> Option<End> {
        let over = Some(End::Over { unread: false });
        let client = self.client;
        if served && client.core.shutdown.is_draining() {
            return over;
        }
        self.timer.start(self.limits.idle_timeout);
        let read = tokio::select! {
            biased;
            read = self.read(received) => Some(read),
            () = draining => None,
        };
        let read = match read {
            Some(read) => read,
            None if served => return over,
            // Accepted and not served yet: its first answer says that it is the last.
            None => tokio::select! {
                read = self.read(received) => read,
                () = client.core.shutdown.last_chance() => return over,
            },
        };
        match read {
            Ok(Ok(1..)) => None,
            Ok(Ok(0)) | Err(Expired) => over,
            Ok(Err(_)) => Some(End::Cut),
        }
    }

    /// Whether the answer to a request is the last on the connection.
    fn is_last(&self, persistent: bool) -> bool {
        !persistent || self.client.core.shutdown.is_draining()
    }

    /// Writes what was made, and behind it so many bytes of what came from the server.
    async fn write(&mut self, length: usize) -> Result<(), NotTaken> {
        let Self {
            stream,
            timer,
            room,
            ..
        } = self;
        let mut first = room.out.as_slice();
        let mut second = room.from_server.get(..length).unwrap_or_default();
        while !first.is_empty() || !second.is_empty() {
            timer.start(self.limits.idle_timeout);
            let written = timer
                .within(|cx| poll_write_both(Pin::new(&mut **stream), cx, &mut first, &mut second))
                .await;
            let Ok(Ok(())) = written else {
                return Err(NotTaken);
            };
        }
        timer.start(self.limits.idle_timeout);
        let flushed = timer.within(|cx| Pin::new(&mut **stream).poll_flush(cx));
        match flushed.await {
            Ok(Ok(())) => Ok(()),
            _ => Err(NotTaken),
        }
    }
}
