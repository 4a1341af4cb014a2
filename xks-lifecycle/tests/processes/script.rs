//! All commands, one after the other, on a state in files, so that any process can go on where another has
//! ended.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use pollster::block_on;
use xks_backend_soft::SoftBackend;
use xks_core::{
    KeyBackend, Zeroizing,
    aad::{AadFraming, BoundAad},
    api::RequestMetadata,
    backend::EncryptRequest,
    manage::{KeyManager, NewKey, WrappingAlgorithm, WrappingKey},
};
use xks_lifecycle::{
    CloudAccount, CloudAccountId, CloudKey, CloudKeyId, CloudKeyOrigin, CloudMaterial, CommandError, ExternalKeyStore,
    Import, KeySet, KeySetId, KeySource, KeyStoreId, Managed, Material, MaterialState, Minima, Name, Outcome,
    OverlapMinutes, Regions, Repository, RepositoryError, Rotation, RotationStyle, Schedule, ScheduleId, Tenant,
    TenantId, VersionState, WaitingDays,
    commands::{Actor, Adopt, Backends, Commands, CreateKey, CredentialEntry, Deployment, KeyEntry},
    key_state::{KeyCommand, KeyState, VersionCommand},
    schedule::{PeriodDays, Scheduler, Timing},
    seal::Root,
    store::{ClaimKind, SqliteStore, Store as _},
};

use crate::{DAY, START, alice, support::at};

/// A key that others have made.
const ADOPTED: &str = "adopted-key";

pub(crate) struct Site {
    commands: Arc<Commands>,
    store: Arc<SqliteStore>,
    hsm: Arc<SoftBackend>,
    clock: Arc<AtomicU64>,
    progress: PathBuf,
}

