//! Compares `docs/requirements.md` with the workspace: every row marked M or S, and every row that keeps a
//! statement of the specification, is cited by a `//` comment in the code that keeps it and by the
//! documentation of a test that proves it; every row for operators stands in the server's guide. Other
//! documentation cites no ids.
//!
//! `cargo test -p xks-core --test requirements -- --nocapture` prints who cites what.

use std::{collections::BTreeSet, fs, io, path::Path};

/// How many statements of the specification bind a proxy, its key backend or its configuration.
const STATEMENTS: usize = 137;

/// An id, what kind of comment it stands in, and where: file and line, and for a test its name.
type Citation = (String, By, String);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum By {
    /// A `//` comment outside tests.
    Code,
    /// The documentation of a test that is not ignored.
    Test,
    /// Any other documentation outside tests: it is for users, who do not know the ids.
    Rustdoc,
    /// Any other comment within tests: it proves nothing, but the id must exist.
    Other,
}

/// The requirement ids in a text. `SHA-256` is none: its letters are not those of one of the document's
/// groups.
fn ids<'a>(text: &'a str, groups: &BTreeSet<&str>) -> impl Iterator<Item = &'a str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    words.filter(|word| {
        let parts = word.split_once('-');
        parts.is_some_and(|(group, number)| groups.contains(group) && number.parse::<u32>().is_ok())
    })
}

/// The text of the `//` comment that a line has: not of `///`, `//!`, or the `//` within a URL.
fn comment(line: &str) -> Option<&str> {
    let begins = |at: usize| {
        line.get(..at)
            .is_some_and(|code| code.is_empty() || code.ends_with(' '))
    };
    let at = line.match_indices("//").map(|(at, _)| at).find(|at| begins(*at))?;
    line.get(at + 2..).filter(|text| !text.starts_with(['/', '!']))
}

