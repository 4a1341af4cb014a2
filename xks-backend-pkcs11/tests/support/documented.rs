//! The table of docs/hsms.md about wrapping, against what a trial has found.

use std::{fs, path::Path};

/// Checks that the row of this module says what the log says: which ways of wrapping are used, and why the
/// others are not.
#[track_caller]
pub(crate) fn assert_wrappings(module: &str, line: &str) {
    let field = |name: &str| {
        let from = line.split_once(&format!("{name}=\"")).map(|(_, from)| from);
        let text = from.and_then(|from| from.split('"').next());
        let text = text.unwrap_or_else(|| panic!("no {name} in {line}"));
        if text.is_empty() { "none" } else { text }.to_owned()
    };
    let row = format!("| {module} | {} | {} |", field("chosen"), field("rejected"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/hsms.md");
    let document = fs::read_to_string(path).unwrap();
    assert!(
        document.lines().any(|line| line == row),
        "docs/hsms.md shall have:\n{row}"
    );
}
