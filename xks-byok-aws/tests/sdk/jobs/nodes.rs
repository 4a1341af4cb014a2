//! Two nodes on one database, of which one is killed in the middle of a call.

use std::{
    env, fs,
    process::Child,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use rustix::process::{Signal, getpid, kill_process};
use xks_byok::jobs::{JobState, Jobs, Settings};
use xks_core::timer::{Sleep, Timer};
use xks_lifecycle::{
    Name,
    commands::{Actor, Commands},
    kill_point::{KillPoint, on_kill_point},
    nodes::{Node, Terms},
};

use super::{
    NAME,
    place::{Folder, Place},
};

const LEASE: Duration = Duration::from_secs(3);
/// The next process that has made a call that changes something is killed if this file is there.
const ARMED: &str = "armed";

/// The clocks and timers of this process. Nothing is suspended in a test.
struct Real(Instant);

impl Timer for Real {
    fn lease_clock(&self) -> Option<Duration> {
        Some(self.0.elapsed())
    }

    fn sleep(&self, duration: Duration) -> Option<Sleep> {
        Some(Box::pin(tokio::time::sleep(duration)))
    }
}

async fn jobs(folder: &Folder, node: Option<&str>) -> (Jobs, Arc<Commands>) {
    let timer = Arc::new(Real(Instant::now()));
    let store = Arc::new(folder.store().await);
    let mut commands = folder.commands(store, || SystemTime::now().into()).await;
    if let Some(name) = node {
        let name = Name::new("node", name).unwrap();
        let node = Node::new(&name, Terms::new(LEASE), Arc::clone(&timer) as _).unwrap();
        commands = commands.with_node(Arc::new(node));
    }
    let commands = Arc::new(commands);
    if node.is_some() {
        let run = Arc::clone(&commands);
        tokio::spawn(async move { run.node().unwrap().run(&run).await });
    }
    let mut settings = Settings::default();
    settings.settle = Duration::from_secs(1);
    settings.read_interval = Duration::from_millis(10);
    (folder.jobs(Arc::clone(&commands), timer, settings), commands)
}

/// Run by the test below: a node that works on jobs until it is killed.
#[tokio::test]
#[ignore = "it is the child of another test"]
async fn node() {
    let Some(folder) = Folder::of_child() else { return };
    let armed = folder.path(ARMED);
    on_kill_point(move |point| {
        if point == KillPoint::Called && fs::remove_file(&armed).is_ok() {
            kill_process(getpid(), Signal::KILL).unwrap();
        }
    });
    let (jobs, commands) = jobs(&folder, Some(&env::var(NAME).unwrap())).await;
    loop {
        if commands.node().unwrap().lease().enter().is_some() {
            let ran = jobs.run_due().await;
            assert!(ran.failed.is_empty(), "{ran:?}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A child that is killed in the end.
struct Running(Child, &'static str);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What it has made is found by its name, or by the tag of the job: the answer was lost with it.
#[tokio::test]
async fn another_node_goes_on_with_the_job_of_one_that_is_killed() {
    let place = Place::new().await;
    let folder = place.folder.clone();
    let start = |name| Running(folder.start("jobs::nodes::node", name), name);
    let mut nodes = vec![start("a"), start("b")];
    let (jobs, _) = jobs(&folder, None).await;
    for intent in folder.intents().into_iter().take(2) {
        folder.write(ARMED, "");
        let id = jobs
            .start(&Actor::new("alice").unwrap(), intent, None)
            .await
            .unwrap()
            .id
            .unwrap();
        let begun = Instant::now();
        let job = loop {
            let job = jobs.get(id).await.unwrap();
            if job.state == JobState::Done {
                break job;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(100),
                "{job:#?}: {}",
                folder.read("said")
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert!(!folder.path(ARMED).exists());
        let killed: Vec<_> = nodes
            .iter_mut()
            .filter_map(|node| node.0.try_wait().unwrap().map(|_| node.1))
            .collect();
        let [killed] = killed[..] else {
            panic!("{killed:?}: {}", folder.read("said"))
        };
        assert!(
            job.log.iter().all(|entry| !entry.text.contains("done: create the k")),
            "{job:#?}"
        );
        nodes.retain(|node| node.1 != killed);
        nodes.push(start(killed));
    }
    assert_eq!(
        (
            place.simulator.calls("CreateKey"),
            place.simulator.calls("CreateCustomKeyStore")
        ),
        (1, 1)
    );
    place.assert_made().await;
}
