// SPDX-License-Identifier: MIT
//! What two conditions of a kind are together.

use std::cell::RefCell;
use std::collections::HashMap;

use ipnet::IpNet;
use regex::Regex;

use super::conditions::Both;
use super::conditions::Host;
use super::conditions::Path;
use super::conditions::Test;
use super::conditions::Unsupported;

/// Alternatives that are met where one of `a` (empty: anything) and one of `b` is.
pub(super) fn any_of<T: Clone + PartialEq>(
    a: &[T],
    b: &[T],
    and: impl Fn(&T, &T) -> Both<T>,
) -> Both<Vec<T>> {
    if a.is_empty() {
        return Ok(Some(b.to_vec()));
    }
    let mut all = Vec::new();
    for a in a {
        for b in b {
            if let Some(both) = and(a, b)?
                && !all.contains(&both)
            {
                all.push(both);
            }
        }
    }
    Ok((!all.is_empty()).then_some(all))
}

/// Most expressions that are kept ready.
const MOST_READY: usize = 1000;

thread_local! {
    /// Expressions by their text: the same ones are asked for again and again.
    static READY: RefCell<HashMap<String, Option<Regex>>> = RefCell::default();
}

fn found(pattern: &str, text: &str) -> Result<bool, Unsupported> {
    READY.with_borrow_mut(|ready| {
        if ready.len() >= MOST_READY {
            ready.clear();
        }
        let known = ready.entry(pattern.to_owned());
        let regex = known.or_insert_with(|| Regex::new(pattern).ok());
        match regex {
            Some(regex) => Ok(regex.is_match(text)),
            None => Err(Unsupported(format!(
                "the expression {pattern} is not understood"
            ))),
        }
    })
}

pub(super) fn host_and(a: &Host, b: &Host) -> Both<Host> {
    let below = |name: &str, domain: &str| {
        name.strip_suffix(domain)
            .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
    };
    Ok(match (a, b) {
        (a, b) if a == b => Some(a.clone()),
        (Host::Exact(_), Host::Exact(_)) => None,
        (Host::Exact(name), Host::Wildcard(domain))
        | (Host::Wildcard(domain), Host::Exact(name)) => {
            below(name, domain).then(|| Host::Exact(name.clone()))
        }
        (Host::Wildcard(a), Host::Wildcard(b)) if below(a, b) => Some(Host::Wildcard(a.clone())),
        (Host::Wildcard(a), Host::Wildcard(b)) => below(b, a).then(|| Host::Wildcard(b.clone())),
        (Host::Exact(name), Host::Regex(pattern)) | (Host::Regex(pattern), Host::Exact(name)) => {
            found(pattern, name)?.then(|| Host::Exact(name.clone()))
        }
        (Host::Regex(_), _) | (_, Host::Regex(_)) => {
            let why = "a host cannot be asked for by two expressions";
            return Err(Unsupported(why.to_owned()));
        }
    })
}

/// Characters that a path which an expression takes begins with.
fn literal_start(pattern: &str) -> Option<String> {
    let rest = pattern.strip_prefix('^')?;
    if pattern.contains('|') {
        return None;
    }
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "/_-".contains(c)));
    let end = end.unwrap_or(rest.len());
    let (start, after) = rest.split_at(end);
    // A count makes the last character one that may not be there.
    let counted = after.starts_with(['*', '?', '{', '+']);
    let kept = start.len().saturating_sub(usize::from(counted));
    start.get(..kept).map(str::to_owned)
}

