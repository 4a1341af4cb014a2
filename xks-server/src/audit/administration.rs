//! Administration in the audit log: each event of the life cycle that this process records, and who has read
//! what.
//!
//! All events go through the store: those of commands, the scheduler and jobs. So this store hands them
//! on when the one behind it has them.

use std::{sync::Arc, time::SystemTime};

use http::StatusCode;
use serde_json::{Value, json};
use xks_core::async_trait;
use xks_lifecycle::{
    Event, Timestamp,
    store::{
        ChangeSet, Claim, ClaimKind, Durability, Head, Revision, RowSink, Scope, Store, StoreError, Swap, Swapped,
    },
};

use super::Queue;

/// What these records have as their target.
const TARGET: &str = "xks::administration";

/// The most characters of a path that a record has.
const MAX_PATH: usize = 2000;

/// A store whose events are records of the audit log, too.
pub(crate) struct AuditedStore {
    store: Arc<dyn Store>,
    audit: Queue,
}

impl AuditedStore {
    /// The same store, if there is no audit log.
    pub(crate) fn around(store: Arc<dyn Store>, audit: Option<Queue>) -> Arc<dyn Store> {
        match audit {
            Some(audit) => Arc::new(Self { store, audit }),
            None => store,
        }
    }

    /// Records events, and what the store behind this one has said of them: `store_error` is why it has them
    /// not, or perhaps not. What it refused since its state is another one by now did not happen: that
    /// command goes on.
    fn recorded(&self, events: &[Event], revision: Option<Revision>, result: &Result<(), StoreError>) {
        let store_error = match result {
            Ok(()) => None,
            Err(StoreError::Conflict { .. } | StoreError::ClaimLost { .. }) => return,
            Err(error) => Some(error.to_string()),
        };
        for event in events {
            let revision = event.revision.or(revision).map(Revision::get);
            self.audit.push_json(json!({
                "timestamp": event.time.to_string(),
                "actor": event.actor.as_str(),
                "command": event.command.as_str(),
                "object": event.object.as_str(),
                "outcome": event.outcome.as_str(),
                "revision": revision,
                "reason": event.reason.as_ref().map(|text| text.as_str()),
                "before": event.before.as_ref().map(|text| text.as_str()),
                "after": event.after.as_ref().map(|text| text.as_str()),
                "store_error": store_error,
                "target": TARGET,
            }));
        }
    }
}

impl Queue {
    /// Takes an object, whose members without a value are left out.
    fn push_json(&self, mut record: Value) {
        if let Some(members) = record.as_object_mut() {
            members.retain(|_, value| !value.is_null());
        }
        self.push(record.to_string().as_bytes());
    }

    /// Records that somebody has asked for something by REST which changes nothing, and got this answer.
    pub(crate) fn record_read(&self, actor: &str, path: &str, status: StatusCode) {
        let outcome = match status.as_u16() {
            ..400 => "done",
            400..500 => "refused",
            500.. => "failed",
        };
        self.push_json(json!({
            "timestamp": Timestamp::from(SystemTime::now()).to_string(),
            "actor": actor,
            "command": "read",
            "object": path.chars().take(MAX_PATH).collect::<String>(),
            "outcome": outcome,
            "status": status.as_u16(),
            "target": TARGET,
        }));
    }
}

#[async_trait]
impl Store for AuditedStore {
    async fn load(&self, scope: Scope, sink: RowSink) -> Result<Head, StoreError> {
        self.store.load(scope, sink).await
    }

    async fn commit(&self, changes: ChangeSet) -> Result<(), StoreError> {
        let (events, next) = (changes.events.clone(), changes.next);
        let result = self.store.commit(changes).await;
        self.recorded(&events, Some(next), &result);
        result
    }

    async fn follow(&self, after: Revision) -> Result<Revision, StoreError> {
        self.store.follow(after).await
    }

    async fn swap(&self, swap: Swap) -> Result<Swapped, StoreError> {
        self.store.swap(swap).await
    }

    async fn claims(&self, kind: ClaimKind) -> Result<(Vec<Claim>, Revision), StoreError> {
        self.store.claims(kind).await
    }

    async fn swap_and_list(&self, swap: Swap) -> Result<(Swapped, Vec<Claim>), StoreError> {
        self.store.swap_and_list(swap).await
    }

    async fn durability(&self) -> Result<Durability, StoreError> {
        self.store.durability().await
    }

    async fn record(&self, events: Vec<Event>) -> Result<(), StoreError> {
        let recorded = events.clone();
        let result = self.store.record(events).await;
        self.recorded(&recorded, None, &result);
        result
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<(u64, Event)>, StoreError> {
        self.store.events(after, limit).await
    }
}
