//! What the outcome of a step means for its job.

use xks_core::manage::ManageErrorKind;
use xks_lifecycle::{CommandError, Outcome};

use super::{Denied, Job, JobError, JobState, Jobs, run::Stop};
use crate::{
    aws::{AwsError, AwsErrorKind},
    plan::Action,
};

/// How long a job waits that has got no further, in milliseconds; each time twice as long.
const FIRST_WAIT: u64 = 1000;
/// How long it waits at most.
const LAST_WAIT: u64 = 60_000;
/// How long it waits while AWS is at work.
pub(super) const LOOK_AGAIN: u64 = 5000;
/// How long a job waits that AWS has denied a permission, in milliseconds; each time twice as long. A policy
/// is in force some seconds after it is changed.
const FIRST_DENIED: u64 = 60_000;
/// How long it waits at most: so long a permission may be there and not be noticed. A try takes some ten
/// reads.
const LAST_DENIED: u64 = 15 * 60_000;
/// How often a job may get no further for a reason that it does not know.
const MOST_FAILURES: u32 = 8;

impl Jobs {
    pub(super) fn done(&self, job: &mut Job, action: &Action) {
        let now = self.now();
        job.note(now, format!("done: {action}"));
        job.cursor += 1;
        job.failures = 0;
        job.pending = None;
        if action.settles() {
            let settle = u64::try_from(self.settings.settle.as_millis()).unwrap_or(u64::MAX);
            job.settles = now.saturating_add(settle);
        }
        job.has_connected |= *action == Action::ConnectKeyStore;
    }

    /// A step was refused, or was not answered.
    pub(super) fn refused(&self, job: &mut Job, action: &Action, error: &AwsError) {
        if error.kind != AwsErrorKind::Denied || !job.was_denied(error) {
            job.note(self.now(), format!("{action}: {error}"));
        }
        if action.creates() {
            match error.kind {
                // Something is there already, of ours or of others.
                AwsErrorKind::XksKeyAlreadyInUse => {
                    if let Some(pending) = &mut job.pending {
                        pending.is_taken = true;
                    }
                }
                _ if error.is_effect_unknown() => {}
                _ => job.pending = None,
            }
        }
        // AWS names the rule only; the next plan asks for a later end.
        let has_ended =
            matches!(action, Action::ImportMaterial { valid_to: Some(end), .. } if end * 1000 <= self.now());
        match &error.kind {
            _ if has_ended => self.again(job, error),
            AwsErrorKind::XksKeyAlreadyInUse
            | AwsErrorKind::AlreadyExists
            | AwsErrorKind::CustomKeyStoreNameInUse
            | AwsErrorKind::NotFound
            | AwsErrorKind::CustomKeyStoreNotFound
            | AwsErrorKind::InvalidState
            | AwsErrorKind::Disabled
            | AwsErrorKind::Conflict
            | AwsErrorKind::CustomKeyStoreInvalidState
            // Material may be there already, the token may have run out while the key manager was slow, and a
            // garbled answer may have garbled what was wrapped: the next attempt has another token.
            | AwsErrorKind::IncorrectKeyMaterial
            | AwsErrorKind::ExpiredImportToken
            | AwsErrorKind::InvalidImportToken
            | AwsErrorKind::InvalidCiphertext
            // A principal may be so new that AWS KMS does not know it yet.
            | AwsErrorKind::MalformedPolicyDocument => self.again(job, error),
            _ if error.is_retryable() => self.wait(job, error.to_string()),
            _ => self.block(job, error),
        }
    }

    /// What is there may have been changed by somebody else, or not be shown yet: look again, some times.
    pub(super) fn again(&self, job: &mut Job, error: &AwsError) {
        if job.failures >= MOST_FAILURES {
            match error.kind {
                AwsErrorKind::MalformedPolicyDocument | AwsErrorKind::IncorrectKeyMaterial => self.block(job, error),
                _ => {
                    let problem = error.to_string();
                    job.state = JobState::Stuck { problem };
                }
            }
        } else {
            self.wait(job, error.to_string());
        }
    }

    /// Asks a person. What is denied is tried again, too.
    fn block(&self, job: &mut Job, error: &AwsError) {
        let question = error.to_string();
        job.state = JobState::Blocked { question };
        if error.kind == AwsErrorKind::Denied {
            let before = job.denied.as_ref().filter(|_| job.was_denied(error));
            let before = before.map_or(0, |denied| denied.times);
            let wait = longer(FIRST_DENIED, before, LAST_DENIED);
            job.denied = Some(Denied {
                operation: error.operation.name().to_owned(),
                times: before.saturating_add(1),
                again: Some(self.now().saturating_add(wait)),
            });
        }
    }

    /// Waits, each time twice as long.
    pub(super) fn wait(&self, job: &mut Job, reason: String) {
        let wait = longer(FIRST_WAIT, job.failures, LAST_WAIT);
        job.failures = job.failures.saturating_add(1);
        let until = self.now() + wait;
        job.state = JobState::Waiting { until, reason };
    }

    /// Something else than a step has failed.
    pub(super) fn failed(&self, job: &mut Job, error: JobError) -> Result<(), Stop> {
        match error {
            JobError::Aws(error) if error.is_retryable() => self.wait(job, error.to_string()),
            JobError::Aws(error) => self.block(job, &error),
            JobError::Command(error) if of_key_manager(&error) == Some(true) => self.wait(job, error.to_string()),
            JobError::Command(error) if of_key_manager(&error) == Some(false) => {
                let question = error.to_string();
                job.state = JobState::Blocked { question };
            }
            JobError::Command(error) if error.outcome() == Outcome::Refused => {
                job.state = JobState::Stuck {
                    problem: error.to_string(),
                }
            }
            JobError::Command(error) if error.is_claim_lost() => return Err(Stop::Lost),
            JobError::Command(error) => return Err(error.into()),
            error => {
                job.state = JobState::Blocked {
                    question: error.to_string(),
                }
            }
        }
        Ok(())
    }
}

/// The `first` wait, twice as long for each time before, up to the `last`.
fn longer(first: u64, times: u32, last: u64) -> u64 {
    first.saturating_mul(1 << times.min(10)).min(last)
}

impl Job {
    /// Whether this call was denied the last time, too.
    fn was_denied(&self, error: &AwsError) -> bool {
        let denied = self.denied.as_ref();
        denied.is_some_and(|denied| denied.operation == error.operation.name())
    }
}

/// Whether a command failed because of a key manager, and if so whether it may succeed a little later.
fn of_key_manager(error: &CommandError) -> Option<bool> {
    match error {
        CommandError::Manager { source, .. } => Some(matches!(
            source.kind(),
            ManageErrorKind::Throttled
                | ManageErrorKind::Timeout
                | ManageErrorKind::Unavailable
                | ManageErrorKind::Other
        )),
        CommandError::Backend { .. } => Some(true),
        CommandError::NotRecorded { error, .. } => of_key_manager(error),
        _ => None,
    }
}
