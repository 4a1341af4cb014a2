//! Who administers a store while no server has it.

use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use xks_lifecycle::{
    CloudAccount, CloudAccountId, CloudKey, CloudKeyId, CloudKeyOrigin, ExternalKeyStore, Import, KeySet, KeySetId,
    KeySource, KeyStoreId, Name, Regions, Repository, RotationStyle, Snapshot, Tenant, TenantId,
    commands::{Actor, Adopt, Backends, Commands, CreateKey, Deployment, KeyEntry},
    seal::Root,
    store::SqliteStore,
};

use super::{Curl, REGION, Server, Settings, ended, program};

/// `[store]` with a root in a file.
pub(crate) const STORE: &str =
    "[store]\nfile = \"state.db\"\n\n[[store.roots]]\nname = \"recovery\"\nfile = \"recovery.root\"\n";

/// Makes the store of these settings by its command.
pub(crate) fn create_store(settings: &Settings) -> (Option<i32>, String, String) {
    ended(program().args(["store", "create"]).arg(settings.write()))
}

/// Commands on the store of these settings. It is free again when this is dropped.
pub(crate) struct Administrator {
    runtime: Runtime,
    pub(crate) commands: Commands,
    pub(crate) actor: Actor,
    pub(crate) tenant: TenantId,
}

/// An external key store, and who calls it.
pub(crate) struct ManagedStore {
    pub(crate) id: KeyStoreId,
    prefix: String,
    pub(crate) user: String,
}

impl ManagedStore {
    pub(crate) fn curl(&self, server: &Server) -> Curl {
        Curl {
            user: self.user.clone(),
            ..server.curl_of(&self.prefix)
        }
    }
}

impl Administrator {
    /// With a tenant of its own.
    pub(crate) fn new(settings: &Settings, backends: Backends) -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let root = Root::file("recovery", &settings.file("recovery.root")).unwrap();
        let store = Arc::new(SqliteStore::open(&settings.file("state.db")).unwrap());
        let (repository, snapshot) = runtime.block_on(Repository::open(store, &[root])).unwrap();
        let commands = Commands::new(repository, snapshot, backends, Deployment::new("xks").unwrap());
        let (tenant, actor) = (TenantId::generate().unwrap(), Actor::new("a test").unwrap());
        let record = Tenant::new(tenant, "a tenant").unwrap();
        runtime.block_on(commands.create(&actor, record)).unwrap();
        Self {
            runtime,
            commands,
            actor,
            tenant,
        }
    }

    /// Waits for a command.
    pub(crate) fn run<T, E: std::fmt::Debug>(&self, command: impl Future<Output = Result<T, E>>) -> T {
        self.runtime.block_on(command).unwrap()
    }

    /// Makes an external key store with a credential.
    pub(crate) fn key_store(&self, prefix: &str) -> ManagedStore {
        let id = KeyStoreId::generate().unwrap();
        let regions = Regions::new([REGION]).unwrap();
        let record = ExternalKeyStore::new(id, self.tenant, prefix, prefix.parse().unwrap(), regions).unwrap();
        self.run(self.commands.create(&self.actor, record));
        let new = self.run(self.commands.create_credential(&self.actor, id, None));
        ManagedStore {
            id,
            prefix: prefix.to_owned(),
            user: format!("{}:{}", new.credential.access_key_id, new.secret().expose()),
        }
    }

    pub(crate) fn key_set(
        &self,
        source: KeySource,
        key_store: Option<&ManagedStore>,
        backend: Option<&str>,
    ) -> KeySetId {
        let id = KeySetId::generate().unwrap();
        let mut set = KeySet::new(id, self.tenant, "a set", source).unwrap();
        set.key_store = key_store.map(|key_store| key_store.id);
        set.backend = backend.map(|name| Name::new("backend", name).unwrap());
        self.run(self.commands.create(&self.actor, set));
        id
    }

    pub(crate) fn create_key(&self, set: KeySetId) -> KeyEntry {
        self.run(
            self.commands
                .create_key(&self.actor, CreateKey::new(set, "a key").unwrap()),
        )
    }

    /// Makes a cloud key, whose first material is to be made. Returns the label that it gets in its HSM.
    pub(crate) fn import(&self, set: KeySetId, alias: &str) -> String {
        let (account, key) = (CloudAccountId::generate().unwrap(), CloudKeyId::generate().unwrap());
        let account = CloudAccount::new(account, self.tenant, alias, REGION.parse().unwrap()).unwrap();
        let origin = CloudKeyOrigin::External(Import::new(RotationStyle::NewKey));
        let record = CloudKey::new(key, set, &account, alias.parse().unwrap(), origin).unwrap();
        self.run(self.commands.create(&self.actor, account));
        self.run(self.commands.create_import(&self.actor, record));
        let first = |state: &Snapshot| state.materials_of(key).next().unwrap().id;
        format!("xks.material.{}", self.commands.read(first))
    }

    /// Adopts a key that has no metadata.
    pub(crate) fn adopt(&self, set: KeySetId, key: &str) -> KeyEntry {
        let adopt = Adopt::new(CreateKey::new(set, "adopted").unwrap(), key.parse().unwrap());
        self.run(self.commands.adopt(&self.actor, adopt)).entry
    }
}
