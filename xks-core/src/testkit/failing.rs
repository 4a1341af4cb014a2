//! A backend that fails as a test wants it.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    thread,
    time::Duration,
};

use crate::{
    BackendError, KeyBackend, KeyId, Zeroizing,
    aad::{AadFraming, BoundAad, Parts},
    async_trait,
    backend::{
        BackendErrorKind, DecryptRequest, EkmStatus, EncryptRequest, Encrypted, GetKeyMetadataRequest, Health,
        HealthStatus, Iv, KeyMetadata, KeySpec, KeyStatus, Layered, VerifiedEncryption,
    },
};

/// A backend around another one, which has the faults that a test sets, and else does as the other does.
///
/// ```
/// use std::sync::Arc;
/// use xks_backend_soft::{SoftBackend, SoftKey};
/// use xks_core::{backend::BackendErrorKind, testkit::{FailingBackend, Fault, Method, When}};
///
/// let inner = SoftBackend::new().with_key("my-key".parse()?, SoftKey::generate()?);
/// let backend = FailingBackend::around(Arc::new(inner));
/// let faults = backend.faults(); // to be kept, when the backend is given away
/// faults.set(Method::Encrypt, Fault::Error(BackendErrorKind::Throttled), When::next(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FailingBackend {
    inner: Arc<dyn KeyBackend>,
    faults: Faults,
}

/// A method of [`KeyBackend`], or what it is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Method {
    /// [`KeyBackend::key_metadata`]
    KeyMetadata,
    /// [`KeyBackend::encrypt`]
    Encrypt,
    /// [`KeyBackend::decrypt`], for a client.
    Decrypt,
    /// [`KeyBackend::decrypt`], for the pipeline, which tries what it is about to return (ENC-10).
    Verification,
    /// [`KeyBackend::health`]
    Health,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::KeyMetadata,
        Self::Encrypt,
        Self::Decrypt,
        Self::Verification,
        Self::Health,
    ];

    const fn of(request: &DecryptRequest<'_>) -> Self {
        if request.is_verification() {
            Self::Verification
        } else {
            Self::Decrypt
        }
    }
}

/// A fault of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It fails with this kind, and the words "as the test wants it".
    Error(BackendErrorKind),
    /// It takes so much longer. Other faults of the same call come after that.
    Delay(Duration),
    /// It never ends.
    Hang,
    /// It panics.
    Panic,
    /// A bit of the ciphertext that is returned is wrong; nothing happens to an empty one.
    FlipCiphertext,
    /// A bit of the tag that is returned is wrong.
    FlipTag,
    /// A bit of the IV that is returned is wrong.
    FlipIv,
    /// A bit of the plaintext that is returned is wrong; nothing happens to an empty one.
    FlipPlaintext,
    /// The returned ciphertext or plaintext has a byte more.
    Lengthen,
    /// The returned ciphertext or plaintext has a byte less; nothing happens to an empty one.
    Shorten,
    /// The tag stands behind the ciphertext too.
    AppendTag,
    /// The AAD that is returned as authenticated is that of another request.
    OtherAad,
    /// The ciphertext metadata is not returned.
    DropMetadata,
    /// The key is reported as enabled or disabled.
    Status(KeyStatus),
    /// The key is reported as one for RSA.
    OtherSpec,
    /// Every key manager is reported to be in this state.
    Health(HealthStatus),
}

/// Which calls a fault strikes, counted from when it is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct When {
    every: u64,
    times: u64,
}

impl When {
    /// Strikes all calls.
    #[must_use]
    pub const fn always() -> Self {
        Self {
            every: 1,
            times: u64::MAX,
        }
    }

    /// Strikes the next `times` calls.
    #[must_use]
    pub const fn next(times: u64) -> Self {
        Self { every: 1, times }
    }

    /// Strikes the `k`th call, twice the `k`th, and so on; all for 0 and 1.
    #[must_use]
    pub const fn every(k: u64) -> Self {
        Self {
            every: if k == 0 { 1 } else { k },
            times: u64::MAX,
        }
    }
}

