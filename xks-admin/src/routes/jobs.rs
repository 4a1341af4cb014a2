//! Jobs: what is made in AWS, step by step. Their rows are no part of the revision, so their answers have no
//! confirmation: any node goes on with a job.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use xks_byok::{
    jobs::{Intent, Job, JobState, shown},
    plan::{Step, Then},
};
use xks_lifecycle::{
    CloudAccountId, CloudKeyId, CloudKeyStoreId, CloudMaterialId, JobId, KeySetId, Snapshot, Timestamp,
};

use super::{
    Routes,
    resource::{Limit, Nothing, object},
};
use crate::{
    answer::{Answer, Page},
    call::Call,
    problem::Problem,
};

const PATH: &str = "jobs";

/// The paths of jobs.
pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/jobs", list)
        .ask("/jobs", start)
        .ask("/jobs/plan", plan)
        .get("/jobs/{id}", show)
        .ask("/jobs/{id}/cancel", cancel)
        .ask("/jobs/{id}/retry", retry)
}

/// A job, as lists show it.
#[derive(Serialize)]
struct ListedJob {
    id: Option<JobId>,
    state: &'static str,
    /// What it makes as it is wanted: the path of that.
    object: String,
    actor: String,
    created: Timestamp,
    ended: Option<Timestamp>,
    /// How many steps of its plan are done, and of how many.
    steps_done: usize,
    steps_all: usize,
    /// What it waits for, asks, or has failed by.
    reason: Option<String>,
    /// When it goes on by itself.
    until: Option<Timestamp>,
}

impl ListedJob {
    fn new(job: &Job) -> Self {
        let reason = match &job.state {
            JobState::Waiting { reason: text, .. }
            | JobState::Blocked { question: text }
            | JobState::Stuck { problem: text } => Some(text.clone()),
            _ => None,
        };
        // What AWS has denied is tried again by itself.
        let is_later = matches!(job.state, JobState::Waiting { .. } | JobState::Blocked { .. });
        let until = job.due().filter(|_| is_later).map(shown);
        Self {
            id: job.id,
            state: job.state.as_str(),
            object: job.intent.to_string(),
            actor: job.actor.clone(),
            created: shown(job.created),
            ended: job.ended.map(shown),
            steps_done: job.cursor,
            steps_all: job.plan().map_or(0, |plan| plan.steps.len()),
            reason,
            until,
        }
    }
}

/// A job with all that is known of it.
#[derive(Serialize)]
struct ShownJob<'j> {
    #[serde(flatten)]
    listed: ListedJob,
    /// The steps of its plan.
    steps: Vec<ShownStep<'j>>,
    warnings: &'j [String],
    /// How many calls of AWS it has made, by operation.
    calls: &'j BTreeMap<String, u64>,
    log: Vec<ShownEntry<'j>>,
}

#[derive(Serialize)]
struct ShownStep<'s> {
    is_done: bool,
    step: String,
    reason: &'s str,
}

#[derive(Serialize)]
struct ShownEntry<'e> {
    time: Timestamp,
    text: &'e str,
}

fn steps(steps: &[Step], done: usize) -> Vec<ShownStep<'_>> {
    let steps = steps.iter().enumerate();
    let shown = steps.map(|(place, step)| ShownStep {
        is_done: place < done,
        step: step.action.to_string(),
        reason: &step.reason,
    });
    shown.collect()
}

fn answer(job: &Job) -> Result<Answer, Problem> {
    let plan = job.plan();
    let log = job.log.iter().map(|entry| ShownEntry {
        time: shown(entry.time),
        text: &entry.text,
    });
    Answer::json(&ShownJob {
        listed: ListedJob::new(job),
        steps: steps(plan.map_or(&[], |plan| &plan.steps), job.cursor),
        warnings: plan.map_or(&[], |plan| &plan.warnings),
        calls: &job.calls,
        log: log.collect(),
    })
}

/// A plan that is not carried out.
#[derive(Serialize)]
struct ShownPlan<'p> {
    object: String,
    /// Give this when the job is started: it is refused if something else is there by then. None where it
    /// depends on nothing in AWS.
    observed: Option<&'p str>,
    steps: Vec<ShownStep<'p>>,
    warnings: &'p [String],
    /// What comes after the steps: `done`, `wait`, or `ask`.
    then: &'static str,
    reason: Option<&'p str>,
}

/// What a job is about: one of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    cloud_key_store: Option<CloudKeyStoreId>,
    cloud_key: Option<CloudKeyId>,
    /// A material, and the KMS key that it was the current one of.
    cloud_material: Option<CloudMaterialId>,
    /// Whose access key is replaced.
    cloud_account: Option<CloudAccountId>,
    /// Whose KMS keys are deleted that jobs have made and no record knows.
    orphans_of: Option<CloudAccountId>,
    /// What a plan was made from that was shown.
    observed: Option<String>,
}

