// SPDX-License-Identifier: MIT
//! Requests to an authority: over https only, of bounded size and time, to where they are sent and no further.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::Response;
use http::StatusCode;
use http::Uri;
use http::header;
use http_body_util::BodyExt;
use http_body_util::Limited;
use instant_acme::BodyWrapper;
use instant_acme::BytesResponse;
use instant_acme::Error;
use instant_acme::HttpClient;
use rustls::ClientConfig;
use tokio_rustls::TlsConnector;

use super::plan::LONGEST_WAIT;
use crate::net::outgoing;
use crate::net::outgoing::Failure;

/// Time for a request, from the look-up of the name to the end of the response.
const TIME: Duration = Duration::from_secs(30);

/// Longest content of a response, bytes. A chain of certificates has some 5 KiB, a directory 1 KiB.
const MOST_CONTENT: usize = 256 * 1024;

/// Requests of one order, with those for a nonce. An order for 100 names takes some 500.
const MOST_REQUESTS: u32 = 1000;

/// A client of an authority, for one order.
#[derive(Clone)]
pub(super) struct Client {
    directory: Arc<str>,
    connector: TlsConnector,
    left: Arc<AtomicU32>,
    wait: Arc<Mutex<Option<Duration>>>,
}

impl Client {
    /// A client that believes these authorities.
    pub(super) fn new(directory: &str, config: Arc<ClientConfig>) -> Self {
        Self {
            directory: directory.into(),
            connector: TlsConnector::from(config),
            left: Arc::new(AtomicU32::new(MOST_REQUESTS)),
            wait: Arc::default(),
        }
    }

    /// For how long the authority wants to be left alone (RFC 8555, 6.6), as far as it has said so.
    pub(super) fn wait(&self) -> Option<Duration> {
        *self.wait.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let has_one = |left: u32| left.checked_sub(1);
        if self.left.fetch_update(Relaxed, Relaxed, has_one).is_err() {
            return Err(other("the order takes too many requests"));
        }
        let is_directory = *request.method() == Method::GET && *request.uri() == *self.directory;
        let uri = request.uri().clone();
        let exchange = self.exchange(request);
        let response = match tokio::time::timeout(TIME, exchange).await {
            Ok(response) => response.map_err(|error| other(format!("{uri}: {error}")))?,
            Err(_) => return Err(other(format!("{uri}: no response in {TIME:?}"))),
        };
        let (mut parts, content) = response.into_parts();
        if parts.status.is_redirection() {
            return Err(other(format!("{uri}: a redirect, which is not followed")));
        }
        if is_directory && parts.status == StatusCode::OK {
            check_directory(&content).map_err(|why| other(format!("{uri}: {why}")))?;
        }
        let wait = wait_of(&parts);
        // What is added to the time of day there must not pass its end.
        if let Some(wait) = wait {
            let wait = HeaderValue::from(wait.as_secs());
            parts.headers.insert(header::RETRY_AFTER, wait);
        }
        let is_wanted = [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::SERVICE_UNAVAILABLE,
        ]
        .contains(&parts.status);
        if is_wanted && wait.is_some() {
            *self.wait.lock().unwrap_or_else(PoisonError::into_inner) = wait;
        }
        Ok(BytesResponse {
            parts,
            body: Box::new(content),
        })
    }

    async fn exchange(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Result<Response<Bytes>, Failure> {
        let (mut parts, content) = request.into_parts();
        if parts.uri.scheme_str() != Some("https") {
            return Err("not https".into());
        }
        let (mut sender, connection) = outgoing::connect(&parts.uri, Some(&self.connector)).await?;
        outgoing::aim(&mut parts)?;
        // RFC 8555, 6.1.
        let agent = concat!("l7switch/", env!("CARGO_PKG_VERSION"), " instant-acme");
        parts
            .headers
            .insert(header::USER_AGENT, HeaderValue::from_static(agent));
        parts
            .headers
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
        let request = Request::from_parts(parts, content);
        // The connection ends with what is read from it.
        let answered = async {
            let response = sender.send_request(request).await?;
            let (parts, content) = response.into_parts();
            let content = Limited::new(content, MOST_CONTENT).collect().await?;
            Ok(Response::from_parts(parts, content.to_bytes()))
        };
        let driven = async {
            match connection.await {
                // What has come is still to be read.
                Ok(()) => std::future::pending().await,
                Err(error) => error,
            }
        };
        tokio::select! {
            biased;
            response = answered => response,
            error = driven => Err(error.into()),
        }
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        Box::pin(self.clone().send(request))
    }
}

fn other(why: impl Into<Failure>) -> Error {
    Error::Other(why.into())
}

/// That a directory has what every order needs, as URLs: instant-acme takes for granted that `newNonce` is one.
fn check_directory(content: &[u8]) -> Result<(), String> {
    let directory: serde_json::Value =
        serde_json::from_slice(content).map_err(|error| format!("no directory: {error}"))?;
    for key in ["newNonce", "newAccount", "newOrder"] {
        let url = directory.get(key).and_then(serde_json::Value::as_str);
        let url = url.and_then(|url| url.parse::<Uri>().ok());
        if url.is_none_or(|url| url.scheme_str() != Some("https") || url.host().is_none()) {
            return Err(format!("no directory: `{key}` is no https URL"));
        }
    }
    Ok(())
}

/// What `Retry-After` says (RFC 9110, 10.2.3), a day at most.
fn wait_of(response: &http::response::Parts) -> Option<Duration> {
    let text = response
        .headers
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let time = httpdate::parse_http_date(text).ok()?;
            let wait = time.duration_since(std::time::SystemTime::now());
            wait.unwrap_or_default()
        }
    };
    Some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_urls() {
        let directory = |nonce: &str| {
            format!(r#"{{"newNonce":{nonce},"newAccount":"https://a/b","newOrder":"https://a/c"}}"#)
        };
        assert_eq!(
            check_directory(directory("\"https://a/n\"").as_bytes()),
            Ok(())
        );
        for bad in [
            "\"\"",
            "\"a b\"",
            "\"http://a/n\"",
            "\"https://\"",
            "\"/n\"",
            "1",
            "null",
        ] {
            let error = check_directory(directory(bad).as_bytes()).unwrap_err();
            assert_eq!(error, "no directory: `newNonce` is no https URL", "{bad}");
        }
        for bad in ["", "[]", "{}", "<html>"] {
            assert!(check_directory(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn nobody_waits_for_longer_than_a_day() {
        let wait = |value: &str| {
            let response = Response::builder().header("retry-after", value);
            wait_of(&response.body(()).unwrap().into_parts().0)
        };
        assert_eq!(wait("120"), Some(Duration::from_secs(120)));
        assert_eq!(wait("18446744073709551615"), Some(LONGEST_WAIT));
        assert_eq!(wait("Fri, 31 Dec 9999 23:59:59 GMT"), Some(LONGEST_WAIT));
        assert_eq!(wait("Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::ZERO));
        for bad in ["", "-1", "soon", "18446744073709551616"] {
            assert_eq!(wait(bad), None, "{bad}");
        }
    }
}
