//! Says when this node loses its lease, and when it has one again; and what an operator should know of the
//! database.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use xks_core::text::ErrorChain;
#[cfg(feature = "postgres")]
use xks_lifecycle::store::PostgresStore;
use xks_lifecycle::{
    commands::Commands,
    store::{Durability, Store},
};

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

/// How the store is reached, as renewals of the lease say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// The lease was renewed lately.
    Reached,
    /// Not for half of a lease.
    Late,
    /// The lease has ended, or would have if the node did not serve on.
    Lost,
}

impl Reach {
    /// `age` is how long ago the lease was renewed last.
    fn new(has_lease: bool, age: Duration, lease: Duration) -> Self {
        match age {
            _ if !has_lease => Self::Lost,
            age if age >= lease => Self::Lost,
            age if age >= lease / 2 => Self::Late,
            _ => Self::Reached,
        }
    }
}

/// Who watches, and what for.
pub(super) struct Watch {
    pub(super) meter: NodeMeter,
    pub(super) database: Database,
    pub(super) commands: Arc<Commands>,
    pub(super) lease: Duration,
    /// Whether the node serves on when its lease has ended.
    pub(super) serves_on: bool,
}

impl Watch {
    /// Looks at the lease and the database, without end.
    pub(super) async fn run(self) {
        let Self { meter, database, .. } = &self;
        self.first_join().await;
        match database.store.durability().await {
            Ok(Durability::Asynchronous) => tracing::warn!(
                "{} has standbys that may lack what was committed last: after a failover a key that was \
                 disabled may be enabled again; wait for a standby with synchronous_standby_names, or have no failover",
                database.place
            ),
            Ok(durability) => tracing::info!("{} is {durability}", database.place),
            Err(error) => tracing::warn!("how safe commits are is not known: {}", ErrorChain(&error)),
        }
        let (mut had_lease, mut reach, mut said, mut before) = (true, Reach::Reached, None, Duration::ZERO);
        loop {
            let (has_lease, age) = (meter.has_lease(), meter.age().unwrap_or_default());
            let warning = database.warning();
            if has_lease && warning != said {
                match &warning {
                    Some(warning) => tracing::warn!("{warning}"),
                    None => tracing::info!("commits of other nodes are notified"),
                }
                said = warning;
            }
            if has_lease && !had_lease {
                meter.count_join();
            }
            let now = Reach::new(has_lease, age, self.lease);
            self.tell(reach, now, age.max(before));
            (had_lease, reach, before) = (has_lease, now, age);
            sleep(LOOK).await;
        }
    }

    /// Until it has joined for the first time, the start waits, and says so itself.
    async fn first_join(&self) {
        let mut waited = Duration::ZERO;
        while !self.meter.has_lease() {
            sleep(LOOK).await;
            waited += LOOK;
            if waited == self.lease {
                tracing::warn!(
                    "{} is reached, and this node has not joined yet: others may be committing, or the \
                     database answers slowly",
                    self.database.place
                );
            }
        }
        self.meter.count_join();
    }

    /// Tells of a change, and what is served meanwhile. `age` is for how long the store was not reached.
    fn tell(&self, before: Reach, now: Reach, age: Duration) {
        let (place, lease, age) = (&self.database.place, self.lease.as_secs(), age.as_secs());
        let revision = self.commands.revision();
        match (before, now, self.serves_on) {
            (Reach::Reached, Reach::Late, false) => tracing::warn!(
                "{place} was not reached for {age} s: keys under management are served as of revision {revision} until \
                 the lease ends (lease_secs = {lease}); commands fail until it is"
            ),
            (Reach::Reached, Reach::Late, true) => tracing::warn!(
                "{place} was not reached for {age} s: keys under management are served as of revision {revision} until \
                 it is (on_lost_store = \"serve\"); commands fail until it is"
            ),
            (Reach::Reached | Reach::Late, Reach::Lost, false) => tracing::error!(
                "this node has no lease any more: {place} was not reached within lease_secs = {lease}; keys under \
                 management are not served until it is, and /ping fails where there are any; keys of the settings \
                 file go on; look at the database, and at the network to it"
            ),
            (Reach::Reached | Reach::Late, Reach::Lost, true) => tracing::warn!(
                "{place} was not reached within lease_secs = {lease}: keys under management are served on as of \
                 revision {revision} (on_lost_store = \"serve\"), whatever other nodes commit, whose commands are not \
                 confirmed until it is reached; look at the database, and at the network to it"
            ),
            (Reach::Lost, Reach::Reached | Reach::Late, false) => tracing::warn!(
                "this node has joined again and serves keys under management as of revision {revision}; before, its \
                 lease was renewed {age} s ago last"
            ),
            (Reach::Lost, Reach::Reached | Reach::Late, true) | (Reach::Late, Reach::Reached, _) => tracing::warn!(
                "{place} is reached again, after {age} s in which keys under management were served: they are as of \
                 revision {revision} now"
            ),
            (Reach::Reached, Reach::Reached, _) | (Reach::Late, Reach::Late, _) | (Reach::Lost, Reach::Lost, _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_late_after_half_of_a_lease_and_lost_after_a_whole_one() {
        let reach = |has_lease, age_ms| {
            let (age, lease) = (Duration::from_millis(age_ms), Duration::from_secs(4));
            Reach::new(has_lease, age, lease)
        };
        assert_eq!(reach(true, 1_999), Reach::Reached);
        assert_eq!(reach(true, 2_000), Reach::Late);
        assert_eq!(reach(true, 3_999), Reach::Late);
        assert_eq!(reach(true, 4_000), Reach::Lost, "it serves on");
        assert_eq!(reach(false, 0), Reach::Lost, "its row is gone");
    }
}
