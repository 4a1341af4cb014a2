//! Says when this node loses its lease, and when it has one again; and what an operator should know of the
//! database.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use xks_core::text::ErrorChain;
#[cfg(feature = "postgres")]
use xks_lifecycle::store::PostgresStore;
use xks_lifecycle::store::{Durability, Store};

use super::node_meter::NodeMeter;

/// Between two looks at the lease.
const LOOK: Duration = Duration::from_millis(100);

/// The database of a node, as far as its warnings go.
#[derive(Clone)]
pub(super) struct Database {
    /// The hosts, for a person.
    pub(super) place: String,
    pub(super) store: Arc<dyn Store>,
    #[cfg(feature = "postgres")]
    pub(super) postgres: Arc<PostgresStore>,
}

impl Database {
    /// What an operator should know while it works.
    fn warning(&self) -> Option<String> {
        #[cfg(feature = "postgres")]
        return self.postgres.warning().map(|warning| warning.to_string());
        #[cfg(not(feature = "postgres"))]
        None
    }
}

/// Looks at the lease and the database, without end.
pub(super) async fn watch(meter: NodeMeter, database: Database, lease: Duration) {
    // Until it has joined for the first time, the start waits, and says so itself.
    let mut waited = Duration::ZERO;
    while !meter.has_lease() {
        sleep(LOOK).await;
        waited += LOOK;
        if waited == lease {
            tracing::warn!(
                "{} is reached, and this node has not joined yet: others may be committing, or the \
                 database answers slowly",
                database.place
            );
        }
    }
    meter.count_join();
    match database.store.durability().await {
        Ok(Durability::Asynchronous) => tracing::warn!(
            "{} has standbys that may lack what was committed last: after a failover a key that was \
             disabled may be enabled again; wait for a standby with synchronous_standby_names, or have no failover",
            database.place
        ),
        Ok(durability) => tracing::info!("{} is {durability}", database.place),
        Err(error) => tracing::warn!("how safe commits are is not known: {}", ErrorChain(&error)),
    }
    let (mut has_lease, mut said) = (true, None);
    loop {
        let warning = database.warning();
        if has_lease && warning != said {
            match &warning {
                Some(warning) => tracing::warn!("{warning}"),
                None => tracing::info!("commits of other nodes are notified"),
            }
            said = warning;
        }
        let (had_lease, before) = (has_lease, meter.age());
        has_lease = meter.has_lease();
        match (had_lease, has_lease) {
            (true, false) => tracing::error!(
                "this node has no lease any more: {} was not reached within lease_secs = {}; keys \
                 under management are not served until it is, and /ping fails; key stores of the settings file go on; \
                 look at the database, and at the network to it",
                database.place,
                lease.as_secs()
            ),
            (false, true) => {
                meter.count_join();
                tracing::warn!(
                    "this node has joined again and serves keys under management; before, its lease was renewed {} s \
                     ago last",
                    before.unwrap_or_default().as_secs()
                );
            }
            _ => {}
        }
        sleep(LOOK).await;
    }
}
