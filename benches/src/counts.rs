//! Counts that do not depend on how busy the machine is: instructions and heap allocations of one request.
//!
//! ```text
//! cargo run --release -p xks-benches --no-default-features --bin counts            holds them against benches/counts.md
//! cargo run --release -p xks-benches --no-default-features --bin counts -- write   writes that file
//! ```
//! It fails when a count has grown by more than 5 % since the file was written, and when a managed key takes
//! more than a key without management beside it: 3 % more instructions, or one allocation. Instructions are
//! counted by valgrind, which knows no instructions for SHA-256: there it is done by others, which are two
//! thirds of what is counted.

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

use xks_benches::{DATA_KEY, LARGEST, SideBySide, Signed, Size, proxy};
use xks_core::Proxy;

/// How much more than the file says is too much.
const TOLERANCE: f64 = 1.05;

/// How many instructions a managed key may take for each of the same key without management.
const MANAGED: f64 = 1.03;
const IS_MANAGED: &str = ", managed";

/// What is counted.
struct Case<'p> {
    name: String,
    proxy: &'p Proxy,
    signed: Signed,
    status: u16,
}

impl Case<'_> {
    fn handle(&self) {
        let answer = pollster::block_on(self.proxy.handle(self.signed.request()));
        assert_eq!(black_box(answer).status(), self.status, "{}", self.name);
    }
}

/// The proxies of all cases.
struct Proxies {
    soft: Proxy,
    beside: SideBySide,
}

impl Proxies {
    fn new() -> Self {
        let beside = SideBySide::new();
        Self { soft: proxy(), beside }
    }

    fn cases(&self) -> Vec<Case<'_>> {
        let soft = |(name, signed, status): (&str, _, _)| Case {
            name: name.to_owned(),
            proxy: &self.soft,
            signed,
            status,
        };
        let soft = [
            ("encrypt", Signed::encrypt(DATA_KEY, false), 200),
            ("encrypt with integrity value", Signed::encrypt(DATA_KEY, true), 200),
            (
                "encrypt with integrity value, largest",
                Signed::encrypt(LARGEST, true),
                200,
            ),
            (
                "decrypt",
                decrypt(&self.soft, &Signed::encrypt(DATA_KEY, false), DATA_KEY),
                200,
            ),
            (
                "decrypt, largest",
                decrypt(&self.soft, &Signed::encrypt(LARGEST, false), LARGEST),
                200,
            ),
            ("get key metadata", Signed::metadata(), 200),
            ("get health status", Signed::health(), 200),
            ("forged signature", Signed::encrypt(DATA_KEY, false).forged(), 401),
        ]
        .map(soft);
        let beside = [("", &self.beside.alone), (IS_MANAGED, &self.beside.managed)];
        let beside = beside.into_iter().flat_map(|(suffix, proxy)| {
            let to = |signed: Signed, operation: &str| signed.to(&format!("keys/{}/{operation}", self.beside.key));
            let encrypt = |with_integrity_value| to(Signed::encrypt(DATA_KEY, with_integrity_value), "encrypt");
            [
                ("encrypt", encrypt(false)),
                ("encrypt with integrity value", encrypt(true)),
                ("decrypt", to(decrypt(proxy, &encrypt(false), DATA_KEY), "decrypt")),
                ("get key metadata", to(Signed::metadata(), "metadata")),
            ]
            .map(|(name, signed)| Case {
                name: format!("{name}, id of 24 characters{suffix}"),
                proxy,
                signed,
                status: 200,
            })
        });
        soft.into_iter().chain(beside).collect()
    }
}

/// The decryption of what a proxy answers to an encryption.
fn decrypt(proxy: &Proxy, encrypt: &Signed, size: Size) -> Signed {
    Signed::decrypt(size, &pollster::block_on(proxy.handle(encrypt.request())))
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
    let proxies = Proxies::new();
    let of_case = |(number, case): (usize, &Case<'_>)| {
        case.handle(); // and what is made once is there now
        let heap = allocation_counter::measure(|| case.handle());
        let (few, many) = (50, 150);
        let instructions = (instructions(number, many) - instructions(number, few)) / (many - few);
        Count {
            name: case.name.clone(),
            instructions,
            allocations: heap.count_total,
            bytes: heap.bytes_total,
        }
    };
    proxies.cases().iter().enumerate().map(of_case).collect()
}

fn run(case: usize, times: u64) {
    let proxies = Proxies::new();
    let cases = proxies.cases();
    let case = cases.get(case).expect("there is such a case");
    for _ in 0..times {
        case.handle();
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
         Valgrind knows no instructions for SHA-256, which is therefore two thirds of what is counted here.\n\
         A managed key is a sealed one behind the layer of managed keys, with an id of 24 characters; beside it stands\n\
         the same key without the layer.\n\n\
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

/// Prints what management takes, and returns whether that is within the bar.
fn managed_holds(counts: &[Count]) -> bool {
    let mut holds = true;
    println!("\nmanaged keys beside the same keys without management");
    for managed in counts {
        let alone = managed.name.strip_suffix(IS_MANAGED);
        let Some(alone) = alone.and_then(|name| counts.iter().find(|count| count.name == name)) else {
            continue;
        };
        let ratio = managed.instructions as f64 / alone.instructions as f64;
        let more = managed.allocations.cast_signed() - alone.allocations.cast_signed();
        holds &= ratio <= MANAGED && more <= 0;
        println!(
            "{:62} {ratio:.4} x the instructions (bar {MANAGED}), {more:+} allocations (bar 0), {:+} bytes",
            alone.name,
            managed.bytes.cast_signed() - alone.bytes.cast_signed()
        );
    }
    holds
}

fn compare() -> ExitCode {
    let expected = read(&fs::read_to_string(file()).unwrap_or_default());
    let counts = count();
    let mut has_grown = expected.is_empty();
    println!(
        "{:62} {:>22} {:>18} {:>20}",
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
        println!("{:62} {instructions:>22} {allocations:>18} {bytes:>20}", count.name);
    }
    has_grown |= !managed_holds(&counts);
    if has_grown {
        println!("A count has grown by more than 5 %. If that is worth it: `... --bin counts -- write`, and say why.");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
