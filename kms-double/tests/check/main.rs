//! `kms-double check` on our own proxy, on proxies that are broken on purpose, and on what is no proxy.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test may panic"
)]

mod alter;
mod answers;
mod ciphertexts;
mod hostile;
mod managed;
mod newcomer;
mod ours;
mod over_tls;
mod preflight;
mod program;
mod signatures;
mod support;
mod table;
mod wire;
