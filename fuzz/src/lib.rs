//! The fuzz targets: one function each, which panics when something does not hold. Each holds what it attacks
//! against an oracle: the rules written once more ([`judge`]), another implementation, or the inverse.
//!
//! `cargo fuzz run --features libfuzzer <target>` feeds them with what libFuzzer makes of the corpus;
//! `cargo test` in this folder with the corpus alone.

#![deny(unsafe_code)]

mod exchange;
mod judge;
mod nearly;
mod proxy;
mod targets;

pub use self::{
    judge::Verdict,
    targets::{
        audit::{AuditFile, audit},
        base64::base64,
        bodies::{decrypt_body, encrypt_body, health_body, metadata_body},
        differential::differential,
        exchanges::{authorization, handle, route},
        pkcs11_attributes::pkcs11_attributes,
        settings::{Outcome, settings},
        text_types::text_types,
    },
};
