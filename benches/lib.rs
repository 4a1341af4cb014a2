//! Benchmarks of the workspace; `cargo bench -p xks-benches` runs them.

#![forbid(unsafe_code)]
