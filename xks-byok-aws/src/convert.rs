//! Values of the SDK, and ours.

use aws_smithy_types::DateTime;
use xks_byok::aws::{AwsError, AwsErrorKind, Operation};
use xks_lifecycle::Timestamp;

/// To the second; nothing for what is before 1970 or after 9999.
pub(crate) fn time(time: Option<&DateTime>) -> Option<Timestamp> {
    let seconds = u64::try_from(time?.secs()).ok()?;
    Timestamp::from_seconds("date", seconds).ok()
}

pub(crate) fn date(time: Timestamp) -> DateTime {
    DateTime::from_secs(i64::try_from(time.seconds()).unwrap_or(i64::MAX)) // at most the year 9999
}

pub(crate) fn text(text: Option<&str>) -> String {
    text.unwrap_or_default().to_owned()
}

pub(crate) fn owned(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

/// More than AWS takes is sent as what it refuses.
pub(crate) fn limit(limit: Option<u32>) -> Option<i32> {
    limit.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX))
}

/// A success without what makes it useful: the effect is there, and the answer is as good as lost.
pub(crate) fn lacking(operation: Operation, field: &str) -> AwsError {
    AwsError::new(
        operation,
        AwsErrorKind::AnswerLost,
        format!("the answer has no {field}"),
    )
}

/// A request that cannot be written: it is not sent.
pub(crate) fn unwritten(operation: Operation, error: &dyn std::error::Error) -> AwsError {
    AwsError::new(operation, AwsErrorKind::InvalidRequest, error.to_string())
}
