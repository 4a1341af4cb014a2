//! The counts and the failures of a run.

use std::{collections::BTreeMap, time::Duration};

use crate::rules::{Failure, Operation};

/// How many of the first mistakes are kept in words.
const MOST_NOTES: usize = 40;

#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) requests: BTreeMap<Operation, u64>,
    /// Errors that were right, by what was wrong with the request.
    pub(crate) refusals: BTreeMap<(&'static str, String), u64>,
    /// Errors that the phase allowed, by the phase.
    pub(crate) allowed: BTreeMap<(&'static str, String), u64>,
    /// Those that it did not allow.
    pub(crate) not_allowed: BTreeMap<(&'static str, String), u64>,
    /// Answers that say something wrong.
    pub(crate) wrong: u64,
    /// What else must not be: a key manager that does not come back, a reload without effect, something left
    /// behind.
    pub(crate) faults: u64,
    pub(crate) notes: Vec<String>,
    /// Ciphertexts that came back through the proxy as what went in, and the age of the oldest.
    pub(crate) plaintexts: u64,
    pub(crate) oldest: Duration,
    /// Ciphertexts that software decrypted to what went in.
    pub(crate) witnessed: u64,
    pub(crate) integrity_values: u64,
    pub(crate) connections: u64,
    /// In microseconds, of requests within calm phases.
    latencies: BTreeMap<Operation, Vec<u32>>,
    /// How long each kind of disturbance was felt after its end.
    pub(crate) recoveries: BTreeMap<&'static str, Vec<Duration>>,
}

impl Tally {
    pub(crate) fn note(&mut self, text: String) {
        if self.notes.len() < MOST_NOTES {
            self.notes.push(text);
        }
    }

    pub(crate) fn wrong(&mut self, text: &str) {
        self.wrong += 1;
        self.note(format!("WRONG ANSWER: {text}"));
    }

    pub(crate) fn fault(&mut self, text: String) {
        self.faults += 1;
        self.note(text);
    }

    /// An error, or no answer, where another was wanted.
    pub(crate) fn failure(
        &mut self,
        phase: &'static str,
        is_allowed: bool,
        operation: Operation,
        failure: Failure<'_>,
    ) {
        let what = match failure {
            Failure::Error(name) => name,
            Failure::Lost => "(no answer)",
            Failure::Unready => "(not ready)",
        };
        let kind = if is_allowed {
            &mut self.allowed
        } else {
            &mut self.not_allowed
        };
        *kind.entry((phase, format!("{} {what}", operation.name()))).or_default() += 1;
    }

    pub(crate) fn took(&mut self, operation: Operation, time: Duration) {
        let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        self.latencies.entry(operation).or_default().push(micros);
    }

    pub(crate) fn total(&self) -> u64 {
        self.requests.values().sum()
    }

    pub(crate) fn number_not_allowed(&self) -> u64 {
        self.not_allowed.values().sum()
    }

    pub(crate) fn is_right(&self) -> bool {
        self.wrong == 0 && self.number_not_allowed() == 0 && self.faults == 0
    }

    /// For each operation: its percentiles, 50, 90, 99 and 100, in microseconds.
    pub(crate) fn latencies(&mut self) -> BTreeMap<Operation, [u32; 4]> {
        let percentiles = |times: &mut Vec<u32>| {
            times.sort_unstable();
            [50, 90, 99, 100].map(|percent| percentile(times, percent))
        };
        let all = self.latencies.iter_mut();
        all.map(|(operation, times)| (*operation, percentiles(times))).collect()
    }
}

/// The smallest time that so many percent of the sorted times do not exceed; 0 of none.
fn percentile(sorted: &[u32], percent: usize) -> u32 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let hundred: Vec<u32> = (1..=100).collect();
        assert_eq!(
            [50, 90, 99, 100].map(|percent| percentile(&hundred, percent)),
            [50, 90, 99, 100]
        );
        assert_eq!(
            [50, 99, 100].map(|percent| percentile(&[7, 9, 11], percent)),
            [9, 11, 11]
        );
        assert_eq!(percentile(&[], 50), 0);
        let mut tally = Tally::default();
        for micros in [30, 10, 20] {
            tally.took(Operation::Encrypt, Duration::from_micros(micros));
        }
        assert_eq!(tally.latencies()[&Operation::Encrypt], [20, 30, 30, 30]);
    }

    #[test]
    fn one_mistake_of_any_kind_is_too_many() {
        assert!(Tally::default().is_right());
        let mut allowed = Tally::default();
        allowed.failure("storm", true, Operation::Encrypt, Failure::Error("InternalException"));
        assert!(allowed.is_right());
        let mistakes: [fn(&mut Tally); 3] = [
            |tally| tally.wrong(""),
            |tally| tally.fault(String::new()),
            |tally| tally.failure("calm", false, Operation::Encrypt, Failure::Lost),
        ];
        for mistake in mistakes {
            let mut tally = Tally::default();
            mistake(&mut tally);
            assert!(!tally.is_right());
        }
    }
}
