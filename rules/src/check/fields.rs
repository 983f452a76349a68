// SPDX-License-Identifier: MIT
//! Checking what stands for parts of HTTP messages: names, values, paths, conditions on fields.

use l7switch_engine::uri;
use l7switch_engine::uri::Allow;

use super::Check;
use crate::automata::Alphabet;
use crate::model::*;
use crate::template::Piece;
use crate::template::Template;
use crate::template::TemplateError;
use crate::template::Variable;
use crate::text::diagnostic::Diagnostic;
use crate::text::guesses;
use crate::text::language::HeaderEditText;
use crate::text::language::ValueChoice;
use crate::text::language::ValueTable;
use crate::text::language::ValueText;
use crate::text::read::choices;
use crate::text::read::nearest;
use crate::text::source::At;
use crate::text::source::Span;
use crate::text::value::Entries;

/// What a condition is on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Header,
    Query,
    Cookie,
}

/// Fields that frame a message or belong to one connection: the switch writes them itself.
pub(super) const OWN_FIELDS: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// RFC 9110, 5.6.2.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// RFC 9110, 5.5.
pub(super) fn is_field_value(text: &str) -> bool {
    text.trim_matches([' ', '\t']) == text
        && text.bytes().all(|b| b == b'\t' || b >= b' ' && b != 0x7f)
}

/// Writes what cannot stand in a request target as escapes (RFC 3986, 2.1).
fn escape(text: &str, also: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        if byte <= b' ' || byte >= 0x7f || also.contains(&byte) {
            out.extend(format!("%{byte:02X}").bytes());
        } else {
            out.push(byte);
        }
    }
    out
}

/// A query name or value in comparison form.
fn query_form(text: &str) -> String {
    let mut form = Vec::new();
    uri::query_text(&escape(text, b"#&"), |byte| form.push(byte));
    // Escaped, so ASCII.
    String::from_utf8_lossy(&form).into_owned()
}