impl About {
    fn intent(&self) -> Result<Intent, Problem> {
        let given = [
            self.cloud_key_store.map(Intent::CloudKeyStore),
            self.cloud_key.map(Intent::CloudKey),
            self.cloud_material.map(Intent::CloudMaterial),
            self.cloud_account.map(Intent::CloudAccount),
            self.orphans_of.map(Intent::Orphans),
        ];
        let mut given = given.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(intent), None) => Ok(intent),
            _ => {
                let names = "`cloud_key`, `cloud_material`, `cloud_key_store`, `cloud_account` and `orphans_of`";
                let detail = format!("one of {names} must be given");
                Err(Problem::field("cloud_key", detail))
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    state: Option<String>,
    /// About what: `cloud-keys/ID`, as the job shows it.
    object: Option<String>,
    account: Option<CloudAccountId>,
    key_set: Option<KeySetId>,
    after: Option<String>,
    #[serde(default)]
    limit: Limit,
}

impl ListQuery {
    /// The states of jobs.
    const STATES: [&'static str; 7] = ["planned", "running", "waiting", "blocked", "done", "stuck", "cancelled"];

    fn check(&self) -> Result<(), Problem> {
        match &self.state {
            Some(state) if !Self::STATES.contains(&&**state) => {
                let detail = format!("`state` must be one of {}", Self::STATES.join(", "));
                Err(Problem::parameter("state", detail))
            }
            _ => Ok(()),
        }
    }

    fn wants(&self, state: &Snapshot, job: &Job) -> bool {
        let (account, key_set) = match job.intent {
            Intent::CloudKeyStore(id) => (state.cloud_key_store(id).map(|store| store.account), None),
            Intent::CloudKey(id) => {
                let key = state.cloud_key(id);
                (key.map(|key| key.account), key.map(|key| key.key_set))
            }
            Intent::CloudMaterial(id) => {
                let key = state.cloud_material(id).map(|material| material.cloud_key);
                let key = key.and_then(|key| state.cloud_key(key));
                (key.map(|key| key.account), key.map(|key| key.key_set))
            }
            Intent::CloudAccount(id) | Intent::Orphans(id) => (Some(id), None),
            _ => (None, None),
        };
        self.state.as_ref().is_none_or(|wanted| wanted == job.state.as_str())
            && self
                .object
                .as_ref()
                .is_none_or(|object| *object == job.intent.to_string())
            && self.account.is_none_or(|wanted| account == Some(wanted))
            && self.key_set.is_none_or(|wanted| key_set == Some(wanted))
    }
}

/// The latest first.
async fn list(call: Call) -> Result<Answer, Problem> {
    let query: ListQuery = call.query()?;
    query.check()?;
    let all = call.jobs()?.list().await?;
    let is_last = |job: &Job| query.after.as_deref() == job.id.map(|id| id.to_string()).as_deref();
    let start = match &query.after {
        None => 0,
        Some(_) => {
            let wrong = || Problem::parameter("after", "`after` must be the `next` of a page".to_owned());
            all.iter().position(is_last).ok_or_else(wrong)? + 1
        }
    };
    let rest = all.iter().skip(start);
    let wanted: Vec<_> = call
        .commands
        .read(|state| rest.filter(|job| query.wants(state, job)).collect());
    let listed = wanted.into_iter().map(ListedJob::new);
    let id = |job: &ListedJob| job.id.map(|id| id.to_string()).unwrap_or_default();
    Answer::json(&Page::of(listed, query.limit.get(), id))
}

async fn show(call: Call) -> Result<Answer, Problem> {
    answer(&call.jobs()?.get(id(&call)?).await?)
}

fn id(call: &Call) -> Result<JobId, Problem> {
    let text = call.param(0);
    text.parse().map_err(|_| Problem::unknown(PATH, text))
}

/// Observes and plans, and changes nothing.
async fn plan(call: Call) -> Result<Answer, Problem> {
    let about: About = call.body()?;
    let intent = about.intent()?;
    let jobs = call.jobs()?;
    let stored = match intent {
        Intent::CloudAccount(account) => Some(jobs.preview_rotation(account).await?),
        Intent::Orphans(account) => Some(jobs.preview_orphans(account).await?),
        _ => None,
    };
    if let Some(plan) = stored {
        let reason = plan.question.as_deref();
        return Answer::json(&ShownPlan {
            object: intent.to_string(),
            observed: Some(&*plan.observed).filter(|observed| !observed.is_empty()),
            steps: steps(&plan.steps, 0),
            warnings: &plan.warnings,
            then: if reason.is_some() { "ask" } else { "done" },
            reason,
        });
    }
    let preview = jobs.preview(intent).await?;
    let (then, reason) = match &preview.plan.then {
        Then::Done => ("done", None),
        Then::Wait(reason) => ("wait", Some(reason.as_str())),
        Then::Ask(question) => ("ask", Some(question.as_str())),
        _ => ("unknown", None),
    };
    Answer::json(&ShownPlan {
        object: intent.to_string(),
        observed: Some(&preview.observed),
        steps: steps(&preview.plan.steps, 0),
        warnings: &preview.plan.warnings,
        then,
        reason,
    })
}

async fn start(call: Call) -> Result<Answer, Problem> {
    let work = async {
        let about: About = call.body()?;
        let intent = about.intent()?;
        let started = call.jobs()?.start(&call.actor, intent, about.observed.as_deref());
        let job = started.await?;
        let id = job.id.map(|id| id.to_string()).unwrap_or_default();
        Ok(answer(&job)?.created(format_args!("{PATH}/{id}")))
    };
    call.command("start", PATH, work).await
}

async fn cancel(call: Call) -> Result<Answer, Problem> {
    let work = async {
        let id = id(&call)?;
        let _: Nothing = call.body()?;
        answer(&call.jobs()?.cancel(&call.actor, id).await?)
    };
    call.command("cancel", &object(PATH, call.param(0)), work).await
}

async fn retry(call: Call) -> Result<Answer, Problem> {
    let work = async {
        let id = id(&call)?;
        let _: Nothing = call.body()?;
        answer(&call.jobs()?.retry(&call.actor, id).await?)
    };
    call.command("retry", &object(PATH, call.param(0)), work).await
}
