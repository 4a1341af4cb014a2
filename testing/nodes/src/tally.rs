//! What has been counted.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use crate::judge::{Answer, Command, Judgement, Request, Returned, Violation};

/// How many of each kind of fault are described.
const DESCRIBED: usize = 20;

/// The counts of a run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// By the fault that was there.
    pub(crate) by_fault: BTreeMap<&'static str, Counts>,
    pub(crate) violations: u64,
    pub(crate) unexplained: u64,
    pub(crate) not_recovered: u64,
    pub(crate) others: u64,
    /// For how long the machine was too busy for the nodes.
    pub(crate) starved: Duration,
    /// Why commands have failed: the problems' codes.
    pub(crate) failures: BTreeMap<String, u64>,
    /// The first of what is wrong, for a person.
    pub(crate) described: Vec<String>,
}

/// The counts while a kind of fault was there.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// How often the fault was there.
    pub(crate) faults: u64,
    pub(crate) requests: BTreeMap<&'static str, u64>,
    /// Answers after a confirmation that a subject is closed, and that it is open.
    pub(crate) judged_closed: u64,
    pub(crate) judged_open: u64,
    pub(crate) not_judged: u64,
    pub(crate) commands: BTreeMap<Returned, u64>,
    /// Of commands that were confirmed: those that close.
    pub(crate) closed_in: Vec<Duration>,
    /// From the end of the fault until a node served again.
    pub(crate) recovered_in: Vec<Duration>,
}

/// The name of an answer.
const fn name(answer: &Answer) -> &'static str {
    match answer {
        Answer::Served => "served",
        Answer::Refused => "refused",
        Answer::Unleased => "no lease",
        Answer::NoConnection => "no connection",
        Answer::Silence => "no answer",
        Answer::Wrong(_) => "wrong",
    }
}

impl Tally {
    pub(crate) fn begin(&mut self, label: &'static str) {
        self.of(label).faults += 1;
    }

    fn of(&mut self, label: &'static str) -> &mut Counts {
        self.by_fault.entry(label).or_default()
    }

    pub(crate) fn command(&mut self, label: &'static str, command: Command, returned: Returned, took: Duration) {
        let counts = self.of(label);
        *counts.commands.entry(returned).or_default() += 1;
        if (command, returned) == (Command::Close, Returned::Confirmed) {
            counts.closed_in.push(took);
        }
    }

    pub(crate) fn request(&mut self, label: &'static str, request: &Request, judgement: Judgement, what: &str) {
        let counts = self.of(label);
        *counts.requests.entry(name(&request.answer)).or_default() += 1;
        match judgement {
            Judgement::NotJudged => counts.not_judged += 1,
            Judgement::Right(Command::Close) | Judgement::Violation(Violation::ServedClosed, _) => {
                counts.judged_closed += 1;
            }
            Judgement::Right(Command::Open) | Judgement::Violation(Violation::RefusedOpen, _) => {
                counts.judged_open += 1;
            }
        }
        if let Judgement::Violation(violation, late) = judgement {
            self.violations += 1;
            let how = match violation {
                Violation::ServedClosed => "served, and confirmed to be closed",
                Violation::RefusedOpen => "refused, and confirmed to be open",
            };
            let (node, start) = (request.node, request.start.as_secs_f64());
            self.describe(format!(
                "violation: node {node}, {what}: {how} {late:.1?} before the request started at {start:.4} s ({label})"
            ));
        }
    }

    pub(crate) fn unexplained(&mut self, label: &'static str, request: &Request, what: &str) {
        self.unexplained += 1;
        let (node, start, end) = (request.node, request.start.as_secs_f64(), request.end.as_secs_f64());
        let answer = match &request.answer {
            Answer::Wrong(why) => why,
            other => name(other),
        };
        self.describe(format!(
            "node {node}, {what}, {start:.4} to {end:.4} s ({label}): {answer}, which no fault explains"
        ));
    }

    /// How long after a fault a node has served again.
    pub(crate) fn recovered(
        &mut self,
        label: &'static str,
        node: usize,
        recovery: Option<Duration>,
        patience: Duration,
    ) {
        match recovery {
            Some(took) => self.of(label).recovered_in.push(took),
            None => {
                self.not_recovered += 1;
                self.describe(format!("node {node} does not serve {patience:?} after: {label}"));
            }
        }
    }

    /// A command has failed, with this problem.
    pub(crate) fn failed(&mut self, problem: &Value) {
        let code = problem.get("code").and_then(Value::as_str).unwrap_or("no code");
        *self.failures.entry(code.to_owned()).or_default() += 1;
    }

    /// Something else that must not be.
    pub(crate) fn other(&mut self, what: String) {
        self.others += 1;
        self.describe(what);
    }

    fn describe(&mut self, what: String) {
        if self.described.len() < DESCRIBED {
            self.described.push(what);
        }
    }

    /// Whether nothing was wrong.
    pub(crate) const fn is_right(&self) -> bool {
        self.violations == 0 && self.unexplained == 0 && self.not_recovered == 0 && self.others == 0
    }

    /// How many faults there were.
    pub(crate) fn faults(&self) -> u64 {
        self.by_fault.values().map(|counts| counts.faults).sum()
    }
}
