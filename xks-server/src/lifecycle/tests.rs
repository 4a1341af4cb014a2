//! A command that has returned is in force.

use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use xks_backend_soft::{SoftBackend, SoftKey};
use xks_core::{
    KeyBackend, KeyId, Zeroizing,
    aad::{AadFraming, BoundAad},
    api::RequestMetadata,
    backend::{BackendErrorKind, EncryptRequest},
};
use xks_lifecycle::{
    CloudAccount, CloudAccountId, CloudKey, CloudKeyId, CloudKeyOrigin, ExternalKeyStore, Import, KeySet, KeySetId,
    KeySource, KeyStoreId, Regions, Repository, RotationStyle, Tenant, TenantId,
    commands::{Adopt, CreateKey, Deployment},
    key_state::KeyCommand,
    seal::Root,
    store::MemoryStore,
};

use super::{backend::NamedBackend, *};
use crate::{
    backend::{BackendSettings, OpenBackend, OpenError, Opening},
    backends::Backends,
    certificates::{Certificates, Prepared},
    metrics::Metrics,
    registry::ConfiguredBackend,
    server::Server,
    settings::{self, Settings},
};

/// A kind of backend that is there already.
#[derive(Clone)]
struct There(Arc<SoftBackend>);

impl PartialEq for There {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl BackendSettings for There {
    fn open(&self, _: &Opening<'_>) -> Result<Arc<dyn OpenBackend>, OpenError> {
        Ok(self.0.clone())
    }

    fn makes_no_keys(&self) -> Option<&'static str> {
        None
    }
}

struct World {
    runtime: Runtime,
    reconciler: Arc<Reconciler>,
    running: Running,
    server: Server,
    tenant: TenantId,
}

/// Settings with one backend, and a key store of all its keys under each of these prefixes.
fn settings(server: &Server, prefixes: &[&str]) -> Settings {
    let mut text = "[server]\nlisten = \"127.0.0.1:0\"\n[backends.one]\nkind = \"there\"\n".to_owned();
    for prefix in prefixes {
        text += &format!(
            "[[key_stores]]\nuri_path_prefix = \"{prefix}\"\nregions = [\"us-east-1\"]\nall_keys = true\n\
             [[key_stores.credentials]]\naccess_key_id = \"BETWEEN2TENAND3TENCHARACTERS\"\n\
             secret_access_key = \"PleaseReplaceThisWithSomeSecretOfLength43To64\"\n"
        );
    }
    let loaded = settings::parse(std::path::Path::new("/settings.toml"), &text, &server.formats);
    loaded.settings.unwrap_or_else(|| panic!("{:?}", loaded.problems))
}

