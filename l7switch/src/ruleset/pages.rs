// SPDX-License-Identifier: MIT
//! Content that the switch itself sends, read from its files when rules come into force.

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use http::StatusCode;
use l7switch_certificates::file;
use l7switch_rules::model;
use l7switch_rules::model::Content;
use thiserror::Error;

/// Longest content, bytes: it is held in memory as long as the rules are in force.
const MOST: u64 = 1024 * 1024;

/// Why content cannot be used.
#[derive(Debug, Error)]
#[error("{path}: {error}", path = path.display())]
pub struct PageError {
    /// Its file.
    path: PathBuf,
    /// Why it cannot be read.
    error: io::Error,
}

/// Content with all of its bytes.
///
/// # Errors
///
/// See [`PageError`].
pub fn content(content: &Content) -> Result<Bytes, PageError> {
    let path = match content {
        Content::Text(text) => return Ok(Bytes::copy_from_slice(text.as_bytes())),
        Content::File(path) => path,
    };
    let read = file::read(path, MOST);
    read.map(Bytes::from).map_err(|error| PageError {
        path: path.clone(),
        error,
    })
}

/// What is sent in place of an error.
#[derive(Clone, Debug)]
pub struct Page {
    /// As the rules say.
    pub rules: model::Page,
    /// What is sent.
    pub content: Bytes,
}

impl Page {
    /// The pages of a rule file, in the same order.
    ///
    /// # Errors
    ///
    /// See [`PageError`].
    pub fn all(rules: &[model::Page]) -> Result<Vec<Self>, PageError> {
        let page = |rules: &model::Page| {
            Ok(Self {
                content: content(&rules.content)?,
                rules: rules.clone(),
            })
        };
        rules.iter().map(page).collect()
    }

    /// The status that is sent for an error.
    pub fn status(&self, error: StatusCode) -> StatusCode {
        let own = self.rules.status.map(StatusCode::from_u16);
        own.and_then(Result::ok).unwrap_or(error)
    }
}

/// The pages of a route, then those of its service: the first one that fits is sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pages<'a>(pub [&'a [Page]; 2]);

impl<'a> Pages<'a> {
    /// The page in place of an error of the switch's own.
    pub fn of(self, status: StatusCode) -> Option<&'a Page> {
        self.find(status, |_| true)
    }

    /// The page in place of a server's response.
    pub fn intercepting(self, status: StatusCode) -> Option<&'a Page> {
        if !status.is_client_error() && !status.is_server_error() {
            return None;
        }
        self.find(status, |page| page.rules.intercept)
    }

    fn find(self, status: StatusCode, is_wanted: impl Fn(&Page) -> bool) -> Option<&'a Page> {
        let mut pages = self.0.into_iter().flatten();
        pages.find(|page| page.rules.is_for(status.as_u16()) && is_wanted(page))
    }
}
