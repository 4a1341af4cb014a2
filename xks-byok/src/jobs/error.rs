//! Why a job cannot be started, read or changed.

use thiserror::Error;
use xks_lifecycle::{CommandError, FieldError, JobId, RandomError};

use crate::{accounts::CsvError, aws::AwsError, caller::CallError, plan::Undesirable};

/// Why a job cannot be started, read or changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JobError {
    /// There is no such job.
    #[error("there is no jobs/{0}")]
    Unknown(JobId),
    /// What it is for is not there.
    #[error(transparent)]
    Undesirable(#[from] Undesirable),
    /// Another job of the same object has not ended.
    #[error("jobs/{0} is about the same object and has not ended: wait for it, or cancel it")]
    UnderWay(JobId),
    /// What is there is not what was shown.
    #[error("what is there in AWS has changed since the plan was shown: look at the plan again")]
    Outdated,
    /// The job has ended.
    #[error("jobs/{0} has ended")]
    Ended(JobId),
    /// Somebody else has written the job at the same moment.
    #[error("jobs/{0} has changed at this moment: look at it again")]
    Changed(JobId),
    /// The row of the job is not known to this version of the program.
    #[error("jobs/{id} cannot be read: {problem}; use a newer program")]
    Unreadable {
        /// Which one.
        id: JobId,
        /// Why.
        problem: String,
    },
    /// The file of an account's access key cannot be read.
    #[error("the access key file {path}: {problem}")]
    File {
        /// The file.
        path: String,
        /// Why, and what to do.
        problem: String,
    },
    /// The file of an account's access key has something else in it.
    #[error(transparent)]
    Csv(#[from] CsvError),
    /// AWS.
    #[error(transparent)]
    Aws(#[from] AwsError),
    /// The state.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A value.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// There are no random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
}

impl From<CallError> for JobError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Aws(error) => Self::Aws(error),
            CallError::Store(error) => Self::Command(error),
        }
    }
}
