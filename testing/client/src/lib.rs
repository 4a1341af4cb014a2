//! The client of the workspace's tests and benchmarks.
//!
//! ```text
//! signer      AWS's own signer, independent of the verifier that is tested
//! target      whom to call: address, name, TLS
//! request     a request as it is written, for either version of HTTP
//! connection  a connection over which one request goes at a time
//! pace        when requests are due, at a fixed rate
//! program     the program that is tested, built on request
//! ```
//! Without the feature `http` there are only the signer and the program. Methods panic when something is
//! wrong that no test is about.

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::exhaustive_structs,
    clippy::exhaustive_enums,
    reason = "only tests and benchmarks use it"
)]

#[cfg(feature = "http")]
mod connection;
#[cfg(feature = "http")]
mod http1;
#[cfg(feature = "http")]
pub mod pace;
mod program;
#[cfg(feature = "http")]
mod request;
mod signer;
#[cfg(feature = "http")]
mod target;

#[cfg(feature = "http")]
pub use self::{
    connection::{Answer, Connection, Failure, Handshake},
    request::Prepared,
    target::{Http, Target},
};
pub use self::{
    program::build_proxy,
    signer::{ACCESS_KEY_ID, HOST, REGION, SECRET_ACCESS_KEY, Signer},
};
