//! For tests of what is built on this crate. Feature `testkit`; not for production.
//!
//! * [`conformance!`](crate::conformance) tests a [`KeyBackend`](crate::KeyBackend) against its contract: one
//!   line in a vendor's tests.
//! * `manager_conformance!` does the same for a [`KeyManager`](crate::manage::KeyManager), with the feature
//!   `testkit-manage`.
//! * [`Client`] calls a [`Proxy`](crate::Proxy) in process, as KMS would; [`Signer`] signs for tests over
//!   HTTP.
//! * [`FailingBackend`] fails, lies, delays and hangs as a test wants it, around any backend.

mod client;
pub mod conformance;
mod failing;
mod signer;

/// [`conformance!`](crate::conformance)
#[doc(no_inline)]
pub use crate::conformance;

pub use self::{
    client::{Answer, Client},
    failing::{FailingBackend, Fault, Faults, Method, When},
    signer::Signer,
};
