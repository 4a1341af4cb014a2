//! A client at work: one request after the other, mostly good ones.

use std::{
    ops::ControlFlow,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use kms_double::wire::Http;
use tokio::time::sleep;

use crate::{
    caller::{Caller, Mishap},
    hostile::Hostility,
    rules::{Failure, Operation, Subject},
    settings::KEYS,
    shared::Shared,
    vault::Kept,
};

/// The longest pause between two requests.
const PAUSE_MICROS: u64 = 4000;

pub(crate) struct Client {
    number: usize,
    caller: Caller,
}

impl Client {
    pub(crate) fn new(shared: &Arc<Shared>, number: usize, seed: u64, http: Http) -> Self {
        Self {
            number,
            caller: Caller::new(Arc::clone(shared), seed, http),
        }
    }

    /// Until it has to stop.
    pub(crate) async fn work(mut self) {
        while !self.caller.shared.has_to_stop.load(Ordering::SeqCst) {
            let turn = self.turn().await;
            self.caller.shared.end_turn(self.number);
            let pause = match turn {
                ControlFlow::Continue(()) => Duration::from_micros(self.caller.rng.u64(..PAUSE_MICROS)),
                // Nobody is there at the moment.
                ControlFlow::Break(()) => Duration::from_millis(50),
            };
            sleep(pause).await;
        }
    }

    async fn turn(&mut self) -> ControlFlow<()> {
        if self.caller.rng.u8(..) == 0 {
            self.caller.hang_up();
        }
        let is_flipping = self.caller.shared.is_flipping.load(Ordering::SeqCst);
        match self.caller.rng.u16(0..1000) {
            0..350 => self.encrypt(is_flipping).await,
            350..420 => self.metadata().await,
            420..440 => self.health().await,
            440..450 => self.ping().await,
            450..455 => self.scrape().await,
            455..530 => self.hostile().await,
            // A flipped bit of a decryption is a plaintext that cannot be distinguished from the right one.
            _ if is_flipping => self.encrypt(true).await,
            530..570 => self.decrypt_changed().await,
            570..850 => self.decrypt(false).await,
            _ => self.decrypt(true).await,
        }
    }

    fn key(&mut self) -> (&'static str, usize) {
        let fallback = ("alpha-1", 0);
        self.caller.rng.choice(KEYS).unwrap_or(fallback)
    }

    async fn encrypt(&mut self, has_to_want_integrity: bool) -> ControlFlow<()> {
        let (key, store) = self.key();
        let wants_integrity = has_to_want_integrity || self.caller.rng.bool();
        let first = self.caller.shared.phases.now();
        let outcome = self.caller.encrypt(store, key, wants_integrity).await;
        let took = outcome.as_ref().ok().map(|(_, took)| *took);
        self.caller.count(first, Operation::Encrypt, took);
        let (kept, _) = self.done(first, Operation::Encrypt, key, outcome)?;
        let Caller { shared, rng, .. } = &mut self.caller;
        shared.vault().keep(kept, rng);
        ControlFlow::Continue(())
    }

    fn kept(&mut self, is_old: bool) -> ControlFlow<(), Kept> {
        let Caller { shared, rng, .. } = &mut self.caller;
        match shared.vault().choose(rng, is_old) {
            Some(kept) => ControlFlow::Continue(kept),
            None => ControlFlow::Break(()),
        }
    }

    async fn decrypt(&mut self, is_old: bool) -> ControlFlow<()> {
        // It begins before a ciphertext is chosen, whose key may be destroyed meanwhile.
        let first = self.caller.shared.phases.now();
        let kept = self.kept(is_old)?;
        let outcome = self.caller.decrypt(&kept).await;
        self.caller
            .count(first, Operation::Decrypt, outcome.as_ref().ok().copied());
        self.done(first, Operation::Decrypt, kept.key, outcome)?;
        ControlFlow::Continue(())
    }

    /// DEC-3: a ciphertext with one bit changed.
    async fn decrypt_changed(&mut self) -> ControlFlow<()> {
        let first = self.caller.shared.phases.now();
        let kept = self.kept(false)?;
        let mut sealed = kept.sealed;
        let place = self.caller.rng.u8(0..5);
        let changed = match (place, sealed.aad.as_mut()) {
            (0, Some(aad)) if !aad.is_empty() => aad,
            (1, _) if !sealed.metadata.is_empty() => &mut sealed.metadata,
            (2, _) if !sealed.ciphertext.is_empty() => &mut sealed.ciphertext,
            (3, _) => &mut sealed.iv,
            _ => &mut sealed.tag,
        };
        let bit = self.caller.rng.usize(..changed.len() * 8);
        if let Some(byte) = changed.get_mut(bit / 8) {
            *byte ^= 1 << (bit % 8);
        }
        let body = self.caller.decryption(&sealed);
        let path = format!("keys/{}/decrypt", kept.key);
        let outcome = self.caller.call(kept.store, &path, &body).await;
        self.caller.count(first, Operation::DecryptChanged, None);
        match outcome {
            Err(Mishap::Error(name)) if name == "InvalidCiphertextException" => {
                self.refused("a changed ciphertext", name);
                ControlFlow::Continue(())
            }
            Ok(_) => {
                self.caller
                    .wrong(&format!("a changed ciphertext was decrypted with {}", kept.key));
                ControlFlow::Continue(())
            }
            Err(mishap) => self.done(first, Operation::DecryptChanged, kept.key, Err(mishap)),
        }
    }

    async fn metadata(&mut self) -> ControlFlow<()> {
        let (key, store) = self.key();
        let first = self.caller.shared.phases.now();
        let outcome = self.caller.key_metadata(store, key).await;
        self.caller
            .count(first, Operation::Metadata, outcome.as_ref().ok().copied());
        self.done(first, Operation::Metadata, key, outcome)?;
        ControlFlow::Continue(())
    }

    async fn health(&mut self) -> ControlFlow<()> {
        let (_, store) = self.key();
        let first = self.caller.shared.phases.now();
        let outcome = self.caller.health(store).await;
        let took = outcome.as_ref().ok().map(|(_, took)| *took);
        self.caller.count(first, Operation::Health, took);
        let (works, _) = self.done(first, Operation::Health, "", outcome)?;
        if !works {
            self.unready(first, Operation::Health, "the token is UNAVAILABLE");
        }
        ControlFlow::Continue(())
    }

    async fn ping(&mut self) -> ControlFlow<()> {
        let first = self.caller.shared.phases.now();
        let served = self.caller.shared.served();
        let outcome = self.caller.get(&served.health, "/ping").await;
        self.caller.count(first, Operation::Ping, None);
        let outcome = outcome.map_err(|error| Mishap::Lost(error.to_string()));
        let (status, _) = self.done(first, Operation::Ping, "", outcome)?;
        match status {
            200 => {}
            503 => self.unready(first, Operation::Ping, "/ping says 503"),
            _ => drop(self.caller.wrong(&format!("/ping says {status}"))),
        }
        ControlFlow::Continue(())
    }

    async fn scrape(&mut self) -> ControlFlow<()> {
        let first = self.caller.shared.phases.now();
        let served = self.caller.shared.served();
        let outcome = self.caller.get(&served.metrics, "/metrics").await;
        self.caller.count(first, Operation::Metrics, None);
        let outcome = outcome.map_err(|error| Mishap::Lost(error.to_string()));
        let (status, text) = self.done(first, Operation::Metrics, "", outcome)?;
        if status != 200 || !text.contains("\nxks_connections ") || !text.ends_with('\n') {
            self.caller.wrong(&format!("/metrics says {status}"));
        }
        ControlFlow::Continue(())
    }

    async fn hostile(&mut self) -> ControlFlow<()> {
        let hostility = Hostility::choose(&mut self.caller.rng);
        let first = self.caller.shared.phases.now();
        let outcome = hostility.commit(&mut self.caller).await;
        self.caller.count(first, Operation::Hostile, None);
        let answered = match outcome {
            Ok(name) => name.to_owned(),
            Err(Mishap::Error(name)) => name,
            Err(mishap) => return self.done(first, Operation::Hostile, hostility.name(), Err(mishap)),
        };
        if answered == hostility.wanted() {
            self.refused(hostility.name(), answered);
            return ControlFlow::Continue(());
        }
        match hostility.is_refused() {
            true if answered == "Success" => {
                self.caller.wrong(&format!("{} was not refused", hostility.name()));
                ControlFlow::Continue(())
            }
            // A slow client is one that encrypts.
            false => self.done(
                first,
                Operation::Encrypt,
                hostility.name(),
                Err(Mishap::Error(answered)),
            ),
            true => self.done(
                first,
                Operation::Hostile,
                hostility.name(),
                Err(Mishap::Error(answered)),
            ),
        }
    }

    fn refused(&self, what: &'static str, name: String) {
        *self.caller.shared.tally().refusals.entry((what, name)).or_default() += 1;
    }

    fn unready(&self, first: usize, operation: Operation, what: &str) {
        let subject = Subject { operation, key: "" };
        let (is_allowed, phase) = self.caller.shared.phases.judge(first, subject, Failure::Unready);
        let mut tally = self.caller.shared.tally();
        tally.failure(phase, is_allowed, operation, Failure::Unready);
        if !is_allowed {
            tally.note(format!("not allowed in phase {phase}: {what}"));
        }
    }

    /// What was wanted; what came instead is judged.
    fn done<T>(
        &mut self,
        first: usize,
        operation: Operation,
        key: &str,
        outcome: Result<T, Mishap>,
    ) -> ControlFlow<(), T> {
        match outcome {
            Ok(value) => ControlFlow::Continue(value),
            Err(mishap) => {
                self.caller.judge(first, Subject { operation, key }, &mishap);
                ControlFlow::Break(())
            }
        }
    }
}
