//! The trial of published versions in a node's own key managers, beside the renewals of its lease.

use std::time::Duration;

use super::{Node, node::lock};
use crate::{
    KeyVersionId,
    commands::Commands,
    store::{Claim, ClaimKind, StoreError},
};

impl Node {
    /// Tries each version that is published when it is taken in, and those that do not work again and again:
    /// what a key manager lacks may come with its next synchronisation.
    pub(super) async fn try_versions(&self, commands: &Commands) {
        let first = self.terms.retry();
        let mut pause = first;
        loop {
            let untried = self.tells.wait(|()| {
                let usability = lock(&self.usability);
                usability.untried().next().is_some().then_some(())
            });
            let has_failed = lock(&self.usability).failed().len() > 0;
            match has_failed {
                false => untried.await,
                true if self.within(pause, untried).await.is_some() => pause = first,
                true => pause = (pause * 2).min(self.terms.lease() / 2),
            }
            if !has_failed {
                pause = first;
            }
            if self.try_all(commands).await.is_err() {
                self.within(pause, std::future::pending::<()>()).await;
            }
        }
    }

    async fn try_all(&self, commands: &Commands) -> Result<(), StoreError> {
        let (untried, versions) = {
            let usability = lock(&self.usability);
            let mut versions: Vec<KeyVersionId> = usability.untried().cloned().collect();
            let untried = versions.len();
            versions.extend(usability.failed().cloned());
            (untried, versions)
        };
        if versions.is_empty() {
            return Ok(());
        }
        let store = commands.repository().store();
        let asked = self.within(self.terms.renewal(), store.claims(ClaimKind::KnownAnswer));
        let Some(answer) = asked.await else {
            return Err(StoreError::unavailable("known answers are read", "it took too long"));
        };
        let answers = answer?.0;
        for (place, version) in versions.iter().enumerate() {
            let outcome = self.try_one(commands, version, &answers).await;
            lock(&self.usability).tried(version, outcome);
            // The row is written once for all that were new, and once for those that were tried again.
            if place + 1 == untried {
                self.tell();
            }
        }
        self.tell();
        Ok(())
    }

    async fn try_one(&self, commands: &Commands, version: &KeyVersionId, answers: &[Claim]) -> Result<(), String> {
        let name = version.to_string();
        let known = answers.binary_search_by(|claim| (*claim.id).cmp(&name));
        let known = known.ok().and_then(|place| answers.get(place));
        let limit: Duration = self.terms.lease();
        let opened = self.within(limit, commands.open_known_answer(version, known)).await;
        opened.unwrap_or_else(|| Err("the key manager did not answer in time".to_owned()))
    }
}
