//! `[[key_stores]]`: the tenants.

use std::time::Duration;

use xks_core::{
    KeyId,
    aad::AadFraming,
    backend::{CiphertextMetadata, Limits},
    key_store::{AccessKeyId, UriPathPrefix},
};

use super::{
    authorization::authorization,
    backends::{Backends, missing},
    lifecycle,
    patterns::Scope,
};
use crate::settings::{
    CredentialSettings, KeyStoreSettings, TrafficLimits,
    shared::{self, Unique, ciphertext_metadata, warn_of_small_limits},
    table::{Item, Table},
};

/// Says why a key of the backend of this name must not be an external key of the file.
pub(super) type Conflict<'c> = dyn Fn(&str, &KeyId) -> Option<String> + 'c;

pub(super) fn key_stores(
    root: &mut Table<'_, '_>,
    backends: &Backends,
    conflict: &Conflict<'_>,
) -> Vec<KeyStoreSettings> {
    let tables = root.tables("key_stores");
    if tables.is_empty() && !lifecycle::has_store(root) {
        root.error("no [[key_stores]]: add at least one");
    }
    let mut unique = Unique::default();
    let mut stores: Vec<KeyStoreSettings> = Vec::with_capacity(tables.len());
    let source = root.source;
    for table in tables {
        let span = table.span.clone();
        let Some(store) = key_store(table, backends, conflict, &mut unique) else {
            continue;
        };
        for other in stores.iter().filter(|other| other.aad_framing != store.aad_framing) {
            if let Some(key) = backends.common_key(&store, other) {
                let warning = format!(
                    "{key} also belongs to the key store {:?} with another `aad_framing`: neither can decrypt the \
                     other's ciphertexts",
                    other.prefix.as_str()
                );
                source.warn(span.clone(), warning);
            }
        }
        stores.push(store);
    }
    stores
}

fn key_store(
    mut table: Table<'_, '_>,
    backends: &Backends,
    conflict: &Conflict<'_>,
    unique: &mut Unique,
) -> Option<KeyStoreSettings> {
    let source = table.source;
    let prefix = table.parsed::<UriPathPrefix>("uri_path_prefix");
    let prefix = table.needed("uri_path_prefix", prefix);
    let regions = table.texts("regions");
    if regions.as_ref().is_some_and(Vec::is_empty) {
        table.error("`regions` must name at least one AWS Region");
    }
    let regions = table.needed("regions", regions).unwrap_or_default();
    let regions = regions.into_iter().filter_map(|region| shared::region(source, region));
    let regions: Vec<_> = regions.collect();
    let backend = backend_of(&mut table, backends);
    let keys = table.parsed_list::<KeyId>("keys");
    let all_keys = table.flag("all_keys").unwrap_or(false);
    match (keys.is_some() || table.is_present("keys"), all_keys) {
        (true, true) => table.error("`keys` and `all_keys` exclude each other: remove one"),
        (false, false) => table.error("set `keys = [...]` or `all_keys = true`"),
        _ => {}
    }
    let credential_tables = table.tables("credentials");
    if credential_tables.is_empty() {
        table.error("no [[key_stores.credentials]]: add at least one");
    }
    let credentials: Vec<_> = credential_tables.into_iter().filter_map(credential).collect();
    unique.check(&table, prefix.as_ref(), &credentials, keys.as_deref());
    let framings = [
        ("spec", AadFraming::Spec),
        ("digest", AadFraming::Digest),
        ("migrating", AadFraming::Migrating),
    ];
    let aad_framing = table.one_of("aad_framing", &framings).unwrap_or_default();
    let metadata = table
        .text("ciphertext_metadata")
        .and_then(|text| ciphertext_metadata(source, text));
    if let (AadFraming::Migrating, Some(metadata)) = (aad_framing, metadata.as_ref().map(CiphertextMetadata::as_bytes))
    {
        if metadata.starts_with(&AadFraming::MARK) {
            table.error("`ciphertext_metadata` must not begin with the mark of `aad_framing = \"migrating\"`");
        } else if metadata.len() + AadFraming::MARK.len() > CiphertextMetadata::MAX_LENGTH {
            table.error("`ciphertext_metadata` must not exceed 18 bytes with `aad_framing = \"migrating\"`");
        }
    }
    if let Some(backend) = backend.as_deref().and_then(|name| backends.get(name)) {
        if let (Some(own), Some(_)) = (backend.own_metadata(), &metadata) {
            table.error(format!(
                "`ciphertext_metadata` cannot be set: {own} have metadata of their own"
            ));
        }
        for key in keys.iter().flatten().filter(|key| backend.is_test_key(&key.value)) {
            let wrong = format!(
                "{} is the backend's test key, which must not be an external key",
                key.value
            );
            source.error(key.span.clone(), wrong);
        }
    }
    for key in keys.iter().flatten() {
        if let Some(wrong) = backend.as_deref().and_then(|backend| conflict(backend, &key.value)) {
            table.error_at(key, wrong);
        }
    }
    let limits = limits(&mut table);
    let traffic = traffic(&mut table);
    let keys = keys
        .filter(|_| !all_keys)
        .map(|keys| keys.into_iter().map(|key| key.value).collect::<Vec<_>>());
    let scope = Scope {
        keys: keys.as_deref(),
        regions: &regions,
    };
    let authorization = authorization(&mut table, &scope);
    Some(KeyStoreSettings {
        prefix: prefix?.value,
        regions,
        backend: backend?,
        keys,
        credentials: credentials.into_iter().map(|credential| credential.value).collect(),
        aad_framing,
        ciphertext_metadata: metadata,
        limits,
        traffic,
        authorization: authorization?,
    })
}

