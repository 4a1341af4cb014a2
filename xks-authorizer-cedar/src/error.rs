//! Errors in policies, schema and entities, with their places.

use miette::Diagnostic;
use thiserror::Error;
use xks_core::text::ErrorChain;

/// Why there is no [`CedarAuthorizer`](crate::CedarAuthorizer). The texts hold Cedar's own words, with line
/// and column where Cedar says them, and repeat parts of what was read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CedarError {
    /// The text holds no policy. An emptied file would else deny everything, and be noticed when KMS is
    /// refused.
    #[error(
        "no policies, so every request would be denied: if that is intended, write `forbid (principal, action, \
         resource);`"
    )]
    NoPolicies,
    /// The text is not Cedar.
    #[error("cannot parse the policies: {0}")]
    Syntax(String),
    /// A policy asks for what the schema does not have, or can never apply.
    #[error("the policies do not fit the schema: {0}")]
    Policies(String),
    /// A policy template: nothing fills it in, so it would never apply.
    #[error("policy `{0}` is a template: replace `?principal` and `?resource`")]
    Template(String),
    /// Two policies go by one name in the log.
    #[error("two policies have the same @id `{0}`: give each its own")]
    DuplicateId(String),
    /// The schema cannot be read, or does not fit what is asked of it.
    #[error("invalid schema: {0}")]
    Schema(String),
    /// The entities cannot be read, or do not fit the schema.
    #[error("invalid entities: {0}")]
    Entities(String),
}

/// One of Cedar's findings in a text: `line 2, column 10: what is wrong (what to do)`.
pub(crate) fn finding(found: &dyn Diagnostic, text: &str) -> String {
    let mut said = ErrorChain(found).to_string();
    let mut place = String::new();
    if let Some(label) = found.labels().and_then(|mut labels| labels.next()) {
        place = line_and_column(text, label.offset());
        if let Some(label) = label.label() {
            said = format!("{said}, {label}");
        }
    }
    match found.help() {
        Some(help) => format!("{place}{said} ({help})"),
        None => format!("{place}{said}"),
    }
}

/// Both from 1, columns in characters.
fn line_and_column(text: &str, offset: usize) -> String {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("line {line}, column {column}: ")
}
