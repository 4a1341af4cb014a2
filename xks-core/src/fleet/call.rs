//! The operations as something that can be asked of one member after the other.

use std::pin::Pin;

use super::standing::Need;
use crate::{
    BackendError, KeyBackend, KeyId, Zeroizing,
    backend::{DecryptRequest, EncryptRequest, Encrypted, GetKeyMetadataRequest, KeyMetadata, KeyStatus},
};

pub(super) type Asking<'c, T> = Pin<Box<dyn Future<Output = Result<T, BackendError>> + Send + 'c>>;

pub(super) trait Call: Send {
    type Answer: Send;
    const NEED: Need;

    fn key(&self) -> &KeyId;

    /// Whether the fleet itself makes this call: of the fleet's own calls strangers cannot cause many.
    fn is_own(&self) -> bool {
        false
    }

    fn says_disabled(_: &Self::Answer) -> bool {
        false
    }

    fn ask<'c>(&'c mut self, member: &'c dyn KeyBackend) -> Asking<'c, Self::Answer>;
}

pub(super) struct Metadata<'r, 'a>(pub(super) &'r KeyId, pub(super) &'r GetKeyMetadataRequest<'a>);

impl Call for Metadata<'_, '_> {
    type Answer = KeyMetadata;
    const NEED: Need = Need::Metadata;

    fn key(&self) -> &KeyId {
        self.0
    }

    fn says_disabled(answer: &KeyMetadata) -> bool {
        answer.status() == KeyStatus::Disabled
    }

    fn ask<'c>(&'c mut self, member: &'c dyn KeyBackend) -> Asking<'c, KeyMetadata> {
        member.key_metadata(self.0, self.1)
    }
}

pub(super) struct Encrypt<'r, 'a>(pub(super) &'r KeyId, pub(super) &'r mut EncryptRequest<'a>);

impl Call for Encrypt<'_, '_> {
    type Answer = Encrypted;
    const NEED: Need = Need::Encrypt;

    fn key(&self) -> &KeyId {
        self.0
    }

    /// Each member binds the AAD again, and the metadata that KMS gets is that of the one which answered.
    // ENC-7
    fn ask<'c>(&'c mut self, member: &'c dyn KeyBackend) -> Asking<'c, Encrypted> {
        member.encrypt(self.0, self.1)
    }
}

pub(super) struct Decrypt<'r, 'a>(pub(super) &'r KeyId, pub(super) &'r DecryptRequest<'a>);

impl Call for Decrypt<'_, '_> {
    type Answer = Zeroizing<Vec<u8>>;
    const NEED: Need = Need::Decrypt;

    fn key(&self) -> &KeyId {
        self.0
    }

    fn is_own(&self) -> bool {
        self.1.is_verification()
    }

    fn ask<'c>(&'c mut self, member: &'c dyn KeyBackend) -> Asking<'c, Zeroizing<Vec<u8>>> {
        member.decrypt(self.0, self.1)
    }
}
