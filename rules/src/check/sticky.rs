// SPDX-License-Identifier: MIT
//! Checking cookies by which clients stay at their servers.

use super::Check;
use super::fields::is_token;
use super::route::Seen;
use crate::model::*;
use crate::text::diagnostic::Diagnostic;
use crate::text::language::StickyText;
use crate::text::source::At;

impl Check<'_> {
    pub(super) fn sticky(
        &mut self,
        given: At<StickyText>,
        action: &Action,
        seen: &mut Seen,
    ) -> Option<Sticky> {
        let At { value, span } = given;
        if !matches!(action, Action::Forward(_)) {
            let message = "`sticky` is for routes with `pool` or `pools`";
            self.note(Diagnostic::error("impossible", span, message));
        }
        let Some(cookie) = value.cookie else {
            self.missing(
                value.broken,
                span,
                "the cookie has no name".to_owned(),
                "add: cookie = \"lb\"",
            );
            return None;
        };
        if !is_token(&cookie.value) {
            let message = format!("`{}` is not a cookie name", cookie.value);
            self.note(
                Diagnostic::error("bad-name", cookie.span, message)
                    .help("names are tokens (RFC 6265, 4.1.1)"),
            );
        }
        if let Action::Forward(shares) = action {
            let mut pools: Vec<_> = shares.iter().map(|share| share.pool).collect();
            pools.sort_unstable();
            match seen.cookies.get(&cookie.value) {
                Some((first, others)) if *others != pools => {
                    let message = format!(
                        "two routes with other pools have the cookie `{}`: a client has one of its value only",
                        cookie.value
                    );
                    self.note(
                        Diagnostic::warning("cookie-clash", cookie.span, message)
                            .label("again")
                            .help("give each a cookie of its own, or a client loses its server whenever it uses the other route")
                            .related(*first, "first here"),
                    );
                }
                Some(_) => {}
                None => {
                    let known = (cookie.span, pools);
                    seen.cookies.insert(cookie.value.clone(), known);
                }
            }
        }
        Some(Sticky {
            cookie: cookie.value,
            key: value.key.map(|key| self.file(&key)),
            max_age: value.max_age.map(|time| time.0),
        })
    }
}
