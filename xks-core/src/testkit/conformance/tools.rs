//! Calls of the backend, as the contracts make them.

use super::{Fixture, Problem};
use crate::{
    BackendError, KeyBackend, Zeroizing,
    aad::{AadFraming, BoundAad},
    api::RequestMetadata,
    backend::{
        BackendErrorKind, CiphertextMetadata, DecryptRequest, EncryptRequest, Encrypted, GetKeyMetadataRequest, Health,
        Iv, KeyMetadata, Tag,
    },
    text::ErrorChain,
};

pub(super) type Checked = Result<(), Problem>;

pub(super) fn broken(how: impl Into<String>) -> Problem {
    Problem::Broken(how.into())
}

/// Breaks the contract unless it holds.
pub(super) fn require(holds: bool, how: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Problem::Broken(how())) }
}

/// A plaintext that is not like another of another length.
pub(super) fn text(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 + length) as u8).collect()
}

pub(super) fn aad(framing: AadFraming, aad: Option<&[u8]>) -> Result<BoundAad, Problem> {
    BoundAad::new(framing, aad, None).map_err(|error| broken(format!("the fixture's AAD: {error}")))
}

pub(super) fn metadata(bytes: &[u8]) -> Option<CiphertextMetadata> {
    CiphertextMetadata::try_from(bytes).ok()
}

/// With the AAD of most calls.
pub(super) fn usual_aad() -> Result<BoundAad, Problem> {
    aad(AadFraming::Spec, Some(b"project=nile,department=marketing"))
}

pub(super) fn request(plaintext: &[u8], aad: BoundAad) -> EncryptRequest<'static> {
    EncryptRequest::new(who(), Zeroizing::new(plaintext.to_vec()), aad)
}

/// What KMS says with every request.
pub(super) fn who() -> RequestMetadata<'static> {
    const WHO: &str = r#"{
        "awsPrincipalArn": "arn:aws:iam::123456789012:user/Alice",
        "kmsKeyArn": "arn:aws:kms:us-east-2:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
        "kmsOperation": "Encrypt",
        "kmsRequestId": "4112f4d6-db54-4af4-ae30-c55a22a8dfae"
    }"#;
    RequestMetadata::from_json(WHO).unwrap_or_default()
}

impl Fixture {
    pub(super) fn encrypt_on(
        &self,
        backend: &dyn KeyBackend,
        key: &str,
        plaintext: &[u8],
        aad: BoundAad,
    ) -> Result<Result<Encrypted, BackendError>, Problem> {
        let (key, mut request) = (self.key(key)?, request(plaintext, aad));
        match self.wait(backend.encrypt(&key, &mut request)).ok_or_else(not_run)? {
            Ok(encrypted) => checked(&request, encrypted).map(Ok),
            refused => Ok(refused),
        }
    }

    /// Encrypts, which must go well.
    pub(super) fn encrypt(&self, plaintext: &[u8], aad: BoundAad) -> Result<Encrypted, Problem> {
        let outcome = self.encrypt_on(&*self.backend, &self.usable, plaintext, aad)?;
        outcome.map_err(|error| {
            broken(format!(
                "{} bytes were not encrypted: {}",
                plaintext.len(),
                said(&error)
            ))
        })
    }

    /// Encrypts, which must go well, a request that the caller goes on to use.
    pub(super) fn encrypt_request(&self, request: &mut EncryptRequest<'_>) -> Result<Encrypted, Problem> {
        let key = self.key(&self.usable)?;
        let outcome = self.wait(self.backend.encrypt(&key, request)).ok_or_else(not_run)?;
        let encrypted = outcome.map_err(|error| broken(format!("not encrypted: {}", said(&error))))?;
        checked(request, encrypted)
    }

    pub(super) fn decrypt_on(
        &self,
        backend: &dyn KeyBackend,
        key: &str,
        encrypted: Encrypted,
    ) -> Result<Result<Zeroizing<Vec<u8>>, BackendError>, Problem> {
        let (key, request) = (self.key(key)?, DecryptRequest::new(who(), encrypted));
        self.wait(backend.decrypt(&key, &request)).ok_or_else(not_run)
    }

    pub(super) fn decrypt(
        &self,
        key: &str,
        encrypted: Encrypted,
    ) -> Result<Result<Zeroizing<Vec<u8>>, BackendError>, Problem> {
        self.decrypt_on(&*self.backend, key, encrypted)
    }

    /// Decrypts, which must give this plaintext.
    pub(super) fn must_decrypt(&self, encrypted: &Encrypted, plaintext: &[u8], what: &str) -> Checked {
        is_plaintext(self.decrypt(&self.usable, copy(encrypted))?, plaintext, what)
    }

