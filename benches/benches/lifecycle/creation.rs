//! Many keys made by one command in SoftHSM2: calls of the module, and processor time.

use std::{path::Path, sync::Arc, time::Duration};

use pollster::block_on;
use xks_backend_pkcs11::{Config, Pin, Pkcs11Backend, Quirks, SlotSelector};
use xks_benches::Row;
use xks_core::manage::{KeyManager as _, NewKey};
use xks_lifecycle::{
    Repository,
    commands::{Commands, CreateKey},
    store::SqliteStore,
};
use xks_pkcs11_fixture::{Function, Shim, SoftHsm};

use super::{Folder, actor, backends, deployment, key_set, processor_time, root};

const PIN: &str = "1234";

pub(crate) fn measure(hsm: &SoftHsm, keys: usize) {
    let shim = Shim::load();
    for token in ["alone", "command"] {
        hsm.token(token, PIN);
    }
    let alone = alone(&shim, keys);
    let (command, calls) = by_command(&shim, keys);
    let each = |number: f64| number / keys as f64;
    let what = format!("calls of the module for each of {keys} keys of one command, beside C_GenerateKey");
    println!("{}", Row::at_most(&what, 3.0, each(calls as f64)));
    let own = command.saturating_sub(alone);
    let what = format!(
        "processor time for each of {keys} keys of one command, less that of the key manager alone, µs (both {:.0}, \
         alone {:.0})",
        each(command.as_secs_f64() * 1e6),
        each(alone.as_secs_f64() * 1e6)
    );
    println!("{}", Row::at_most(&what, 200.0, each(own.as_secs_f64() * 1e6)));
}

fn open(module: &Path, token: &str) -> Arc<Pkcs11Backend> {
    let config = Config::new(module)
        .slot(SlotSelector::TokenLabel(token.into()))
        .pin(Pin::new(PIN))
        .quirks(Quirks::SOFTHSM)
        .deadline(Duration::from_secs(60));
    Arc::new(Pkcs11Backend::open(config).unwrap())
}

/// What the key manager takes by itself.
fn alone(shim: &Shim, keys: usize) -> Duration {
    let backend = open(shim.path(), "alone");
    let new: Vec<_> = (0..keys)
        .map(|number| {
            let mut token = [0; 16];
            getrandom::fill(&mut token).unwrap();
            let label = format!("prod.aaisem2ekvthpcezvk54zxpo.{number:08x}");
            NewKey::for_xks(token.into(), label.parse().unwrap())
        })
        .collect();
    let deadline = std::time::Instant::now() + Duration::from_secs(600);
    let start = processor_time();
    let made = block_on(backend.create_keys(&new, deadline));
    let took = processor_time() - start;
    assert!(made.iter().all(Result::is_ok));
    took
}

/// What the command takes with it, and how often it calls the module beside making keys.
fn by_command(shim: &Shim, keys: usize) -> (Duration, u64) {
    let backend = open(shim.path(), "command");
    let folder = Folder::new("creation");
    let store = Arc::new(SqliteStore::open(&folder.0.join("state.db")).unwrap());
    let now = std::time::SystemTime::now().into();
    let (repository, snapshot) = block_on(Repository::create(store, &[root(&folder.0)], now)).unwrap();
    let commands = Commands::new(repository, snapshot, backends(backend), deployment());
    let spec = CreateKey::new(key_set(&commands), "Key").unwrap();
    let calls = || {
        let counters = shim.counters();
        counters.calls.values().sum::<u64>() - counters.of(Function::C_GenerateKey)
    };
    let (before, start) = (calls(), processor_time());
    let made = block_on(commands.create_keys(&actor(), &vec![spec; keys]));
    let took = processor_time() - start;
    assert!(made.iter().all(Result::is_ok));
    (took, calls() - before)
}
