// SPDX-License-Identifier: MIT
//! The fields of a head as they stand in a buffer, and heads made of those that go on.
//!
//! A parser has found the head right. What it took and others might read otherwise is written anew: lines of a response that
//! end in a line feed alone (RFC 9112, 2.2), control characters in values (RFC 9110, 5.5).

use std::ops::Range;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;

use super::scan;
use crate::http::headers::Present;
use crate::ruleset::filters::Edit;

/// A field's line.
#[derive(Clone, Debug)]
struct Line {
    /// With the end of the line.
    whole: Range<usize>,
    /// Where its colon is.
    colon: usize,
    what: Present,
}

/// The fields of a head that a parser has found right, and what they are.
#[derive(Debug, Default)]
pub(super) struct Fields {
    lines: Vec<Line>,
    /// The first line, with its end.
    first: Range<usize>,
    present: Present,
    /// Something in it is not to be passed on as it stands.
    is_odd: bool,
}

impl Fields {
    /// Looks at a head, which ends with its empty line. Gives which of the fields that matter it has.
    pub(super) fn scan(&mut self, head: &[u8]) -> Present {
        self.lines.clear();
        self.present = Present::NONE;
        self.is_odd = false;
        // There may be an empty line before it.
        let start = if head.starts_with(b"\r\n") { 2 } else { 0 };
        let mut at = self.end_of_line(head, start);
        self.first = start..at;
        loop {
            // There is none in the empty line at the end.
            let colon = scan::colon(head, at);
            if matches!(head.get(at), None | Some(b'\r' | b'\n')) || colon >= head.len() {
                return self.present;
            }
            let what = Present::named(head.get(at..colon).unwrap_or_default());
            let end = self.end_of_line(head, colon);
            self.present = self.present.and(what);
            self.lines.push(Line {
                whole: at..end,
                colon,
                what,
            });
            at = end;
        }
    }

    /// Where the line ends that is gone through from here. Notes what is odd about it.
    fn end_of_line(&mut self, head: &[u8], from: usize) -> usize {
        let mut at = from;
        loop {
            at = scan::control(head, at);
            let next = at.wrapping_add(1);
            match (head.get(at), head.get(next)) {
                (None, _) => return at,
                (Some(b'\r'), Some(b'\n')) => return next.wrapping_add(1),
                (Some(b'\n'), _) => {
                    self.is_odd = true;
                    return next;
                }
                (Some(b'\t'), _) => (),
                (Some(_), _) => self.is_odd = true,
            }
            at = next;
        }
    }

    /// Which of the fields that matter there are.
    pub(super) const fn present(&self) -> Present {
        self.present
    }

