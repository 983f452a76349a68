// SPDX-License-Identifier: MIT
//! The admin API over TCP: TLS, with a certificate at both ends.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use l7switch_admin_api::Role;
use l7switch_certificates::ClientCertificate;
use l7switch_certificates::ClientName;
use l7switch_certificates::TlsError;
use l7switch_certificates::verifier;
use l7switch_rules::model::ClientCertificates;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::UnixTime;
use rustls::server::danger::ClientCertVerifier;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::server::TlsStream;

use super::caller::Caller;
use super::caller::Way;
use super::serve;
use crate::accept::listen;
use crate::control;
use crate::handover::message::Socket;
use crate::observe::log_limit::Gate;
use crate::switch::ReadAgain;
use crate::switch::Switch;

/// Lets lines about failed handshakes into the log.
static HANDSHAKES: Gate = Gate::new();

/// Most characters of a certificate's label.
const LABEL: usize = 128;

/// The files that say who may do what.
#[derive(Clone, Debug)]
pub struct Files {
    /// Certificate chain of the listener, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// The authorities of clients, PEM. Whoever has a certificate of one of them may read.
    pub clients: PathBuf,
    /// What they have revoked, PEM.
    pub crl: Option<PathBuf>,
    /// Names in certificates of those who may operate, too.
    pub operators: Vec<ClientName>,
}

