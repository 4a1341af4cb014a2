//! The keys of a token, over PKCS#11.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use xks_backend_pkcs11::{Config, KeyLookup, Pkcs11Backend};
use xks_core::{GetKeyMetadataRequest, KeyBackend as _, KeyId, KeyUsage, RequestMetadata};

use crate::{introduction::About, key_store::Keys};

/// How long calls in the module are waited for when the server has stopped.
const LAST_CALLS: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct TokenSettings {
    pub(crate) config: Config,
    pub(crate) key_lookup: KeyLookup,
    /// The keys that are served; none for all of the token.
    pub(crate) keys: Vec<KeyId>,
}

/// An open token.
pub(crate) struct Token {
    backend: Arc<Pkcs11Backend>,
    key_lookup: KeyLookup,
    keys: Vec<KeyId>,
}

impl Token {
    /// It has passed its tests then.
    pub(crate) fn open(settings: TokenSettings) -> anyhow::Result<Self> {
        let TokenSettings {
            config,
            key_lookup,
            keys,
        } = settings;
        let backend = Pkcs11Backend::open(config).context("the token cannot be used")?;
        Ok(Self {
            backend: Arc::new(backend),
            key_lookup,
            keys,
        })
    }

    pub(crate) async fn keys(&self) -> Keys {
        let (mut listing, mut example) = (Vec::new(), None);
        for id in &self.keys {
            let request = GetKeyMetadataRequest::new(RequestMetadata::default());
            match self.backend.key_metadata(id, &request).await {
                Ok(metadata) => {
                    if example.is_none() && metadata.usages().contains(&KeyUsage::Encrypt) {
                        example = Some(id.clone());
                    }
                    let usages: Vec<_> = metadata.usages().iter().map(|usage| usage.as_str()).collect();
                    let (spec, usages) = (metadata.spec().as_str(), usages.join(" "));
                    listing.push(format!("{:<14}{spec}, {usages}", id.as_str()));
                }
                // It may come later.
                Err(error) => {
                    tracing::warn!(key = %id, "{error}");
                    listing.push(format!("{:<14}{error}", id.as_str()));
                }
            }
        }
        if self.keys.is_empty() {
            listing.push(match self.key_lookup {
                KeyLookup::Id => "every key of the token, under its CKA_ID in hexadecimal digits".to_owned(),
                _ => "every key of the token, under its label (CKA_LABEL)".to_owned(),
            });
        }
        Keys {
            backend: Arc::<Pkcs11Backend>::clone(&self.backend),
            ids: (!self.keys.is_empty()).then(|| self.keys.clone()),
            about: About {
                title: "external key store over plain HTTP, with keys in a PKCS#11 token. AWS KMS calls over HTTPS: put \
                        what terminates TLS in front.",
                hsm: self.hsm().await,
                listing,
                example,
            },
        }
    }

    /// What it is, and how.
    async fn hsm(&self) -> Option<String> {
        let health = self.backend.health().await.ok()?;
        let member = health.members().first()?;
        Some(format!("{}, {}, {}", health.vendor(), member.model(), member.status()))
    }

    /// Closes the sessions and finalizes the module before the process ends: a module may crash that still has a call
    /// in it then.
    pub(crate) fn close(&self) {
        if self.backend.shutdown(LAST_CALLS) {
            tracing::info!("the token is closed");
        } else {
            tracing::warn!("calls that do not return are in the PKCS#11 module: it is left as it is");
        }
    }
}
