//! The status and the code of an exception, which IAM and STS have others of than KMS.

use serde_json::{Value, json};

use super::Service;
use crate::kms::{Exception, ExceptionName as Name};

/// The HTTP status and the code of an exception.
pub(crate) fn status_and_code(exception: &Exception, service: Service) -> (u16, &'static str) {
    let name = exception.name();
    if service == Service::Kms {
        return (name.status(), name.as_str());
    }
    match name {
        Name::NoSuchEntity | Name::IamLimitExceeded => (name.status(), name.as_str()),
        Name::AccessDenied => (403, "AccessDenied"),
        Name::InvalidSignature => (403, "SignatureDoesNotMatch"),
        Name::UnrecognizedClient => (403, "InvalidClientTokenId"),
        Name::MissingAuthenticationToken => (403, "MissingAuthenticationToken"),
        Name::Throttling => (400, "Throttling"),
        Name::UnknownOperation => (400, "InvalidAction"),
        Name::Internal | Name::DependencyTimeout => (500, "ServiceFailure"),
        _ => (400, "ValidationError"),
    }
}

/// The body that tells of an exception, in JSON.
pub(crate) fn error_body(code: &str, message: &str) -> Value {
    json!({ "__type": code, "message": message })
}
