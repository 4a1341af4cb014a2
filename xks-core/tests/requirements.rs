//! Holds `docs/requirements.md` against the workspace: every row marked M or S is cited by a comment in the code that
//! keeps it and by the comment above a test that proves it; every row for operators stands in the server's guide.
//!
//! `cargo test -p xks-core --test requirements -- --nocapture` prints who cites what.

use std::{collections::BTreeSet, fs, io, path::Path};

/// An id, what kind of comment it stands in, and where: file and line, and for a test its name.
type Citation = (String, By, String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum By {
    /// A comment outside tests.
    Code,
    /// The comment right above the attributes of a test that is not ignored.
    Test,
    /// Any other comment: it proves nothing, but the id must exist.
    Other,
}

/// The requirement ids in a text. `SHA-256` is none: its letters are not those of one of the document's groups.
fn ids<'a>(text: &'a str, groups: &BTreeSet<&str>) -> impl Iterator<Item = &'a str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    words.filter(|word| {
        let parts = word.split_once('-');
        parts.is_some_and(|(group, number)| groups.contains(group) && number.parse::<u32>().is_ok())
    })
}

fn citations(file: &str, source: &str, groups: &BTreeSet<&str>) -> BTreeSet<Citation> {
    let mut found = BTreeSet::new();
    // What checks proxies and backends keeps no requirement of theirs.
    let checks = |part: &str| ["tests", "testkit", "testing", "kms-double"].contains(&part);
    let mut in_tests = Path::new(file).ends_with("tests.rs") || file.split('/').any(checks);
    // The comment that was just read, and the attributes under it.
    let (mut above, mut attributes) = (Vec::new(), String::new());
    for (number, line) in (1..).zip(source.lines().map(str::trim)) {
        if let Some((_, comment)) = line.split_once("//") {
            let by = if in_tests { By::Other } else { By::Code };
            found.extend(ids(comment, groups).map(|id| (id.to_owned(), by, format!("{file}:{number}"))));
        }
        let is_comment = line.starts_with("//");
        let in_attribute = attributes.matches('[').count() > attributes.matches(']').count();
        if is_comment && attributes.is_empty() {
            above.extend(ids(line, groups));
        } else if line.starts_with("#[") || in_attribute {
            attributes.push_str(line);
        } else if !is_comment {
            let is_test = attributes.contains("#[test]") || attributes.contains("#[tokio::test");
            if let (true, Some((_, function))) = (is_test, line.split_once("fn ")) {
                let name = function.split('(').next().unwrap_or(function);
                let ids = above.iter().filter(|_| !attributes.contains("#[ignore"));
                found.extend(ids.map(|id| (str::to_owned(id), By::Test, format!("{file}:{number} {name}"))));
            }
            in_tests |= attributes.contains("#[cfg(test)]") && line.starts_with("mod ") && line.ends_with('{');
            above.clear();
            attributes.clear();
        }
    }
    found
}

/// The rows `| id | level | requirement |` of the document's tables.
fn rows(document: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    document.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ");
        let (id, level, requirement) = (cells.next()?, cells.next()?, cells.next()?);
        let (group, number) = id.split_once('-')?;
        let is_id = group.bytes().all(|byte| byte.is_ascii_uppercase()) && number.parse::<u32>().is_ok();
        is_id.then_some((id, level, requirement))
    })
}

/// The citations in the Rust files of a folder and of those in it.
fn walk(folder: &Path, root: &Path, groups: &BTreeSet<&str>, found: &mut BTreeSet<Citation>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            // Fuzz targets and benches neither keep nor prove; build folders hold other people's code.
            if !name.starts_with('.') && !["target", "fuzz", "benches"].contains(&&*name) {
                walk(&path, root, groups, found)?;
            }
        } else if name.ends_with(".rs") && !path.ends_with(file!()) {
            let file = path.strip_prefix(root).unwrap_or(&path).to_string_lossy();
            found.extend(citations(&file, &fs::read_to_string(&path)?, groups));
        }
    }
    Ok(())
}

