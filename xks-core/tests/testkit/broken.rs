//! Backends that are broken in one way each.

use std::{
    collections::{HashMap, HashSet},
    future::{pending, poll_fn},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
    thread,
    time::Duration,
};

use xks_core::{
    BackendError, KeyBackend, KeyId, Zeroizing,
    aad::{AadFraming, BoundAad},
    async_trait,
    backend::{
        BackendErrorKind, DecryptRequest, EkmStatus, EncryptRequest, Encrypted, GetKeyMetadataRequest, Health,
        HealthStatus, KeyMetadata, KeySpec, KeyStatus, KeyUsage, Limits,
    },
};

use crate::good::{BOTH, Good, open, random_iv, seal};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    RepeatsAnIv,
    AlwaysTheSameIv,
    ZeroIv,
    IvCounterRestarts,
    IgnoresAad,
    CutsAad,
    AuthenticatesAadWithoutFrame,
    IgnoresMetadata,
    JoinsAadAndMetadata,
    TagInsideCiphertext,
    PadsCiphertext,
    ReturnsPlaintext,
    AnotherCipher,
    OneKeyForAll,
    AcceptsAnyTag,
    ComparesHalfTheTag,
    AcceptsTagsOfOthers,
    IgnoresTheEndOfTheIv,
    IgnoresBytesAfterTheCiphertext,
    SaysEnabledOfDisabled,
    ServesDisabled,
    EncryptsWithoutUsage,
    DecryptsWithoutUsage,
    SaysAllUsages,
    DefaultKey,
    InventsMetadataOfMissing,
    IgnoresCase,
    MatchesPrefix,
    CallsInvalidInternal,
    StumblesOverNonsense,
    TellsWhatIsInvalid,
    TellsPlaintext,
    RefusesEmpty,
    RefusesLong,
    RefusesMuchAad,
    RefusesAadThatIsAbsent,
    SharesABuffer,
    LeaksPlaces,
    StaysBusy,
    AlwaysActive,
    FailsAsOther,
    UnwellWhileItWorks,
    NoVendor,
    SaysRsa,
    ForgetsAUsage,
    BindsOtherAad,
    RefusesMetadata,
    SmallLimits,
    DecryptsOnce,
    AnswersFromACache,
    Panics,
    SaysNothingOfItsMetadata,
    SaysTooMuchOfItsMetadata,
    ReadsMetadataFromTheFrame,
}

const OWN_METADATA: &[u8] = b"version 1";

/// Whether these bytes and no others are the metadata in what is authenticated.
fn is_framed(authenticated: &[u8], metadata: &[u8]) -> bool {
    authenticated.ends_with(&[&[metadata.len() as u8], metadata].concat())
}

/// IV, ciphertext and tag.
type Made = ([u8; 12], Vec<u8>, [u8; 16]);

pub(crate) struct Broken {
    good: Good,
    defect: Defect,
    count: AtomicU64,
    seen: Mutex<HashSet<Vec<u8>>>,
    cache: Mutex<HashMap<Vec<u8>, Made>>,
    shared: Mutex<Vec<u8>>,
    places: AtomicUsize,
    is_busy: AtomicBool,
}

impl Broken {
    pub(crate) fn new(defect: Defect) -> Arc<Self> {
        Arc::new(Self {
            good: Good::new(),
            defect,
            count: AtomicU64::new(0),
            seen: Mutex::default(),
            cache: Mutex::default(),
            shared: Mutex::default(),
            places: AtomicUsize::new(64),
            is_busy: AtomicBool::new(false),
        })
    }

    pub(crate) fn break_down(&self) {
        self.good.is_broken.store(true, SeqCst);
    }

    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    fn iv(&self) -> [u8; 12] {
        let count = self.count.fetch_add(1, SeqCst);
        let numbered = |number: u64| {
            let mut iv = [7; 12];
            iv[..8].copy_from_slice(&number.to_le_bytes());
            iv
        };
        match self.defect {
            Defect::RepeatsAnIv => numbered(count % 9000),
            Defect::AlwaysTheSameIv => [7; 12],
            Defect::ZeroIv => [0; 12],
            Defect::IvCounterRestarts => numbered(count),
            Defect::IgnoresTheEndOfTheIv => {
                let mut iv = random_iv();
                iv[11] = 0;
                iv
            }
            _ => random_iv(),
        }
    }

