//! The rules, written once more and in another way than in the libraries: what a request must be answered.
//! The targets compare the answers with it.

pub mod base64;
mod body;
mod cipher;
mod json;
mod route;
pub mod signature;

use xks_core::api::{ErrorName, KeyOperation, Operation};

pub use self::{
    cipher::integrity_value,
    json::{Json, read as read_json},
    route::{Destination, destination},
};
use crate::{exchange::Exchange, proxy::Tenant};

/// A status, and the error name that goes with it; none with 200 and 405.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Verdict(pub u16, pub &'static str);

impl Verdict {
    pub const OK: Self = Self(200, "");
    pub const USE_POST: Self = Self(405, "");
    pub const BAD: Self = Self(400, "ValidationException");

    pub fn error(name: ErrorName) -> Self {
        Self(name.status(), name.as_str())
    }
}

/// What a whole exchange must be answered.
pub fn exchange(exchange: &Exchange) -> Verdict {
    let Some(destination) = destination(&exchange.target) else {
        return Verdict::error(ErrorName::InvalidUriPath);
    };
    if exchange.method != "POST" {
        return Verdict::USE_POST;
    }
    if exchange.unreadable.is_some() {
        return Verdict::BAD;
    }
    if !signature::is_valid(destination.tenant, exchange) {
        return Verdict::error(ErrorName::AuthenticationFailed);
    }
    body(&destination, &exchange.body)
}

/// What an authentic body must be answered.
pub fn body(destination: &Destination<'_>, bytes: &[u8]) -> Verdict {
    body::verdict(destination.operation, destination.key, bytes).unwrap_or_else(|error| error)
}

/// The destination of an operation on `key` of a tenant.
pub fn at<'a>(tenant: &'static Tenant, operation: Operation, key: &'a str) -> Destination<'a> {
    let key = match operation {
        Operation::GetHealthStatus => "",
        Operation::Key(KeyOperation::GetKeyMetadata | KeyOperation::Encrypt | KeyOperation::Decrypt) => key,
    };
    Destination { tenant, operation, key }
}
