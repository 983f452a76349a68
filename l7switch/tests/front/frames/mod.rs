// SPDX-License-Identifier: MIT
//! HTTP/2 frame by frame (RFC 9113, RFC 7541): what is wrong ends its stream or its connection with the right code, and what is odd and
//! allowed does not. The cases are those that conformance suites have for servers, by section.

mod framing;
mod messages;
mod servers;
mod wire;

use std::time::Duration;

use l7switch::Switch;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::Server;
use crate::support::address;
use crate::support::simple;
use crate::support::start;

use wire::ACK;
use wire::GOAWAY;
use wire::HEADERS;
use wire::PING;
use wire::RST_STREAM;
use wire::SETTINGS;
use wire::STREAM_CLOSED;
use wire::frame;

/// A name, what is sent, and what has to come of it.
type Case = (&'static str, Vec<u8>, Wanted);

/// What has to come of it.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    /// GOAWAY with one of these codes, or the connection's end.
    Connection(&'static [u32]),
    /// RST_STREAM with one of these codes or a 400, or what [`Wanted::Connection`] allows.
    Stream(&'static [u32]),
    /// The stream is answered, and a PING behind all is too.
    Answer,
    /// A PING behind all is answered, and nothing is reset.
    Nothing,
}

use Wanted::Answer;
use Wanted::Connection;
use Wanted::Nothing;
use Wanted::Stream;

/// Everything that came: frames, and whether the connection ended.
#[derive(Debug, Default)]
struct Came {
    frames: Vec<(u8, u8, u32, Vec<u8>)>,
    ended: bool,
}

impl Came {
    fn codes(&self, kind: u8, at: usize) -> Vec<u32> {
        self.frames
            .iter()
            .filter(|frame| frame.0 == kind)
            .map(|frame| u32::from_be_bytes(frame.3[at..at + 4].try_into().unwrap()))
            .collect()
    }

    fn has_pong(&self) -> bool {
        self.frames
            .iter()
            .any(|f| f.0 == PING && f.1 & ACK != 0 && f.3 == *b"l7switch")
    }

    fn has_answer(&self) -> bool {
        // 8 is the index of ":status: 200".
        self.frames
            .iter()
            .any(|f| f.0 == HEADERS && f.3.contains(&0x88))
    }

    fn has_400(&self) -> bool {
        // 12 is the index of ":status: 400".
        self.frames
            .iter()
            .any(|f| f.0 == HEADERS && f.3.contains(&0x8c))
    }

    fn is(&self, wanted: Wanted) -> bool {
        let (away, reset) = (self.codes(GOAWAY, 4), self.codes(RST_STREAM, 0));
        let ends = |codes: &[u32]| {
            away.iter().any(|code| codes.contains(code)) || (away.is_empty() && self.ended)
        };
        match wanted {
            Connection(codes) => ends(codes),
            Stream(codes) => {
                reset.iter().any(|code| codes.contains(code)) || self.has_400() || ends(codes)
            }
            // What was sent behind a reset may be reset again.
            Answer => {
                self.has_answer()
                    && self.has_pong()
                    && reset.iter().all(|code| [0, STREAM_CLOSED].contains(code))
            }
            Nothing => self.has_pong() && away.is_empty() && reset.is_empty(),
        }
    }
}

/// Sends, and reads until what is wanted has come, or for three seconds.
async fn send(switch: &Switch, bytes: &[u8], wanted: Wanted) -> Came {
    let mut stream = TcpStream::connect(address(switch, "web")).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut all = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    all.extend(frame(SETTINGS, 0, 0, b""));
    all.extend(frame(SETTINGS, ACK, 0, b""));
    all.extend(bytes);
    // It may be cut off.
    let _ = stream.write_all(&all).await;
    // What follows from streams comes a moment later.
    tokio::time::sleep(Duration::from_millis(60)).await;
    let _ = stream.write_all(&frame(PING, 0, 0, b"l7switch")).await;
    let mut came = Came::default();
    let mut buffer = Vec::new();
    let reading = async {
        while !came.is(wanted) && !came.ended {
            came.ended = !matches!(stream.read_buf(&mut buffer).await, Ok(1..));
            while let Some((head, rest)) = buffer.split_at_checked(9) {
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                let Some(payload) = rest.get(..length) else {
                    break;
                };
                let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
                came.frames
                    .push((head[3], head[4], stream, payload.to_vec()));
                buffer = rest[length..].to_vec();
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(3), reading).await;
    came
}

#[tokio::test]
async fn each_frame_has_its_consequence() {
    let server = Server::echo().await;
    let switch = start(&simple(&[server.address], "", ""));
    let tasks: Vec<_> = framing::cases()
        .into_iter()
        .chain(messages::cases())
        .map(|(name, bytes, wanted)| {
            let switch = std::sync::Arc::clone(&switch);
            tokio::spawn(async move {
                let came = send(&switch, &bytes, wanted).await;
                (!came.is(wanted)).then(|| format!("{name}: not {wanted:?} but {came:?}"))
            })
        })
        .collect();
    let mut wrong = Vec::new();
    for task in tasks {
        wrong.extend(task.await.unwrap());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