impl World {
    /// A server with the key `known` and a key store of the file at `/file`, and an empty store.
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let soft = Arc::new(SoftBackend::new().with_key(id("known"), SoftKey::generate().unwrap()));
        let there = There(soft);
        let kind = there.clone();
        let server = Server::new("test", "1").backend("there", move |_, _| Some(kind.clone()));
        let settings = settings(&server, &["/file"]);
        let backends = Backends::open(&settings.backends, None).unwrap();
        let configured = ConfiguredBackend::new("one", "there", there.clone());
        let open: Arc<dyn OpenBackend> = there.0;
        let named = Arc::new(NamedBackend::new(&configured, &open).unwrap());
        let root = std::env::temp_dir().join(format!(
            "xks-server-lifecycle-{}",
            xks_lifecycle::generate_key_id().unwrap()
        ));
        Root::create_file(&root).unwrap();
        let roots = [Root::file("root", &root).unwrap()];
        std::fs::remove_file(&root).unwrap();
        let store = Arc::new(MemoryStore::new());
        let (repository, snapshot) = runtime
            .block_on(Repository::create(store, &roots, open::now()))
            .unwrap();
        let name = xks_lifecycle::Name::new("name", "one").unwrap();
        let managed = xks_lifecycle::commands::Backends::new().with(name, named.clone(), named.clone());
        let commands = Commands::new(repository, snapshot, managed, Deployment::new("xks").unwrap());
        let in_use = InUse::new(vec![named], Vec::new());
        let opened = Opened {
            guard: Guard::new(&commands, in_use.names()),
            commands,
            node: None,
            audit: None,
            cloud: None,
            in_use,
            admin: AdminSettings {
                socket: "socket".into(),
                group: None,
            },
        };
        let certificates = Certificates::new(Prepared::new(&settings.tls).unwrap());
        let metrics = Arc::new(Metrics::new(Arc::new(|| 0), Vec::new()));
        let guard = Some(opened.guard());
        let reconciler = Reconciler::new(&settings, backends, certificates, metrics, &server, guard).unwrap();
        let reconciler = Arc::new(reconciler);
        let running = Running::start(opened, &reconciler).unwrap();
        let world = Self {
            tenant: TenantId::generate().unwrap(),
            runtime,
            reconciler,
            running,
            server,
        };
        world.create(Tenant::new(world.tenant, "a tenant").unwrap());
        world
    }

    fn create(&self, record: impl xks_lifecycle::commands::Administered) {
        let created = self.running.commands.create(&self.running.actor, record);
        self.runtime.block_on(created).unwrap();
    }

    fn key_store(&self, prefix: &str) -> ExternalKeyStore {
        let regions = Regions::new(["us-east-1"]).unwrap();
        let id = KeyStoreId::generate().unwrap();
        ExternalKeyStore::new(id, self.tenant, prefix, prefix.parse().unwrap(), regions).unwrap()
    }

    fn is_served(&self, prefix: &str) -> bool {
        self.reconciler.proxy.key_stores().get(prefix).is_some()
    }

    fn reload(&self, prefixes: &[&str]) -> Result<(), crate::reconciler::NotReplaced> {
        let turn = self.reconciler.next_turn();
        self.reconciler.replace(&settings(&self.server, prefixes), turn)
    }

    /// Encrypts by the file's key store at a prefix.
    fn encrypt(&self, prefix: &str, key: &str) -> Result<(), BackendErrorKind> {
        let key_store = self.reconciler.proxy.key_stores().get(prefix).unwrap();
        let aad = BoundAad::new(AadFraming::Spec, None, None).unwrap();
        let mut request = EncryptRequest::new(RequestMetadata::default(), Zeroizing::new(vec![7]), aad);
        let encrypted = self
            .runtime
            .block_on(key_store.backend().encrypt(&id(key), &mut request));
        encrypted.map(drop).map_err(|error| error.kind())
    }
}

fn id(text: &str) -> KeyId {
    text.parse().unwrap()
}

#[test]
fn external_key_stores_come_move_and_go_with_their_commands() {
    let world = World::new();
    let commands = &world.running.commands;
    let mut one = world.key_store("/one");
    world.create(one.clone());
    assert!(world.is_served("/one") && world.is_served("/file"));
    one.prefix = "/two".parse().unwrap();
    let moved = commands.update(&world.running.actor, one.clone(), None);
    world.runtime.block_on(moved).unwrap();
    assert!(!world.is_served("/one") && world.is_served("/two"));
    // Another one gets what has become free.
    world.create(world.key_store("/one"));
    assert!(world.is_served("/one"));
    let removed = commands.remove::<ExternalKeyStore>(&world.running.actor, one.id, None);
    world.runtime.block_on(removed).unwrap();
    assert!(!world.is_served("/two"));
}

#[test]
fn a_prefix_belongs_to_who_has_it_until_it_is_free() {
    let world = World::new();
    let of_file = world.reconciler.proxy.key_stores().get("/file").unwrap();
    world.create(world.key_store("/file"));
    let served = world.reconciler.proxy.key_stores().get("/file").unwrap();
    assert!(Arc::ptr_eq(&of_file, &served));
    world.reload(&["/other"]).unwrap();
    let served = world.reconciler.proxy.key_stores().get("/file").unwrap();
    assert!(!Arc::ptr_eq(&of_file, &served));
    let error = world.reload(&["/file"]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("belongs to an external key store under management"),
        "{error}"
    );
    let still = world.reconciler.proxy.key_stores().get("/file").unwrap();
    assert!(Arc::ptr_eq(&still, &served));
}

