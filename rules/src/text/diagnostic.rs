// SPDX-License-Identifier: MIT
//! What is wrong with a rule file: for a person, with the line and a proposal, and as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use miette::GraphicalReportHandler;
use miette::GraphicalTheme;
use miette::LabeledSpan;
use miette::SourceSpan;
use serde::Serialize;

use super::source::SourceFile;
use super::source::Sources;
use super::source::Span;
use crate::names::Lookup;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The rules are not taken.
    Error,
    /// The rules are taken, but probably do not say what was meant.
    Warning,
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Stable name of the kind of mistake, for programs.
    pub code: &'static str,
    /// What is wrong, in one line.
    pub message: String,
    /// Where; `None` where it is no place in a file.
    pub span: Option<Span>,
    /// What stands below the marked span.
    pub label: String,
    /// Other places that belong to it.
    pub related: Vec<(Span, String)>,
    /// How to mend it.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            span: Some(span),
            label: String::new(),
            related: Vec::new(),
            help: None,
        }
    }

    /// A warning at a place.
    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(code, span, message)
        }
    }

    /// With words below the marked span.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// With a proposal.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With another place.
    #[must_use]
    pub fn related(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related.push((span, label.into()));
        self
    }
}

/// Something that rules name, and that is not in them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outside {
    /// A file. Relative paths were resolved.
    File(PathBuf),
    /// A name of servers.
    Name(Lookup),
}

impl From<PathBuf> for Outside {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<Lookup> for Outside {
    fn from(name: Lookup) -> Self {
        Self::Name(name)
    }
}

/// Where rules name what is not in them: the first place of each.
pub(crate) type Places = BTreeMap<Outside, Span>;

/// Everything that was found in a rule set, in the order of the text.
#[derive(Clone, Debug, Default)]
pub struct Report {
    sources: Sources,
    outside: Places,
    diagnostics: Vec<Diagnostic>,
}

/// A diagnostic as JSON gives it. Lines and columns count from 1, columns in characters.
#[derive(Debug, Serialize)]
struct Entry<'a> {
    severity: Severity,
    code: &'a str,
    message: &'a str,
    file: Option<String>,
    line: Option<usize>,
    column: Option<usize>,
    end_line: Option<usize>,
    end_column: Option<usize>,
    label: &'a str,
    help: Option<&'a str>,
    related: Vec<Place<'a>>,
}

#[derive(Debug, Serialize)]
struct Place<'a> {
    file: String,
    line: usize,
    column: usize,
    label: &'a str,
}

impl Report {
    /// Sorts diagnostics by place.
    pub fn new(sources: Sources, mut diagnostics: Vec<Diagnostic>) -> Self {
        diagnostics.sort_by_key(|d| (d.span.is_some(), d.span, d.severity));
        Self {
            sources,
            outside: Places::default(),
            diagnostics,
        }
    }

    /// Remembers where the rules name what is not in them.
    pub(crate) fn naming(mut self, outside: Places) -> Self {
        self.outside = outside;
        self
    }

    /// The same with more: what was found of files and names that the rules name, at the place where they do.
    #[must_use]
    pub fn with<T: Into<Outside>>(self, found: impl IntoIterator<Item = (T, Diagnostic)>) -> Self {
        let Self {
            sources,
            outside,
            mut diagnostics,
        } = self;
        diagnostics.extend(found.into_iter().map(|(of, diagnostic)| Diagnostic {
            span: outside.get(&of.into()).copied(),
            ..diagnostic
        }));
        Self::new(sources, diagnostics).naming(outside)
    }

    /// A report of one mistake that is no place in a file.
    pub fn of_file(code: &'static str, message: impl Into<String>) -> Self {
        let diagnostic = Diagnostic {
            span: None,
            ..Diagnostic::error(code, Span::default(), message)
        };
        Self::new(Sources::default(), vec![diagnostic])
    }

