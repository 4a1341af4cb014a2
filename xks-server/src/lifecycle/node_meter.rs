//! What is measured of this process as one of several nodes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use xks_core::timer::Timer as _;
use xks_lifecycle::nodes::Node;

use crate::{metrics::Samples, timer::ServerTimer};

/// What a scrape is told of a node. A clone is the same.
#[derive(Clone)]
pub(crate) struct NodeMeter {
    node: Arc<Node>,
    name: Arc<str>,
    version: &'static str,
    lease: Duration,
    known: Arc<Known>,
}

struct Known {
    /// When trust of the lease began last, or this did, on the lease clock.
    renewed_ms: AtomicU64,
    joins: AtomicU64,
}

fn now() -> Duration {
    ServerTimer.lease_clock().unwrap_or_default() // without that clock there is no node
}

impl NodeMeter {
    pub(super) fn new(node: Arc<Node>, name: &str, version: &'static str, lease: Duration) -> Self {
        Self {
            node,
            name: name.into(),
            version,
            lease,
            known: Arc::new(Known {
                renewed_ms: AtomicU64::new(now().as_millis() as u64),
                joins: AtomicU64::new(0),
            }),
        }
    }

    /// Takes in what the node is like now. Returns whether it has a lease.
    pub(super) fn look(&self) -> bool {
        let remaining = self.node.lease().remaining();
        if let Some(remaining) = remaining {
            let renewed = (now() + remaining).saturating_sub(self.lease);
            self.known
                .renewed_ms
                .store(renewed.as_millis() as u64, Ordering::Relaxed);
        }
        remaining.is_some()
    }

    /// Counts that it has joined, as [`look`](Self::look) has found.
    pub(super) fn count_join(&self) {
        self.known.joins.fetch_add(1, Ordering::Relaxed);
    }

    /// How long ago the lease was renewed last.
    pub(super) fn age(&self) -> Duration {
        now().saturating_sub(Duration::from_millis(self.known.renewed_ms.load(Ordering::Relaxed)))
    }

    pub(super) fn measure(&self, samples: &mut Samples) {
        let has_lease = self.look();
        let help = "The node, and the version of its program";
        let labels = [("node", &*self.name), ("version", self.version)];
        samples.gauge("node_info", help, &labels, 1.0);
        let help = "Whether this node has a lease: without one it serves no keys under management";
        samples.gauge("node_has_lease", help, &[], f64::from(u8::from(has_lease)));
        let help = "How long the lease lasts after a renewal (lease_secs)";
        samples.gauge("node_lease_seconds", help, &[], self.lease.as_secs_f64());
        let help = "How long ago the lease was renewed last";
        samples.gauge("node_lease_age_seconds", help, &[], self.age().as_secs_f64());
        let help = "Times at which this node has joined the others; each one after the first follows a lapse";
        let joins = self.known.joins.load(Ordering::Relaxed) as f64;
        samples.counter("node_joins", help, &[], joins);
        let help = "Latest revision of the store of which this node has heard";
        samples.gauge("store_head_revision", help, &[], self.node.head().get() as f64);
        let help = "Commands given on this node that not every node has confirmed";
        samples.counter("commands_unconfirmed", help, &[], self.node.unconfirmed() as f64);
    }
}