/// Steers a [`FailingBackend`], also while it serves. Clones steer the same.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    set: HashMap<Method, Vec<Set>>,
    calls: HashMap<Method, u64>,
    latest: VecDeque<Method>,
}

#[derive(Debug)]
struct Set {
    fault: Fault,
    when: When,
    seen: u64,
    struck: u64,
}

const MOST_REMEMBERED: usize = 1000;

impl Faults {
    /// Adds a fault to those of a method.
    pub fn set(&self, method: Method, fault: Fault, when: When) {
        let set = Set {
            fault,
            when,
            seen: 0,
            struck: 0,
        };
        self.state().set.entry(method).or_default().push(set);
    }

    /// Ends all faults. Calls that hang go on hanging.
    pub fn clear(&self) {
        self.state().set.clear();
    }

    /// Returns how often a method was called.
    #[must_use]
    pub fn calls(&self, method: Method) -> u64 {
        self.state().calls.get(&method).copied().unwrap_or(0)
    }

    /// Returns the latest calls in their order, 1000 at most, which are forgotten then.
    #[must_use]
    pub fn take_calls(&self) -> Vec<Method> {
        self.state().latest.drain(..).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call. Delays it, lets it fail, hang or panic; else returns what is to become of its outcome.
    #[expect(clippy::panic, reason = "a test asked for it")]
    async fn strike(&self, method: Method) -> Result<Vec<Fault>, BackendError> {
        let mut faults = self.of_this_call(method);
        for fault in &faults {
            if let Fault::Delay(delay) = fault {
                sleep(*delay).await;
            }
        }
        for fault in &faults {
            match fault {
                Fault::Hang => pending().await,
                Fault::Panic => panic!("as the test wants it"),
                Fault::Error(kind) => return Err(BackendError::new(*kind, "as the test wants it")),
                _ => {}
            }
        }
        faults.retain(|fault| !matches!(fault, Fault::Delay(_)));
        Ok(faults)
    }

    fn of_this_call(&self, method: Method) -> Vec<Fault> {
        let mut state = self.state();
        *state.calls.entry(method).or_default() += 1;
        if state.latest.len() == MOST_REMEMBERED {
            state.latest.pop_front();
        }
        state.latest.push_back(method);
        let set = state.set.entry(method).or_default();
        let strikes = |set: &mut Set| {
            set.seen += 1;
            let strikes = set.seen.is_multiple_of(set.when.every) && set.struck < set.when.times;
            set.struck += u64::from(strikes);
            strikes.then_some(set.fault)
        };
        set.iter_mut().filter_map(strikes).collect()
    }
}

/// On a thread of its own, so that it needs no runtime.
async fn sleep(time: Duration) {
    let done = Arc::new(Mutex::new((false, None::<Waker>)));
    let on_thread = Arc::clone(&done);
    thread::spawn(move || {
        thread::sleep(time);
        let mut done = on_thread.lock().unwrap_or_else(PoisonError::into_inner);
        done.0 = true;
        if let Some(waker) = done.1.take() {
            waker.wake();
        }
    });
    std::future::poll_fn(|context| {
        let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
        if done.0 {
            return Poll::Ready(());
        }
        done.1 = Some(context.waker().clone());
        Poll::Pending
    })
    .await;
}

impl FailingBackend {
    /// Does as `inner` does, until a fault is set.
    #[must_use]
    pub fn around(inner: Arc<dyn KeyBackend>) -> Self {
        Self {
            inner,
            faults: Faults::default(),
        }
    }

