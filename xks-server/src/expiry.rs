//! Warns of certificates whose end comes near while the server runs, at each stage and every day. What is
//! near it at a start or a reload is reported then.

use std::time::{Duration, SystemTime};

use crate::{
    reconciler::Reconciler,
    tls::{Ending, Stage},
};

/// Between two looks at the longest: certificates are renewed, and clocks are set.
const LONGEST: Duration = Duration::from_secs(5);

/// Until a certificate is named again that has come no nearer to its end than a stage.
const AGAIN: Duration = Duration::from_secs(24 * 60 * 60);

/// The last warning about a certificate.
struct Said {
    ending: Ending,
    stage: Option<Stage>,
    at: SystemTime,
}

/// Looks at the certificates in force whenever one comes nearer to its end, without end.
pub(crate) async fn watch(reconciler: &Reconciler) {
    let mut known: Vec<Said> = Vec::new();
    loop {
        let now = SystemTime::now();
        let mut endings: Vec<Ending> = Vec::new();
        for ending in reconciler.certificates.in_force().flat_map(|tls| tls.endings.clone()) {
            // Several listeners may have the same certificate.
            if !endings.contains(&ending) {
                endings.push(ending);
            }
        }
        let looked = endings.into_iter().map(|ending| {
            let stage = ending.stage(now);
            let before = known.iter().find(|said| said.ending == ending);
            let is_due = before.is_some_and(|said| is_due(said.stage, said.at, stage, now));
            if let (true, Some(stage)) = (is_due, stage) {
                tracing::warn!("{}", ending.text(stage));
            }
            let at = match before {
                Some(said) if !is_due => said.at,
                _ => now,
            };
            Said { ending, stage, at }
        });
        known = looked.collect();
        let next = known.iter().filter_map(|said| said.ending.next_stage(now)).min();
        let wait = next.and_then(|next| next.duration_since(now).ok()).unwrap_or(LONGEST);
        tokio::time::sleep(wait.min(LONGEST)).await;
    }
}

/// Whether a certificate should be named that was named, or seen for the first time, as in `before` at
/// `said`.
fn is_due(before: Option<Stage>, said: SystemTime, stage: Option<Stage>, now: SystemTime) -> bool {
    let Some(stage) = stage else { return false };
    before.is_none_or(|before| stage < before) || now.duration_since(said).is_ok_and(|time| time >= AGAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_named_at_each_stage_and_every_day() {
        let said = SystemTime::now();
        let later = said + Duration::from_secs(60 * 60);
        let (week, day) = (Some(Stage::Days(7)), Some(Stage::Days(1)));
        assert!(!is_due(None, said, None, said + 2 * AGAIN), "it is far away");
        assert!(is_due(None, said, week, later), "it has come near");
        assert!(is_due(week, said, day, later), "it has come nearer");
        assert!(is_due(day, said, Some(Stage::Ended), later), "it is there");
        assert!(!is_due(week, said, week, later), "that was said an hour ago");
        assert!(is_due(week, said, week, said + AGAIN), "that was said yesterday");
        assert!(!is_due(week, said, week, said - AGAIN), "the clock was set back");
        assert!(
            !is_due(day, said, week, later),
            "the clock was set back, or it was renewed"
        );
    }
}