pub(super) fn path_and(a: &Path, b: &Path) -> Both<Path> {
    let below = |path: &str, prefix: &str| {
        path.strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    Ok(match (a, b) {
        (a, b) if a == b => Some(a.clone()),
        (Path::Exact(_), Path::Exact(_)) => None,
        (Path::Exact(path), Path::Prefix(prefix)) | (Path::Prefix(prefix), Path::Exact(path)) => {
            below(path, prefix).then(|| Path::Exact(path.clone()))
        }
        (Path::Exact(path), Path::Begins(start)) | (Path::Begins(start), Path::Exact(path)) => path
            .starts_with(start.as_str())
            .then(|| Path::Exact(path.clone())),
        (Path::Exact(path), Path::Regex(pattern)) | (Path::Regex(pattern), Path::Exact(path)) => {
            found(pattern, path)?.then(|| Path::Exact(path.clone()))
        }
        (Path::Prefix(a), Path::Prefix(b)) if below(a, b) => Some(Path::Prefix(a.clone())),
        (Path::Prefix(a), Path::Prefix(b)) => below(b, a).then(|| Path::Prefix(b.clone())),
        (Path::Begins(a), Path::Begins(b)) if a.starts_with(b.as_str()) => {
            Some(Path::Begins(a.clone()))
        }
        (Path::Begins(a), Path::Begins(b)) => {
            b.starts_with(a.as_str()).then(|| Path::Begins(b.clone()))
        }
        (Path::Prefix(prefix), Path::Begins(start))
        | (Path::Begins(start), Path::Prefix(prefix)) => {
            if prefix.starts_with(start.as_str()) {
                Some(Path::Prefix(prefix.clone()))
            } else {
                below(start, prefix).then(|| Path::Begins(start.clone()))
            }
        }
        (Path::Prefix(start), Path::Regex(pattern))
        | (Path::Regex(pattern), Path::Prefix(start)) => narrowed(start, "(?:/|$)", pattern)?,
        (Path::Begins(start), Path::Regex(pattern))
        | (Path::Regex(pattern), Path::Begins(start)) => narrowed(start, "", pattern)?,
        (Path::Regex(_), Path::Regex(_)) => {
            let why = "a path cannot be asked for by two expressions";
            return Err(Unsupported(why.to_owned()));
        }
    })
}

/// An expression below a path.
fn narrowed(start: &str, end: &str, pattern: &str) -> Both<Path> {
    if let Some(literal) = literal_start(pattern) {
        let inside = literal
            .strip_prefix(start)
            .is_some_and(|rest| end.is_empty() || rest.starts_with('/'));
        if inside {
            return Ok(Some(Path::Regex(pattern.to_owned())));
        }
        if !start.starts_with(literal.as_str()) && !literal.starts_with(start) {
            return Ok(None);
        }
    }
    let (flags, body) = match pattern.strip_prefix("(?i)") {
        Some(body) => ("(?i:", body),
        None => ("(?:", pattern),
    };
    // What cannot begin within the path is found behind it.
    let head = literal_head(body).to_ascii_lowercase();
    let lower = start.to_ascii_lowercase();
    let mut ends = lower.char_indices().map(|(at, _)| lower.get(at..));
    let inside =
        ends.any(|end| end.is_none_or(|end| end.starts_with(&head) || head.starts_with(end)));
    if head.is_empty() || inside || top_level_bar(body) {
        let why = "a path cannot be asked for by its begin and an expression";
        return Err(Unsupported(why.to_owned()));
    }
    let start = regex::escape(start);
    let found = format!("{flags}{body})");
    Ok(Some(Path::Regex(match end {
        "" => format!("^{start}.*{found}"),
        // The slash behind the prefix may be the expression's own.
        _ if head.starts_with('/') => format!("^{start}(?:/.*)?{found}"),
        _ => format!("^{start}/.*{found}"),
    })))
}

/// Characters that each text in which an expression is found has where it is found.
fn literal_head(pattern: &str) -> String {
    let mut head = String::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        let literal = match c {
            '\\' => chars.next().filter(char::is_ascii_punctuation),
            c => (c.is_ascii_alphanumeric() || "/_-".contains(c)).then_some(c),
        };
        let counted = matches!(chars.peek(), Some('*' | '?' | '{'));
        match literal.filter(|_| !counted) {
            Some(literal) => head.push(literal),
            None => break,
        }
    }
    head
}

fn top_level_bar(pattern: &str) -> bool {
    let mut depth = 0_u32;
    let mut escaped = false;
    for c in pattern.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            '|' if depth == 0 => return true,
            _ => {}
        }
    }
    false
}

