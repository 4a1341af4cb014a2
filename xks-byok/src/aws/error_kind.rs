//! The one table of AWS's exceptions.

macro_rules! kinds {
    ($($(#[$meta:meta])* $variant:ident = $name:literal $(| $alias:literal)*;)+) => {
        /// What is wrong with a call.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum AwsErrorKind {
            $($(#[$meta])* #[doc = concat!("`", $name, "`.")] $variant,)+
            /// AWS could not be reached: the request was not sent, and nothing was done.
            Unreachable,
            /// The request was sent, and no usable answer came: the effect is unknown.
            AnswerLost,
            /// There are no credentials, or they could not be had: the request was not sent.
            NoCredentials,
            /// The request cannot be written as AWS wants it: it was not sent.
            InvalidRequest,
            /// Another exception, by AWS's name.
            Unknown(Box<str>),
        }

        impl AwsErrorKind {
            /// Returns the kind of an exception, by the name that AWS KMS, IAM or STS gives it.
            #[must_use]
            pub fn of_exception(name: &str) -> Self {
                match name {
                    $($name $(| $alias)* => Self::$variant,)+
                    _ => Self::Unknown(name.into()),
                }
            }

            /// Returns AWS's name of the exception, or a name of ours for what is no exception of AWS.
            #[must_use]
            pub fn name(&self) -> &str {
                match self {
                    $(Self::$variant => $name,)+
                    Self::Unreachable => "Unreachable",
                    Self::AnswerLost => "AnswerLost",
                    Self::NoCredentials => "NoCredentials",
                    Self::InvalidRequest => "InvalidRequest",
                    Self::Unknown(name) => name,
                }
            }
        }

        #[cfg(test)]
        pub(super) const EXCEPTIONS: &[(&str, AwsErrorKind)] = &[
            $(($name, AwsErrorKind::$variant), $(($alias, AwsErrorKind::$variant),)*)+
        ];
    };
}

kinds! {
    /// The credentials do not permit the operation.
    Denied = "AccessDeniedException" | "AccessDenied" | "UnauthorizedOperation";
    /// Too many requests: nothing was done.
    Throttled = "ThrottlingException" | "Throttling" | "RequestLimitExceeded" | "TooManyRequestsException"
        | "RequestThrottled" | "ThrottledException";
    /// The access key is not known (any more, or yet), or inactive.
    UnrecognizedClient = "UnrecognizedClientException" | "InvalidClientTokenId" | "InvalidAccessKeyId"
        | "MissingAuthenticationTokenException" | "MissingAuthenticationToken";
    /// The secret access key is wrong, or a clock.
    InvalidSignature = "InvalidSignatureException" | "SignatureDoesNotMatch" | "IncompleteSignature"
        | "IncompleteSignatureException" | "RequestExpired";
    /// Temporary credentials have ended.
    ExpiredToken = "ExpiredTokenException" | "ExpiredToken";
    /// AWS KMS or IAM has failed within: the effect is unknown.
    Internal = "KMSInternalException" | "InternalFailure" | "InternalServerError" | "ServiceFailure"
        | "ServiceFailureException" | "ServiceUnavailable" | "ServiceUnavailableException";
    /// What AWS KMS depends on was too slow: the effect is unknown.
    DependencyTimeout = "DependencyTimeoutException";
    /// The object exists already.
    AlreadyExists = "AlreadyExistsException" | "EntityAlreadyExists";
    /// A rotation is running, or about to.
    Conflict = "ConflictException";
    /// The key is disabled.
    Disabled = "DisabledException";
    /// The import token is older than 24 hours.
    ExpiredImportToken = "ExpiredImportTokenException";
    /// The material is not the one that belongs to the key, or not of the right length, or there already.
    IncorrectKeyMaterial = "IncorrectKeyMaterialException";
    /// The alias has no legal name.
    InvalidAliasName = "InvalidAliasNameException";
    /// The ARN is not legal.
    InvalidArn = "InvalidArnException";
    /// The wrapped material cannot be unwrapped.
    InvalidCiphertext = "InvalidCiphertextException";
    /// The import token belongs to another key or another wrapping key.
    InvalidImportToken = "InvalidImportTokenException";
    /// The marker of the page is not known.
    InvalidMarker = "InvalidMarkerException";
    /// The state of the key does not allow the operation.
    InvalidState = "KMSInvalidStateException";
    /// A quota on resources is used up.
    LimitExceeded = "LimitExceededException" | "LimitExceeded";
    /// The key policy is not legal, or names a principal that AWS does not know (yet).
    MalformedPolicyDocument = "MalformedPolicyDocumentException" | "MalformedPolicyDocument";
    /// The object does not exist, or is not known everywhere yet.
    NotFound = "NotFoundException" | "NoSuchEntity" | "NoSuchEntityException";
    /// A tag is not legal.
    Tag = "TagException";
    /// The operation does not exist for such a key.
    UnsupportedOperation = "UnsupportedOperationException";
    /// A parameter is not legal.
    Validation = "ValidationException" | "ValidationError" | "InvalidInput" | "InvalidInputException"
        | "SerializationException";
    /// The entity was changed a moment ago, and cannot be changed yet.
    TemporarilyUnmodifiable = "EntityTemporarilyUnmodifiable" | "EntityTemporarilyUnmodifiableException";
    /// The key store still has KMS keys.
    CustomKeyStoreHasKeys = "CustomKeyStoreHasCMKsException";
    /// The connection state of the key store does not allow the operation.
    CustomKeyStoreInvalidState = "CustomKeyStoreInvalidStateException";
    /// Another key store has this name.
    CustomKeyStoreNameInUse = "CustomKeyStoreNameInUseException";
    /// There is no such key store.
    CustomKeyStoreNotFound = "CustomKeyStoreNotFoundException";
    /// A KMS key uses this external key already.
    XksKeyAlreadyInUse = "XksKeyAlreadyInUseException";
    /// The external key is not enabled, or not an AES-256 key for both directions.
    XksKeyInvalidConfiguration = "XksKeyInvalidConfigurationException";
    /// The proxy does not know the external key.
    XksKeyNotFound = "XksKeyNotFoundException";
    /// The proxy rejects the credential.
    XksProxyIncorrectAuthenticationCredential = "XksProxyIncorrectAuthenticationCredentialException";
    /// The proxy is not as AWS wants it, its TLS certificate for instance.
    XksProxyInvalidConfiguration = "XksProxyInvalidConfigurationException";
    /// The proxy's answer is not as the specification has it.
    XksProxyInvalidResponse = "XksProxyInvalidResponseException";
    /// Another key store uses this endpoint.
    XksProxyUriEndpointInUse = "XksProxyUriEndpointInUseException";
    /// Another key store uses this endpoint and path.
    XksProxyUriInUse = "XksProxyUriInUseException";
    /// AWS KMS does not reach the proxy.
    XksProxyUriUnreachable = "XksProxyUriUnreachableException";
    /// The VPC endpoint service is not set up as AWS KMS needs it.
    XksProxyVpcEndpointServiceInvalidConfiguration = "XksProxyVpcEndpointServiceInvalidConfigurationException";
    /// AWS KMS does not find the VPC endpoint service.
    XksProxyVpcEndpointServiceNotFound = "XksProxyVpcEndpointServiceNotFoundException";
    /// Another key store uses this VPC endpoint service.
    XksProxyVpcEndpointServiceInUse = "XksProxyVpcEndpointServiceInUseException";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_exception_has_one_kind_and_unknown_ones_keep_their_name() {
        let names: BTreeSet<_> = EXCEPTIONS.iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), EXCEPTIONS.len());
        for (name, kind) in EXCEPTIONS {
            assert_eq!(&AwsErrorKind::of_exception(name), kind);
            assert_eq!(&AwsErrorKind::of_exception(kind.name()), kind);
        }
        let unknown = AwsErrorKind::of_exception("MoonPhaseException");
        assert_eq!(unknown.name(), "MoonPhaseException");
        assert!(matches!(unknown, AwsErrorKind::Unknown(_)));
    }
}