    /// What is authenticated. The frame of the specification is two bytes of length, AAD, a byte of length,
    /// metadata.
    fn authenticated(&self, aad: &BoundAad) -> Vec<u8> {
        let bytes = aad.as_bytes();
        let metadata = aad.metadata().map_or(&[][..], |metadata| metadata.as_bytes());
        let (frame, raw) = (
            bytes.len() - metadata.len(),
            &bytes[2..bytes.len() - metadata.len() - 1],
        );
        match self.defect {
            Defect::IgnoresAad => Vec::new(),
            Defect::CutsAad => bytes[..bytes.len().min(4096)].to_vec(),
            Defect::AuthenticatesAadWithoutFrame => raw.to_vec(),
            Defect::IgnoresMetadata => bytes[..frame - 1].to_vec(),
            Defect::JoinsAadAndMetadata => [raw, metadata].concat(),
            _ => bytes.to_vec(),
        }
    }

    fn id(&self, id: &KeyId) -> KeyId {
        let known = self.good.keys.contains_key(id.as_str());
        let found = match self.defect {
            Defect::DefaultKey if !known => Some("usable"),
            Defect::IgnoresCase => self
                .good
                .keys
                .keys()
                .find(|key| key.eq_ignore_ascii_case(id.as_str()))
                .copied(),
            Defect::MatchesPrefix => self
                .good
                .keys
                .keys()
                .find(|key| id.as_str().starts_with(**key))
                .copied(),
            _ => None,
        };
        found.map_or_else(|| id.clone(), |key| key.parse().unwrap())
    }

    fn value(&self, id: &KeyId, usage: &KeyUsage) -> Result<[u8; 32], BackendError> {
        let id = self.id(id);
        let key = self.good.key(&id).map_err(|error| match self.defect {
            Defect::FailsAsOther if error.kind() == BackendErrorKind::Unavailable => BackendErrorKind::Other.into(),
            _ => error,
        })?;
        let outcome = self.good.key_for(&id, usage).map(|_| ());
        if let Err(error) = outcome {
            let is_served = match error.kind() {
                BackendErrorKind::KeyDisabled => self.is(Defect::ServesDisabled),
                BackendErrorKind::KeyUsage if *usage == KeyUsage::Encrypt => self.is(Defect::EncryptsWithoutUsage),
                BackendErrorKind::KeyUsage => self.is(Defect::DecryptsWithoutUsage),
                _ => false,
            };
            if !is_served {
                return Err(error);
            }
        }
        Ok(match self.defect {
            Defect::OneKeyForAll => [1; 32],
            Defect::AnotherCipher => key.value.map(|byte| byte ^ 0xff),
            _ => key.value,
        })
    }

    /// What goes wrong between the calls.
    async fn way_in(&self) -> Result<(), BackendError> {
        match self.defect {
            Defect::LeaksPlaces => {
                let taken = self.places.fetch_update(SeqCst, SeqCst, |places| places.checked_sub(1));
                taken.map_err(|_| BackendErrorKind::Throttled)?;
                wait_once().await;
                self.places.fetch_add(1, SeqCst); // not if the future is dropped before
            }
            Defect::StaysBusy => {
                if self.is_busy.swap(true, SeqCst) {
                    pending::<()>().await;
                }
                wait_once().await;
                self.is_busy.store(false, SeqCst); // not if the future is dropped before
            }
            _ => {}
        }
        Ok(())
    }

