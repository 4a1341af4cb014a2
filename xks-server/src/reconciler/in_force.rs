//! The key stores in force: which source has each prefix, and what those of the settings file were made of.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use anyhow::Context as _;
use xks_core::{KeyBackend, KeyStore, KeyStores, backend::Limits, key_store::UriPathPrefix};

use crate::{
    backends::Backends,
    described::Described,
    lifecycle::Guard,
    limits::{Limited, Traffic},
    settings::KeyStoreSettings,
    source::SourceError,
};

/// The source of key stores that a reload changes.
const SETTINGS_FILE: &str = "the settings file";

/// Each prefix, and who has it.
pub(super) struct InForce {
    owners: HashMap<UriPathPrefix, Owner>,
    /// Keeps key stores of the settings file from keys under management, where there are any.
    guard: Option<Guard>,
}

enum Owner {
    SettingsFile(Box<OfFile>),
    /// Another source, by its name.
    Source(&'static str),
}

/// What a key store of the settings file was made of.
struct OfFile {
    settings: KeyStoreSettings,
    /// None where its traffic has no limit.
    traffic: Option<Arc<Traffic>>,
}

impl InForce {
    pub(super) fn new(guard: Option<Guard>) -> Self {
        let owners = HashMap::new();
        Self { owners, guard }
    }

    /// The settings of the file's key store with that prefix.
    pub(super) fn of_file(&self, prefix: &UriPathPrefix) -> Option<&KeyStoreSettings> {
        self.made_of(prefix).map(|made| &made.settings)
    }

    fn made_of(&self, prefix: &UriPathPrefix) -> Option<&OfFile> {
        match self.owners.get(prefix)? {
            Owner::SettingsFile(made) => Some(made),
            Owner::Source(_) => None,
        }
    }

    /// Puts these key stores of the settings file in force instead of those that are, as one change; or
    /// changes nothing. One whose settings and whose backend stay as they were is not touched, and neither is
    /// one of another source.
    pub(super) fn change(
        &mut self,
        key_stores: &KeyStores,
        settings: &[KeyStoreSettings],
        former: &Backends,
        backends: &Backends,
    ) -> anyhow::Result<()> {
        let mut changed = Vec::new();
        // Another backend than a key store's own may have come to be the same device.
        let guards_anew = self.guard.is_some() && !backends.are_as(former);
        for new in settings {
            self.check_owner(SETTINGS_FILE, &new.prefix)?;
            let made = self.made_of(&new.prefix);
            let is_as_it_was = |made: &OfFile| made.settings == *new && backends.has_same(former, &new.backend);
            if made.is_some_and(is_as_it_was) && !guards_anew {
                continue;
            }
            // What has been used up outlives a change that leaves the limits as they are.
            let known = made.and_then(|made| made.traffic.as_ref());
            let known = known.filter(|known| known.limits() == new.traffic).cloned();
            let traffic = known.or_else(|| new.traffic.is_limit().then(|| Arc::new(Traffic::new(new.traffic))));
            let key_store = Arc::new(key_store(new, backends, self.guard.as_ref(), traffic.as_ref())?);
            let settings = new.clone();
            changed.push((key_store, Box::new(OfFile { settings, traffic })));
        }
        let stay: HashSet<_> = settings.iter().map(|store| &store.prefix).collect();
        let of_file = self
            .owners
            .iter()
            .filter(|(_, owner)| matches!(owner, Owner::SettingsFile(_)));
        let removed = of_file
            .map(|(prefix, _)| prefix)
            .filter(|prefix| !stay.contains(prefix));
        let removed: Vec<_> = removed.cloned().collect();
        key_stores.change(|set| {
            // All of them first: an access key id may get another secret in several key stores at once.
            let former = changed.iter().map(|(key_store, _)| key_store.prefix()).chain(&removed);
            former.for_each(|prefix| drop(set.remove(prefix.as_str())));
            let mut new = changed.iter().map(|(key_store, _)| key_store);
            new.try_for_each(|key_store| set.insert(Arc::clone(key_store)).map(drop))
        })?;
        for prefix in &removed {
            tracing::warn!(key_store = prefix.as_str(), "no longer served");
            self.owners.remove(prefix);
        }
        let made = changed.into_iter().map(|(_, made)| made);
        self.owners
            .extend(made.map(|made| (made.settings.prefix.clone(), Owner::SettingsFile(made))));
        Ok(())
    }

    /// Puts a key store of another source in force, in place of its own with the same prefix.
    pub(super) fn insert(
        &mut self,
        key_stores: &KeyStores,
        source: &'static str,
        key_store: Arc<KeyStore>,
    ) -> Result<Option<Arc<KeyStore>>, SourceError> {
        let prefix = key_store.prefix().clone();
        self.check_owner(source, &prefix)?;
        let former = key_stores.insert(key_store)?;
        self.owners.insert(prefix, Owner::Source(source));
        Ok(former)
    }

    /// Takes a key store of another source out of force.
    pub(super) fn remove(
        &mut self,
        key_stores: &KeyStores,
        source: &'static str,
        prefix: &UriPathPrefix,
    ) -> Result<Option<Arc<KeyStore>>, SourceError> {
        self.check_owner(source, prefix)?;
        self.owners.remove(prefix);
        Ok(key_stores.remove(prefix.as_str()))
    }

    /// Refuses a prefix that is another source's.
    fn check_owner(&self, source: &'static str, prefix: &UriPathPrefix) -> Result<(), SourceError> {
        let owner = match self.owners.get(prefix) {
            Some(Owner::SettingsFile(_)) => SETTINGS_FILE,
            Some(Owner::Source(owner)) => owner,
            None => return Ok(()),
        };
        match owner == source {
            true => Ok(()),
            false => Err(SourceError::PrefixTaken {
                prefix: prefix.clone(),
                owner,
            }),
        }
    }
}

/// Makes a key store of its settings. `traffic` is there where it has limits of its own.
fn key_store(
    settings: &KeyStoreSettings,
    backends: &Backends,
    guard: Option<&Guard>,
    traffic: Option<&Arc<Traffic>>,
) -> anyhow::Result<KeyStore> {
    let name = &settings.backend;
    let inner = backends
        .get(name)
        .with_context(|| format!("[backends.{name}] does not exist"))?;
    let mut backend: Arc<dyn KeyBackend> = Arc::new(Described {
        inner,
        name: (!backends.is_fleet(name)).then(|| name.as_str().into()),
        metadata: settings.ciphertext_metadata,
        limits: Some(settings.limits).filter(|limits| *limits != Limits::default()),
    });
    if let Some(guard) = guard {
        backend = guard.around(backend, backends, settings);
    }
    if let Some(traffic) = traffic {
        backend = Arc::new(Limited::new(backend, Arc::clone(traffic)));
    }
    let mut builder = KeyStore::builder(settings.prefix.clone(), backend)
        .regions(settings.regions.iter().cloned())
        .limits(settings.limits)
        .aad_framing(settings.aad_framing);
    for credential in &settings.credentials {
        builder = builder.credential(credential.credential.clone());
    }
    builder = match &settings.keys {
        Some(keys) => builder.keys(keys.iter().cloned()),
        None => builder.all_keys_of_backend(),
    };
    if let Some(authorizer) = settings.authorization.authorizer()? {
        builder = builder.authorizer(authorizer);
    }
    Ok(builder.build()?)
}
