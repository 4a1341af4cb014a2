//! The contract of [`KeyBackend`](crate::KeyBackend), as tests that every backend must pass.
//!
//! ```
//! # mod doc {
//! use std::sync::Arc;
//! use xks_core::{KeyBackend, testkit::conformance::Fixture};
//!
//! fn fixture() -> Fixture {
//! #   let my_backend: Arc<dyn KeyBackend> = panic!();
//!     // The backend, and a key that encrypts and decrypts. Name more keys, and more is tested.
//!     Fixture::new(my_backend, "my-key").encrypt_only("sealing-key").disabled("old-key")
//! }
//!
//! xks_core::conformance!(fixture());
//! # }
//! ```
//!
//! Each contract becomes a test of its own. A failure names the requirement, the rule, and what the backend
//! did. A contract that needs a key or a hook which the fixture does not have passes, and a line on standard
//! error says that it was not tried. Where nothing is to be left out that is not named, it fails instead:
//!
//! ```
//! # mod doc {
//! # use xks_core::testkit::conformance::Fixture;
//! # fn fixture() -> Fixture { panic!() }
//! xks_core::conformance!(fixture(), all but disabled_keys_are_refused, a_change_of_status_is_seen);
//! # }
//! ```
//!
//! [`check`] runs all of them where one test for each is in the way.
//!
//! Each check has a broken backend in this crate's tests that fails it.

mod calls;
mod changes;
mod ciphertexts;
mod fixture;
mod health;
mod ivs;
mod keys;
#[cfg(feature = "testkit-manage")]
pub mod manager;
mod parts;
mod secrets;
mod tools;

use std::{
    fmt,
    io::{self, Write as _},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

pub use self::fixture::{Fixture, FixtureFuture};

/// One rule that a backend keeps, or whatever else a fixture holds.
#[non_exhaustive]
pub struct Contract<F: 'static = Fixture> {
    /// The name of its test.
    pub name: &'static str,
    /// What it proves: the ids of the requirements, as `docs/requirements.md` has them, or a section of the
    /// trait's documentation.
    pub requirements: &'static str,
    /// What the backend must do.
    pub rule: &'static str,
    check: fn(&F) -> Result<(), Problem>,
}

impl<F> Clone for Contract<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for Contract<F> {}

impl<F> Contract<F> {
    /// A contract of another trait, for a kit of its own.
    #[doc(hidden)]
    #[must_use]
    pub const fn new(
        name: &'static str,
        requirements: &'static str,
        rule: &'static str,
        check: fn(&F) -> Result<(), Problem>,
    ) -> Self {
        Self {
            name,
            requirements,
            rule,
            check,
        }
    }
}

/// A fixture that contracts are checked on.
#[doc(hidden)]
pub trait Tested: Send + Sync + Sized + 'static {
    /// All that it must keep.
    const CONTRACTS: &'static [Contract<Self>];
    /// What is tested.
    const WHAT: &'static str;
    /// The trait whose documentation has the rules.
    const TRAIT: &'static str;

    /// How long one contract may take.
    fn patience(&self) -> Duration;
}

impl Tested for Fixture {
    const CONTRACTS: &'static [Contract] = CONTRACTS;
    const WHAT: &'static str = "backend";
    const TRAIT: &'static str = "xks_core::KeyBackend";

    fn patience(&self) -> Duration {
        self.patience
    }
}

/// Why a contract is not known to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no third way")]
pub enum Problem {
    /// The fixture lacks what it takes to try: what.
    NotTried(&'static str),
    /// The backend breaks it: how.
    Broken(String),
}

/// What became of one contract.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Finding<F: 'static = Fixture> {
    /// Which one.
    pub contract: Contract<F>,
    /// Nothing, if the backend keeps it.
    pub problem: Option<Problem>,
}

