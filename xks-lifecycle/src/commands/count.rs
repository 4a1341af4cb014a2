//! How many encryptions versions have made, or may have made.

use xks_core::KeyId;

use super::Commands;
use crate::{
    CommandError, KeyVersion, KeyVersionId,
    counts::{Count, NEAR_LIMIT},
};

impl Commands {
    /// Reads how many encryptions of each version are reserved. Called at the start, it lets
    /// [`versions_near_limit`](Self::versions_near_limit) know versions that encrypt nothing.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn load_counts(&self) -> Result<(), CommandError> {
        for (version, reserved) in self.repository.counts().await? {
            if let Some(counted) = self.view.counted(&version) {
                counted.count.know(reserved);
            }
        }
        Ok(())
    }

    /// Returns the versions that encrypt and have three quarters or more of their encryptions reserved: their
    /// keys are due for rotation. Those of an adopted key count that it has made before.
    ///
    /// It knows what was [loaded](Self::load_counts), and what this process has reserved since.
    #[must_use]
    pub fn versions_near_limit(&self) -> Vec<KeyVersionId> {
        self.view
            .current_versions(|count: &Count| count.reserved() >= NEAR_LIMIT)
    }

    /// How many encryptions were made with a version, or may have been, since it came under management.
    pub(super) async fn encryptions_of(&self, version: &KeyVersion) -> Result<u64, CommandError> {
        let reserved = self.repository.reserved(&version.id).await?;
        Ok(reserved.saturating_sub(version.earlier_encryptions))
    }

    /// How many encryptions were made with a key, or may have been, since it came under management.
    pub(super) async fn encryptions(&self, id: &KeyId) -> Result<u64, CommandError> {
        let mut encryptions = 0_u64;
        for version in self.key(id)?.versions {
            encryptions = encryptions.saturating_add(self.encryptions_of(&version).await?);
        }
        Ok(encryptions)
    }
}
