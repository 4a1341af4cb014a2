//! The totals, for people and as JSON.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use serde_json::{Value, json};

use crate::{leftovers::LifeReport, rules::Operation, tally::Tally};

/// All of a run.
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) took: Duration,
    pub(crate) was_interrupted: bool,
    /// How often each kind of phase has been.
    pub(crate) phases: BTreeMap<&'static str, u64>,
    pub(crate) lives: Vec<LifeReport>,
}

impl Report {
    pub(crate) fn text(&self, tally: &mut Tally) -> String {
        let mut text = String::new();
        let _ = self.write(&mut text, tally); // a String takes everything
        text
    }

    fn write(&self, text: &mut String, tally: &mut Tally) -> std::fmt::Result {
        let early = if self.was_interrupted { ", ended early" } else { "" };
        writeln!(text, "\nseed {}, {:.0} s{early}", self.seed, self.took.as_secs_f64())?;
        writeln!(
            text,
            "\n{:>10} requests over {} connections",
            tally.total(),
            tally.connections
        )?;
        for (operation, number) in &tally.requests {
            writeln!(text, "{number:>10}   {}", operation.name())?;
        }
        writeln!(text, "{:>10} ciphertexts decrypted by software", tally.witnessed)?;
        writeln!(text, "{:>10} integrity values recomputed", tally.integrity_values)?;
        let oldest = tally.oldest.as_secs_f64();
        writeln!(
            text,
            "{:>10} plaintexts came back right, from ciphertexts up to {oldest:.0} s old",
            tally.plaintexts
        )?;
        writeln!(text, "\nrefused, as it must be")?;
        for ((what, name), number) in &tally.refusals {
            writeln!(text, "{number:>10}   {what}: {name}")?;
        }
        for (title, errors) in [
            ("errors that the phase allowed", &tally.allowed),
            ("errors that the phase did not allow", &tally.not_allowed),
        ] {
            writeln!(text, "\n{title}: {}", errors.values().sum::<u64>())?;
            for ((phase, what), number) in errors {
                writeln!(text, "{number:>10}   {phase}: {what}")?;
            }
        }
        writeln!(
            text,
            "\nphases, and milliseconds until all was well again: median, longest"
        )?;
        for (kind, number) in &self.phases {
            let mut times = tally.recoveries.get(kind).cloned().unwrap_or_default();
            times.sort_unstable();
            let middle = times
                .get(times.len() / 2)
                .map_or_else(|| "-".to_owned(), |time| time.as_millis().to_string());
            let last = times
                .last()
                .map_or_else(|| "-".to_owned(), |time| time.as_millis().to_string());
            writeln!(text, "{number:>10}   {kind:<20}{middle:>8}{last:>8}")?;
        }
        writeln!(
            text,
            "\nlatency in calm phases, in microseconds: 50 %, 90 %, 99 %, longest"
        )?;
        for (operation, [half, nine, last, longest]) in tally.latencies() {
            writeln!(
                text,
                "             {:<20}{half:>8}{nine:>8}{last:>8}{longest:>8}",
                operation.name()
            )?;
        }
        writeln!(text, "\nprocesses")?;
        for life in &self.lives {
            life.write(text);
        }
        writeln!(text)?;
        for note in &tally.notes {
            writeln!(text, "  {note}")?;
        }
        writeln!(text, "{:>10} wrong answers", tally.wrong)?;
        writeln!(
            text,
            "{:>10} errors that the phase did not allow",
            tally.number_not_allowed()
        )?;
        writeln!(text, "{:>10} other faults", tally.faults)
    }

    pub(crate) fn json(&self, tally: &mut Tally) -> Value {
        let by_operation: BTreeMap<_, _> = tally
            .requests
            .iter()
            .map(|(operation, n)| (operation.name(), *n))
            .collect();
        let errors = |errors: &BTreeMap<(&str, String), u64>| -> Vec<Value> {
            let row = |((whence, what), number): (&(&str, String), &u64)| json!({"of": whence, "what": what, "number": number});
            errors.iter().map(row).collect()
        };
        let recoveries = tally.recoveries.iter().map(|(kind, times)| {
            let times: Vec<_> = times.iter().map(Duration::as_millis).collect();
            (*kind, times)
        });
        let recoveries: BTreeMap<_, _> = recoveries.collect();
        let latencies: BTreeMap<&str, [u32; 4]> = tally
            .latencies()
            .into_iter()
            .map(|(operation, times): (Operation, _)| (operation.name(), times))
            .collect();
        json!({
            "seed": self.seed, "seconds": self.took.as_secs_f64(), "ended_early": self.was_interrupted,
            "requests": tally.total(), "requests_by_operation": by_operation, "connections": tally.connections,
            "witnessed": tally.witnessed, "integrity_values": tally.integrity_values, "plaintexts": tally.plaintexts,
            "oldest_ciphertext_seconds": tally.oldest.as_secs_f64(),
            "refused": errors(&tally.refusals), "errors_allowed": errors(&tally.allowed),
            "errors_not_allowed": errors(&tally.not_allowed),
            "phases": self.phases, "recovery_ms": recoveries,
            "processes": self.lives.iter().map(LifeReport::json).collect::<Vec<_>>(),
            "wrong_answers": tally.wrong, "number_not_allowed": tally.number_not_allowed(), "faults": tally.faults,
            "calm_latency_us_50_90_99_100": latencies,
            "notes": tally.notes,
        })
    }
}
