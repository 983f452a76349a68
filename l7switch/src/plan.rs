// SPDX-License-Identifier: MIT
//! What is to be done with a request: host and path brought into comparison form, the route that
//! takes it, and what follows from the route.

use std::net::IpAddr;

use http::HeaderValue;
use http::Method;
use http::StatusCode;
use http::Uri;
use http::Version;
use http::header;
use http::request::Parts;
use l7switch_engine::sched::hash_key;
use l7switch_engine::table::Fields;
use l7switch_engine::table::Request;
use l7switch_engine::table::cookie;
use l7switch_engine::uri;
use l7switch_rules::compile::allow;
use l7switch_rules::model;
use l7switch_rules::model::Action;
use l7switch_rules::model::HashKey;
use l7switch_rules::model::Limits;
use l7switch_rules::model::PoolShare;
use l7switch_rules::model::address_bytes;

use crate::filters;
use crate::filters::RedirectSource;
use crate::headers;
use crate::reason::Reason;
use crate::reason::Refusal;
use crate::state::Generation;

/// Paths of at most so many bytes are brought into comparison form without an allocation.
const USUAL_PATH: usize = 256;

/// A request, as far as a plan depends on it.
#[derive(Debug)]
pub struct Asked<'a, F: ?Sized> {
    /// The client.
    pub peer: IpAddr,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The host that the client names, with its port, as sent; empty: none.
    pub host: &'a [u8],
    /// The same in comparison form, where that is known.
    pub plain_host: Option<&'a [u8]>,
    /// As sent.
    pub method: &'a [u8],
    /// As sent; `*` for the asterisk form.
    pub path: &'a [u8],
    /// The same in comparison form, where that is known.
    pub plain_path: Option<&'a [u8]>,
    /// As sent, without the question mark.
    pub query: Option<&'a [u8]>,
    /// The fields.
    pub fields: &'a F,
}

/// What is to be done with a request.
#[derive(Debug)]
pub struct Plan {
    /// The route, by its position in the service.
    pub route: usize,
    /// What to do.
    pub step: Step,
}

/// What a route does.
#[derive(Debug)]
pub enum Step {
    /// Send to a pool.
    Forward {
        /// By the model's number.
        pool: usize,
        /// Target in origin form, where the route's filters change it.
        rewritten: Option<Uri>,
        /// Hash of the key that the pool's scheduler hashes; 0 where it hashes none.
        hash: u64,
    },
    /// Answer as the route says.
    Respond,
    /// Answer with this Location.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: StatusCode,
        /// Where to.
        location: HeaderValue,
    },
}

/// Plans a request of a service.
///
/// # Errors
///
/// The request is not one that may be routed, or no route takes it.
pub fn plan<F: Fields + ?Sized>(
    generation: &Generation,
    service: usize,
    model: &model::Service,
    asked: &Asked<'_, F>,
) -> Result<Plan, Refusal> {
    let mut host_space;
    let host_form = match asked.plain_host {
        Some(plain) => plain,
        None => {
            host_space = [0_u8; uri::MAX_HOST];
            uri::host(asked.host, &mut host_space).map_err(|error| {
                Refusal::new(Reason::BadHost, StatusCode::BAD_REQUEST, error.to_string())
            })?
        }
    };
    let mut usual_space;
    let mut long_space;
    let path_form = match asked.plain_path {
        Some(plain) => plain,
        None => {
            let path_space = if asked.path.len() <= USUAL_PATH {
                usual_space = [0_u8; USUAL_PATH];
                usual_space.as_mut_slice()
            } else {
                long_space = vec![0; asked.path.len()];
                long_space.as_mut_slice()
            };
            uri::normalise(asked.path, allow(model.allow), path_space).map_err(|error| {
                Refusal::new(Reason::BadPath, StatusCode::BAD_REQUEST, error.to_string())
            })?
        }
    };
    let request = Request {
        host: host_form,
        method: asked.method,
        path: path_form,
        query: asked.query.unwrap_or_default(),
        source: address_bytes(asked.peer),
        fields: asked.fields,
    };
    let route = generation.rules.route(service, &request);
    let (Some(position), Some(route)) = (route, route.and_then(|at| model.routes.get(at))) else {
        return Err(Refusal::new(
            Reason::NoRoute,
            StatusCode::NOT_FOUND,
            "no route takes this request",
        ));
    };
    let text = |bytes| {
        std::str::from_utf8(bytes)
            .map_err(|_| Refusal::bad_request("the path is not ASCII (RFC 3986, 2)"))
    };
    let query = || asked.query.map(text).transpose();
    let step = match &route.action {
        Action::Respond(_) => Step::Respond,
        Action::Redirect(redirect) => {
            let source = RedirectSource {
                scheme: asked.scheme,
                authority: std::str::from_utf8(asked.host).unwrap_or_default(),
                path: text(asked.path)?,
                normalised: text(path_form)?,
                query: query()?,
            };
            let location = filters::location(redirect, &source, &route.paths);
            Step::Redirect {
                status: StatusCode::from_u16(redirect.status).unwrap_or(StatusCode::FOUND),
                location: HeaderValue::from_str(&location)
                    .map_err(|_| Refusal::bad_request("there is no Location for this request"))?,
            }
        }
        Action::Forward(shares) => {
            let pool = share(shares, || fastrand::u64(..))
                .ok_or_else(|| Refusal::internal("the route has no pool"))?;
            let rewritten = match &route.filters.rewrite_path {
                Some(rewrite) if path_form != b"*" => {
                    let path = filters::rewritten_path(rewrite, &route.paths, text(path_form)?);
                    Some(target(&path, query()?)?)
                }
                _ => None,
            };
            Step::Forward {
                pool,
                rewritten,
                hash: generation
                    .pools
                    .get(pool)
                    .map_or(0, |pool| key_hash(&pool.config().scheduler, &request)),
            }
        }
    };
    Ok(Plan {
        route: position,
        step,
    })
}

