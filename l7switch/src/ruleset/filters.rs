// SPDX-License-Identifier: MIT
//! Filters: what a route changes in requests and responses.

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::header;
use l7switch_rules::model;
use l7switch_rules::model::HeaderEdit;
use l7switch_rules::model::PathMatch;
use l7switch_rules::template::Template;

use l7switch_rules::rewrite::Rewrite;

use crate::http::headers;

/// Header edits with names and values in the form in which messages have them.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
}

/// Fields that tell where a message ends or belong to one connection: changing them would break the
/// message.
const UNTOUCHABLE: [HeaderName; 6] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
];

impl Edit {
    /// The edits of a rule file, with values as `fill` gives them. A field that would be set to nothing is taken out, and none
    /// is added that is empty, where variables make it so.
    ///
    /// # Errors
    ///
    /// A name or value that no message can have, or a field that must not be changed.
    pub fn new(edit: &HeaderEdit, fill: impl Fn(&Template) -> Vec<u8>) -> Result<Self, String> {
        let name = |name: &str| {
            let parsed = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| format!("`{name}` is not a field name"))?;
            if UNTOUCHABLE.contains(&parsed) {
                return Err(format!("`{name}` cannot be changed by a filter"));
            }
            Ok(parsed)
        };
        let mut made = Self::default();
        for field in &edit.remove {
            made.remove.push(name(field)?);
        }
        let pair = |field: &str, value: &Template| {
            let parsed = HeaderValue::from_bytes(fill(value).trim_ascii())
                .map_err(|_| format!("the value of `{field}` is not a field value"))?;
            let is_kept = !parsed.is_empty() || value.literal().is_some();
            Ok::<_, String>((name(field)?, is_kept.then_some(parsed)))
        };
        for (field, value) in &edit.set {
            match pair(field, value)? {
                (name, Some(value)) => made.set.push((name, value)),
                (name, None) => made.remove.push(name),
            }
        }
        for (field, value) in &edit.add {
            let (name, value) = pair(field, value)?;
            made.add.extend(value.map(|value| (name, value)));
        }
        Ok(made)
    }

    /// Takes fields of a name out, too.
    pub fn remove(&mut self, name: HeaderName) {
        self.remove.push(name);
    }

    /// Sets a field, too.
    pub fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.set.push((name, value));
    }

    /// Adds a field, too.
    pub fn add(&mut self, name: HeaderName, value: HeaderValue) {
        self.add.push((name, value));
    }

    /// These edits, and then others. Where both set a field, the others do.
    #[must_use]
    pub fn then(&self, others: &Self) -> Self {
        let mut both = self.clone();
        let is_set = |name: &HeaderName| others.replaces(name.as_str().as_bytes());
        both.set.retain(|(name, _)| !is_set(name));
        both.add.retain(|(name, _)| !is_set(name));
        both.remove.extend(others.remove.iter().cloned());
        both.set.extend(others.set.iter().cloned());
        both.add.extend(others.add.iter().cloned());
        both
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Whether fields of this name that are there go away.
    pub fn replaces(&self, name: &[u8]) -> bool {
        let is = |other: &HeaderName| headers::is_read_as(name, other.as_str().as_bytes());
        self.remove.iter().any(is) || self.set.iter().any(|(other, _)| is(other))
    }

    /// The fields that are written where the others have gone.
    pub fn written(&self) -> impl Iterator<Item = &(HeaderName, HeaderValue)> {
        self.set.iter().chain(&self.add)
    }

    /// Applies them: remove, then set, then add.
    pub fn apply(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name.clone(), value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name.clone(), value.clone());
        }
    }
}

/// A route's filters, ready to be applied.
#[derive(Clone, Debug, Default)]
pub struct Filters {
    /// Edits of the request.
    pub request: Edit,
    /// Edits of the response.
    pub response: Edit,
    /// Host that the server sees.
    pub hostname: Option<HeaderValue>,
    /// Path that the server sees.
    pub path: Option<Rewrite>,
    /// Whether a value of the edits has a variable: they are made anew for each request then.
    pub has_variables: bool,
}

impl Filters {
    /// The filters of a rule file.
    ///
    /// # Errors
    ///
    /// See [`Edit::new`].
    pub fn new(filters: &model::Filters) -> Result<Self, String> {
        let hostname = filters
            .rewrite_hostname
            .as_deref()
            .map(HeaderValue::from_str)
            .transpose();
        let text = |template: &Template| template.literal().unwrap_or_default().into();
        let edits = [&filters.request_headers, &filters.response_headers];
        Ok(Self {
            request: Edit::new(&filters.request_headers, text)?,
            response: Edit::new(&filters.response_headers, text)?,
            hostname: hostname.map_err(|_| "`rewrite_hostname` is not a host".to_owned())?,
            path: filters
                .rewrite_path
                .as_ref()
                .map(Rewrite::new)
                .transpose()?,
            has_variables: edits.into_iter().any(HeaderEdit::has_variables),
        })
    }
}