    /// The values of fields of a kind, without the white space around them.
    pub(super) fn values<'a>(
        &'a self,
        head: &'a [u8],
        what: Present,
    ) -> impl Iterator<Item = &'a [u8]> {
        self.lines
            .iter()
            .filter(move |line| line.what == what)
            .map(|line| value(head, line))
    }

    /// The fields of these kinds as a map.
    pub(super) fn map(&self, head: &[u8], what: Present) -> HeaderMap {
        self.filtered(head, |line| what.has(line.what))
    }

    /// The fields as a map, but for those of these kinds and those that Connection names.
    pub(super) fn without(&self, head: &[u8], kinds: Present) -> HeaderMap {
        let named: Vec<&[u8]> = self.options(head).collect();
        self.filtered(head, |line| {
            let name = name(head, line);
            !kinds.has(line.what) && !named.iter().any(|option| option.eq_ignore_ascii_case(name))
        })
    }

    /// The fields of these names as a map.
    pub(super) fn of(&self, head: &[u8], names: &[HeaderName]) -> HeaderMap {
        self.filtered(head, |line| {
            let name = name(head, line);
            let is = |wanted: &HeaderName| name.eq_ignore_ascii_case(wanted.as_str().as_bytes());
            names.iter().any(is)
        })
    }

    fn filtered(&self, head: &[u8], is_wanted: impl Fn(&&Line) -> bool) -> HeaderMap {
        let lines = self.lines.iter().filter(is_wanted);
        lines
            .filter_map(|line| {
                let name = HeaderName::from_bytes(name(head, line)).ok()?;
                Some((name, HeaderValue::from_bytes(value(head, line)).ok()?))
            })
            .fold(HeaderMap::new(), |mut map, (name, value)| {
                map.append(name, value);
                map
            })
    }

    /// Writes a head without the empty line at its end: `first`, else its own first line; then its fields but for
    /// those of these kinds, those that Connection names, and those that the edit takes out or sets.
    pub(super) fn write(
        &self,
        head: &[u8],
        first: Option<&[u8]>,
        without: Present,
        edit: &Edit,
        out: &mut Vec<u8>,
    ) {
        let named: Vec<&[u8]> = if self.names_none(head) {
            Vec::new()
        } else {
            self.options(head).collect()
        };
        let has_edits = !edit.is_empty();
        let is_gone = |line: &Line| {
            without.has(line.what)
                || has_edits && edit.replaces(name(head, line))
                // Without its length, the message would have another end.
                || line.what != Present::CONTENT_LENGTH
                    && named
                    .iter()
                    .any(|option| option.eq_ignore_ascii_case(name(head, line)))
        };
        let own = head.get(self.first.clone()).unwrap_or_default();
        if self.is_odd {
            clean(first.unwrap_or(own), out);
            for line in self.lines.iter().filter(|line| !is_gone(line)) {
                clean(head.get(line.whole.clone()).unwrap_or_default(), out);
            }
            return;
        }
        // What stands together goes together.
        let mut run = match first {
            Some(first) => {
                out.extend_from_slice(first);
                self.first.end..self.first.end
            }
            None => self.first.clone(),
        };
        for line in &self.lines {
            if is_gone(line) {
                out.extend_from_slice(head.get(run).unwrap_or_default());
                run = line.whole.end..line.whole.end;
            } else {
                run.end = line.whole.end;
            }
        }
        out.extend_from_slice(head.get(run).unwrap_or_default());
    }

    /// Whether Connection names no field, in all lines that it has.
    pub(super) fn names_none(&self, head: &[u8]) -> bool {
        !self.present.has(Present::CONNECTION)
            || self.values(head, Present::CONNECTION).all(names_no_field)
            || self.options(head).all(names_no_field)
    }

    /// Whether Connection names this field.
    pub(super) fn names(&self, head: &[u8], field: &[u8]) -> bool {
        self.options(head)
            .any(|option| option.eq_ignore_ascii_case(field))
    }

    /// What Connection lists.
    fn options<'a>(&'a self, head: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        self.values(head, Present::CONNECTION)
            .flat_map(|value| value.split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|option| !option.is_empty())
    }
}

/// Whether a byte is a control character that may not stand in a line that is passed on.
const fn is_odd(byte: u8) -> bool {
    (byte < b' ' && !matches!(byte, b'\t' | b'\r' | b'\n')) || byte == 0x7f
}

/// Writes a line with the end that it should have, and spaces for control characters.
fn clean(line: &[u8], out: &mut Vec<u8>) {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    out.extend(
        line.iter()
            .map(|byte| if is_odd(*byte) { b' ' } else { *byte }),
    );
    out.extend_from_slice(b"\r\n");
}

/// Whether an option of Connection names no field of which others might hear.
fn names_no_field(option: &[u8]) -> bool {
    option.eq_ignore_ascii_case(b"keep-alive") || option.eq_ignore_ascii_case(b"close")
}

fn name<'a>(head: &'a [u8], line: &Line) -> &'a [u8] {
    head.get(line.whole.start..line.colon).unwrap_or_default()
}

fn value<'a>(head: &'a [u8], line: &Line) -> &'a [u8] {
    let value = head.get(line.colon.saturating_add(1)..line.whole.end);
    value.unwrap_or_default().trim_ascii()
}

