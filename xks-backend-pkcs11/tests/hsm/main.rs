//! The backend on SoftHSM2, and on a module that stands before it, emulates vendors and injects faults. Every
//! test runs in a process of its own, since a module's state is its process's.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod callers;
#[path = "../support/conformance.rs"]
mod checks;
mod conformance;
mod described;
#[path = "../support/documented.rs"]
mod documented;
mod faults;
mod handles;
mod initializing;
mod keys;
mod log;
mod lost;
mod manage;
#[path = "../support/managers.rs"]
mod managers;
mod opening;
mod support;
mod test_key;
