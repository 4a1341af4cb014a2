//! The report of a check, for people and for programs.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
    time::{Duration, SystemTime},
};

use serde::{Serialize, Serializer};

use super::{
    body::{Operation, REQUEST_ID},
    case::{Level, Outcome},
    date,
    run::millis,
    setup::Setup,
};
use crate::wire::{Endpoint, Http};

/// What came of a check. [`Display`] writes it for people, [`Serialize`] as the README documents it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The format of this JSON: 1. It grows by fields only.
    pub format: u32,
    /// Whom was called.
    pub url: String,
    /// When it began, `yyyy-mm-ddThh:mm:ssZ`.
    pub started: String,
    /// How long all of it took, in milliseconds.
    pub took_ms: f64,
    /// Whether no MUST was missed.
    pub conformant: bool,
    /// How many cases came out how.
    pub summary: Summary,
    /// Times of answers with 200 over open connections, by operation.
    pub latency: BTreeMap<String, Latency>,
    /// The proxy's clock less this machine's, in seconds, where its answers have a `Date`.
    pub clock_skew_seconds: Option<f64>,
    /// All cases, in the order in which they were tried.
    pub cases: Vec<Tried>,
    #[serde(skip)]
    pub(super) times: BTreeMap<String, Vec<Duration>>,
    /// The first case that missed something for want of an operation that does not work at all.
    #[serde(skip)]
    roots: Vec<(Operation, String)>,
}

/// A case that was tried, or why it was not.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Tried {
    /// `group/name`; names are not reused for anything else.
    pub name: String,
    /// The version of HTTP: `1.1` or `2`.
    #[serde(serialize_with = "version")]
    pub http: Http,
    /// Ids of `docs/requirements.md`.
    pub requirements: &'static [&'static str],
    /// How much hangs on it.
    pub level: Level,
    /// What became of it.
    pub outcome: Outcome,
    /// What was sent.
    pub sent: String,
    /// What was expected.
    pub expected: String,
    /// What came, or why it was not tried; empty where there is nothing to say.
    pub came: String,
    /// What it means for KMS when something else comes.
    pub means: &'static str,
    /// The case whose failure this one's is due to: an operation does not work at all, and this case needs
    /// it.
    pub follows_from: Option<String>,
    /// How long the case took, with all its requests, in milliseconds.
    pub took_ms: f64,
}

/// How many cases came out how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// As expected.
    pub pass: usize,
    /// A MUST was missed.
    pub fail: usize,
    /// A SHOULD was missed.
    pub warn: usize,
    /// Worth knowing.
    pub note: usize,
    /// Not tried.
    pub not_tried: usize,
}

/// Times of answers, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct Latency {
    /// How many answers.
    pub count: usize,
    /// The fastest.
    pub min_ms: f64,
    /// Half of them were not slower.
    pub p50_ms: f64,
    /// 99 of 100 were not slower.
    pub p99_ms: f64,
    /// The slowest.
    pub max_ms: f64,
    /// How many took longer than the 250 ms that KMS waits.
    pub over_250_ms: usize,
}

impl Latency {
    pub(super) fn of(times: &[Duration]) -> Self {
        let mut times = times.to_vec();
        times.sort_unstable();
        let at = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).saturating_sub(1);
            times.get(rank).copied().map(millis).unwrap_or_default()
        };
        Self {
            count: times.len(),
            min_ms: at(0),
            p50_ms: at(50),
            p99_ms: at(99),
            max_ms: at(100),
            over_250_ms: times.iter().filter(|time| **time > Endpoint::TIMEOUT).count(),
        }
    }
}

impl Report {
    pub(super) fn new(setup: &Setup, started: SystemTime) -> Self {
        Self {
            format: 1,
            url: setup.url.clone(),
            started: date::extended(started),
            took_ms: 0.0,
            conformant: false,
            summary: Summary::default(),
            latency: BTreeMap::new(),
            clock_skew_seconds: None,
            cases: Vec::new(),
            times: BTreeMap::new(),
            roots: Vec::new(),
        }
    }

    /// Takes a case, and the operation to which its failure is due, if any.
    pub(super) fn push(&mut self, mut tried: Tried, due_to: Option<Operation>) {
        if let Some(operation) = due_to.filter(|_| is_missed(tried.outcome)) {
            match self.roots.iter().find(|(failing, _)| *failing == operation) {
                Some((_, root)) => tried.follows_from = Some(root.clone()),
                None => self.roots.push((operation, tried.name.clone())),
            }
        }
        self.cases.push(tried);
    }