/// The table of ids with what cites them, and what is wrong with these citations of the document's requirements.
/// `guide` is the text for operators.
fn judge(document: &str, guide: &str, cited: &BTreeSet<Citation>) -> (Vec<String>, Vec<String>) {
    let (mut table, mut problems) = (Vec::new(), Vec::new());
    let mut known = BTreeSet::new();
    for (id, level, requirement) in rows(document) {
        let places = |kind| {
            let of_id = cited.iter().filter(move |(cited, by, _)| cited == id && *by == kind);
            of_id.map(|(_, _, place)| place).collect::<Vec<_>>()
        };
        let (code, tests) = (places(By::Code), places(By::Test));
        let is_for_operators = requirement.starts_with("For operators");
        table.push(format!("\n{id:6} {level:3} {requirement}"));
        table.extend(code.iter().map(|place| format!("           code  {place}")));
        table.extend(tests.iter().map(|place| format!("           test  {place}")));
        if is_for_operators {
            table.push("           kept by the operator, as the guide says".to_owned());
        }
        let mut require = |holds: bool, problem: &str| {
            if !holds {
                problems.push(format!("{id} {problem}"));
            }
        };
        require(known.insert(id), "stands in the document twice");
        if level.contains(['M', 'S']) {
            require(!code.is_empty(), "is not cited in code");
            require(!tests.is_empty(), "is not cited by a test");
        }
        let group = id.split('-').next().into_iter().collect();
        let in_guide = !is_for_operators || ids(guide, &group).any(|cited| cited == id);
        require(in_guide, "is for operators, and not in their guide");
    }
    let unknown = cited.iter().filter(|(id, ..)| !known.contains(&**id));
    problems.extend(unknown.map(|(id, _, place)| format!("{id} is not in the document, yet named by {place}")));
    (table, problems)
}

#[test]
fn every_requirement_is_kept_and_proved() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let document = fs::read_to_string(root.join("docs/requirements.md")).unwrap();
    let guide = fs::read_to_string(root.join("examples/xks-proxy/README.md")).unwrap();
    let groups = rows(&document).filter_map(|(id, ..)| id.split('-').next()).collect();
    let mut cited = BTreeSet::new();
    walk(root, root, &groups, &mut cited).unwrap();
    let (table, problems) = judge(&document, &guide, &cited);
    println!("{}\n", table.join("\n"));
    assert!(rows(&document).count() >= 60, "requirements are missing");
    assert!(problems.is_empty(), "what is wrong:\n{}", problems.join("\n"));
}

const SAMPLE: &str = "
//! About A-1.
fn code() { call(); } // A-2, A-3; not SHA-256, X-A-4, A-4b or C-9
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
    #[test]
    #[ignore = \"slow\"]
    fn third() {}
}
";

#[test]
fn citations_are_found_where_they_count() {
    let of = |file, kind| -> Vec<String> {
        let found = citations(file, SAMPLE, &["A"].into()).into_iter();
        let of_kind = found.filter(|(_, by, _)| *by == kind);
        of_kind.map(|(id, _, place)| format!("{id} {place}")).collect()
    };
    let tests = |file: &str| ["A-5", "A-6"].map(|id| format!("{id} {file}:11 first")).to_vec();
    assert_eq!(of("f.rs", By::Code), ["A-1 f.rs:2", "A-2 f.rs:3", "A-3 f.rs:3"]);
    assert_eq!(of("f.rs", By::Test), tests("f.rs"));
    let other = ["A-5 f.rs:6", "A-6 f.rs:7", "A-7 f.rs:11", "A-8 f.rs:13", "A-8 f.rs:17"];
    assert_eq!(of("f.rs", By::Other), other);
    for file in ["a/tests.rs", "a/tests/f.rs"] {
        assert!(of(file, By::Code).is_empty() && of(file, By::Test) == tests(file));
    }
}

#[test]
fn each_fault_is_reported() {
    let document = "| A-1 | M | text |\n| A-2 | – | text | more |\n| A-3 | – | For operators: text |\n";
    let guide = "what A-3 wants";
    let code = "// A-1\nfn code() {}\n";
    let both = &format!("{code}#[cfg(test)]\nmod tests {{\n/// A-1\n#[test]\nfn proof() {{}}\n");
    let unknown = &format!("// A-4\n\n{both}");
    let cases: [(&str, &str, &str, &[&str]); 6] = [
        (document, guide, both, &[]),
        (
            document,
            guide,
            "",
            &["A-1 is not cited in code", "A-1 is not cited by a test"],
        ),
        (document, guide, code, &["A-1 is not cited by a test"]),
        (
            document,
            guide,
            unknown,
            &["A-4 is not in the document, yet named by f.rs:1"],
        ),
        (
            document,
            "A-33",
            both,
            &["A-3 is for operators, and not in their guide"],
        ),
        (
            &document.replace("A-2", "A-1"),
            guide,
            both,
            &["A-1 stands in the document twice"],
        ),
    ];
    for (document, guide, source, expected) in cases {
        let (_, problems) = judge(document, guide, &citations("f.rs", source, &["A"].into()));
        assert_eq!(problems, expected, "{document}{source}");
    }
}
