//! The test kit itself: it finds nothing wrong with a good backend, and what is wrong with each of many
//! broken ones.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test may panic"
)]

mod broken;
mod failing;
mod good;
#[path = "../support/tagging.rs"]
mod layer;
mod mutants;
mod signing;
mod sly;
mod tagging;
mod weak;
