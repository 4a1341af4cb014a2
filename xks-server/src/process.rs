//! The process's environment variables and file descriptors.

use std::{collections::BTreeMap, env, os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors beside those of connections: listeners, files, a module's own.
const OTHER_DESCRIPTORS: u64 = 200;

/// Connections of the listener for health, and of that for metrics. Balancers and Prometheus need few.
const AUXILIARY: usize = 64;

/// Says that this process has been started by itself, and with which variables of its settings, a blank
/// between two.
const STARTED_ANEW: &str = "XKS_PROXY_STARTED_ANEW";

/// A variable that this process was started with, and did not set itself; none if it holds no UTF-8.
pub(crate) fn inherited(name: &str) -> Option<String> {
    let own = env::var(STARTED_ANEW).unwrap_or_default();
    let is_own = own.split(' ').any(|own| own == name);
    env::var(name).ok().filter(|_| !is_own)
}

/// A PKCS#11 module reads its variables when it is loaded, and a variable can be set safely only for a new
/// program: so this one becomes another of itself, under the same process id.
pub(crate) fn put_into_environment(variables: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let is_missing = |(name, value): &(&String, &String)| env::var_os(name).is_none_or(|set| set != value.as_str());
    let missing: Vec<_> = variables.iter().filter(is_missing).collect();
    let Some((first, _)) = missing.first() else {
        return Ok(());
    };
    ensure!(
        env::var_os(STARTED_ANEW).is_none(),
        "cannot set {first} of [environment]: the operating system drops it"
    );
    let failed = "cannot restart this program with the variables of [environment]";
    let mut command = Command::new(env::current_exe().context(failed)?);
    let names: Vec<_> = missing.iter().map(|(name, _)| name.as_str()).collect();
    command
        .args(env::args_os().skip(1))
        .envs(missing.iter().map(|(name, value)| (name, value)))
        .env(STARTED_ANEW, names.join(" "));
    Err(command.exec()).context(failed)
}

/// The greatest number of connections of all listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connections {
    pub(crate) api: usize,
    /// Of health, and as many of metrics.
    pub(crate) auxiliary: usize,
}

impl Connections {
    /// Raises the limit of descriptors to what all listeners may need together, or as far as it can be;
    /// returns how many connections there may be then. A reserve is left for everything else: a module that
    /// cannot open a file fails the requests of connections that are open.
    pub(crate) fn within_descriptors(max_connections: usize) -> Self {
        let all = Self {
            api: max_connections,
            auxiliary: AUXILIARY,
        };
        let wanted = as_u64(all.api.saturating_add(2 * all.auxiliary)).saturating_add(OTHER_DESCRIPTORS);
        let limit = getrlimit(Resource::Nofile);
        let Some(current) = limit.current.filter(|current| *current < wanted) else {
            return all;
        };
        let most = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
        let raised = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(most),
                maximum: limit.maximum,
            },
        );
        let descriptors = if raised.is_ok() { most } else { current };
        if descriptors == wanted {
            return all;
        }
        let fewer = Self::share(usize::try_from(descriptors).unwrap_or(usize::MAX));
        tracing::warn!(
            descriptors,
            connections = fewer.api,
            max_connections,
            "too few file descriptors for `max_connections`: accepting fewer connections; raise the limit \
             (LimitNOFILE), or lower max_connections"
        );
        fewer
    }

    /// Of so few descriptors: a quarter at least for the API, some for health and metrics, and the rest for
    /// what is not a connection.
    fn share(descriptors: usize) -> Self {
        let auxiliary = (descriptors / 16).clamp(1, AUXILIARY);
        let others = usize::try_from(OTHER_DESCRIPTORS).unwrap_or(usize::MAX) + 2 * auxiliary;
        Self {
            api: descriptors.saturating_sub(others).max(descriptors / 4).max(1),
            auxiliary,
        }
    }
}

fn as_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever there is, no listener is without, and something is left.
    #[test]
    fn few_descriptors_are_shared() {
        for descriptors in [64, 256, 300, 1024, 4096, 10_000] {
            let Connections { api, auxiliary } = Connections::share(descriptors);
            assert!(api >= descriptors / 4 && (1..=64).contains(&auxiliary), "{descriptors}");
            assert!(
                descriptors - api - 2 * auxiliary >= descriptors.min(400) / 2,
                "{descriptors}"
            );
        }
    }
}
