//! Keys that come, go and change, by another process.

use std::{sync::Arc, time::Duration, time::Instant};

use anyhow::bail;
use tokio::{task::spawn_blocking, time::sleep};
use xks_pkcs11_fixture::{KeyTemplate, Permission};

use super::{BACK_WITHIN, Disturber, EVERYTHING};
use crate::{
    caller::{Caller, Mishap},
    plan::{Kind, Step},
    rules::{Excuse, Operation, Rules},
    settings::{LIMITED, PASSING, PHOENIX, TOKEN},
};

type Pinned<'a> = std::pin::Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

impl Disturber {
    /// A key that is created is served without a reload, and is gone when it is destroyed.
    pub(super) async fn create_key(&mut self, step: &Step) -> anyhow::Result<()> {
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

    /// A key is destroyed and made again, with its former value or with another one.
    pub(super) async fn recreate_key(&mut self, step: &Step) -> anyhow::Result<()> {
        // Internal: a login by another process writes the token's own object, and SoftHSM2 may fail to read
        // it until it is reinitialized. The keys that it has are served all the same, but none is then known
        // to be missing.
        const WHILE: &[&str] = &[
            "KeyNotFoundException",
            "InvalidKeyUsageException",
            "InvalidCiphertextException",
            "InternalException",
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
        self.wait_for("a key that was made again", step.kind, |caller| {
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
    pub(super) async fn change_usage(&mut self, step: &Step) -> anyhow::Result<()> {
        const WHILE: &[Excuse] = &[(&[Operation::Encrypt], &["InvalidKeyUsageException"])];
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
    async fn make_key(&mut self, key: &'static str, former: Option<(usize, [u8; 32])>) -> anyhow::Result<usize> {
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

fn is_missing<T>(outcome: Result<T, Mishap>) -> bool {
    matches!(outcome, Err(Mishap::Error(name)) if name == "KeyNotFoundException")
}
