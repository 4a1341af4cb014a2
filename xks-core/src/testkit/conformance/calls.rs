//! Calls at once, calls that nobody waits for any more, calls that fail.

use std::{
    error::Error,
    pin::pin,
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{
    Fixture,
    ivs::on_threads,
    tools::{Altered, Checked, broken, copy, flipped, request, require, said, text, usual_aad},
};
use crate::{BackendError, BackendErrorKind, DecryptRequest, Encrypted, Limits, RequestMetadata};

/// How long calls may be refused because of calls that were dropped.
const SETTLING: Duration = Duration::from_secs(10);

pub(super) fn calls_in_parallel(fixture: &Fixture) -> Checked {
    on_threads(8, |thread| {
        for call in 0..50 {
            let plaintext = text(1 + 64 * call + thread);
            let encrypted = fixture.encrypt(&plaintext, usual_aad()?)?;
            fixture.must_decrypt(&encrypted, &plaintext, "what was encrypted beside other calls")?;
        }
        Ok(())
    })
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
            let to_decrypt = DecryptRequest::new(RequestMetadata::default(), copy(&encrypted));
            poll_and_drop(polls, fixture.backend.decrypt(&key, &to_decrypt)).await;
            poll_and_drop(polls, fixture.backend.health()).await;
            Some(())
        });
        require(ran.flatten().is_some(), || "`run` did not run the future".into())?;
        if round % 50 == 49 {
            settles(fixture, &encrypted)?;
        }
    }
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
            Ok(plaintext) if *plaintext == b"plaintext" => return Ok(()),
            Ok(_) => {
                return Err(broken(
                    "a good ciphertext decrypted to another plaintext, after calls were dropped",
                ));
            }
            Err(error) => {
                let how = format!(
                    "a good ciphertext did not decrypt after calls were dropped: {}",
                    said(&error)
                );
                return Err(broken(how));
            }
        }
    }
}

/// Asks a future a few times whether it has ended, and drops it.
async fn poll_and_drop<T>(polls: usize, future: impl Future<Output = T>) {
    let mut future = pin!(future);
    for _ in 0..polls {
        // Within the runtime, if there is one; with a waker that wakes nobody, since nobody waits.
        let is_ready = std::future::poll_fn(|_| {
            let mut nobody = Context::from_waker(Waker::noop());
            Poll::Ready(future.as_mut().poll(&mut nobody).is_ready())
        });
        if is_ready.await {
            return;
        }
    }
}

pub(super) fn failures_tell_no_plaintext(fixture: &Fixture) -> Checked {
    let plaintext = b"nobody may read this in a log, never";
    let too_long = plaintext.repeat(1 + fixture.backend.limits().plaintext / plaintext.len());
    let mut errors = Vec::new();
    let missing = fixture.encrypt_on(&*fixture.backend, &fixture.missing, plaintext, usual_aad()?)?;
    errors.extend(missing.err());
    // The core keeps it from the backend; it must be safe all the same.
    errors.extend(
        fixture
            .encrypt_on(&*fixture.backend, &fixture.usable, &too_long, usual_aad()?)?
            .err(),
    );
    for key in [&fixture.decrypt_only, &fixture.disabled].into_iter().flatten() {
        errors.extend(
            fixture
                .encrypt_on(&*fixture.backend, key, plaintext, usual_aad()?)?
                .err(),
        );
    }
    let encrypted = fixture.encrypt(plaintext, usual_aad()?)?;
    let last_bit = plaintext.len() * 8 - 1;
    for altered in [
        Altered(&encrypted).tag([0; 16].into()),
        Altered(&encrypted).ciphertext(flipped(encrypted.ciphertext(), last_bit)),
    ] {
        errors.extend(fixture.decrypt(&fixture.usable, altered)?.err());
    }
    if let Some(key) = &fixture.encrypt_only {
        let encrypted = fixture.encrypt_on(&*fixture.backend, key, plaintext, usual_aad()?)?;
        if let Ok(encrypted) = encrypted {
            errors.extend(fixture.decrypt(key, encrypted)?.err());
        }
    }
    errors.iter().try_for_each(|error| tells_nothing(error, plaintext))
}

/// Eight bytes of the plaintext in a row, as text, as hexadecimal digits, as a list of numbers or in Base64, are too much.
fn tells_nothing(error: &BackendError, plaintext: &[u8]) -> Checked {
    let mut said = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(error) = source {
        said.push_str(&format!(" {error} {error:?}"));
        source = error.source();
    }
    let said = said.to_ascii_lowercase();
    for part in plaintext.windows(8) {
        let hex: String = part.iter().map(|byte| format!("{byte:02x}")).collect();
        let numbers = format!("{part:?}");
        let tells = [
            String::from_utf8_lossy(part).to_ascii_lowercase(),
            hex,
            numbers.trim_matches(['[', ']']).to_owned(),
        ]
        .iter()
        .any(|form| said.contains(form));
        require(!tells, || "an error holds some of the plaintext".into())?;
    }
    let base64 = BASE64_STANDARD.encode(plaintext).to_ascii_lowercase();
    let holds_base64 = base64.get(..12).is_some_and(|start| said.contains(start));
    require(!holds_base64, || "an error holds the plaintext in Base64".into())
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