/// Calls a macro with the list of all contracts: name, ids, rule. The one place where they are listed.
#[doc(hidden)]
#[macro_export]
macro_rules! __xks_contracts {
    ([$($callback:tt)*] $($arguments:tt)*) => {
        $($callback)* ! { $($arguments)*
            (round_trips, "ENC-2, ENC-3, DEC-1, DEC-5",
                "decrypt what was encrypted: 0 to 4300 bytes, with AAD of 0 to 8192 and without, in every framing")
            (any_bytes_are_taken, "ENC-2, ENC-3, DEC-5",
                "take plaintext and AAD of any bytes, and give them back to the last one")
            (lengths, "ENC-6",
                "return a ciphertext as long as the plaintext, without the tag")
            (ciphertexts_hide_the_plaintext, "ENC-6",
                "encrypt every block, under a keystream that never comes again, and make a whole tag of 16 bytes")
            (the_requests_aad_is_returned, "ENC-7",
                "build `Encrypted` with the `BoundAad` that `bind_aad` gave for this request")
            (software_agrees, "ENC-3, ENC-6, ENC-7",
                "encrypt with AES-256-GCM, a tag of 16 bytes, and authenticate exactly `BoundAad::as_bytes`")
            (default_metadata_is_used, "ENC-7",
                "call `bind_aad`, so that a layer around the backend can set the ciphertext metadata")
            (metadata_is_as_long_as_said, "ENC-7",
                "bind no more ciphertext metadata than `metadata_length` says, which is at most 20 bytes")
            (parts_of_layers_are_kept, "DEC-3, ENC-7",
                "authenticate what a layer around it tags, and look at its own metadata alone")
            (a_request_can_be_encrypted_again, "ENC-6",
                "take the same request twice, as when another key manager failed, with another IV")
            (an_answer_can_be_decrypted_again, "DEC-1",
                "decrypt the same ciphertext as often as asked, in any order")
            (ciphertexts_outlive_a_restart, "DEC-1",
                "decrypt after a restart what was encrypted before it")
            (any_change_of_the_ciphertext_is_noticed, "DEC-3",
                "answer `InvalidCiphertext` when a bit of the ciphertext is changed, or some of it is missing or added")
            (any_change_of_the_tag_is_noticed, "DEC-3",
                "answer `InvalidCiphertext` when any of the 128 bits of the tag is changed")
            (any_change_of_the_iv_is_noticed, "DEC-3",
                "answer `InvalidCiphertext` when any bit of the IV is changed")
            (any_change_of_the_aad_is_noticed, "DEC-3, ENC-7",
                "answer `InvalidCiphertext` when the AAD is changed anywhere, is cut, longer, absent or framed otherwise")
            (any_change_of_the_metadata_is_noticed, "DEC-3, ENC-7",
                "answer `InvalidCiphertext` when the ciphertext metadata is changed, dropped, added or moved into the AAD")
            (parts_of_two_ciphertexts_do_not_mix, "DEC-3",
                "answer `InvalidCiphertext` for the tag, IV or ciphertext of another encryption")
            (keys_are_kept_apart, "DEC-3",
                "answer `InvalidCiphertext` for what was encrypted under another key")
            (verifications_are_decryptions, "ENC-10",
                "do in a verification what it does in any decryption: that shows whether KMS can decrypt later")
            (verified_encryptions_are_encryptions, "ENC-6, ENC-9, ENC-10",
                "encrypt the request's plaintext with its AAD in `encrypt_verified` too, with an IV of its own")
            (what_is_invalid_says_no_more, "DEC-3",
                "say the same of every invalid ciphertext: `BackendError::invalid_ciphertext`, with no source")
            (ivs_never_repeat, "ENC-6",
                "use every IV once: 10 000 encryptions, from several threads")
            (ivs_do_not_begin_anew, "ENC-6",
                "use other IVs after a restart than before it")
            (key_metadata_is_told, "GKM-1, GKM-2, GKM-3",
                "describe an AES key of 256 bits as `Aes256`, with the usages that it has, and its status")
            (missing_keys_are_not_found, "GKM-4, DEC-4",
                "answer `KeyNotFound` for a key that does not exist, from every operation")
            (key_ids_are_taken_exactly, "URI-3, GKM-4",
                "take key ids as they are, in upper and lower case, with no more and no less characters")
            (keys_that_only_encrypt, "DEC-4, GKM-2",
                "refuse with `KeyUsage` to decrypt with a key that may only encrypt, and say so in its metadata")
            (keys_that_only_decrypt, "ENC-11, GKM-2",
                "refuse with `KeyUsage` to encrypt with a key that may only decrypt, and say so in its metadata")
            (disabled_keys_are_refused, "ENC-11, DEC-4, GKM-3",
                "refuse with `KeyDisabled` to use a disabled key, and say `Disabled` in its metadata")
            (a_change_of_status_is_seen, "GKM-3, ENC-11, DEC-4",
                "say of a key that it is disabled, and refuse to use it, soon after it was disabled; and the reverse")
            (calls_in_parallel, "CAP-1",
                "serve calls from several threads at once, and give each its own answer")
            (calls_in_one_task, "CAP-1",
                "keep calls apart that one task waits for at once, and give each its own answer")
            (slow_callers_get_their_answers, "TRN-8",
                "keep an answer until the caller comes back to its future, or say `Timeout`")
            (dropped_futures_leak_nothing, "TRN-8",
                "go on as before after the future of a call was dropped, at any moment, many times")
            (failures_tell_no_plaintext, "ENC-12, DEC-5",
                "keep plaintext and key material out of errors: their texts go to the log")
            (logs_tell_no_plaintext, "ENC-12, DEC-5",
                "log no plaintext and no key material, at no level")
            (limits_are_the_specifications, "ENC-2, ENC-3",
                "take at least 4300 bytes of plaintext and 8192 bytes of AAD")
            (health_is_told, "HLT-1",
                "say of what health was found: a vendor, at least one member, `Active` while operations succeed")
            (health_follows, "HLT-1, HLT-3",
                "not say for longer than 60 seconds that it can be used when operations fail, and fail with `Unavailable` or `Timeout`")
            (outages_tell_no_plaintext, "ENC-12",
                "keep plaintext out of errors also when the key manager fails")
        }
    };
}

