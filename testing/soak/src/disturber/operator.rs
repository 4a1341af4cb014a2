//! The operator's phases: settings that change, and their effect.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use kms_double::wire::Http;
use rustix::process::Signal;
use tokio::time::sleep;

use super::{Disturber, EVERYTHING};
use crate::{
    caller::Mishap,
    plan::Step,
    rules::Rules,
    settings::{MOVING, STORES, Settings, new_credential},
    shared::Served,
};

impl Disturber {
    /// Writes the settings, and has them read: by a signal, or by waiting for them to be noticed.
    pub(super) async fn reload(&mut self) -> anyhow::Result<()> {
        let by_signal = self.rng.bool();
        self.settings.write()?;
        let said = Arc::clone(&self.process.said);
        self.await_reload(by_signal, || said.reloaded.load(Ordering::SeqCst))
            .await
    }

    async fn await_reload(&mut self, by_signal: bool, counter: impl Fn() -> u64) -> anyhow::Result<()> {
        let (before, start) = (counter(), Instant::now());
        if by_signal {
            self.process.signal(Signal::HUP)?;
        }
        while counter() == before {
            if start.elapsed() > Duration::from_secs(30) {
                bail!("the settings are not reloaded");
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// SIG-7, URI-4: a key leaves a key store and comes back.
    pub(super) async fn reload_keys(&mut self, step: &Step) -> anyhow::Result<()> {
        let rules = Rules::key(MOVING, &[(EVERYTHING, &["KeyNotFoundException"])]);
        self.shared.phases.begin(step.kind.name(), rules);
        self.settings.has_moving = false;
        self.reload().await?;
        let outcome = self.prober.encrypt(0, MOVING, true).await;
        let is_gone = matches!(&outcome, Err(Mishap::Error(name)) if name == "KeyNotFoundException");
        self.fault_unless(is_gone, || {
            format!("a key that was taken out of its key store is served: {outcome:?}")
        });
        sleep(step.hold).await;
        self.settings.has_moving = true;
        self.reload().await?;
        let outcome = self.prober.encrypt(0, MOVING, true).await;
        self.fault_unless(outcome.is_ok(), || {
            format!("a key that was put into its key store is not served: {outcome:?}")
        });
        self.shared.quiesce().await
    }

    /// SIG-7: a credential is replaced in two steps.
    pub(super) async fn rotate_credential(&mut self, step: &Step) -> anyhow::Result<()> {
        self.shared.phases.begin(step.kind.name(), Rules::CALM);
        let store = self.rng.usize(..STORES.len());
        let new = new_credential(&mut self.rng);
        let credentials = self.settings.credentials.get_mut(store).context("a key store")?;
        credentials.push(new);
        self.reload().await?;
        let before = self.shared.served();
        self.shared.serve(self.served()?);
        self.shared.quiesce().await?;
        sleep(step.hold).await;
        let credentials = self.settings.credentials.get_mut(store).context("a key store")?;
        credentials.remove(0);
        self.reload().await?;
        // The former one is refused, the new one is not.
        let current = self.shared.served();
        let (old, new) = (
            self.prober.health_at(before.door(store, Http::One)?).await.map(drop),
            self.prober.health_at(current.door(store, Http::One)?).await.map(drop),
        );
        let refused = Err(Mishap::Error("AuthenticationFailedException".to_owned()));
        self.fault_unless(old == refused, || format!("a credential that was taken out: {old:?}"));
        self.fault_unless(new == Ok(()), || format!("a credential that was put in: {new:?}"));
        Ok(())
    }

    fn served(&self) -> anyhow::Result<Served> {
        Served::new(self.life, &self.process, &self.settings)
    }

    /// New connections are shown the new certificate.
    pub(super) async fn swap_certificate(&mut self, step: &Step) -> anyhow::Result<()> {
        self.shared.phases.begin(step.kind.name(), Rules::CALM);
        let certificate = self.settings.renew_certificate()?;
        self.reload().await?;
        let endpoint = self.shared.served().door(0, Http::Two)?.clone();
        let connection = endpoint.connect().await?;
        let shown = connection
            .handshake()
            .and_then(|handshake| handshake.certificates.first());
        let is_new = shown == Some(certificate.der());
        self.fault_unless(is_new, || "a new certificate is not shown".to_owned());
        sleep(step.hold).await;
        Ok(())
    }

    /// Another number of sessions: the token is reopened, and the former ones are closed.
    pub(super) async fn reopen_backend(&mut self, step: &Step) -> anyhow::Result<()> {
        self.shared.phases.begin(step.kind.name(), Rules::CALM);
        self.change_sessions();
        self.reload().await?;
        sleep(step.hold).await;
        Ok(())
    }

    pub(super) fn change_sessions(&mut self) {
        let (before, fewest) = (self.settings.sessions, Settings::FEWEST_SESSIONS);
        while self.settings.sessions == before {
            self.settings.sessions = self.rng.u64(fewest..fewest + 5);
        }
    }

    /// Settings with a mistake change nothing.
    pub(super) async fn break_settings(&mut self, step: &Step) -> anyhow::Result<()> {
        self.shared.phases.begin(step.kind.name(), Rules::CALM);
        self.settings.write_broken(&mut self.rng)?;
        let said = Arc::clone(&self.process.said);
        let by_signal = self.rng.bool();
        self.await_reload(by_signal, || said.not_reloaded.load(Ordering::SeqCst))
            .await?;
        sleep(step.hold).await;
        self.reload().await
    }
}