/// Path and query as an origin-form target.
///
/// # Errors
///
/// They do not form one.
pub fn target(path: &str, query: Option<&str>) -> Result<Uri, Refusal> {
    filters::target(path, query)
        .map_err(|_| Refusal::bad_request("the request target is not valid"))
}

/// What the gate has checked of an HTTP/1 request holds for one of HTTP/2 too.
///
/// # Errors
///
/// What is over a limit, or not allowed.
pub fn within_limits(request: &Parts, limits: &Limits) -> Result<(), Refusal> {
    if let Some(refusal) = malformed(request) {
        return Err(refusal);
    }
    // A Cookie field may come in pieces (RFC 9113, 8.2.3).
    let crumbs = request.headers.get_all(header::COOKIE).iter().count();
    let fields = request
        .headers
        .len()
        .saturating_sub(crumbs.saturating_sub(1));
    if fields > limits.fields {
        return Err(Refusal::new(
            Reason::HeadTooLarge,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "more field lines than the limit",
        ));
    }
    let target = request.uri.path_and_query().map_or("", |t| t.as_str());
    if target.bytes().any(|byte| !byte.is_ascii_graphic()) {
        return Err(Refusal::bad_request(
            "character not allowed in request target (RFC 3986, 2)",
        ));
    }
    Ok(())
}

/// What makes an HTTP/2 request malformed and the library lets pass.
fn malformed(request: &Parts) -> Option<Refusal> {
    let refuse = |what: &'static str| Some(Refusal::bad_request(what));
    if !request.headers.values().all(headers::is_well_formed) {
        return refuse("white space around a field value (RFC 9113, 8.2.1)");
    }
    let mut lengths = request.headers.get_all(header::CONTENT_LENGTH).into_iter();
    if lengths.next().is_some() && lengths.next().is_some() {
        return refuse("more than one Content-Length (RFC 9112, 6.3)");
    }
    let scheme = request.uri.scheme_str().unwrap_or("http");
    if !["http", "https"].contains(&scheme) {
        return refuse("the scheme is neither http nor https (RFC 9110, 4.2)");
    }
    let path = request.uri.path();
    if path == "*" && request.method != Method::OPTIONS {
        return refuse("the target * is for OPTIONS alone (RFC 9113, 8.3.1)");
    }
    if !path.starts_with('/') && path != "*" && request.method != Method::CONNECT {
        return refuse("the path does not begin with / (RFC 9113, 8.3.1)");
    }
    None
}

