//! The program as a person meets it: it is started, what it prints is used, and a real curl calls it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test may panic"
)]

mod demo;
#[cfg(unix)]
mod script;
mod support;
#[cfg(unix)]
mod token;
