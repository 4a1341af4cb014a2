//! What the tests of fleets share: members that a test steers.

mod breaker;
mod chance;
mod failing;
mod health;
mod routing;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::{
    aad::{AadFraming, BoundAad},
    backend::{EkmStatus, HealthStatus, KeySpec, KeyStatus, KeyUsage},
};

/// What a member does when it is asked for anything.
#[derive(Clone, Debug)]
enum Does {
    Work,
    Fail(BackendErrorKind),
    Hang,
    /// After so long.
    TimeOut(Duration),
    Panic,
}

/// A member whose encryption is no secret: all of them share one key.
struct Puppet {
    name: &'static str,
    does: Mutex<Does>,
    health: Mutex<Health>,
    calls: AtomicUsize,
}

const KEY: u8 = 0x5a;

/// Longer than any test takes, however busy the machine is.
const LONG: Duration = Duration::from_secs(600);

impl Puppet {
    fn new(name: &'static str, does: Does) -> Arc<Self> {
        let member = EkmStatus::new(
            format!("{name}'s own id"),
            format!("model of {name}"),
            HealthStatus::Active,
        );
        Arc::new(Self {
            name,
            does: Mutex::new(does),
            health: Mutex::new(Health::new("Vendor", member)),
            calls: AtomicUsize::new(0),
        })
    }

    fn shall(&self, does: Does) {
        *self.does.lock().unwrap() = does;
    }

    fn calls(&self) -> usize {
        self.calls.swap(0, Ordering::Relaxed)
    }

    async fn act(&self) -> Result<(), BackendError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let does = self.does.lock().unwrap().clone();
        match does {
            Does::Work => Ok(()),
            Does::Fail(BackendErrorKind::InvalidCiphertext) => Err(BackendError::invalid_ciphertext()),
            Does::Fail(kind) => Err(BackendError::new(kind, format!("{} failed", self.name)).with_source("its cause")),
            Does::TimeOut(after) => {
                tokio::time::sleep(after).await;
                Err(BackendErrorKind::Timeout.into())
            }
            Does::Hang => std::future::pending().await,
            Does::Panic => panic!("as the test wants it"),
        }
    }
}

#[async_trait]
impl KeyBackend for Puppet {
    async fn key_metadata(&self, _: &KeyId, _: &GetKeyMetadataRequest<'_>) -> Result<KeyMetadata, BackendError> {
        self.act().await?;
        Ok(KeyMetadata::new(
            KeySpec::Aes256,
            [KeyUsage::Encrypt],
            KeyStatus::Enabled,
        ))
    }

    async fn encrypt(&self, _: &KeyId, request: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
        let aad = request.bind_aad(Some(self.name.as_bytes().try_into().unwrap())); // before it fails
        self.act().await?;
        let ciphertext = request.plaintext().iter().map(|byte| byte ^ KEY).collect();
        Ok(Encrypted::new(ciphertext, [1; 12].into(), [2; 16].into(), aad))
    }

    async fn decrypt(&self, _: &KeyId, request: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        self.act().await?;
        Ok(Zeroizing::new(
            request.ciphertext().iter().map(|byte| byte ^ KEY).collect(),
        ))
    }

    async fn health(&self) -> Result<Health, BackendError> {
        self.act().await?;
        Ok(self.health.lock().unwrap().clone())
    }

    fn limits(&self) -> Limits {
        let least = Limits::default();
        match self.name {
            "a" => least.with_aad(least.aad + 1),
            _ => least.with_plaintext(least.plaintext + 1),
        }
    }

    fn metadata_length(&self) -> usize {
        match self.name {
            "b" => 7,
            _ => 1,
        }
    }
}

/// Members `a`, `b`, `c`, ... with these states, and a timer. Of all times only an attempt is short.
fn fleet(members: &[Arc<Puppet>]) -> FleetBuilder {
    let add = |fleet: FleetBuilder, member: &Arc<Puppet>| fleet.member(member.name, Arc::clone(member) as _);
    let fleet = members.iter().fold(Fleet::builder(), add);
    fleet.timer(tokio::time::sleep).budget(LONG).back_off(LONG, LONG)
}

fn puppets<const N: usize>(does: [Does; N]) -> [Arc<Puppet>; N] {
    let mut names = ["a", "b", "c", "d", "e"].into_iter();
    does.map(|does| Puppet::new(names.next().unwrap(), does))
}

fn key() -> KeyId {
    "key".parse().unwrap()
}

fn metadata() -> crate::api::RequestMetadata<'static> {
    crate::api::RequestMetadata::from_json("{}").unwrap()
}

fn encryption(plaintext: &[u8]) -> EncryptRequest<'static> {
    let aad = BoundAad::new(AadFraming::Spec, Some(b"aad"), None).unwrap();
    EncryptRequest::new(metadata(), Zeroizing::new(plaintext.to_vec()), aad)
}

async fn encrypt(fleet: &Fleet) -> Result<Encrypted, BackendError> {
    fleet.encrypt(&key(), &mut encryption(b"text")).await
}

async fn ask(fleet: &Fleet) -> Result<KeyMetadata, BackendError> {
    fleet
        .key_metadata(&key(), &GetKeyMetadataRequest::new(metadata()))
        .await
}

fn breakers(fleet: &Fleet) -> Vec<BreakerState> {
    fleet.members().map(|member| member.breaker).collect()
}
