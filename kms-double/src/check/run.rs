//! Runs the cases, one after the other.

use std::time::{Duration, Instant, SystemTime};

use thiserror::Error;
use tokio::time::timeout;

use super::{
    case::{Case, Outcome, Passed, Stop},
    cases,
    greeting::greeting,
    half_sent::HalfSent,
    preflight::{Refusal, preflight},
    report::{Latency, Report, Tried},
    setup::Setup,
    subject::{Subject, endpoint, printable},
    watch::Watch,
};
use crate::wire::{CallError, Client, EndpointError, Http};

/// No case takes longer, whatever the proxy does; the load has its own time on top.
const CASE_LIMIT: Duration = Duration::from_secs(120);

/// Why there is no report.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CannotRun {
    /// The settings make no sense.
    #[error(transparent)]
    Setup(#[from] EndpointError),
    /// No key was given.
    #[error("no key is given: set --key")]
    NoKey,
    /// Nobody answers.
    #[error("{0}")]
    Unreachable(CallError),
    /// The proxy refuses the setup.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No case has such a name.
    #[error("no case name or requirement begins with {0:?}: --list shows the cases")]
    NoCase(String),
}

/// Tries all cases, or those that were asked for, and says what came.
///
/// Takes seconds with a proxy that answers, and comes to an end with any. Needs a tokio runtime.
///
/// # Errors
/// No proxy answers, the proxy refuses the setup, or the setup is of no use.
pub async fn run(setup: &Setup) -> Result<Report, CannotRun> {
    if setup.keys.is_empty() {
        return Err(CannotRun::NoKey);
    }
    let cases = chosen(setup)?;
    let (started, start) = (SystemTime::now(), Instant::now());
    let mut report = Report::new(setup, started);
    for http in &setup.http {
        let endpoint = endpoint(setup, *http).build()?;
        match greeting(&endpoint).await {
            // Silence is not another version of HTTP: it is the cases' to report.
            Ok(()) | Err(CallError::Timeout(_)) => {}
            Err(error) if report.cases.is_empty() => return Err(CannotRun::Unreachable(error)),
            // Another version of HTTP went well: that this one does not is a case's to say.
            Err(error) => {
                let reason = format!("this HTTP version is not available: {error}");
                let cases = cases.iter().filter(|case| case.only.is_none_or(|only| only == *http));
                report
                    .cases
                    .extend(cases.map(|case| told(case, *http, Err(Stop::not_tried(&*reason)), Duration::ZERO)));
                continue;
            }
        }
        let subject = Subject::new(setup.clone(), Client::new(endpoint));
        match preflight(&subject).await {
            Ok(baseline) => subject.set_baseline(baseline),
            Err(refusal) if report.cases.is_empty() => return Err(refusal.into()),
            // Over another version of HTTP the setup was taken: that it is not over this one is the cases' to
            // say.
            Err(_) => {}
        }
        if *http == Http::One
            && setup.half_sent > Duration::ZERO
            && cases.iter().any(|case| case.name == "half-sent/closed")
        {
            *subject.half_sent() = Some(HalfSent::open(&subject));
        }
        for case in cases.iter().filter(|case| case.only.is_none_or(|only| only == *http)) {
            let tried = tried(case, &subject, *http).await;
            report.push(tried, subject.due_to());
        }
        let watch = subject.watch();
        add_latencies(&mut report, &watch);
        report.clock_skew_seconds = watch.skew().or(report.clock_skew_seconds);
    }
    report.took_ms = millis(start.elapsed());
    report.count();
    Ok(report)
}

/// The cases that were asked for, by the beginning of their names or by a requirement's id.
pub(super) fn chosen(setup: &Setup) -> Result<Vec<Case>, CannotRun> {
    let all = cases::all(setup);
    let is_meant = |case: &Case, wanted: &String| case.name.starts_with(&**wanted) || case.ids.contains(&&**wanted);
    if let Some(nothing) = setup
        .only
        .iter()
        .find(|wanted| !all.iter().any(|case| is_meant(case, wanted)))
    {
        return Err(CannotRun::NoCase(nothing.clone()));
    }
    let is_chosen = |case: &Case| setup.only.is_empty() || setup.only.iter().any(|wanted| is_meant(case, wanted));
    Ok(all.into_iter().filter(is_chosen).collect())
}

async fn tried(case: &Case, subject: &Subject, http: Http) -> Tried {
    let start = Instant::now();
    let limit = CASE_LIMIT + subject.setup().load + subject.setup().half_sent;
    let came: Passed = match subject.is_alive() {
        // The last case asks once more.
        Err(stop) if case.name != "alive/at-the-end" => Err(stop),
        _ if case.is_destructive && !subject.setup().is_destructive => {
            Err(Stop::not_tried("it may crash a weak proxy: --destructive sends it"))
        }
        _ => timeout(limit, (case.probe)(subject.clone()))
            .await
            .unwrap_or_else(|_| Err(Stop::failed(format!("no result after {} s", limit.as_secs())))),
    };
    told(case, http, came, start.elapsed())
}

fn told(case: &Case, http: Http, came: Passed, took: Duration) -> Tried {
    let mut means = case.means;
    let (outcome, came) = match came {
        Ok(found) => (Outcome::Pass, found.unwrap_or_default()),
        Err(Stop::Failed(came)) => (case.missed(), came),
        Err(Stop::Otherwise(came, instead)) => {
            means = instead;
            (case.missed(), came)
        }
        Err(Stop::NotTried(reason)) => (Outcome::NotTried, reason),
    };
    Tried {
        name: case.name.clone().into_owned(),
        http,
        requirements: case.ids,
        level: case.level,
        outcome,
        sent: case.sent.clone().into_owned(),
        expected: case.expected.clone().into_owned(),
        came: printable(&came, 400),
        means,
        follows_from: None,
        took_ms: millis(took),
    }
}

fn add_latencies(report: &mut Report, watch: &Watch) {
    for (operation, times) in &watch.times {
        report.times.entry((*operation).to_owned()).or_default().extend(times);
    }
    let latencies = report
        .times
        .iter()
        .map(|(operation, times)| (operation.clone(), Latency::of(times)));
    report.latency = latencies.collect();
}

pub(super) fn millis(time: Duration) -> f64 {
    // Microseconds are more than a report needs.
    (time.as_secs_f64() * 1e6).round() / 1e3
}