#[test]
fn a_key_of_the_file_is_under_management_when_the_command_that_adopts_it_returns() {
    let world = World::new();
    let commands = &world.running.commands;
    let mut set = KeySet::new(
        KeySetId::generate().unwrap(),
        world.tenant,
        "adopted",
        KeySource::Adopted,
    )
    .unwrap();
    let adopted_set = set.id;
    world.create(set.clone());
    set.id = KeySetId::generate().unwrap();
    set.source = KeySource::Hsm;
    world.create(set.clone());
    assert_eq!(world.encrypt("/file", "known"), Ok(()));
    let adopt = Adopt::new(CreateKey::new(adopted_set, "adopted").unwrap(), id("known"));
    world
        .runtime
        .block_on(commands.adopt(&world.running.actor, adopt))
        .unwrap();
    assert_eq!(world.encrypt("/file", "known"), Ok(()));
    let known = id("known");
    let disabled = commands.change_key(&world.running.actor, &known, None, KeyCommand::Disable);
    world.runtime.block_on(disabled).unwrap();
    assert_eq!(world.encrypt("/file", "known"), Err(BackendErrorKind::KeyDisabled));
    // And a key that is made, under the id by which the backend knows it; also for a key store that comes
    // later.
    let spec = CreateKey::new(set.id, "made").unwrap();
    let made = world
        .runtime
        .block_on(commands.create_key(&world.running.actor, spec))
        .unwrap();
    let label = made.versions[0].backend_key().unwrap().to_string();
    world.reload(&["/file", "/late"]).unwrap();
    for prefix in ["/file", "/late"] {
        assert_eq!(world.encrypt(prefix, &label), Err(BackendErrorKind::KeyNotFound));
        assert_eq!(world.encrypt(prefix, "known"), Err(BackendErrorKind::KeyDisabled));
    }
}

/// Of material that is wanted in AWS, and that AWS has.
#[test]
fn the_first_end_of_material_in_aws_is_measured() {
    let world = World::new();
    let (commands, actor) = (&world.running.commands, &world.running.actor);
    let set = KeySet::new(KeySetId::generate().unwrap(), world.tenant, "own", KeySource::Vault).unwrap();
    let (own, account) = (set.id, CloudAccountId::generate().unwrap());
    world.create(set);
    let account = CloudAccount::new(account, world.tenant, "main", "eu-central-1".parse().unwrap()).unwrap();
    world.create(account.clone());
    let mut keys = Vec::new();
    for alias in ["alias/one", "alias/two"] {
        let origin = CloudKeyOrigin::External(Import::new(RotationStyle::InPlace));
        let id = CloudKeyId::generate().unwrap();
        let key = CloudKey::new(id, own, &account, alias.parse().unwrap(), origin).unwrap();
        world.runtime.block_on(commands.create_import(actor, key)).unwrap();
        keys.push(id);
    }
    assert_eq!(commands.read(metrics::first_end), None);
    let now = commands.now();
    for (key, days) in keys.iter().zip([300, 200]) {
        let material = commands.read(|state| state.materials_of(*key).next().unwrap().id);
        world.runtime.block_on(commands.make_material(actor, material)).unwrap();
        let arn = format!("arn:aws:kms:eu-central-1:111122223333:key/{key}")
            .parse()
            .unwrap();
        let (id, end) = ("ab".repeat(32).parse().unwrap(), now.plus_days(days));
        let noted = commands.note_import(actor, material, &arn, Some(id), Some(end));
        world.runtime.block_on(noted).unwrap();
        assert_eq!(commands.read(metrics::first_end), Some(end));
    }
    let mut disabled = commands.read(|state| (**state.cloud_key(keys[1]).unwrap()).clone());
    disabled.wanted = xks_lifecycle::WantedKey::Disabled;
    world.runtime.block_on(commands.update(actor, disabled, None)).unwrap();
    assert_eq!(commands.read(metrics::first_end), Some(now.plus_days(300)));
}
