//! Keys under management keep everything: those that are made in a key manager, sealed ones, and adopted
//! ones.

use std::{sync::Arc, time::SystemTime};

use xks_backend_soft::{SoftBackend, SoftKey};
use xks_core::KeyId;
use xks_lifecycle::{
    ExternalKeyStore, KeySet, KeySetId, KeySource, KeyStoreId, Managed, Name, Regions, Repository, Tenant, TenantId,
    commands::{Actor, Adopt, Backends, Commands, CreateKey, Deployment},
    key_state::KeyCommand,
    seal::Root,
    store::MemoryStore,
};

use crate::support::{Folder, KEY, PREFIX, REGION, Server, checked, missed, runtime, setup};

/// Three keys of a source: one as it was made, one that was rotated, one that is disabled.
async fn keys(folder: &Folder, source: KeySource) -> (Managed, [KeyId; 3]) {
    let path = folder.path(source.as_str());
    Root::create_file(&path).unwrap();
    let root = Root::file("first", &path).unwrap();
    let store = Arc::new(MemoryStore::new());
    let made = Repository::create(store, &[root], SystemTime::now().into()).await;
    let (repository, snapshot) = made.unwrap();
    let soft = Arc::new(SoftBackend::new());
    let backends = Backends::new().with(Name::new("name", "hsm").unwrap(), soft.clone(), soft.clone());
    let commands = Commands::new(repository, snapshot, backends, Deployment::new("check").unwrap());
    let actor = Actor::new("check").unwrap();
    let tenant = Tenant::new(TenantId::generate().unwrap(), "Tenant").unwrap();
    let (id, regions) = (KeyStoreId::generate().unwrap(), Regions::new([REGION]).unwrap());
    let key_store = ExternalKeyStore::new(id, tenant.id, "Store", PREFIX.parse().unwrap(), regions).unwrap();
    let mut set = KeySet::new(KeySetId::generate().unwrap(), tenant.id, "Set", source).unwrap();
    set.key_store = Some(id);
    let spec = CreateKey::new(set.id, "Name").unwrap();
    commands.create(&actor, tenant).await.unwrap();
    commands.create(&actor, key_store).await.unwrap();
    commands.create(&actor, set).await.unwrap();
    let mut keys = Vec::new();
    for name in [KEY, "second", "disabled"] {
        keys.push(if source == KeySource::Adopted {
            let name: KeyId = name.parse().unwrap();
            soft.insert(name.clone(), SoftKey::generate().unwrap());
            let adopted = commands.adopt(&actor, Adopt::new(spec.clone(), name)).await;
            adopted.unwrap().entry.key.id
        } else {
            commands.create_key(&actor, spec.clone()).await.unwrap().key.id
        });
    }
    commands.rotate(&actor, &keys[1], None).await.unwrap();
    commands
        .change_key(&actor, &keys[2], None, KeyCommand::Disable)
        .await
        .unwrap();
    (Managed::new(&commands, id), keys.try_into().unwrap())
}

#[test]
fn keys_under_management_keep_everything() {
    let folder = Folder::new();
    for source in KeySource::ALL {
        let (managed, [first, second, disabled]) = runtime().block_on(keys(&folder, source));
        let server = Server::over(Arc::new(managed));
        let mut setup = setup(&server.url);
        setup.keys = [first, second].map(|key| key.to_string()).to_vec();
        setup.disabled = Some(disabled.to_string());
        (setup.encrypt_only, setup.decrypt_only) = (None, None);
        let report = checked(&setup);
        assert_eq!(missed(&report), Vec::<&str>::new(), "{source}: {report}");
        assert!(report.is_conformant(), "{source}: {report}");
        assert!(report.summary.pass > 300, "{source}: {report}");
    }
}
