//! Holds `docs/requirements.md` against the workspace: every row marked M or S is cited by a comment in the code that
//! keeps it and by the comment above a test that proves it, or stands in the table of what is not kept yet.
//!
//! `cargo test -p xks-core --test requirements -- --nocapture` prints who cites what.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

/// The part of the document that lists what nothing keeps yet.
const NOT_KEPT: &str = "\n## Not kept by the library yet\n";

/// What one file says about requirements.
#[derive(Debug, Default, PartialEq, Eq)]
struct Citations {
    /// Ids in the comments of code outside tests.
    code: BTreeSet<String>,
    /// Ids in the comment right above the attributes of a test that is not ignored, and the test's name.
    tests: BTreeSet<(String, String)>,
    /// Ids in any comment.
    all: BTreeSet<String>,
}

/// The requirement ids in a text, such as `ENC-7`: upper-case letters, a hyphen and digits, as one word. Other words of
/// that shape, such as `SHA-256`, are dropped: an id has one of the groups of the document.
fn ids<'a>(text: &'a str, groups: &BTreeSet<&str>) -> impl Iterator<Item = &'a str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .filter(|word| {
            let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            word.split_once('-')
                .is_some_and(|(group, number)| groups.contains(group) && is_number(number))
        })
}

fn find_citations(is_test_file: bool, source: &str, groups: &BTreeSet<&str>) -> Citations {
    let mut found = Citations::default();
    let mut in_tests = is_test_file;
    // The comment that was just read, and the attributes under it.
    let (mut above, mut attributes) = (Vec::new(), String::new());
    for line in source.lines().map(str::trim) {
        if let Some((_, comment)) = line.split_once("//") {
            found.all.extend(ids(comment, groups).map(str::to_owned));
            if !in_tests {
                found.code.extend(ids(comment, groups).map(str::to_owned));
            }
        }
        let in_attribute = attributes.matches('[').count() > attributes.matches(']').count();
        if line.starts_with("//") && attributes.is_empty() {
            above.extend(ids(line, groups));
        } else if line.starts_with("#[") || in_attribute {
            attributes.push_str(line);
        } else if !line.starts_with("//") {
            let is_test = attributes.contains("#[test]") || attributes.contains("#[tokio::test");
            if let Some((_, name)) = line
                .split_once("fn ")
                .filter(|_| is_test && !attributes.contains("#[ignore"))
            {
                let name = name.split('(').next().unwrap_or(name);
                found
                    .tests
                    .extend(above.iter().map(|id| (str::to_owned(id), name.to_owned())));
            }
            in_tests |= attributes.contains("#[cfg(test)]") && line.starts_with("mod ") && line.ends_with('{');
            above.clear();
            attributes.clear();
        }
    }
    found
}

