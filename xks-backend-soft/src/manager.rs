//! Key administration: keys are made, listed, destroyed and wrapped at run time, and kept in a directory if
//! there is one.

use std::{io, num::NonZeroUsize, sync::Arc, time::Instant};

use xks_core::{
    KeyId, async_trait,
    backend::KeyStatus,
    manage::{Capabilities, KeyDescription, KeyManager, KeyPage, ManageError, ManageErrorKind, NewKey},
};

use crate::{SoftBackend, SoftKey, directory::KeyDirectory, keyring::Keys, on_thread::on_thread};

impl SoftBackend {
    /// Changes the keys; on a thread of its own where that waits for a disk.
    async fn change<T: Send + 'static>(
        &self,
        deadline: Instant,
        change: impl FnOnce(&mut Keys, Option<&KeyDirectory>) -> Result<T, ManageError> + Send + 'static,
    ) -> Result<T, ManageError> {
        let keyring = Arc::clone(&self.keyring);
        let Some(directory) = self.directory.clone() else {
            return keyring.change(|keys| in_time(deadline).and_then(|()| change(keys, None)));
        };
        let change = move || keyring.change(|keys| in_time(deadline).and_then(|()| change(keys, Some(&directory))));
        let outcome = on_thread(change).map_err(|error| {
            ManageError::new(ManageErrorKind::Unavailable, "no thread could be started").with_source(error)
        })?;
        let lost = || ManageError::new(ManageErrorKind::Other, "the thread that makes the change panicked");
        outcome.await.unwrap_or_else(|| Err(lost()))
    }

    /// The key of this moment.
    fn key_in_time(&self, id: &KeyId, deadline: Instant) -> Result<Arc<SoftKey>, ManageError> {
        in_time(deadline)?;
        self.keyring.load().get(id).cloned().ok_or_else(not_found)
    }

    /// A key whose material may be used by its owner.
    #[cfg(feature = "aws-lc-rs")]
    fn enabled_key(&self, id: &KeyId, deadline: Instant) -> Result<Arc<SoftKey>, ManageError> {
        let key = self.key_in_time(id, deadline)?;
        match key.metadata().status() {
            KeyStatus::Enabled => Ok(key),
            KeyStatus::Disabled => Err(ManageErrorKind::KeyDisabled.into()),
        }
    }
}

#[async_trait]
impl KeyManager for SoftBackend {
    async fn capabilities(&self, deadline: Instant) -> Result<Capabilities, ManageError> {
        in_time(deadline)?;
        let capabilities = Capabilities::none().with_create().with_destroy().with_set_status();
        #[cfg(feature = "aws-lc-rs")]
        let capabilities = capabilities
            .with_cmac()
            .with_wrapping(xks_core::manage::WrappingAlgorithm::ALL);
        Ok(capabilities)
    }

    async fn create_key(&self, new: &NewKey, deadline: Instant) -> Result<KeyId, ManageError> {
        if new.is_extractable() && cfg!(not(feature = "aws-lc-rs")) {
            return Err(crate::material::needs_aws_lc());
        }
        let new = new.clone();
        let create = move |keys: &mut Keys, directory: Option<&KeyDirectory>| {
            let made = keys.iter().find(|(_, key)| key.token() == Some(new.token()));
            if let Some((id, key)) = made {
                return if id == new.label() && key.is_like(&new) {
                    Ok(id.clone())
                } else {
                    Err(ManageErrorKind::TokenTaken.into())
                };
            }
            let id = new.label();
            if keys.contains_key(id) {
                return Err(ManageErrorKind::LabelTaken.into());
            }
            let key = SoftKey::create(&new).map_err(|error| {
                ManageError::new(ManageErrorKind::Unavailable, "no key could be made").with_source(error)
            })?;
            if let Some(directory) = directory {
                directory.add(id, &key).map_err(from_disk)?;
            }
            keys.insert(id.clone(), Arc::new(key));
            Ok(id.clone())
        };
        self.change(deadline, create).await
    }

