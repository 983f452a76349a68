// SPDX-License-Identifier: MIT
//! Rule text: files, positions in them, and reading TOML into the language's types with every mistake noted.

pub mod address;
pub mod choice;
pub mod diagnostic;
pub(crate) mod guesses;
pub mod language;
pub mod quantity;
pub(crate) mod read;
mod schema;
pub mod source;
pub mod value;
