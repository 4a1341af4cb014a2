//! Jobs: what is made in AWS, step by step, as the state wants it.
//!
//! A job is a row of the store that any node goes on with. It says how far it has come; what is wanted is in
//! the state. After each step, and when another node takes over, AWS is observed and a plan is made from
//! scratch. If it is the rest of the stored plan the job goes on, otherwise it stores the new one beside it.
//!
//! ```text
//! start ──▶ planned ──▶ running ──▶ done
//!                       │  ▲  │
//!                       ▼  │  ├──▶ blocked(question) ──▶ retry
//!             waiting(until)  └──▶ stuck(problem)    ──▶ retry        cancel: from each of them
//! ```
//!
//! # Permissions that are missing
//! A job is blocked by what AWS denies, and says which statement of the IAM policy would allow it. It is
//! tried again by itself, after a minute and then less and less often, up to every quarter of an hour: so it
//! goes on when the permission is granted. Only the first time is an event.
//!
//! # Answers that are lost
//! CreateKey has no client token. So the row says that a key is about to be made, and the call carries a tag
//! with the id of the job. When no answer comes the job searches for that tag, and makes a key again only
//! when none was found for the [settle time](Settings::settle). A key store has its name for that.
//!
//! # Jobs that begin by themselves
//! [`run_due`](Jobs::run_due) starts them, each once on all nodes: material is imported again before it ends
//! in AWS, KMS keys with imported material are rotated by their schedules, former ones are disabled when
//! their time is over, and access keys of accounts are rotated.
//!
//! # Access keys of accounts
//! A cloud account whose access key is in the store has jobs too: started by a person, or by its schedule in
//! [`run_due`](Jobs::run_due).
//!
//! # Cleaning up
//! No job undoes anything. What is left, since a state was restored or a call came late, has a job of its
//! own, [`Intent::Orphans`], which a person starts after having seen its [plan](Jobs::preview_orphans).
//!
//! # Use
//! ```no_run
//! # use std::sync::Arc;
//! # use xks_byok::{aws::Connector, jobs::{Intent, JobError, Jobs, Settings}};
//! # use xks_core::timer::Timer;
//! # use xks_lifecycle::{CloudKeyId, commands::{Actor, Commands}};
//! # async fn example(
//! #     commands: Arc<Commands>, connector: Arc<dyn Connector>, timer: Arc<dyn Timer>, key: CloudKeyId, alice: Actor,
//! # ) -> Result<(), JobError> {
//! let jobs = Jobs::new(commands, connector, timer, Actor::new("jobs")?, Settings::default())?;
//!
//! // What would be done, without doing it.
//! let preview = jobs.preview(Intent::CloudKey(key)).await?;
//! for step in &preview.plan.steps {
//!     println!("{}: {}", step.action, step.reason);
//! }
//! // Done, if what is there is still what was shown.
//! let job = jobs.start(&alice, Intent::CloudKey(key), Some(&preview.observed)).await?;
//!
//! // The loop of a server: `run_due` does what is due and returns.
//! loop {
//!     let ran = jobs.run_due().await;
//!     let wait = ran.next_in(std::time::Duration::from_secs(5));
//! #   let _ = (job, wait); break;
//!     // sleep for `wait`, or until a job is started
//! }
//! # Ok(())
//! # }
//! ```

mod clean_up;
mod error;
mod import;
mod job;
mod notifier;
mod outcome;
mod record;
mod renewal;
mod rotation;
mod run;
mod scheduled;
mod service;
mod shown;
mod site;
mod step;
mod tally;

pub use self::{
    error::JobError,
    job::{Denied, Entry, Intent, Job, JobState, Pending, StoredPlan, shown},
    rotation::Rotation,
    run::Ran,
    scheduled::FirstChange,
    service::{Jobs, Preview, Settings},
    shown::Principals,
    tally::Tally,
};
