//! Cases of load: many requests at once, and the proxy is still there at the end.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::round_trip::round_trip;
use crate::check::{
    body::{self, Operation, field},
    case::{Case, Judged as _, Passed, Stop},
    half_sent::HalfSent,
    subject::{Subject, random},
};
use crate::wire::{CallError, Endpoint, Http};

/// What the times under load are called in the report, which are not those of one request at a time.
const LOAD: &str = "under load";

pub(super) fn under_load() -> Vec<Case> {
    vec![
        Case::must("load/round-trips", &["ENC-2", "DEC-1"])
            .sends("round trips in parallel for --load seconds, with half-sent requests open beside them")
            .expects("200 or 429 for every request, and every plaintext unchanged")
            .means("under load, data is lost or callers of KMS see failures")
            .steps(load),
        Case::should("latency/within-250-ms", &["TRN-8"])
            .sends("all of the above")
            .expects("every 200 within 250 ms, but for those under load")
            .means("KMS times out after 250 ms: a later response is not used")
            .steps(|subject| async move {
                let watch = subject.watch();
                let alone = watch.times.iter().filter(|(operation, _)| **operation != LOAD);
                let all: Vec<_> = alone.flat_map(|(_, times)| times).collect();
                let late = all.iter().filter(|time| ***time > Endpoint::TIMEOUT).count();
                match all.iter().max() {
                    None => Err(Stop::not_tried("no response with status 200")),
                    Some(max) if late > 0 => Err(Stop::failed(format!(
                        "{late} of {} later, up to {} ms",
                        all.len(),
                        max.as_millis()
                    ))),
                    Some(max) => Ok(Some(format!(
                        "{} responses, the slowest in {} ms",
                        all.len(),
                        max.as_millis()
                    ))),
                }
            }),
        Case::should("clock/agrees", &["SIG-5"])
            .sends("all of the above")
            .expects("a Date within 60 seconds of this machine's clock")
            .means(
                "a clock that is wrong by more than 5 minutes makes every request fail; check this machine's clock \
                 too",
            )
            .steps(|subject| async move {
                match subject.watch().skew() {
                    None => Err(Stop::not_tried("the responses have no Date header")),
                    Some(skew) if skew.abs() > 60.0 => Err(Stop::failed(format!("{skew:+.1} s"))),
                    Some(skew) => Ok(Some(format!("{skew:+.1} s"))),
                }
            }),
    ]
}

pub(super) fn half_sent() -> Vec<Case> {
    vec![
        Case::note("half-sent/closed", &["TRN-8"])
            .sends("half a request head on one connection, half a body on another, at the beginning of the run")
            .expects("the proxy closes both")
            .means("an attacker can use up the proxy's connections")
            .only_over(Http::One)
            .steps(|subject| async move {
                if subject.setup().half_sent == Duration::ZERO {
                    return Err(Stop::not_tried("--half-sent is 0"));
                }
                let half_sent = subject.half_sent().take();
                match half_sent {
                    Some(half_sent) => half_sent.ended().await,
                    None => HalfSent::open(&subject).ended().await,
                }
            }),
    ]
}

pub(super) fn at_the_end() -> Vec<Case> {
    vec![
        Case::must("alive/at-the-end", &["TRN-1"])
            .sends("GetKeyMetadata, after all of the above")
            .expects("200")
            .means("a request crashed the proxy: no key of its key stores can be used")
            .steps(|subject| async move {
                // Over a connection of its own, whatever became of the others.
                let body = body::plain(subject.setup(), Operation::Metadata);
                let request = subject.request(&Operation::Metadata.path(subject.key()), &body)?;
                let mut connection = subject.endpoint().connect().await?;
                let answer = connection.send(&request).await;
                subject.seen(&request, answer)?.is_served(&subject)
            }),
    ]
}

/// What came of all requests of all workers.
#[derive(Default)]
struct Tally {
    times: Vec<Duration>,
    wrong: usize,
    throttled: usize,
    /// The number of failures by their description.
    failures: BTreeMap<String, usize>,
}

async fn load(subject: Subject) -> Passed {
    let time = subject.setup().load;
    if time == Duration::ZERO {
        return Err(Stop::not_tried("--load is not given"));
    }
    let key = subject.key().to_owned();
    round_trip(&subject, &key, 64, Some(32), true).await?;
    let beside = HalfSent::open(&subject);
    let until = Instant::now() + time;
    let workers: Vec<_> = (0..subject.setup().connections.max(1))
        .map(|_| tokio::spawn(work(subject.clone(), until)))
        .collect();
    let mut all = Tally::default();
    for worker in workers {
        let tally = worker.await.map_err(|error| Stop::failed(error.to_string()))?;
        all.times.extend(tally.times);
        all.wrong += tally.wrong;
        all.throttled += tally.throttled;
        for (failure, times) in tally.failures {
            *all.failures.entry(failure).or_default() += times;
        }
    }
    drop(beside);
    subject.watch().times.insert(LOAD, all.times.clone());
    all.times.sort_unstable();
    let at = |share: usize| {
        all.times
            .get(all.times.len() * share / 100)
            .copied()
            .unwrap_or_default()
            .as_millis()
    };
    let (count, throttled) = (all.times.len(), all.throttled);
    let rate = count as u64 / time.as_secs().max(1);
    let told = format!(
        "{count} responses, {rate} a second, p50 {} ms, p99 {} ms, 429: {throttled}",
        at(50),
        at(99)
    );
    if all.wrong > 0 {
        return Err(Stop::failed(format!("{} wrong plaintexts; {told}", all.wrong)));
    }
    match all.failures.iter().max_by_key(|(_, times)| **times) {
        Some((failure, _)) => {
            let failures: usize = all.failures.values().sum();
            Err(Stop::failed(format!("{failures} failures, such as {failure}; {told}")))
        }
        None if count == 0 => Err(Stop::failed("no response with status 200")),
        None => Ok(Some(told)),
    }
}

async fn work(subject: Subject, until: Instant) -> Tally {
    let mut tally = Tally::default();
    while Instant::now() < until {
        let (plaintext, aad) = (random(64), random(32));
        let body = body::encrypt(subject.setup(), &plaintext, Some(&aad), true);
        let Some(encrypted) = call(&subject, &mut tally, Operation::Encrypt, body).await else {
            continue;
        };
        let Ok(sealed) = body::Sealed::from_answer(&encrypted, Some(&aad)) else {
            *tally
                .failures
                .entry("a response without a ciphertext".into())
                .or_default() += 1;
            continue;
        };
        let body = sealed.body(subject.setup());
        let Some(decrypted) = call(&subject, &mut tally, Operation::Decrypt, body).await else {
            continue;
        };
        if field(&decrypted, "plaintext") != Ok(Some(plaintext)) {
            tally.wrong += 1;
        }
    }
    tally
}

/// The answer with 200.
async fn call(
    subject: &Subject,
    tally: &mut Tally,
    operation: Operation,
    body: serde_json::Value,
) -> Option<serde_json::Value> {
    let request = subject.request(&operation.path(subject.key()), &body).ok()?;
    match subject.call(&request).await {
        Ok(answer) if answer.status == 200 => {
            tally.times.push(answer.took);
            answer.json()
        }
        Ok(answer) if answer.status == 429 => {
            tally.throttled += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
            None
        }
        failed => {
            let what = match failed {
                Ok(answer) => subject.describe(&answer),
                Err(CallError::Timeout(_)) => "no response within the timeout".into(),
                Err(error) => error.to_string(),
            };
            *tally.failures.entry(what).or_default() += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
            None
        }
    }
}
