//! A job, as its row has it.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use xks_lifecycle::{CloudAccountId, CloudKeyId, CloudKeyStoreId, CloudMaterialId, JobId, Timestamp};

use super::{FirstChange, Rotation};
use crate::{
    caller::Caller,
    observe::Observed,
    plan::{Action, Plan, Step, Then},
};

/// What a job is for: to make something in AWS what the state wants it to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Intent {
    /// A key store in AWS.
    CloudKeyStore(CloudKeyStoreId),
    /// A KMS key.
    CloudKey(CloudKeyId),
    /// A material, and the KMS key that it was the current one of: it is synchronised, disabled or deleted.
    CloudMaterial(CloudMaterialId),
    /// The access key of a cloud account: it is replaced by a new one.
    CloudAccount(CloudAccountId),
    /// The KMS keys in a cloud account that jobs have made and no record knows: they are deleted.
    Orphans(CloudAccountId),
}

/// As the path of the object.
impl fmt::Display for Intent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CloudKeyStore(id) => write!(f, "cloud-key-stores/{id}"),
            Self::CloudKey(id) => write!(f, "cloud-keys/{id}"),
            Self::CloudMaterial(id) => write!(f, "cloud-materials/{id}"),
            Self::CloudAccount(id) => write!(f, "cloud-accounts/{id}"),
            Self::Orphans(id) => write!(f, "cloud-accounts/{id}/orphans"),
        }
    }
}

/// Where a job stands. Times are in milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum JobState {
    /// It has not begun.
    Planned,
    /// A worker is at it, or was.
    Running,
    /// It goes on by itself at a time.
    Waiting {
        /// When.
        until: u64,
        /// What it waits for.
        reason: String,
    },
    /// It goes on when a person has decided or mended something, and [retries](super::Jobs::retry) it; or by
    /// itself, when AWS permits what it has [denied](Job::denied).
    Blocked {
        /// What is asked.
        question: String,
    },
    /// It is as it is wanted.
    Done,
    /// It has failed again and again in a way that it does not understand; it can be retried.
    Stuck {
        /// How.
        problem: String,
    },
    /// A person has ended it.
    Cancelled,
}

impl JobState {
    /// Returns the name.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Running => "running",
            Self::Waiting { .. } => "waiting",
            Self::Blocked { .. } => "blocked",
            Self::Done => "done",
            Self::Stuck { .. } => "stuck",
            Self::Cancelled => "cancelled",
        }
    }

    /// Returns whether it never goes on.
    #[must_use]
    pub const fn is_ended(&self) -> bool {
        matches!(self, Self::Done | Self::Cancelled)
    }

    /// Returns whether it goes on by itself, and from when on. What is blocked may too: see [`Job::due`].
    #[must_use]
    pub const fn due(&self) -> Option<u64> {
        match self {
            Self::Planned | Self::Running => Some(0),
            Self::Waiting { until, .. } => Some(*until),
            _ => None,
        }
    }
}

/// A plan that a job has, or had. That of a job which began by itself is empty until its first step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StoredPlan {
    /// The hash of what was observed when it was made.
    pub observed: String,
    /// Its steps.
    pub steps: Vec<Step>,
    /// What should be known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The question after its steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// Why it has taken the place of the one before it, its parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
}

impl StoredPlan {
    /// A plan with what it was made from.
    #[must_use]
    pub fn new(plan: &Plan, observed: &Observed) -> Self {
        Self {
            observed: observed.fingerprint(),
            steps: plan.steps.clone(),
            warnings: plan.warnings.clone(),
            question: match &plan.then {
                Then::Ask(question) => Some(question.clone()),
                Then::Done | Then::Wait(_) => None,
            },
            replaces: None,
        }
    }
}

/// A call that creates something and is about to be made, or was made and has not been answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Pending {
    /// The step.
    pub action: Action,
    /// Since when, in milliseconds since 1970.
    pub since: u64,
    /// Whether AWS has answered that something is there already: it is searched for by what it is, not by
    /// the tag of the operation.
    #[serde(default)]
    pub is_taken: bool,
}

/// A call that AWS has denied, since a permission is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Denied {
    /// Which operation.
    pub operation: String,
    /// How many times in a row.
    pub times: u32,
    /// When it is tried again, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<u64>,
}

