//! Resources of the machine and the token that a process used, and what it left behind.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::process::Resources;

const MIB: u64 = 1 << 20;

/// How much resident memory may grow after the warm-up: for what the allocator keeps and the shim counts, and
/// for each million requests.
const GROWTH: u64 = 24 * MIB;
const GROWTH_PER_MILLION: u64 = 48 * MIB;
/// How many threads more there may be, beside one for each session: tokio's for what blocks.
const MORE_THREADS: u64 = 8;
/// How many descriptors more than before the first client came, beside one for each client.
const MORE_DESCRIPTORS: u64 = 24;
/// Sessions of a backend beside those that serve: one that keeps the login, one that tests.
const OWN_SESSIONS: u64 = 2;

/// A moment of a process's life.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moment {
    pub(crate) resources: Resources,
    /// Requests of all clients until then.
    pub(crate) requests: u64,
    /// The sessions that the settings ask for.
    pub(crate) sessions: u64,
}

/// What became of one process.
#[derive(Debug, Default)]
pub(crate) struct LifeReport {
    pub(crate) name: &'static str,
    pub(crate) clients: u64,
    pub(crate) start: Moment,
    pub(crate) warm: Moment,
    pub(crate) end: Moment,
    pub(crate) open_sessions: u64,
    pub(crate) initialized: u64,
    pub(crate) injected: u64,
    /// Sessions that were open when the module was finalized to be reinitialized.
    pub(crate) left_open_before: u64,
    /// Sessions that were open when it was finalized for the last time.
    pub(crate) left_open: u64,
    pub(crate) violations: Vec<String>,
    pub(crate) lines_lost: f64,
    pub(crate) panics: u64,
    pub(crate) reloads: [u64; 2],
    pub(crate) exit_code: Option<i32>,
}

impl LifeReport {
    pub(crate) fn growth(&self) -> u64 {
        self.end.resources.resident.saturating_sub(self.warm.resources.resident)
    }

    fn requests_after_warm_up(&self) -> u64 {
        self.end.requests.saturating_sub(self.warm.requests)
    }

    fn most_growth(&self) -> u64 {
        GROWTH + GROWTH_PER_MILLION * self.requests_after_warm_up() / 1_000_000
    }

    pub(crate) const fn most_threads(&self) -> u64 {
        let beside_sessions = self.warm.resources.threads.saturating_sub(self.warm.sessions);
        beside_sessions + self.end.sessions + MORE_THREADS
    }

    pub(crate) const fn most_descriptors(&self) -> u64 {
        self.start.resources.descriptors + self.clients + MORE_DESCRIPTORS
    }

    pub(crate) const fn most_sessions(&self) -> u64 {
        self.end.sessions + OWN_SESSIONS
    }

    /// What should not be.
    pub(crate) fn faults(&self) -> Vec<String> {
        let name = self.name;
        let mut faults = Vec::new();
        let mut at_most = |what: &str, is: u64, most: u64| {
            if is > most {
                faults.push(format!("{name}: {what}: {is}, and at most {most} were expected"));
            }
        };
        at_most("open sessions", self.open_sessions, self.most_sessions());
        at_most("sessions left open", self.left_open, 0);
        at_most("threads", self.end.resources.threads, self.most_threads());
        at_most("descriptors", self.end.resources.descriptors, self.most_descriptors());
        at_most("growth of memory in bytes", self.growth(), self.most_growth());
        at_most("panics", self.panics, 0);
        faults.extend(
            self.violations
                .iter()
                .map(|text| format!("{name}: misuse of the module: {text}")),
        );
        if self.lines_lost > 0.0 {
            faults.push(format!("{name}: {} lines of the log were lost", self.lines_lost));
        }
        if self.exit_code != Some(0) {
            faults.push(format!("{name}: after SIGTERM the exit code is {:?}", self.exit_code));
        }
        faults
    }

