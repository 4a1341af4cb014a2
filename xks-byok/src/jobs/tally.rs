//! How many jobs there are, for metrics.

use std::collections::BTreeMap;

use super::{Job, JobState};

/// How many jobs have not ended, by their state, and since when one waits for a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// By the [names](JobState::as_str) of states; zero for those that no job has.
    pub open: BTreeMap<&'static str, u64>,
    /// Since when the one that has waited for a person the longest is blocked or stuck, in milliseconds since
    /// 1970.
    pub waits_for_person_since: Option<u64>,
}

impl Tally {
    pub(super) fn of<'a>(jobs: impl IntoIterator<Item = &'a Job>) -> Self {
        let mut tally = Self::default();
        for state in ["planned", "running", "waiting", "blocked", "stuck"] {
            tally.open.insert(state, 0);
        }
        for job in jobs {
            if job.state.is_ended() {
                continue;
            }
            *tally.open.entry(job.state.as_str()).or_default() += 1;
            if matches!(job.state, JobState::Blocked { .. } | JobState::Stuck { .. }) {
                // What has made it so is the last that has happened to it.
                let since = job.log.last().map_or(job.created, |entry| entry.time);
                tally.waits_for_person_since =
                    Some(tally.waits_for_person_since.map_or(since, |first| first.min(since)));
            }
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Intent, StoredPlan},
        *,
    };

    #[test]
    fn the_one_that_waits_for_a_person_the_longest_counts() {
        let plan = StoredPlan {
            observed: String::new(),
            steps: Vec::new(),
            warnings: Vec::new(),
            question: None,
            replaces: None,
        };
        let job = |state, time| {
            let id = xks_lifecycle::JobId::generate().unwrap();
            let intent = Intent::CloudKey(xks_lifecycle::CloudKeyId::generate().unwrap());
            let mut job = Job::new(id, intent, "alice".to_owned(), 1, plan.clone());
            job.note(time, "what has happened");
            Job { state, ..job }
        };
        let blocked = || JobState::Blocked {
            question: "why?".to_owned(),
        };
        let stuck = JobState::Stuck {
            problem: "it fails".to_owned(),
        };
        let jobs = [
            job(JobState::Done, 3),
            job(JobState::Running, 4),
            job(blocked(), 7),
            job(blocked(), 6),
            job(stuck, 8),
        ];
        let tally = Tally::of(&jobs);
        let counts: Vec<_> = tally.open.into_iter().collect();
        assert_eq!(
            counts,
            [
                ("blocked", 2),
                ("planned", 0),
                ("running", 1),
                ("stuck", 1),
                ("waiting", 0)
            ]
        );
        assert_eq!(tally.waits_for_person_since, Some(6));
        assert_eq!(Tally::of(&jobs[..2]).waits_for_person_since, None);
    }
}