/// Something that has happened to a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Entry {
    /// When, in milliseconds since 1970.
    pub time: u64,
    /// What.
    pub text: String,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Job {
    /// Its id; the row has it.
    #[serde(skip, default = "no_id")]
    pub id: Option<JobId>,
    /// What it is for.
    pub intent: Intent,
    /// Who has started it.
    pub actor: String,
    /// When, in milliseconds since 1970.
    pub created: u64,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<u64>,
    /// Where it stands.
    #[serde(flatten)]
    pub state: JobState,
    /// Its plans: each replaces the one before it; the last one counts.
    pub plans: Vec<StoredPlan>,
    /// How many steps of the last plan are done.
    pub cursor: usize,
    /// What may have been created, and is not known yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
    /// Until when AWS may not show what was created.
    #[serde(default)]
    pub settles: u64,
    /// Whether it has asked AWS to connect the key store.
    #[serde(default)]
    pub has_connected: bool,
    /// How far the rotation of an access key has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
    /// What it changes in the state before it plans, if it has begun by itself for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_change: Option<FirstChange>,
    /// What AWS has denied, if that blocks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<Denied>,
    /// How many times in a row it has got no further.
    #[serde(default)]
    pub failures: u32,
    /// How many calls it has made, by operation.
    #[serde(default)]
    pub calls: BTreeMap<String, u64>,
    /// What has happened, oldest first.
    pub log: Vec<Entry>,
}

const fn no_id() -> Option<JobId> {
    None
}

impl Job {
    /// How many plans and how much of the log are kept.
    const KEPT: usize = 200;

    pub(super) fn new(id: JobId, intent: Intent, actor: String, now: u64, plan: StoredPlan) -> Self {
        Self {
            id: Some(id),
            intent,
            actor,
            created: now,
            ended: None,
            state: JobState::Planned,
            plans: vec![plan],
            cursor: 0,
            pending: None,
            settles: 0,
            has_connected: false,
            rotation: None,
            first_change: None,
            denied: None,
            failures: 0,
            calls: BTreeMap::new(),
            log: Vec::new(),
        }
    }

    /// Reads the body of a row.
    ///
    /// # Errors
    /// It is not that of a job that this version knows.
    pub(super) fn read(id: JobId, body: &str) -> Result<Self, serde_json::Error> {
        let job: Self = serde_json::from_str(body)?;
        Ok(Self { id: Some(id), ..job })
    }

    pub(super) fn body(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() // texts and numbers alone
    }

    /// Returns whether it goes on by itself, and from when on.
    #[must_use]
    pub fn due(&self) -> Option<u64> {
        match self.state {
            JobState::Blocked { .. } => self.denied.as_ref()?.again,
            _ => self.state.due(),
        }
    }

    /// Returns whether it is blocked by what AWS has denied before, so that nothing new has happened.
    #[must_use]
    pub fn is_denied_again(&self) -> bool {
        let is_again = |denied: &Denied| denied.times > 1 && denied.again.is_some();
        matches!(self.state, JobState::Blocked { .. }) && self.denied.as_ref().is_some_and(is_again)
    }

    /// Returns the plan that counts.
    #[must_use]
    pub fn plan(&self) -> Option<&StoredPlan> {
        self.plans.last()
    }

    /// Returns when it ended, or began if it has not.
    #[must_use]
    pub fn last_change(&self) -> u64 {
        self.ended.unwrap_or(self.created)
    }

    /// Whether it has this id.
    pub(super) fn is(&self, id: &str) -> bool {
        self.id.is_some_and(|ours| ours.to_string() == id)
    }

    /// Adds the calls that were made for it.
    pub(super) fn count(&mut self, caller: &Caller) {
        for (operation, count) in caller.take_calls() {
            *self.calls.entry(operation.name().to_owned()).or_default() += count;
        }
    }

    pub(super) fn note(&mut self, time: u64, text: impl Into<String>) {
        let text = text.into();
        self.log.push(Entry { time, text });
        let surplus = self.log.len().saturating_sub(Self::KEPT);
        self.log.drain(..surplus);
    }

    /// Takes a plan as what is still to be done. One that is the rest of the stored plan goes on with that;
    /// another one replaces it.
    pub(super) fn take_plan(&mut self, plan: &Plan, observed: &Observed, time: u64) {
        let rest = self.plan().and_then(|stored| plan.suffix_of(&stored.steps));
        if let Some(start) = rest.filter(|start| *start >= self.cursor) {
            self.cursor = start;
            return;
        }
        let mut stored = StoredPlan::new(plan, observed);
        stored.replaces = Some("what is there is not what the plan has expected".to_owned());
        self.note(time, "planned again: what is there is not what the plan has expected");
        self.plans.push(stored);
        let surplus = self.plans.len().saturating_sub(Self::KEPT / 10);
        self.plans.drain(..surplus);
        self.cursor = 0;
    }
}

/// A time as it is shown.
#[must_use]
pub fn shown(millis: u64) -> Timestamp {
    Timestamp::from_seconds("time", millis / 1000).unwrap_or(Timestamp::MAX)
}
