// SPDX-License-Identifier: MIT
//! Requests of pages of other origins: what their browsers are told (Fetch, "CORS protocol").

use http::HeaderName;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use l7switch_engine::table::Fields;
use l7switch_rules::model::Cors;
use l7switch_rules::model::OriginMatch;

use super::answer;
use super::answer::Answer;
use crate::ruleset::filters::Edit;

/// What the servers say of it is not sent on.
const SERVERS: [HeaderName; 3] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
];

/// What a request is, by these rules.
#[derive(Debug)]
pub(super) enum Asked {
    /// A browser asks whether a page may send a request: the answer.
    Preflight(Answer),
    /// Any other: what is changed in the response.
    Request(Box<Edit>),
}

/// What a request is.
pub(super) fn asked<F: Fields + ?Sized>(rules: &Cors, method: &[u8], fields: &F) -> Asked {
    let field = |name: &HeaderName| {
        let mut all = fields.iter();
        let (_, value) =
            all.find(|(known, _)| known.eq_ignore_ascii_case(name.as_str().as_bytes()))?;
        std::str::from_utf8(value).ok()
    };
    let origin = field(&header::ORIGIN);
    let allowed = origin.filter(|origin| rules.origins.iter().any(|own| own.is_for(origin)));
    let mut edit = Edit::default();
    for name in SERVERS {
        edit.remove(name);
    }
    // Without credentials all origins get the same.
    let is_for_all = rules.origins.contains(&OriginMatch::Any) && !rules.credentials;
    if !is_for_all {
        edit.add(header::VARY, HeaderValue::from_static("origin"));
    }
    let asks = method == b"OPTIONS" && origin.is_some();
    let wanted = field(&header::ACCESS_CONTROL_REQUEST_METHOD).filter(|_| asks);
    if let Some(origin) = allowed {
        let value = if is_for_all { "*" } else { origin };
        set(&mut edit, header::ACCESS_CONTROL_ALLOW_ORIGIN, value);
        if rules.credentials {
            set(&mut edit, header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
        }
        if !rules.expose.is_empty() && wanted.is_none() {
            let names = rules.expose.join(", ");
            set(&mut edit, header::ACCESS_CONTROL_EXPOSE_HEADERS, &names);
        }
    }
    if wanted.is_none() {
        return Asked::Request(Box::new(edit));
    }
    if allowed.is_some() {
        let methods = rules.methods.join(", ");
        set(&mut edit, header::ACCESS_CONTROL_ALLOW_METHODS, &methods);
        let asked = field(&header::ACCESS_CONTROL_REQUEST_HEADERS);
        let headers = match &rules.headers {
            Some(names) => names.join(", "),
            None => asked.unwrap_or_default().to_owned(),
        };
        if !headers.is_empty() {
            set(&mut edit, header::ACCESS_CONTROL_ALLOW_HEADERS, &headers);
        }
        if let Some(time) = rules.max_age {
            let seconds = time.as_secs().to_string();
            set(&mut edit, header::ACCESS_CONTROL_MAX_AGE, &seconds);
        }
    }
    let mut response = answer::empty(StatusCode::NO_CONTENT);
    edit.apply(response.headers_mut());
    Asked::Preflight(response)
}

/// A value that no field can have is left out: the browser takes that for no permission.
fn set(edit: &mut Edit, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        edit.set(name, value);
    }
}
