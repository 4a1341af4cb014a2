//! A process is killed at each step of each job, once; the next one goes on with what it has left.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use rustix::process::{Signal, getpid, kill_process};
use serde_json::{Value, json};
use xks_byok::jobs::{Job, JobState, Settings};
use xks_core::{
    async_trait,
    timer::{Sleep, Timer},
};
use xks_lifecycle::{
    Event,
    commands::Actor,
    kill_point::on_kill_point,
    store::{
        ChangeSet, Claim, ClaimKind, Head, PostgresStore, Revision, RowSink, Scope, Store, StoreError, Swap, Swapped,
    },
};

use super::place::{Folder, Place};

/// AWS shows at once what was made, and the clocks of all are the same.
const LIMIT: Duration = Duration::from_secs(2);

/// How far the time of a process is ahead: to wait is to move it. The next process begins where AWS is.
#[derive(Default)]
struct Ahead(AtomicU64);

impl Ahead {
    fn now(&self) -> SystemTime {
        SystemTime::now() + Duration::from_millis(self.0.load(Ordering::SeqCst))
    }

    fn wait(&self, duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).unwrap() + 1;
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

struct ChildTimer(Arc<Ahead>);

impl Timer for ChildTimer {
    fn system_time(&self) -> SystemTime {
        self.0.now()
    }

    fn sleep(&self, duration: Duration) -> Option<Sleep> {
        let ahead = Arc::clone(&self.0);
        Some(Box::pin(async move { ahead.wait(duration) }))
    }
}

/// What is written last, and where the process is since then: it is killed where it was never killed.
struct Trace {
    written: String,
    since: Vec<String>,
}

static TRACE: Mutex<Trace> = Mutex::new(Trace {
    written: String::new(),
    since: Vec::new(),
});

fn wrote(text: String) {
    let mut trace = TRACE.lock().unwrap();
    trace.written = text;
    trace.since.clear();
}

/// What of a job's row tells how far it has come.
fn progress(body: &str) -> String {
    let job: Value = serde_json::from_str(body).unwrap();
    let pending = &job["pending"]["action"]["action"];
    let kept = [
        &job["intent"]["kind"],
        &job["state"],
        &job["cursor"],
        pending,
        &job["rotation"]["at"],
    ];
    json!(kept).to_string()
}

/// A store that tells what is written.
struct Watched(PostgresStore);

#[async_trait]
impl Store for Watched {
    async fn load(&self, scope: Scope, sink: RowSink) -> Result<Head, StoreError> {
        self.0.load(scope, sink).await
    }

    async fn commit(&self, changes: ChangeSet) -> Result<(), StoreError> {
        let outcome = self.0.commit(changes).await;
        let before = TRACE.lock().unwrap().written.clone();
        wrote(format!("{before} and state"));
        outcome
    }

    async fn follow(&self, after: Revision) -> Result<Revision, StoreError> {
        self.0.follow(after).await
    }

    async fn swap(&self, swap: Swap) -> Result<Swapped, StoreError> {
        let body = match &swap {
            Swap::Insert(next) | Swap::Replace { next, .. } if next.kind == ClaimKind::CloudJob => Some(&next.body),
            _ => None,
        };
        let written = body.map(|body| progress(body));
        let outcome = self.0.swap(swap).await;
        if let Some(written) = written {
            wrote(written);
        }
        outcome
    }

    async fn claims(&self, kind: ClaimKind) -> Result<(Vec<Claim>, Revision), StoreError> {
        self.0.claims(kind).await
    }

    async fn record(&self, events: Vec<Event>) -> Result<(), StoreError> {
        self.0.record(events).await
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<(u64, Event)>, StoreError> {
        self.0.events(after, limit).await
    }
}

/// Ends the process at a step at which none of this place was ended.
fn kill_at_new_steps(folder: &Folder) {
    let seen = folder.read("seen");
    let seen: Mutex<BTreeSet<_>> = Mutex::new(seen.lines().map(str::to_owned).collect());
    let folder = folder.clone();
    on_kill_point(move |point| {
        let step = {
            let mut trace = TRACE.lock().unwrap();
            trace.since.push(point.to_string());
            format!("{} {}", trace.written, trace.since.join(" "))
        };
        let mut seen = seen.lock().unwrap();
        if seen.insert(step) {
            let lines: Vec<_> = seen.iter().map(String::as_str).collect();
            folder.write("seen", &lines.join("\n"));
            kill_process(getpid(), Signal::KILL).unwrap();
        }
    });
}

fn is_ended(job: &Job) -> bool {
    assert!(
        !matches!(job.state, JobState::Blocked { .. } | JobState::Stuck { .. }),
        "{job:#?}"
    );
    job.state.is_ended()
}

/// Run by the test below: works on all jobs, one after the other.
#[tokio::test]
#[ignore = "it is the child of another test"]
async fn worker() {
    let Some(folder) = Folder::of_child() else { return };
    kill_at_new_steps(&folder);
    let ahead = Arc::<Ahead>::default();
    let store = Arc::new(Watched(folder.store().await));
    let clock = Arc::clone(&ahead);
    let commands = folder.commands(store, move || clock.now().into()).await;
    let timer = Arc::new(ChildTimer(Arc::clone(&ahead)));
    let mut settings = Settings::default();
    (settings.settle, settings.step_limit, settings.reads) = (LIMIT, LIMIT, 1);
    let jobs = folder.jobs(Arc::new(commands), timer, settings);
    for intent in folder.intents() {
        loop {
            let all = jobs.list().await.unwrap();
            let mut ours = all.iter().filter(|job| job.intent == intent);
            match ours.next() {
                Some(job) if is_ended(job) => break,
                Some(_) => {}
                None => drop(jobs.start(&Actor::new("alice").unwrap(), intent, None).await.unwrap()),
            }
            let ran = jobs.run_due().await;
            assert!(ran.failed.is_empty(), "{ran:?}");
            // The one that had it is dead.
            let elsewhere = Settings::default().step_limit + Duration::from_secs(2);
            ahead.wait(if ran.elsewhere > 0 {
                elsewhere
            } else {
                ran.next_in(elsewhere)
            });
        }
    }
}

/// Nothing is made twice, and nothing is left that the state does not know.
async fn killed_everywhere(faults: &[(&str, &str)]) {
    let place = Place::new().await;
    for (operation, trouble) in faults {
        place.simulator.inject(operation, 1, trouble);
    }
    let folder = place.folder.clone();
    let killed = tokio::task::spawn_blocking(move || {
        let mut killed = 0;
        while folder.was_killed(&mut folder.start("jobs::killed::worker", "")) {
            killed += 1;
            assert!(killed < 1000, "{}", folder.read("seen"));
        }
        killed
    });
    let killed = killed.await.unwrap();
    let seen = place.folder.read("seen");
    assert_eq!(seen.lines().count(), killed);
    // Before and after each call that changes something.
    assert!(killed > 50, "{seen}");
    for point in [
        "claiming",
        "claimed",
        "calling",
        "called",
        "decided",
        "written",
        "recording",
        "recorded",
    ] {
        assert!(seen.lines().any(|step| step.ends_with(point)), "{point}: {seen}");
    }
    place.assert_made().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_go_on_wherever_their_process_is_killed() {
    tokio::join!(
        killed_everywhere(&[]),
        killed_everywhere(&[
            ("CreateCustomKeyStore", "LostAfter"),
            ("CreateKey", "LostAfter"),
            ("CreateAlias", "LostAfter"),
            ("CreateAccessKey", "LostAfter"),
        ]),
    );
}
