//! Who disturbs: does each phase of the plan, and sees to it that the proxy comes back.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use kms_double::wire::Http;
use rustix::process::Signal;
use tokio::{task::spawn_blocking, time::sleep};
use xks_pkcs11_fixture::{KeyTemplate, Permission, Shim, SoftHsm};

use crate::{
    caller::{Caller, Mishap},
    plan::{Kind, Step},
    process::Process,
    rules::{CALM, Excuse, Operation, Rules},
    settings::{KEYS, LIMITED, MOVING, PASSING, PHOENIX, STORES, Settings, TOKEN, new_credential},
    shared::{Served, Shared},
};

/// How long the proxy may take to be back after a disturbance has ended, whatever it was.
pub(crate) const BACK_WITHIN: Duration = Duration::from_secs(20);

/// The codes that calls fail with: what passes, but none that says of a key or a ciphertext what is not so.
const CODES: [(&str, u64); 9] = [
    ("CKR_HOST_MEMORY", 0x2),
    ("CKR_GENERAL_ERROR", 0x5),
    ("CKR_FUNCTION_FAILED", 0x6),
    ("CKR_DEVICE_ERROR", 0x30),
    ("CKR_DEVICE_REMOVED", 0x32),
    ("CKR_KEY_HANDLE_INVALID", 0x60),
    ("CKR_OPERATION_NOT_INITIALIZED", 0x91),
    ("CKR_SESSION_HANDLE_INVALID", 0xb3),
    ("CKR_USER_NOT_LOGGED_IN", 0x101),
];

const FUNCTIONS: [&str; 10] = [
    "C_EncryptInit",
    "C_Encrypt",
    "C_DecryptInit",
    "C_Decrypt",
    "C_OpenSession",
    "C_FindObjectsInit",
    "C_FindObjects",
    "C_GetAttributeValue",
    "C_GetSessionInfo",
    "C_GetTokenInfo",
];

pub(crate) struct Disturber {
    pub(crate) shared: Arc<Shared>,
    pub(crate) settings: Settings,
    pub(crate) hsm: Arc<SoftHsm>,
    pub(crate) shim: Shim,
    pub(crate) process: Process,
    pub(crate) rng: fastrand::Rng,
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

    /// What the shim is told.
    fn commands(&mut self, kind: Kind) -> Vec<String> {
        let rng = &mut self.rng;
        let code = rng.choice([0x5_u64, 0x6, 0x30, 0xe0]).unwrap_or(0x30);
        let one = |command: String| vec![command];
        match kind {
            Kind::ErrorCodes => (0..12)
                .map(|_| {
                    let function = rng.choice(FUNCTIONS).unwrap_or("C_Encrypt");
                    let code = rng.choice(CODES).map_or(0x30, |(_, code)| code);
                    let (after, times) = (rng.u8(0..40), rng.u8(1..4));
                    format!("fail {function} {code} after={after} times={times}")
                })
                .collect(),
            Kind::Hang => one(format!("hang crypt after={} times={}", rng.u8(0..20), rng.u8(1..5))),
            Kind::Latency => one(format!("latency-op {}", rng.u64(5000..30_000))),
            Kind::Storm => one(format!("storm {code}")),
            Kind::StickyStorm => one(format!("storm {code} sticky")),
            Kind::CloseSessions => one("close-sessions".to_owned()),
            Kind::LogOut => one("logout".to_owned()),
            Kind::RemoveToken => one(format!("remove-token {}", 0x32)),
            Kind::LimitSessions => vec![format!("session-limit {}", rng.u8(3..6)), "close-sessions".to_owned()],
            Kind::FlipBits => one("flip C_Encrypt,C_Decrypt times=40".to_owned()),
            Kind::HideSlots => vec![format!("empty times={}", rng.u8(2..10)), format!("sticky {}", 0x32)],
            _ => Vec::new(),
        }
    }