pub(super) fn test_and(a: &Test, b: &Test, name: &str) -> Both<Test> {
    Ok(match (a, b) {
        (a, b) if a == b => Some(a.clone()),
        (Test::Present(_), Test::Present(_)) => None,
        (Test::Present(true), Test::Is(_) | Test::Has(_)) => Some(b.clone()),
        (Test::Is(_) | Test::Has(_), Test::Present(true)) => Some(a.clone()),
        (Test::Present(false), Test::Is(_) | Test::Has(_)) => None,
        (Test::Is(_) | Test::Has(_), Test::Present(false)) => None,
        (Test::Present(false), Test::IsNot(_) | Test::HasNot(_)) => Some(a.clone()),
        (Test::IsNot(_) | Test::HasNot(_), Test::Present(false)) => Some(b.clone()),
        (Test::Is(a), Test::Is(b)) => {
            let both: Vec<_> = a.iter().filter(|text| b.contains(text)).cloned().collect();
            (!both.is_empty()).then_some(Test::Is(both))
        }
        (Test::Is(is), Test::IsNot(not)) | (Test::IsNot(not), Test::Is(is)) => {
            let left: Vec<_> = is
                .iter()
                .filter(|text| !not.contains(text))
                .cloned()
                .collect();
            (!left.is_empty()).then_some(Test::Is(left))
        }
        (Test::Is(is), Test::Has(p)) | (Test::Has(p), Test::Is(is)) => kept(is, p, true)?,
        (Test::Is(is), Test::HasNot(p)) | (Test::HasNot(p), Test::Is(is)) => kept(is, p, false)?,
        (Test::IsNot(a), Test::IsNot(b)) => {
            let more = b.iter().filter(|text| !a.contains(text));
            Some(Test::IsNot(a.iter().chain(more).cloned().collect()))
        }
        (Test::Has(a), Test::HasNot(b)) | (Test::HasNot(a), Test::Has(b)) if a == b => None,
        _ => {
            let why = format!("`{name}` cannot be asked for in two ways in one route");
            return Err(Unsupported(why));
        }
    })
}

/// Those texts in which an expression is found, or is not.
fn kept(texts: &[String], pattern: &str, wanted: bool) -> Both<Test> {
    let mut left = Vec::new();
    for text in texts {
        if found(pattern, text)? == wanted {
            left.push(text.clone());
        }
    }
    Ok((!left.is_empty()).then_some(Test::Is(left)))
}

pub(super) fn net_and(a: &IpNet, b: &IpNet) -> Option<IpNet> {
    match (a.contains(b), b.contains(a)) {
        (true, _) => Some(*b),
        (_, true) => Some(*a),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_begin_and_an_expression() {
        let both = |a: Path, b: &str| path_and(&a, &Path::Regex(b.to_owned()));
        let begins = |text: &str| Path::Begins(text.to_owned());
        let prefix = |text: &str| Path::Prefix(text.to_owned());
        let cases = [
            (
                begins("/a"),
                r"\.php$",
                "/a/x.php /ab.php",
                "/b/x.php /a.phpx",
            ),
            (
                begins("/a/d"),
                r"/\.git",
                "/a/d/.git /a/dx/.gitx",
                "/a/.git /a/d.git",
            ),
            (
                prefix("/a"),
                r"/\.git",
                "/a/.git /a/b/.git",
                "/ax/.git /b/a/.git",
            ),
            (prefix("/a"), r"(?i)\.png$", "/a/b.PNG", "/ab.png /a/b.pngx"),
            (prefix("/a"), "^/a/b", "/a/b /a/bc", "/a /a/c"),
        ];
        for (path, pattern, taken, others) in cases {
            let Some(Path::Regex(found)) = both(path, pattern).unwrap() else {
                panic!("{pattern}");
            };
            let regex = Regex::new(&found).unwrap();
            assert!(taken.split(' ').all(|text| regex.is_match(text)), "{found}");
            assert!(
                !others.split(' ').any(|text| regex.is_match(text)),
                "{found}"
            );
        }
        assert_eq!(both(begins("/a"), "^/b"), Ok(None));
        // A match may begin within the path.
        assert!(both(begins("/a/"), "/x").is_err() && both(begins("/a"), "a|b").is_err());
        assert!(both(prefix("/a.b"), r"(\.b|c)$").is_err() && both(begins("/a."), r"\.b").is_err());
    }
}
