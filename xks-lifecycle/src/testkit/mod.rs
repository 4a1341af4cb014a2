//! The contract of [`Store`](crate::store::Store), as tests that every store must pass. Feature `testkit`;
//! not for production.
//!
//! ```
//! # mod doc {
//! use std::sync::Arc;
//! use xks_lifecycle::{store::MemoryStore, testkit::Fixture};
//!
//! fn fixture() -> Fixture {
//!     Fixture::new(|| Arc::new(MemoryStore::new()))
//! }
//!
//! xks_lifecycle::store_conformance!(fixture(), all but changes_outlive_a_restart);
//! # }
//! ```
//!
//! Each contract becomes a test of its own. With `all` or `all but`, those that cannot be tried fail.

mod claims;
mod events;
mod fixture;
mod revisions;
mod rows;

use std::time::Duration;

#[doc(no_inline)]
pub use xks_core::testkit::conformance::Problem;
use xks_core::testkit::conformance::{Contract, Tested};

pub use self::fixture::Fixture;

/// Calls a macro with the list of all contracts: name, section, rule. The one place where they are listed.
#[doc(hidden)]
#[macro_export]
macro_rules! __xks_store_contracts {
    ([$($callback:tt)*] $($arguments:tt)*) => {
        $($callback)* ! { $($arguments)*
            (an_empty_store_is_at_revision_zero, "load",
                "be at revision 0, with no rows, claims and events, before anything is committed")
            (cells_are_kept, "You must",
                "give every cell back as it was put: all numbers, texts and bytes, and nothing as nothing")
            (rows_come_table_by_table, "load",
                "give the rows of each table as rows of that table, in the order of the tables, and those of one alone")
            (rows_are_replaced_and_removed, "commit",
                "put a row in the place of the one with its id, and remove rows")
            (commits_at_another_revision_are_refused, "Errors",
                "answer `Conflict` with both revisions, and change nothing")
            (one_of_several_commits_wins, "You must",
                "apply one of several change sets for the same revision, and refuse the others")
            (a_load_shows_one_revision, "You must",
                "load rows and head as one revision has them, while others commit")
            (changes_are_remembered, "You must",
                "give for each row that changed after a revision the last revision that changed it")
            (followers_are_told, "follow",
                "answer a follower when there is a later revision, and not before")
            (claims_change_as_seen, "swap",
                "change a claim if owner and counter are as they were seen, and say what is there")
            (claims_change_one_by_one, "swap",
                "lose no change when several swap one claim")
            (commits_are_made_under_a_claim, "commit",
                "refuse a change set whose claim is not as it was seen, and change nothing then")
            (claims_are_listed, "claims",
                "list the claims of a kind, all of them, in the order of their ids")
            (swaps_list_their_kind, "swap_and_list",
                "list the claims of the kind of a swap as they are after it, at the revision of the store")
            (claims_do_not_move_the_revision, "You must",
                "leave the revision alone when a claim changes")
            (events_are_appended, "events",
                "list events in the order in which they came, numbered, in pages")
            (events_of_commits_have_its_revision, "commit",
                "keep the events of a change set with its revision, and none of one that was refused")
            (a_backup_is_one_commit, "commit",
                "take claims, a revision that is not the next one, and rows and events of earlier ones")
            (events_do_not_move_the_revision, "You must",
                "leave the revision alone when events are recorded")
            (dropped_calls_leave_it_whole, "Cancellation",
                "make the whole change or none when the future of a commit is dropped, and serve the next call")
            (changes_outlive_a_restart, "You must",
                "keep rows, changes, claims and events over a restart")
        }
    };
}

macro_rules! table {
    ($(($name:ident, $section:literal, $rule:literal))*) => {
        &[$(Contract::new(stringify!($name), $section, $rule, checks::$name)),*]
    };
}

/// All contracts of a store.
pub const CONTRACTS: &[Contract<Fixture>] = __xks_store_contracts! { [table] };

/// The checks, by the names of their contracts.
mod checks {
    pub(super) use super::{claims::*, events::*, revisions::*, rows::*};
}

impl Tested for Fixture {
    const CONTRACTS: &'static [Contract<Self>] = CONTRACTS;
    const WHAT: &'static str = "store";
    const TRAIT: &'static str = "xks_lifecycle::store::Store";

    fn patience(&self) -> Duration {
        self.patience
    }
}

/// Holds a store against its contract: a test for each rule of [`Store`](crate::store::Store), from one line
/// in the tests of the store's crate. The first argument is an expression that makes a
/// [`Fixture`](crate::testkit::Fixture); each test makes its own.
///
/// With `all`, a contract that the fixture does not suffice for fails. With `all but` and the names of some
/// contracts, these are left out. Needs the feature `testkit`.
#[macro_export]
macro_rules! store_conformance {
    ($fixture:expr $(,)?) => {
        $crate::__xks_store_contracts! { [$crate::xks_core::conformance] @tests [$fixture, None] }
    };
    ($fixture:expr, all $(,)?) => {
        $crate::__xks_store_contracts! { [$crate::xks_core::conformance] @tests [$fixture, Some(&[])] }
    };
    ($fixture:expr, all but $($left_out:ident),+ $(,)?) => {
        $crate::__xks_store_contracts! {
            [$crate::xks_core::conformance] @tests [$fixture, Some(&[$(stringify!($left_out)),+])]
        }
    };
}