    /// Decrypts, which must be refused as invalid. `what` was done to the ciphertext.
    pub(super) fn must_be_invalid(&self, key: &str, encrypted: Encrypted, what: &str) -> Checked {
        match self.decrypt(key, encrypted)? {
            Ok(_) => Err(broken(format!("{what}, and it decrypted all the same"))),
            Err(error) if error.kind() == BackendErrorKind::InvalidCiphertext => Ok(()),
            Err(error) => Err(broken(format!(
                "{what}, and the answer was {} instead of InvalidCiphertext",
                said(&error)
            ))),
        }
    }

    pub(super) fn key_metadata(&self, key: &str) -> Result<Result<KeyMetadata, BackendError>, Problem> {
        let (key, request) = (self.key(key)?, GetKeyMetadataRequest::new(who()));
        self.wait(self.backend.key_metadata(&key, &request)).ok_or_else(not_run)
    }

    pub(super) fn health(&self) -> Result<Result<Health, BackendError>, Problem> {
        self.wait(self.backend.health()).ok_or_else(not_run)
    }
}

/// What the pipeline would take. Of its metadata all is seen that is the backend's, with its layers.
pub(super) fn checked(request: &EncryptRequest<'_>, mut encrypted: Encrypted) -> Result<Encrypted, Problem> {
    request.check(&encrypted).map_err(broken)?;
    encrypted.aad.see_from(request.parts_length());
    Ok(encrypted)
}

pub(super) fn not_run() -> Problem {
    broken("the fixture's `run` did not run the future to its end")
}

/// The outcome of a decryption must be this plaintext. `what` was decrypted.
pub(super) fn is_plaintext(outcome: Result<Zeroizing<Vec<u8>>, BackendError>, plaintext: &[u8], what: &str) -> Checked {
    match outcome {
        Ok(decrypted) if *decrypted == plaintext => Ok(()),
        Ok(decrypted) => Err(broken(format!(
            "{what} decrypted to another plaintext, of {} bytes instead of {}",
            decrypted.len(),
            plaintext.len()
        ))),
        Err(error) => Err(broken(format!("{what} did not decrypt: {}", said(&error)))),
    }
}

/// The outcome must be a refusal of this kind.
pub(super) fn must_refuse<T>(outcome: Result<T, BackendError>, kind: BackendErrorKind, what: &str) -> Checked {
    match outcome {
        Ok(_) => Err(broken(format!("{what} succeeded, instead of {kind:?}"))),
        Err(error) if error.kind() == kind => Ok(()),
        Err(error) => Err(broken(format!("{what} gave {} instead of {kind:?}", said(&error)))),
    }
}

/// Kind and words.
pub(super) fn said(error: &BackendError) -> String {
    format!("{:?} ({})", error.kind(), ErrorChain(error))
}

pub(super) fn copy(of: &Encrypted) -> Encrypted {
    Encrypted::new(of.ciphertext().to_vec(), *of.iv(), *of.tag(), of.bound_aad().clone())
}

/// The same with other parts.
pub(super) struct Altered<'e>(pub(super) &'e Encrypted);

impl Altered<'_> {
    pub(super) fn ciphertext(&self, ciphertext: Vec<u8>) -> Encrypted {
        Encrypted::new(ciphertext, *self.0.iv(), *self.0.tag(), self.0.bound_aad().clone())
    }

    pub(super) fn tag(&self, tag: Tag) -> Encrypted {
        Encrypted::new(
            self.0.ciphertext().to_vec(),
            *self.0.iv(),
            tag,
            self.0.bound_aad().clone(),
        )
    }

    pub(super) fn iv(&self, iv: Iv) -> Encrypted {
        Encrypted::new(
            self.0.ciphertext().to_vec(),
            iv,
            *self.0.tag(),
            self.0.bound_aad().clone(),
        )
    }

    pub(super) fn aad(&self, aad: BoundAad) -> Encrypted {
        Encrypted::new(self.0.ciphertext().to_vec(), *self.0.iv(), *self.0.tag(), aad)
    }
}

/// The bytes with one bit changed.
pub(super) fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if let Some(byte) = bytes.get_mut(bit / 8) {
        *byte ^= 1 << (bit % 8);
    }
    bytes
}

/// All bits of a short text; of a long one those at both ends, and one of each block of the cipher, at
/// another place in each.
pub(super) fn some_bits(length: usize) -> impl Iterator<Item = usize> {
    const BLOCK: usize = 128;
    let bits = length * 8;
    (0..bits).filter(move |bit| {
        let is_chosen = bit % BLOCK == bit / BLOCK * 37 % BLOCK;
        length <= 64 || is_chosen || *bit < 64 || bits - bit <= 64
    })
}
