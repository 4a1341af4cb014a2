//! Over loopback HTTP/1.1: the adapter on bare hyper beside a service that reads the same body and answers
//! the same number of bytes, under the same load, in turn. Each server has a process and, where there are
//! several, a core of its own.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use xks_benches::{
    load::{client_core, pin},
    rows, serve_if_asked,
};

fn main() -> anyhow::Result<()> {
    serve_if_asked();
    client_core().map_or(Ok(()), pin)?;
    for row in rows::http()? {
        println!("{}: {} (bar: {})", row.what, row.measured, row.bar);
    }
    Ok(())
}
