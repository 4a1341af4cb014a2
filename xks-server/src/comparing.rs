//! Has fleets compare what their members hold under the ids of the keys that are served, before requests come
//! upon members that disagree.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::reconciler::Reconciler;

/// The time limit of the first comparison of keys at the start.
const AT_START: Duration = Duration::from_secs(2);

/// The fleet itself limits how many keys its members compare.
const EVERY: Duration = Duration::from_secs(1);

/// As many keys as may be compared at once.
pub(crate) async fn at_start(reconciler: &Reconciler) {
    // What is not done by then is done in the background.
    let _ = tokio::time::timeout(AT_START, compare(reconciler)).await;
}

pub(crate) async fn watch(reconciler: &Reconciler) {
    loop {
        tokio::time::sleep(EVERY).await;
        compare(reconciler).await;
    }
}

/// All fleets at once: none waits for the members of another.
async fn compare(reconciler: &Reconciler) {
    let mut comparing = JoinSet::new();
    for (fleet, keys) in reconciler.fleets() {
        comparing.spawn(async move {
            if let Some(fleet) = fleet.as_fleet() {
                fleet.compare(&keys).await;
            }
        });
    }
    while comparing.join_next().await.is_some() {}
}