/// The host that a request names: of the target, else of Host (RFC 9112, 3.2.2; RFC 9113, 8.3.1).
///
/// # Errors
///
/// None or several, or one that cannot be told.
pub fn authority(request: &Parts) -> Result<Option<HeaderValue>, Refusal> {
    let mut fields = request.headers.get_all(header::HOST).into_iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(Refusal::bad_request("more than one Host (RFC 9112, 3.2)"));
    }
    let Some(authority) = request.uri.authority() else {
        if request.version == Version::HTTP_2 && field.is_none() {
            return Err(Refusal::bad_request(
                "neither :authority nor Host (RFC 9113, 8.3.1)",
            ));
        }
        return Ok(field.filter(|host| !host.is_empty()).cloned());
    };
    if authority.as_str().contains('@') {
        return Err(Refusal::bad_request(
            "user information in the target (RFC 9110, 4.2.4)",
        ));
    }
    if request.version == Version::HTTP_2
        && field.is_some_and(|host| {
            !host
                .as_bytes()
                .eq_ignore_ascii_case(authority.as_str().as_bytes())
        })
    {
        return Err(Refusal::bad_request(
            ":authority and Host differ (RFC 9113, 8.3.1)",
        ));
    }
    HeaderValue::from_str(authority.as_str())
        .map(Some)
        .map_err(|_| Refusal::bad_request("the host cannot stand in a field"))
}

/// The pool of a weighted split, for a random number that is asked for where it matters.
pub(crate) fn share(shares: &[PoolShare], random: impl FnOnce() -> u64) -> Option<usize> {
    if let [only] = shares {
        return Some(only.pool);
    }
    let total: u64 = shares.iter().map(|share| u64::from(share.weight)).sum();
    let mut left = random().checked_rem(total)?;
    for share in shares {
        let weight = u64::from(share.weight);
        if left < weight {
            return Some(share.pool);
        }
        left = left.saturating_sub(weight);
    }
    None
}

fn key_hash<F: Fields + ?Sized>(scheduler: &model::Scheduler, request: &Request<'_, F>) -> u64 {
    if !scheduler.kind.hashes() {
        return 0;
    }
    let value = match &scheduler.key {
        HashKey::Source => None,
        HashKey::Path => return hash_key(request.path),
        HashKey::Host => return hash_key(request.host),
        HashKey::Header(name) => combined(request.fields, name.as_bytes()),
        HashKey::Cookie(name) => cookie(request.fields, name.as_bytes()).map(<[u8]>::to_vec),
    };
    hash_key(value.as_deref().unwrap_or(&request.source))
}

/// All values of a field, joined by comma (RFC 9110, 5.3).
fn combined<F: Fields + ?Sized>(fields: &F, name: &[u8]) -> Option<Vec<u8>> {
    let mut values = fields
        .iter()
        .filter(|(other, _)| other.eq_ignore_ascii_case(name))
        .map(|(_, value)| value);
    let mut all = values.next()?.to_vec();
    for value in values {
        all.extend_from_slice(b", ");
        all.extend_from_slice(value);
    }
    Some(all)
}

/// What a proxy has to do with Max-Forwards (RFC 9110, 7.6.2): `true` when the request has come as
/// far as it may, otherwise the field is counted down.
pub fn last_stop(request: &mut Parts) -> bool {
    if request.method != Method::OPTIONS && request.method != Method::TRACE {
        return false;
    }
    let left = request
        .headers
        .get(header::MAX_FORWARDS)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<u32>().ok());
    match left {
        Some(0) => true,
        Some(left) => {
            request.headers.insert(
                header::MAX_FORWARDS,
                HeaderValue::from(left.saturating_sub(1)),
            );
            false
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_split_follows_its_weights() {
        let shares = [
            PoolShare { pool: 4, weight: 9 },
            PoolShare { pool: 5, weight: 0 },
            PoolShare { pool: 6, weight: 1 },
        ];
        let picked: Vec<_> = (0..10)
            .map(|random| share(&shares, || random).unwrap())
            .collect();
        assert_eq!(picked, [4, 4, 4, 4, 4, 4, 4, 4, 4, 6]);
        assert_eq!(share(&shares[1..2], || 3), Some(5));
    }

    #[test]
    fn max_forwards_counts_down_for_two_methods_only() {
        let parts = |method: Method, left: u32| {
            http::Request::builder()
                .method(method)
                .header(header::MAX_FORWARDS, left)
                .body(())
                .unwrap()
                .into_parts()
                .0
        };
        let mut request = parts(Method::OPTIONS, 3);
        assert!(!last_stop(&mut request));
        assert_eq!(request.headers[header::MAX_FORWARDS], "2");
        assert!(last_stop(&mut parts(Method::TRACE, 0)));
        assert!(!last_stop(&mut parts(Method::GET, 0)));
    }
}
