// SPDX-License-Identifier: MIT
//! A client that makes a new connection of TLS 1.3 again and again, as a process of its own. A handshake that is full where it
//! shall be resumed, or the other way round, is an error.
//!
//! A connection with a full handshake has no request. One with a resumed handshake has: rustls uses a ticket once only, and
//! BoringSSL, Envoy's library, sends tickets with the first bytes of an answer and no sooner.

use std::io;
use std::io::Read as _;
use std::io::Write as _;
use std::net::Shutdown;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use l7switch_qemu_tests::error::Doing as _;
use l7switch_qemu_tests::error::Error;
use l7switch_qemu_tests::error::Result;
use rustls::ClientConfig;
use rustls::ClientConnection;
use rustls::HandshakeKind;
use rustls::RootCertStore;
use rustls::Stream;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::crypto::aws_lc_rs::kx_group::X25519;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use rustls::version::TLS13;

use super::Done;
use super::NAME;

/// How many handshakes there are at a time, each in a thread.
pub(super) const CONNECTIONS: u32 = 4;

/// How long a proxy may be silent.
const PATIENCE: Duration = Duration::from_secs(10);

/// How the line begins that says what was done: handshakes, microseconds.
const DONE: &str = "HANDSHAKES ";

/// What such a process is to do.
#[derive(Debug, clap::Args)]
pub(crate) struct Handshakes {
    /// The proxy
    at: SocketAddr,
    /// The proxy's certificate, PEM
    certificate: PathBuf,
    /// For how long, seconds
    seconds: u32,
    /// Resume a session with each
    #[arg(long)]
    resumed: bool,
}

/// The command line of `program`, this one.
pub(super) fn line(
    program: &Path,
    certificate: &Path,
    at: SocketAddr,
    seconds: u32,
    resumed: bool,
) -> Vec<String> {
    let (program, certificate) = (program.display(), certificate.display());
    let resumed = if resumed { " --resumed" } else { "" };
    let line = format!("{program} handshakes {at} {certificate} {seconds}{resumed}");
    line.split(' ').map(str::to_owned).collect()
}

/// Finds what it prints.
pub(super) fn done(printed: &str) -> Option<Done> {
    let line = printed.lines().find_map(|line| line.strip_prefix(DONE))?;
    let (count, micros) = line.split_once(' ')?;
    let (count, micros): (f64, f64) = (count.parse().ok()?, micros.parse().ok()?);
    (count > 0.0).then_some(Done {
        count,
        seconds: micros / 1e6,
    })
}

impl Handshakes {
    /// Does it, and prints how many there were.
    ///
    /// # Errors
    ///
    /// Where one fails or is of the wrong kind.
    pub(crate) fn run(&self) -> Result<()> {
        let counts: Vec<Result<(u32, Duration)>> = thread::scope(|scope| {
            let threads: Vec<_> = (0..CONNECTIONS)
                .map(|_| scope.spawn(|| self.repeat()))
                .collect();
            let joined = threads.into_iter().map(|thread| {
                let panicked = |_| Err(Error::Message("a thread panicked".to_owned()));
                thread.join().unwrap_or_else(panicked)
            });
            joined.collect()
        });
        let (mut sum, mut longest) = (0, Duration::ZERO);
        for result in counts {
            let (count, took) = result?;
            sum += count;
            longest = longest.max(took);
        }
        let line = format!("{DONE}{sum} {}\n", longest.as_micros());
        io::stdout().write_all(line.as_bytes()).doing("print")
    }

    /// One thread's: gives how many there were in which time. Where they are resumed, there is a full one before.
    fn repeat(&self) -> Result<(u32, Duration)> {
        let config = self.config()?;
        let mut kind = HandshakeKind::Full;
        if self.resumed {
            self.shake(&config, kind)?;
            kind = HandshakeKind::Resumed;
        }
        let (start, time) = (Instant::now(), Duration::from_secs(self.seconds.into()));
        let mut count = 0;
        while start.elapsed() < time {
            self.shake(&config, kind)?;
            count += 1;
        }
        Ok((count, start.elapsed()))
    }

    fn config(&self) -> Result<Arc<ClientConfig>> {
        let path = &self.certificate;
        let certificate = CertificateDer::from_pem_file(path)
            .map_err(io::Error::other)
            .doing_with("read", path)?;
        let mut roots = RootCertStore::empty();
        let added = roots.add(certificate).map_err(io::Error::other);
        added.doing_with("take", path)?;
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites = vec![TLS13_AES_128_GCM_SHA256];
        provider.kx_groups = vec![X25519];
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(io::Error::other)
            .doing("make a client of TLS")?;
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        if !self.resumed {
            config.resumption = Resumption::disabled();
        }
        Ok(Arc::new(config))
    }

    /// One connection, until the proxy has closed it too: it has seen the client's last message of the handshake then.
    fn shake(&self, config: &Arc<ClientConfig>, wanted: HandshakeKind) -> Result<()> {
        let kind = || -> io::Result<Option<HandshakeKind>> {
            let mut socket = TcpStream::connect(self.at)?;
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
            let mut connection =
                ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
            while connection.is_handshaking() {
                connection.complete_io(&mut socket)?;
            }
            if self.resumed {
                ask(&mut Stream::new(&mut connection, &mut socket))?;
                return Ok(connection.handshake_kind());
            }
            connection.send_close_notify();
            while connection.wants_write() {
                connection.write_tls(&mut socket)?;
            }
            socket.shutdown(Shutdown::Write)?;
            // What comes are tickets, and that it is closed.
            let mut rest = [0; 1024];
            while socket.read(&mut rest)? > 0 {}
            Ok(connection.handshake_kind())
        };
        match kind().doing(format!("shake hands with {}", self.at))? {
            Some(kind) if kind == wanted => Ok(()),
            other => Err(Error::Message(format!(
                "a handshake with {} is {other:?} and not {wanted:?}",
                self.at
            ))),
        }
    }
}

/// Asks for the small file, and reads the answer to its end.
fn ask(stream: &mut Stream<'_, ClientConnection, TcpStream>) -> io::Result<()> {
    write!(
        stream,
        "GET /small HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        // Some end the connection without a word of TLS.
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
        _ => {}
    }
    match answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(&[b'a'; 128]) {
        true => Ok(()),
        false => Err(io::Error::other("not the right answer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_are_counted_in_what_the_client_prints() {
        let found = done("HANDSHAKES 1200 2000000\n");
        let expected = Done {
            count: 1200.0,
            seconds: 2.0,
        };
        assert_eq!(found, Some(expected));
        for printed in ["HANDSHAKES 0 2000000\n", "HANDSHAKES 5\n", ""] {
            assert_eq!(done(printed), None);
        }
    }
}
