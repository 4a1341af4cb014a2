//! Backends whose defect shows only in some order of calls, for some inputs, or some time later.

use std::{
    collections::{HashMap, VecDeque},
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use xks_core::{
    BackendError, KeyBackend, KeyId, Zeroizing, async_trait,
    backend::{
        BackendErrorKind, DecryptRequest, EkmStatus, EncryptRequest, Encrypted, GetKeyMetadataRequest, Health,
        HealthStatus, KeyMetadata, KeySpec, KeyStatus, KeyUsage, Verification, VerifiedEncryption,
    },
};

use crate::{
    broken::wait_once,
    good::{Good, open, random_iv, seal},
};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    CachesWithoutAad,
    CachesWithoutCiphertext,
    CachesWithoutIv,
    CachesWithoutKey,
    CachesWithoutTag,
    SkipsABlockOfAad,
    IgnoresAadOfEmptyTexts,
    TrimsZeros,
    StripsPadding,
    RefusesLongMetadata,
    SharesAad,
    SharesTheKey,
    OneSlotForAnswers,
    GivesAnswersOfDroppedCalls,
    LeaksPlacesOfMetadata,
    LosesAnswersThatWait,
    RemembersForTrials,
    TriesSomethingElse,
    StumblesAfterABadTag,
    CachesStatus,
    ForgetsAtARestart,
    StaysDegraded,
    TwoMembersOfOneName,
    ControlCharacterInAName,
    TellsPlaintextWhenItFails,
}

pub(crate) struct Sly {
    good: Good,
    flaw: Flaw,
    plaintexts: Mutex<HashMap<Vec<Vec<u8>>, Vec<u8>>>,
    aad: Mutex<Vec<u8>>,
    key: Mutex<[u8; 32]>,
    answers: Mutex<VecDeque<Encrypted>>,
    last: Mutex<Vec<u8>>,
    statuses: Mutex<HashMap<String, KeyStatus>>,
    born: [u8; 12],
    places: AtomicUsize,
    stumbles: AtomicBool,
}

impl Sly {
    pub(crate) fn new(flaw: Flaw) -> Arc<Self> {
        Arc::new(Self {
            good: Good::new(),
            flaw,
            plaintexts: Mutex::default(),
            aad: Mutex::default(),
            key: Mutex::default(),
            answers: Mutex::default(),
            last: Mutex::default(),
            statuses: Mutex::default(),
            born: random_iv(),
            places: AtomicUsize::new(64),
            stumbles: AtomicBool::new(false),
        })
    }

    pub(crate) fn good(&self) -> &Good {
        &self.good
    }

    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    fn status(&self, id: &KeyId) -> Result<KeyStatus, BackendError> {
        let status = self.good.status(id)?;
        if self.is(Flaw::CachesStatus) {
            let mut statuses = self.statuses.lock().unwrap();
            return Ok(*statuses.entry(id.to_string()).or_insert(status));
        }
        Ok(status)
    }

    /// The value of a key that may be used for this.
    fn value(&self, id: &KeyId, usage: KeyUsage) -> Result<[u8; 32], BackendError> {
        if self.stumbles.swap(false, SeqCst) {
            return Err(BackendError::new(BackendErrorKind::Other, "CKR_OPERATION_ACTIVE"));
        }
        let key = self.good.key(id)?;
        if self.status(id)? == KeyStatus::Disabled {
            return Err(BackendErrorKind::KeyDisabled.into());
        }
        if !key.usages.contains(&usage) {
            return Err(BackendErrorKind::KeyUsage.into());
        }
        let mut value = key.value;
        match self.flaw {
            Flaw::SharesTheKey => value = shared(&self.key, value),
            Flaw::ForgetsAtARestart => value[..12].copy_from_slice(&self.born),
            _ => {}
        }
        Ok(value)
    }

    /// What is authenticated of a text and its AAD.
    fn authenticated(&self, text: &[u8], aad: &[u8]) -> Vec<u8> {
        let mut aad = aad.to_vec();
        match self.flaw {
            Flaw::SkipsABlockOfAad if aad.len() > 5024 => aad[5008..5024].fill(0),
            Flaw::IgnoresAadOfEmptyTexts if text.is_empty() => aad.clear(),
            _ => {}
        }
        aad
    }

    fn open(&self, key: &KeyId, value: &[u8; 32], request: &DecryptRequest<'_>) -> Result<Vec<u8>, BackendError> {
        let (iv, tag, aad) = (request.iv().as_bytes(), request.tag().as_bytes(), request.bound_aad());
        let mut parts: Vec<Vec<u8>> = [request.ciphertext(), iv, tag, aad.as_bytes(), key.as_str().as_bytes()]
            .map(<[u8]>::to_vec)
            .into();
        let forgotten = match self.flaw {
            Flaw::CachesWithoutCiphertext => Some(0),
            Flaw::CachesWithoutIv => Some(1),
            Flaw::CachesWithoutTag => Some(2),
            Flaw::CachesWithoutAad => Some(3),
            Flaw::CachesWithoutKey => Some(4),
            _ => None,
        };
        if let Some(part) = forgotten {
            parts[part].clear();
            if let Some(plaintext) = self.plaintexts.lock().unwrap().get(&parts) {
                return Ok(plaintext.clone());
            }
        }
        let is_long = aad.metadata().is_some_and(|metadata| metadata.as_bytes().len() > 16);
        let mut text = request.ciphertext().to_vec();
        let authenticated = self.authenticated(&text, aad.as_bytes());
        if is_long && self.is(Flaw::RefusesLongMetadata) || !open(value, iv, &authenticated, &mut text, tag) {
            self.stumbles.store(self.is(Flaw::StumblesAfterABadTag), SeqCst);
            return Err(BackendError::invalid_ciphertext());
        }
        if forgotten.is_some() {
            self.plaintexts.lock().unwrap().insert(parts, text.clone());
        }
        Ok(text)
    }
}

