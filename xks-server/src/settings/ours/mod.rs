//! Our own format. `settings/reference.toml` of this crate shows and explains every key.

mod authorization;
mod backends;
mod key_stores;
mod patterns;
mod server;

use std::{
    env,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    path::PathBuf,
    time::Duration,
};

use xks_core::Zeroizing;

use super::{
    SecretOrigin, ServerSettings, Settings,
    secrecy::is_usual_variable,
    shared,
    table::{Item, Table},
};
use crate::process;

/// A day, in seconds and in milliseconds: no time is longer.
const DAY: u64 = 24 * 60 * 60;
const DAY_MS: u64 = DAY * 1000;

pub(super) fn settings(mut root: Table<'_, '_>, module: Option<&PathBuf>) -> Option<Settings> {
    let environment = root.table("environment").map(environment).unwrap_or_default();
    let server = root.table("server");
    let server = root.needed("server", server).and_then(server::server);
    let tls = root.table("tls").map(server::tls);
    let health = root.table("health").map(server::health).unwrap_or_default();
    let metrics = root
        .table("metrics")
        .map(|mut table| table.address("listen").map_or(DEFAULT_METRICS, |item| item.value));
    let log = root.table("log").map(server::log).unwrap_or_default();
    let watch = root.table("reload").map_or(Some(DEFAULT_WATCH), |mut table| {
        let watch = table.seconds("watch_secs", 0..=DAY).unwrap_or(DEFAULT_WATCH);
        (!watch.is_zero()).then_some(watch)
    });
    let budget = server.as_ref().map_or(ServerSettings::BUDGET, |server| server.budget);
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
                    "[{other}] and [{table}] listen at the same address, {taken}: give each a port of its own"
                ));
            }
        }
    }
    let backends = backends::backends(&mut root, module, budget);
    let key_stores = key_stores::key_stores(&mut root, &backends);
    Some(Settings {
        environment,
        server: server?,
        tls: match tls {
            Some(tls) => Some(tls?),
            None => None,
        },
        health,
        metrics,
        log,
        watch,
        backends: backends.sound,
        key_stores,
    })
}

/// Prometheus' agent is mostly on the same machine.
const DEFAULT_METRICS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9464));

/// Between two looks at the files.
pub(super) const DEFAULT_WATCH: Duration = Duration::from_secs(2);

fn environment(table: Table<'_, '_>) -> Vec<(String, String)> {
    let source = table.source;
    let variables = table.into_texts().into_iter().filter(|(name, value)| {
        let is_legal = shared::is_variable(name, &value.value);
        if !is_legal {
            source.error(
                value.span.clone(),
                format!("{name:?} is no name of a variable, or its value has a NUL"),
            );
        } else if process::inherited(name).is_some_and(|inherited| inherited != value.value) {
            let doubt = format!("the environment has another {name}: this one goes before it");
            source.warn(value.span.clone(), doubt);
        }
        is_legal
    });
    variables.map(|(name, value)| (name, value.value)).collect()
}

/// The backend knows better than the server why it took so long, so it is the one to say so.
pub(super) fn default_deadline(budget: Duration) -> Duration {
    budget * 9 / 10
}

/// A secret from a file, from a variable, or as it stands here: one of the three.
fn one_secret(table: &mut Table<'_, '_>, keys: [&'static str; 3]) -> Option<(Item<Zeroizing<String>>, SecretOrigin)> {
    let source = table.source;
    let [file, key, here] = keys;
    let (file, variable, here) = (table.path(file), table.text(key), table.text(here));
    if [file.is_some(), variable.is_some(), here.is_some()]
        .iter()
        .filter(|is_there| **is_there)
        .count()
        > 1
    {
        table.error(format!("more than one of `{}`", keys.join("`, `")));
    }
    if let Some(file) = file {
        let value = source.read_text(&file)?;
        return Some((Item { value, span: file.span }, SecretOrigin::File(file.value)));
    }
    if let Some(variable) = variable {
        return match env::var(&variable.value) {
            Ok(secret) => {
                let secret = Item {
                    value: Zeroizing::new(secret),
                    span: variable.span,
                };
                Some((secret, SecretOrigin::Environment(variable.value)))
            }
            Err(_) => {
                // Somebody may have written the secret itself there.
                let name = match is_usual_variable(&variable.value) {
                    true => &*variable.value,
                    false => "that it names",
                };
                let wrong = format!("`{key}`: the environment variable {name} is not set, or holds no UTF-8");
                source.error(variable.span, wrong);
                None
            }
        };
    }
    here.map(|secret| {
        let secret = Item {
            value: Zeroizing::new(secret.value),
            span: secret.span,
        };
        (secret, SecretOrigin::Settings)
    })
}