macro_rules! table {
    ($(($name:ident, $requirements:literal, $rule:literal))*) => {
        &[$(Contract {
            name: stringify!($name),
            requirements: $requirements,
            rule: $rule,
            check: checks::$name,
        }),*]
    };
}

/// All contracts.
pub const CONTRACTS: &[Contract] = __xks_contracts! { [table] };

/// The checks, by the names of their contracts.
mod checks {
    pub(super) use super::{calls::*, changes::*, ciphertexts::*, health::*, ivs::*, keys::*, parts::*, secrets::*};
}

/// Holds a backend against its contract: a test for each rule of [`KeyBackend`](crate::KeyBackend), from one
/// line in `tests/conformance.rs` of the backend's crate. The first argument is an expression that makes a
/// [`Fixture`](crate::testkit::conformance::Fixture); each test makes its own.
///
/// With `all`, a contract that the fixture does not suffice for fails. With `all but` and the names of some
/// contracts, these are left out.
///
/// See [`testkit::conformance`](mod@crate::testkit::conformance). Needs the feature `testkit`.
#[macro_export]
macro_rules! conformance {
    (@tests [$fixture:expr, $left_out:expr] $(($name:ident, $requirements:literal, $rule:literal))*) => {
        $(
            #[doc = concat!($requirements, ": must ", $rule, ".")]
            #[test]
            fn $name() {
                $crate::testkit::conformance::require(stringify!($name), || $fixture, $left_out);
            }
        )*
    };
    ($fixture:expr $(,)?) => {
        $crate::__xks_contracts! { [$crate::conformance] @tests [$fixture, None] }
    };
    ($fixture:expr, all $(,)?) => {
        $crate::__xks_contracts! { [$crate::conformance] @tests [$fixture, Some(&[])] }
    };
    ($fixture:expr, all but $($left_out:ident),+ $(,)?) => {
        $crate::__xks_contracts! { [$crate::conformance] @tests [$fixture, Some(&[$(stringify!($left_out)),+])] }
    };
}

/// Runs one test of [`conformance!`](crate::conformance). Without a list of those that are left out, what
/// cannot be tried is left out.
///
/// # Panics
/// The contract of this name is broken, it cannot be tried, or there is none.
#[doc(hidden)]
#[expect(clippy::panic, reason = "this is a test")]
pub fn require<F: Tested>(name: &str, fixture: impl FnOnce() -> F, left_out: Option<&[&str]>) {
    let find = |name: &str| {
        let found = F::CONTRACTS.iter().find(|contract| contract.name == name);
        found.unwrap_or_else(|| panic!("there is no contract {name}"))
    };
    let contract = find(name);
    let left_out = left_out.map(|names| names.iter().map(|name| find(name).name).collect::<Vec<_>>());
    if left_out.as_ref().is_some_and(|names| names.contains(&name)) {
        return;
    }
    match contract.check(&Arc::new(fixture())) {
        Ok(()) => {}
        Err(Problem::NotTried(what)) if left_out.is_some() => panic!(
            "{}: not tried, the fixture has no {what}\nAdd it to the fixture; where the {} cannot have one, write \
             `all but {name}`.",
            contract.requirements,
            F::WHAT
        ),
        // Past the test harness, which keeps the output of a test that passes to itself.
        Err(Problem::NotTried(what)) => {
            let _ = writeln!(io::stderr(), "{name}: not tried, the fixture has no {what}");
        }
        Err(Problem::Broken(how)) => panic!(
            "{}: {how}\nThe {} must {}.\nSee the documentation of {}.",
            contract.requirements,
            F::WHAT,
            contract.rule,
            F::TRAIT
        ),
    }
}

/// Holds a backend, or whatever else the fixture holds, against all contracts, one after the other.
#[must_use]
pub fn check<F: Tested>(fixture: F) -> Vec<Finding<F>> {
    let fixture = Arc::new(fixture);
    let find = |contract: &Contract<F>| Finding {
        contract: *contract,
        problem: contract.check(&fixture).err(),
    };
    F::CONTRACTS.iter().map(find).collect()
}

impl<F: Tested> Contract<F> {
    /// Tries whether it is kept.
    ///
    /// # Errors
    /// [`Problem::Broken`] also if there is a panic, or no end within the fixture's
    /// [patience](Fixture::patience); [`Problem::NotTried`].
    pub fn check(&self, fixture: &Arc<F>) -> Result<(), Problem> {
        // On a thread of its own, so that a call that hangs fails the test instead of stopping it.
        let (check, on_thread, patience) = (self.check, Arc::clone(fixture), fixture.patience());
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| check(&on_thread)));
            let panicked = || Err(Problem::Broken(format!("the {} panicked", F::WHAT)));
            // The receiver may have gone.
            let _ = sender.send(outcome.unwrap_or_else(|_| panicked()));
        });
        receiver.recv_timeout(patience).unwrap_or_else(|_| {
            let seconds = patience.as_secs();
            Err(Problem::Broken(format!("no end after {seconds} s: a call hangs")))
        })
    }
}

impl<F> fmt::Debug for Contract<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.requirements)
    }
}
