//! AWS KMS, IAM and STS for [`xks_byok`]: its traits, over the AWS SDK for Rust.
//!
//! ```no_run
//! use xks_byok::aws::{AwsCredentials, Connector as _, PageRequest};
//! use xks_byok_aws::AwsConnector;
//!
//! # async fn doc() -> Result<(), Box<dyn std::error::Error>> {
//! let connector = AwsConnector::builder().build()?;
//! let kms = connector.kms(&AwsCredentials::Chain, "eu-central-1").await?;
//! for key in kms.list_keys(PageRequest::first()).await?.items {
//!     println!("{}", key.key_arn);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Repetitions
//! A read is tried [three times](AwsConnector::READ_ATTEMPTS), by the SDK, which stops that while most calls
//! to a service and Region fail. Everything else is sent once, since the effect of a call without an answer
//! is unknown: its caller looks before it repeats it.
//!
//! # Errors
//! No connection, no TLS with the right server: `Unreachable`, and nothing was done. Whatever happens after
//! that without an answer is `AnswerLost`, a timeout too.

#![forbid(unsafe_code)]

mod connector;
mod convert;
mod error;
mod iam;
mod keys;
mod kms;

pub use self::connector::{AwsConnector, Builder, ConnectorError};
