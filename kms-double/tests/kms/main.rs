//! The double over our proxy as it is, over our proxy broken on purpose, and over the server with a token.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test may panic"
)]
#![cfg(unix)]

mod administration;
mod adverse;
mod broken;
mod calls;
mod generated;
mod hsm;
mod import;
mod importing;
mod key_states;
mod key_stores;
mod many;
mod operations;
mod permissions;
#[path = "../serve/programs.rs"]
mod programs;
mod regions;
mod rotation;
mod site;
#[path = "../check/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "other tests use more of it")]
mod support;
mod tls;
