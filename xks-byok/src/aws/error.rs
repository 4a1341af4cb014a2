//! The one error of a call to AWS.

use std::{error::Error, fmt};

use super::{AwsErrorKind, Operation};

/// A call to AWS that failed. Its text says what to do where a permission is missing. It shows no secret.
///
/// ```
/// use xks_byok::aws::{AwsError, AwsErrorKind, Operation};
///
/// let error = AwsError::of_exception(Operation::ListRoles, 403, "AccessDenied", "not authorized");
/// assert_eq!(error.kind, AwsErrorKind::Denied);
/// assert!(error.to_string().contains("statement Principals of the IAM policy"));
/// assert!(!error.is_retryable());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AwsError {
    /// The operation that was called.
    pub operation: Operation,
    /// What is wrong.
    pub kind: AwsErrorKind,
    /// AWS's text, or the reason why there is no answer.
    pub message: String,
    /// AWS's id of the request, which its support asks for.
    pub request_id: Option<String>,
}

impl AwsError {
    /// Creates an error of a call that AWS has not answered.
    pub fn new(operation: Operation, kind: AwsErrorKind, message: impl Into<String>) -> Self {
        Self {
            operation,
            kind,
            message: message.into(),
            request_id: None,
        }
    }

    /// Creates an error of an answer: its HTTP status, and the name and the text of the exception.
    ///
    /// A name that is not known is [`AwsErrorKind::Internal`] with a status of 5xx, since then nothing says
    /// that the operation was not done.
    pub fn of_exception(operation: Operation, status: u16, name: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        match AwsErrorKind::of_exception(name) {
            AwsErrorKind::Unknown(name) if status >= 500 => {
                let message = if name.is_empty() {
                    format!("HTTP status {status} {message}")
                } else {
                    format!("{name}: {message}")
                };
                Self::new(operation, AwsErrorKind::Internal, message.trim_end())
            }
            AwsErrorKind::Unknown(name) if name.is_empty() => {
                let name = format!("HTTP status {status}").into();
                Self::new(operation, AwsErrorKind::Unknown(name), message)
            }
            kind => Self::new(operation, kind, message),
        }
    }

    /// Sets AWS's id of the request.
    #[must_use]
    pub fn with_request_id(mut self, id: Option<&str>) -> Self {
        self.request_id = id.map(str::to_owned);
        self
    }

    /// Returns whether the same call may succeed a little later with nothing changed. It may have been done
    /// already: see [`is_effect_unknown`](Self::is_effect_unknown).
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        matches!(
            self.kind,
            AwsErrorKind::Throttled
                | AwsErrorKind::Unreachable
                | AwsErrorKind::AnswerLost
                | AwsErrorKind::Internal
                | AwsErrorKind::DependencyTimeout
                | AwsErrorKind::TemporarilyUnmodifiable
        )
    }

    /// Returns whether the request was sent and no usable answer came.
    #[must_use]
    pub const fn is_answer_lost(&self) -> bool {
        matches!(self.kind, AwsErrorKind::AnswerLost)
    }

    /// Returns whether the operation may have been done all the same: its answer was lost, or AWS failed
    /// within. Look before you repeat one that [creates](Operation::is_creating).
    #[must_use]
    pub const fn is_effect_unknown(&self) -> bool {
        matches!(
            self.kind,
            AwsErrorKind::AnswerLost | AwsErrorKind::Internal | AwsErrorKind::DependencyTimeout
        )
    }

    /// Returns whether the credentials are refused: none of their calls will succeed, unless they are so new
    /// that AWS does not know them everywhere yet.
    #[must_use]
    pub const fn is_bad_credential(&self) -> bool {
        matches!(
            self.kind,
            AwsErrorKind::UnrecognizedClient | AwsErrorKind::InvalidSignature | AwsErrorKind::ExpiredToken
        )
    }
}

impl fmt::Display for AwsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, message, .. } = self;
        match &self.kind {
            AwsErrorKind::Denied => {
                write!(f, "AWS denies {operation}: {message}")?;
                for (index, purpose) in operation.purposes().iter().enumerate() {
                    let before = if index == 0 {
                        "; allowed by the statement"
                    } else {
                        " or"
                    };
                    write!(f, "{before} {purpose}")?;
                }
                if !operation.purposes().is_empty() {
                    f.write_str(" of the IAM policy")?;
                }
            }
            AwsErrorKind::Throttled => write!(f, "AWS throttles {operation}: {message}")?,
            AwsErrorKind::Unreachable => write!(f, "AWS cannot be reached for {operation}: {message}")?,
            AwsErrorKind::AnswerLost => write!(
                f,
                "{operation} was sent, and its answer was lost: {message}; it may have been done"
            )?,
            AwsErrorKind::NoCredentials => write!(f, "no AWS credentials for {operation}: {message}")?,
            kind => write!(f, "{operation} failed with {}: {message}", kind.name())?,
        }
        match &self.request_id {
            Some(id) => write!(f, " (request id {id})"),
            None => Ok(()),
        }
    }
}

impl Error for AwsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_of_5xx_with_an_unknown_name_leaves_the_effect_unknown() {
        let error = |status, name| AwsError::of_exception(Operation::CreateKey, status, name, "");
        assert!(error(503, "SlowDown").is_effect_unknown());
        assert!(error(502, "").is_effect_unknown());
        assert!(!error(400, "SlowDown").is_effect_unknown());
        assert!(!error(400, "ThrottlingException").is_effect_unknown());
        assert_eq!(
            error(502, "").to_string(),
            "kms:CreateKey failed with KMSInternalException: HTTP status 502"
        );
        assert_eq!(error(403, "").kind.name(), "HTTP status 403");
    }

    #[test]
    fn a_denied_permission_names_every_statement_that_would_allow_it() {
        for operation in Operation::ALL {
            let text = AwsError::of_exception(*operation, 400, "AccessDeniedException", "no").to_string();
            assert!(text.contains(operation.action()), "{text}");
            for purpose in operation.purposes() {
                assert!(text.contains(purpose.sid()), "{text}");
            }
        }
    }
}
