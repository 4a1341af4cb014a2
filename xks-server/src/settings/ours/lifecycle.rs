//! `[lifecycle]`: keys under management, beside the `[store]` that has them.

use std::{ffi::OsString, os::unix::ffi::OsStrExt as _, path::PathBuf, time::Duration};

use xks_core::KeyId;
use xks_lifecycle::{
    Name, VersionId,
    commands::{Deployment, material_of_label},
};

use super::{
    DAY_MS,
    backends::{Backends, missing},
    cloud, store,
};
use crate::{
    lifecycle::other_names,
    settings::{
        AdminSettings, LifecycleSettings, NodeSettings, RootPlace, RootSettings, StorePlace, StoreSettings,
        secrecy::shown,
        source::Source,
        table::{Item, Table},
    },
};

/// The socket of administration where there is no file of a store for it to stand beside.
#[cfg(feature = "postgres")]
const SOCKET: &str = "/run/xks-proxy/admin.sock";
/// What the path of a socket may have: the system's limit is 108 bytes, with one for the end.
const LONGEST_SOCKET: usize = 107;

/// Whether keys are under management: then there need be no key store of the file, and no backend.
pub(super) fn has_store(root: &Table<'_, '_>) -> bool {
    root.has("store") || root.is_present("store")
}

pub(super) fn lifecycle(root: &mut Table<'_, '_>, backends: &Backends) -> Option<LifecycleSettings> {
    let store = root.table("store");
    let has_store = store.is_some();
    let store = store.map(|table| store::store(table, backends));
    let mut table = root.table("lifecycle");
    if let (Some(table), false) = (&table, has_store) {
        table.error("[lifecycle] requires a [store], in which its keys are kept");
    }
    let cloud = root.table("cloud");
    if let (Some(table), false) = (&cloud, has_store) {
        table.error("[cloud] requires a [store], which says what is wanted in AWS");
    }
    let cloud = cloud.map(cloud::cloud);
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
    let node = table.as_mut().and_then(|table| table.text("node"));
    let lease = table
        .as_mut()
        .and_then(|table| table.number_item("lease_secs", 1..=3600));
    let on_lost_store = table.as_mut().and_then(|table| table.text("on_lost_store"));
    if let Some(table) = &table {
        made_in.iter().for_each(|name| check_makes_keys(table, name, backends));
        for (place, name) in made_in.iter().enumerate() {
            if made_in.iter().take(place).any(|other| other.value == name.value) {
                table.error_at(name, format!("`backends`: {} is listed twice", shown(&name.value)));
            }
        }
    }
    let store = store??;
    let is_shared = !matches!(store.value.place, StorePlace::File(_));
    let node = match is_shared {
        true => Some(node_settings(root.source, &store, node, lease, on_lost_store)),
        false => {
            for (key, span) in [
                ("node", node.map(|item| item.span)),
                ("lease_secs", lease.map(|item| item.span)),
                ("on_lost_store", on_lost_store.map(|item| item.span)),
            ] {
                if let Some(span) = span {
                    let wrong = format!(
                        "`{key}` goes with `store.url`: a store in a file belongs to one process, which is no node; \
                         remove it"
                    );
                    root.source.error(span, wrong);
                }
            }
            None
        }
    };
    let with_roots = store.value.roots.iter().filter_map(RootSettings::backend);
    for name in made_in.iter().map(|name| &*name.value).chain(with_roots) {
        if let Some(wrong) = other_names(name, &backends.sound) {
            root.source.error(store.span.clone(), wrong);
        }
    }
    let socket = match socket {
        Some(socket) => socket,
        None => Item {
            value: match &store.value.place {
                StorePlace::File(file) => beside(file, ".sock"),
                #[cfg(feature = "postgres")]
                StorePlace::Database(_) => PathBuf::from(SOCKET),
            },
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
        node: match node {
            Some(node) => Some(node?),
            None => None,
        },
        cloud: match cloud {
            Some(cloud) => Some(cloud?),
            None => None,
        },
    })
}

/// This process as a node, by default under the name of its host.
fn node_settings(
    source: &Source<'_>,
    store: &Item<StoreSettings>,
    name: Option<Item<String>>,
    lease: Option<Item<u64>>,
    on_lost_store: Option<Item<String>>,
) -> Option<NodeSettings> {
    let name = match name {
        Some(name) => match Name::new("node", &name.value) {
            Ok(name) => name,
            Err(error) => {
                source.error(name.span, error.to_string());
                return None;
            }
        },
        None => {
            let host = rustix::system::uname();
            let host = host.nodename().to_string_lossy();
            match Name::new("node", &host) {
                Ok(name) => name,
                Err(error) => {
                    let wrong =
                        format!("`lifecycle.node` must be set, since the name of this host cannot be it: {error}");
                    source.error(store.span.clone(), wrong);
                    return None;
                }
            }
        }
    };
    let serves_on = match on_lost_store.as_ref().map(|item| &*item.value) {
        None | Some("stop") => false,
        Some("serve") => true,
        Some(_) => {
            let wrong = "`on_lost_store`: write `stop` or `serve`".to_owned();
            source.error(
                on_lost_store.map_or_else(|| store.span.clone(), |item| item.span),
                wrong,
            );
            return None;
        }
    };
    Some(NodeSettings {
        name,
        serves_on,
        lease: lease.map_or(NodeSettings::LEASE, |lease| Duration::from_secs(lease.value)),
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
    let is_of_version = label
        .rsplit_once('.')
        .is_some_and(|(_, version)| version.parse::<VersionId>().is_ok());
    let is_material = material_of_label(key.as_str()).is_some();
    let is_made = is_of_version || is_material;
    let mut made_in = lifecycle.backends.iter();
    let is_there = is_made && made_in.any(|other| backends.may_share_device(backend, other));
    is_there.then(|| {
        let of = format!("`lifecycle.deployment = \"{deployment}\"`");
        match is_material {
            true => format!("{key} is the label of material of {of} that AWS imports: no key store serves it"),
            false => format!(
                "{key} is the label of a key under management of {of}: it is served under its external key id alone"
            ),
        }
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
