// SPDX-License-Identifier: MIT
//! Checking content that the switch itself sends: fixed responses, pages in place of errors, maintenance.

use super::Check;
use crate::model::*;
use crate::text::diagnostic::Diagnostic;
use crate::text::language::MaintenanceChoice;
use crate::text::language::PageChoice;
use crate::text::language::PageText;
use crate::text::language::RespondText;
use crate::text::source::At;
use crate::text::source::Span;
use crate::text::value::Entries;

/// What a text in a rule file is, where nobody says it.
const TEXT: &str = "text/plain; charset=utf-8";

/// What a page in a rule file is, where nobody says it.
const HTML: &str = "text/html; charset=utf-8";

impl Check<'_> {
    /// A fixed response.
    pub(super) fn respond(&mut self, given: At<RespondText>) -> Respond {
        let At { value, span } = given;
        if value.status.is_none() {
            self.missing(
                value.broken,
                span,
                "the response has no status".to_owned(),
                "add: status = 404",
            );
        }
        let status = value
            .status
            .and_then(|s| self.number(&s, 200, 599))
            .unwrap_or(500);
        let content = self.content(value.body, value.file);
        let content_type = self.content_type(value.content_type, &content, TEXT);
        Respond {
            status,
            body: content.unwrap_or_else(|| Content::Text(String::new())),
            content_type,
        }
    }

    /// Pages in place of errors.
    pub(super) fn error_pages(&mut self, given: Option<At<Entries<At<PageChoice>>>>) -> Vec<Page> {
        let mut pages: Vec<(Page, Span)> = Vec::new();
        for (statuses, At { value, span }) in given.map(|given| given.value.0).unwrap_or_default() {
            let place = statuses.span;
            let Some(statuses) = self.statuses(&statuses) else {
                continue;
            };
            let text = match value {
                PageChoice::File(file) => PageText {
                    file: Some(file),
                    ..PageText::default()
                },
                PageChoice::Table(text) => text,
            };
            let content = self.content(text.body, text.file);
            if content.is_none() {
                let message = "the page has no content".to_owned();
                self.missing(text.broken, span, message, "add: file = \"error.html\"");
            }
            let page = Page {
                statuses,
                content_type: self.content_type(text.content_type, &content, HTML),
                content: content.unwrap_or_else(|| Content::Text(String::new())),
                status: text.status.and_then(|s| self.number(&s, 200, 599)),
                intercept: text.intercept.unwrap_or_default(),
            };
            if let Some((_, first)) = pages.iter().find(|(known, _)| known.statuses == statuses) {
                let message = "two pages are for the same statuses";
                let diagnostic = Diagnostic::error("duplicate", place, message)
                    .label("again")
                    .related(*first, "first here");
                self.note(diagnostic);
            }
            pages.push((page, place));
        }
        let mut pages: Vec<Page> = pages.into_iter().map(|(page, _)| page).collect();
        pages.sort_by_key(|page| {
            (
                page.statuses.1.saturating_sub(page.statuses.0),
                page.statuses,
            )
        });
        pages
    }

    fn statuses(&mut self, text: &At<String>) -> Option<(u16, u16)> {
        let (low, high) = text
            .value
            .split_once('-')
            .unwrap_or((&text.value, &text.value));
        let number = |text: &str| text.trim().parse().ok();
        match (number(low), number(high)) {
            (Some(low), Some(high)) if 400 <= low && low <= high && high <= 599 => {
                Some((low, high))
            }
            _ => {
                let message = format!("`{}` is no status of an error", text.value);
                self.note(
                    Diagnostic::error("bad-value", text.span, message)
                        .help("give a status from 400 to 599, or a range such as \"500-599\""),
                );
                None
            }
        }
    }

    fn content(&mut self, body: Option<At<String>>, file: Option<At<String>>) -> Option<Content> {
        if let (Some(_), Some(file)) = (&body, &file) {
            let message = "`body` and `file` are both given";
            self.note(Diagnostic::error("not-one", file.span, message).help("keep one of them"));
        }
        match (body, file) {
            (None, Some(file)) => Some(Content::File(self.file(&file))),
            (body, _) => body.map(|body| Content::Text(body.value)),
        }
    }

    fn content_type(
        &mut self,
        given: Option<At<String>>,
        content: &Option<Content>,
        default: &str,
    ) -> String {
        match (given, content) {
            (Some(kind), _) => {
                if kind.value.bytes().any(|b| !(b' '..0x7f).contains(&b)) {
                    let message = "this is not a media type";
                    self.note(
                        Diagnostic::error("bad-value", kind.span, message)
                            .help("write it as \"text/html; charset=utf-8\""),
                    );
                }
                kind.value
            }
            (None, Some(Content::File(path))) => {
                let kind = mime_guess::from_path(path).first_or_octet_stream();
                if kind.type_() == mime_guess::mime::TEXT {
                    format!("{kind}; charset=utf-8")
                } else {
                    kind.to_string()
                }
            }
            (None, _) => default.to_owned(),
        }
    }

    /// Whether a service is closed for maintenance.
    pub(super) fn maintenance(
        &mut self,
        protocol: Protocol,
        given: Option<At<MaintenanceChoice>>,
    ) -> Maintenance {
        let Some(At { value, span }) = given else {
            return Maintenance::Off;
        };
        if !protocol.is_http() {
            let word = protocol.as_str();
            let message = format!("`maintenance` cannot be used with protocol = \"{word}\"");
            self.note(
                Diagnostic::error("impossible", span, message)
                    .help("there are no requests to be answered, only bytes"),
            );
        }
        match value {
            MaintenanceChoice::All(false) => Maintenance::Off,
            MaintenanceChoice::All(true) => Maintenance::Except(Vec::new()),
            MaintenanceChoice::Table(table) => {
                let except = table.except.unwrap_or_default().0;
                Maintenance::Except(except.into_iter().map(|prefix| prefix.0).collect())
            }
        }
    }
}
