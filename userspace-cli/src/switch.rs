// SPDX-License-Identifier: MIT
//! A running switch, and how it is asked: HTTP with JSON over its admin socket, or over TCP with TLS, see docs/admin-api.md.

use std::ffi::OsStr;
use std::fmt::Display;
use std::fmt::Formatter;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::Request;
use http::StatusCode;
use http::Uri;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use http_body_util::Limited;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::net::UnixStream;

use crate::tls::Identity;
use crate::tls::why;

/// A reload of very many routes takes seconds; nothing takes longer.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How long it may take to reach the switch over TCP, with TLS.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest answer that is read, bytes.
const ANSWER: usize = 256 << 20;
/// Begins the URL of a switch that is reached over TCP.
const HTTPS: &str = "https://";
/// The port of a URL that has none (RFC 9110, 4.2.2).
const HTTPS_PORT: u16 = 443;

/// An answer's status and content.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// Where a switch is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// An admin socket.
    Socket(PathBuf),
    /// A host, without the brackets of an IPv6 address, and a port.
    Tcp(String, u16),
}

impl Default for Place {
    fn default() -> Self {
        Self::Socket(l7switch_admin_api::default_path())
    }
}

impl Place {
    /// Of a path, or of a URL with the scheme `https`.
    pub(crate) fn parse(given: &OsStr) -> Result<Self, String> {
        // A path may be no text.
        let Some(text) = given.to_str() else {
            return Ok(Self::Socket(given.into()));
        };
        let has_scheme = |scheme: &str| {
            let begin = text.get(..scheme.len());
            begin.is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
        };
        if has_scheme("http://") {
            return Err("the admin API speaks TLS over TCP: write https://".to_owned());
        }
        if !has_scheme(HTTPS) {
            return Ok(Self::Socket(PathBuf::from(text)));
        }
        let wrong = || "write it as https://HOST:PORT".to_owned();
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?;
        let has_more = uri.path() != "/" || uri.query().is_some();
        let host = authority.host();
        if has_more || host.is_empty() {
            return Err(wrong());
        }
        // No user stands before it.
        let port = match authority.as_str().strip_prefix(host) {
            Some("") => HTTPS_PORT,
            Some(rest) => {
                let digits = rest.strip_prefix(':').ok_or_else(wrong)?;
                let is_number = digits.bytes().all(|digit| digit.is_ascii_digit());
                let number = digits.parse().ok().filter(|_| is_number);
                number.ok_or_else(wrong)?
            }
            None => return Err(wrong()),
        };
        let address = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        Ok(Self::Tcp(address.unwrap_or(host).to_owned(), port))
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => path.display().fmt(f),
            Self::Tcp(host, port) if host.contains(':') => write!(f, "{HTTPS}[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{HTTPS}{host}:{port}"),
        }
    }
}

/// A running switch.
#[derive(Debug)]
pub(crate) struct Switch {
    /// Where it is.
    pub(crate) place: Place,
    /// Who asks, where it is reached over TCP.
    pub(crate) identity: Identity,
}

impl Switch {
    /// One request to it, and its answer whatever its status.
    pub(crate) fn ask(
        &self,
        method: Method,
        target: &str,
        body: Vec<u8>,
    ) -> Result<Answer, String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        runtime.block_on(async {
            let exchange = self.exchange(method, target, body);
            tokio::time::timeout(TIMEOUT, exchange)
                .await
                .map_err(|_| format!("{}: no answer in {} s", self.place, TIMEOUT.as_secs()))?
        })
    }

    async fn exchange(
        &self,
        method: Method,
        target: &str,
        body: Vec<u8>,
    ) -> Result<Answer, String> {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(http::header::CONTENT_TYPE, "application/json");
        match &self.place {
            Place::Socket(path) => {
                let request = request.header(http::header::HOST, "l7switch");
                self.over(connect_socket(path).await?, request, body).await
            }
            Place::Tcp(host, port) => {
                let connecting = self.connect(host, *port);
                let stream = tokio::time::timeout(CONNECT, connecting)
                    .await
                    .map_err(|_| format!("{}: not reached in {} s", self.place, CONNECT.as_secs()))?
                    .map_err(|why| format!("{}: {why}", self.place))?;
                let place = self.place.to_string();
                let authority = place.strip_prefix(HTTPS).unwrap_or_default();
                let request = request.header(http::header::HOST, authority);
                self.over(stream, request, body).await
            }
        }
    }

    async fn connect(
        &self,
        host: &str,
        port: u16,
    ) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + use<>, String> {
        // What is wrong with the files is said before anybody is asked.
        let tls = self.identity.tls()?;
        let stream = TcpStream::connect((host, port))
            .await
            .map_err(|error| error.to_string())?;
        self.identity.shake_hands(tls, host, stream).await
    }

    async fn over(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        request: http::request::Builder,
        body: Vec<u8>,
    ) -> Result<Answer, String> {
        let failed = |error: hyper::Error| {
            let why = why(&error, &self.identity);
            format!("{}: {}", self.place, why.unwrap_or(error.to_string()))
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(failed)?;
        // Its end is seen by the request.
        drop(tokio::spawn(connection));
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| error.to_string())?;
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER)
            .collect()
            .await
            .map_err(|error| format!("{}: {error}", self.place))?
            .to_bytes();
        Ok(Answer { status, body })
    }
}

async fn connect_socket(path: &Path) -> Result<UnixStream, String> {
    let at = path.display();
    UnixStream::connect(path)
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                format!(
                    "no switch is running at {at} ({error}); name its admin socket with --admin"
                )
            }
            _ => format!("{at}: {error}"),
        })
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn a_switch_is_at_a_path_or_a_url() {
        let tcp = |host: &str, port| Some(Place::Tcp(host.to_owned(), port));
        let path = |path: &str| Some(Place::Socket(path.into()));
        for (text, expected) in [
            ("/run/l7switch/admin.sock", path("/run/l7switch/admin.sock")),
            ("https", path("https")),
            ("https:/a", path("https:/a")),
            ("https://switch.example:7443", tcp("switch.example", 7443)),
            ("HTTPS://switch.example:7443/", tcp("switch.example", 7443)),
            ("https://switch.example", tcp("switch.example", 443)),
            ("https://10.0.0.1:7443", tcp("10.0.0.1", 7443)),
            ("https://[::1]:7443", tcp("::1", 7443)),
            ("https://[2001:db8::1]", tcp("2001:db8::1", 443)),
            ("http://switch.example:7443", None),
            ("https://", None),
            ("https://:7443", None),
            ("https://a:", None),
            ("https://a:b", None),
            ("https://a:70000", None),
            ("https://a:+1", None),
            ("https://user@a:7443", None),
            ("https://a:7443/v1", None),
            ("https://a:7443/?x", None),
            ("https://a b:7443", None),
        ] {
            assert_eq!(Place::parse(text.as_ref()).ok(), expected, "{text}");
        }
        let odd = OsStr::from_bytes(b"/run/\xff");
        assert_eq!(Place::parse(odd), Ok(Place::Socket(odd.into())));
        for text in ["https://[::1]:7443", "https://a.example:443", "/run/a b"] {
            assert_eq!(Place::parse(text.as_ref()).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_switch_that_is_not_there_is_said_so() {
        let folder = tempfile::tempdir().unwrap();
        let switch = Switch {
            place: Place::Socket(folder.path().join("x.sock")),
            identity: Identity::default(),
        };
        let error = switch.ask(Method::GET, "/v1/status", Vec::new());
        assert!(error.err().unwrap().contains("no switch is running at"));
    }
}
