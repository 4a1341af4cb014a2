//! The command that makes a store and its roots, before the first start.
//!
//! A start never does: with a path that is mistyped, or a disk that is not mounted, it would serve an empty
//! state under a new root in place of the one that has the keys.

use std::{fmt::Write as _, sync::Arc};

use anyhow::Context as _;
use tokio::runtime::Builder;
use xks_lifecycle::{Repository, RepositoryError, seal::Root};

use super::{
    StartError,
    error::Place,
    open::{all_in_files, named, now, open_store, roots},
};
use crate::{
    backends::Backends,
    registry::ConfiguredBackend,
    settings::{RootPlace, StoreSettings},
};

/// Makes the root files that are not there, and a store that all roots open. Returns what was made, for a
/// person.
///
/// Roots in backends are there already: of `backends` those are opened that have one. Blocks.
pub(crate) fn create(settings: &StoreSettings, backends: &[ConfiguredBackend]) -> anyhow::Result<String> {
    with_roots(settings, backends, async |open| create_in(settings, open).await)
}

/// Opens those backends that have a root, for a command that the process ends with. Blocks.
pub(super) fn with_roots(
    settings: &StoreSettings,
    backends: &[ConfiguredBackend],
    work: impl AsyncFnOnce(&Backends) -> Result<String, StartError>,
) -> anyhow::Result<String> {
    let has_root =
        |backend: &&ConfiguredBackend| settings.roots.iter().any(|root| root.backend() == Some(&backend.name));
    let is_needed = |backend: &&ConfiguredBackend| {
        let mut rooted = backends.iter().filter(has_root);
        rooted.any(|rooted| rooted.name == backend.name || rooted.has_member(&backend.name))
    };
    let needed: Vec<_> = backends.iter().filter(is_needed).cloned().collect();
    let open = Backends::open(&needed, None)?;
    let runtime = Builder::new_current_thread().enable_all().build();
    let done = runtime.context("cannot start the runtime")?.block_on(work(&open));
    open.close_all_but(None);
    Ok(done?)
}

async fn create_in(settings: &StoreSettings, backends: &Backends) -> Result<String, StartError> {
    let place = || Place::new(&settings.place);
    let failed = |error| StartError::Repository {
        place: place(),
        is_final: all_in_files(&settings.roots),
        error,
    };
    let store = open_store(&settings.place).await?;
    // Before a root is made.
    match Repository::open(Arc::clone(&store), &[]).await {
        Err(RepositoryError::Empty) => {}
        Err(RepositoryError::Store(error)) => return Err(StartError::Store(place(), error)),
        Ok(_) | Err(_) => return Err(StartError::Exists(place())),
    }
    let mut text = String::new();
    for root in &settings.roots {
        let name = &root.name;
        // Writing to a string cannot fail.
        let _ = match &root.place {
            RootPlace::File(path) if path.exists() => {
                writeln!(text, "root `{name}`: {}, as it was", path.display())
            }
            RootPlace::File(path) => {
                Root::create_file(path).map_err(|error| StartError::Root(name.clone(), error))?;
                writeln!(text, "root `{name}`: {}, made", path.display())
            }
            RootPlace::Backend { backend, key } => writeln!(text, "root `{name}`: key {key} of [backends.{backend}]"),
        };
    }
    let roots = roots(&settings.roots, backends)?;
    Repository::create(store, &roots, now()).await.map_err(failed)?;
    let _ = writeln!(text, "store: {}, made", named(&settings.place));
    text.push_str(
        "Keep a copy of each root elsewhere, and not with the backups of the store: who has lost all roots has lost \
         all keys of the source `vault` and all credentials.\n",
    );
    Ok(text)
}
