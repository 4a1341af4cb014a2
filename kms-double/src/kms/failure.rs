//! Failures of a proxy, and the one table of KMS's reactions.
//!
//! AWS documents the exceptions in two places: the XKS proxy API specification ("Error codes", *KMS
//! Considerations*), and the AWS KMS Developer Guide ("Troubleshooting external key stores"). Where they
//! differ, the guide is followed, for it is written for KMS's callers. [`Source`] says of each row where it
//! is from.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::exception::{Exception, ExceptionName};

/// A failure of a proxy, or of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Failure {
    /// It answered `ValidationException`.
    Validation,
    /// It answered `InvalidStateException`.
    InvalidState,
    /// It answered `InvalidCiphertextException`.
    InvalidCiphertext,
    /// It answered `InvalidKeyUsageException`.
    InvalidKeyUsage,
    /// It answered `AuthenticationFailedException`.
    AuthenticationFailed,
    /// It answered `AccessDeniedException`.
    AccessDenied,
    /// It answered `KeyNotFoundException`.
    KeyNotFound,
    /// It answered `InvalidUriPathException`.
    InvalidUriPath,
    /// It answered `ThrottlingException`.
    Throttling,
    /// It answered `UnsupportedOperationException`.
    UnsupportedOperation,
    /// It answered `DependencyTimeoutException`.
    DependencyTimeout,
    /// It answered `InternalException`.
    Internal,
    /// No TCP connection.
    Unreachable,
    /// No TLS connection.
    Tls,
    /// No answer within KMS's limit.
    TimedOut,
    /// An answer that cannot be understood, or that breaks a rule of the specification: an error without
    /// `errorName`, an integrity value that does not fit, ciphertext metadata of 21 bytes, ...
    Malformed,
    /// Health: every key manager is `UNAVAILABLE`.
    Unhealthy,
    /// It decrypted without an error what it should have refused, or to something else than was encrypted.
    ForeignPlaintext,
    /// It was not asked: its key store is not connected.
    NotConnected,
}

/// The documentation of a [`Row`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// In the XKS proxy API specification, and not otherwise in the guide.
    Specification,
    /// In the AWS KMS Developer Guide.
    Guide,
    /// For the operations that AWS documents as the others; the named cells are our own
    /// reading.
    Partly(&'static str),
}

/// KMS's reaction to one failure.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Row {
    /// CreateCustomKeyStore, UpdateCustomKeyStore.
    pub key_store: ExceptionName,
    /// CreateKey.
    pub create_key: ExceptionName,
    /// ConnectCustomKeyStore, which itself succeeds.
    pub connection: ConnectionErrorCode,
    /// The caller's message from all of them, and from cryptographic operations, which always throw
    /// `KMSInvalidStateException`: KMS gave its older operations no new exceptions, since AWS services rely
    /// on those.
    pub message: &'static str,
    /// Its documentation.
    pub source: Source,
}

const CANNOT_INTERPRET: &str = "AWS KMS cannot interpret the response from the external key store proxy. If you see this \
    error repeatedly, report it to your external key store proxy administrator.";

