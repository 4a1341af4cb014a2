//! What AWS KMS does to an external key store proxy.

#![forbid(unsafe_code)]

pub mod check;
pub mod wire;
