//! Keys in hardware security modules that speak PKCS#11, for [`xks_core`]: a
//! [`KeyBackend`](xks_core::KeyBackend) for Entrust nShield, Thales Luna, AWS CloudHSM, SoftHSM2 and every
//! other module that has AES-GCM (`CKM_AES_GCM`).
//!
//! # Getting started
//! ```no_run
//! use std::{sync::Arc, time::Duration};
//!
//! use xks_backend_pkcs11::{Config, Pin, Pkcs11Backend, Quirks, SlotSelector};
//! use xks_core::{Credential, KeyStore, KeyStores, Proxy};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::new("/opt/nfast/toolkits/pkcs11/libcknfast.so")
//!     .quirks(Quirks::NSHIELD)
//!     .slot(SlotSelector::TokenLabel("xks-ocs".into()))
//!     .pin(Pin::from_file("/etc/xks/passphrase")?);
//! let backend = Arc::new(Pkcs11Backend::open(config)?); // it is tested now: a wrong configuration ends here
//!
//! let key_store = KeyStore::builder("/example/tenant-a".parse()?, backend.clone())
//!     .region("eu-central-1".parse()?)
//!     .credential(Credential::new("AAAAAAAAAAAAAAAAAAAA", "s".repeat(43))?)
//!     .keys(["xks-keyset-1".parse()?]) // the key's CKA_LABEL
//!     .build()?;
//! let proxy = Proxy::new(KeyStores::new([key_store])?);
//! # drop(proxy);
//! // At the end, before the process exits:
//! let all_calls_have_returned = backend.shutdown(Duration::from_secs(5));
//! # let _ = all_calls_have_returned;
//! # Ok(())
//! # }
//! ```
//!
//! # The way of a request
//! ```text
//! request ──▶ queue ──▶ a thread with a session ──▶ key handle ──▶ C_EncryptInit, C_Encrypt ──▶ ciphertext, IV, tag
//!               │full: Throttled   │              cache, else C_FindObjects                  │
//!               │                  └─ new session, new login, new search: each once ◀── what the return code asks for
//!               └ deadline over: Timeout, wherever the request is; a call that does not return is abandoned
//! ```
//! [`Dispatch::Inline`] leaves out queue and thread, for modules that answer in microseconds. What a return
//! code asks for is a table, [`ReturnCode::remedy`], made from what modules were seen to answer: the same
//! event has different codes in different modules, and one code stands for different events.
//!
//! # What it does about failures
//! * **A hung call** is answered `Timeout` at its deadline. Its thread is abandoned and replaced, up to a
//!   [limit](Config::max_abandoned); health is DEGRADED meanwhile.
//! * **Sessions that are closed, a login that is lost, a key that was deleted and made again**: recovered
//!   within the request.
//! * **A failing device**: requests are refused at once (`Unavailable`), so that a
//!   [`Fleet`](xks_core::fleet::Fleet) can ask another HSM, and the module is reinitialized until the
//!   token works; never while a call is in it. A module that another component of the process has initialized
//!   is left initialized; one that other tokens work in is reinitialized only when the token has stayed away
//!   for ten [intervals](Config::recovery_interval), then each time after twice as long, once an hour at
//!   most, and the other tokens' requests wait for that.
//! * **Another token in its place**, of another serial number, is refused and sent no PIN
//!   ([`OpenError::AnotherToken`]), unless [`Config::token_may_change`] says otherwise. A token that is not
//!   listed for a moment, while its sessions work, is not taken for absent.
//! * **A wrong PIN** is sent once by the process, whatever opens the token again. The backend stays down and
//!   says so; another PIN is tried when it is opened again. A login that fails for a reason that is not named
//!   is tried less and less often, down to once in five minutes.
//! * **An ambiguous return code** of a decryption, such as SoftHSM2's for a wrong tag, is looked into: the
//!   decryption is repeated, in turn with known-answer tests under the same key, until chance is ruled out.
//!   While the device fails, also for other requests, more repetitions are needed. Bad ciphertexts cause no
//!   more than 10 000 calls in a second beside their own, and keep no more than one session busy. When the
//!   calls or the time do not suffice, a ciphertext is not called invalid: the error is `Unavailable` or
//!   `Throttled`, which may be retried, and the next request for it goes on from there.
//! * **IVs** that are zero or repeat themselves are never used, and nothing more is encrypted until the
//!   backend is reopened. The test at the start finds out wrong [`Quirks`] before that.
//!
//! # Keys
//! An external key id is a key's label, its `CKA_ID`, or [what you say](Config::key). A name that two keys
//! have is refused. Only AES keys of 256 bits encrypt; of others there are metadata that say what they are.
//! Handles and attributes are cached; what others change on the token is seen within [a
//! while](Config::key_refresh), a key that is gone at once.
//!
//! # Administration
//! The backend is a [`KeyManager`](xks_core::manage::KeyManager) too: it creates, lists, destroys and wraps
//! AES-256 keys, and computes AES-CMACs under them. Keys are sensitive, extractable only when that is asked
//! for, and private where the token wants a login. `CKA_LABEL` is the label that was asked for, `CKA_ID` says
//! which [`CreationToken`](xks_core::manage::CreationToken) a key was made with. A way of wrapping is used
//! only after what the token wraps by it was opened in a trial: that takes the feature `aws-lc-rs`. Keys
//! cannot be disabled on a token: modules ignore or refuse that.
//! [`create_signing_key`](Pkcs11Backend::create_signing_key) and [`sign_digest`](Pkcs11Backend::sign_digest)
//! sign digests by ECDSA on P-256.
//!
//! # Health
//! A thread of the backend's own [tests](Config::health_interval) the token with a key made for it, and
//! health is answered from the last test, at once. A test that is older than 60 seconds counts as
//! UNAVAILABLE. A call that hangs makes a token DEGRADED; UNAVAILABLE, once every session hangs, or the next
//! test as well while nothing returns.
//!
//! # The process
//! A module is loaded once, and never unloaded; it may be [linked](Config::linked) into the program instead.
//! Several backends may share one. It is called by a backend's
//! own threads, which have ended before it is finalized, unless [`Dispatch::Inline`] says otherwise. It is
//! told at its initialization that it may use the system's locks; one that does not take that is called by
//! one thread at a time. Do not fork after a backend was opened. Environment variables that a module reads
//! are to be set before the process starts.

// `raw/mod.rs` alone has unsafe code.
#![deny(unsafe_code)]

mod attribute;
mod backend;
mod config;
mod error;
mod fingerprint;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
mod gcm;
mod handles;
mod health;
mod identity;
mod keys;
mod logins;
mod making;
mod manage;
mod module;
mod pin;
mod quirks;
mod raw;
mod request;
mod return_code;
mod session;
mod supervisor;
mod threads;
mod token;
mod token_info;
mod track_record;
mod turns;

pub use self::{
    backend::{Pkcs11Backend, Status},
    config::{Config, Dispatch, KeyLookup, KeyName, SlotSelector, TestKey},
    error::{CallError, LibraryError, LoadError, OpenError},
    manage::SigningKey,
    pin::{Pin, PinError},
    quirks::{AppendedIv, IvSource, Quirks, SessionMode, UnknownVendor},
    raw::{GetFunctionList, LinkedModule},
    return_code::{Phase, Remedy, ReturnCode},
};
