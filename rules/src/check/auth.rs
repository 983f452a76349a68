// SPDX-License-Identifier: MIT
//! Checking who may use a route, and who gets copies of its requests.

use std::time::Duration;

use super::Check;
use super::fields::OWN_FIELDS;
use super::fields::is_token;
use super::route::Pools;
use crate::model::*;
use crate::text::diagnostic::Diagnostic;
use crate::text::language::BasicAuthText;
use crate::text::language::ExternalAuthText;
use crate::text::language::MirrorText;
use crate::text::quantity::Size;
use crate::text::source::At;
use crate::text::value::OneOrMany;

/// Longest content of a request that is kept, bytes.
const MOST_KEPT: usize = 16 << 20;

impl Check<'_> {
    pub(super) fn basic_auth(
        &mut self,
        given: At<BasicAuthText>,
        service: &str,
    ) -> Option<BasicAuth> {
        let At { value, span } = given;
        let is_text = |realm: &str| realm.chars().all(|c| !c.is_control());
        if let Some(realm) = value.realm.as_ref().filter(|realm| !is_text(&realm.value)) {
            let message = "a realm has no control characters";
            self.note(Diagnostic::error("bad-value", realm.span, message));
        }
        let Some(file) = value.file else {
            self.missing(
                value.broken,
                span,
                "there are no users".to_owned(),
                "add: file = \"users.htpasswd\" (`htpasswd -B -c users.htpasswd NAME` makes one)",
            );
            return None;
        };
        Some(BasicAuth {
            file: self.file(&file),
            realm: value
                .realm
                .map_or_else(|| service.to_owned(), |realm| realm.value),
        })
    }

    pub(super) fn external_auth(
        &mut self,
        given: At<ExternalAuthText>,
        pools: &mut Pools<'_>,
    ) -> Option<ExternalAuth> {
        let At { value, span } = given;
        let (Some(pool), Some(path)) = (&value.pool, &value.path) else {
            self.missing(
                value.broken,
                span,
                "pool and path say who is asked".to_owned(),
                "write: external_auth = { pool = \"auth\", path = \"/verify\" }",
            );
            return None;
        };
        if !path.value.starts_with('/')
            || !path
                .value
                .bytes()
                .all(|b| b.is_ascii_graphic() && b != b'#')
        {
            let message = format!("`{}` is not the path of a request", path.value);
            self.note(
                Diagnostic::error("bad-path", path.span, message)
                    .help("write it as \"/verify\", other characters as %XX"),
            );
        }
        let pool = self.pool_number(pool, pools);
        let auth = ExternalAuth {
            pool: pool.unwrap_or_default(),
            path: path.value.clone(),
            request_headers: value.request_headers.map(|names| self.carried(names)),
            response_headers: value
                .response_headers
                .map_or_else(Vec::new, |names| self.carried(names)),
            timeout: value
                .timeout
                .map_or(Duration::from_secs(5), |timeout| timeout.0),
        };
        pool.is_some().then_some(auth)
    }

    /// Names of fields that go from one message to another, in lower case.
    fn carried(&mut self, given: At<OneOrMany<At<String>>>) -> Vec<String> {
        let mut names = Vec::new();
        for At { value, span } in given.value.0 {
            let name = value.to_ascii_lowercase();
            if !is_token(&value) {
                let message = format!("`{value}` is not a field name");
                self.note(Diagnostic::error("bad-name", span, message));
            } else if OWN_FIELDS.contains(&name.as_str()) {
                let message = format!("`{value}` belongs to one message");
                self.note(
                    Diagnostic::error("impossible", span, message)
                        .help("it cannot go with another one"),
                );
            } else if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Longest content of a request that is kept in memory.
    pub(super) fn kept_content(&mut self, given: Option<&At<Size>>) -> u64 {
        let limit = given.map_or(64 << 10, |limit| limit.value.0);
        if let Some(given) = given.filter(|_| limit > MOST_KEPT) {
            let message = format!("{limit} bytes is out of range");
            self.note(
                Diagnostic::error("out-of-range", given.span, message)
                    .help("it is kept in memory: at most 16MiB"),
            );
        }
        u64::try_from(limit).unwrap_or(u64::MAX)
    }

    pub(super) fn mirror(
        &mut self,
        given: At<MirrorText>,
        action: &Action,
        pools: &mut Pools<'_>,
    ) -> Option<Mirror> {
        let At { value, span } = given;
        if !matches!(action, Action::Forward(_)) {
            let message = "`mirror` is for routes with `pool` or `pools`";
            self.note(Diagnostic::error("impossible", span, message));
        }
        let Some(pool) = &value.pool else {
            self.missing(
                value.broken,
                span,
                "no pool gets the copies".to_owned(),
                "add: pool = \"shadow\"",
            );
            return None;
        };
        let number = self.pool_number(pool, pools);
        if let Action::Forward(shares) = action
            && shares.iter().any(|share| Some(share.pool) == number)
        {
            let message = format!("pool `{}` has the route's requests already", pool.value);
            self.note(
                Diagnostic::error("impossible", pool.span, message)
                    .help("its servers would get each request twice"),
            );
        }
        let percent = value.percent.map_or(Some(100), |p| self.number(&p, 1, 100));
        let body_limit = self.kept_content(value.body_limit.as_ref());
        Some(Mirror {
            pool: number?,
            percent: percent?,
            body_limit,
        })
    }
}
