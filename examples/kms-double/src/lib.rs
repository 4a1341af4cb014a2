//! What AWS KMS does to an external key store proxy.

#![forbid(unsafe_code)]

pub mod kms;
pub mod serve;
pub mod wire;