/// Puts a value where other calls put theirs, and takes it from there after a while.
fn shared<T: Clone>(place: &Mutex<T>, value: T) -> T {
    *place.lock().unwrap() = value;
    thread::sleep(Duration::from_millis(1));
    place.lock().unwrap().clone()
}

#[async_trait]
impl KeyBackend for Sly {
    async fn key_metadata(&self, id: &KeyId, _: &GetKeyMetadataRequest<'_>) -> Result<KeyMetadata, BackendError> {
        if self.is(Flaw::LeaksPlacesOfMetadata) {
            let taken = self.places.fetch_update(SeqCst, SeqCst, |places| places.checked_sub(1));
            taken.map_err(|_| BackendErrorKind::Throttled)?;
            wait_once().await;
            self.places.fetch_add(1, SeqCst); // not if the future is dropped before
        }
        let usages = self.good.key(id)?.usages.clone();
        Ok(KeyMetadata::new(KeySpec::Aes256, usages, self.status(id)?))
    }

    async fn encrypt(&self, id: &KeyId, request: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
        let value = self.value(id, KeyUsage::Encrypt).map_err(|error| {
            if self.is(Flaw::TellsPlaintextWhenItFails) && error.kind() == BackendErrorKind::Unavailable {
                let words = format!("cannot encrypt {:?}", request.plaintext());
                return BackendError::new(error.kind(), words);
            }
            error
        })?;
        let (aad, iv, mut text) = (request.bind_aad(None), random_iv(), request.plaintext().to_vec());
        let mut authenticated = self.authenticated(&text, aad.as_bytes());
        if self.is(Flaw::SharesAad) {
            authenticated = shared(&self.aad, authenticated);
        }
        let tag = seal(&value, &iv, &authenticated, &mut text);
        self.last.lock().unwrap().clone_from(&request.plaintext().to_vec());
        let encrypted = Encrypted::new(text, iv.into(), tag.into(), aad);
        match self.flaw {
            Flaw::OneSlotForAnswers => {
                *self.answers.lock().unwrap() = [encrypted].into();
                wait_once().await;
                self.answers.lock().unwrap().pop_front()
            }
            Flaw::GivesAnswersOfDroppedCalls => {
                self.answers.lock().unwrap().push_back(encrypted);
                wait_once().await;
                self.answers.lock().unwrap().pop_front()
            }
            Flaw::LosesAnswersThatWait => {
                let start = Instant::now();
                wait_once().await;
                if start.elapsed() > Duration::from_millis(20) {
                    pending::<()>().await;
                }
                Some(encrypted)
            }
            _ => Some(encrypted),
        }
        .ok_or_else(|| BackendError::new(BackendErrorKind::Other, "the answer is gone"))
    }

    async fn encrypt_verified(
        &self,
        id: &KeyId,
        request: &mut EncryptRequest<'_>,
    ) -> Result<VerifiedEncryption, BackendError> {
        let mut other = EncryptRequest::new(
            request.request_metadata().clone(),
            Vec::new().into(),
            request.bind_aad(None),
        );
        let is_other = self.is(Flaw::TriesSomethingElse);
        let verification = Verification::begin(self.encrypt(id, if is_other { &mut other } else { request }).await?);
        let decryption = DecryptRequest::new(request.request_metadata().clone(), copy(verification.encrypted()));
        let decrypted = self.decrypt(id, &decryption).await;
        verification.end(decrypted, if is_other { b"" } else { request.plaintext() })
    }

    async fn decrypt(&self, id: &KeyId, request: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        let value = self.value(id, KeyUsage::Decrypt)?;
        if self.is(Flaw::RemembersForTrials) && request.is_verification() {
            return Ok(Zeroizing::new(self.last.lock().unwrap().clone()));
        }
        let mut text = self.open(id, &value, request)?;
        match (self.flaw, text.last().copied()) {
            (Flaw::TrimsZeros, _) => text.truncate(text.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)),
            (Flaw::StripsPadding, Some(pad @ 1..=16)) if text.ends_with(&vec![pad; pad.into()]) => {
                text.truncate(text.len() - usize::from(pad));
            }
            _ => {}
        }
        Ok(Zeroizing::new(text))
    }

    async fn health(&self) -> Result<Health, BackendError> {
        let status = match (self.good.is_broken.load(SeqCst), self.flaw) {
            (false, _) => HealthStatus::Active,
            (true, Flaw::StaysDegraded) => HealthStatus::Degraded,
            (true, _) => HealthStatus::Unavailable,
        };
        let name = match self.flaw {
            Flaw::ControlCharacterInAName => "one\n",
            _ => "one",
        };
        let health = Health::new("Example Inc.", EkmStatus::new(name, "Sly 1.0", status));
        Ok(match self.flaw {
            Flaw::TwoMembersOfOneName => health.and(EkmStatus::new(name, "Sly 1.0", status)),
            _ => health,
        })
    }
}

fn copy(of: &Encrypted) -> Encrypted {
    Encrypted::new(of.ciphertext().to_vec(), *of.iv(), *of.tag(), of.bound_aad().clone())
}
