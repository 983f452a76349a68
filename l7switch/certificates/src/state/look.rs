// SPDX-License-Identifier: MIT
//! What the front would say of the state folder, without making anything.

use std::fs;
use std::io;
use std::path::Path;

use l7switch_rules::model;
use l7switch_rules::text::diagnostic::Diagnostic;
use l7switch_rules::text::source::Span;

use super::Folder;
use super::Retry;
use super::StateError;
use super::closed_to_others;
use super::read;
use super::read_certificate;
use super::writable;

/// Looks at the state folder: the folder itself, or where it would be made; the account; the files of these certificates. What the
/// front would refuse is a mistake, and a warning where only this user is not allowed it, or the front would go on.
pub fn look<'a>(
    acme: &model::Acme,
    ordered: impl IntoIterator<Item = &'a model::OrderedCertificate>,
) -> Vec<Diagnostic> {
    let folder = Folder::of(acme);
    for path in [&acme.state, &folder.0] {
        match is_there(path) {
            Ok(true) => (),
            Ok(false) => return Vec::new(),
            Err(error) => return vec![refused(&error)],
        }
    }
    let mut found = Vec::new();
    if let Err(error) = folder.account() {
        found.push(refused(&error));
    }
    for certificate in ordered {
        let path = folder.certificate(&certificate.acme);
        match read_certificate(&path) {
            Err(error) => found.push(refused(&error)),
            Ok(Some(Err(why))) => found.push(warning(format!("{why}; it is ordered anew"))),
            Ok(_) => (),
        }
        let path = path.with_extension("retry.json");
        let pause = read(&path).map(|content| {
            content.is_none_or(|content| serde_json::from_slice::<Retry>(&content).is_ok())
        });
        match pause {
            Ok(true) => (),
            Ok(false) => found.push(warning(format!("{}: it holds no pause", path.display()))),
            Err(error) => found.push(warning(error.to_string())),
        }
    }
    found
}

/// Whether a folder is there, and can be used; where it is not, it can be made.
fn is_there(path: &Path) -> Result<bool, StateError> {
    let mut above = path;
    let metadata = loop {
        match (fs::metadata(above), above.parent()) {
            (Ok(metadata), _) => break metadata,
            (Err(error), Some(next)) if error.kind() == io::ErrorKind::NotFound => {
                // A relative path of one part is below the working folder.
                above = match next.as_os_str().is_empty() {
                    true => Path::new("."),
                    false => next,
                };
            }
            (Err(error), _) => return Err(StateError::io(path, &error)),
        }
    };
    if !metadata.is_dir() {
        return Err(StateError::new(above, "this is no folder"));
    }
    let is_there = above == path;
    if is_there {
        closed_to_others(path, &metadata, 0o700)?;
    }
    writable(above).map_err(|error| match is_there {
        true => error,
        false => StateError {
            why: format!("{}, where {} is to be made", error.why, path.display()),
            ..error
        },
    })?;
    Ok(is_there)
}

fn refused(error: &StateError) -> Diagnostic {
    if error.is_denied {
        let help = "this says nothing of the user that l7switch runs as";
        return warning(error.to_string()).help(help);
    }
    Diagnostic::error("bad-state", Span::default(), error.to_string())
        .help("the front does not take the rules while this is so")
}

fn warning(message: String) -> Diagnostic {
    Diagnostic::warning("bad-state", Span::default(), message)
}