    /// Something goes wrong in the token, and ends.
    async fn fault(&mut self, step: &Step, rules: Rules) -> anyhow::Result<()> {
        let name = step.kind.name();
        self.shared.phases.begin(name, rules);
        for command in self.commands(step.kind) {
            self.ask(&command)?;
        }
        // A call that hangs has to be given up, before it is released.
        let least = match step.kind {
            Kind::Hang => Duration::from_millis(Settings::DEADLINE_MS + 200),
            _ => Duration::ZERO,
        };
        sleep(step.hold.max(least)).await;
        let commands: &[&str] = match step.kind {
            Kind::StickyStorm => &["calm", "release"],
            Kind::Hang => &["release"],
            // What was closed or logged out is not opened by the shim, and slots that were hidden have come by now.
            Kind::CloseSessions | Kind::LogOut => &[],
            _ => &["clear"],
        };
        for command in commands {
            self.ask(command)?;
        }
        let took = self.back(name, Duration::ZERO).await?;
        self.ask("clear")?;
        self.shared.tally().recoveries.entry(name).or_default().push(took);
        // Whoever is under way may have met with the fault before it ended.
        self.shared.quiesce().await
    }

    pub(crate) fn ask(&self, command: &str) -> anyhow::Result<String> {
        let answer = self
            .shim
            .ask(command)
            .with_context(|| format!("the shim is gone: {command}"))?;
        answer.map_err(|problem| anyhow::anyhow!("{command}: {problem}"))
    }