    /// Counts the cases, when all have been tried.
    pub(super) fn count(&mut self) {
        let count = |outcome| self.cases.iter().filter(|case| case.outcome == outcome).count();
        self.summary = Summary {
            pass: count(Outcome::Pass),
            fail: count(Outcome::Fail),
            warn: count(Outcome::Warn),
            note: count(Outcome::Note),
            not_tried: count(Outcome::NotTried),
        };
        self.conformant = self.summary.fail == 0;
    }

    /// Returns whether no MUST was missed; what was not tried is not missed.
    #[must_use]
    pub fn is_conformant(&self) -> bool {
        self.conformant
    }

    /// Returns the names of the cases with an outcome.
    #[must_use]
    pub fn named(&self, outcome: Outcome) -> Vec<&str> {
        let cases = self.cases.iter().filter(|case| case.outcome == outcome);
        cases.map(|case| &*case.name).collect()
    }
}

impl Display for Report {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "Check of {}\n", self.url)?;
        let width = self.cases.iter().map(|case| case.name.len()).max().unwrap_or_default();
        let has_both = self.cases.iter().any(|case| case.http == Http::Two)
            && self.cases.iter().any(|case| case.http == Http::One);
        for case in &self.cases {
            let http = if has_both {
                format!("{:8}  ", name(case.http))
            } else {
                String::new()
            };
            let (mark, ids) = (mark(case.outcome), case.requirements.join(" "));
            let is_told = is_missed(case.outcome) && case.follows_from.is_none();
            let text = match &case.follows_from {
                Some(root) => format!("follows from {root}: {}", case.came),
                None if is_told => String::new(),
                None => case.came.clone(),
            };
            let line = format!(
                "{mark:9}  {http}{:width$}  {ids:19}  {:>9.1} ms  {text}",
                case.name, case.took_ms
            );
            writeln!(formatter, "{}", line.trim_end())?;
            if is_told {
                let parts = [
                    ("sent", &*case.sent),
                    ("expected", &case.expected),
                    ("came", &case.came),
                    ("means", case.means),
                ];
                for (part, text) in parts.into_iter().filter(|(_, text)| !text.is_empty()) {
                    writeln!(formatter, "           {part:8}  {text}")?;
                }
            }
        }
        self.write_end(formatter)
    }
}

impl Report {
    fn write_end(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        if !self.latency.is_empty() {
            writeln!(
                formatter,
                "\nlatency       count     min     p50     p99     max ms   over 250 ms"
            )?;
        }
        for (operation, latency) in &self.latency {
            let Latency {
                count,
                min_ms,
                p50_ms,
                p99_ms,
                max_ms,
                over_250_ms,
            } = latency;
            writeln!(
                formatter,
                "{operation:10} {count:8} {min_ms:7.1} {p50_ms:7.1} {p99_ms:7.1} {max_ms:7.1}      {over_250_ms:8}"
            )?;
        }
        if let Some(skew) = self.clock_skew_seconds {
            writeln!(formatter, "\nThe proxy's clock is {skew:+.1} s from this machine's.")?;
        }
        let Summary {
            pass,
            fail,
            warn,
            note,
            not_tried,
        } = self.summary;
        let verdict = if self.conformant {
            "Every MUST that was tested is met"
        } else {
            "The proxy does not conform"
        };
        let following = self.cases.iter().filter(|case| case.follows_from.is_some()).count();
        if following > 0 {
            let roots: Vec<_> = self.roots.iter().map(|(_, root)| &**root).collect();
            writeln!(
                formatter,
                "\n{following} cases follow from {}: correct that first, and check again. The proxy's log has the \
                 reason: kmsRequestId {REQUEST_ID}",
                roots.join(", ")
            )?;
        }
        writeln!(
            formatter,
            "\n{verdict}: {pass} pass, {fail} fail, {warn} warn, {note} note, {not_tried} not tried, in {:.1} s.",
            self.took_ms / 1e3
        )
    }
}

fn is_missed(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Fail | Outcome::Warn | Outcome::Note)
}

fn mark(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "pass",
        Outcome::Fail => "FAIL",
        Outcome::Warn => "WARN",
        Outcome::Note => "note",
        Outcome::NotTried => "not tried",
    }
}

fn name(http: Http) -> &'static str {
    match http {
        Http::One => "HTTP/1.1",
        Http::Two => "HTTP/2",
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn version<S: Serializer>(http: &Http, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match http {
        Http::One => "1.1",
        Http::Two => "2",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let times: Vec<_> = (1..=200).rev().map(|ms| Duration::from_millis(ms * 2)).collect();
        let latency = Latency::of(&times);
        assert_eq!((latency.count, latency.min_ms, latency.p50_ms), (200, 2.0, 200.0));
        assert_eq!(
            (latency.p99_ms, latency.max_ms, latency.over_250_ms),
            (396.0, 400.0, 75)
        );
        assert_eq!(Latency::of(&[]).count, 0);
    }
}
