//! What AWS KMS does to an external key store proxy.
//!
//! ```text
//! check   tries everything that KMS may send to a proxy, and reports what came
//! kms     AWS KMS as a library, over any proxy: key stores, keys, encryption
//! call    the APIs of KMS, IAM and STS in this process: an operation by its name, JSON in and JSON out
//! serve   the AWS KMS API on loopback, for the AWS CLI and the AWS SDKs
//! wire    how KMS speaks to a proxy: signed, over HTTP/1.1 or HTTP/2, TLS and mutual TLS
//! ```

#![forbid(unsafe_code)]

pub mod call;
pub mod check;
pub mod kms;
pub mod serve;
pub mod wire;