/// Writes a field.
pub(super) fn push(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writes the fields of a map but for those that the edit replaces.
pub(super) fn push_map(out: &mut Vec<u8>, fields: &HeaderMap, edit: &Edit) {
    for (name, value) in fields {
        let name = name.as_str().as_bytes();
        if !edit.replaces(name) {
            push(out, name, value.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use l7switch_rules::model::HeaderEdit;

    const HEAD: &[u8] =
        b"\r\nGET / HTTP/1.1\r\nHost: a\r\nX-A:1 \r\nConnection: close, x-b\r\nX-B: 2\r\n\
        Keep-Alive: 5\r\ncookie: c\r\nX-Forwarded-For: 1.1.1.1\r\nx-forwarded-for:2.2.2.2\r\n\r\n";

    fn written(first: Option<&[u8]>, without: Present, edit: &Edit) -> String {
        let mut fields = Fields::default();
        fields.scan(HEAD);
        let mut out = Vec::new();
        fields.write(HEAD, first, without, edit, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fields_are_told_apart() {
        let mut fields = Fields::default();
        let present = fields.scan(HEAD);
        assert!(present.has(Present::HOST) && present.has(Present::COOKIE));
        assert!(!present.has(Present::DATE) && !present.has(Present::UPGRADE));
        assert_eq!(
            fields.values(HEAD, Present::HOST).collect::<Vec<_>>(),
            [b"a"]
        );
        assert_eq!(
            fields.options(HEAD).collect::<Vec<_>>(),
            [&b"close"[..], b"x-b"]
        );
        let map = fields.map(HEAD, Present::FORWARDED);
        let all: Vec<_> = map.get_all("x-forwarded-for").into_iter().collect();
        assert_eq!(all, ["1.1.1.1", "2.2.2.2"]);
        // Nothing of it is left in the next one.
        assert_eq!(
            fields.scan(b"HTTP/1.1 200 OK\r\nDate: x\r\n\r\n"),
            Present::DATE
        );
    }

    #[test]
    fn what_ends_here_is_left_out() {
        let none = Edit::default();
        assert_eq!(
            written(None, Present::HOP_BY_HOP.and(Present::FORWARDED), &none),
            "GET / HTTP/1.1\r\nHost: a\r\nX-A:1 \r\ncookie: c\r\n"
        );
        assert_eq!(
            written(
                Some(b"PUT /b HTTP/1.1\r\n"),
                Present::HOP_BY_HOP.and(Present::HOST),
                &none
            ),
            "PUT /b HTTP/1.1\r\nX-A:1 \r\ncookie: c\r\nX-Forwarded-For: 1.1.1.1\r\nx-forwarded-for:2.2.2.2\r\n"
        );
    }

    #[test]
    fn what_others_might_read_otherwise_is_written_anew() {
        let head = b"HTTP/1.1 200 O\x01K\nX-A: a\x7fb\r\nVia: x\nX-B: \tc\n\n";
        let mut fields = Fields::default();
        assert_eq!(fields.scan(head), Present::VIA);
        let mut out = Vec::new();
        fields.write(head, None, Present::VIA, &Edit::default(), &mut out);
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out, "HTTP/1.1 200 O K\r\nX-A: a b\r\nX-B: \tc\r\n");
        assert_eq!(fields.values(head, Present::VIA).next(), Some(&b"x"[..]));
    }

    #[test]
    fn edits_replace() {
        let edit = HeaderEdit {
            remove: vec!["X-A".to_owned()],
            set: vec![("cookie".to_owned(), "d".parse().unwrap())],
            add: vec![("host".to_owned(), "b".parse().unwrap())],
        };
        let edit = Edit::new(&edit, |value| value.to_string().into_bytes()).unwrap();
        let without = Present::HOP_BY_HOP.and(Present::FORWARDED);
        let mut out = written(None, without, &edit).into_bytes();
        for (name, value) in edit.written() {
            push(&mut out, name.as_str().as_bytes(), value.as_bytes());
        }
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "GET / HTTP/1.1\r\nHost: a\r\ncookie: d\r\nhost: b\r\n"
        );
    }
}
