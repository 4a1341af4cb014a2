//! The names of the errors that KMS knows.

use crate::names::named_enum;

/// The `errorName` of an answer that is not a success: the whole vocabulary of the specification (section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "version 1 of the specification has these twelve and no others"
)]
pub enum ErrorName {
    /// 400: an input is missing or malformed.
    Validation,
    /// 400: the key or the key store is disabled, deactivated or blocked.
    InvalidState,
    /// 400, decrypt only: ciphertext, IV, AAD, metadata or tag is not what encrypt returned.
    InvalidCiphertext,
    /// 400: the key does not support the operation.
    InvalidKeyUsage,
    /// 401: the SigV4 signature is not valid.
    AuthenticationFailed,
    /// 403: secondary authorization said no.
    AccessDenied,
    /// 404: no such external key in this key store.
    KeyNotFound,
    /// 404: the path is not one of the API's, or its prefix is unknown.
    InvalidUriPath,
    /// 429: too many requests, or a quota is spent.
    Throttling,
    /// 501: not implemented, or a size above what is supported.
    UnsupportedOperation,
    /// 503: a dependency did not answer in time.
    DependencyTimeout,
    /// 500: anything else, a failing key manager among them.
    Internal,
}

impl ErrorName {
    /// Returns the HTTP status that goes with the name. Specification: Error codes.
    // ERR-3
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Validation | Self::InvalidState | Self::InvalidCiphertext | Self::InvalidKeyUsage => 400,
            Self::AuthenticationFailed => 401,
            Self::AccessDenied => 403,
            Self::KeyNotFound | Self::InvalidUriPath => 404,
            Self::Throttling => 429,
            Self::Internal => 500,
            Self::UnsupportedOperation => 501,
            Self::DependencyTimeout => 503,
        }
    }

    /// The default message for KMS; the pipeline may have a more precise one.
    pub(crate) const fn message(self) -> &'static str {
        match self {
            Self::Validation => "an input is missing or malformed",
            Self::InvalidState => "the external key is disabled or blocked",
            Self::InvalidCiphertext => "the ciphertext, or what authenticates it, is not valid",
            Self::InvalidKeyUsage => "the external key does not support this operation",
            Self::AuthenticationFailed => "the request could not be authenticated",
            Self::AccessDenied => "the request is not authorized",
            Self::KeyNotFound => "the external key does not exist",
            Self::InvalidUriPath => "the URI path is not valid",
            Self::Throttling => "too many requests",
            Self::UnsupportedOperation => "the operation, or the size of an input, is not supported",
            Self::DependencyTimeout => "the external key manager did not answer in time",
            Self::Internal => "the external key manager failed",
        }
    }
}

// In the order of the specification's table.
named_enum! {
    ErrorName, "an error name",
    Validation => "ValidationException",
    InvalidState => "InvalidStateException",
    InvalidCiphertext => "InvalidCiphertextException",
    InvalidKeyUsage => "InvalidKeyUsageException",
    AuthenticationFailed => "AuthenticationFailedException",
    AccessDenied => "AccessDeniedException",
    KeyNotFound => "KeyNotFoundException",
    InvalidUriPath => "InvalidUriPathException",
    Throttling => "ThrottlingException",
    UnsupportedOperation => "UnsupportedOperationException",
    DependencyTimeout => "DependencyTimeoutException",
    Internal => "InternalException",
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ERR-2, ERR-3: each name has its status and a text of legal characters.
    #[test]
    fn names_statuses_and_texts_are_the_specifications() {
        let statuses = ErrorName::ALL.map(ErrorName::status);
        assert_eq!(statuses, [400, 400, 400, 400, 401, 403, 404, 404, 429, 501, 503, 500]);
        for name in ErrorName::ALL {
            assert!(name.as_str().ends_with("Exception"));
            assert!(name.message().len() < 512);
            assert!(name.message().bytes().all(|byte| (0x20..=0x7e).contains(&byte)));
        }
    }
}
