//! Warns of certificates whose end comes near while the server runs. What is near it at a start or a reload
//! is said then.

use std::time::{Duration, SystemTime};

use crate::{
    app::App,
    tls::{Ending, Stage},
};

/// Between two looks at the longest: certificates are renewed, and clocks are set.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// Looks at the certificates in force whenever one comes nearer to its end, without end.
pub(crate) async fn watch(app: &App) {
    let mut known: Vec<(Ending, Option<Stage>)> = Vec::new();
    loop {
        let now = SystemTime::now();
        let endings = app
            .tls
            .load()
            .as_ref()
            .map(|tls| tls.endings.clone())
            .unwrap_or_default();
        let looked = endings.into_iter().map(|ending| {
            let stage = ending.stage(now);
            let before = known.iter().find(|(known, _)| *known == ending);
            if let (Some((_, before)), Some(stage)) = (before, stage)
                && before.is_none_or(|before| stage < before)
            {
                tracing::warn!("{}", ending.text(stage));
            }
            (ending, stage)
        });
        known = looked.collect();
        let next = known.iter().filter_map(|(ending, _)| ending.next_stage(now)).min();
        let wait = next.and_then(|next| next.duration_since(now).ok()).unwrap_or(LONGEST);
        tokio::time::sleep(wait.min(LONGEST)).await;
    }
}
