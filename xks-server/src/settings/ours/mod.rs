//! Our own format. `settings/reference.toml` of this crate shows and explains every key.

mod audit;
mod authorization;
mod backends;
#[cfg(feature = "lifecycle")]
mod cloud;
mod key_stores;
#[cfg_attr(not(feature = "lifecycle"), path = "no_lifecycle.rs")]
mod lifecycle;
mod patterns;
mod server;
#[cfg(feature = "lifecycle")]
mod store;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};

#[cfg(feature = "lifecycle")]
use xks_core::KeyId;

use super::{DAY, DAY_MS, Listeners, ServerSettings, Settings, shared, table::Table};
use crate::{process, registry::Kinds};

pub(super) fn settings(mut root: Table<'_, '_>, kinds: &Kinds) -> Option<Settings> {
    let environment = root.table("environment").map(environment).unwrap_or_default();
    let server = root.table("server");
    let server = root.needed("server", server).and_then(server::server);
    let tls = root.table("tls").map(server::tls);
    let health = root.table("health").map(|table| server::health(table, &tls));
    let (health, health_tls) = health.unwrap_or_default();
    let metrics = root.table("metrics").map(|table| server::metrics(table, &tls));
    let (metrics, metrics_tls) = metrics.unzip();
    let log = root.table("log").map(server::log).unwrap_or_default();
    let audit = root.table("audit").and_then(audit::audit);
    let watch = root.table("reload").map_or(Some(DEFAULT_WATCH), |mut table| {
        let watch = table.seconds("watch_secs", 0..=DAY).unwrap_or(DEFAULT_WATCH);
        (!watch.is_zero()).then_some(watch)
    });
    let timeout = server.as_ref().map_or(ServerSettings::TIMEOUT, |server| server.timeout);
    if let Some(server) = &server {
        let all = [
            ("server", Some(server.listen)),
            ("health", health.listen),
            ("metrics", metrics),
        ];
        let all: Vec<_> = all
            .into_iter()
            .filter_map(|(table, address)| Some((table, address?)))
            .collect();
        let collide = |one: &SocketAddr, other: &SocketAddr| {
            let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
            one.port() != 0 && one.port() == other.port() && (everywhere || one.ip() == other.ip())
        };
        for (place, (table, taken)) in all.iter().enumerate() {
            for (other, _) in all.iter().take(place).filter(|(_, other)| collide(other, taken)) {
                root.error(format!(
                    "[{other}] and [{table}] have the same address {taken}: use different ports"
                ));
            }
        }
    }
    let backends = backends::backends(&mut root, kinds, timeout);
    #[cfg(feature = "lifecycle")]
    let lifecycle = lifecycle::lifecycle(&mut root, &backends);
    #[cfg(feature = "lifecycle")]
    let conflict = |backend: &str, key: &KeyId| lifecycle::conflict(lifecycle.as_ref()?, &backends, backend, key);
    #[cfg(not(feature = "lifecycle"))]
    let conflict = lifecycle::refuse(&mut root);
    let key_stores = key_stores::key_stores(&mut root, &backends, &conflict);
    Some(Settings {
        environment,
        server: server?,
        // What is wrong was reported.
        tls: Listeners {
            api: tls.flatten(),
            health: health_tls,
            metrics: metrics_tls.flatten(),
        },
        health,
        metrics,
        log,
        audit,
        watch,
        backends: backends.sound,
        key_stores,
        #[cfg(feature = "lifecycle")]
        lifecycle,
    })
}

/// Prometheus' agent is mostly on the same machine.
const DEFAULT_METRICS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9464));

/// Between two looks at the files.
pub(super) const DEFAULT_WATCH: Duration = Duration::from_secs(2);

fn environment(table: Table<'_, '_>) -> BTreeMap<String, String> {
    let source = table.source;
    let variables = table.into_texts().into_iter().filter(|(name, value)| {
        let is_legal = shared::is_variable(name, &value.value);
        if !is_legal {
            source.error(
                value.span.clone(),
                format!("{name:?}: not a name of an environment variable, or its value contains a NUL character"),
            );
        } else if process::inherited(name).is_some_and(|inherited| inherited != value.value) {
            let warning = format!("{name} overrides the value in the process's environment");
            source.warn(value.span.clone(), warning);
        }
        is_legal
    });
    variables.map(|(name, value)| (name, value.value)).collect()
}