/// Path and query as an origin-form target.
pub fn target(path: &str, query: Option<&str>) -> String {
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}

/// What Location says for a redirect: parts that it does not name are those of the request
/// (RFC 9110, 10.2.2).
///
/// `authority` is the request's host with its port, as sent; a port that is the scheme's own is
/// left out. Where a scheme is named, the port is that scheme's own, as in the Gateway API: the port of the request belongs
/// to the other one. `None` where the path cannot be made. What asks for no path (`OPTIONS *`) is sent to the host itself.
pub fn location(
    redirect: &model::Redirect,
    request: &RedirectSource<'_>,
    rewrite: Option<&Rewrite>,
    paths: &[PathMatch],
) -> Option<String> {
    let scheme = redirect.scheme.as_deref().unwrap_or(request.scheme);
    let (own_name, own_port) = split_authority(request.authority);
    let name = redirect.hostname.as_deref().unwrap_or(own_name);
    let port = redirect.port.or_else(|| {
        // The port that the client has used belongs to its scheme.
        own_port.filter(|_| redirect.scheme.is_none())
    });
    let default = if scheme == "https" { 443 } else { 80 };
    let port = port
        .filter(|port| *port != default)
        .map_or_else(String::new, |p| format!(":{p}"));
    let path = match rewrite {
        Some(rewrite) => rewrite.path(paths, request.normalised)?,
        None if request.path == "*" => String::new(),
        None => request.path.to_owned(),
    };
    let query = request
        .query
        .map_or_else(String::new, |query| format!("?{query}"));
    Some(format!("{scheme}://{name}{port}{path}{query}"))
}

/// What a redirect takes from the request.
#[derive(Clone, Copy, Debug)]
pub struct RedirectSource<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Host with its port, as sent.
    pub authority: &'a str,
    /// Path, as sent.
    pub path: &'a str,
    /// Path in comparison form.
    pub normalised: &'a str,
    /// Query without the question mark.
    pub query: Option<&'a str>,
}

fn split_authority(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        // A colon within brackets belongs to the address.
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()),
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_come_in_order() {
        let edit = HeaderEdit {
            remove: vec!["x-a".to_owned()],
            set: vec![("x-b".to_owned(), "2".parse().unwrap())],
            add: vec![("x-b".to_owned(), "3".parse().unwrap())],
        };
        let edit = Edit::new(&edit, text).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-a", HeaderValue::from_static("1"));
        headers.insert("x-b", HeaderValue::from_static("1"));
        edit.apply(&mut headers);
        assert!(!headers.contains_key("x-a"));
        assert_eq!(
            headers.get_all("x-b").iter().collect::<Vec<_>>(),
            ["2", "3"]
        );
    }

    fn text(template: &Template) -> Vec<u8> {
        template.to_string().into_bytes()
    }

    #[test]
    fn what_a_variable_leaves_empty_is_not_sent() {
        let value = |text: &str| ("x-a".to_owned(), text.parse().unwrap());
        let edit = HeaderEdit {
            remove: Vec::new(),
            set: vec![value("$query"), ("x-b".to_owned(), "".parse().unwrap())],
            add: vec![value("$query"), value("a$query ")],
        };
        let edit = Edit::new(&edit, |template| {
            let text = template.to_string().replace("${query}", "");
            text.into_bytes()
        });
        let mut headers = HeaderMap::new();
        headers.insert("x-a", HeaderValue::from_static("1"));
        edit.unwrap().apply(&mut headers);
        assert_eq!(headers.get_all("x-a").iter().collect::<Vec<_>>(), ["a"]);
        assert_eq!(headers["x-b"], "");
    }

    #[test]
    fn framing_cannot_be_edited() {
        let edit = HeaderEdit {
            remove: vec!["content-length".to_owned()],
            ..Default::default()
        };
        assert!(Edit::new(&edit, text).is_err());
    }

    #[test]
    fn a_redirect_takes_what_it_does_not_name_from_the_request() {
        let request = RedirectSource {
            scheme: "http",
            authority: "a.example:8080",
            path: "/p",
            normalised: "/p",
            query: Some("q=1"),
        };
        let redirect = |scheme: Option<&str>, hostname: Option<&str>, port| model::Redirect {
            scheme: scheme.map(str::to_owned),
            hostname: hostname.map(str::to_owned),
            port,
            path: None,
            location: None,
            status: 302,
        };
        let go = |r: model::Redirect| location(&r, &request, None, &[]).unwrap();
        assert_eq!(
            go(redirect(Some("https"), None, None)),
            "https://a.example/p?q=1"
        );
        assert_eq!(
            go(redirect(None, Some("b.example"), None)),
            "http://b.example:8080/p?q=1"
        );
        assert_eq!(
            go(redirect(None, None, None)),
            "http://a.example:8080/p?q=1"
        );
        assert_eq!(
            go(redirect(Some("https"), None, Some(8443))),
            "https://a.example:8443/p?q=1"
        );
        assert_eq!(
            go(redirect(Some("https"), None, Some(443))),
            "https://a.example/p?q=1"
        );
    }
}
