//! Concurrent calls, abandoned calls, calls that fail.

use std::{
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use super::{
    Fixture, Problem,
    ivs::on_threads,
    tools::{Checked, aad, broken, copy, is_plaintext, not_run, request, require, said, text, usual_aad, who},
};
use crate::{
    BackendError, KeyBackend as _,
    aad::AadFraming,
    backend::{BackendErrorKind, DecryptRequest, Encrypted, GetKeyMetadataRequest, Limits},
};

/// How long calls may be refused because of calls that were dropped.
const SETTLING: Duration = Duration::from_secs(10);

/// Each thread with lengths and AAD of its own, and every other one with another key, if there is one.
pub(super) fn calls_in_parallel(fixture: &Fixture) -> Checked {
    on_threads(8, |thread| {
        let key = match &fixture.other {
            Some(other) if thread % 2 == 1 => other,
            _ => &fixture.usable,
        };
        for call in 0..50 {
            let plaintext = text(1 + 64 * call + thread);
            let bound = aad(AadFraming::Spec, Some(&text(10 + thread)))?;
            let encrypted = fixture.encrypt_on(&*fixture.backend, key, &plaintext, bound)?;
            let encrypted =
                encrypted.map_err(|error| broken(format!("not encrypted beside others: {}", said(&error))))?;
            is_plaintext(
                fixture.decrypt(key, encrypted)?,
                &plaintext,
                "what was encrypted beside other calls",
            )?;
        }
        Ok(())
    })
}

pub(super) fn calls_in_one_task(fixture: &Fixture) -> Checked {
    const CALLS: usize = 8;
    let key = fixture.key(&fixture.usable)?;
    let mut to_encrypt: Vec<_> = (0..CALLS)
        .map(|call| Ok(request(&text(20 + call), aad(AadFraming::Spec, Some(&text(call)))?)))
        .collect::<Result<_, Problem>>()?;
    let calls = to_encrypt
        .iter_mut()
        .map(|request| fixture.backend.encrypt(&key, request));
    let outcomes = fixture.wait(all(calls.collect())).ok_or_else(not_run)?;
    let mut to_decrypt = Vec::new();
    for (request, outcome) in to_encrypt.iter().zip(outcomes) {
        let encrypted = outcome.map_err(|error| broken(format!("one of {CALLS} calls failed: {}", said(&error))))?;
        request.check(&encrypted).map_err(broken)?;
        to_decrypt.push(DecryptRequest::new(who(), encrypted));
    }
    let calls = to_decrypt.iter().map(|request| fixture.backend.decrypt(&key, request));
    let outcomes = fixture.wait(all(calls.collect())).ok_or_else(not_run)?;
    outcomes
        .into_iter()
        .zip(&to_encrypt)
        .try_for_each(|(outcome, request)| is_plaintext(outcome, request.plaintext(), "one of several ciphertexts"))
}

/// Waits for several futures in one task.
async fn all<T>(futures: Vec<Pin<Box<dyn Future<Output = T> + Send + '_>>>) -> Vec<T> {
    let mut outcomes: Vec<_> = futures.iter().map(|_| None).collect();
    let mut futures = futures;
    std::future::poll_fn(|context| {
        for (future, outcome) in futures.iter_mut().zip(&mut outcomes) {
            if outcome.is_none()
                && let Poll::Ready(output) = future.as_mut().poll(context)
            {
                *outcome = Some(output);
            }
        }
        if outcomes.iter().all(Option::is_some) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    outcomes.into_iter().flatten().collect()
}

pub(super) fn slow_callers_get_their_answers(fixture: &Fixture) -> Checked {
    let key = fixture.key(&fixture.usable)?;
    for round in 0..5 {
        let mut to_encrypt = request(&text(round), usual_aad()?);
        let outcome = fixture.wait(slowly(fixture.backend.encrypt(&key, &mut to_encrypt)));
        let Some(encrypted) = in_time(outcome.ok_or_else(not_run)?)? else {
            continue;
        };
        to_encrypt.check(&encrypted).map_err(broken)?;
        let to_decrypt = DecryptRequest::new(who(), encrypted);
        let outcome = fixture.wait(slowly(fixture.backend.decrypt(&key, &to_decrypt)));
        if let Some(plaintext) = in_time(outcome.ok_or_else(not_run)?)? {
            is_plaintext(Ok(plaintext), to_encrypt.plaintext(), "what a slow caller encrypted")?;
        }
    }
    Ok(())
}

/// Asks a future once, does something else for a while, and then waits for it.
async fn slowly<T>(mut future: Pin<Box<dyn Future<Output = T> + Send + '_>>) -> T {
    let first = std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
    match first {
        Poll::Ready(output) => output,
        Poll::Pending => {
            thread::sleep(Duration::from_millis(50)); // the caller is slow, and its thread with it
            future.await
        }
    }
}

/// A backend with a deadline may have given up.
fn in_time<T>(outcome: Result<T, BackendError>) -> Result<Option<T>, Problem> {
    match outcome {
        Ok(output) => Ok(Some(output)),
        Err(error) if error.kind() == BackendErrorKind::Timeout => Ok(None),
        Err(error) => Err(broken(format!("a slow caller was told: {}", said(&error)))),
    }
}

pub(super) fn dropped_futures_leak_nothing(fixture: &Fixture) -> Checked {
    let encrypted = fixture.encrypt(b"plaintext", usual_aad()?)?;
    let key = fixture.key(&fixture.usable)?;
    // More than any pool has places; each is dropped after it was asked none, one or two times.
    for round in 0..300 {
        let polls = round % 3;
        let ran = fixture.wait(async {
            let mut to_encrypt = request(&text(round), usual_aad().ok()?);
            poll_and_drop(polls, fixture.backend.encrypt(&key, &mut to_encrypt)).await;
            let to_decrypt = DecryptRequest::new(who(), copy(&encrypted));
            poll_and_drop(polls, fixture.backend.decrypt(&key, &to_decrypt)).await;
            poll_and_drop(
                polls,
                fixture.backend.key_metadata(&key, &GetKeyMetadataRequest::new(who())),
            )
            .await;
            poll_and_drop(polls, fixture.backend.health()).await;
            Some(())
        });
        require(ran.flatten().is_some(), || "`run` did not run the future".into())?;
        if round % 50 == 49 {
            settles(fixture, &encrypted)?;
        }
    }
    let metadata = fixture.key_metadata(&fixture.usable)?;
    metadata.map_err(|error| broken(format!("no metadata after calls were dropped: {}", said(&error))))?;
    for length in 0..20 {
        let encrypted = fixture.encrypt(&text(length), usual_aad()?)?;
        fixture.must_decrypt(&encrypted, &text(length), "what was encrypted after calls were dropped")?;
    }
    Ok(())
}

/// What was begun and forgotten may keep the key manager busy for a while, but not for long.
fn settles(fixture: &Fixture, encrypted: &Encrypted) -> Checked {
    let start = Instant::now();
    loop {
        match fixture.decrypt(&fixture.usable, copy(encrypted))? {
            Err(error) if error.kind() == BackendErrorKind::Throttled && start.elapsed() < SETTLING => {
                thread::sleep(Duration::from_millis(10));
            }
            outcome => return is_plaintext(outcome, b"plaintext", "a good ciphertext, after calls were dropped,"),
        }
    }
}

/// Asks a future a few times whether it has ended, and drops it.
async fn poll_and_drop<T>(polls: usize, future: impl Future<Output = T>) {
    let mut future = pin!(future);
    for _ in 0..polls {
        // Within the runtime, if there is one; with a waker that does nothing, since no task waits.
        let is_ready = std::future::poll_fn(|_| {
            let mut nobody = Context::from_waker(Waker::noop());
            Poll::Ready(future.as_mut().poll(&mut nobody).is_ready())
        });
        if is_ready.await {
            return;
        }
    }
}

pub(super) fn limits_are_the_specifications(fixture: &Fixture) -> Checked {
    let (limits, least) = (fixture.backend.limits(), Limits::default());
    if limits.plaintext < least.plaintext {
        return Err(broken(format!(
            "it takes {} bytes of plaintext at the most",
            limits.plaintext
        )));
    }
    require(limits.aad >= least.aad, || {
        format!("it takes {} bytes of AAD at the most", limits.aad)
    })
}
