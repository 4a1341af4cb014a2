//! Every command of administration, as people and as scripts read it: compared with `script.golden`.

use std::collections::BTreeSet;

use super::Site;
use crate::support::{ended, program};

/// Commands with what they print, lines of standard error behind `! `, and the exit status if it is not 0.
/// Ids, secrets and times are masked.
const GOLDEN: &str = include_str!("script.golden");

/// Where the golden file is written when a test run is told to, to be looked at and committed.
const UPDATE: &str = "XKS_UPDATE_GOLDEN";

#[test]
fn every_command_prints_what_it_should() {
    let site = Site::start("");
    let mut credential = String::new();
    let actor = format!("uid:{}", rustix::process::getuid().as_raw());
    let (mut printed, mut given) = (String::new(), BTreeSet::new());
    for command in GOLDEN.lines().filter_map(|line| line.strip_prefix("$ ")) {
        // The actor is the user who runs the tests.
        let shown = |text: String| match command.starts_with("events") {
            true => collapsed(&of_root(&text, &actor)),
            false => text,
        };
        let typed = command.replace("{credential}", &credential);
        let arguments = words(&typed);
        let (code, out, log) = site.give(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        if let Some(id) = access_key_id(&out) {
            credential = id;
        }
        printed.push_str(&format!("$ {command}\n{}", shown(masked(&out))));
        for line in masked(&log).lines() {
            printed.push_str(&format!("! {line}\n"));
        }
        if code != Some(0) {
            printed.push_str(&format!("[exit {}]\n", code.unwrap()));
        }
        printed.push('\n');
        let is_json = arguments.iter().any(|argument| argument == "--json");
        let name = arguments
            .iter()
            .take_while(|argument| !argument.starts_with('-'))
            .take(2);
        let name: Vec<_> = name.map(String::as_str).collect();
        let name = if name[0] == "events" {
            "events".to_owned()
        } else {
            name.join(" ")
        };
        given.insert((name, is_json));
    }
    if let Some(path) = std::env::var_os(UPDATE) {
        std::fs::write(path, &printed).unwrap();
    }
    let parts = |text: &str| text.split("\n\n$ ").map(str::to_owned).collect::<Vec<_>>();
    for (printed, golden) in parts(&printed).iter().zip(&parts(GOLDEN)) {
        assert_eq!(printed, golden);
    }
    assert!(printed == GOLDEN, "{} bytes, and not {}", printed.len(), GOLDEN.len());
    for command in commands() {
        for is_json in [false, true] {
            assert!(
                given.contains(&(command.clone(), is_json)),
                "{command}, JSON: {is_json}"
            );
        }
    }
}

/// A text in which the user who runs the tests is root.
fn of_root(text: &str, actor: &str) -> String {
    let mut parts = text.split(actor);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| {
        let (_, rest) = part.split_once(')').unwrap();
        text + "uid:0(root)" + rest
    })
}

/// A table without the spaces that align it, which depend on how long its cells are.
fn collapsed(table: &str) -> String {
    let cells = |line: &str| line.split("  ").map(str::trim).map(str::to_owned).collect::<Vec<_>>();
    let line = |line: &str| {
        cells(line)
            .into_iter()
            .filter(|cell| !cell.is_empty())
            .collect::<Vec<_>>()
            .join("  ")
    };
    table.lines().map(|text| line(text) + "\n").collect()
}

/// All commands of administration, as the help lists them.
fn commands() -> Vec<String> {
    let listed = |noun: &str| {
        let (code, out, _) = ended(program().args([noun, "--help"]));
        assert_eq!(code, Some(0), "{out}");
        let (_, list) = out.split_once("Commands:\n")?;
        let names = list.lines().take_while(|line| line.starts_with("  "));
        let names = names
            .filter(|line| !line.starts_with("   "))
            .filter_map(|line| line.split_whitespace().next());
        let names = names
            .filter(|name| *name != "help")
            .map(|name| format!("{noun} {name}"));
        Some(names.collect::<Vec<_>>())
    };
    let nouns = [
        "tenants",
        "key-sets",
        "keys",
        "key-stores",
        "schedules",
        "cloud-accounts",
        "cloud-key-stores",
        "cloud-keys",
        "jobs",
        "nodes",
        "events",
    ];
    nouns
        .iter()
        .flat_map(|noun| listed(noun).unwrap_or_else(|| vec![(*noun).to_owned()]))
        .collect()
}

/// The words of a command; quotes keep spaces in one.
fn words(command: &str) -> Vec<String> {
    let parts = command.split('"').enumerate();
    parts
        .flat_map(|(place, part)| match place % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        })
        .collect()
}

fn access_key_id(out: &str) -> Option<String> {
    out.split(|char: char| !char.is_ascii_alphanumeric())
        .find(|word| {
            word.len() == 26
                && word
                    .bytes()
                    .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
        })
        .map(str::to_owned)
}

/// Puts the same character in the place of all those of a word that differs from run to run.
fn masked(text: &str) -> String {
    let is_word = |char: char| char.is_ascii_alphanumeric() || "+/=-:".contains(char);
    let (mut masked, mut word) = (String::new(), String::new());
    for char in text.chars().chain(['\n']) {
        if is_word(char) {
            word.push(char);
            continue;
        }
        masked.push_str(&mask(&word));
        masked.push(char);
        word.clear();
    }
    masked.pop();
    masked
}

fn mask(word: &str) -> String {
    if let Some(word) = word.strip_suffix(':') {
        return mask(word) + ":";
    }
    let all = |legal: fn(u8) -> bool| word.bytes().all(legal);
    let id = |byte: u8| matches!(byte, b'a'..=b'z' | b'2'..=b'7');
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    match word.len() {
        24 if all(id) => "i".repeat(24),
        26 if all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()) => "A".repeat(26),
        8 if all(hex) => "v".repeat(8),
        44 if all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')) => "s".repeat(44),
        20 if word.ends_with('Z') && word.as_bytes()[10] == b'T' => "tttt-tt-ttTtt:tt:ttZ".to_owned(),
        _ => match word.split_once('/') {
            Some((noun, rest)) => format!("{}/{}", mask(noun), mask(rest)),
            None => word.to_owned(),
        },
    }
}
