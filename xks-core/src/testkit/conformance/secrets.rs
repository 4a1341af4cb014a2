//! Neither ciphertexts nor errors nor logs tell what only the caller may know.

use std::{
    collections::HashSet,
    error::Error,
    fmt::{Debug, Write as _},
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

use super::{
    Fixture, Problem,
    tools::{Altered, Checked, broken, copy, flipped, require, text, usual_aad},
};
use crate::BackendError;

/// A plaintext to be looked for in errors and logs: no eight bytes of it are in any honest text.
const SECRET: &[u8] = b"q7Zk-2vXw-9Jb4-Hn8T-f3Ym-6Rc1-Ld5G-p0Ss";

/// By the keystream, which must differ from block to block, and from call to call: else two plaintexts tell
/// each other.
pub(super) fn ciphertexts_hide_the_plaintext(fixture: &Fixture) -> Checked {
    let (mut stream, mut tags) = (HashSet::new(), Vec::new());
    for length in (32..96).chain([4300]) {
        let plaintext = text(length);
        let encrypted = fixture.encrypt(&plaintext, usual_aad()?)?;
        let blocks = plaintext.chunks_exact(16).zip(encrypted.ciphertext().chunks_exact(16));
        for (number, (plain, hidden)) in blocks.enumerate() {
            let block: Vec<_> = plain.iter().zip(hidden).map(|(plain, hidden)| plain ^ hidden).collect();
            require(block.iter().any(|byte| *byte != 0), || {
                format!("block {number} of {length} bytes is not encrypted")
            })?;
            require(stream.insert(block), || {
                format!(
                    "block {number} of {length} bytes was encrypted as another block was: the keystream comes again"
                )
            })?;
        }
        tags.push(*encrypted.tag().as_bytes());
    }
    for place in 0..16 {
        let values: HashSet<_> = tags.iter().filter_map(|tag| tag.get(place)).collect();
        require(values.len() > 1, || {
            format!("byte {place} of the tag is always the same: the tag is shorter than 16 bytes")
        })?;
    }
    Ok(())
}

pub(super) fn failures_tell_no_plaintext(fixture: &Fixture) -> Checked {
    let too_long = SECRET.repeat(1 + fixture.backend.limits().plaintext.min(1 << 20) / SECRET.len());
    let mut errors = Vec::new();
    let encrypt = |key: &str, plaintext: &[u8]| fixture.encrypt_on(&*fixture.backend, key, plaintext, usual_aad()?);
    errors.extend(encrypt(&fixture.missing, SECRET)?.err());
    // The core keeps it from the backend; it must be safe all the same.
    errors.extend(encrypt(&fixture.usable, &too_long)?.err());
    for key in [&fixture.decrypt_only, &fixture.disabled].into_iter().flatten() {
        errors.extend(encrypt(key, SECRET)?.err());
    }
    let encrypted = fixture.encrypt(SECRET, usual_aad()?)?;
    for altered in [
        Altered(&encrypted).tag([0; 16].into()),
        Altered(&encrypted).ciphertext(flipped(encrypted.ciphertext(), SECRET.len() * 8 - 1)),
    ] {
        errors.extend(fixture.decrypt(&fixture.usable, altered)?.err());
    }
    if let Some(key) = &fixture.encrypt_only
        && let Ok(encrypted) = encrypt(key, SECRET)?
    {
        errors.extend(fixture.decrypt(key, encrypted)?.err());
    }
    errors.iter().try_for_each(|error| tells_nothing(fixture, error))
}

pub(super) fn outages_tell_no_plaintext(fixture: &Fixture) -> Checked {
    let break_down = fixture
        .break_down
        .as_ref()
        .ok_or(Problem::NotTried("way to break the key manager"))?;
    break_down();
    // The first failures may be others than the later ones.
    for _ in 0..20 {
        let outcome = fixture.encrypt_on(&*fixture.backend, &fixture.usable, SECRET, usual_aad()?)?;
        outcome.map_or_else(|error| tells_nothing(fixture, &error), |_| Ok(()))?;
    }
    Ok(())
}

fn tells_nothing(fixture: &Fixture, error: &BackendError) -> Checked {
    let mut said = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(error) = source {
        said.push_str(&format!(" {error} {error:?}"));
        source = error.source();
    }
    holds_no_secret(fixture, &said, "an error")
}

/// On the threads that call, where the backend itself runs; not on threads of its own.
pub(super) fn logs_tell_no_plaintext(fixture: &Fixture) -> Checked {
    let log = Log::default();
    tracing::subscriber::with_default(log.clone(), || {
        let encrypted = fixture.encrypt(SECRET, usual_aad()?)?;
        fixture.must_decrypt(&encrypted, SECRET, "what was encrypted while the log was watched")?;
        let altered = Altered(&encrypted).tag([0; 16].into());
        drop(fixture.decrypt(&fixture.usable, altered)?);
        drop(fixture.decrypt(&fixture.missing, copy(&encrypted))?);
        drop(fixture.encrypt_on(&*fixture.backend, &fixture.missing, SECRET, usual_aad()?)?);
        Ok(())
    })?;
    holds_no_secret(fixture, &log.said(), "the log")
}

fn holds_no_secret(fixture: &Fixture, said: &str, place: &str) -> Checked {
    let said = said.to_ascii_lowercase();
    if holds(&said, SECRET) {
        return Err(broken(format!("{place} holds some of the plaintext")));
    }
    let value = fixture.value.as_ref();
    require(!value.is_some_and(|value| holds(&said, &**value)), || {
        format!("{place} holds some of the key's value")
    })
}

/// Whether eight bytes of a secret in a row are there, as text, as digits or in Base64. `said` is in lower
/// case.
pub(super) fn holds(said: &str, secret: &[u8]) -> bool {
    let has_part = secret.windows(8).any(|part| {
        let hex: Vec<_> = part.iter().map(|byte| format!("{byte:02x}")).collect();
        let numbers: Vec<_> = part.iter().map(u8::to_string).collect();
        let as_text = String::from_utf8_lossy(part).to_ascii_lowercase();
        [
            as_text,
            hex.concat(),
            hex.join(", "),
            hex.join(":"),
            hex.join(" "),
            numbers.join(", "),
        ]
        .iter()
        .any(|form| said.contains(form))
    });
    let base64 = BASE64_STANDARD.encode(secret).to_ascii_lowercase();
    has_part || base64.get(..12).is_some_and(|start| said.contains(start))
}

/// Keeps all that is logged, at every level.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<String>>);

impl Log {
    pub(super) fn said(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Visit for Log {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = write!(text, " {field}={value:?}"); // a String takes everything
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut self.clone());
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
