//! The outcome of a load.

use std::{collections::BTreeMap, fmt, time::Duration};

/// What one connection saw.
#[derive(Debug, Default)]
pub(super) struct Tally {
    answers: BTreeMap<u16, Vec<Duration>>,
    failed: u64,
    unsent: u64,
}

impl Tally {
    pub(super) fn answered(&mut self, status: u16, after: Duration) {
        self.answers.entry(status).or_default().push(after);
    }

    pub(super) fn failed(&mut self) {
        self.failed += 1;
    }

    pub(super) fn unsent(&mut self) {
        self.unsent += 1;
    }

    pub(super) fn add(&mut self, other: Self) {
        for (status, mut latencies) in other.answers {
            self.answers.entry(status).or_default().append(&mut latencies);
        }
        self.failed += other.failed;
        self.unsent += other.unsent;
    }

    pub(super) fn outcome(self, elapsed: Duration, server_time: Option<Duration>, client_time: Duration) -> Outcome {
        Outcome {
            elapsed,
            answers: self
                .answers
                .into_iter()
                .map(|(status, all)| (status, Latencies::new(all)))
                .collect(),
            failed: self.failed,
            unsent: self.unsent,
            server_time,
            client_time,
        }
    }
}

/// What came of a load.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// The answers, by status.
    pub answers: BTreeMap<u16, Latencies>,
    /// Requests whose connection broke.
    pub failed: u64,
    /// Requests that were due, and for which no connection was free in time.
    pub unsent: u64,
    /// What the server had of the processors.
    pub server_time: Option<Duration>,
    /// What the client had of them.
    pub client_time: Duration,
}

impl Outcome {
    /// How long what was answered with 200 took.
    #[must_use]
    pub fn good(&self) -> Latencies {
        self.answers.get(&200).cloned().unwrap_or_default()
    }

    /// Answers a second, of any status.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.answered() as f64 / self.elapsed.as_secs_f64()
    }

    /// Microseconds of processor time that the server took for an answer.
    #[must_use]
    pub fn cost(&self) -> Option<f64> {
        self.server_time.map(|time| self.per_answer(time))
    }

    /// Whether there are no answers but 200.
    #[must_use]
    pub fn is_all_good(&self) -> bool {
        self.answers.keys().all(|status| *status == 200) && self.answered() > 0 && self.failed == 0
    }

    fn answered(&self) -> usize {
        self.answers.values().map(Latencies::count).sum()
    }

    fn per_answer(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / self.answered().max(1) as f64
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0}/s", self.rate())?;
        if let Some(cost) = self.cost() {
            write!(f, ", server {cost:.1} µs a request")?;
        }
        write!(f, ", client {:.1} µs", self.per_answer(self.client_time))?;
        for (status, latencies) in &self.answers {
            write!(f, "\n  {status}: {latencies}")?;
        }
        if self.failed + self.unsent > 0 {
            write!(
                f,
                "\n  {} connections broke, {} not sent in time",
                self.failed, self.unsent
            )?;
        }
        Ok(())
    }
}

/// The best of several.
#[derive(Clone, Copy, Debug)]
pub struct Best {
    /// Microseconds of the server's processor time for a request.
    pub cost: f64,
    /// Requests a second.
    pub rate: f64,
    /// Milliseconds that 50, 99 and 99.9 % of the requests kept to.
    pub latency: [f64; 3],
}

impl Default for Best {
    fn default() -> Self {
        Self {
            cost: f64::INFINITY,
            rate: 0.0,
            latency: [f64::INFINITY; 3],
        }
    }
}

impl Best {
    /// Takes what is better.
    pub fn take(&mut self, outcome: &Outcome) {
        let latencies = outcome.good();
        self.cost = outcome.cost().unwrap_or(f64::INFINITY).min(self.cost);
        self.rate = outcome.rate().max(self.rate);
        if outcome.unsent > 0 {
            return; // their latencies are missing
        }
        for (best, share) in self.latency.iter_mut().zip([0.5, 0.99, 0.999]) {
            *best = latencies.at(share).min(*best);
        }
    }
}

/// How long answers took.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    fn new(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self(all)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// What this share of them kept to, in milliseconds: 0.5 the half, 1.0 all.
    #[must_use]
    pub fn at(&self, share: f64) -> f64 {
        let place = (share * self.0.len() as f64).ceil() as usize;
        let latency = self.0.get(place.saturating_sub(1)).copied().unwrap_or_default();
        latency.as_secs_f64() * 1e3
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, p999, most] = [0.5, 0.99, 0.999, 1.0].map(|share| self.at(share));
        write!(
            f,
            "{}, p50 {p50:.3} ms, p99 {p99:.3} ms, p99.9 {p999:.3} ms, max {most:.3} ms",
            self.count()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_measured() {
        let latencies = Latencies::new((1..=1000).rev().map(Duration::from_millis).collect());
        assert_eq!(
            [0.5, 0.99, 0.999, 1.0].map(|share| latencies.at(share)),
            [500.0, 990.0, 999.0, 1000.0]
        );
        assert_eq!(Latencies::default().at(0.99), 0.0);
    }
}
