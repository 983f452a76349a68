// SPDX-License-Identifier: MIT
//! New paths, of forwarded requests and of redirects.

use crate::model::PathMatch;
use crate::model::PathRewrite;
use crate::model::Substitute;
use regex::bytes::Regex;

/// A rewrite, ready to be applied.
#[derive(Clone, Debug)]
pub struct Rewrite {
    rules: PathRewrite,
    /// Of [`PathRewrite::ReplaceRegex`].
    regex: Option<Regex>,
}

impl Rewrite {
    /// The rewrite of a rule file.
    ///
    /// # Errors
    ///
    /// Its expression is none.
    pub fn new(rules: &PathRewrite) -> Result<Self, String> {
        let regex = match rules {
            PathRewrite::ReplaceRegex(rewrite) => {
                let regex = Regex::new(&rewrite.pattern);
                Some(regex.map_err(|error| format!("`replace_regex`: {error}"))?)
            }
            PathRewrite::ReplaceFull(_) | PathRewrite::ReplacePrefix(_) => None,
        };
        Ok(Self {
            rules: rules.clone(),
            regex,
        })
    }

    /// The new path, without query; `None` where an expression has made one of which nobody can say where it leads: with dot
    /// segments.
    ///
    /// `normalised` is the request's path in comparison form. Where the whole of it is replaced nothing of it is left; where a part
    /// is, the rest is taken from the comparison form, because in the form that was sent nobody can say where the part ends.
    pub fn path(&self, paths: &[PathMatch], normalised: &str) -> Option<String> {
        Some(match &self.rules {
            PathRewrite::ReplaceFull(path) => path.clone(),
            PathRewrite::ReplacePrefix(replacement) => {
                let rest = behind_prefix(paths, normalised);
                let joined = format!("{}{rest}", replacement.trim_end_matches('/'));
                if joined.is_empty() {
                    "/".to_owned()
                } else {
                    joined
                }
            }
            PathRewrite::ReplaceRegex(rewrite) => {
                let Some(path) = self.replaced(&rewrite.with, normalised) else {
                    return Some(normalised.to_owned());
                };
                let is_dots = |segment: &str| matches!(segment, "." | "..");
                if path.split('/').any(is_dots) {
                    return None;
                }
                path
            }
        })
    }

    /// The path with what the expression finds first replaced; `None` where it finds nothing.
    fn replaced(&self, with: &[Substitute], path: &str) -> Option<String> {
        let found = self.regex.as_ref()?.captures(path.as_bytes())?;
        let text = |range: std::ops::Range<usize>| path.get(range).unwrap_or_default();
        let whole = found.get(0)?;
        let mut out = text(0..whole.start()).to_owned();
        for piece in with {
            match piece {
                Substitute::Text(text) => out.push_str(text),
                // A group that took no part has found nothing.
                Substitute::Group(number) => {
                    out.push_str(found.get(*number).map_or("", |group| text(group.range())));
                }
            }
        }
        out.push_str(text(whole.end()..path.len()));
        if !out.starts_with('/') {
            out.insert(0, '/');
        }
        Some(out)
    }
}

/// What of a path stands behind the longest prefix that it matches.
fn behind_prefix<'a>(paths: &[PathMatch], normalised: &'a str) -> &'a str {
    let matched = paths
        .iter()
        .filter_map(|path| match path {
            PathMatch::Prefix(prefix) => Some(prefix.trim_end_matches('/')),
            PathMatch::Exact(_) | PathMatch::Regex(_) => None,
        })
        .filter(|prefix| {
            normalised
                .strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
        .max_by_key(|prefix| prefix.len())
        .unwrap_or_default();
    normalised.strip_prefix(matched).unwrap_or(normalised)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RegexRewrite;

    fn prefixes(list: &[&str]) -> Vec<PathMatch> {
        list.iter()
            .map(|prefix| PathMatch::Prefix((*prefix).to_owned()))
            .collect()
    }

    #[test]
    fn a_prefix_is_replaced_by_whole_segments() {
        let rewrite = |to: &str| Rewrite::new(&PathRewrite::ReplacePrefix(to.to_owned())).unwrap();
        for (prefix, to, path, wanted) in [
            ("/foo", "/xyz", "/foo/bar", "/xyz/bar"),
            ("/foo", "/xyz", "/foo", "/xyz"),
            ("/foo", "/", "/foo/bar", "/bar"),
            ("/foo", "/", "/foo", "/"),
            ("/foo", "/xyz/", "/foo/", "/xyz/"),
            ("", "/api", "/a", "/api/a"),
        ] {
            let made = rewrite(to).path(&prefixes(&[prefix]), path);
            assert_eq!(made.as_deref(), Some(wanted));
        }
        let longest = rewrite("/n").path(&prefixes(&["/a", "/a/b"]), "/a/b/c");
        assert_eq!(longest.as_deref(), Some("/n/c"));
    }

    #[test]
    fn what_an_expression_finds_is_replaced() {
        let text = |text: &str| Substitute::Text(text.to_owned());
        let group = Substitute::Group;
        for (pattern, with, path, wanted) in [
            (
                "^/users/([0-9]+)$",
                vec![text("/u?id="), group(1)],
                "/users/7",
                "/u?id=7",
            ),
            (
                "^/users/([0-9]+)$",
                vec![text("/u")],
                "/users/a",
                "/users/a",
            ),
            ("/v1/", vec![text("/v2/")], "/a/v1/b/v1/c", "/a/v2/b/v1/c"),
            ("^/old", vec![], "/old", "/"),
            ("^/old/", vec![], "/old/a", "/a"),
            (
                "(a)|(b)",
                vec![text("<"), group(2), group(1), text(">")],
                "/b",
                "/<b>",
            ),
            ("$", vec![text(".html")], "/a", "/a.html"),
            ("a", vec![group(0), group(0)], "/a", "/aa"),
        ] {
            let rewrite = PathRewrite::ReplaceRegex(RegexRewrite {
                pattern: pattern.to_owned(),
                with,
            });
            let rewrite = Rewrite::new(&rewrite).unwrap();
            let made = rewrite.path(&[], path);
            assert_eq!(made.as_deref(), Some(wanted), "{pattern}");
        }
    }

    #[test]
    fn no_expression_makes_dot_segments() {
        let rewrite = PathRewrite::ReplaceRegex(RegexRewrite {
            pattern: "-[0-9a-f]{4}".to_owned(),
            with: Vec::new(),
        });
        let rewrite = Rewrite::new(&rewrite).unwrap();
        for path in [
            "/static/.-beef./x",
            "/static/.-beef",
            "/-beef..",
            "/a/.-beef/b",
        ] {
            assert_eq!(rewrite.path(&[], path), None, "{path}");
        }
        let made = rewrite.path(&[], "/a-beef.b/..c");
        assert_eq!(made.as_deref(), Some("/a.b/..c"));
    }
}
