//! A backend that does everything right, in as few lines as that takes.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use aes_gcm::{Aes256Gcm, AesGcm, KeyInit as _, Tag, aead::AeadInOut, aead::consts::U16, aes::Aes256};
use xks_core::{
    BackendError, KeyBackend, KeyId, Zeroizing, async_trait,
    backend::{
        BackendErrorKind, DecryptRequest, EkmStatus, EncryptRequest, Encrypted, GetKeyMetadataRequest, Health,
        HealthStatus, KeyMetadata, KeySpec, KeyStatus, KeyUsage,
    },
    testkit::conformance::{Fixture, Problem, check},
};

pub(crate) const BOTH: [KeyUsage; 2] = [KeyUsage::Encrypt, KeyUsage::Decrypt];
pub(crate) const VALUE: [u8; 32] = [1; 32];

pub(crate) struct Key {
    pub(crate) value: [u8; 32],
    pub(crate) usages: Vec<KeyUsage>,
    pub(crate) status: KeyStatus,
}

pub(crate) struct Good {
    pub(crate) keys: HashMap<&'static str, Key>,
    pub(crate) is_broken: AtomicBool,
    /// Whether the key `switched` is disabled at the moment.
    pub(crate) is_switched_off: AtomicBool,
}

impl Good {
    pub(crate) fn new() -> Self {
        let key = |byte, usages: &[KeyUsage], status| Key {
            value: [byte; 32],
            usages: usages.to_vec(),
            status,
        };
        let keys = [
            ("usable", key(1, &BOTH, KeyStatus::Enabled)),
            ("other", key(2, &BOTH, KeyStatus::Enabled)),
            ("encrypts", key(3, &BOTH[..1], KeyStatus::Enabled)),
            ("decrypts", key(4, &BOTH[1..], KeyStatus::Enabled)),
            ("disabled", key(5, &BOTH, KeyStatus::Disabled)),
            ("switched", key(6, &BOTH, KeyStatus::Enabled)),
        ];
        Self {
            keys: keys.into(),
            is_broken: AtomicBool::new(false),
            is_switched_off: AtomicBool::new(false),
        }
    }

    pub(crate) fn status(&self, id: &KeyId) -> Result<KeyStatus, BackendError> {
        let is_off = id.as_str() == "switched" && self.is_switched_off.load(Ordering::SeqCst);
        Ok(if is_off {
            KeyStatus::Disabled
        } else {
            self.key(id)?.status
        })
    }

    pub(crate) fn key(&self, id: &KeyId) -> Result<&Key, BackendError> {
        if self.is_broken.load(Ordering::SeqCst) {
            return Err(BackendErrorKind::Unavailable.into());
        }
        self.keys
            .get(id.as_str())
            .ok_or_else(|| BackendErrorKind::KeyNotFound.into())
    }

    pub(crate) fn key_for(&self, id: &KeyId, usage: &KeyUsage) -> Result<&Key, BackendError> {
        let key = self.key(id)?;
        if self.status(id)? == KeyStatus::Disabled {
            Err(BackendErrorKind::KeyDisabled.into())
        } else if !key.usages.contains(usage) {
            Err(BackendErrorKind::KeyUsage.into())
        } else {
            Ok(key)
        }
    }
}

/// Encrypts in place.
pub(crate) fn seal(value: &[u8; 32], iv: &[u8; 12], aad: &[u8], text: &mut [u8]) -> [u8; 16] {
    let tag = Aes256Gcm::new(value.into()).encrypt_inout_detached(iv.into(), aad, text.into());
    tag.unwrap().into()
}

/// Decrypts in place.
pub(crate) fn open(value: &[u8; 32], iv: &[u8], aad: &[u8], text: &mut [u8], tag: &[u8; 16]) -> bool {
    let tag = Tag::from(*tag);
    let opened = match <&[u8; 12]>::try_from(iv) {
        Ok(iv) => Aes256Gcm::new(value.into()).decrypt_inout_detached(iv.into(), aad, text.into(), &tag),
        Err(_) => AesGcm::<Aes256, U16>::new(value.into()).decrypt_inout_detached(
            <&[u8; 16]>::try_from(iv).unwrap().into(),
            aad,
            text.into(),
            &tag,
        ),
    };
    opened.is_ok()
}

