//! The store in PostgreSQL, on a real one that this process starts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod away;
mod connections;
mod forgotten;
mod migrations;
mod nodes;
mod pooler;
mod promotion;

mod running;
mod schema;
mod server;
mod support;
mod takeover;

use std::sync::Arc;

use xks_lifecycle::testkit::Fixture;

use self::server::{Database, RUNTIME};

mod conformance {
    xks_lifecycle::store_conformance!(super::fixture(), all);
}

fn fixture() -> Fixture {
    let database = RUNTIME.block_on(Database::new());
    Fixture::new(move || Arc::new(RUNTIME.block_on(database.open()))).outlives()
}
