//! The commands that back the store up, and restore it.

use std::{path::Path, sync::Arc};

use tokio::task::spawn_blocking;
use xks_lifecycle::{
    Repository, RepositoryError, backup,
    commands::Actor,
    store::{SqliteStore, Store},
};

use super::{
    StartError,
    create::with_roots,
    error::Place,
    open::{all_in_files, named, now, open_store, roots},
};
use crate::{
    backends::Backends,
    program::Program,
    registry::ConfiguredBackend,
    settings::{StorePlace, StoreSettings},
};

/// Writes a backup of the store to a new file, while a server may serve it or not. Returns what was done, for
/// a person. Blocks.
pub(crate) fn back_up(
    settings: &StoreSettings,
    backends: &[ConfiguredBackend],
    program: Program,
    to: &Path,
) -> anyhow::Result<String> {
    with_roots(settings, backends, async |open| {
        back_up_with(settings, open, program, to).await
    })
}

async fn back_up_with(
    settings: &StoreSettings,
    backends: &Backends,
    program: Program,
    to: &Path,
) -> Result<String, StartError> {
    let place = || Place::new(&settings.place);
    let failed = |error| match error {
        RepositoryError::Empty => StartError::NoStore(place(), program.name),
        error => StartError::Repository {
            place: place(),
            is_final: all_in_files(&settings.roots),
            error,
        },
    };
    if let StorePlace::File(file) = &settings.place
        && !file.exists()
    {
        return Err(StartError::NoStore(place(), program.name));
    }
    let roots = roots(&settings.roots, backends)?;
    let store = open_to_read(&settings.place).await?;
    let (repository, _) = Repository::open(store, &roots).await.map_err(failed)?;
    let made = repository.backup(now()).await.map_err(failed)?;
    made.write(to).map_err(StartError::Backup)?;
    Ok(format!(
        "{}: backup of revision {}, {} bytes\nWithout one of the roots it cannot be restored: keep them elsewhere.\n",
        to.display(),
        made.revision(),
        made.as_bytes().len()
    ))
}

/// Opens a store that a server may serve meanwhile.
async fn open_to_read(place: &StorePlace) -> Result<Arc<dyn Store>, StartError> {
    let file = match place {
        StorePlace::File(file) => file.clone(),
        #[cfg(feature = "postgres")]
        StorePlace::Database(_) => return open_store(place).await,
    };
    let store = spawn_blocking(move || SqliteStore::open_read_only(&file)).await;
    let store = store.map_err(|_| StartError::Thread)?;
    Ok(Arc::new(
        store.map_err(|error| StartError::Store(Place::new(place), error))?,
    ))
}

/// Restores a backup into the store, which must be new. Returns what was done and what is to be done,
/// for a person. Blocks.
pub(crate) fn restore(settings: &StoreSettings, backends: &[ConfiguredBackend], from: &Path) -> anyhow::Result<String> {
    with_roots(settings, backends, async |open| {
        restore_with(settings, open, from).await
    })
}

async fn restore_with(settings: &StoreSettings, backends: &Backends, from: &Path) -> Result<String, StartError> {
    let place = || Place::new(&settings.place);
    let roots = roots(&settings.roots, backends)?;
    let store = open_store(&settings.place).await?;
    // It is a legal name.
    let actor = Actor::new(&format!("uid:{}", rustix::process::getuid().as_raw())).map_err(|_| StartError::Thread)?;
    let restored = backup::restore(from, store, &roots, &actor, now()).await;
    let (_, snapshot) = restored.map_err(|error| match error {
        backup::BackupError::Repository(RepositoryError::Exists(_)) => StartError::Exists(place()),
        error => StartError::Restore {
            place: place(),
            is_final: all_in_files(&settings.roots),
            error,
        },
    })?;
    let made = snapshot.restores().next_back().map(|restore| restore.backup_time);
    Ok(format!(
        "store: {}, restored from a backup{}\n\
         What happened since is not known. Before the start, look through the list below; at the start the server\n\
         rotates every key, since how often its version has encrypted is not known, and names HSM keys of this\n\
         deployment that the store does not have.\n\
         - Credentials that were revoked, keys that were disabled and key stores that were blocked are as before.\n\
         - Keys that were made since are not found; what their versions and new ones of other keys have encrypted\n  \
         cannot be decrypted.\n",
        named(&settings.place),
        made.map(|time| format!(" of {time}")).unwrap_or_default()
    ))
}
