//! `[store]` and `[lifecycle]`: keys under management.

use std::{ffi::OsString, os::unix::ffi::OsStrExt as _, path::PathBuf};

use xks_core::KeyId;
use xks_lifecycle::{Name, VersionId, commands::Deployment, seal};

use super::{
    DAY_MS,
    backends::{Backends, missing},
};
use crate::{
    lifecycle::other_names,
    settings::{
        AdminSettings, LifecycleSettings, RootPlace, RootSettings, StoreSettings,
        secrecy::shown,
        table::{Item, Table},
    },
};

/// What the path of a socket may have: the system's limit is 108 bytes, with one for the end.
const LONGEST_SOCKET: usize = 107;

/// Whether keys are under management: then there need be no key store of the file, and no backend.
pub(super) fn has_store(root: &Table<'_, '_>) -> bool {
    root.has("store") || root.is_present("store")
}

pub(super) fn lifecycle(root: &mut Table<'_, '_>, backends: &Backends) -> Option<LifecycleSettings> {
    let store = root.table("store");
    let has_store = store.is_some();
    let store = store.map(|table| self::store(table, backends));
    let mut table = root.table("lifecycle");
    if let (Some(table), false) = (&table, has_store) {
        table.error("[lifecycle] requires a [store], in which its keys are kept");
    }
    let deployment = table.as_mut().and_then(|table| table.text("deployment"));
    let deployment = match deployment {
        Some(name) => deployment_of(table.as_ref()?, &name),
        None => Deployment::new(DEFAULT_DEPLOYMENT).ok(),
    };
    let made_in = table.as_mut().and_then(|table| table.texts("backends"));
    let made_in = made_in.unwrap_or_default();
    let timeout = table
        .as_mut()
        .and_then(|table| table.milliseconds("manager_timeout_ms", 1..=DAY_MS));
    let socket = table.as_mut().and_then(|table| table.folder("admin_socket"));
    let group = table.as_mut().and_then(|table| table.text("admin_group"));
    if let Some(table) = &table {
        made_in.iter().for_each(|name| check_makes_keys(table, name, backends));
        for (place, name) in made_in.iter().enumerate() {
            if made_in.iter().take(place).any(|other| other.value == name.value) {
                table.error_at(name, format!("`backends`: {} is listed twice", shown(&name.value)));
            }
        }
    }
    let store = store??;
    let with_roots = store.value.roots.iter().filter_map(RootSettings::backend);
    for name in made_in.iter().map(|name| &*name.value).chain(with_roots) {
        if let Some(wrong) = other_names(name, &backends.sound) {
            root.source.error(store.span.clone(), wrong);
        }
    }
    let socket = match socket {
        Some(socket) => socket,
        None => Item {
            value: beside(&store.value.file, ".sock"),
            span: store.span.clone(),
        },
    };
    if socket.value.as_os_str().as_bytes().len() > LONGEST_SOCKET {
        root.error_at(
            &socket,
            format!(
                "`lifecycle.admin_socket` = {}: the path of a socket must not exceed {LONGEST_SOCKET} bytes; \
                 name a shorter one",
                socket.value.display()
            ),
        );
    }
    Some(LifecycleSettings {
        store: store.value,
        deployment: deployment?,
        backends: made_in.into_iter().map(|name| name.value).collect(),
        manager_timeout: timeout.unwrap_or(LifecycleSettings::MANAGER_TIMEOUT),
        admin: AdminSettings {
            socket: socket.value,
            group: group.map(|group| group.value),
        },
    })
}

/// Why a key of a backend must not be an external key of the file, as far as settings tell.
pub(super) fn conflict(
    lifecycle: &LifecycleSettings,
    backends: &Backends,
    backend: &str,
    key: &KeyId,
) -> Option<String> {
    let is_root = |root: &&RootSettings| match &root.place {
        RootPlace::File(_) => false,
        RootPlace::Backend {
            backend: other,
            key: root,
        } => root == key && backends.may_share_device(backend, other),
    };
    if let Some(root) = lifecycle.store.roots.iter().find(is_root) {
        return Some(format!(
            "{key} is the root {} of [store], which must not be an external key",
            shown(&root.name)
        ));
    }
    let deployment = &lifecycle.deployment;
    let label = key.as_str().strip_prefix(&format!("{deployment}."))?;
    let (_, version) = label.rsplit_once('.')?;
    let is_made = version.parse::<VersionId>().is_ok();
    let mut made_in = lifecycle.backends.iter();
    let is_there = is_made && made_in.any(|other| backends.may_share_device(backend, other));
    is_there.then(|| {
        format!(
            "{key} is the label of a key under management of `lifecycle.deployment = \"{deployment}\"`: it is served \
             under its external key id alone"
        )
    })
}

/// The name of a deployment that shares its HSM with no other.
const DEFAULT_DEPLOYMENT: &str = "xks";

fn deployment_of(table: &Table<'_, '_>, name: &Item<String>) -> Option<Deployment> {
    let deployment = Deployment::new(&name.value);
    deployment.map_err(|error| table.error_at(name, error.to_string())).ok()
}

/// A file beside another, whose name begins as that one's.
fn beside(file: &std::path::Path, end: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(end);
    name.into()
}

fn check_makes_keys(table: &Table<'_, '_>, name: &Item<String>, backends: &Backends) {
    let wrong = match backends.get(&name.value) {
        Some(backend) => match backend.makes_no_keys() {
            Some(why) => format!("`backends`: [backends.{}]: {why}", name.value),
            None => match Name::new("backends", &name.value) {
                Err(error) => error.to_string(),
                Ok(_) => return,
            },
        },
        None if backends.has(&name.value) => return, // it has errors of its own
        None => format!("`backends`: {}", missing(&name.value)),
    };
    table.error_at(name, wrong);
}

fn store(mut table: Table<'_, '_>, backends: &Backends) -> Option<Item<StoreSettings>> {
    let span = table.span.clone();
    let file = table.path("file");
    let file = table.needed("file", file);
    let exists = file.as_ref().is_some_and(|file| file.value.exists());
    if let (Some(file), false) = (&file, exists) {
        let warning = format!(
            "`file`: there is no {}: make the store and its roots with the command `store create`, or restore a \
             backup",
            file.value.display()
        );
        table.warn_at(file, warning);
    }
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
            file: file?.value,
            roots: roots.into_iter().collect::<Option<_>>()?,
        },
        span,
    })
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
