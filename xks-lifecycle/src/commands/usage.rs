//! How much keys are used.

use xks_core::KeyId;

use super::Commands;
use crate::{CommandError, KeyVersionId, Usage, counts::Counted};

/// How much a version is used.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct VersionUsage {
    /// Which version.
    pub version: KeyVersionId,
    /// What it was used for since it came under management. After a process has ended without
    /// [`Commands::flush_usage`], what it did since the last call is missing.
    pub usage: Usage,
    /// How many encryptions it has made at most, with those before it came under management: what was
    /// reserved. None were made if this is zero, whatever has happened.
    pub most_encryptions: u64,
}

impl Commands {
    /// Returns how much each version of a key is used, in the order of their numbers: may it be deleted?
    ///
    /// # Errors
    /// [`CommandError::Unknown`], and those of the store.
    pub async fn usage(&self, id: &KeyId) -> Result<Vec<VersionUsage>, CommandError> {
        let mut all = Vec::new();
        for version in self.key(id)?.versions {
            self.flush_counted(self.view.counted(&version.id)).await?;
            let reserved = self.repository.reserved(&version.id).await?;
            all.push(VersionUsage {
                usage: self.repository.usage(&version.id).await?,
                most_encryptions: reserved.max(version.earlier_encryptions),
                version: version.id,
            });
        }
        Ok(all)
    }

    /// Adds to the store how much the versions were used in this process, and when credentials of external
    /// key stores were used last. To be called every some seconds, and at the end. The revision stays.
    ///
    /// # Errors
    /// Those of the store. What was not added is added by the next call.
    ///
    /// # Cancellation
    /// The future may be dropped at any time. What it was about to add may be added twice.
    pub async fn flush_usage(&self) -> Result<(), CommandError> {
        for used in self.credentials.used() {
            self.repository.note_use(&used.id, used.time).await?;
            used.note();
        }
        self.flush_counted(self.view.used()).await
    }

    async fn flush_counted(&self, used: impl IntoIterator<Item = Counted>) -> Result<(), CommandError> {
        for counted in used {
            let mut unkept = Unkept {
                usage: counted.count.take_usage(),
                counted: &counted,
            };
            if unkept.usage.uses() > 0 {
                self.repository.add_usage(&counted.version, &unkept.usage).await?;
                unkept.usage = Usage::default();
            }
        }
        Ok(())
    }
}

/// Usage that is in no store, and goes back to where it came from.
struct Unkept<'c> {
    usage: Usage,
    counted: &'c Counted,
}

impl Drop for Unkept<'_> {
    fn drop(&mut self) {
        self.counted.count.return_usage(&self.usage);
    }
}