    async fn keys(
        &self,
        after: Option<&KeyId>,
        limit: NonZeroUsize,
        deadline: Instant,
    ) -> Result<KeyPage, ManageError> {
        in_time(deadline)?;
        let keys = self.keyring.load();
        let mut ids: Vec<_> = keys.keys().filter(|id| after.is_none_or(|after| *id > after)).collect();
        ids.sort_unstable();
        let is_last = ids.len() <= limit.get();
        ids.truncate(limit.get());
        let describe = |id: &KeyId| keys.get(id).map(|key| key.description(id));
        Ok(KeyPage::new(ids.into_iter().filter_map(describe).collect(), is_last))
    }

    async fn key(&self, id: &KeyId, deadline: Instant) -> Result<KeyDescription, ManageError> {
        Ok(self.key_in_time(id, deadline)?.description(id))
    }

    async fn destroy_key(&self, id: &KeyId, deadline: Instant) -> Result<(), ManageError> {
        let id = id.clone();
        let destroy = move |keys: &mut Keys, directory: Option<&KeyDirectory>| {
            let key = keys.get(&id).ok_or_else(not_found)?;
            if let Some(directory) = directory {
                is_in(key)?;
                directory.remove(&id).map_err(from_disk)?;
            }
            keys.remove(&id);
            Ok(())
        };
        self.change(deadline, destroy).await
    }

    async fn set_status(&self, id: &KeyId, status: KeyStatus, deadline: Instant) -> Result<(), ManageError> {
        let id = id.clone();
        let set_status = move |keys: &mut Keys, directory: Option<&KeyDirectory>| {
            let key = keys.get_mut(&id).ok_or_else(not_found)?;
            let changed = SoftKey::clone(key).with_status(status);
            if let Some(directory) = directory {
                is_in(key)?;
                directory.replace(&id, &changed).map_err(from_disk)?;
            }
            *key = Arc::new(changed);
            Ok(())
        };
        self.change(deadline, set_status).await
    }

    #[cfg(feature = "aws-lc-rs")]
    async fn wrap_key(
        &self,
        id: &KeyId,
        wrapping_key: &xks_core::manage::WrappingKey,
        deadline: Instant,
    ) -> Result<Vec<u8>, ManageError> {
        let key = self.enabled_key(id, deadline)?;
        if !key.is_extractable() {
            return Err(ManageErrorKind::NotExtractable.into());
        }
        crate::wrap::wrap(key.newest_version().material(), wrapping_key)
    }

    #[cfg(feature = "aws-lc-rs")]
    async fn cmac(&self, id: &KeyId, message: &[u8], deadline: Instant) -> Result<[u8; 16], ManageError> {
        let key = self.enabled_key(id, deadline)?;
        if !key.metadata().usages().contains(&xks_core::backend::KeyUsage::Sign) {
            return Err(ManageErrorKind::KeyUsage.into());
        }
        crate::wrap::cmac(key.newest_version().material(), message)
    }
}

fn in_time(deadline: Instant) -> Result<(), ManageError> {
    if Instant::now() < deadline {
        Ok(())
    } else {
        Err(ManageErrorKind::Timeout.into())
    }
}

fn not_found() -> ManageError {
    ManageErrorKind::KeyNotFound.into()
}

/// A change of a key that comes from elsewhere would be gone after a restart.
fn is_in(key: &SoftKey) -> Result<(), ManageError> {
    if key.token().is_some() {
        return Ok(());
    }
    Err(ManageError::new(
        ManageErrorKind::Unsupported,
        "the key is not in the backend's directory; change it where it comes from",
    ))
}

fn from_disk(error: io::Error) -> ManageError {
    let (kind, detail) = match error.kind() {
        io::ErrorKind::AlreadyExists => (
            ManageErrorKind::LabelTaken,
            "the directory has a file of this name, in upper or lower case",
        ),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            (ManageErrorKind::Full, "the disk of the key directory is full")
        }
        _ => (ManageErrorKind::Unavailable, "the key directory cannot be written"),
    };
    ManageError::new(kind, detail).with_source(error)
}
