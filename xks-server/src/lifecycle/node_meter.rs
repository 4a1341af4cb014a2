//! What is measured of this process as one of several nodes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use xks_lifecycle::nodes::Node;

use crate::metrics::Samples;

/// The measurements of a node. A clone is the same.
#[derive(Clone)]
pub(crate) struct NodeMeter {
    node: Arc<Node>,
    name: Arc<str>,
    version: &'static str,
    lease: Duration,
    joins: Arc<AtomicU64>,
}

impl NodeMeter {
    pub(super) fn new(node: Arc<Node>, name: &str, version: &'static str, lease: Duration) -> Self {
        Self {
            node,
            name: name.into(),
            version,
            lease,
            joins: Arc::default(),
        }
    }

    /// Returns whether the node has a lease.
    pub(super) fn has_lease(&self) -> bool {
        self.node.lease().enter().is_some()
    }

    /// Counts that it has joined, as [`has_lease`](Self::has_lease) has found.
    pub(super) fn count_join(&self) {
        self.joins.fetch_add(1, Ordering::Relaxed);
    }

    /// How long ago the lease was renewed last; none before the first time.
    pub(super) fn age(&self) -> Option<Duration> {
        self.node.lease().age()
    }

    /// Returns whether the store was not reached within a lease, which some nodes serve beyond.
    fn has_lost_store(&self, has_lease: bool) -> bool {
        self.age().is_some_and(|age| age >= self.lease || !has_lease)
    }

    pub(super) fn measure(&self, samples: &mut Samples) {
        let has_lease = self.has_lease();
        let help = "The node, and the version of its program";
        let labels = [("node", &*self.name), ("version", self.version)];
        samples.gauge("node_info", help, &labels, 1.0);
        let help = "Whether this node has a lease: without one it serves no keys under management";
        samples.gauge("node_has_lease", help, &[], f64::from(u8::from(has_lease)));
        let has_lost_store = f64::from(u8::from(self.has_lost_store(has_lease)));
        let help =
            "Whether the store was not reached within lease_secs; with on_lost_store = \"serve\" keys are served on";
        samples.gauge("node_store_lost", help, &[], has_lost_store);
        let help = "How long the lease lasts after a renewal (lease_secs)";
        samples.gauge("node_lease_seconds", help, &[], self.lease.as_secs_f64());
        let help = "How long ago the lease was renewed last";
        if let Some(age) = self.age() {
            samples.gauge("node_lease_age_seconds", help, &[], age.as_secs_f64());
        }
        let help = "Times at which this node has joined the others; each one after the first follows a lapse";
        let joins = self.joins.load(Ordering::Relaxed) as f64;
        samples.counter("node_joins", help, &[], joins);
        let help = "Latest revision of the store of which this node has heard";
        samples.gauge("store_head_revision", help, &[], self.node.head().get() as f64);
        let help = "Commands given on this node that not every node has confirmed";
        samples.counter("commands_unconfirmed", help, &[], self.node.unconfirmed() as f64);
    }
}
