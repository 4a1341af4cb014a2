//! The disturber: does each phase of the plan, and waits until the proxy has recovered.

mod keys;
mod operator;
mod token;

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use kms_double::wire::Http;
use tokio::time::sleep;
use xks_pkcs11_fixture::{Shim, SoftHsm};

use crate::{
    caller::{Caller, Mishap},
    plan::{Kind, Step},
    process::Process,
    rules::{CALM, Operation, Rules},
    settings::{KEYS, Settings},
    shared::Shared,
};

/// How long the proxy may take to be back after a disturbance has ended, whatever it was.
pub(crate) const BACK_WITHIN: Duration = Duration::from_secs(20);

pub(crate) struct Disturber {
    pub(crate) shared: Arc<Shared>,
    pub(crate) settings: Settings,
    pub(crate) hsm: Arc<SoftHsm>,
    pub(crate) shim: Shim,
    pub(crate) process: Process,
    pub(crate) rng: fastrand::Rng,
    /// How often the module was initialized, and how many calls failed on purpose, before the shim forgot it.
    pub(crate) forgotten: (u64, u64),
    /// One that looks, with a connection of its own.
    prober: Caller,
    /// Where the clients are directed to.
    pub(crate) life: usize,
}

impl Disturber {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        settings: Settings,
        hsm: &Arc<SoftHsm>,
        (shim, process): (Shim, Process),
        mut rng: fastrand::Rng,
    ) -> Self {
        Self {
            prober: Caller::new(Arc::clone(shared), rng.u64(..), Http::One),
            shared: Arc::clone(shared),
            settings,
            hsm: Arc::clone(hsm),
            shim,
            process,
            rng,
            forgotten: (0, 0),
            life: 0,
        }
    }

    /// A phase, from its beginning to calm.
    pub(crate) async fn disturb(&mut self, step: &Step) -> anyhow::Result<()> {
        let name = step.kind.name();
        match step.kind {
            Kind::ReloadKeys => self.reload_keys(step).await?,
            Kind::RotateCredential => self.rotate_credential(step).await?,
            Kind::SwapCertificate => self.swap_certificate(step).await?,
            Kind::ReopenBackend => self.reopen_backend(step).await?,
            Kind::BreakSettings => self.break_settings(step).await?,
            Kind::CreateKey => self.create_key(step).await?,
            Kind::RecreateKey => self.recreate_key(step).await?,
            Kind::ChangeUsage => self.change_usage(step).await?,
            Kind::ZeroIv | Kind::RepeatIv => self.spoil_ivs(step).await?,
            Kind::FlipBits => {
                self.shared.is_flipping.store(true, Ordering::SeqCst);
                self.shared.quiesce().await?;
                self.fault(step, Rules::TROUBLE).await?;
                self.shared.is_flipping.store(false, Ordering::SeqCst);
            }
            Kind::Latency => self.fault(step, Rules::OVERLOAD).await?,
            // Nobody notices: a new session, a new login.
            Kind::CloseSessions | Kind::LogOut => self.fault(step, Rules::CALM).await?,
            _ => self.fault(step, Rules::TROUBLE).await?,
        }
        self.shared.phases.begin(CALM, Rules::CALM);
        self.back(name, Duration::ZERO).await.map(drop)
    }

    pub(crate) fn ask(&self, command: &str) -> anyhow::Result<String> {
        let answer = self
            .shim
            .ask(command)
            .with_context(|| format!("the shim is gone: {command}"))?;
        answer.map_err(|problem| anyhow::anyhow!("{command}: {problem}"))
    }

    /// Waits until all is well, and returns how long that took, from `already` on.
    pub(super) async fn back(&mut self, what: &'static str, already: Duration) -> anyhow::Result<Duration> {
        let start = Instant::now();
        let mut good = 0;
        let mut began_well = start;
        loop {
            match self.sweep().await {
                Ok(()) => good += 1,
                Err(problem) => {
                    good = 0;
                    if start.elapsed() > BACK_WITHIN {
                        bail!("after {what} the proxy is not back within {BACK_WITHIN:?}: {problem}");
                    }
                    sleep(Duration::from_millis(20)).await;
                    began_well = Instant::now();
                }
            }
            // More than once, for there are many sessions.
            if good == 3 {
                return Ok(already + (began_well - start));
            }
            if self.process.has_ended()?.is_some() {
                bail!("the proxy has ended in phase {what}");
            }
        }
    }

    /// Whether everything is served.
    async fn sweep(&mut self) -> Result<(), String> {
        let served = self.shared.served();
        let told = |what: &str, mishap: Mishap| format!("{what}: {mishap:?}");
        for (key, store) in KEYS {
            let (kept, _) = self
                .prober
                .encrypt(store, key, true)
                .await
                .map_err(|error| told(key, error))?;
            self.prober.decrypt(&kept).await.map_err(|error| told(key, error))?;
        }
        match self.prober.health(0).await {
            Ok((true, _)) => {}
            Ok((false, _)) => return Err("health says UNAVAILABLE".to_owned()),
            Err(mishap) => return Err(told("health", mishap)),
        }
        match self.prober.get(&served.health, "/ping").await {
            Ok((200, _)) => Ok(()),
            other => Err(format!("/ping: {other:?}")),
        }
    }

    fn fault_unless(&self, holds: bool, text: impl FnOnce() -> String) {
        if !holds {
            self.shared.tally().fault(text());
        }
    }
}

/// All that asks for a key.
const EVERYTHING: &[Operation] = &[
    Operation::Encrypt,
    Operation::Decrypt,
    Operation::DecryptChanged,
    Operation::Metadata,
];
