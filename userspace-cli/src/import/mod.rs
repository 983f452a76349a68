// SPDX-License-Identifier: MIT
//! `l7ctl import`: rules from the configuration of other programs. What has no counterpart stands as a comment with the reason; what would
//! open something if it were left out, closes.

mod both;
mod conditions;
mod flow;
mod haproxy;
mod nginx;
mod rules;
mod source;
mod toml;
mod write;

use std::io;
use std::io::Write as _;
use std::path::Path;

use crate::Outcome;
use crate::print;
use rules::Rules;
use source::Wrong;

use haproxy::net;
use haproxy::product as conditions_product;

/// Whose configuration it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Program {
    /// HAProxy: haproxy.cfg
    Haproxy,
    /// nginx: nginx.conf with what it includes, or one file of a site
    Nginx,
}

/// Translates a file, and writes the rules.
pub(crate) fn import(program: Program, path: &Path, output: Option<&Path>, out: &mut impl io::Write) -> Outcome {
    let (text, rules) = match translate(program, path) {
        Ok(rules) => write::finish(rules),
        Err(wrong) => {
            // Nothing is left to be told when standard error is gone.
            let _ = writeln!(io::stderr(), "l7ctl: {wrong}");
            return Ok(false);
        }
    };
    match output.filter(|path| *path != Path::new("-")) {
        Some(file) => std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))?,
        None => print(out, &text)?,
    }
    let line = format!("{} translated, {} not: comments say why", rules.translated, rules.left);
    let _ = writeln!(io::stderr(), "{}: {line}", path.display());
    Ok(true)
}

fn translate(program: Program, path: &Path) -> Result<Rules, Wrong> {
    match program {
        Program::Haproxy => haproxy::import(&source::short(path), &source::read(path)?),
        Program::Nginx => nginx::import(path),
    }
}
