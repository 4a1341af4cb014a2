//! What is measured of keys under management.
//!
//! A scrape reads what is known: all keys are counted every minute, in the background.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tokio::{task::spawn_blocking, time::sleep};
use xks_byok::jobs::Jobs;
use xks_lifecycle::{
    Snapshot, Timestamp,
    commands::Commands,
    view::{Totals, View},
};

use super::{KeyStoresInForce, node_meter::NodeMeter};
use crate::metrics::Samples;

/// Between two counts of all keys.
const COUNT: Duration = Duration::from_secs(60);
/// Stands for no time: a schedule's is later.
const NEVER: u64 = 0;

/// What a scrape is told.
pub(crate) struct Measured {
    view: Arc<View>,
    key_stores: Arc<KeyStoresInForce>,
    totals: ArcSwapOption<Totals>,
    /// When a schedule has something to do next, in seconds since 1970.
    next_due: AtomicU64,
    /// When the first material ends in AWS that is in use there, in seconds since 1970.
    material_ends: AtomicU64,
    /// Versions that an earlier process has left half done, and that are so still.
    pub(super) unrecovered: AtomicU64,
    /// What was due by schedule or by count, and has failed.
    pub(super) scheduled: AtomicU64,
    /// Times at which the store could not be read or written in the background.
    pub(super) store: AtomicU64,
    /// This process as one of several nodes.
    node: Option<NodeMeter>,
    /// What works on jobs, if anything does.
    pub(super) jobs: OnceLock<Arc<Jobs>>,
}

pub(super) fn add(counter: &AtomicU64, number: usize) {
    counter.fetch_add(number as u64, Ordering::Relaxed);
}

/// When the first material ends in AWS that is in use there.
pub(super) fn first_end(state: &Snapshot) -> Option<Timestamp> {
    let in_use = state.cloud_materials().filter(|material| {
        let key = state.cloud_key(material.cloud_key);
        key.is_some_and(|key| material.is_in_use(key))
    });
    in_use.filter_map(|material| material.valid_to).min()
}

impl Measured {
    pub(super) fn new(view: Arc<View>, key_stores: Arc<KeyStoresInForce>, node: Option<NodeMeter>) -> Self {
        Self {
            view,
            key_stores,
            totals: ArcSwapOption::empty(),
            next_due: AtomicU64::new(NEVER),
            material_ends: AtomicU64::new(NEVER),
            unrecovered: AtomicU64::new(0),
            scheduled: AtomicU64::new(0),
            store: AtomicU64::new(0),
            node,
            jobs: OnceLock::new(),
        }
    }

    pub(super) fn set_next_due(&self, due: Option<Timestamp>) {
        let due = due.map_or(NEVER, Timestamp::seconds);
        self.next_due.store(due, Ordering::Relaxed);
    }

    /// Counts all keys again and again, on a thread that may be busy.
    pub(super) async fn count(&self, commands: &Arc<Commands>) {
        loop {
            let (view, commands) = (Arc::clone(&self.view), Arc::clone(commands));
            let counted = spawn_blocking(move || (view.totals(commands.now()), commands.read(first_end)));
            if let Ok((totals, ends)) = counted.await {
                self.totals.store(Some(Arc::new(totals)));
                self.material_ends
                    .store(ends.map_or(NEVER, Timestamp::seconds), Ordering::Relaxed);
            }
            sleep(COUNT).await;
        }
    }

    pub(crate) fn measure(&self, samples: &mut Samples) {
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        let revision = self.view.revision().get() as f64;
        samples.gauge("store_revision", "Revision of the store that is served", &[], revision);
        let help = "Times at which the store could not be read or written in the background";
        samples.counter("store_failures", help, &[], value(&self.store));
        if let Some(node) = &self.node {
            node.measure(samples);
        }
        if let Some(tally) = self.jobs.get().and_then(|jobs| jobs.tally()) {
            for (state, count) in tally.open {
                let help = "Jobs that have not ended, on all nodes";
                samples.gauge("jobs", help, &[("state", state)], count as f64);
            }
            if let Some(since) = tally.waits_for_person_since {
                let help = "Unix time since which a job waits for a person: blocked or stuck";
                samples.gauge("jobs_blocked_since_timestamp_seconds", help, &[], since as f64 / 1000.0);
            }
        }
        let ends = value(&self.material_ends);
        if ends > 0.0 {
            let help = "Unix time at which the first imported material ends in AWS that is in use there";
            samples.gauge("cloud_material_ends_timestamp_seconds", help, &[], ends);
        }
        let (in_force, not_in_force) = self.key_stores.count();
        for (is_served, count) in [("true", in_force), ("false", not_in_force)] {
            let help = "External key stores of the store, by whether they are served";
            samples.gauge("managed_key_stores", help, &[("served", is_served)], count as f64);
        }
        let help = "Rotations that were due and have failed";
        samples.counter("managed_rotation_failures", help, &[], value(&self.scheduled));
        let help = "Versions that an earlier process has left half done, and that are so still";
        samples.gauge("managed_versions_unfinished", help, &[], value(&self.unrecovered));
        let next_due = value(&self.next_due);
        if next_due > 0.0 {
            let help = "Unix time at which a schedule has something to do next; in the past while it fails";
            samples.gauge("managed_next_due_timestamp_seconds", help, &[], next_due);
        }
        let Some(totals) = self.totals.load_full() else { return };
        for (state, count) in totals.keys() {
            let help = "Keys under management, by state";
            samples.gauge("managed_keys", help, &[("state", state.as_str())], count as f64);
        }
        let help = "Versions of keys under management that have material";
        samples.gauge("managed_versions", help, &[], totals.versions as f64);
        let help = "Versions that encrypt and have a quarter of their 2^32 encryptions left, or less";
        samples.gauge(
            "managed_versions_near_limit",
            help,
            &[],
            totals.versions_near_limit as f64,
        );
        if let Some(left) = totals.least_encryptions_left {
            let help = "The least encryptions that a version has left, of 2^32";
            samples.gauge("managed_least_encryptions_left", help, &[], left as f64);
        }
    }
}
