//! The contract of [`KeyManager`](crate::manage::KeyManager), as tests that every key manager must pass.
//! Needs the feature `testkit-manage`.
//!
//! ```
//! # mod doc {
//! use std::sync::Arc;
//! use xks_core::{KeyBackend, manage::KeyManager, testkit::conformance::manager::Fixture};
//!
//! fn fixture() -> Fixture {
//! #   let (manager, backend): (Arc<dyn KeyManager>, Arc<dyn KeyBackend>) = panic!();
//!     // The key manager, and the backend that uses its keys. The tests create keys of their own, and destroy them.
//!     Fixture::new(manager, backend)
//! }
//!
//! xks_core::manager_conformance!(fixture());
//! # }
//! ```
//!
//! Each contract becomes a test of its own, as with [`conformance!`](crate::conformance). What a manager
//! [cannot do](crate::manage::Capabilities), or the fixture has no hook for, is not tried; with `all` it
//! fails, unless it is left out by name:
//!
//! ```
//! # mod doc {
//! # use xks_core::testkit::conformance::manager::Fixture;
//! # fn fixture() -> Fixture { panic!() }
//! // A manager of keys that never leave it, and that compute no CMACs.
//! xks_core::manager_conformance!(
//!     fixture(),
//!     all but cmacs_are_of_the_material, nothing_tells_key_material, only_extractable_keys_are_wrapped,
//!     wrapped_keys_are_the_keys, wrappings_differ
//! );
//! # }
//! ```

mod calls;
mod creation;
mod export;
mod fixture;
mod listing;
mod removal;
mod secrets;
mod unwrap;

use std::time::Duration;

pub use self::fixture::Fixture;
use super::{Contract, Tested};

/// Calls a macro with the list of all contracts: name, section, rule. The one place where they are listed.
#[doc(hidden)]
#[macro_export]
macro_rules! __xks_manager_contracts {
    ([$($callback:tt)*] $($arguments:tt)*) => {
        $($callback)* ! { $($arguments)*
            (capabilities_are_kept, "Errors",
                "answer `Unsupported` for what its capabilities lack")
            (created_keys_are_served, "You must",
                "create an enabled AES key of 256 bits, which the backend serves when `create_key` returns")
            (created_keys_are_described, "You must",
                "describe a key as it was asked for, alone and in the list: label, usages, extractability, token, status")
            (created_keys_have_these_usages, "You must",
                "let a key do what it was created for, and nothing else")
            (created_keys_differ, "You must",
                "create each key from its random source: no other key decrypts what one encrypts")
            (a_token_makes_one_key, "Repeating a call",
                "answer a repeated `create_key` with the key that the first call made, and change nothing")
            (a_token_makes_one_key_at_once, "Repeating a call",
                "make one key for one token, also for calls that overlap")
            (a_token_is_of_one_key, "Repeating a call",
                "answer `TokenTaken` for the token of a key that differs in label, usages or extractability, and make none")
            (a_label_is_of_one_key, "Errors",
                "answer `LabelTaken` for the label of another key, and leave that as it is")
            (dropped_calls_can_be_repeated, "Cancellation",
                "make one key, although the futures of calls with its token were dropped before")
            (late_calls_change_nothing, "Deadlines",
                "answer `Timeout`, and change nothing, when the deadline has passed already")
            (missing_keys_are_not_found, "You must",
                "answer `KeyNotFound` for a key that does not exist, from every method")
            (key_ids_are_taken_exactly, "You must",
                "take key ids as they are, in upper and lower case, with no more and no less characters")
            (destroyed_keys_are_gone, "You must",
                "answer `KeyNotFound` for a destroyed key, from every method and from the backend, and list it no more")
            (destruction_is_of_one_key, "You must",
                "leave all other keys as they are when one is destroyed")
            (a_status_is_set, "You must",
                "have the backend refuse a disabled key and serve it when it is enabled again, as soon as `set_status` returns")
            (disabled_keys_do_nothing, "You must",
                "neither wrap a disabled key nor compute a CMAC under it, and let it be destroyed")
            (pages_are_complete, "You must",
                "list every key once, in the byte order of the ids, whatever the size of the pages")
            (pages_go_on_through_changes, "You must",
                "list every key that stays once, although others come and go between two pages")
            (only_extractable_keys_are_wrapped, "You must",
                "answer `NotExtractable` when a key is to be wrapped that was not created extractable")
            (wrapped_keys_are_the_keys, "You must",
                "wrap the material of the key by which the backend encrypts, with the algorithm and the key that were given")
            (wrappings_differ, "You must",
                "wrap with fresh randomness every time")
            (cmacs_are_of_the_material, "You must",
                "compute the AES-CMAC of the whole message under the key's material, with keys that may sign only")
            (changes_outlive_a_restart, "You must",
                "keep created, disabled and destroyed keys as they are over a restart")
            (calls_in_parallel, "You must",
                "serve calls from several threads at once, and give each its own answer")
            (nothing_tells_key_material, "You must",
                "keep key material out of errors, descriptions and logs")
        }
    };
}

macro_rules! table {
    ($(($name:ident, $section:literal, $rule:literal))*) => {
        &[$(Contract {
            name: stringify!($name),
            requirements: $section,
            rule: $rule,
            check: |fixture| {
                let outcome = checks::$name(fixture);
                fixture.clean_up();
                outcome
            },
        }),*]
    };
}

/// All contracts of a key manager.
pub const CONTRACTS: &[Contract<Fixture>] = __xks_manager_contracts! { [table] };

/// The checks, by the names of their contracts.
mod checks {
    pub(super) use super::{calls::*, creation::*, export::*, listing::*, removal::*, secrets::*};
}

impl Tested for Fixture {
    const CONTRACTS: &'static [Contract<Self>] = CONTRACTS;
    const WHAT: &'static str = "key manager";
    const TRAIT: &'static str = "xks_core::manage::KeyManager";

    fn patience(&self) -> Duration {
        self.served.patience
    }
}

/// Holds a key manager against its contract: a test for each rule of
/// [`KeyManager`](crate::manage::KeyManager), from one line in the tests of the manager's crate. The first
/// argument is an expression that makes a [`Fixture`](crate::testkit::conformance::manager::Fixture); each
/// test makes its own.
///
/// With `all`, a contract that the fixture does not suffice for fails. With `all but` and the names of some
/// contracts, these are left out. Needs the feature `testkit-manage`.
#[macro_export]
macro_rules! manager_conformance {
    ($fixture:expr $(,)?) => {
        $crate::__xks_manager_contracts! { [$crate::conformance] @tests [$fixture, None] }
    };
    ($fixture:expr, all $(,)?) => {
        $crate::__xks_manager_contracts! { [$crate::conformance] @tests [$fixture, Some(&[])] }
    };
    ($fixture:expr, all but $($left_out:ident),+ $(,)?) => {
        $crate::__xks_manager_contracts! {
            [$crate::conformance] @tests [$fixture, Some(&[$(stringify!($left_out)),+])]
        }
    };
}
