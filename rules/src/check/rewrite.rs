// SPDX-License-Identifier: MIT
//! Checking rewrites of paths.

use super::Check;
use crate::automata::Alphabet;
use crate::automata::groups;
use crate::model::*;
use crate::template::Part;
use crate::template::split;
use crate::text::diagnostic::Diagnostic;
use crate::text::language::PathRewriteText;
use crate::text::source::At;
use crate::text::source::Span;

impl Check<'_> {
    pub(super) fn path_rewrite(
        &mut self,
        given: &At<PathRewriteText>,
        paths: &[PathMatch],
    ) -> Option<PathRewrite> {
        let text = &given.value;
        if text.replace_regex.is_none()
            && let Some(with) = &text.with
        {
            let message = "`with` is for `replace_regex`";
            self.note(Diagnostic::error("impossible", with.span, message));
        }
        match (
            &text.replace_full,
            &text.replace_prefix,
            &text.replace_regex,
        ) {
            (Some(path), None, None) => {
                let is_path = self.is_path(&path.value, true, path.span);
                is_path.then(|| PathRewrite::ReplaceFull(path.value.clone()))
            }
            (None, Some(path), None) => {
                let is_prefix = |p: &PathMatch| matches!(p, PathMatch::Prefix(_));
                if paths.is_empty() || !paths.iter().all(is_prefix) {
                    let message = "there is no prefix to replace";
                    self.note(
                        Diagnostic::error("impossible", path.span, message)
                            .help("give every `path` of the route as { prefix = \"…\" }"),
                    );
                }
                let is_path = self.is_path(&path.value, true, path.span);
                is_path.then(|| PathRewrite::ReplacePrefix(path.value.clone()))
            }
            (None, None, Some(pattern)) => self.regex_rewrite(given, pattern),
            _ => {
                let keys = "replace_full, replace_prefix or replace_regex";
                self.exactly_one(given.span, keys);
                None
            }
        }
    }

    fn regex_rewrite(
        &mut self,
        given: &At<PathRewriteText>,
        pattern: &At<String>,
    ) -> Option<PathRewrite> {
        let Some(with) = &given.value.with else {
            self.missing(
                given.value.broken,
                given.span,
                "nothing is said to stand in the place of what is found".to_owned(),
                "add: with = \"/new/$1\"",
            );
            return None;
        };
        self.regex(pattern, Alphabet::Ascii);
        let groups = groups(&pattern.value)?;
        let parts = match split(&with.value) {
            Ok(parts) => parts,
            Err(error) => {
                let message = error.to_string();
                self.note(
                    Diagnostic::error("unknown-variable", with.span, message)
                        .help("a dollar is written as `$$`"),
                );
                return None;
            }
        };
        let mut pieces = Vec::new();
        for part in parts {
            pieces.push(match part {
                Part::Text(text) => {
                    if !self.is_path(text, false, with.span) {
                        return None;
                    }
                    Substitute::Text(text.to_owned())
                }
                Part::Name(name) => match name.parse() {
                    Ok(number) if number <= groups => Substitute::Group(number),
                    _ => {
                        let message = format!("the expression has no group `${name}`");
                        self.note(
                            Diagnostic::error("unknown-variable", with.span, message).help(
                                format!("groups are $0 (all that is found) to ${groups}; a digit behind one needs ${{1}}"),
                            ),
                        );
                        return None;
                    }
                },
            });
        }
        Some(PathRewrite::ReplaceRegex(RegexRewrite {
            pattern: pattern.value.clone(),
            with: pieces,
        }))
    }

    /// Whether a text can be a path, or a part of one.
    fn is_path(&mut self, text: &str, is_whole: bool, span: Span) -> bool {
        let is_path = text
            .bytes()
            .all(|b| b > b' ' && b < 0x7f && b != b'#' && b != b'?');
        if is_path && (text.starts_with('/') || !is_whole) {
            return true;
        }
        let message = "this is not a request path";
        self.note(
            Diagnostic::error("bad-path", span, message)
                .help("start it with a slash, without query, other characters as %XX"),
        );
        false
    }
}