/// The rows `| id | cell | ...` of the tables in a part of the document: id and next cell.
fn rows(part: &str) -> impl Iterator<Item = (&str, &str)> {
    part.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let (id, cell) = (cells.next()?, cells.next()?);
        let (group, number) = id.split_once('-')?;
        let is_id = group.bytes().all(|byte| byte.is_ascii_uppercase()) && number.parse::<u32>().is_ok();
        is_id.then_some((id, cell.trim_end_matches(" |")))
    })
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && !name.starts_with('.') && name != "target" && name != "fuzz" {
            rust_files(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// What is wrong with these citations of these requirements, and a line for each id.
fn judge(document: &str, files: &BTreeMap<String, Citations>) -> (Vec<String>, Vec<String>) {
    let (mut table, mut problems) = (Vec::new(), Vec::new());
    let (kept, not_kept) = document.split_once(NOT_KEPT).unwrap_or((document, ""));
    let not_kept: BTreeSet<&str> = rows(not_kept).map(|(id, _)| id).collect();
    let mut known = BTreeSet::new();
    for (id, level) in rows(kept) {
        if !known.insert(id) {
            problems.push(format!("{id} stands in the document twice"));
        }
        let files_citing = files.iter().filter(|(_, citations)| citations.code.contains(id));
        let code: Vec<&str> = files_citing.map(|(file, _)| &**file).collect();
        let tests = files.values().flat_map(|citations| &citations.tests);
        let tests: Vec<&str> = tests
            .filter(|(cited, _)| cited == id)
            .map(|(_, name)| &**name)
            .collect();
        let (code_list, test_list) = (code.join(" "), tests.join(" "));
        table.push(format!("{id:7} {level:4} code: {code_list} tests: {test_list}"));
        if not_kept.contains(id) {
            if !tests.is_empty() {
                problems.push(format!("{id} is proved by {test_list}, yet listed as not kept"));
            }
        } else if level.contains(['M', 'S']) {
            if code.is_empty() {
                problems.push(format!("{id} is not cited in code"));
            }
            if tests.is_empty() {
                problems.push(format!("{id} is not cited by a test"));
            }
        }
    }
    let listed = not_kept.iter().map(|id| ("the list of what is not kept", *id));
    let cited = files
        .iter()
        .flat_map(|(file, citations)| citations.all.iter().map(|id| (&**file, &**id)));
    let unknown = listed.chain(cited).filter(|(_, id)| !known.contains(id));
    problems.extend(unknown.map(|(place, id)| format!("{place} names {id}, which the document does not have")));
    (table, problems)
}

#[test]
fn every_requirement_is_kept_and_proved() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let document = fs::read_to_string(root.join("docs/requirements.md")).unwrap();
    let groups: BTreeSet<&str> = rows(&document).filter_map(|(id, _)| id.split('-').next()).collect();
    let mut paths = Vec::new();
    rust_files(root, &mut paths).unwrap();
    paths.retain(|path| !path.ends_with(file!())); // the samples below are no citations
    let citations = |path: &PathBuf| {
        let path = path.strip_prefix(root).unwrap();
        let is_test_file = path.ends_with("tests.rs") || path.iter().any(|part| part == "tests" || part == "benches");
        let source = fs::read_to_string(root.join(path)).unwrap();
        (
            path.display().to_string(),
            find_citations(is_test_file, &source, &groups),
        )
    };
    let files: BTreeMap<_, _> = paths.iter().map(citations).collect();
    let (table, problems) = judge(&document, &files);
    assert!(
        table.len() > 50 && files.len() > 25,
        "the document or the sources were not found"
    );
    println!("{}", table.join("\n"));
    assert!(
        problems.is_empty(),
        "{} problems:\n{}",
        problems.len(),
        problems.join("\n")
    );
}

const SAMPLE: &str = "
//! About A-1.
fn code() { call(); } // A-2, A-3; not SHA-256, X-A-4, A-4b or B-9
#[cfg(test)]
mod tests {
    /// A-5 and more,
    /// A-6.
    #[tokio::test(
        start_paused = true
    )]
    async fn first() { /* A-2 */ } // A-7 in the body

    /// A-8: too far away.

    #[test]
    fn second() {}
    /// A-8
    fn helper() {}
    /// A-8
    #[test]
    #[ignore = \"slow\"]
    fn third() {}
}
";

#[test]
fn citations_are_found_where_they_count() {
    let groups = ["A", "B"].into();
    let set = |ids: &str| ids.split(' ').map(str::to_owned).collect::<BTreeSet<_>>();
    let found = find_citations(false, SAMPLE, &groups);
    assert_eq!(found.code, set("A-1 A-2 A-3 B-9"));
    assert_eq!(
        found.tests,
        [("A-5", "first"), ("A-6", "first")]
            .map(|(a, b)| (a.into(), b.into()))
            .into()
    );
    assert_eq!(found.all, set("A-1 A-2 A-3 A-5 A-6 A-7 A-8 B-9"));
    assert!(find_citations(true, SAMPLE, &groups).code.is_empty());
}

#[test]
fn each_fault_is_reported() {
    let judge = |document: &str, source| {
        let files = [("f.rs".to_owned(), find_citations(false, source, &["A"].into()))].into();
        judge(document, &files).1
    };
    let kept = "| A-1 | M | text |\n| A-2 | – | text | more |\n";
    let not_kept = format!("{kept}{NOT_KEPT}| A-1 | The server. |\n");
    let (code, test) = ("// A-1\nfn code() {}\n", "\n/// A-1\n#[test]\nfn proof() {}\n");
    let both = &format!("{code}#[cfg(test)]\nmod tests {{{test}}}\n");
    assert_eq!(judge(kept, both), [""; 0]);
    assert_eq!(
        judge(kept, ""),
        ["A-1 is not cited in code", "A-1 is not cited by a test"]
    );
    assert_eq!(judge(kept, code), ["A-1 is not cited by a test"]);
    assert_eq!(judge(&not_kept, code), [""; 0]);
    assert_eq!(
        judge(&not_kept, both),
        ["A-1 is proved by proof, yet listed as not kept"]
    );
    assert_eq!(
        judge(&kept.replace("A-2", "A-1"), both),
        ["A-1 stands in the document twice"]
    );
    let unknown = &format!("{both}// A-3\n");
    assert_eq!(
        judge(kept, unknown),
        ["f.rs names A-3, which the document does not have"]
    );
    let unknown = &format!("{not_kept}| A-4 | Nobody. |\n");
    let place = "the list of what is not kept names A-4, which the document does not have";
    assert_eq!(judge(unknown, code), [place]);
}