    fn refuses(&self, request: &EncryptRequest<'_>, aad: &BoundAad) -> bool {
        match self.defect {
            Defect::RefusesEmpty => request.plaintext().is_empty(),
            Defect::RefusesLong => request.plaintext().len() > 4096,
            Defect::RefusesMuchAad => aad.as_bytes().len() > 4096,
            Defect::RefusesAadThatIsAbsent => aad.as_bytes() == [0, 0, 0],
            _ => false,
        }
    }
}

/// Ready when asked a second time.
pub(crate) async fn wait_once() {
    let mut was_asked = false;
    poll_fn(|context| {
        if std::mem::replace(&mut was_asked, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[async_trait]
impl KeyBackend for Broken {
    async fn key_metadata(&self, id: &KeyId, _: &GetKeyMetadataRequest<'_>) -> Result<KeyMetadata, BackendError> {
        let found = match self.defect {
            Defect::InventsMetadataOfMissing => self.good.keys.get(id.as_str()).unwrap_or(&self.good.keys["usable"]),
            _ => self.good.key(&self.id(id))?,
        };
        let mut usages = found.usages.clone();
        match self.defect {
            Defect::SaysAllUsages => usages = BOTH.to_vec(),
            Defect::ForgetsAUsage => usages.truncate(1),
            _ => {}
        }
        let status = match self.defect {
            Defect::SaysEnabledOfDisabled => KeyStatus::Enabled,
            _ => found.status,
        };
        let spec = match self.defect {
            Defect::SaysRsa => KeySpec::Other("RSA_2048".into()),
            _ => KeySpec::Aes256,
        };
        Ok(KeyMetadata::new(spec, usages, status))
    }

    async fn encrypt(&self, id: &KeyId, request: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
        assert!(!self.is(Defect::Panics), "as the test wants it");
        self.way_in().await?;
        let value = self.value(id, &KeyUsage::Encrypt).map_err(|error| match self.defect {
            Defect::TellsPlaintext => {
                let text = String::from_utf8_lossy(request.plaintext()).into_owned();
                BackendError::new(error.kind(), format!("cannot encrypt {text}"))
            }
            _ => error,
        })?;
        let own = match self.defect {
            Defect::SaysNothingOfItsMetadata | Defect::ReadsMetadataFromTheFrame => Some(OWN_METADATA),
            _ => None,
        };
        let mut aad = request.bind_aad(own.map(|own| own.try_into().unwrap()));
        if self.refuses(request, &aad) {
            return Err(BackendErrorKind::Unsupported.into());
        }
        let mut text = request.plaintext().to_vec();
        if self.is(Defect::SharesABuffer) {
            self.shared.lock().unwrap().clone_from(&text);
            thread::sleep(Duration::from_millis(1));
            text.clone_from(&self.shared.lock().unwrap());
            text.resize(request.plaintext().len(), 0);
        }
        let mut iv = self.iv();
        let mut tag = seal(&value, &iv, &self.authenticated(&aad), &mut text);
        match self.defect {
            Defect::TagInsideCiphertext => text.extend_from_slice(&tag),
            Defect::PadsCiphertext => text.push(0),
            Defect::ReturnsPlaintext => text = request.plaintext().to_vec(),
            Defect::BindsOtherAad => aad = BoundAad::new(AadFraming::Spec, Some(b"other"), None).unwrap(),
            Defect::AcceptsTagsOfOthers => drop(self.seen.lock().unwrap().insert(tag.to_vec())),
            Defect::AnswersFromACache => {
                let asked = [request.plaintext(), aad.as_bytes()].concat();
                let made = (iv, text.clone(), tag);
                (iv, text, tag) = self.cache.lock().unwrap().entry(asked).or_insert(made).clone();
            }
            _ => {}
        }
        Ok(Encrypted::new(text, iv.into(), tag.into(), aad))
    }

    async fn decrypt(&self, id: &KeyId, request: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        self.way_in().await?;
        let value = self.value(id, &KeyUsage::Decrypt);
        if self.is(Defect::StumblesOverNonsense) && value.is_err() && request.ciphertext().starts_with(&[7; 16]) {
            return Err(BackendError::new(BackendErrorKind::Other, "no such key version"));
        }
        let value = value?;
        let (mut iv, aad, tag) = (
            request.iv().as_bytes().to_vec(),
            request.bound_aad(),
            *request.tag().as_bytes(),
        );
        if self.is(Defect::RefusesMetadata) && aad.metadata().is_some() {
            return Err(BackendError::invalid_ciphertext());
        }
        if self.is(Defect::ReadsMetadataFromTheFrame) && !is_framed(aad.as_bytes(), OWN_METADATA) {
            return Err(BackendError::invalid_ciphertext());
        }
        if self.is(Defect::DecryptsOnce) && !self.seen.lock().unwrap().insert([&iv[..], &tag].concat()) {
            return Err(BackendError::invalid_ciphertext());
        }
        if self.is(Defect::IgnoresTheEndOfTheIv) {
            *iv.last_mut().unwrap() = 0;
        }
        let authenticated = self.authenticated(aad);
        let mut text = request.ciphertext().to_vec();
        if self.is(Defect::ReturnsPlaintext) {
            return Ok(Zeroizing::new(text));
        }
        if self.is(Defect::IgnoresBytesAfterTheCiphertext) {
            // As long as the tag fits to what is before.
            for end in 0..text.len() {
                let mut shorter = text[..end].to_vec();
                if open(&value, &iv, &authenticated, &mut shorter, &tag) {
                    return Ok(Zeroizing::new(shorter));
                }
            }
        }
        if open(&value, &iv, &authenticated, &mut text, &tag) {
            return Ok(Zeroizing::new(text));
        }
        // What the right tag would be: GCM encrypts and decrypts alike.
        let by_key = <[u8; 12]>::try_from(&*iv).map(|iv| {
            let mut plaintext = request.ciphertext().to_vec();
            seal(&value, &iv, &authenticated, &mut plaintext);
            let mut again = plaintext.clone();
            let tag = seal(&value, &iv, &authenticated, &mut again);
            (plaintext, tag)
        });
        let (plaintext, right) = by_key.unwrap_or_default();
        let passes = match self.defect {
            Defect::AcceptsAnyTag => iv.len() == 12,
            Defect::ComparesHalfTheTag => right[..8] == tag[..8],
            Defect::AcceptsTagsOfOthers => self.seen.lock().unwrap().contains(&tag[..]),
            _ => false,
        };
        if passes {
            return Ok(Zeroizing::new(plaintext));
        }
        Err(match self.defect {
            Defect::CallsInvalidInternal => BackendError::new(BackendErrorKind::Other, "CKR_ENCRYPTED_DATA_INVALID"),
            Defect::TellsWhatIsInvalid if tag == [0; 16] => {
                BackendError::new(BackendErrorKind::InvalidCiphertext, "the tag is zero")
            }
            _ => BackendError::invalid_ciphertext(),
        })
    }

    async fn health(&self) -> Result<Health, BackendError> {
        self.way_in().await?;
        if self.is(Defect::UnwellWhileItWorks) {
            return Err(BackendErrorKind::Unavailable.into());
        }
        let vendor = if self.is(Defect::NoVendor) { "" } else { "Example Inc." };
        let status = match self.good.is_broken.load(SeqCst) && !self.is(Defect::AlwaysActive) {
            false => HealthStatus::Active,
            true => HealthStatus::Unavailable,
        };
        Ok(Health::new(vendor, EkmStatus::new("one", "Broken 1.0", status)))
    }

    fn limits(&self) -> Limits {
        match self.defect {
            Defect::SmallLimits => Limits::default().with_aad(4096),
            _ => Limits::default(),
        }
    }

    fn metadata_length(&self) -> usize {
        match self.defect {
            Defect::ReadsMetadataFromTheFrame => OWN_METADATA.len(),
            Defect::SaysTooMuchOfItsMetadata => 21,
            _ => 0,
        }
    }
}
