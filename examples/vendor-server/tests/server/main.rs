//! The vendor's server as a program: served over TLS, reloaded, limited, measured; and what it says of
//! mistakes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]
#![cfg(unix)]

mod messages;
mod serving;
mod site;
