//! From the SDK's errors to ours: above all, whether the request was sent.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kms::{
    error::{ProvideErrorMetadata, SdkError},
    operation::RequestId,
};
use xks_byok::aws::{AwsError, AwsErrorKind, Operation};
use xks_core::text::ErrorChain;

/// The error of an operation.
pub(crate) fn failed<E>(operation: Operation, error: &SdkError<E>) -> AwsError
where
    E: ProvideErrorMetadata + RequestId + Error + 'static,
{
    let unanswered = |kind| AwsError::new(operation, kind, ErrorChain(error).to_string());
    match error {
        // The SDK takes what it cannot read for an error, whatever the status.
        SdkError::ServiceError(service) if service.raw().status().is_success() => unanswered(AwsErrorKind::AnswerLost),
        SdkError::ServiceError(service) => {
            let (status, error) = (service.raw().status().as_u16(), service.err());
            let (name, message) = (error.code().unwrap_or_default(), error.message().unwrap_or_default());
            AwsError::of_exception(operation, status, name, message).with_request_id(error.request_id())
        }
        // It has the answer's status, and its body cannot be read.
        SdkError::ResponseError(response) => {
            let status = response.raw().status();
            match status.is_success() {
                true => unanswered(AwsErrorKind::AnswerLost),
                false => AwsError::of_exception(operation, status.as_u16(), "", ErrorChain(error).to_string()),
            }
        }
        _ if has_source::<CredentialsError>(error) => unanswered(AwsErrorKind::NoCredentials),
        SdkError::ConstructionFailure(_) => unanswered(AwsErrorKind::InvalidRequest),
        SdkError::DispatchFailure(failure) if failure.is_user() => unanswered(AwsErrorKind::InvalidRequest),
        SdkError::DispatchFailure(_) if is_unconnected(error) => unanswered(AwsErrorKind::Unreachable),
        _ => unanswered(AwsErrorKind::AnswerLost),
    }
}

/// Whether no connection came about: no address, nothing that listens, no TLS.
fn is_unconnected(error: &(dyn Error + 'static)) -> bool {
    sources(error).any(|source| {
        let client = source.downcast_ref::<hyper_util::client::legacy::Error>();
        client.is_some_and(hyper_util::client::legacy::Error::is_connect)
    })
}

fn has_source<T: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    sources(error).any(|source| source.is::<T>())
}

fn sources<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}