    pub(crate) fn write(&self, text: &mut String) {
        let Self {
            name, start, warm, end, ..
        } = self;
        let mib = |moment: &Moment| moment.resources.resident as f64 / MIB as f64;
        let growth = self.growth() as f64 / MIB as f64;
        let requests = self.requests_after_warm_up().max(1) as f64;
        let [reloaded, refused] = self.reloads;
        let mut row = |what: &str, value: String| {
            let _ = writeln!(text, "  {what:<14}{value}"); // a String takes everything
        };
        row(name, String::new());
        row(
            "  memory",
            format!(
                "{:.1} MiB at the start, {:.1} after warm-up, {:.1} at the end: {growth:.1} more for {requests} requests, {:.1} for a million; {:.1} allowed",
                mib(start),
                mib(warm),
                mib(end),
                growth * 1e6 / requests,
                self.most_growth() as f64 / MIB as f64
            ),
        );
        row(
            "  threads",
            format!(
                "{} at the start, {} after warm-up, {} at the end; {} allowed",
                start.resources.threads,
                warm.resources.threads,
                end.resources.threads,
                self.most_threads()
            ),
        );
        row(
            "  descriptors",
            format!(
                "{} at the start, {} after warm-up, {} at the end; {} allowed",
                start.resources.descriptors,
                warm.resources.descriptors,
                end.resources.descriptors,
                self.most_descriptors()
            ),
        );
        row(
            "  sessions",
            format!(
                "{} open at the end, {} allowed; {} left open by C_Finalize",
                self.open_sessions,
                self.most_sessions(),
                self.left_open
            ),
        );
        row(
            "  module",
            format!(
                "initialized {} times, {} calls failed on purpose, {} violations",
                self.initialized,
                self.injected,
                self.violations.len()
            ),
        );
        row(
            "  log",
            format!(
                "{} lines lost, {} panics, {reloaded} reloads, {refused} refused",
                self.lines_lost, self.panics
            ),
        );
        row(
            "  exit code",
            self.exit_code
                .map_or_else(|| "none".to_owned(), |code| code.to_string()),
        );
    }

    pub(crate) fn json(&self) -> Value {
        let moment = |moment: &Moment| {
            json!({
                "requests": moment.requests,
                "resident_bytes": moment.resources.resident,
                "threads": moment.resources.threads,
                "descriptors": moment.resources.descriptors,
                "sessions_configured": moment.sessions,
            })
        };
        json!({
            "name": self.name, "start": moment(&self.start), "warm": moment(&self.warm), "end": moment(&self.end),
            "resident_growth_bytes": self.growth(), "resident_growth_allowed_bytes": self.most_growth(),
            "open_sessions": self.open_sessions, "sessions_left_open": self.left_open,
            "initialized": self.initialized, "injected": self.injected, "violations": self.violations,
            "log_lines_lost": self.lines_lost, "panics": self.panics, "reloads": self.reloads,
            "exit_code": self.exit_code,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn life() -> LifeReport {
        let moment = |requests| Moment {
            resources: Resources {
                threads: 20,
                descriptors: 30,
                resident: 50 * MIB,
            },
            requests,
            sessions: 6,
        };
        LifeReport {
            start: moment(0),
            warm: moment(1_000_000),
            end: moment(2_000_000),
            open_sessions: 8,
            exit_code: Some(0),
            ..LifeReport::default()
        }
    }

    #[test]
    fn what_is_left_behind_is_found() {
        assert_eq!(life().faults(), [""; 0]);
        let changes: [fn(&mut LifeReport); 9] = [
            |life| life.open_sessions += 1,
            |life| life.left_open = 1,
            |life| life.end.resources.threads += MORE_THREADS + 1,
            |life| life.end.resources.descriptors += MORE_DESCRIPTORS + 1,
            |life| life.end.resources.resident += GROWTH + GROWTH_PER_MILLION + 1,
            |life| life.panics = 1,
            |life| life.violations.push("nonce-reuse 1".to_owned()),
            |life| life.lines_lost = 1.0,
            |life| life.exit_code = None,
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut life = life();
            change(&mut life);
            assert_eq!(life.faults().len(), 1, "{number}");
        }
    }

    #[test]
    fn more_sessions_need_more_threads() {
        let mut life = life();
        life.end.sessions += 4;
        life.end.resources.threads += 4 + MORE_THREADS;
        life.open_sessions += 4;
        assert_eq!(life.faults(), [""; 0]);
    }
}