    /// Waits until all is well, and returns how long that took, from `already` on.
    async fn back(&mut self, what: &'static str, already: Duration) -> anyhow::Result<Duration> {
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

    /// Writes the settings, and has them read: by a signal, or by waiting for them to be noticed.
    async fn reload(&mut self) -> anyhow::Result<()> {
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
                bail!("the settings are not read anew");
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    fn fault_unless(&self, holds: bool, text: impl FnOnce() -> String) {
        if !holds {
            self.shared.tally().fault(text());
        }
    }

    /// SIG-7, URI-4: a key leaves a key store and comes back.
    async fn reload_keys(&mut self, step: &Step) -> anyhow::Result<()> {
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
    async fn rotate_credential(&mut self, step: &Step) -> anyhow::Result<()> {
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
    async fn swap_certificate(&mut self, step: &Step) -> anyhow::Result<()> {
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

    /// Another number of sessions: the token is opened anew, and the former ones are closed.
    async fn reopen_backend(&mut self, step: &Step) -> anyhow::Result<()> {
        self.shared.phases.begin(step.kind.name(), Rules::CALM);
        self.change_sessions();
        self.reload().await?;
        sleep(step.hold).await;
        Ok(())
    }

    fn change_sessions(&mut self) {
        let (before, fewest) = (self.settings.sessions, Settings::FEWEST_SESSIONS);
        while self.settings.sessions == before {
            self.settings.sessions = self.rng.u64(fewest..fewest + 5);
        }
    }

    /// Settings with a mistake change nothing.
    async fn break_settings(&mut self, step: &Step) -> anyhow::Result<()> {
        self.shared.phases.begin(step.kind.name(), Rules::CALM);
        self.settings.write_broken(&mut self.rng)?;
        let said = Arc::clone(&self.process.said);
        let by_signal = self.rng.bool();
        self.await_reload(by_signal, || said.not_reloaded.load(Ordering::SeqCst))
            .await?;
        sleep(step.hold).await;
        self.reload().await
    }

    /// A key that was not there is served without anybody's doing, and is gone when it is destroyed.
    async fn create_key(&mut self, step: &Step) -> anyhow::Result<()> {
        self.shared.phases.begin(step.kind.name(), Rules::CALM);
        const STORE: usize = 2;
        self.wait_for("a key that was never there", step.kind, |caller| {
            Box::pin(async move { is_missing(caller.encrypt(STORE, PASSING, true).await) })
        })
        .await?;
        self.make_key(PASSING, None).await?;
        self.wait_for("a new key", step.kind, |caller| {
            Box::pin(async move { caller.encrypt(STORE, PASSING, true).await.is_ok() })
        })
        .await?;
        sleep(step.hold).await;
        let (kept, _) = self
            .prober
            .encrypt(STORE, PASSING, true)
            .await
            .map_err(|mishap| anyhow::anyhow!("a new key: {mishap:?}"))?;
        let outcome = self.prober.decrypt(&kept).await;
        self.fault_unless(outcome.is_ok(), || format!("a new key: {outcome:?}"));
        self.delete_key(PASSING).await?;
        self.wait_for("a destroyed key's end", step.kind, |caller| {
            Box::pin(async move { is_missing(caller.encrypt(STORE, PASSING, true).await) })
        })
        .await
    }

    /// A key is destroyed and made anew, with its former value or with another one.
    async fn recreate_key(&mut self, step: &Step) -> anyhow::Result<()> {
        const WHILE: &[&str] = &[
            "KeyNotFoundException",
            "InvalidKeyUsageException",
            "InvalidCiphertextException",
        ];
        self.shared
            .phases
            .begin(step.kind.name(), Rules::key(PHOENIX, &[(EVERYTHING, WHILE)]));
        self.delete_key(PHOENIX).await?;
        self.wait_for("a destroyed key's end", step.kind, |caller| {
            Box::pin(async move { is_missing(caller.encrypt(0, PHOENIX, true).await) })
        })
        .await?;
        sleep(step.hold).await;
        let former = self.shared.values(PHOENIX).first().copied();
        let former = former.filter(|_| self.rng.bool());
        let version = self.make_key(PHOENIX, former).await?;
        self.wait_for("a key that was made anew", step.kind, |caller| {
            Box::pin(async move {
                match caller.encrypt(0, PHOENIX, true).await {
                    Ok((kept, _)) => caller.decrypt(&kept).await.is_ok(),
                    Err(_) => false,
                }
            })
        })
        .await?;
        self.shared.quiesce().await?;
        let other = self.shared.vault().drop_others(PHOENIX, version);
        if let Some(other) = other {
            let outcome = self.prober.decrypt(&other).await;
            let is_invalid = outcome == Err(Mishap::Error("InvalidCiphertextException".to_owned()));
            self.fault_unless(is_invalid, || format!("a ciphertext of a destroyed key: {outcome:?}"));
        }
        Ok(())
    }

    /// ENC-11: a key may not encrypt for a while; to decrypt it may all the time.
    async fn change_usage(&mut self, step: &Step) -> anyhow::Result<()> {
        const WHILE: &[Excuse] = &[
            (&[Operation::Encrypt], &["InvalidKeyUsageException"]),
            // Before it is known that the key may not encrypt, it is tried whether the token fails by encrypting with it.
            (&[Operation::DecryptChanged], &["InternalException"]),
        ];
        let rules = Rules::key(LIMITED, WHILE);
        self.shared.phases.begin(step.kind.name(), rules);
        self.permit(LIMITED, false).await?;
        self.wait_for("a usage that was taken away", step.kind, |caller| {
            Box::pin(async move {
                let outcome = caller.encrypt(0, LIMITED, true).await;
                matches!(outcome, Err(Mishap::Error(name)) if name == "InvalidKeyUsageException")
            })
        })
        .await?;
        sleep(step.hold).await;
        self.permit(LIMITED, true).await?;
        self.wait_for("a usage that was given back", step.kind, |caller| {
            Box::pin(async move { caller.encrypt(0, LIMITED, true).await.is_ok() })
        })
        .await?;
        self.shared.quiesce().await
    }

    /// ENC-6: the token makes IVs that are zero or come again. Nothing is encrypted until the token is opened anew, and
    /// what was encrypted before is decrypted all the time.
    async fn spoil_ivs(&mut self, step: &Step) -> anyhow::Result<()> {
        self.shared.phases.begin(step.kind.name(), Rules::UNTRUSTED);
        let violations = self.ask("violations")?;
        self.fault_unless(violations.is_empty(), || {
            format!("the module was misused: {violations}")
        });
        self.ask(if step.kind == Kind::ZeroIv {
            "iv zero"
        } else {
            "iv repeat"
        })?;
        sleep(step.hold).await;
        let outcome = self.prober.encrypt(0, "alpha-1", true).await;
        let is_refused = matches!(&outcome, Err(Mishap::Error(name)) if name == "InternalException");
        self.fault_unless(is_refused, || {
            format!("an encryption under an IV of {}: {outcome:?}", step.kind.name())
        });
        self.ask("clear")?;
        let ended = Instant::now();
        self.change_sessions();
        self.reload().await?;
        let took = self.back(step.kind.name(), ended.elapsed()).await?;
        self.shared
            .tally()
            .recoveries
            .entry(step.kind.name())
            .or_default()
            .push(took);
        self.shared.quiesce().await?;
        // That the module repeats IVs is its own doing.
        let violations = self.ask("violations")?;
        let others = violations.lines().filter(|line| !line.starts_with("nonce-reuse "));
        let others = others.collect::<Vec<_>>().join("; ");
        self.fault_unless(others.is_empty(), || format!("the module was misused: {others}"));
        self.ask("reset")?;
        Ok(())
    }

    /// Waits until it holds, and remembers how long that took.
    async fn wait_for(
        &mut self,
        what: &str,
        kind: Kind,
        holds: impl for<'a> Fn(&'a mut Caller) -> Pinned<'a>,
    ) -> anyhow::Result<()> {
        let start = Instant::now();
        while !holds(&mut self.prober).await {
            if start.elapsed() > BACK_WITHIN {
                bail!("{what} is not noticed within {BACK_WITHIN:?}");
            }
            if self.process.has_ended()?.is_some() {
                bail!("the proxy has ended: {what}");
            }
            sleep(Duration::from_millis(20)).await;
        }
        let took = start.elapsed();
        self.shared
            .tally()
            .recoveries
            .entry(kind.name())
            .or_default()
            .push(took);
        Ok(())
    }

    /// Makes a key with this value of it or a new one; returns the value's version.
    pub(crate) async fn make_key(
        &mut self,
        key: &'static str,
        former: Option<(usize, [u8; 32])>,
    ) -> anyhow::Result<usize> {
        let (version, value) = former.unwrap_or_else(|| {
            let mut value = [0; 32];
            self.rng.fill(&mut value);
            (self.shared.add_value(key, value), value)
        });
        let hsm = Arc::clone(&self.hsm);
        spawn_blocking(move || hsm.key(TOKEN, &KeyTemplate::aes256(key).value(value))).await?;
        Ok(version)
    }

    async fn delete_key(&self, key: &'static str) -> anyhow::Result<()> {
        let hsm = Arc::clone(&self.hsm);
        Ok(spawn_blocking(move || hsm.delete_key(TOKEN, key)).await?)
    }

    async fn permit(&self, key: &'static str, permitted: bool) -> anyhow::Result<()> {
        let hsm = Arc::clone(&self.hsm);
        Ok(spawn_blocking(move || hsm.permit(TOKEN, key, Permission::Encrypt, permitted)).await?)
    }
}

type Pinned<'a> = std::pin::Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

/// All that asks for a key.
const EVERYTHING: &[Operation] = &[
    Operation::Encrypt,
    Operation::Decrypt,
    Operation::DecryptChanged,
    Operation::Metadata,
];

fn is_missing<T>(outcome: Result<T, Mishap>) -> bool {
    matches!(outcome, Err(Mishap::Error(name)) if name == "KeyNotFoundException")
}
