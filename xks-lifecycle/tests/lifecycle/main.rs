//! The store and the state machine from outside: stores against their contract, what somebody can do who
//! reads or writes the database, and random commands against a model.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test may panic"
)]

mod backup;
mod broken;
mod commands;
mod counts;
mod credential_model;
mod managed;
mod migrations;
mod model;
mod mutants;
mod nodes;
mod repository;
mod roots;
mod schedules;
mod sqlite;
mod support;
mod tampering;
mod usage;
mod version_model;
mod view;

use std::sync::Arc;

use xks_lifecycle::{
    store::{MemoryStore, SqliteStore},
    testkit::Fixture,
};

use self::support::TempDir;

mod in_memory {
    // Its state ends with it.
    xks_lifecycle::store_conformance!(
        super::Fixture::new(|| super::Arc::new(super::MemoryStore::new())),
        all but changes_outlive_a_restart
    );
}

mod in_a_file {
    xks_lifecycle::store_conformance!(super::in_a_file(), all);
}

fn in_a_file() -> Fixture {
    let directory = TempDir::new();
    Fixture::new(move || Arc::new(SqliteStore::open(&directory.path().join("state.db")).unwrap())).outlives()
}