impl Failure {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 19] = [
        Self::Validation,
        Self::InvalidState,
        Self::InvalidCiphertext,
        Self::InvalidKeyUsage,
        Self::AuthenticationFailed,
        Self::AccessDenied,
        Self::KeyNotFound,
        Self::InvalidUriPath,
        Self::Throttling,
        Self::UnsupportedOperation,
        Self::DependencyTimeout,
        Self::Internal,
        Self::Unreachable,
        Self::Tls,
        Self::TimedOut,
        Self::Malformed,
        Self::Unhealthy,
        Self::ForeignPlaintext,
        Self::NotConnected,
    ];

    /// Returns KMS's reaction: the whole table. The codes of connections are the guide's for what it names
    /// there (credentials, access, path, TLS, reachability, time, responses), and our own reading for the
    /// rest.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "it is a table")]
    pub const fn row(self) -> Row {
        use ConnectionErrorCode as Code;
        use ExceptionName as Name;
        match self {
            Self::Validation => Row {
                key_store: Name::XksProxyInvalidResponse,
                create_key: Name::CustomKeyStoreInvalidState,
                connection: Code::InvalidResponse,
                message: CANNOT_INTERPRET,
                source: Source::Specification,
            },
            Self::InvalidState => Row {
                key_store: Name::XksProxyUriUnreachable,
                create_key: Name::XksKeyInvalidConfiguration,
                connection: Code::NotReachable,
                message: "The external key store proxy rejected the request because the external key is not enabled in the \
                    external key manager.",
                source: Source::Partly("key stores and connections are our reading: a key store that is switched off"),
            },
            Self::InvalidCiphertext => Row {
                key_store: Name::XksProxyInvalidResponse,
                create_key: Name::CustomKeyStoreInvalidState,
                connection: Code::InvalidResponse,
                message: "The external key store proxy rejected the request because the specified ciphertext or additional \
                    authenticated data is corrupted, missing, or otherwise invalid.",
                source: Source::Partly("only Decrypt and ReEncrypt are documented; nothing else can be answered so"),
            },
            Self::InvalidKeyUsage => Row {
                key_store: Name::XksProxyInvalidResponse,
                create_key: Name::XksKeyInvalidConfiguration,
                connection: Code::InvalidResponse,
                message: "The external key store proxy rejected the request because the external key does not support the \
                    requested operation.",
                source: Source::Partly("key stores and connections are our reading: health has no key"),
            },
            Self::AuthenticationFailed => Row {
                key_store: Name::XksProxyIncorrectAuthenticationCredential,
                create_key: Name::CustomKeyStoreInvalidState,
                connection: Code::InvalidCredentials,
                message: "The external key store proxy rejected the request because it could not authenticate AWS KMS. \
                    Verify the credentials for your external key store and update if necessary.",
                source: Source::Guide,
            },
            Self::AccessDenied => Row {
                key_store: Name::XksProxyInvalidResponse,
                create_key: Name::CustomKeyStoreInvalidState,
                connection: Code::AccessDenied,
                message: "The external key store proxy denied access to the operation. Verify that the user and the external \
                    key are both authorized for this operation, and try the request again.",
                source: Source::Partly("key stores are our reading: health is under no authorization"),
            },
            Self::KeyNotFound => Row {
                key_store: Name::XksProxyInvalidResponse,
                create_key: Name::XksKeyNotFound,
                connection: Code::InvalidResponse,
                message: "The external key store proxy rejected the request because it could not find the external key.",
                source: Source::Partly("key stores and connections are our reading: health has no key"),
            },
            Self::InvalidUriPath => Row {
                key_store: Name::XksProxyInvalidConfiguration,
                create_key: Name::CustomKeyStoreInvalidState,
                connection: Code::InvalidConfiguration,
                message: "The external key store proxy rejected the request because of an invalid URI path. Verify the URI \
                    path for your external key store and update if necessary.",
                source: Source::Guide,
            },
            Self::Throttling => Row {
                key_store: Name::XksProxyUriUnreachable,
                create_key: Name::CustomKeyStoreInvalidState,
                connection: Code::NotReachable,
                message: "The external key store proxy rejected the request due to a very high request rate. Reduce the \
                    frequency of your calls using KMS keys in this external key store.",
                source: Source::Specification,
            },
            Self::UnsupportedOperation => Row {
                key_store: Name::UnsupportedOperation,
                create_key: Name::CustomKeyStoreInvalidState,
                connection: Code::InvalidResponse,
                message: "The external key store proxy rejected the request because it does not support the requested \
                    cryptographic operation.",
                source: Source::Guide,
            },
            Self::DependencyTimeout => Row {
                key_store: Name::XksProxyUriUnreachable,
                create_key: Name::CustomKeyStoreInvalidState,
                connection: Code::TimedOut,
                message: "The external key store proxy did not respond to the request in the time allotted. Retry the \
                    request. If you see this error repeatedly, report it to your external key store proxy administrator.",
                source: Source::Guide,
            },
            Self::Internal => Row {
                key_store: Name::XksProxyInvalidResponse,
                create_key: Name::CustomKeyStoreInvalidState,
                connection: Code::InvalidResponse,
                message: "The external key store proxy rejected the request because it cannot communicate with the external \
                    key manager. Verify that the external key store proxy configuration is correct and that the external \
                    key manager is available.",
                source: Source::Specification,
            },
            Self::Unreachable => Row {
                key_store: Name::XksProxyUriUnreachable,
                create_key: Name::CustomKeyStoreInvalidState,
                connection: Code::NotReachable,
                message: "AWS KMS cannot communicate with the external key store proxy. This might be a transient network \
                    issue. If you see this error repeatedly, verify that your external key store proxy is active and is \
                    connected to the network, and that its endpoint URI is correct in your external key store.",
                source: Source::Guide,
            },
            Self::Tls => Row {
                key_store: Name::XksProxyInvalidConfiguration,
                create_key: Name::CustomKeyStoreInvalidState,
                connection: Code::InvalidTlsConfiguration,
                message: "AWS KMS cannot establish a TLS connection to the external key store proxy. Verify the TLS \
                    configuration, including its certificate.",
                source: Source::Guide, // the specification has XksProxyUriUnreachableException for key stores
            },
            Self::TimedOut => Row {
                key_store: Name::XksProxyUriUnreachable,
                create_key: Name::CustomKeyStoreInvalidState,
                connection: Code::TimedOut,
                message: "AWS KMS rejected the request because the external key store proxy did not respond in time. Retry \
                    the request. If you see this error repeatedly, report it to your external key store proxy administrator.",
                source: Source::Guide,
            },
            Self::Malformed => Row {
                key_store: Name::XksProxyInvalidResponse,
                create_key: Name::CustomKeyStoreInvalidState,
                connection: Code::InvalidResponse,
                message: CANNOT_INTERPRET,
                source: Source::Guide,
            },
            Self::Unhealthy => Row {
                key_store: Name::XksProxyUriUnreachable,
                create_key: Name::CustomKeyStoreInvalidState,
                connection: Code::NotReachable,
                message: "The external key store proxy is in an unhealthy state. If you see this message repeatedly, notify \
                    your external key store proxy administrator.",
                source: Source::Guide,
            },
            Self::ForeignPlaintext => Row {
                key_store: Name::XksProxyInvalidResponse,
                create_key: Name::CustomKeyStoreInvalidState,
                connection: Code::InvalidResponse,
                message: "The ciphertext that the external key store proxy submitted for decryption, or the encryption \
                    context, is corrupted, missing, or otherwise invalid.",
                source: Source::Partly("only Decrypt and ReEncrypt are documented; nothing else can fail so"),
            },
            Self::NotConnected => Row {
                key_store: Name::CustomKeyStoreInvalidState,
                create_key: Name::CustomKeyStoreInvalidState,
                connection: Code::Internal,
                message: "This KMS key is in a custom key store that is not connected to its external key store proxy. \
                    Connect the external key store and try the request again.",
                source: Source::Partly("key stores and connections are our reading: they ask whether connected or not"),
            },
        }
    }

    /// Returns the failure of the `errorName` in the proxy's answer; none of the specification's twelve is
    /// `None`.
    #[must_use]
    pub fn named(error_name: &str) -> Option<Self> {
        Some(match error_name {
            "ValidationException" => Self::Validation,
            "InvalidStateException" => Self::InvalidState,
            "InvalidCiphertextException" => Self::InvalidCiphertext,
            "InvalidKeyUsageException" => Self::InvalidKeyUsage,
            "AuthenticationFailedException" => Self::AuthenticationFailed,
            "AccessDeniedException" => Self::AccessDenied,
            "KeyNotFoundException" => Self::KeyNotFound,
            "InvalidUriPathException" => Self::InvalidUriPath,
            "ThrottlingException" => Self::Throttling,
            "UnsupportedOperationException" => Self::UnsupportedOperation,
            "DependencyTimeoutException" => Self::DependencyTimeout,
            "InternalException" => Self::Internal,
            _ => return None,
        })
    }

    /// Returns the caller's message.
    #[must_use]
    pub fn message(self) -> &'static str {
        self.row().message
    }
}

