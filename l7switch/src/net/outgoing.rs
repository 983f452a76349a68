// SPDX-License-Identifier: MIT
//! Connections to where a URL leads, for requests that are the switch's own.

use http::HeaderValue;
use http::Uri;
use http::header;
use http::request::Parts;
use hyper::body::Body;
use hyper::client::conn::http1;
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Longest head of a response, bytes.
const MOST_HEAD: usize = 32 * 1024;

/// Why there is no response.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects to the host of a URL: by TLS with this connector, or in clear text. Gives what sends requests, and what must be polled
/// meanwhile.
pub(crate) async fn connect<B>(
    uri: &Uri,
    tls: Option<&TlsConnector>,
) -> Result<
    (
        SendRequest<B>,
        impl Future<Output = hyper::Result<()>> + use<B>,
    ),
    Failure,
>
where
    B: Body + 'static,
    B::Data: Send,
    B::Error: Into<Failure>,
{
    let authority = uri.authority().ok_or("no host")?;
    let host = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    let usual = if tls.is_some() { 443 } else { 80 };
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(usual))).await?;
    stream.set_nodelay(true)?;
    let stream: Box<dyn Stream> = match tls {
        Some(tls) => {
            let name = ServerName::try_from(host.to_owned())?;
            Box::new(tls.connect(name, stream).await?)
        }
        None => Box::new(stream),
    };
    let mut builder = http1::Builder::new();
    Ok(builder
        .max_buf_size(MOST_HEAD)
        .handshake(TokioIo::new(stream))
        .await?)
}

/// Gives a request the form that it has on such a connection (RFC 9112, 3.2.1): its URL's host as Host, and its path as target.
pub(crate) fn aim(parts: &mut Parts) -> Result<(), Failure> {
    let authority = parts.uri.authority().ok_or("no host")?;
    let host = HeaderValue::from_str(authority.as_str())?;
    parts.headers.insert(header::HOST, host);
    let target = parts.uri.path_and_query();
    parts.uri = target.map_or("/", |target| target.as_str()).parse()?;
    Ok(())
}