    /// What was found.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// Whether the rules cannot be taken.
    pub fn has_errors(&self) -> bool {
        self.diagnostics
            .iter()
            .any(|d| d.severity == Severity::Error)
    }

    /// Nothing to say.
    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// For a person: every diagnostic with its line, the span marked, and the proposal.
    pub fn render(&self, colour: bool) -> String {
        let theme = if colour {
            GraphicalTheme::unicode()
        } else {
            GraphicalTheme::unicode_nocolor()
        };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_width(100)
            .with_links(false);
        let mut text = String::new();
        for diagnostic in &self.diagnostics {
            let shown = Shown::new(diagnostic, &self.sources);
            // Writing to a String does not fail.
            let _ = handler.render_report(&mut text, &shown);
            text.push('\n');
        }
        text
    }

    /// For programs: an array of objects, see docs/rules.md.
    pub fn to_json(&self) -> serde_json::Value {
        let entries = self.diagnostics.iter().map(|d| {
            let file = d.span.and_then(|s| Some((s, self.sources.file(s.file)?)));
            let start = file.map(|(s, f)| f.position(s.start as usize));
            let end = file.map(|(s, f)| f.position(s.end as usize));
            let place = |(span, label): &'_ (Span, String)| {
                let file = self.sources.file(span.file)?;
                let (line, column) = file.position(span.start as usize);
                Some((file.path().display().to_string(), line, column, label.len()))
            };
            Entry {
                severity: d.severity,
                code: d.code,
                message: &d.message,
                file: file.map(|(_, f)| f.path().display().to_string()),
                line: start.map(|p| p.0),
                column: start.map(|p| p.1),
                end_line: end.map(|p| p.0),
                end_column: end.map(|p| p.1),
                label: &d.label,
                help: d.help.as_deref(),
                related: d
                    .related
                    .iter()
                    .filter_map(|r| {
                        let (file, line, column, _) = place(r)?;
                        Some(Place {
                            file,
                            line,
                            column,
                            label: &r.1,
                        })
                    })
                    .collect(),
            }
        });
        entries
            .map(|e| serde_json::to_value(e).unwrap_or_default())
            .collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Report {}

/// A diagnostic as miette shows it.
#[derive(Debug)]
struct Shown<'a> {
    diagnostic: &'a Diagnostic,
    file: Option<&'a SourceFile>,
    help: Option<String>,
}

impl<'a> Shown<'a> {
    fn new(diagnostic: &'a Diagnostic, sources: &'a Sources) -> Self {
        let number = diagnostic.span.map(|s| s.file);
        // Only places in the same file can be marked; others are named in the proposal.
        let elsewhere = diagnostic
            .related
            .iter()
            .filter(|(span, _)| Some(span.file) != number)
            .map(|(span, label)| format!("{label}: {}", sources.describe(*span)));
        let lines: Vec<String> = elsewhere.chain(diagnostic.help.clone()).collect();
        Self {
            diagnostic,
            file: number.and_then(|n| sources.file(n)).map(|f| &**f),
            help: (!lines.is_empty()).then(|| lines.join("\n")),
        }
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.diagnostic.message)
    }
}

impl std::error::Error for Shown<'_> {}

impl miette::Diagnostic for Shown<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.diagnostic.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.diagnostic.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|h| Box::new(h) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        self.file.map(|f| f as &dyn miette::SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let own = self.diagnostic.span?;
        let place = |span: Span| {
            let len = (span.end - span.start).max(1) as usize;
            SourceSpan::new((span.start as usize).into(), len)
        };
        let related = self
            .diagnostic
            .related
            .iter()
            .filter(move |(span, _)| span.file == own.file)
            .map(move |(span, text)| LabeledSpan::new_with_span(Some(text.clone()), place(*span)));
        let label = if self.diagnostic.label.is_empty() {
            "here"
        } else {
            &self.diagnostic.label
        };
        let own = LabeledSpan::new_primary_with_span(Some(label.to_owned()), place(own));
        Some(Box::new(std::iter::once(own).chain(related)))
    }
}