impl Check<'_> {
    /// A path of a rule in comparison form; noted and `None` where no request can have it.
    pub(super) fn path(&mut self, path: &At<String>, allow: Allow) -> Option<String> {
        let mut refuse = |message: String, help: &str| {
            self.diagnostics
                .push(Diagnostic::error("bad-path", path.span, message).help(help));
        };
        if !path.value.starts_with('/') {
            let help = path_help(&path.value);
            refuse("a path starts with a slash".into(), &help);
            return None;
        }
        if path.value.contains(['?', '#']) {
            let help = "match the query with: query = { name = \"value\" }; for a regular expression: path = { regex = \"…\" }; \
                        fragments are not sent to servers";
            refuse("a path condition has no query and no fragment".into(), help);
            return None;
        }
        let raw = escape(&path.value, b"");
        let mut scratch = vec![0; raw.len()];
        match uri::normalise(&raw, allow, &mut scratch) {
            Ok(form) => Some(String::from_utf8_lossy(form).into_owned()),
            Err(error) => {
                let help = match error {
                    uri::PathError::EncodedSlash => {
                        "the service refuses it: remove \"encoded-slash\" from its `refuse`"
                            .to_owned()
                    }
                    uri::PathError::EncodedDots => {
                        "such paths are always refused: servers read them in two ways".to_owned()
                    }
                    uri::PathError::Nul => allow_help("nul"),
                    uri::PathError::Backslash => allow_help("backslash"),
                    _ => allow_help("bad-escape"),
                };
                refuse(format!("no request can have this path: {error}"), &help);
                None
            }
        }
    }

    /// Conditions on fields of one kind.
    pub(super) fn conditions(
        &mut self,
        kind: Kind,
        given: Option<At<Entries<ValueText>>>,
    ) -> Vec<FieldMatch> {
        let mut fields: Vec<(Span, FieldMatch)> = Vec::new();
        for (name, text) in given.map_or_else(Vec::new, |g| g.value.0) {
            let form = match kind {
                Kind::Query => query_form(&name.value),
                Kind::Header => name.value.to_ascii_lowercase(),
                Kind::Cookie => name.value.clone(),
            };
            if kind != Kind::Query && !is_token(&name.value) {
                let message = format!("`{}` is not a field or cookie name", name.value);
                self.note(
                    Diagnostic::error("bad-name", name.span, message)
                        .help("names are tokens (RFC 9110, 5.6.2): letters, digits, - and _"),
                );
                continue;
            }
            if let Some((first, _)) = fields.iter().find(|(_, f)| f.name == form) {
                let message = format!("`{}` is given twice", name.value);
                let diagnostic = Diagnostic::error("duplicate", name.span, message)
                    .label("again")
                    .related(*first, "first here")
                    .help("alternatives are a list: \"X-Version\" = [\"one\", \"two\"]");
                self.note(diagnostic);
                continue;
            }
            if let Some(value) = self.value(kind, &name, text) {
                fields.push((name.span, FieldMatch { name: form, value }));
            }
        }
        fields.into_iter().map(|(_, field)| field).collect()
    }

    fn value(&mut self, kind: Kind, name: &At<String>, text: ValueText) -> Option<ValueMatch> {
        let ValueText::One(ValueChoice::Table(At { value, span })) = text else {
            return self.tests(kind, name, text).map(ValueMatch::Any);
        };
        match value {
            ValueTable {
                present: Some(present),
                exact: None,
                regex: None,
                not: None,
                ..
            } => Some(ValueMatch::Present(present)),
            ValueTable {
                present: None,
                exact: None,
                regex: None,
                not: Some(not),
                ..
            } => self.tests(kind, name, not.value).map(ValueMatch::None),
            value => {
                let choice = ValueChoice::Table(At { value, span });
                let tests = self.tests(kind, name, ValueText::One(choice));
                tests.map(ValueMatch::Any)
            }
        }
    }

    /// Alternatives.
    fn tests(&mut self, kind: Kind, name: &At<String>, text: ValueText) -> Option<Vec<ValueTest>> {
        let choices = match text {
            ValueText::One(choice) => vec![choice],
            ValueText::Many(At { value, span }) => {
                if value.is_empty() {
                    self.empty_list(span, &format!("`{}`", name.value));
                    return None;
                }
                value
            }
        };
        let mut tests = Vec::with_capacity(choices.len());
        for choice in choices {
            match choice {
                ValueChoice::Exact(text) => tests.push(self.exact(kind, text)?),
                ValueChoice::Table(At { value, span }) => {
                    match (value.exact, value.regex, value.present) {
                        _ if value.not.is_some() => {
                            let message = "`not` cannot be combined with others";
                            self.note(
                                Diagnostic::error("bad-value", span, message)
                                    .help("write it alone: { not = [\"one\", \"two\"] }"),
                            );
                            return None;
                        }
                        (Some(text), None, None) => tests.push(self.exact(kind, text)?),
                        (None, Some(pattern), None) => {
                            let alphabet = if kind == Kind::Query {
                                Alphabet::Ascii
                            } else {
                                Alphabet::Bytes
                            };
                            self.regex(&pattern, alphabet);
                            tests.push(ValueTest::Regex(pattern.value));
                        }
                        (None, None, Some(_)) => {
                            let message = "`present` cannot be combined with values";
                            self.note(
                                Diagnostic::error("bad-value", span, message)
                                    .help("write it alone: { present = true }"),
                            );
                            return None;
                        }
                        _ => {
                            self.exactly_one(span, "exact, regex, present or not");
                            return None;
                        }
                    }
                }
            }
        }
        Some(tests)
    }

    fn exact(&mut self, kind: Kind, text: At<String>) -> Option<ValueTest> {
        match kind {
            Kind::Query => Some(ValueTest::Exact(query_form(&text.value))),
            Kind::Header | Kind::Cookie if is_field_value(&text.value) => {
                Some(ValueTest::Exact(text.value))
            }
            _ => {
                let message = "no field has this value: it begins or ends with white space, or holds a control character";
                self.note(Diagnostic::error("bad-value", text.span, message));
                None
            }
        }
    }

    /// Notes a table in which exactly one key must stand.
    pub(super) fn exactly_one(&mut self, span: Span, keys: &str) {
        if !self.has_errors_in(span) {
            let message = format!("exactly one of {keys} is required here");
            self.note(Diagnostic::error("not-one", span, message));
        }
    }

    /// Notes a list that is empty though it needs a value.
    pub(super) fn empty_list(&mut self, span: Span, what: &str) {
        if !self.has_errors_in(span) {
            let message = format!("{what} has no value, so it matches nothing");
            self.note(
                Diagnostic::error("empty-list", span, message)
                    .help("remove it to match everything"),
            );
        }
    }

    /// Changes of header fields.
    pub(super) fn header_edit(&mut self, given: Option<At<HeaderEditText>>) -> HeaderEdit {
        let mut edit = HeaderEdit::default();
        let Some(At { value: given, .. }) = given else {
            return edit;
        };
        for name in given.remove.unwrap_or_default().0 {
            edit.remove.extend(self.edited_name(&name));
        }
        for (list, given) in [(&mut edit.set, given.set), (&mut edit.add, given.add)] {
            for (name, value) in given.unwrap_or_default().0 {
                if !is_field_value(&value.value) {
                    let message =
                        "a field's value has no control characters and no white space at its ends";
                    self.note(Diagnostic::error("bad-value", value.span, message));
                }
                let template = self.template(&value);
                list.extend(self.edited_name(&name).zip(template));
            }
        }
        edit
    }

    /// A text with variables.
    pub(super) fn template(&mut self, text: &At<String>) -> Option<Template> {
        let known: Vec<&str> = Variable::ALL.iter().map(|known| known.as_str()).collect();
        let error = match text.value.parse::<Template>() {
            Ok(template) => {
                self.foreign_variable(text, &template, &known);
                return Some(template);
            }
            Err(error) => error,
        };
        let dollar = "a dollar is written as `$$`";
        let help = match &error {
            TemplateError::Unknown(name) => {
                let near = guesses::variable(name, &known);
                match (near, guesses::no_variable(name)) {
                    (Some(near), _) => format!("the variable for this is `${near}` ({dollar})"),
                    (None, Some(said)) => format!("{said} ({dollar})"),
                    (None, None) => match nearest(name, known.iter().copied()) {
                        Some(near) => format!("did you mean `${near}`? ({dollar})"),
                        None => format!("known here: {}; {dollar}", choices(known)),
                    },
                }
            }
            TemplateError::Open | TemplateError::Lone => dollar.to_owned(),
        };
        let message = error.to_string();
        self.note(Diagnostic::error("unknown-variable", text.span, message).help(help));
        None
    }

    /// Warns of text that is a variable in another program: here it is sent as it stands.
    fn foreign_variable(&mut self, text: &At<String>, template: &Template, known: &[&str]) {
        let said = template.pieces().iter().find_map(|piece| match piece {
            Piece::Text(text) => guesses::foreign_variable(text, known),
            Piece::Variable(_) => None,
        });
        if let Some(said) = said {
            let message = "this is sent as it stands: it is no variable here";
            self.note(Diagnostic::warning("foreign-variable", text.span, message).help(said));
        }
    }

    /// The name of a field that may be written, in lower case.
    pub(super) fn edited_name(&mut self, name: &At<String>) -> Option<String> {
        let lower = name.value.to_ascii_lowercase();
        let (message, help) = if !is_token(&name.value) {
            (
                format!("`{}` is not a field name", name.value),
                "names are tokens (RFC 9110, 5.6.2)",
            )
        } else if lower == "host" {
            (
                "the Host field cannot be changed here".to_owned(),
                "use: rewrite = { hostname = \"…\" }",
            )
        } else if OWN_FIELDS.contains(&lower.as_str()) {
            (
                format!("the switch writes `{}` itself", name.value),
                "it frames the message or belongs to one connection (RFC 9110, 7.6.1)",
            )
        } else {
            return Some(lower);
        };
        self.note(Diagnostic::error("bad-name", name.span, message).help(help));
        None
    }
}

/// What is meant by a path that does not begin with a slash.
fn path_help(text: &str) -> String {
    if let Some((_, rest)) = text.split_once("://") {
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        return format!("write \"/{path}\", and host = \"{host}\"");
    }
    // nginx: `~ ^/img`, `= /img`.
    let bare = text.trim_start_matches(['~', '*', '=', ' ']);
    match text.starts_with(['^', '~']) {
        true => format!("a regular expression is written {{ regex = '{bare}' }}"),
        false => format!("write \"/{}\"", bare.trim_start_matches('/')),
    }
}

fn allow_help(word: &str) -> String {
    format!("allow such paths with: allow = [\"{word}\"]")
}
