//! AWS KMS from the outside: what a key manager asks of AWS to make external key stores, KMS keys in them,
//! and KMS keys with imported material.
//!
//! | to | see |
//! |---|---|
//! | call AWS KMS, IAM and STS, or implement that | [`aws`] |
//! | make in AWS what the state wants, by jobs that any node goes on with | [`jobs`] |
//! | know what a job would do, and why | [`plan`] |
//! | read what is there in AWS | [`observe`] |
//! | read an account's credentials, know its IAM policy, rotate its access key | [`accounts`] |
//!
//! The crate owns no socket, runtime or thread, and names no type of the AWS SDK.
//!
//! # Features
//! * `kill-points`: tests can end the process at each step of a job. Not for production.

#![forbid(unsafe_code)]

/// Says that a job has come to this step, for tests that end the process there.
macro_rules! kill_point {
    ($point:ident) => {
        #[cfg(feature = "kill-points")]
        xks_lifecycle::kill_point::reach(xks_lifecycle::kill_point::KillPoint::$point);
    };
}

pub mod accounts;
pub mod apply;
pub mod aws;
pub mod caller;
pub mod jobs;
pub mod observe;
pub mod plan;
pub mod quota;
