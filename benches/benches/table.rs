//! All targets of speed and memory, each with what was measured now and here, as a
//! table: `cargo bench -p xks-benches --bench table`, which takes some three minutes. With `-- write` behind
//! it the table goes into docs/performance.md.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark may panic and print"
)]

mod hsm;
mod rivals;

use xks_benches::{
    DATA_KEY, Pipeline, Row, Token, conditions,
    load::{client_core, pin, raise_descriptor_limit},
    markdown::{put, table},
    measure::is_wanted,
    row_of_allocations, rows, serve_if_asked,
    server::Program,
};
use xks_pkcs11_fixture::SoftHsm;

/// Where the table stands, below the root of the workspace.
const DOCUMENT: &str = "docs/performance.md";

fn main() -> anyhow::Result<()> {
    serve_if_asked();
    let hsm = SoftHsm::reexec();
    if !is_wanted() {
        println!("`cargo bench -p xks-benches --bench table` measures all that is promised.");
        return Ok(());
    }
    let conditions = conditions();
    let program = Program::build()?;
    let mut all = in_process(&hsm);
    raise_descriptor_limit()?;
    client_core().map_or(Ok(()), pin)?;
    all.extend(rows::http()?);
    let token = Token::new(1);
    all.extend(rows::cost(&program, &token)?);
    all.extend(rows::quota(&program, &token)?);
    all.extend(rows::overload(&program, &token)?);
    all.extend(rows::memory(&program, &token)?);
    all.push(rows::many_keys(&program)?);

    let lines: Vec<_> = all.iter().map(line).collect();
    let text = table(&["what", "bar", "measured", "margin", ""], &lines) + "\n" + &conditions + ".\n";
    println!("{text}");
    if std::env::args().any(|argument| argument == "write") {
        put(DOCUMENT, "bars", &text)?;
    }
    Ok(())
}

fn in_process(hsm: &SoftHsm) -> Vec<Row> {
    let mut rows = rivals::rows().to_vec();
    rows.push(Pipeline::measure(DATA_KEY).row());
    rows.push(row_of_allocations());
    rows.extend(hsm::rows(hsm));
    rows
}

fn line(row: &Row) -> Vec<String> {
    let held = if row.held { "held" } else { "**missed**" };
    vec![
        row.what.clone(),
        row.bar.clone(),
        row.measured.clone(),
        margin(row).map(|margin| format!("{margin:.2}")).unwrap_or_default(),
        held.to_owned(),
    ]
}

/// How far from the bar it is, where both are a number: above one is better.
fn margin(row: &Row) -> Option<f64> {
    let measured = row.measured.parse::<f64>().ok()?;
    let (sense, bar) = row.bar.split_once(' ')?;
    let bar = bar.parse::<f64>().ok()?;
    Some(if sense == "≥" { measured / bar } else { bar / measured })
}
