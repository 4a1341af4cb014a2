//! The table of a run.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    time::Duration,
};

use crate::{judge::Returned, tally::Tally};

/// What a run was.
pub(crate) struct Report<'r> {
    pub(crate) seed: u64,
    pub(crate) lease: Duration,
    pub(crate) took: Duration,
    pub(crate) flips: u64,
    pub(crate) tally: &'r Tally,
}

/// The middle, the 99th percentile and the longest, in milliseconds.
fn times(times: &[Duration]) -> [String; 3] {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let at = |part: f64| {
        let place = (sorted.len() as f64 * part) as usize;
        let time = sorted.get(place.min(sorted.len().saturating_sub(1)));
        time.map_or_else(|| "–".to_owned(), |time| format!("{:.0}", time.as_secs_f64() * 1000.0))
    };
    [at(0.5), at(0.99), at(1.0)]
}

/// A number with spaces between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = self.tally;
        writeln!(
            f,
            "\nseed {}, lease {} s, {:.0} s: {} flips, {} faults\n",
            self.seed,
            self.lease.as_secs(),
            self.took.as_secs_f64(),
            grouped(self.flips),
            tally.faults()
        )?;
        f.write_str(&self.table()?)?;
        let mut answers: BTreeMap<&str, u64> = BTreeMap::new();
        for (answer, number) in tally.by_fault.values().flat_map(|counts| &counts.requests) {
            *answers.entry(answer).or_default() += number;
        }
        let answers: Vec<_> = answers
            .iter()
            .map(|(answer, number)| format!("{answer} {}", grouped(*number)))
            .collect();
        writeln!(f, "\nanswers: {}", answers.join(", "))?;
        let starved = tally.starved.as_secs_f64();
        writeln!(
            f,
            "the machine was too busy for the nodes, and they were excused: {starved:.1} s"
        )?;
        let mut failures = tally.failures.iter().peekable();
        if failures.peek().is_some() {
            let failures: Vec<_> = failures.map(|(code, number)| format!("{code} {number}")).collect();
            writeln!(f, "\ncommands that have failed: {}", failures.join(", "))?;
        }
        writeln!(f)?;
        for what in &tally.described {
            writeln!(f, "  {what}")?;
        }
        for (number, what) in [
            (tally.violations, "violations"),
            (tally.unexplained, "answers that no command and no fault explains"),
            (tally.not_recovered, "nodes that did not serve in time after a fault"),
            (tally.others, "other faults"),
        ] {
            writeln!(f, "{number:>8} {what}")?;
        }
        Ok(())
    }
}

impl Report<'_> {
    /// The table, in Markdown.
    fn table(&self) -> Result<String, fmt::Error> {
        let mut text = String::from(
            "| fault | times | requests | judged, closed | judged, open | confirmed | not confirmed | confirmation: median, p99, \
             longest (ms) | serves again: median, longest (ms) |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|\n",
        );
        let mut sums = [0_u64; 6];
        for (fault, counts) in &self.tally.by_fault {
            let confirmed = counts.commands.get(&Returned::Confirmed).copied().unwrap_or_default();
            let others = counts.commands.values().sum::<u64>() - confirmed;
            let numbers = [
                counts.faults,
                counts.requests.values().sum(),
                counts.judged_closed,
                counts.judged_open,
                confirmed,
                others,
            ];
            sums.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
            let numbers = numbers.map(grouped);
            let [middle, _, longest] = times(&counts.recovered_in);
            let closed = times(&counts.closed_in).join(", ");
            writeln!(
                text,
                "| {fault} | {} | {closed} | {middle}, {longest} |",
                numbers.join(" | ")
            )?;
        }
        writeln!(text, "| all | {} | | |", sums.map(grouped).join(" | "))?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_sorted() {
        let all: Vec<_> = (0..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(times(&all), ["50", "99", "100"]);
        assert_eq!(times(&[]), ["–", "–", "–"]);
        assert_eq!(times(&[Duration::from_millis(7)]), ["7", "7", "7"]);
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(
            [0, 999, 1000, 1_234_567].map(grouped),
            ["0", "999", "1 000", "1 234 567"]
        );
    }
}