/// Why the listener cannot be opened.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address cannot be bound.
    #[error("{0}")]
    Bind(#[from] io::Error),
    /// A file cannot be used.
    #[error("{0}")]
    Tls(#[from] TlsError),
}

/// The listener. Dropped, it is closed.
#[derive(Debug)]
pub struct Remote {
    bound: SocketAddr,
    socket: Arc<TcpListener>,
    known: Arc<Known>,
    task: Option<JoinHandle<()>>,
}

impl Drop for Remote {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Remote {
    /// Opens the listener, unless its socket was given by another process. What comes waits until [`Remote::serve`]. Its files are read
    /// again with each reload of the rules, for connections and requests from then on.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn open(
        switch: &Switch,
        address: SocketAddr,
        files: Files,
        given: Option<TcpListener>,
    ) -> Result<Self, StartError> {
        let known = Arc::new(Known {
            trust: ArcSwap::from_pointee(Trust::read(&files)?),
            files,
        });
        let socket = Arc::new(match given {
            Some(socket) => socket,
            None => listen::bind(address, switch.sharing())?,
        });
        switch.place().keep(Socket::AdminApi { address }, &socket);
        switch.reads_again(&known);
        Ok(Self {
            bound: socket.local_addr()?,
            socket,
            known,
            task: None,
        })
    }

    /// Serves.
    pub fn serve(&mut self, switch: Arc<Switch>) {
        let (socket, known) = (Arc::clone(&self.socket), Arc::clone(&self.known));
        self.task = Some(tokio::spawn(accept(switch, socket, known)));
    }

    /// Where it listens.
    pub const fn bound(&self) -> SocketAddr {
        self.bound
    }
}

/// Who may do what, and the files that say so.
#[derive(Debug)]
struct Known {
    files: Files,
    trust: ArcSwap<Trust>,
}

impl ReadAgain for Known {
    fn read_again(&self) -> Result<(), String> {
        let stays = |error| format!("the listener of the admin API stays as it is: {error}");
        let trust = Trust::read(&self.files).map_err(stays)?;
        self.trust.store(Arc::new(trust));
        Ok(())
    }
}

/// What the files have said.
#[derive(Debug)]
struct Trust {
    tls: Arc<ServerConfig>,
    clients: Arc<dyn ClientCertVerifier>,
}

impl Trust {
    fn read(files: &Files) -> Result<Self, TlsError> {
        let clients = verifier(&ClientCertificates {
            ca: files.clients.clone(),
            required: true,
            crl: files.crl.clone(),
        })?;
        Ok(Self {
            tls: control::server_config(&files.certificate, &files.key, Arc::clone(&clients))?,
            clients,
        })
    }
}

/// A certificate that was shown.
#[derive(Debug)]
pub(super) struct Shown {
    /// Who has shown it.
    pub(super) peer: SocketAddr,
    /// What it is called in logs and events.
    pub(super) label: String,
    /// Its names.
    pub(super) names: Vec<ClientName>,
    /// It, and those that lead to an authority.
    chain: Vec<CertificateDer<'static>>,
    known: Arc<Known>,
}

impl Shown {
    fn new(peer: SocketAddr, chain: &[CertificateDer<'_>], known: Arc<Known>) -> Self {
        let leaf = chain.first().map(AsRef::as_ref).unwrap_or_default();
        let names = ClientName::all_of(leaf);
        Self {
            peer: SocketAddr::new(peer.ip().to_canonical(), peer.port()),
            label: label(&ClientCertificate::of(leaf), &names),
            names,
            chain: chain.iter().map(|one| one.clone().into_owned()).collect(),
            known,
        }
    }

    pub(super) fn role(&self) -> Role {
        role(&self.names, &self.known.files.operators)
    }

    pub(super) fn may_be_operated(&self) -> bool {
        !self.known.files.operators.is_empty()
    }

    /// Verifies it by what the files say now.
    pub(super) fn verify_again(&self) -> Result<(), rustls::Error> {
        let trust = self.known.trust.load();
        match self.chain.split_first() {
            Some((leaf, rest)) => {
                let now = UnixTime::now();
                trust
                    .clients
                    .verify_client_cert(leaf, rest, now)
                    .map(|_| ())
            }
            None => Err(rustls::Error::NoCertificatesPresented),
        }
    }
}

/// What whoever has shown a certificate with these names may do.
fn role(names: &[ClientName], operators: &[ClientName]) -> Role {
    match names.iter().any(|name| operators.contains(name)) {
        true => Role::Operate,
        false => Role::Read,
    }
}

/// What a certificate is called: its subject; where that is empty, its first name; else its fingerprint.
fn label(certificate: &ClientCertificate, names: &[ClientName]) -> String {
    let label = match (certificate.subject.as_str(), names.first()) {
        ("", Some(name)) => name.to_string(),
        ("", None) => format!("sha256:{}", certificate.fingerprint),
        (subject, _) => subject.to_owned(),
    };
    let printable = label.chars().map(|c| match c.is_control() {
        true => char::REPLACEMENT_CHARACTER,
        false => c,
    });
    printable.take(LABEL).collect()
}

async fn accept(switch: Arc<Switch>, socket: Arc<TcpListener>, known: Arc<Known>) {
    let refused = &switch.core().admin_api.connections;
    control::accept(&switch, &socket, refused, |stream, peer| {
        converse(Arc::clone(&switch), Arc::clone(&known), stream, peer)
    })
    .await;
}

async fn converse(switch: Arc<Switch>, known: Arc<Known>, stream: TcpStream, peer: SocketAddr) {
    let failed = control::Failed {
        count: &switch.core().admin_api.tls,
        gate: &HANDSHAKES,
        listener: "admin",
    };
    let tls = Arc::clone(&known.trust.load().tls);
    let Some(stream) = control::shake_hands(&switch, tls, stream, peer, failed).await else {
        return;
    };
    let way = Way::Certificate(shown(&stream, peer, known));
    let caller = Caller {
        switch: Arc::clone(&switch),
        way,
    };
    let handler = service_fn(move |request| serve(caller.clone(), request));
    let connection = control::http1().serve_connection(TokioIo::new(stream), handler);
    let result = control::finish(&switch, connection, http1::Connection::graceful_shutdown).await;
    if let Err(error) = result {
        tracing::debug!(%error, client = %peer, "admin connection");
    }
}

fn shown(stream: &TlsStream<TcpStream>, peer: SocketAddr, known: Arc<Known>) -> Arc<Shown> {
    let (_, connection) = stream.get_ref();
    let chain = connection.peer_certificates().unwrap_or_default();
    Arc::new(Shown::new(peer, chain, known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[&str]) -> Vec<ClientName> {
        all.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn who_is_named_operates_and_others_read() {
        let operators = names(&[
            "cn:alice",
            "dns:ops.example",
            "uri:spiffe://example/ops",
            "email:Ops@example.com",
        ]);
        for (shown, expected) in [
            (&["cn:alice"][..], Role::Operate),
            (&["cn:bob", "dns:OPS.example"], Role::Operate),
            (&["uri:spiffe://example/ops"], Role::Operate),
            (&["email:Ops@EXAMPLE.com"], Role::Operate),
            (&[], Role::Read),
            (&["cn:Alice"], Role::Read),
            (&["cn:ops.example", "dns:alice"], Role::Read),
            (&["dns:a.ops.example", "dns:*.example"], Role::Read),
            (
                &["uri:spiffe://example/Ops", "uri:spiffe://example/ops/"],
                Role::Read,
            ),
            (&["email:ops@example.com"], Role::Read),
        ] {
            let shown = names(shown);
            assert_eq!(role(&shown, &operators), expected, "{shown:?}");
            // Nobody operates until somebody is named.
            assert_eq!(role(&shown, &[]), Role::Read);
        }
    }

    #[test]
    fn a_label_is_short_and_printable() {
        let certificate = |subject: &str| ClientCertificate {
            subject: subject.to_owned(),
            fingerprint: "ab".to_owned(),
        };
        let name = names(&["dns:ops.example"]);
        assert_eq!(label(&certificate("CN=alice"), &name), "CN=alice");
        assert_eq!(label(&certificate(""), &name), "dns:ops.example");
        assert_eq!(label(&certificate(""), &[]), "sha256:ab");
        let odd = [ClientName::Uri("a:\u{1b}[2J".to_owned())];
        assert_eq!(label(&certificate(""), &odd), "uri:a:\u{fffd}[2J");
        let long = "x".repeat(LABEL + 1);
        assert_eq!(label(&certificate(&long), &[]).len(), LABEL);
    }
}
