//! What the life cycle has to do by itself, beside the requests.

use std::{sync::Arc, time::Duration};

use tokio::{sync::oneshot, time::sleep};
use xks_core::text::ErrorChain;
use xks_lifecycle::{
    commands::{Commands, RecoveredMaterials},
    schedule::Scheduler,
};

use super::{Measured, Running, cloud::work, metrics::add, node::joined};

/// Between two times at which usage is added to the store.
const FLUSH: Duration = Duration::from_secs(30);
/// The time limit of the last time.
const LAST_FLUSH: Duration = Duration::from_secs(5);
/// A scheduler looks again after this time at the latest, since a command may have changed when a key is due,
/// and keys have encrypted meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Until the store is tried again that has failed.
const RETRY: Duration = Duration::from_secs(5);

impl Running {
    /// Finishes what an earlier process has left half done, says so, and then does what is due, without end.
    /// No command should be given before the first is done.
    pub(crate) async fn run(self, recovered: oneshot::Sender<()>) {
        if let Some(node) = self.commands.node() {
            // What it goes on with is its own only while it has a row.
            joined(Arc::clone(node)).await;
        }
        self.recover().await;
        let _ = recovered.send(()); // the server may have ended meanwhile
        self.tell_of_restores().await;
        let Self {
            commands,
            scheduler,
            measured,
            jobs,
            ..
        } = self;
        tokio::join!(
            rotate(scheduler, &commands, &measured),
            keep_filled(&commands, &measured),
            keep_usage(&commands, &measured),
            measured.count(&commands),
            work(jobs, &measured),
        );
    }

    /// Says that the state was restored from a backup, and which keys of the key managers it does not have.
    async fn tell_of_restores(&self) {
        let revision = self.commands.revision();
        let Some(restore) = self
            .commands
            .read(|snapshot| snapshot.restores().next_back().map(|entry| **entry))
        else {
            return;
        };
        let (time, backup) = (restore.time, restore.backup_time);
        if restore.revision == revision {
            tracing::warn!(
                "the state was restored on {time} from a backup of {backup}: what happened in between is not known; keys \
                 encrypt again when they are rotated, which begins now"
            );
        } else {
            tracing::info!("the state was restored on {time} from a backup of {backup}");
        }
        match self.commands.orphans().await {
            Ok(orphans) => {
                for orphan in orphans {
                    tracing::warn!(
                        backend = orphan.backend,
                        key = %orphan.backend_key,
                        made_for = %orphan.made_for,
                        "a key of this deployment is not in the restored state: what was encrypted with it cannot be \
                         decrypted without it; do not destroy it"
                    );
                }
            }
            Err(error) => tracing::warn!(
                "whether key managers have keys that are not in the restored state is not known: {}",
                ErrorChain(&error)
            ),
        }
    }

    async fn recover(&self) {
        match self.commands.recover(&self.actor).await {
            Ok(recovered) => {
                add(
                    &self.measured.unrecovered,
                    recovered.failed.len() + recovered.materials.failed.len(),
                );
                report_materials(&recovered.materials);
                for version in &recovered.made {
                    tracing::warn!(%version, "a key that was being made when a process ended is made, and not active");
                }
                for version in &recovered.removed {
                    tracing::info!(%version, "the material of a destroyed key is destroyed in its key manager");
                }
                for version in &recovered.left {
                    tracing::info!(%version, "another node is making this key: it is left to that node");
                }
                for (version, error) in &recovered.failed {
                    tracing::error!(
                        %version,
                        "what an earlier process has left half done cannot be finished: {}; give its command again, or \
                         restart when the key manager works",
                        ErrorChain(error)
                    );
                }
            }
            Err(error) => {
                add(&self.measured.store, 1);
                tracing::error!(
                    "what an earlier process has left half done is not finished: {}; restart when the store works",
                    ErrorChain(&error)
                );
            }
        }
    }
}

/// Says what was finished of the materials of KMS keys.
fn report_materials(recovered: &RecoveredMaterials) {
    for material in &recovered.made {
        tracing::info!(%material, "material for AWS to import, which was to be made, is made");
    }
    for material in &recovered.removed {
        tracing::info!(%material, "destroyed material is destroyed in its key manager");
    }
    for material in &recovered.left {
        tracing::info!(%material, "another node is making this material: it is left to that node");
    }
    for (material, error) in &recovered.failed {
        tracing::error!(
            %material,
            "material for AWS to import cannot be made or destroyed: {}; its job tries again, or a restart when the \
             key manager works",
            ErrorChain(error)
        );
    }
}

/// Does what is due by schedules, and rotates keys whose version has made most of the encryptions that it
/// may.
async fn rotate(mut scheduler: Scheduler, commands: &Commands, measured: &Measured) {
    while let Err(error) = commands.load_counts().await {
        add(&measured.store, 1);
        tracing::error!("the counts of encryptions cannot be read: {}", ErrorChain(&error));
        sleep(RETRY).await;
    }
    loop {
        let ran = scheduler.run_due().await;
        for task in &ran.done {
            tracing::info!(%task, "done by schedule");
        }
        add(&measured.scheduled, ran.failed.len());
        for failure in &ran.failed {
            tracing::error!(
                task = %failure.task,
                attempts = failure.attempts,
                retry = %failure.retry,
                "failed by schedule: {}",
                ErrorChain(&failure.error)
            );
        }
        if let Some(error) = &ran.stopped {
            add(&measured.store, 1);
            tracing::error!("what is due by schedule waits: {}", ErrorChain(error));
            sleep(RETRY).await;
            continue;
        }
        let (now, due) = (commands.now(), scheduler.next_due());
        measured.set_next_due(due);
        let next = due.map(|due| due.seconds().saturating_sub(now.seconds()));
        let next = next.map_or(LONGEST_WAIT, Duration::from_secs);
        sleep(next.clamp(Duration::from_secs(1), LONGEST_WAIT)).await;
    }
}

async fn keep_filled(commands: &Commands, measured: &Measured) {
    let counts = commands.counts();
    loop {
        counts.low().await;
        if let Err(error) = counts.refill().await {
            add(&measured.store, 1);
            tracing::error!(
                "no encryptions can be reserved, and soon none will be made: {}",
                ErrorChain(&error)
            );
            sleep(RETRY).await;
        }
    }
}

async fn keep_usage(commands: &Commands, measured: &Measured) {
    loop {
        sleep(FLUSH).await;
        if let Err(error) = commands.flush_usage().await {
            add(&measured.store, 1);
            tracing::error!("usage is not added to the store yet: {}", ErrorChain(&error));
        }
    }
}

/// Adds to the store, at the end, what keys were used for since the last time.
pub(crate) async fn close(commands: &Commands) {
    match tokio::time::timeout(LAST_FLUSH, commands.flush_usage()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!("the last usage is not in the store: {}", ErrorChain(&error)),
        Err(_) => tracing::error!("the last usage is not in the store, which does not answer"),
    }
}
