//! Counts that do not depend on how busy the machine is: instructions and heap allocations of one request.
//!
//! ```text
//! cargo run --release -p xks-benches --no-default-features --bin counts            holds them against benches/counts.md
//! cargo run --release -p xks-benches --no-default-features --bin counts -- write   writes that file
//! ```
//! It fails when a count has grown by more than 5 % since the file was written. Instructions are counted by
//! valgrind, which knows no instructions for SHA-256: there it is done by others, which are two thirds of
//! what is counted.

#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a program that counts may panic and print"
)]

use std::{
    env, fs,
    hint::black_box,
    path::Path,
    process::{Command, ExitCode},
};

use xks_benches::{DATA_KEY, LARGEST, Signed, proxy};
use xks_core::Proxy;

/// How much more than the file says is too much.
const TOLERANCE: f64 = 1.05;

/// What is counted: a name, the request, and the status of its answer.
fn cases(proxy: &Proxy) -> Vec<(&'static str, Signed, u16)> {
    let answer = |signed: &Signed| pollster::block_on(proxy.handle(signed.request()));
    let decrypt = |size| Signed::decrypt(size, &answer(&Signed::encrypt(size, false)));
    vec![
        ("encrypt", Signed::encrypt(DATA_KEY, false), 200),
        ("encrypt with integrity value", Signed::encrypt(DATA_KEY, true), 200),
        (
            "encrypt with integrity value, largest",
            Signed::encrypt(LARGEST, true),
            200,
        ),
        ("decrypt", decrypt(DATA_KEY), 200),
        ("decrypt, largest", decrypt(LARGEST), 200),
        ("get key metadata", Signed::metadata(), 200),
        ("get health status", Signed::health(), 200),
        ("forged signature", Signed::encrypt(DATA_KEY, false).forged(), 401),
    ]
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["run", case, times] => {
            run(
                case.parse().expect("a number of a case"),
                times.parse().expect("a number"),
            );
            ExitCode::SUCCESS
        }
        ["write"] => {
            let table = table(&count());
            fs::write(file(), &table).expect("the table can be written");
            print!("{table}");
            ExitCode::SUCCESS
        }
        [] => compare(),
        _ => {
            println!("counts [write]");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, PartialEq)]
struct Count {
    name: String,
    instructions: u64,
    allocations: u64,
    bytes: u64,
}

fn count() -> Vec<Count> {
    let proxy = proxy();
    let cases = cases(&proxy);
    let of_case = |(number, (name, signed, status)): (usize, &(&str, Signed, u16))| {
        let handle = || pollster::block_on(proxy.handle(signed.request()));
        assert_eq!(handle().status(), *status, "{name}");
        let heap = allocation_counter::measure(|| drop(black_box(handle())));
        let (few, many) = (50, 150);
        let instructions = (instructions(number, many) - instructions(number, few)) / (many - few);
        Count {
            name: (*name).to_owned(),
            instructions,
            allocations: heap.count_total,
            bytes: heap.bytes_total,
        }
    };
    cases.iter().enumerate().map(of_case).collect()
}

fn run(case: usize, times: u64) {
    let proxy = proxy();
    let cases = cases(&proxy);
    let (_, signed, _) = cases.get(case).expect("there is such a case");
    for _ in 0..times {
        black_box(pollster::block_on(proxy.handle(signed.request())));
    }
}

/// Of a process that handles this request so many times.
fn instructions(case: usize, times: u64) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
        .arg(env::current_exe().expect("this program"))
        .args(["run", &case.to_string(), &times.to_string()])
        .output()
        .expect("valgrind is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let line = said.lines().find_map(|line| line.split_once("refs:"));
    let (_, number) = line.expect("valgrind says how many instructions there were");
    number.replace(',', "").trim().parse().expect("a number")
}

fn file() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("counts.md")
}

fn version(program: &str) -> String {
    let output = Command::new(program).arg("--version").output();
    let output = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    output.unwrap_or_else(|_| format!("an unknown {program}"))
}

fn table(counts: &[Count]) -> String {
    let (rustc, valgrind) = (version("rustc"), version("valgrind"));
    let date = Command::new("date")
        .args(["-u", "+%F"])
        .output()
        .map(|output| output.stdout);
    let date = String::from_utf8_lossy(&date.unwrap_or_default()).trim().to_owned();
    let rows: String = counts
        .iter()
        .map(|count| {
            let Count {
                name,
                instructions,
                allocations,
                bytes,
            } = count;
            format!("| {name} | {instructions} | {allocations} | {bytes} |\n")
        })
        .collect();
    format!(
        "# What one request takes\n\nIn process, over a software key, without a log. Written by\n\
         `cargo run --release -p xks-benches --no-default-features --bin counts -- write`; the tests fail when a count\n\
         has grown by more than 5 %. A data key has 32 bytes and AAD of 200, the largest request 4300 and 8192.\n\
         Valgrind knows no instructions for SHA-256, which is therefore two thirds of what is counted here.\n\n\
         {date}, {rustc}, {valgrind}\n\n| request | instructions | heap allocations | bytes allocated |\n|---|---|---|---|\n{rows}"
    )
}

fn read(table: &str) -> Vec<Count> {
    let rows = table.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ");
        Some(Count {
            name: cells.next()?.to_owned(),
            instructions: cells.next()?.parse().ok()?,
            allocations: cells.next()?.parse().ok()?,
            bytes: cells.next()?.parse().ok()?,
        })
    });
    rows.collect()
}

fn compare() -> ExitCode {
    let expected = read(&fs::read_to_string(file()).unwrap_or_default());
    let counts = count();
    let mut has_grown = expected.is_empty();
    println!(
        "{:40} {:>22} {:>18} {:>20}",
        "request", "instructions", "allocations", "bytes"
    );
    for count in &counts {
        let before = expected.iter().find(|before| before.name == count.name);
        let mut cell = |now: u64, before: Option<u64>| {
            let before = before.unwrap_or_default();
            has_grown |= now as f64 > before as f64 * TOLERANCE;
            format!("{now} ({:+.1} %)", (now as f64 / before as f64 - 1.0) * 100.0)
        };
        let instructions = cell(count.instructions, before.map(|before| before.instructions));
        let allocations = cell(count.allocations, before.map(|before| before.allocations));
        let bytes = cell(count.bytes, before.map(|before| before.bytes));
        println!("{:40} {instructions:>22} {allocations:>18} {bytes:>20}", count.name);
    }
    if has_grown {
        println!("A count has grown by more than 5 %. If that is worth it: `... --bin counts -- write`, and say why.");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
