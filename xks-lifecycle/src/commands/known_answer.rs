//! Known answers: what the creator of a version has encrypted with it, for every node to open with what it
//! has in its own key manager. So a node that cannot use a version is found before anything is encrypted
//! with it.
//!
//! A version of a vault needs none: a node that has taken it in has unsealed what it encrypts with.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use xks_backend_soft::KeyVersion as SoftVersion;
use xks_core::{
    BackendError, KeyId, Zeroizing,
    aad::{AadFraming, BoundAad},
    api::RequestMetadata,
    backend::{BackendErrorKind, CiphertextMetadata, DecryptRequest, EncryptRequest, Encrypted, Iv, Tag},
    text::{ErrorChain, Hex, decode_hex},
};

use super::{Commands, KeyEntry, ManagedBackend};
use crate::{
    CommandError, KeyVersion, KeyVersionId, Material, VersionState,
    nodes::{Confirmation, Confirming},
    store::{Claim, ClaimKind, Revision, Swap},
};

const PLAINTEXT: &[u8] = b"not a secret";

/// A ciphertext, in hexadecimal digits.
#[derive(Serialize, Deserialize)]
struct Body {
    ciphertext: String,
    iv: String,
    tag: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    metadata: Option<String>,
}

/// What is authenticated with it, so that it is the known answer of this version alone.
fn aad(version: &KeyVersionId, metadata: Option<CiphertextMetadata>) -> Result<BoundAad, BackendError> {
    let aad = format!("xks-lifecycle known-answer test of {version}");
    let aad = BoundAad::new(AadFraming::Spec, Some(aad.as_bytes()), metadata);
    aad.map_err(|error| BackendError::from(BackendErrorKind::Other).with_source(error))
}

fn claim(version: &KeyVersionId, encrypted: &Encrypted) -> Claim {
    let hex = |bytes: &[u8]| Hex(bytes).to_string();
    let body = Body {
        ciphertext: hex(encrypted.ciphertext()),
        iv: hex(encrypted.iv().as_bytes()),
        tag: hex(encrypted.tag().as_bytes()),
        metadata: encrypted
            .bound_aad()
            .metadata()
            .map(|metadata| hex(metadata.as_bytes())),
    };
    let body = serde_json::to_string(&body).unwrap_or_default(); // it always has one
    Claim::new(ClaimKind::KnownAnswer, &version.to_string(), "", 1, &body)
}

fn read(version: &KeyVersionId, claim: &Claim) -> Option<Encrypted> {
    let bytes = |digits: &str| {
        let mut bytes = vec![0; digits.len() / 2];
        decode_hex(digits.as_bytes(), &mut bytes).ok().map(|()| bytes)
    };
    let body: Body = serde_json::from_str(&claim.body).ok()?;
    let metadata = match &body.metadata {
        Some(metadata) => Some(CiphertextMetadata::new(bytes(metadata)?).ok()?),
        None => None,
    };
    let (iv, tag) = (Iv::new(bytes(&body.iv)?).ok()?, Tag::new(bytes(&body.tag)?).ok()?);
    Some(Encrypted::new(
        bytes(&body.ciphertext)?,
        iv,
        tag,
        aad(version, metadata).ok()?,
    ))
}

impl ManagedBackend {
    /// Encrypts and decrypts with a key that nothing was encrypted with yet. Returns the known answer.
    pub(super) async fn known_answer(&self, version: &KeyVersionId, key: &KeyId) -> Result<Claim, CommandError> {
        let failed = |source: BackendError| CommandError::Backend {
            backend: self.name.to_string(),
            action: "a new key does not serve",
            source,
        };
        let aad = aad(version, None).map_err(failed)?;
        let plaintext = Zeroizing::new(PLAINTEXT.to_vec());
        let mut request = EncryptRequest::new(RequestMetadata::default(), plaintext, aad);
        let verified = self.keys.encrypt_verified(key, &mut request).await.map_err(failed)?;
        kill_point!(ReadBack);
        Ok(claim(version, verified.encrypted()))
    }
}

