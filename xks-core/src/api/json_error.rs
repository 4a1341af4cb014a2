//! What is wrong with a JSON text, without repeating any of it.

use serde_json::error::Category;
use thiserror::Error;

/// Returned for a text that is not the JSON that it should be. `serde_json`'s own words may repeat the text,
/// which may hold plaintext: this says what is wrong, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{what}: line {line} column {column}")]
pub struct JsonError {
    what: &'static str,
    line: usize,
    column: usize,
}

impl JsonError {
    // No `From`: it would make the crate that reads JSON a part of the public API.
    pub(super) fn new(error: &serde_json::Error) -> Self {
        Self {
            what: match error.classify() {
                Category::Data => "a field has the wrong type or is there twice",
                Category::Eof => "the body ends too early",
                Category::Syntax | Category::Io => "the body is not valid JSON",
            },
            line: error.line(),
            column: error.column(),
        }
    }

    /// Returns the line, counted from 1.
    #[must_use]
    pub const fn line(&self) -> usize {
        self.line
    }

    /// Returns the column, counted from 1, in bytes.
    #[must_use]
    pub const fn column(&self) -> usize {
        self.column
    }
}
