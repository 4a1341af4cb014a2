//! AWS KMS from the outside: what a key manager asks of AWS to make external key stores, KMS keys in them,
//! and KMS keys with imported material.
//!
//! | to | see |
//! |---|---|
//! | call AWS KMS, IAM and STS, or implement that | [`aws`] |
//! | read an account's credentials, know its IAM policy, rotate its access key | [`accounts`] |
//!
//! The crate owns no socket, runtime or thread, and names no type of the AWS SDK.

#![forbid(unsafe_code)]

pub mod accounts;
pub mod aws;
