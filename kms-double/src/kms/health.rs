//! The periodic health check: KMS asks each connected proxy every few minutes.

use std::time::{Duration, SystemTime};

use super::{
    Kms, answer::Health, caller::Caller, exception::Exception, failure::Failure, key_store::Connection, locked,
    state::State,
};

/// The outcome of one health check.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HealthCheck {
    /// When it was made.
    pub at: SystemTime,
    /// The proxy's own answer, or the failure, in detail too.
    pub outcome: Result<Health, (Failure, String)>,
}

impl Kms {
    /// The interval of AWS KMS: "once every few minutes".
    pub const HEALTH_INTERVAL: Duration = Duration::from_secs(180);

    /// Asks all connected proxies for their health now, one after the other. It changes no connection state:
    /// as in AWS KMS, a key store that is connected stays so, whatever becomes of its proxy.
    ///
    /// # Errors
    /// The double itself failed.
    pub async fn check_health(&self) -> Result<(), Exception> {
        let internal = Caller::new("AWS Internal");
        let connected = self.read_world(|world| {
            let stores = |(region, state): (&str, &State)| {
                let stores = state.key_stores.iter();
                let connected = stores.filter(|store| store.connection == Connection::Connected);
                let of_region = connected.map(|store| (region.to_owned(), store.clone()));
                of_region.collect::<Vec<_>>()
            };
            world.iter().flat_map(stores).collect::<Vec<_>>()
        });
        for (region, store) in connected {
            let kms = self.in_region(&region)?;
            let proxy = kms.proxy(&store.id, &store.proxy)?;
            let outcome = kms
                .under_request_id("KmsHealthCheck", &internal, false, async |operation| {
                    Ok(proxy.health(operation).await)
                })
                .await?;
            let check = HealthCheck {
                at: SystemTime::now(),
                outcome: outcome.map_err(|fault| (fault.failure(), fault.detail().to_owned())),
            };
            locked(&self.0.health).insert(store.id, check);
        }
        Ok(())
    }

    /// Checks health at intervals, until it is dropped or the double fails: for a task of its own.
    ///
    /// # Errors
    /// As for [`check_health`](Self::check_health).
    pub async fn watch_health(&self, interval: Duration) -> Result<(), Exception> {
        loop {
            tokio::time::sleep(interval).await;
            self.check_health().await?;
        }
    }

    /// Returns the outcome of a key store's last periodic health check.
    #[must_use]
    pub fn last_health_check(&self, custom_key_store_id: &str) -> Option<HealthCheck> {
        locked(&self.0.health).get(custom_key_store_id).cloned()
    }
}