type Step = (&'static str, fn(&Site));

/// What is done: steps that are named, in this order.
const STEPS: &[Step] = &[
    ("make a tenant", |site| site.tenant("Tenant")),
    ("make an external key store", Site::key_store),
    ("make a credential", |site| {
        if site.credentials().is_empty() {
            let store = site.find_key_store().unwrap();
            block_on(site.commands.create_credential(alice(), store, None)).unwrap();
        }
    }),
    ("rotate it", |site| {
        if site.credentials().len() == 1 {
            let store = site.find_key_store().unwrap();
            let overlap = OverlapMinutes::new(60).unwrap();
            block_on(site.commands.rotate_credential(alice(), store, overlap)).unwrap();
        }
    }),
    ("revoke the former", |site| {
        let former = &site.credentials()[0];
        assert!(former.credential.expires.is_some(), "{former:?}");
        block_on(
            site.commands
                .revoke_credential(alice(), &former.credential.access_key_id),
        )
        .unwrap();
    }),
    ("block the external key store", |site| {
        let store = site.find_key_store().unwrap();
        block_on(site.commands.block(alice(), store, None)).unwrap();
    }),
    ("unblock it", |site| {
        let store = site.find_key_store().unwrap();
        block_on(site.commands.unblock(alice(), store, None)).unwrap();
    }),
    ("make a key set for the HSM", |site| site.key_set(KeySource::Hsm)),
    ("make a key set of sealed keys", |site| site.key_set(KeySource::Vault)),
    ("make a key set of adopted keys", |site| {
        site.key_set(KeySource::Adopted);
    }),
    ("verify the HSM", |site| {
        let set = site.set(KeySource::Hsm);
        block_on(site.commands.verify_backend(alice(), set)).unwrap();
    }),
    ("make a key in the HSM", |site| {
        site.create(KeySource::Hsm, "in the HSM");
    }),
    ("make a sealed key", |site| site.create(KeySource::Vault, "sealed")),
    ("make keys together", Site::create_many),
    ("adopt a key", Site::adopt),
    ("encrypt with the key in the HSM", |site| site.encrypt("in the HSM")),
    ("encrypt with the sealed key", |site| site.encrypt("sealed")),
    ("encrypt with the adopted key", |site| site.encrypt("adopted")),
    ("rotate the key in the HSM", |site| site.rotate("in the HSM", 2)),
    ("rotate the sealed key", |site| site.rotate("sealed", 2)),
    ("rotate the adopted key", |site| site.rotate("adopted", 2)),
    ("add a version", Site::add_version),
    ("promote it", |site| site.version("sealed", 3, VersionCommand::Promote)),
    ("revoke a version", |site| {
        site.version("sealed", 1, VersionCommand::Revoke);
    }),
    ("restore it", |site| site.version("sealed", 1, VersionCommand::Restore)),
    ("revoke another", |site| {
        site.version("sealed", 2, VersionCommand::Revoke);
    }),
    ("destroy it", |site| {
        site.version("sealed", 2, VersionCommand::Destroy { typed_name: None });
    }),
    ("set minima", |site| {
        let minima = KeyCommand::SetMinima(Minima::new(2, 2, 2).unwrap());
        site.change("in the HSM", minima);
    }),
    ("destroy a version in the HSM", |site| {
        let typed_name = Some("in the HSM".to_owned());
        site.version("in the HSM", 1, VersionCommand::Destroy { typed_name });
    }),
    ("disable", |site| site.change("sealed", KeyCommand::Disable)),
    ("enable", |site| site.change("sealed", KeyCommand::Enable)),
    ("schedule a deletion", |site| site.schedule("sealed")),
    ("cancel it", |site| site.change("sealed", KeyCommand::CancelDeletion)),
    ("schedule the deletion of the key in the HSM", |site| {
        site.schedule("in the HSM");
    }),
    ("destroy it too early", |site| {
        let id = site.key("in the HSM").key.id;
        let destroy = KeyCommand::Destroy { typed_name: None };
        let refused = block_on(site.commands.change_key(alice(), &id, None, destroy)).unwrap_err();
        assert_eq!(refused.outcome(), Outcome::Refused, "{refused}");
    }),
    ("destroy it in time", |site| {
        site.clock.store(START + 8 * DAY, Ordering::Relaxed);
        let typed_name = Some("in the HSM".to_owned());
        site.change("in the HSM", KeyCommand::Destroy { typed_name });
    }),
    ("make a schedule", Site::make_schedule),
    ("give it to the adopted key", |site| {
        let rotation = Rotation::By(site.found_schedule().unwrap());
        site.change("adopted", KeyCommand::SetRotation(rotation));
    }),
    ("give it to the external key store", |site| {
        let id = site.find_key_store().unwrap();
        let mut store: ExternalKeyStore = site
            .commands
            .read(|snapshot| (**snapshot.key_store(id).unwrap()).clone());
        store.schedule = site.found_schedule();
        block_on(site.commands.update(alice(), store, None)).unwrap();
    }),
    ("rotate by the schedule", Site::run_scheduler),
    ("take the secret of the new credential", |site| {
        let untaken = site.credentials().into_iter().find(|entry| entry.credential.is_untaken);
        if let Some(CredentialEntry { credential, .. }) = untaken {
            block_on(site.commands.take_secret(alice(), &credential.access_key_id)).unwrap();
        }
    }),
    ("make a cloud account and keys that AWS imports", Site::cloud_keys),
    ("add material in the HSM", |site| site.add_material(KeySource::Hsm)),
    ("make it", |site| site.make_material(KeySource::Hsm)),
    ("wrap it", Site::wrap_material),
    ("add sealed material", |site| site.add_material(KeySource::Vault)),
    ("make that", |site| site.make_material(KeySource::Vault)),
    ("destroy the material in the HSM", |site| {
        let id = site.materials(KeySource::Hsm)[0].id;
        block_on(site.commands.destroy_material(alice(), id)).unwrap();
    }),
    ("add another", |site| site.add_material(KeySource::Hsm)),
    ("make that too", |site| site.make_material(KeySource::Hsm)),
    ("make another tenant", |site| site.tenant("Other")),
    ("remove it", |site| {
        let Some(id) = site.tenant_called("Other") else { return };
        block_on(site.commands.remove::<Tenant>(alice(), id, None)).unwrap();
    }),
];

impl Site {
    pub(crate) fn open(directory: &Path) -> Self {
        let root = directory.join("root");
        if !root.exists() {
            Root::create_file(&root).unwrap();
        }
        let root = Root::file("first", &root).unwrap();
        let roots = std::slice::from_ref(&root);
        let store = Arc::new(SqliteStore::open(&directory.join("state.db")).unwrap());
        let (repository, snapshot) = match block_on(Repository::open(Arc::clone(&store) as _, roots)) {
            Err(RepositoryError::Empty) => {
                block_on(Repository::create(Arc::clone(&store) as _, roots, at(START))).unwrap()
            }
            opened => opened.unwrap(),
        };
        let hsm = Arc::new(SoftBackend::new().with_directory(directory.join("keys")).unwrap());
        let adopted = NewKey::for_xks([9; 16].into(), ADOPTED.parse().unwrap());
        block_on(hsm.create_key(&adopted, Instant::now() + Duration::from_secs(60))).unwrap();
        let name = Name::new("name", "hsm").unwrap();
        let backends = Backends::new().with(name, Arc::clone(&hsm) as _, Arc::clone(&hsm) as _);
        let clock = Arc::new(AtomicU64::new(START));
        let now = Arc::clone(&clock);
        let commands = Commands::new(repository, snapshot, backends, Deployment::new("test").unwrap())
            .with_clock(move || at(now.load(Ordering::Relaxed)));
        Self {
            commands: Arc::new(commands),
            store,
            hsm,
            clock,
            progress: directory.join("progress"),
        }
    }

    pub(crate) fn recover(&mut self) {
        let recovered = block_on(self.commands.recover(&Actor::new("start").unwrap())).unwrap();
        assert!(
            recovered.failed.is_empty() && recovered.materials.failed.is_empty(),
            "{recovered:?}"
        );
    }

    /// The names of the steps that are done.
    pub(crate) fn done(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.progress).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Goes on with the first step that is not known to be done: given again if it is.
    pub(crate) fn finish(&mut self) {
        let mut done = self.done();
        for (name, step) in STEPS.iter().skip(done.len()) {
            step(self);
            done.push((*name).to_owned());
            fs::write(&self.progress, done.join("\n")).unwrap();
        }
    }

    /// Checks that state and key manager have the same keys, each once, and that nothing is left to be ended.
    pub(crate) fn check(&self) {
        let mut expected = vec![ADOPTED.to_owned()];
        let keys = self.commands.keys(None, None, usize::MAX);
        for entry in &keys {
            for version in &entry.versions {
                assert_ne!(version.state, VersionState::Pending, "{entry:?}");
                if version.state == VersionState::Destroyed {
                    assert_eq!(version.material, Material::Gone);
                }
                expected.extend(version.backend_key().map(ToString::to_string));
            }
            let current = entry
                .versions
                .iter()
                .filter(|version| version.state == VersionState::Current);
            let is_gone = entry.state == KeyState::Destroyed;
            assert_eq!(current.count(), usize::from(!is_gone), "{entry:?}");
        }
        for material in self
            .commands
            .read(|state| state.cloud_materials().map(|one| (**one).clone()).collect::<Vec<_>>())
        {
            assert_ne!(material.state(), MaterialState::Pending, "{material:?}");
            let is_destroyed = material.state() == MaterialState::Destroyed;
            assert_eq!(material.material == Material::Gone, is_destroyed, "{material:?}");
            expected.extend(material.material.backend_key().map(ToString::to_string));
        }
        expected.sort_unstable();
        expected.dedup();
        let found: Vec<_> = self.hsm.key_ids().iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
        let mut names: Vec<_> = keys.iter().map(|entry| entry.key.name.as_str()).collect();
        names.sort_unstable();
        assert!(names.is_sorted_by(|a, b| a < b), "a key was made twice: {names:?}");
        self.check_events();
    }

    /// What an event says that was begun has another one that says how it has ended.
    fn check_events(&self) {
        let mut begun = BTreeMap::new();
        for (number, event) in block_on(self.commands.events(0, usize::MAX)).unwrap() {
            match event.outcome {
                Outcome::Begun => drop(begun.insert(event.object.to_string(), number)),
                Outcome::Done => drop(begun.remove(event.object.as_str())),
                _ => {}
            }
        }
        // A rotation whose version is published waits for the next command.
        for object in begun.keys() {
            let id = object.strip_prefix("keys/").unwrap().parse().unwrap();
            let entry = self.commands.key(&id).unwrap();
            let is_published = |version: &xks_lifecycle::KeyVersion| version.state == VersionState::Published;
            assert!(entry.versions.iter().any(is_published), "{object} was begun: {entry:?}");
        }
    }

    /// What there is, but for ids and revisions.
    pub(crate) fn summary(&self) -> Vec<String> {
        let keys = self.commands.keys(None, None, usize::MAX);
        let mut lines: Vec<_> = keys
            .iter()
            .map(|entry| {
                let versions: Vec<_> = entry
                    .versions
                    .iter()
                    .map(|version| {
                        format!(
                            "{} {} {:?}",
                            version.number,
                            version.state,
                            version.backend_key().is_some()
                        )
                    })
                    .collect();
                format!("{} {} {:?} {versions:?}", entry.key.name, entry.state, entry.key.minima)
            })
            .collect();
        lines.sort_unstable();
        self.commands.read(|snapshot| {
            let tenants = snapshot.tenants().map(|tenant| tenant.name.to_string());
            let sets = snapshot.key_sets().map(|set| set.name.to_string());
            let mut names: Vec<_> = tenants.chain(sets).collect();
            names.sort_unstable();
            lines.extend(names);
        });
        for source in [KeySource::Hsm, KeySource::Vault] {
            for material in self.materials(source) {
                lines.push(format!(
                    "material of {source}: {} {}",
                    material.number,
                    material.state()
                ));
            }
        }
        if self.find_key_store().is_some() {
            let line = |entry: CredentialEntry| {
                format!(
                    "credential: live {}, revoked {}",
                    entry.is_live, entry.credential.is_revoked
                )
            };
            lines.extend(self.credentials().into_iter().map(line));
        }
        lines
    }

    fn cloud_keys(&self) {
        let tenant = self.tenant_called("Tenant").unwrap();
        let account = self
            .commands
            .read(|state| state.cloud_accounts().next().map(|account| (**account).clone()));
        let account = account.unwrap_or_else(|| {
            let region = "eu-central-1".parse().unwrap();
            let account = CloudAccount::new(CloudAccountId::generate().unwrap(), tenant, "Main", region).unwrap();
            block_on(self.commands.create(alice(), account.clone())).unwrap();
            account
        });
        for source in [KeySource::Hsm, KeySource::Vault] {
            if self.cloud_key(source).is_some() {
                continue;
            }
            let origin = CloudKeyOrigin::External(Import::new(RotationStyle::NewKey));
            let alias = format!("alias/{source}").parse().unwrap();
            let id = CloudKeyId::generate().unwrap();
            let key = CloudKey::new(id, self.set(source), &account, alias, origin).unwrap();
            block_on(self.commands.create(alice(), key)).unwrap();
        }
    }

    fn cloud_key(&self, source: KeySource) -> Option<CloudKeyId> {
        let alias = format!("alias/{source}");
        self.commands.read(|state| {
            let mut keys = state.cloud_keys();
            keys.find(|key| key.alias.as_str() == alias).map(|key| key.id)
        })
    }

    fn materials(&self, source: KeySource) -> Vec<CloudMaterial> {
        let Some(key) = self.cloud_key(source) else {
            return Vec::new();
        };
        self.commands
            .read(|state| state.materials_of(key).map(|material| (**material).clone()).collect())
    }

    fn add_material(&self, source: KeySource) {
        block_on(self.commands.add_material(alice(), self.cloud_key(source).unwrap())).unwrap();
    }

    fn make_material(&self, source: KeySource) {
        let added = self.materials(source);
        block_on(self.commands.make_material(alice(), added.last().unwrap().id)).unwrap();
    }

    fn wrap_material(&self) {
        // A key of 2048 bits that has no owner, as DER.
        let head = b"\x30\x82\x01\x22\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\
                     \x03\x82\x01\x0f\x00\x30\x82\x01\x0a\x02\x82\x01\x01\x00";
        let der = [&head[..], &[0xa5; 256], b"\x02\x03\x01\x00\x01"].concat();
        let key = WrappingKey::from_spki_der(&der, WrappingAlgorithm::RsaOaepSha256).unwrap();
        let id = self.materials(KeySource::Hsm)[0].id;
        let wrapped = block_on(self.commands.wrap_material(alice(), id, &key)).unwrap();
        assert_eq!(wrapped.len(), 256);
    }

    fn tenant_called(&self, name: &str) -> Option<TenantId> {
        let is_called = |tenant: &&xks_lifecycle::Entry<Tenant>| tenant.name.as_str() == name;
        self.commands
            .read(|snapshot| snapshot.tenants().find(is_called).map(|tenant| tenant.id))
    }

    fn tenant(&self, name: &str) {
        if self.tenant_called(name).is_none() {
            let tenant = Tenant::new(TenantId::generate().unwrap(), name).unwrap();
            block_on(self.commands.create(alice(), tenant)).unwrap();
        }
    }

    fn find_set(&self, source: KeySource) -> Option<KeySetId> {
        let sets =
            |snapshot: &xks_lifecycle::Snapshot| snapshot.key_sets().find(|set| set.source == source).map(|set| set.id);
        self.commands.read(sets)
    }

    fn set(&self, source: KeySource) -> KeySetId {
        self.find_set(source).unwrap()
    }

    fn key_set(&self, source: KeySource) {
        if self.find_set(source).is_none() {
            let tenant = self.tenant_called("Tenant").unwrap();
            let mut set = KeySet::new(KeySetId::generate().unwrap(), tenant, source.as_str(), source).unwrap();
            set.waiting = WaitingDays::new(7).unwrap();
            set.key_store = self.find_key_store();
            block_on(self.commands.create(alice(), set)).unwrap();
        }
    }

    fn find_key_store(&self) -> Option<KeyStoreId> {
        let first = |snapshot: &xks_lifecycle::Snapshot| snapshot.key_stores().next().map(|store| store.id);
        self.commands.read(first)
    }

    /// Oldest first.
    fn credentials(&self) -> Vec<CredentialEntry> {
        let store = self.find_key_store().unwrap();
        let mut credentials = block_on(self.commands.credentials(store)).unwrap();
        // Made in one second.
        credentials.sort_by_key(|entry| entry.credential.expires.is_none());
        credentials
    }

    fn key_store(&self) {
        if self.find_key_store().is_none() {
            let tenant = self.tenant_called("Tenant").unwrap();
            let (id, regions) = (KeyStoreId::generate().unwrap(), Regions::new(["eu-central-1"]).unwrap());
            let store = ExternalKeyStore::new(id, tenant, "Store", "/store".parse().unwrap(), regions).unwrap();
            block_on(self.commands.create(alice(), store)).unwrap();
        }
    }

    /// Encrypts some times with a key, for the first time in this process: none of its encryptions are among
    /// those that another process may have made.
    fn encrypt(&self, name: &str) {
        const TIMES: u64 = 20;
        let managed = Managed::new(&self.commands, self.find_key_store().unwrap());
        let entry = self.key(name);
        let current = |version: &&xks_lifecycle::KeyVersion| version.state == VersionState::Current;
        let version = &entry.versions.iter().find(current).unwrap().id;
        let reserved = || self.claims().get(&version.to_string()).copied().unwrap_or_default();
        let before = reserved();
        for _ in 0..TIMES {
            let aad = BoundAad::new(AadFraming::Spec, None, None).unwrap();
            let plaintext = Zeroizing::new(b"plaintext".to_vec());
            let mut request = EncryptRequest::new(RequestMetadata::default(), plaintext, aad);
            block_on(KeyBackend::encrypt(&managed, &entry.key.id, &mut request)).unwrap();
        }
        assert!(reserved() >= before + TIMES, "{name}: {before}, {}", reserved());
    }

    /// How many encryptions are reserved of each version.
    fn claims(&self) -> BTreeMap<String, u64> {
        let (claims, _) = block_on(self.store.claims(ClaimKind::Count)).unwrap();
        let claims = claims.into_iter();
        claims.map(|claim| (claim.id.into(), claim.counter)).collect()
    }

    fn find(&self, name: &str) -> Option<KeyEntry> {
        let keys = self.commands.keys(None, None, usize::MAX);
        keys.into_iter().find(|entry| entry.key.name.as_str() == name)
    }

    fn key(&self, name: &str) -> KeyEntry {
        self.find(name).unwrap()
    }

    fn create(&self, source: KeySource, name: &str) {
        match self.find(name) {
            None => {
                let spec = CreateKey::new(self.set(source), name).unwrap();
                block_on(self.commands.create_key(alice(), spec)).unwrap();
            }
            // The start of the process has finished it.
            Some(entry) if entry.state == KeyState::PreActive => self.change(name, KeyCommand::Activate),
            Some(_) => {}
        }
    }

    /// Makes those that are not there, by one command.
    fn create_many(&self) {
        let set = self.set(KeySource::Hsm);
        let mut missing = Vec::new();
        for name in ["one of many", "two of many", "three of many"] {
            match self.find(name) {
                None => missing.push(CreateKey::new(set, name).unwrap()),
                Some(_) => self.create(KeySource::Hsm, name),
            }
        }
        for created in block_on(self.commands.create_keys(alice(), &missing)) {
            created.unwrap();
        }
    }

    fn adopt(&self) {
        let spec = CreateKey::new(self.set(KeySource::Adopted), "adopted").unwrap();
        match block_on(self.commands.adopt(alice(), Adopt::new(spec, ADOPTED.parse().unwrap()))) {
            Err(CommandError::Repository(RepositoryError::Change(_))) => assert!(self.find("adopted").is_some()),
            outcome => drop(outcome.unwrap()),
        }
    }

    /// Rotates until the version of this number encrypts.
    fn rotate(&self, name: &str, number: u32) {
        let entry = self.key(name);
        let current = entry
            .versions
            .iter()
            .find(|version| version.state == VersionState::Current);
        if current.unwrap().number < number {
            block_on(self.commands.rotate(alice(), &entry.key.id, None)).unwrap();
        }
    }

    fn add_version(&self) {
        let entry = self.key("sealed");
        block_on(self.commands.add_version(alice(), &entry.key.id, None)).unwrap();
    }

    fn version(&self, name: &str, number: u32, command: VersionCommand) {
        let entry = self.key(name);
        let version = entry.versions.iter().find(|version| version.number == number).unwrap();
        block_on(self.commands.change_version(alice(), &version.id, None, command)).unwrap();
    }

    fn change(&self, name: &str, command: KeyCommand) {
        block_on(self.commands.change_key(alice(), &self.key(name).key.id, None, command)).unwrap();
    }

    fn found_schedule(&self) -> Option<ScheduleId> {
        let first = |snapshot: &xks_lifecycle::Snapshot| snapshot.schedules().next().map(|schedule| schedule.id);
        self.commands.read(first)
    }

    fn make_schedule(&self) {
        if self.found_schedule().is_none() {
            let tenant = self.tenant_called("Tenant").unwrap();
            let timing = Timing::EveryDays(PeriodDays::new(1).unwrap());
            let schedule = Schedule::new(ScheduleId::generate().unwrap(), tenant, "Daily", timing).unwrap();
            block_on(self.commands.create(alice(), schedule)).unwrap();
        }
    }

    /// Runs what is due after many days, when the claim of a process that was killed has ended.
    fn run_scheduler(&self) {
        self.clock.store(START + 20 * DAY, Ordering::Relaxed);
        let mut scheduler = Scheduler::new(Arc::clone(&self.commands), alice().clone()).unwrap();
        let ran = block_on(scheduler.run_due());
        if ran.is_left_to_another {
            self.clock.fetch_add(60, Ordering::Relaxed);
            let ran = block_on(scheduler.run_due());
            assert!(!ran.is_left_to_another, "{ran:?}");
        }
        assert_eq!(block_on(scheduler.run_due()).done, []);
    }

    fn schedule(&self, name: &str) {
        if self.key(name).state != KeyState::PendingDeletion {
            self.change(name, KeyCommand::ScheduleDeletion(None));
        }
    }
}