pub(crate) fn random_iv() -> [u8; 12] {
    let mut iv = [0; 12];
    getrandom::fill(&mut iv).unwrap();
    iv
}

#[async_trait]
impl KeyBackend for Good {
    async fn key_metadata(&self, id: &KeyId, _: &GetKeyMetadataRequest<'_>) -> Result<KeyMetadata, BackendError> {
        let key = self.key(id)?;
        Ok(KeyMetadata::new(KeySpec::Aes256, key.usages.clone(), self.status(id)?))
    }

    async fn encrypt(&self, id: &KeyId, request: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
        let key = self.key_for(id, &KeyUsage::Encrypt)?;
        let (aad, iv, mut text) = (request.bind_aad(None), random_iv(), request.plaintext().to_vec());
        let tag = seal(&key.value, &iv, aad.as_bytes(), &mut text);
        Ok(Encrypted::new(text, iv.into(), tag.into(), aad))
    }

    async fn decrypt(&self, id: &KeyId, request: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        let key = self.key_for(id, &KeyUsage::Decrypt)?;
        let mut text = Zeroizing::new(request.ciphertext().to_vec());
        let (iv, aad, tag) = (
            request.iv().as_bytes(),
            request.bound_aad().as_bytes(),
            request.tag().as_bytes(),
        );
        if open(&key.value, iv, aad, &mut text, tag) {
            Ok(text)
        } else {
            Err(BackendError::invalid_ciphertext())
        }
    }

    async fn health(&self) -> Result<Health, BackendError> {
        let status = match self.is_broken.load(Ordering::SeqCst) {
            false => HealthStatus::Active,
            true => HealthStatus::Unavailable,
        };
        Ok(Health::new("Example Inc.", EkmStatus::new("one", "Good 1.0", status)))
    }
}

/// All keys and hooks that there are.
pub(crate) fn fixture(backend: Arc<dyn KeyBackend>) -> Fixture {
    Fixture::new(backend, "usable")
        .other("other")
        .encrypt_only("encrypts")
        .decrypt_only("decrypts")
        .disabled("disabled")
        .value(VALUE)
}

fn whole_fixture() -> Fixture {
    let good = Arc::new(Good::new());
    let (broken, switched) = (Arc::clone(&good), Arc::clone(&good));
    fixture(good)
        .restarted(Arc::new(Good::new()))
        .switch("switched", move |on| {
            switched.is_switched_off.store(!on, Ordering::SeqCst);
        })
        .break_down(move || broken.is_broken.store(true, Ordering::SeqCst))
}

/// A good backend passes all of them, each as a test of its own. It runs on plain threads.
mod by_macro {
    xks_core::testkit::conformance!(super::whole_fixture(), all);
}

#[test]
fn a_good_backend_has_no_problems() {
    for finding in check(whole_fixture()) {
        assert_eq!(finding.problem, None, "{:?}", finding.contract);
    }
}

/// On a runtime of the vendor's.
#[test]
fn calls_can_run_on_a_runtime() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .unwrap();
    let fixture = whole_fixture().iv_calls(100).run(move |future| {
        runtime.block_on(async {
            tokio::runtime::Handle::current(); // panics outside of a runtime
            future.await;
        });
    });
    assert!(check(fixture).iter().all(|finding| finding.problem.is_none()));
}

/// Contracts that need what the fixture lacks are reported as not tried, and no others.
#[test]
fn what_was_not_tried_is_said() {
    let findings = check(Fixture::new(Arc::new(Good::new()), "usable").iv_calls(100));
    let not_tried: Vec<_> = findings
        .iter()
        .filter_map(|finding| match &finding.problem {
            Some(Problem::NotTried(_)) => Some(finding.contract.name),
            Some(Problem::Broken(how)) => panic!("{how}"),
            None => None,
        })
        .collect();
    let expected = [
        "software_agrees",
        "ciphertexts_outlive_a_restart",
        "keys_are_kept_apart",
        "ivs_do_not_begin_anew",
        "keys_that_only_encrypt",
        "keys_that_only_decrypt",
        "disabled_keys_are_refused",
        "a_change_of_status_is_seen",
        "health_follows",
        "outages_tell_no_plaintext",
    ];
    assert_eq!(not_tried, expected);
}