fn citations(file: &str, source: &str, groups: &BTreeSet<&str>) -> BTreeSet<Citation> {
    let mut found = BTreeSet::new();
    // What checks proxies and backends keeps no requirement of theirs.
    let checks = |part: &str| ["tests", "testkit", "testing", "kms-double"].contains(&part);
    let mut in_tests = Path::new(file).ends_with("tests.rs") || file.split('/').any(checks);
    // The documentation that was just read, with its lines, and the attributes under it.
    let (mut above, mut attributes) = (Vec::new(), String::new());
    for (number, line) in (1..).zip(source.lines().map(str::trim)) {
        let at = || format!("{file}:{number}");
        let [code, rustdoc] = if in_tests {
            [By::Other; 2]
        } else {
            [By::Code, By::Rustdoc]
        };
        if let Some(comment) = comment(line) {
            found.extend(ids(comment, groups).map(|id| (id.to_owned(), code, at())));
        } else if let Some(text) = line.strip_prefix("//!") {
            found.extend(ids(text, groups).map(|id| (id.to_owned(), rustdoc, at())));
        }
        let in_attribute = attributes.matches('[').count() > attributes.matches(']').count();
        if let Some(text) = line.strip_prefix("///") {
            above.extend(ids(text, groups).map(|id| (id, at())));
        } else if line.starts_with("#[") || in_attribute {
            attributes.push_str(line);
        } else if !line.starts_with("//") {
            let is_test = attributes.contains("#[test]") || attributes.contains("#[tokio::test");
            let is_run = is_test && !attributes.contains("#[ignore");
            for (id, documented_at) in above.drain(..) {
                found.insert(match line.split_once("fn ") {
                    Some((_, function)) if is_run => {
                        let name = function.split('(').next().unwrap_or(function);
                        (id.to_owned(), By::Test, format!("{} {name}", at()))
                    }
                    _ if is_test => (id.to_owned(), By::Other, documented_at),
                    _ => (id.to_owned(), rustdoc, documented_at),
                });
            }
            in_tests |= attributes.contains("#[cfg(test)]") && line.starts_with("mod ") && line.ends_with('{');
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

/// The rows `| number | level | statement | ids |` of the document's tables of statements, their ids apart. A
/// number is `TR.1`, so that it is not taken for an id.
fn statements(document: &str) -> impl Iterator<Item = (&str, Vec<&str>)> {
    document.lines().filter_map(|line| {
        let cells = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ");
        let [number, _level, _statement, ids] = cells.collect::<Vec<_>>().try_into().ok()?;
        let (_, count) = number.split_once('.')?;
        count.parse::<u32>().ok()?;
        Some((number, ids.split(", ").collect()))
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

/// The table of ids with what cites them, and what is wrong with these citations of the document's
/// requirements. `guide` is the text for operators.
fn judge(document: &str, guide: &str, cited: &BTreeSet<Citation>) -> (Vec<String>, Vec<String>) {
    let (mut table, mut problems) = (Vec::new(), Vec::new());
    let mut known = BTreeSet::new();
    for (id, level, requirement) in rows(document) {
        let places = |kind| {
            let of_id = cited.iter().filter(move |(cited, by, _)| cited == id && *by == kind);
            of_id.map(|(_, _, place)| place).collect::<Vec<_>>()
        };
        let (code, tests) = (places(By::Code), places(By::Test));
        let of_id = statements(document).filter(|(_, ids)| ids.contains(&id));
        let keeps = of_id.map(|(number, _)| number).collect::<Vec<_>>();
        let is_for_operators = requirement.starts_with("For operators");
        table.push(format!("\n{id:6} {level:3} {requirement}"));
        if !keeps.is_empty() {
            table.push(format!("           of the specification: {}", keeps.join(", ")));
        }
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
        if level.contains(['M', 'S']) || !keeps.is_empty() {
            require(!code.is_empty(), "is not cited in code");
            require(!tests.is_empty(), "is not cited by a test");
        }
        let group = id.split('-').next().into_iter().collect();
        let in_guide = !is_for_operators || ids(guide, &group).any(|cited| cited == id);
        require(in_guide, "is for operators, and not in their guide");
    }
    for (number, ids) in statements(document) {
        if !known.insert(number) {
            problems.push(format!("{number} stands in the document twice"));
        }
        let unknown = ids.iter().filter(|id| !known.contains(*id));
        problems.extend(unknown.map(|id| format!("{id} is not in the document, yet said to keep {number}")));
    }
    for (id, by, place) in cited {
        if !known.contains(&**id) {
            problems.push(format!("{id} is not in the document, yet named by {place}"));
        } else if *by == By::Rustdoc {
            problems.push(format!(
                "{id} stands in documentation, not in a comment at code: {place}"
            ));
        }
    }
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
    assert_eq!(statements(&document).count(), STATEMENTS, "statements are missing");
    assert!(problems.is_empty(), "what is wrong:\n{}", problems.join("\n"));
}

const SAMPLE: &str = "
//! About A-1.
fn code() { call(\"https://A-1\"); } // A-2, A-3; not SHA-256, X-A-4, A-4b or C-9
/// About A-4.
// A-1
#[derive(Debug)]
struct Item;
#[cfg(test)]
mod tests {
    /// A-5 and more,
    /// A-6.
    #[tokio::test(
        start_paused = true
    )]
    async fn first() { /* A-2 */ } // A-7 in the body

    // A-8: no documentation
    #[test]
    fn second() {}
    /// A-8
    #[test]
    #[ignore = \"slow\"]
    fn third() {}
    /// A-9
    fn help() {}
}
";

#[test]
fn citations_are_found_where_they_count() {
    let of = |file, kind| -> Vec<String> {
        let found = citations(file, SAMPLE, &["A"].into()).into_iter();
        let of_kind = found.filter(|(_, by, _)| *by == kind);
        of_kind.map(|(id, _, place)| format!("{id} {place}")).collect()
    };
    let tests = |file: &str| ["A-5", "A-6"].map(|id| format!("{id} {file}:15 first")).to_vec();
    assert_eq!(of("f.rs", By::Code), ["A-1 f.rs:5", "A-2 f.rs:3", "A-3 f.rs:3"]);
    assert_eq!(of("f.rs", By::Rustdoc), ["A-1 f.rs:2", "A-4 f.rs:4"]);
    assert_eq!(of("f.rs", By::Test), tests("f.rs"));
    let other = ["A-7 f.rs:15", "A-8 f.rs:17", "A-8 f.rs:20", "A-9 f.rs:24"];
    assert_eq!(of("f.rs", By::Other), other);
    for file in ["a/tests.rs", "a/tests/f.rs"] {
        assert!([By::Code, By::Rustdoc].iter().all(|by| of(file, *by).is_empty()));
        assert_eq!(of(file, By::Test), tests(file));
    }
}

#[test]
fn each_fault_is_reported() {
    let document = "| A-1 | M | text |\n| A-2 | – | text | more |\n| A-3 | – | For operators: text |\n\
                    | S.1 | MUST | text | A-1 |\n";
    let guide = "what A-3 wants";
    let code = "// A-1\nfn code() {}\n";
    let both = &format!("{code}#[cfg(test)]\nmod tests {{\n/// A-1\n#[test]\nfn proof() {{}}\n");
    let change = |from, to| document.replace(from, to);
    let cases: [(&str, &str, &str, &[&str]); 11] = [
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
            &format!("// A-4\n\n{both}"),
            &["A-4 is not in the document, yet named by f.rs:1"],
        ),
        (
            document,
            guide,
            &format!("/// A-2\nstruct A;\n{both}"),
            &["A-2 stands in documentation, not in a comment at code: f.rs:1"],
        ),
        (
            document,
            "A-33",
            both,
            &["A-3 is for operators, and not in their guide"],
        ),
        (
            &change("A-2", "A-1"),
            guide,
            both,
            &["A-1 stands in the document twice"],
        ),
        (
            &change("| A-1 |\n", "| A-1, A-2 |\n"),
            guide,
            both,
            &["A-2 is not cited in code", "A-2 is not cited by a test"],
        ),
        (
            &change("| A-1 |\n", "|  |\n"),
            guide,
            both,
            &[" is not in the document, yet said to keep S.1"],
        ),
        (
            &change("| A-1 |\n", "| A-1, B-1 |\n"),
            guide,
            both,
            &["B-1 is not in the document, yet said to keep S.1"],
        ),
        (
            &change("A-2 | – | text | more", "S.1 | MUST | text | A-1"),
            guide,
            both,
            &["S.1 stands in the document twice"],
        ),
    ];
    for (document, guide, source, expected) in cases {
        let (_, problems) = judge(document, guide, &citations("f.rs", source, &["A"].into()));
        assert_eq!(problems, expected, "{document}{source}");
    }
}
