//! A sealed key under management, beside the same key without it.

use std::{env, fs, process, sync::Arc, time::SystemTime};

use xks_backend_soft::{SoftBackend, SoftKey};
use xks_core::{KeyId, Proxy};
use xks_lifecycle::{
    ExternalKeyStore, KeySet, KeySetId, KeySource, KeyStoreId, Managed, Regions, Repository, Tenant, TenantId,
    commands::{Actor, Backends, Commands, CreateKey, Deployment},
    seal::Root,
    store::MemoryStore,
};

use crate::{PREFIX, REGION, proxy_over, ready};

/// Two proxies that serve a key of one id: one through the layer of managed keys, one without it.
#[derive(Debug)]
pub struct SideBySide {
    /// The external key id.
    pub key: KeyId,
    /// A software key.
    pub alone: Proxy,
    /// A sealed key of a key set.
    pub managed: Proxy,
}

impl SideBySide {
    /// Makes a state in memory with one key.
    #[must_use]
    pub fn new() -> Self {
        let commands = commands();
        let actor = Actor::new("benches").expect("a legal actor");
        let tenant = Tenant::new(TenantId::generate().expect("random bytes"), "Tenant").expect("a legal tenant");
        let regions = Regions::new([REGION]).expect("a legal Region");
        let prefix = PREFIX.parse().expect("a legal prefix");
        let id = KeyStoreId::generate().expect("random bytes");
        let store = ExternalKeyStore::new(id, tenant.id, "Store", prefix, regions).expect("a legal key store");
        let set = KeySetId::generate().expect("random bytes");
        let mut set = KeySet::new(set, tenant.id, "Set", KeySource::Vault).expect("a legal key set");
        set.key_store = Some(id);
        let create = CreateKey::new(set.id, "Key").expect("a legal name");
        ready(commands.create(&actor, tenant)).expect("it is created");
        ready(commands.create(&actor, store)).expect("it is created");
        ready(commands.create(&actor, set)).expect("it is created");
        let key = ready(commands.create_key(&actor, create))
            .expect("it is created")
            .key
            .id;
        let soft = SoftKey::generate().expect("random bytes");
        Self {
            alone: proxy_over(SoftBackend::new().with_key(key.clone(), soft)),
            managed: proxy_over(Managed::new(&commands, id)),
            key,
        }
    }
}

impl Default for SideBySide {
    fn default() -> Self {
        Self::new()
    }
}

fn commands() -> Commands {
    let path = env::temp_dir().join(format!("xks-benches-{}.root", process::id()));
    Root::create_file(&path).expect("the root can be written");
    let root = Root::file("root", &path).expect("the root can be read");
    let store = Arc::new(MemoryStore::new());
    let (repository, snapshot) =
        ready(Repository::create(store, &[root], SystemTime::now().into())).expect("the store is empty");
    fs::remove_file(&path).expect("the root can be removed");
    let deployment = Deployment::new("benches").expect("a legal name");
    Commands::new(repository, snapshot, Backends::new(), deployment)
}
