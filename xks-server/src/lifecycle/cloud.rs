//! Jobs, which make in AWS what the state wants.

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};
use xks_byok::{
    aws::Connector,
    jobs::{Job, JobState, Jobs, Settings},
};
use xks_core::text::ErrorChain;
use xks_lifecycle::commands::{Actor, Commands};

use super::{Measured, StartError, metrics::add};
use crate::{settings::CloudSettings, timer::ServerTimer};

/// In whose name jobs change the state.
const ACTOR: &str = "jobs";
/// Jobs are looked for after this time at the latest, since other nodes start and leave some.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Between two runs at least.
const SHORTEST_WAIT: Duration = Duration::from_millis(200);

/// How AWS is called.
pub(super) struct Cloud {
    connector: Arc<dyn Connector>,
    settings: Settings,
}

/// Makes what calls AWS.
pub(super) fn cloud(cloud: &CloudSettings) -> Result<Cloud, StartError> {
    let mut settings = Settings::default();
    if let Some(interval) = cloud.read_interval {
        settings.read_interval = interval;
    }
    let connector = connector(cloud)?;
    Ok(Cloud { connector, settings })
}

#[cfg(feature = "cloud")]
fn connector(settings: &CloudSettings) -> Result<Arc<dyn Connector>, StartError> {
    let mut builder = xks_byok_aws::AwsConnector::builder();
    if let Some(url) = &settings.endpoint_url {
        builder = builder.endpoint_url(url);
    }
    if let Some(file) = &settings.ca_file {
        let roots = std::fs::read(file).map_err(|error| StartError::Cloud(format!("{}: {error}", file.display())))?;
        builder = builder.roots(roots);
    }
    let connector = builder.build().map_err(|error| StartError::Cloud(error.to_string()))?;
    Ok(Arc::new(connector))
}

/// The settings refuse `[cloud]` in such a build.
#[cfg(not(feature = "cloud"))]
fn connector(_: &CloudSettings) -> Result<Arc<dyn Connector>, StartError> {
    Err(StartError::Cloud(
        "this build does not call AWS: build it with `--features cloud`".to_owned(),
    ))
}

pub(super) fn jobs(commands: &Arc<Commands>, cloud: Cloud) -> Result<Jobs, StartError> {
    let failed = |error: &dyn std::error::Error| StartError::Cloud(ErrorChain(error).to_string());
    let actor = Actor::new(ACTOR).map_err(|error| failed(&error))?;
    let timer = Arc::new(ServerTimer);
    let Cloud { connector, settings } = cloud;
    Jobs::new(Arc::clone(commands), connector, timer, actor, settings).map_err(|error| failed(&error))
}

/// Works on jobs, without end. Another node goes on with those of a process that has ended.
pub(super) async fn work(jobs: Option<Arc<Jobs>>, measured: &Measured) {
    let Some(jobs) = jobs else { return };
    loop {
        let ran = jobs.run_due_and(|rested| match rested {
            Ok(job) => tell(job),
            Err(error) => {
                add(&measured.store, 1);
                tracing::error!("jobs wait: {}", ErrorChain(error));
            }
        });
        let wait = ran.await.next_in(LONGEST_WAIT);
        sleep(SHORTEST_WAIT).await;
        let _ = timeout(wait.saturating_sub(SHORTEST_WAIT), jobs.started()).await;
    }
}

fn tell(job: &Job) {
    let id = job.id.map(|id| id.to_string()).unwrap_or_default();
    match &job.state {
        JobState::Done => tracing::info!(job = id, object = %job.intent, "a job has made in AWS what is wanted"),
        JobState::Blocked { .. } if job.is_denied_again() => {} // the log has it
        JobState::Blocked { question } if job.due().is_some() => {
            tracing::warn!(job = id, object = %job.intent, "a job waits for a permission, and is tried again: {question}");
        }
        JobState::Blocked { question } => {
            tracing::warn!(job = id, object = %job.intent, "a job waits for a person: {question}");
        }
        JobState::Stuck { problem } => tracing::error!(job = id, object = %job.intent, "a job is stuck: {problem}"),
        _ => {}
    }
}
