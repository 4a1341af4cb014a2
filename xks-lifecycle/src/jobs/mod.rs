//! Rows of jobs: what is being done elsewhere, step by step, by any node.
//!
//! A row is a [claim](crate::store::Claim) outside of the revision: the steps of jobs do not move it. Its
//! owner is the [worker](Worker) that has the job at the moment, empty if none has; its counter is
//! incremented by each write, and owner and counter as last seen are the condition of the write. What a row
//! says is a JSON object of the user of this module, and ends with a code under the data key over id, owner,
//! counter and all of it.
//!
//! # What is not noticed
//! Who can write the database can put a row back as it once was, or take it away, but can neither change
//! it nor make one. So a row says how far a job has come, and never what is wanted: that is in the state,
//! whose rows cannot be put back.

mod quota;
mod row;
mod worker;

pub use self::{
    row::{JobRow, JobRows},
    worker::Worker,
};
use crate::{
    CommandError, Event, EventText, JobId, Outcome,
    commands::{Actor, Commands},
    store::{ClaimKind, Swap},
};

impl Commands {
    /// Returns the rows of all jobs, in the order of their ids.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn job_rows(&self) -> Result<JobRows, CommandError> {
        let (claims, _) = self.repository().store().claims(ClaimKind::CloudJob).await?;
        let mut rows = JobRows::default();
        for claim in &claims {
            match JobRow::read(self.repository().key(), claim) {
                Some(row) => rows.rows.push(row),
                None => rows.refused.push(claim.id.clone()),
            }
        }
        Ok(rows)
    }

    /// Puts a job there that no worker has yet. `body` is a JSON object.
    ///
    /// # Errors
    /// Those of the store; after [`StoreError::is_unknown`](crate::store::StoreError::is_unknown) look
    /// whether it is there.
    pub async fn insert_job(&self, id: JobId, body: &str) -> Result<JobRow, CommandError> {
        let row = JobRow::new(id, "", 1, body);
        let swap = Swap::Insert(row.claim(self.repository().key()));
        kill_point!(Claiming);
        let swapped = self.repository().store().swap(swap).await?;
        kill_point!(Claimed);
        match swapped
            .claim
            .and_then(|claim| JobRow::read(self.repository().key(), &claim))
        {
            Some(found) if found == row => Ok(row),
            _ => Err(row.lost().into()),
        }
    }

    /// Writes a row in the place of one as it was seen. Returns it as it is now; nothing if somebody else has
    /// written it since.
    ///
    /// # Errors
    /// Those of the store. The row may be written all the same.
    pub async fn replace_job(&self, seen: &JobRow, owner: &str, body: &str) -> Result<Option<JobRow>, CommandError> {
        let next = JobRow::new(seen.id, owner, seen.counter + 1, body);
        let key = self.repository().key();
        let swap = Swap::Replace {
            seen: seen.claim(key),
            next: next.claim(key),
        };
        kill_point!(Claiming);
        let swapped = self.repository().store().swap(swap).await?;
        kill_point!(Claimed);
        Ok(swapped.is_done.then_some(next))
    }

    /// Removes a row that is as it was seen. Returns whether it is removed.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn remove_job(&self, seen: &JobRow) -> Result<bool, CommandError> {
        let swap = Swap::Delete(seen.claim(self.repository().key()));
        Ok(self.repository().store().swap(swap).await?.is_done)
    }

    /// Returns the actor who changes something only while a row is as it is here.
    #[must_use]
    pub fn under_job(&self, actor: &Actor, row: &JobRow) -> Actor {
        actor.under(row.claim(self.repository().key()))
    }

    /// Records an event about a job: that it was started, has ended, or was cancelled, and why.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn record_job(
        &self,
        actor: &Actor,
        command: &str,
        id: JobId,
        outcome: Outcome,
        reason: Option<&str>,
    ) -> Result<(), CommandError> {
        let event = Event {
            time: self.now(),
            actor: actor.text().clone(),
            command: EventText::cut(command),
            object: EventText::cut(&format!("jobs/{id}")),
            outcome,
            revision: None,
            reason: reason.map(EventText::cut),
            before: None,
            after: None,
        };
        kill_point!(Recording);
        self.repository().record(vec![event]).await?;
        kill_point!(Recorded);
        Ok(())
    }
}