impl Commands {
    /// Waits until every node can use the versions that were published, each in its own key managers.
    ///
    /// # Errors
    /// [`CommandError::NotConfirmed`]. The versions stay published.
    pub(super) async fn usable_everywhere(&self, versions: &[KeyVersionId]) -> Result<(), CommandError> {
        let Some(node) = &self.node else { return Ok(()) };
        self.complete_known_answers(versions).await?;
        let store = &**self.repository.store();
        let names: BTreeSet<Box<str>> = versions.iter().map(|version| version.to_string().into()).collect();
        let confirming = Confirming::uses(self.revision(), Some(names));
        let confirmation = Box::pin(node.confirm(store, confirming, self.patience())).await;
        if confirmation.is_confirmed() {
            return Ok(());
        }
        let confirmation = Box::new(confirmation);
        Err(CommandError::NotConfirmed { confirmation })
    }

    /// Waits until every node can use every version that was published at this revision or before, in its own
    /// key managers, has left, or is dead; as long as [`confirm`](Self::confirm). With a state that belongs
    /// to one process its creator has tried it.
    pub async fn confirm_usable(&self, revision: Revision) -> Confirmation {
        let store = self.repository.store();
        match &self.node {
            Some(node) => {
                node.confirm(&**store, Confirming::uses(revision, None), self.patience())
                    .await
            }
            None => Confirmation::of_one_process(revision, store.durability().await.ok()),
        }
    }

    /// Makes the known answers that published versions lack: they were published by a program that made none,
    /// or are of a backup.
    async fn complete_known_answers(&self, versions: &[KeyVersionId]) -> Result<(), CommandError> {
        let store = self.repository.store();
        let known = store.claims(ClaimKind::KnownAnswer).await?.0;
        for id in versions {
            let name = id.to_string();
            if known.binary_search_by(|claim| (*claim.id).cmp(&name)).is_ok() {
                continue;
            }
            let Ok((version, entry)) = self.published_version(id) else {
                continue;
            };
            if let Some(key) = version.backend_key() {
                let answer = self.backend_of(&entry)?.known_answer(id, key).await?;
                store.swap(Swap::Insert(answer)).await?; // one that another node has made is as good
            }
        }
        Ok(())
    }

    /// A version that is published, with its key.
    fn published_version(&self, id: &KeyVersionId) -> Result<(KeyVersion, KeyEntry), CommandError> {
        let entry = self.key(&id.key)?;
        let is_it = |version: &&KeyVersion| version.id == *id && version.state == VersionState::Published;
        let version = entry.versions.iter().find(is_it).cloned();
        let version = version.ok_or_else(|| CommandError::Unknown(super::key::object(&id.key)))?;
        Ok((version, entry))
    }

    /// Opens a known answer with what this process has.
    ///
    /// # Errors
    /// Why the version cannot be used here.
    pub(crate) async fn open_known_answer(&self, id: &KeyVersionId, known: Option<&Claim>) -> Result<(), String> {
        let Ok((version, entry)) = self.published_version(id) else {
            return Ok(()); // it is published no more
        };
        let key = match &version.material {
            Material::Backend { key: Some(key), .. } => key,
            Material::Backend { key: None, .. } => return Err("it is not made yet".to_owned()),
            Material::Vault(material) => {
                let opened = SoftVersion::new(1, material.clone());
                return opened.map(drop).map_err(|error| error.to_string());
            }
            Material::Gone => return Ok(()),
        };
        let known = known.ok_or("it has no known answer: repeat the command that published it")?;
        let encrypted = read(id, known).ok_or("its known answer cannot be read")?;
        let backend = self.backend_of(&entry).map_err(|error| error.to_string())?;
        let request = DecryptRequest::new(RequestMetadata::default(), encrypted);
        match backend.keys.decrypt(key, &request).await {
            Ok(plaintext) if *plaintext == PLAINTEXT => Ok(()),
            Ok(_) => Err("its known answer opens to something else".to_owned()),
            Err(error) => Err(format!("backend `{}`: {}", backend.name, ErrorChain(&error))),
        }
    }
}
