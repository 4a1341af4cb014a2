//! The error of a KMS operation.

use std::fmt;

use thiserror::Error;

use super::failure::{Failure, Fault};

/// A failed operation: the caller's message, and what KMS logs for the account besides.
#[derive(Clone, Debug, Error)]
#[error("{name}: {message}")]
pub struct Exception {
    name: ExceptionName,
    message: String,
    fault: Option<Fault>,
}

impl Exception {
    pub(crate) fn new(name: ExceptionName, message: impl Into<String>) -> Self {
        Self {
            name,
            message: message.into(),
            fault: None,
        }
    }

    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new(ExceptionName::Validation, message)
    }

    pub(crate) fn wrong_signature() -> Self {
        let message = "The request signature we calculated does not match the signature you provided.";
        Self::new(ExceptionName::InvalidSignature, message)
    }

    /// For what the proxy did, under the name that the table has for it.
    pub(crate) fn of(name: ExceptionName, fault: Fault) -> Self {
        Self {
            name,
            message: fault.failure().message().to_owned(),
            fault: Some(fault),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> ExceptionName {
        self.name
    }

    /// Returns the caller's message.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the failure of the proxy, where that is the reason.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        self.fault.as_ref().map(Fault::failure)
    }

    /// Returns the exact failure of the proxy. AWS KMS shows it to no caller, and writes it to the account's
    /// logs.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.fault.as_ref().map(Fault::detail)
    }
}

macro_rules! exception_names {
    ($($name:ident = $text:literal, $status:literal;)+) => {
        /// The names of the exceptions that this double throws, as AWS KMS has them.
        ///
        /// `AnswerLost` is none of AWS's: [on purpose](super::Faults) there is no answer, and nothing says
        /// whether the operation was done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ExceptionName {
            $(#[doc = concat!("`", $text, "`, HTTP status ", stringify!($status), ".")] $name,)+
        }

        impl ExceptionName {
            /// Returns the name on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }

            /// Returns the HTTP status that goes with it.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self {
                    $(Self::$name => $status,)+
                }
            }
        }
    };
}

exception_names! {
    AccessDenied = "AccessDeniedException", 400;
    AlreadyExists = "AlreadyExistsException", 400;
    AnswerLost = "(the answer was lost)", 500;
    CustomKeyStoreHasKeys = "CustomKeyStoreHasCMKsException", 400;
    CustomKeyStoreInvalidState = "CustomKeyStoreInvalidStateException", 400;
    CustomKeyStoreNameInUse = "CustomKeyStoreNameInUseException", 400;
    CustomKeyStoreNotFound = "CustomKeyStoreNotFoundException", 400;
    DependencyTimeout = "DependencyTimeoutException", 500;
    Disabled = "DisabledException", 400;
    DryRunOperation = "DryRunOperationException", 400;
    ExpiredImportToken = "ExpiredImportTokenException", 400;
    IamLimitExceeded = "LimitExceeded", 409;
    IncorrectKey = "IncorrectKeyException", 400;
    IncorrectKeyMaterial = "IncorrectKeyMaterialException", 400;
    Internal = "KMSInternalException", 500;
    InvalidAliasName = "InvalidAliasNameException", 400;
    InvalidArn = "InvalidArnException", 400;
    InvalidCiphertext = "InvalidCiphertextException", 400;
    InvalidImportToken = "InvalidImportTokenException", 400;
    InvalidKeyUsage = "InvalidKeyUsageException", 400;
    InvalidMarker = "InvalidMarkerException", 400;
    InvalidSignature = "InvalidSignatureException", 400;
    InvalidState = "KMSInvalidStateException", 400;
    LimitExceeded = "LimitExceededException", 400;
    MalformedPolicyDocument = "MalformedPolicyDocumentException", 400;
    MissingAuthenticationToken = "MissingAuthenticationTokenException", 403;
    NoSuchEntity = "NoSuchEntity", 404;
    NotFound = "NotFoundException", 400;
    Serialization = "SerializationException", 400;
    Tag = "TagException", 400;
    Throttling = "ThrottlingException", 400;
    UnknownOperation = "UnknownOperationException", 404;
    UnrecognizedClient = "UnrecognizedClientException", 400;
    UnsupportedOperation = "UnsupportedOperationException", 400;
    Validation = "ValidationException", 400;
    XksKeyAlreadyInUse = "XksKeyAlreadyInUseException", 400;
    XksKeyInvalidConfiguration = "XksKeyInvalidConfigurationException", 400;
    XksKeyNotFound = "XksKeyNotFoundException", 400;
    XksProxyIncorrectAuthenticationCredential = "XksProxyIncorrectAuthenticationCredentialException", 400;
    XksProxyInvalidConfiguration = "XksProxyInvalidConfigurationException", 400;
    XksProxyInvalidResponse = "XksProxyInvalidResponseException", 400;
    XksProxyUriEndpointInUse = "XksProxyUriEndpointInUseException", 400;
    XksProxyUriInUse = "XksProxyUriInUseException", 400;
    XksProxyUriUnreachable = "XksProxyUriUnreachableException", 400;
    XksProxyVpcEndpointServiceInvalidConfiguration = "XksProxyVpcEndpointServiceInvalidConfigurationException", 400;
    XksProxyVpcEndpointServiceNotFound = "XksProxyVpcEndpointServiceNotFoundException", 400;
    XksProxyVpcEndpointServiceInUse = "XksProxyVpcEndpointServiceInUseException", 400;
}

impl fmt::Display for ExceptionName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
