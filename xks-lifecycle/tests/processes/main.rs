//! Tests that start processes. They are apart from those that open a store again in their own process: a
//! child that is being started shares the locks of the files that are open here, until it is another program.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test may panic"
)]

mod disk;
mod kill_points;
mod owner;
mod script;
mod softhsm;
#[path = "../lifecycle/support.rs"]
#[allow(dead_code, reason = "the other tests use more of it")]
mod support;

use std::sync::LazyLock;

use xks_lifecycle::commands::Actor;

fn alice() -> &'static Actor {
    static ALICE: LazyLock<Actor> = LazyLock::new(|| Actor::new("alice").unwrap());
    &ALICE
}

const START: u64 = 1_800_000_000;
const DAY: u64 = 24 * 60 * 60;
