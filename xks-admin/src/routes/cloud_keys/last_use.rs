//! When a KMS key was used last, as both sides know it.

use serde::Serialize;
use xks_byok::observe::LastUse;
use xks_lifecycle::{CloudKey, Timestamp};

use crate::{answer::Answer, call::Call, problem::Problem, routes::resource::id};

#[derive(Serialize)]
struct ShownLastUse<'u> {
    /// The later one of both.
    latest: Option<Timestamp>,
    /// When the external key was used last.
    external_key: Option<Timestamp>,
    /// What AWS KMS knows.
    aws: Option<ShownUsage<'u>>,
    /// Since when AWS KMS tracks it.
    tracked_since: Option<Timestamp>,
    /// What it says about a deletion.
    advice: String,
}

#[derive(Serialize)]
struct ShownUsage<'u> {
    operation: &'u str,
    time: Option<Timestamp>,
    /// As the proxy's audit record has it.
    kms_request_id: Option<&'u str>,
    cloud_trail_event_id: Option<&'u str>,
}

impl<'u> ShownLastUse<'u> {
    fn new(known: &'u LastUse) -> Self {
        let aws = known.aws.last_usage.as_ref().map(|usage| ShownUsage {
            operation: &usage.operation,
            time: usage.timestamp,
            kms_request_id: usage.kms_request_id.as_deref(),
            cloud_trail_event_id: usage.cloud_trail_event_id.as_deref(),
        });
        Self {
            latest: known.latest(),
            external_key: known.ours,
            aws,
            tracked_since: known.aws.tracking_start_date,
            advice: known.advice(),
        }
    }
}

pub(super) async fn last_use(call: Call) -> Result<Answer, Problem> {
    let id = id::<CloudKey>(&call)?;
    let known = call.jobs()?.last_use(id).await?;
    Answer::json(&ShownLastUse::new(&known))
}
