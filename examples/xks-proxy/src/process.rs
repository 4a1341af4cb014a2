//! What the process asks of the system: variables, and descriptors.

use std::{env, os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors beside those of connections: listeners, files, a module's own.
const OTHER_DESCRIPTORS: u64 = 200;

/// Says that this process has been started by itself, and with which variables of its settings, a blank
/// between two.
const STARTED_ANEW: &str = "XKS_PROXY_STARTED_ANEW";

/// A variable that this process was started with, and did not set itself; none if it holds no UTF-8.
pub(crate) fn inherited(name: &str) -> Option<String> {
    let own = env::var(STARTED_ANEW).unwrap_or_default();
    let is_own = own.split(' ').any(|own| own == name);
    env::var(name).ok().filter(|_| !is_own)
}

/// A PKCS#11 module reads its variables when it is loaded, and a variable can be set safely only for a new program: so this
/// one becomes another of itself, under the same process id.
pub(crate) fn put_into_environment(variables: &[(String, String)]) -> anyhow::Result<()> {
    let is_missing = |(name, value): &&(String, String)| env::var_os(name).is_none_or(|set| set != value.as_str());
    let missing: Vec<_> = variables.iter().filter(is_missing).collect();
    let Some((first, _)) = missing.first() else {
        return Ok(());
    };
    ensure!(
        env::var_os(STARTED_ANEW).is_none(),
        "the system does not let the variable {first} of [environment] through"
    );
    let failed = "cannot start this program anew with the variables of [environment]";
    let mut command = Command::new(env::current_exe().context(failed)?);
    let names: Vec<_> = missing.iter().map(|(name, _)| name.as_str()).collect();
    command
        .args(env::args_os().skip(1))
        .envs(missing.iter().map(|(name, value)| (name, value)))
        .env(STARTED_ANEW, names.join(" "));
    Err(command.exec()).context(failed)
}

/// Gets as many descriptors as there may be connections, or as many as there can be; returns how many connections there
/// may be then. A reserve is left for everything else, health among it.
pub(crate) fn raise_descriptor_limit(max_connections: usize) -> usize {
    let wanted = u64::try_from(max_connections)
        .unwrap_or(u64::MAX)
        .saturating_add(OTHER_DESCRIPTORS);
    let limit = getrlimit(Resource::Nofile);
    let Some(current) = limit.current.filter(|current| *current < wanted) else {
        return max_connections;
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
        return max_connections;
    }
    let left = descriptors.saturating_sub(OTHER_DESCRIPTORS).max(descriptors / 4);
    let connections = usize::try_from(left).unwrap_or(max_connections).max(1);
    tracing::warn!(
        descriptors,
        connections,
        max_connections,
        "there are fewer file descriptors than connections may be, so there will be fewer connections: raise the limit \
         (LimitNOFILE), or lower max_connections"
    );
    connections
}
