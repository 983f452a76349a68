// SPDX-License-Identifier: MIT
//! The rule language: TOML text → checked model → compiled table → match, and the explanation of a match.
//!
//! [`load`] does all of it for a file or directory; [`explain`] says which route wins and why. The
//! language is described in docs/rules.md, the table in [`l7switch_engine::table::format`].
#![forbid(unsafe_code)]

pub mod automata;
mod check;
pub mod compile;
pub mod evaluate;
pub mod explain;
mod front_only;
pub mod model;
pub mod names;
pub mod rewrite;
pub mod template;
pub mod text;

use std::path::Path;

use l7switch_engine::table::Table;

use compile::CompileError;
use model::Model;
use text::diagnostic::Diagnostic;
use text::diagnostic::Report;
use text::source::SourceFile;
use text::source::Sources;

/// Rules that were checked and compiled.
#[derive(Clone, Debug)]
pub struct RuleSet {
    /// What the rules mean.
    pub model: Model,
    /// The compiled table.
    pub table: Table<Vec<u8>>,
    /// What was noticed without being an error.
    pub warnings: Report,
}

/// Loads a rule file, or all `*.toml` files of a directory.
///
/// # Errors
///
/// A report of everything that is wrong.
pub fn load(path: &Path) -> Result<RuleSet, Report> {
    let sources =
        Sources::read(path).map_err(|error| Report::of_file("unreadable", error.to_string()))?;
    load_sources(sources)
}

/// Loads rules from a text; `name` stands for its path in messages.
///
/// # Errors
///
/// A report of everything that is wrong.
pub fn load_text(name: &str, text: &str) -> Result<RuleSet, Report> {
    load_sources(Sources::new([SourceFile::new(name, text.to_owned())]))
}

/// Loads rules from texts that were read already.
///
/// # Errors
///
/// A report of everything that is wrong.
pub fn load_sources(sources: Sources) -> Result<RuleSet, Report> {
    let check::Checked {
        model,
        mut diagnostics,
        files,
        mut cache,
    } = check::check(&sources);
    if model.services.is_empty() && diagnostics.is_empty() {
        let span = text::source::Span::default();
        diagnostics.push(
            Diagnostic::error("no-service", span, "the rules have no service")
                .help("add a table [service.NAME] with `listen` and a route"),
        );
    }
    let report = Report::new(sources, diagnostics).naming(files);
    if report.has_errors() {
        return Err(report);
    }
    verified(compile::compile_with(&model, &mut cache), model, report)
}

/// Compiles a model that was checked, and changed after that without becoming wrong.
///
/// # Errors
///
/// The table would be too large.
pub fn compile_model(model: Model, warnings: Report) -> Result<RuleSet, Report> {
    verified(compile::compile(&model), model, warnings)
}

fn verified(
    compiled: Result<Vec<u8>, CompileError>,
    model: Model,
    warnings: Report,
) -> Result<RuleSet, Report> {
    let bytes = compiled.map_err(|error| Report::of_file("too-large", error.to_string()))?;
    let table = Table::verify(bytes).map_err(|error| {
        Report::of_file("internal", format!("a bug of the rule compiler: {error}"))
    })?;
    Ok(RuleSet {
        model,
        table,
        warnings,
    })
}
