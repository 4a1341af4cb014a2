//! What policies can ask for, what is decided, what is refused, and all of it behind a proxy.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod attributes;
mod decisions;
mod entities;
mod extra_fields;
mod loading;
mod proxy;
mod support;
