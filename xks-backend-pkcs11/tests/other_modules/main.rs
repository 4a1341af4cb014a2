//! The backend on three more modules: craton-hsm, kryoptic and NSS softoken. `scripts/modules` gets them, and
//! these tests are ignored unless they are asked for:
//!
//! ```text
//! bash scripts/modules
//! cargo test -p xks-backend-pkcs11 --test other_modules -- --ignored
//! ```
//!
//! Every test runs in a process of its own, with a token that another process has made.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

#[path = "../support/conformance.rs"]
mod checks;
mod conformance;
#[path = "../support/documented.rs"]
mod documented;
mod keys;
mod lifecycle;
#[path = "../hsm/log.rs"]
mod log;
mod manage;
#[path = "../support/managers.rs"]
mod managers;
mod module;
mod opening;
mod operator;
#[path = "../support/calls.rs"]
mod support;
mod token;
mod traffic;
