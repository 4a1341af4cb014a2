//! The proxy from request bytes to response bytes, over software keys and over backends that fail in chosen
//! ways.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test may panic"
)]

mod access;
mod bad_input;
mod context;
mod dependencies;
mod disagreement;
mod failures;
mod fleet;
mod key_stores;
mod migrating;
mod operations;
mod parts;
#[path = "../support/mod.rs"]
mod support;
