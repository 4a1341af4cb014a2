//! Jobs that rotate the access key of a cloud account: by a person, or by the account's schedule.
//!
//! How far a [rotation](crate::accounts::rotation) has come is in the job's row; the access keys, with their
//! secrets, are in the state. The state is written first: a process that ends between both goes on from the
//! row as it was, and what AWS lists decides.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use xks_core::Zeroizing;
use xks_lifecycle::{
    AwsSecret, CloudAccessKey, CloudAccount, CloudAccountId, CloudCredential, JobId, Snapshot, Timestamp,
    commands::Actor,
};

use super::{
    Intent, Job, JobError, JobState, Jobs, StoredPlan,
    run::{Stop, Work},
    scheduled::{Beginning, begins},
    site::credentials,
};
use crate::{
    accounts::rotation::{self, Effect, Limits, RotationError, State, Step},
    aws::{AccessKey, AwsErrorKind},
    plan::{Action, Step as PlanStep, Undesirable},
};

/// How far a rotation has come, in the row of its job. Times are in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "at", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rotation {
    /// A new access key is being made.
    Creating {
        /// Those that there were.
        known: Vec<String>,
        /// Since when.
        since: u64,
    },
    /// A new access key is in the state, and not used yet.
    Proving {
        /// Its id.
        new: String,
        /// That of the one that is used.
        old: String,
        /// Since when.
        since: u64,
    },
    /// The new access key is used.
    Switched {
        /// The id of the one before.
        old: String,
        /// Since when.
        since: u64,
    },
}

fn time(seconds: u64) -> Timestamp {
    Timestamp::from_seconds("time", seconds).unwrap_or(Timestamp::MAX)
}

/// The state of a rotation, by its row and by the access key that the account has.
fn state_of(rotation: Option<&Rotation>, current: &str) -> State {
    match rotation {
        None => State::Idle,
        Some(Rotation::Creating { known, since }) => State::Creating {
            known: known.clone(),
            since: time(*since),
        },
        // The process ended between the switch and the row.
        Some(Rotation::Proving { new, old, since }) if new == current => State::Switched {
            old: old.clone(),
            since: time(*since),
        },
        Some(Rotation::Proving { new, since, .. }) => State::Proving {
            new: new.clone(),
            since: time(*since),
        },
        Some(Rotation::Switched { old, since }) => State::Switched {
            old: old.clone(),
            since: time(*since),
        },
    }
}

fn row_of(state: State, current: &str) -> Option<Rotation> {
    match state {
        State::Creating { known, since } => Some(Rotation::Creating {
            known,
            since: since.seconds(),
        }),
        State::Proving { new, since } => Some(Rotation::Proving {
            new,
            old: current.to_owned(),
            since: since.seconds(),
        }),
        State::Switched { old, since } => Some(Rotation::Switched {
            old,
            since: since.seconds(),
        }),
        State::Idle => None,
    }
}

/// The id that a job has by what it is started for, so that no other node starts it too.
pub(super) fn id_of(occasion: &str) -> Option<JobId> {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let hash = Sha256::digest(occasion);
    let symbol = |byte: &u8| ALPHABET.get(usize::from(byte % 32)).copied().map(char::from);
    let text: String = hash.iter().take(24).filter_map(symbol).collect();
    text.parse().ok()
}

/// When the access key of an account is due, if the times up to this one count as passed.
fn due_after(state: &Snapshot, account: &CloudAccount, passed: Timestamp) -> Option<Timestamp> {
    let schedule = state.schedule(account.schedule?)?;
    let since = account.rotated.max(account.schedule_since).max(Some(passed))?;
    let is_ours = matches!(account.credential, CloudCredential::AccessKey(_));
    schedule.due_after(since, &account.id).filter(|_| is_ours)
}

/// The accounts whose access key is due.
fn due(state: &Snapshot, now: Timestamp) -> Vec<CloudAccountId> {
    let is_due = |account: &CloudAccount| due_after(state, account, Timestamp::MIN).is_some_and(|due| due <= now);
    let accounts = state.cloud_accounts().filter(|account| is_due(account));
    accounts.map(|account| account.id).collect()
}

impl Jobs {
    /// Returns what a job that replaces the access key of an account would do, without a call of AWS.
    ///
    /// # Errors
    /// The account is not there, or those of the store.
    pub async fn preview_rotation(&self, account: CloudAccountId) -> Result<StoredPlan, JobError> {
        self.commands.refresh().await?;
        self.rotation_plan(account)
    }

    /// The one step that a job of an account has in its plan.
    pub(super) fn rotation_plan(&self, id: CloudAccountId) -> Result<StoredPlan, JobError> {
        let found = self.account(id)?;
        let (steps, question) = match &found.credential {
            CloudCredential::AccessKey(key) => {
                let reason = "make another one, prove that it works, use it, deactivate and delete this one".to_owned();
                let action = Action::RotateAccessKey {
                    access_key_id: key.id.to_string(),
                };
                (vec![PlanStep { action, reason }], None)
            }
            _ => (
                Vec::new(),
                Some("the account has no access key in the store: this program rotates no other credential".to_owned()),
            ),
        };
        Ok(StoredPlan {
            steps,
            question,
            ..StoredPlan::default()
        })
    }