/// One failure of a proxy, with what exactly it did.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    failure: Failure,
    detail: String,
}

impl Fault {
    pub(crate) fn new(failure: Failure, detail: impl Into<String>) -> Self {
        Self {
            failure,
            detail: detail.into(),
        }
    }

    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(Failure::Malformed, detail)
    }

    pub(crate) fn failure(&self) -> Failure {
        self.failure
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    pub(crate) fn at_key_store(self) -> Exception {
        Exception::of(self.failure.row().key_store, self)
    }

    pub(crate) fn at_create_key(self) -> Exception {
        Exception::of(self.failure.row().create_key, self)
    }

    pub(crate) fn at_cryptography(self) -> Exception {
        Exception::of(ExceptionName::InvalidState, self)
    }
}

/// The error code of a connection that failed, as DescribeCustomKeyStores has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ConnectionErrorCode {
    /// The proxy does not take the credential.
    #[serde(rename = "INVALID_CREDENTIALS")]
    InvalidCredentials,
    /// The proxy denies access.
    #[serde(rename = "XKS_PROXY_ACCESS_DENIED")]
    AccessDenied,
    /// The path is not the proxy's.
    #[serde(rename = "XKS_PROXY_INVALID_CONFIGURATION")]
    InvalidConfiguration,
    /// The answer cannot be understood.
    #[serde(rename = "XKS_PROXY_INVALID_RESPONSE")]
    InvalidResponse,
    /// No TLS connection.
    #[serde(rename = "XKS_PROXY_INVALID_TLS_CONFIGURATION")]
    InvalidTlsConfiguration,
    /// No connection, or no key manager behind the proxy is available.
    #[serde(rename = "XKS_PROXY_NOT_REACHABLE")]
    NotReachable,
    /// No answer in time.
    #[serde(rename = "XKS_PROXY_TIMED_OUT")]
    TimedOut,
    /// The double itself failed.
    #[serde(rename = "INTERNAL_ERROR")]
    Internal,
}

impl ConnectionErrorCode {
    /// Returns the code on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidCredentials => "INVALID_CREDENTIALS",
            Self::AccessDenied => "XKS_PROXY_ACCESS_DENIED",
            Self::InvalidConfiguration => "XKS_PROXY_INVALID_CONFIGURATION",
            Self::InvalidResponse => "XKS_PROXY_INVALID_RESPONSE",
            Self::InvalidTlsConfiguration => "XKS_PROXY_INVALID_TLS_CONFIGURATION",
            Self::NotReachable => "XKS_PROXY_NOT_REACHABLE",
            Self::TimedOut => "XKS_PROXY_TIMED_OUT",
            Self::Internal => "INTERNAL_ERROR",
        }
    }
}

impl fmt::Display for ConnectionErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
