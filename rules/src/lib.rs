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
pub mod short;
pub mod template;
pub mod text;

use std::path::Path;

use l7switch_engine::table::Table;

use automata::Cache;
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
    /// The kernel's table where it is another: with a route more in some services, for the front's own paths.
    pub kernel_table: Option<Table<Vec<u8>>>,
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
        outside,
        mut cache,
    } = check::check(&sources);
    if model.services.is_empty() && diagnostics.is_empty() {
        let span = text::source::Span::default();
        diagnostics.push(
            Diagnostic::error("no-service", span, "the rules have no service")
                .help("add a table [service.NAME] with `listen` and a route"),
        );
    }
    let report = Report::new(sources, diagnostics).naming(outside);
    if report.has_errors() {
        return Err(report);
    }
    verified(model, report, &mut cache)
}

/// Compiles a model that was checked, and changed after that without becoming wrong.
///
/// # Errors
///
/// The table would be too large.
pub fn compile_model(model: Model, warnings: Report) -> Result<RuleSet, Report> {
    verified(model, warnings, &mut Cache::default())
}

impl RuleSet {
    /// The table that the kernel matches against.
    pub fn for_kernel(&self) -> &Table<Vec<u8>> {
        self.kernel_table.as_ref().unwrap_or(&self.table)
    }
}

fn verified(model: Model, warnings: Report, cache: &mut Cache) -> Result<RuleSet, Report> {
    let mut compiled = |model: &Model| {
        let bytes = compile::compile_with(model, cache)
            .map_err(|error| Report::of_file("too-large", error.to_string()))?;
        Table::verify(bytes).map_err(|error| {
            Report::of_file("internal", format!("a bug of the rule compiler: {error}"))
        })
    };
    let table = compiled(&model)?;
    let for_kernel = front_only::with_own_paths(&model);
    let kernel_table = for_kernel.map(|model| compiled(&model)).transpose()?;
    Ok(RuleSet {
        model,
        table,
        kernel_table,
        warnings,
    })
}