    /// The rotations that schedules of accounts demand. What a person has cancelled starts with the next time
    /// of the schedule.
    pub(super) fn accounts_due(&self, jobs: &[Job], now: Timestamp) -> Result<Vec<Beginning>, JobError> {
        let due: Vec<_> = self.commands.read(|state| {
            let begins = |account| {
                let found = state.cloud_account(account)?;
                let due = |passed| due_after(state, found, passed);
                let (id, time) = begins(jobs, now, &format!("rotate {account}"), due)?;
                Some((account, id, time))
            };
            due(state, now).into_iter().filter_map(begins).collect()
        });
        let beginning = |(account, id, time)| {
            Ok(Beginning {
                id,
                intent: Intent::CloudAccount(account),
                plan: self.rotation_plan(account)?,
                first_change: None,
                reason: format!("started by the schedule of the account, due at {time}"),
            })
        };
        due.into_iter().map(beginning).collect()
    }

    /// One step of a rotation.
    pub(super) async fn rotate(&self, work: &mut Work, actor: &Actor, id: CloudAccountId) -> Result<(), Stop> {
        self.commands.refresh().await?;
        let account = self.account(id)?;
        let CloudCredential::AccessKey(current) = &account.credential else {
            let question = "the account has no access key in the store".to_owned();
            work.job.state = JobState::Blocked { question };
            return Ok(());
        };
        let current = current.id.to_string();
        let region = account.region.to_string();
        let iam = self.connector.iam(&credentials(&account)?, &region).await?;
        let now = self.commands.now();
        let wait = |job: &mut Job, seconds: u64, reason: &str| {
            let until = self.now().saturating_add(seconds.saturating_mul(1000));
            let reason = reason.to_owned();
            job.state = JobState::Waiting { until, reason };
        };
        let Some(keys) = rotation::observe(&*iam).await? else {
            wait(&mut work.job, 5, "AWS's answers still flip between old and new");
            return Ok(());
        };
        let state = state_of(work.job.rotation.as_ref(), &current);
        let mut step = rotation::plan(&state, &current, &keys, now, Limits::default());
        let mut actor = actor.clone();
        if let Step::Mark { known } = &step {
            let known = known.clone();
            work.job.rotation = row_of(State::Creating { known, since: now }, &current);
            work.job.note(self.now(), format!("done: {step}"));
            let owner = work.row.owner.clone();
            self.write(work, &owner).await?;
            actor = self.commands.under_job(&self.actor, &work.row);
            if self.is_late(work) {
                work.job.rotation = None;
                return Ok(());
            }
            // Without another list: for a key that somebody else makes meanwhile AWS refuses ours.
            step = Step::Create;
        }
        if step == Step::Create && self.is_late(work) {
            return Ok(()); // the row is written first, if it is still ours
        }
        let job = &mut work.job;
        match &step {
            Step::Wait { until } => {
                let seconds = until.seconds().saturating_sub(now.seconds()).max(1);
                wait(job, seconds, "AWS may not know the access key everywhere yet");
                return Ok(());
            }
            Step::Block(blocked) => {
                let question = blocked.to_string();
                job.state = JobState::Blocked { question };
                return Ok(());
            }
            Step::Finish => {
                job.rotation = None;
                job.cursor = 1;
                job.state = JobState::Done;
                return Ok(());
            }
            _ => {}
        }
        let held = account
            .next
            .as_ref()
            .map(|key| AccessKey::new(key.id.as_str(), key.secret.expose()));
        kill_point!(Calling);
        let outcome = rotation::apply(&step, &*iam, held.as_ref(), &*self.connector, &region, now).await;
        kill_point!(Called);
        let effect = match outcome {
            Ok(effect) => effect,
            Err(RotationError::Aws(error)) => {
                if step == Step::Create && !error.is_effect_unknown() {
                    job.rotation = None; // a second access key is not ours, then
                    if error.kind == AwsErrorKind::LimitExceeded {
                        self.again(job, &error); // there is one: the next list names it
                        return Ok(());
                    }
                }
                return Err(error.into());
            }
            Err(error) => {
                wait(job, 5, &error.to_string());
                return Ok(());
            }
        };
        self.keep_effect(job, &actor, account, &current, effect).await?;
        job.note(self.now(), format!("done: {step}"));
        job.failures = 0;
        Ok(())
    }

    /// Commits what a step has given: access keys to the state, then how far it has come to the row.
    async fn keep_effect(
        &self,
        job: &mut Job,
        actor: &Actor,
        mut account: CloudAccount,
        current: &str,
        effect: Effect,
    ) -> Result<(), JobError> {
        match effect {
            Effect::Record(state) => job.rotation = row_of(state, current),
            Effect::Keep(state, key) => {
                let secret = AwsSecret::new(Zeroizing::new(key.secret_access_key.to_string()))?;
                let id = key.access_key_id.parse()?;
                account.next = Some(CloudAccessKey { id, secret });
                self.commands.update(actor, account, None).await?;
                job.rotation = row_of(state, current);
            }
            Effect::Switch(state) => {
                if let Some(next) = account.next.take() {
                    account.credential = CloudCredential::AccessKey(next);
                    account.rotated = Some(self.commands.now());
                    self.commands.update(actor, account, None).await?;
                }
                job.rotation = row_of(state, current);
            }
            Effect::Forget(state) => {
                account.next = None;
                self.commands.update(actor, account, None).await?;
                job.rotation = row_of(state, current);
            }
            Effect::Nothing => {
                let until = self.now().saturating_add(5000);
                let reason = "AWS may not know the access key everywhere yet".to_owned();
                job.state = JobState::Waiting { until, reason };
            }
        }
        Ok(())
    }

    pub(super) fn account(&self, id: CloudAccountId) -> Result<CloudAccount, JobError> {
        let found = self
            .commands
            .read(|state| state.cloud_account(id).map(|entry| (**entry).clone()));
        Ok(found.ok_or_else(|| Undesirable::Unknown(format!("cloud-accounts/{id}")))?)
    }
}
