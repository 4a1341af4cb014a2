//! Jobs that begin by themselves: material is imported again before it ends in AWS, where it is wanted for
//! longer than AWS keeps it.

use xks_lifecycle::{Snapshot, Timestamp};

use super::{Intent, StoredPlan, rotation::id_of, scheduled::Beginning};
use crate::plan::AHEAD;

/// What is to be imported again at a time.
pub(super) fn due(state: &Snapshot, now: Timestamp) -> Vec<Beginning> {
    let mut due: Vec<Beginning> = Vec::new();
    for key in state.cloud_keys() {
        let Some(import) = key.import() else { continue };
        for material in state.materials_of(key.id) {
            let Some(end) = material.valid_to.filter(|_| material.is_in_use(key)) else {
                continue;
            };
            let is_for_longer = import.expires.is_none_or(|wanted| wanted > end && wanted > now);
            if !is_for_longer || end > now.plus_seconds(AHEAD) {
                continue;
            }
            let intent = match material.is_of_current_key(key) {
                true => Intent::CloudKey(key.id),
                false => Intent::CloudMaterial(material.id),
            };
            // The materials of one KMS key that end together have one job.
            if due.iter().any(|other| other.intent == intent) {
                continue;
            }
            // The same on every node, and another one after the renewal.
            if let Some(id) = id_of(&format!("renew {intent} {}", end.seconds())) {
                due.push(Beginning {
                    id,
                    intent,
                    plan: StoredPlan::default(),
                    first_change: None,
                    reason: format!("started since material ends in AWS at {end}"),
                });
            }
        }
    }
    due
}