    /// Returns the switch of its faults.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }
}

impl fmt::Debug for FailingBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailingBackend")
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Layered for FailingBackend {
    type Inner = dyn KeyBackend;

    fn inner(&self) -> &dyn KeyBackend {
        &*self.inner
    }

    async fn key_metadata(
        &self,
        key: &KeyId,
        request: &GetKeyMetadataRequest<'_>,
    ) -> Result<KeyMetadata, BackendError> {
        let faults = self.faults.strike(Method::KeyMetadata).await?;
        let metadata = self.inner().key_metadata(key, request).await?;
        Ok(faults.into_iter().fold(metadata, spoil_metadata))
    }

    async fn encrypt(&self, key: &KeyId, request: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
        let faults = self.faults.strike(Method::Encrypt).await?;
        let encrypted = self.inner().encrypt(key, request).await?;
        Ok(faults.into_iter().fold(encrypted, spoil_encrypted))
    }

    /// By calls that the faults strike.
    async fn encrypt_verified(
        &self,
        key: &KeyId,
        request: &mut EncryptRequest<'_>,
    ) -> Result<VerifiedEncryption, BackendError> {
        VerifiedEncryption::by_two_calls(self, key, request).await
    }

    async fn decrypt(&self, key: &KeyId, request: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        let faults = self.faults.strike(Method::of(request)).await?;
        let mut plaintext = self.inner().decrypt(key, request).await?;
        faults
            .into_iter()
            .for_each(|fault| spoil(fault, Fault::FlipPlaintext, &mut plaintext));
        Ok(plaintext)
    }

    async fn health(&self) -> Result<Health, BackendError> {
        let faults = self.faults.strike(Method::Health).await?;
        let health = self.inner().health().await?;
        Ok(faults.into_iter().fold(health, spoil_health))
    }
}

fn spoil_metadata(metadata: KeyMetadata, fault: Fault) -> KeyMetadata {
    let usages = metadata.usages().iter().copied();
    match fault {
        Fault::Status(status) => KeyMetadata::new(metadata.spec().clone(), usages, status),
        Fault::OtherSpec => KeyMetadata::new(KeySpec::Other("RSA_2048".into()), usages, metadata.status()),
        _ => metadata,
    }
}

fn spoil_health(health: Health, fault: Fault) -> Health {
    let Fault::Health(status) = fault else {
        return health;
    };
    let mut members = health
        .members()
        .iter()
        .map(|member| EkmStatus::new(member.id().to_owned(), member.model().to_owned(), status));
    match members.next() {
        Some(first) => members.fold(Health::new(health.vendor().to_owned(), first), Health::and),
        None => health,
    }
}

fn spoil_encrypted(encrypted: Encrypted, fault: Fault) -> Encrypted {
    let Encrypted {
        mut ciphertext,
        mut iv,
        mut tag,
        mut aad,
    } = encrypted;
    spoil(fault, Fault::FlipCiphertext, &mut ciphertext);
    match fault {
        Fault::FlipTag => {
            let mut bytes = *tag.as_bytes();
            flip(&mut bytes);
            tag = bytes.into();
        }
        Fault::FlipIv => {
            let mut bytes = iv.as_bytes().to_vec();
            flip(&mut bytes);
            iv = Iv::try_from(&*bytes).unwrap_or(iv); // it is as long as before
        }
        Fault::AppendTag => ciphertext.extend_from_slice(tag.as_bytes()),
        Fault::DropMetadata => aad.set_metadata(&Parts::default(), None),
        Fault::OtherAad => {
            let other = BoundAad::new(AadFraming::Spec, Some(b"of another request"), aad.metadata().copied());
            aad = other.unwrap_or(aad); // it is short
        }
        _ => {}
    }
    Encrypted::new(ciphertext, iv, tag, aad)
}

/// `flips` is the fault that changes a bit of this text.
fn spoil(fault: Fault, flips: Fault, text: &mut Vec<u8>) {
    match fault {
        fault if fault == flips => flip(text),
        Fault::Lengthen => text.push(0),
        Fault::Shorten => drop(text.pop()),
        _ => {}
    }
}

fn flip(text: &mut [u8]) {
    if let Some(byte) = text.last_mut() {
        *byte ^= 1;
    }
}
