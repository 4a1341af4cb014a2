//! `[store]`: where the state of keys under management is kept, and what opens it.

use std::path::PathBuf;

use xks_core::KeyId;
use xks_lifecycle::{Name, seal};

use super::backends::{Backends, missing};
#[cfg(feature = "postgres")]
use crate::settings::DatabaseSettings;
use crate::settings::{
    RootPlace, RootSettings, StorePlace, StoreSettings,
    secrecy::shown,
    table::{Item, Table},
};

pub(super) fn store(mut table: Table<'_, '_>, backends: &Backends) -> Option<Item<StoreSettings>> {
    let span = table.span.clone();
    let place = place(&mut table);
    // Before it is made, a root's file need not be there; whether a database has a state is not known yet.
    let exists = matches!(&place, Some(StorePlace::File(file)) if file.exists());
    let roots = table.tables("roots");
    if roots.is_empty() && !table.is_present("roots") {
        table.error("no [[store.roots]]: add at least one, a file or a key of a backend");
    }
    let mut names = Vec::new();
    let roots: Vec<_> = roots
        .into_iter()
        .map(|table| root(table, backends, exists, &mut names))
        .collect();
    Some(Item {
        value: StoreSettings {
            place: place?,
            roots: roots.into_iter().collect::<Option<_>>()?,
        },
        span,
    })
}

/// A file, or a database.
fn place(table: &mut Table<'_, '_>) -> Option<StorePlace> {
    let (file, url) = (table.path("file"), table.text("url"));
    let (password_file, ca_file) = (table.path("password_file"), table.path("ca_file"));
    match (table.is_present("file"), table.is_present("url")) {
        (true, false) => {
            for (key, is_there) in [("password_file", &password_file), ("ca_file", &ca_file)] {
                if let Some(item) = is_there {
                    table.error_at(item, format!("`{key}` goes with `url`, a database: remove it"));
                }
            }
            file_place(table, file?)
        }
        (false, true) => database(table, &url?, password_file, ca_file),
        (true, true) => {
            let wrong = "`file` and `url` are both set: keep `file` for one process, or `url` for several nodes on one \
                         database";
            match &url {
                Some(url) => table.error_at(url, wrong),
                None => table.error(wrong),
            }
            None
        }
        (false, false) => {
            table.error(
                "`file` is missing in [store], or `url` of a database that several nodes share: set one of them",
            );
            None
        }
    }
}

fn file_place(table: &Table<'_, '_>, file: Item<PathBuf>) -> Option<StorePlace> {
    if !file.value.exists() {
        let warning = format!(
            "`file`: there is no {}: make the store and its roots with the command `store create`, or restore a \
             backup",
            file.value.display()
        );
        table.warn_at(&file, warning);
    }
    Some(StorePlace::File(file.value))
}

/// A database, whose files are read here to see what is wrong with them, and again at each connection.
#[cfg(feature = "postgres")]
fn database(
    table: &Table<'_, '_>,
    url: &Item<String>,
    password_file: Option<Item<PathBuf>>,
    ca_file: Option<Item<PathBuf>>,
) -> Option<StorePlace> {
    use xks_lifecycle::store::StoreError;

    let value = |item: &Option<Item<PathBuf>>| item.as_ref().map(|item| item.value.clone());
    let database = DatabaseSettings {
        url: url.value.clone(),
        password_file: value(&password_file),
        ca_file: value(&ca_file),
    };
    let Err(error) = database.postgres().and_then(|settings| settings.check()) else {
        return Some(StorePlace::Database(database));
    };
    let span = match &error {
        StoreError::Setting { setting: "url", .. } => Some(url.span.clone()),
        StoreError::Setting {
            setting: "password_file",
            ..
        } => password_file.map(|item| item.span),
        StoreError::Setting { setting: "ca_file", .. } => ca_file.map(|item| item.span),
        _ => None,
    };
    table
        .source
        .error(span.unwrap_or(table.span.clone()), error.to_string());
    None
}

#[cfg(not(feature = "postgres"))]
fn database(
    table: &Table<'_, '_>,
    url: &Item<String>,
    _: Option<Item<PathBuf>>,
    _: Option<Item<PathBuf>>,
) -> Option<StorePlace> {
    table.error_at(
        url,
        "`url`: this build has no PostgreSQL: build it with `--features postgres`, or name a `file`",
    );
    None
}

/// A root. Before the store is made, its file need not be there.
fn root(
    mut table: Table<'_, '_>,
    backends: &Backends,
    has_store: bool,
    names: &mut Vec<String>,
) -> Option<RootSettings> {
    let name = table.text("name");
    let name = table.needed("name", name);
    let (file, backend) = (table.path("file"), table.text("backend"));
    let key = table.parsed::<KeyId>("key");
    if let Some(name) = &name {
        if let Err(error) = Name::new("name", &name.value) {
            table.error_at(name, error.to_string());
            return None;
        }
        if names.contains(&name.value) {
            table.error_at(name, format!("another root has the name {}", shown(&name.value)));
        }
        names.push(name.value.clone());
    }
    let place = match (file, backend, table.is_present("key")) {
        (Some(file), None, false) => {
            if let (Some(name), true) = (&name, has_store || file.value.exists())
                && let Err(error) = seal::Root::file(&name.value, &file.value)
            {
                table.error_at(&file, format!("`file`: {error}"));
            }
            RootPlace::File(file.value)
        }
        (None, Some(backend), true) => {
            let key = key?;
            match backends.get(&backend.value) {
                Some(known) if known.is_test_key(&key.value) => table.error_at(
                    &key,
                    format!(
                        "`key`: {} is the backend's test key, which must be nothing else",
                        key.value
                    ),
                ),
                None if !backends.has(&backend.value) => {
                    table.error_at(&backend, format!("`backend`: {}", missing(&backend.value)));
                }
                _ => {}
            }
            RootPlace::Backend {
                backend: backend.value,
                key: key.value,
            }
        }
        _ => {
            table.error("a root is either a `file`, or a `key` of a `backend`: set one of them");
            return None;
        }
    };
    Some(RootSettings {
        name: name?.value,
        place,
    })
}
