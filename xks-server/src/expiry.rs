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
        let mut looked: Vec<Said> = Vec::new();
        for tls in reconciler.certificates.in_force() {
            for ending in &tls.endings {
                // Several listeners may have the same certificate.
                if !looked.iter().any(|said| said.ending == *ending) {
                    let known = known.iter().find(|said| said.ending == *ending);
                    looked.push(look(ending, known, tls.looked, now));
                }
            }
        }
        known = looked;
        let next = known.iter().filter_map(|said| said.ending.next_stage(now)).min();
        let wait = next.and_then(|next| next.duration_since(now).ok()).unwrap_or(LONGEST);
        tokio::time::sleep(wait.min(LONGEST)).await;
    }
}

/// Names a certificate if that is due. One that is not `known` was reported at the start or the reload that
/// `loaded` it, which may be long ago: a key manager was opened meanwhile.
fn look(ending: &Ending, known: Option<&Said>, loaded: SystemTime, now: SystemTime) -> Said {
    let (before, said) = known.map_or_else(|| (ending.stage(loaded), loaded), |said| (said.stage, said.at));
    let stage = ending.stage(now);
    let is_due = is_due(before, said, stage, now);
    if let (true, Some(stage)) = (is_due, stage) {
        tracing::warn!("{}", ending.text(stage));
    }
    Said {
        ending: ending.clone(),
        stage,
        at: if is_due { now } else { said },
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

    /// It was far away when it was loaded, and the start took so long.
    #[test]
    fn an_end_that_comes_near_between_the_start_and_the_first_look_is_named() {
        let loaded = SystemTime::now();
        let ending = Ending::at(loaded + 7 * AGAIN + Duration::from_secs(10));
        let at_once = look(&ending, None, loaded, loaded);
        assert_eq!((at_once.stage, at_once.at), (Some(Stage::Days(14)), loaded));
        let later = loaded + Duration::from_secs(60);
        for known in [None, Some(&at_once)] {
            let said = look(&ending, known, loaded, later);
            assert_eq!((said.stage, said.at), (Some(Stage::Days(7)), later), "it is said then");
        }
        let reloaded = look(&ending, None, later, later + Duration::from_secs(1));
        assert_eq!(reloaded.at, later, "the reload has said it");
    }

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