/// The one that is named, or the only one.
fn backend_of(table: &mut Table<'_, '_>, backends: &Backends) -> Option<String> {
    let Some(name) = table.text("backend") else {
        let only = backends.only().map(str::to_owned);
        return table.needed("backend", only);
    };
    if !backends.has(&name.value) {
        let wrong = missing(&name.value);
        table.source.error(name.span, wrong);
    }
    Some(name.value)
}

fn credential(mut table: Table<'_, '_>) -> Option<Item<CredentialSettings>> {
    let id = table.parsed::<AccessKeyId>("access_key_id");
    let id = table.needed("access_key_id", id);
    let keys = ["secret_access_key_file", "secret_access_key_env", "secret_access_key"];
    let is_there = keys.iter().any(|key| table.has(key));
    let secret = table.one_secret(keys);
    if !is_there {
        table.error(format!("set one of `{}`", keys.join("`, `")));
    }
    let (secret, origin) = secret?;
    shared::credential(table.source, id?, secret, origin)
}

fn limits(table: &mut Table<'_, '_>) -> Limits {
    let mut limits = Limits::default();
    if let Some(bytes) = table.number("max_plaintext_bytes", 1..=16_777_216) {
        limits = limits.with_plaintext(bytes);
    }
    if let Some(bytes) = table.number("max_aad_bytes", 1..=65_535) {
        limits = limits.with_aad(bytes);
    }
    warn_of_small_limits(table, limits);
    limits
}

fn traffic(table: &mut Table<'_, '_>) -> TrafficLimits {
    let rate = table.number::<u32>("requests_per_second", 1..=10_000_000);
    let burst = table.number::<u32>("burst", 1..=10_000_000);
    if burst.is_some() && rate.is_none() {
        table.error("`burst` needs `requests_per_second`");
    }
    let queue = table.number("queue_ms", 0..=10_000);
    let none = TrafficLimits::NONE;
    let limits = TrafficLimits {
        rate: rate.map(|rate| (rate, burst.unwrap_or(rate.saturating_mul(TrafficLimits::BURST)))),
        concurrent: table.number("concurrent_requests", 1..=1_000_000),
        queue: queue.map_or(none.queue, Duration::from_millis),
    };
    if queue.is_some() && !limits.is_limit() {
        table.error("`queue_ms` needs `requests_per_second` or `concurrent_requests`");
    }
    limits
}
