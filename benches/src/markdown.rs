//! Tables in Markdown, and how they get into documents.

use std::{fs, path::Path};

use anyhow::Context as _;

/// A table; the first column is text, the others are numbers.
#[must_use]
pub fn table(head: &[&str], lines: &[Vec<String>]) -> String {
    let line = |cells: &[&str]| format!("| {} |\n", cells.join(" | "));
    let mut rule = vec!["--:"; head.len()];
    if let Some(first) = rule.first_mut() {
        *first = "---";
    }
    let mut text = line(head) + &line(&rule);
    for cells in lines {
        text += &line(&cells.iter().map(String::as_str).collect::<Vec<_>>());
    }
    text
}

/// Puts a text into a document, named from the root of the workspace, in place of what is between the two
/// comments with that name.
///
/// # Errors
/// When the document does not have them.
pub fn put(document: &str, name: &str, text: &str) -> anyhow::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(document);
    let old = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let new = replaced(&old, name, text).with_context(|| format!("{document} has no place for {name}"))?;
    Ok(fs::write(&path, new)?)
}

fn replaced(document: &str, name: &str, text: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {name}: begin -->\n"), format!("<!-- {name}: end -->"));
    let (before, rest) = document.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some([before, &begin, text, &end, after].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_takes_the_place_of_the_former_one_and_of_nothing_else() {
        let document = "a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb\n<!-- y: begin -->\n<!-- y: end -->\n";
        let new = replaced(document, "x", "new\n").unwrap();
        assert_eq!(new, document.replace("old", "new"));
        assert_eq!(replaced(&new, "x", "new\n").unwrap(), new);
        assert_eq!(replaced(document, "z", "new\n"), None);
    }
}
