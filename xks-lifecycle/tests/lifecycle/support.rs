//! A directory, a root, and a state that has everything.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use pollster::block_on;
use xks_core::{Credential, Zeroizing, key_store::SecretAccessKey, manage::CreationToken};
use xks_lifecycle::{
    AwsSecret, Changes, CloudAccessKey, CloudAccount, CloudAccountId, CloudCredential, CloudKey, CloudKeyId,
    CloudKeyOrigin, CloudKeyStore, CloudKeyStoreId, CloudMaterial, CloudMaterialId, DeletionDays, EndingWithinDays,
    Event, ExternalKeyStore, Import, KeepDays, Key, KeyPolicy, KeySet, KeySetId, KeySource, KeyStoreCredential,
    KeyStoreId, KeyVersion, KeyVersionId, Material, MaterialCheck, Name, Noun, Outcome, OverlapMinutes, Regions,
    Repository, RotationStyle, Schedule, ScheduleId, Snapshot, Tags, Tenant, TenantId, Timestamp, VersionId,
    VersionState, VpcEndpointService, WantedKey, WantedKeyStore, WantedMaterial,
    key_state::StoredState,
    schedule::Timing,
    seal::Root,
    store::{SqliteStore, Store},
};

/// A directory that is removed in the end.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("xks-lifecycle-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.0.join("state.db")
    }

    /// A root in a file of the directory.
    pub(crate) fn root(&self, name: &str) -> Root {
        let path = self.0.join(name);
        if !path.exists() {
            Root::create_file(&path).unwrap();
        }
        Root::file(name, &path).unwrap()
    }

    pub(crate) fn open(&self) -> Result<(Repository, Snapshot), xks_lifecycle::RepositoryError> {
        let store = Arc::new(SqliteStore::open(&self.database()).unwrap());
        block_on(Repository::open(store, &[self.root("first")]))
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_seconds("time", seconds).unwrap()
}

pub(crate) const SECRET: &str = "PleaseReplaceThisWithSomeSecretOfLength43To64";
pub(crate) const MATERIAL: [u8; 32] = *b"XqWvZkJyHgFtRmNbCpDsLaKeUiOwEzT7";
/// The encryptions that the filled state has reserved.
pub(crate) const COUNT: u64 = 1 << 20;

/// What a filled state has.
pub(crate) struct Filled {
    pub(crate) tenant: TenantId,
    pub(crate) key_set: KeySetId,
    pub(crate) key_store: KeyStoreId,
    pub(crate) key: xks_core::KeyId,
    pub(crate) vault: KeyVersionId,
}

pub(crate) fn event(command: &str, object: &str) -> Event {
    Event::new(at(1_800_000_000), "alice", command, object, Outcome::Done).unwrap()
}

/// A cloud account, a key store in AWS and a KMS key, and one with materials.
fn cloud(tenant: &Tenant, key_store: &ExternalKeyStore, key: &Key) -> Vec<Noun> {
    let access_key = |id: &str| CloudAccessKey {
        id: id.parse().unwrap(),
        secret: AwsSecret::new(Zeroizing::new(SECRET.to_owned())).unwrap(),
    };
    let region = "eu-central-1".parse().unwrap();
    let mut account = CloudAccount::new(CloudAccountId::generate().unwrap(), tenant.id, "Main", region).unwrap();
    account.credential = CloudCredential::AccessKey(access_key("AKIAIOSFODNN7EXAMPLE"));
    account.next = Some(access_key("AKIAI44QH8DHBEXAMPLE"));
    account.account = Some("111122223333".parse().unwrap());
    let id = CloudKeyStoreId::generate().unwrap();
    let (name, endpoint) = ("payroll-in-aws".parse().unwrap(), "https://xks.example.com");
    let mut cloud_key_store = CloudKeyStore::new(id, &account, name, key_store.id, endpoint).unwrap();
    let service = "com.amazonaws.vpce.eu-central-1.vpce-svc-0123456789abcdef0";
    cloud_key_store.vpc = Some(VpcEndpointService::new(service, account.account.clone()).unwrap());
    cloud_key_store.wanted = WantedKeyStore::Disconnected;
    cloud_key_store.custom_key_store_id = Some("cks-1234567890abcdef0".parse().unwrap());
    let origin = CloudKeyOrigin::ExternalKeyStore {
        cloud_key_store: cloud_key_store.id,
        key: key.id.clone(),
    };
    let (id, alias) = (CloudKeyId::generate().unwrap(), "alias/salaries".parse().unwrap());
    let mut cloud_key = CloudKey::new(id, key.key_set, &account, alias, origin).unwrap();
    cloud_key.tags = Tags::new([("team", "payroll")]).unwrap();
    cloud_key.policy = KeyPolicy::People {
        administrators: vec!["arn:aws:iam::111122223333:role/admin".parse().unwrap()],
        users: vec![],
    };
    cloud_key.wanted = WantedKey::Deleted(DeletionDays::DEFAULT);
    cloud_key.kms_key = key.kms_key.clone();
    let mut nouns = imported(&account, key).to_vec();
    nouns.extend([account.into(), cloud_key_store.into(), cloud_key.into()]);
    nouns
}

/// A KMS key of imported material, and its materials.
fn imported(account: &CloudAccount, key: &Key) -> [Noun; 3] {
    let mut import = Import::new(RotationStyle::NewKey);
    import.expires = Some(at(1_900_000_000));
    import.keep_days = Some(KeepDays::new(60).unwrap());
    import.ending_within = Some(EndingWithinDays::new(45).unwrap());
    let origin = CloudKeyOrigin::External(import);
    let (id, alias) = (CloudKeyId::generate().unwrap(), "alias/imported".parse().unwrap());
    let mut cloud_key = CloudKey::new(id, key.key_set, account, alias, origin).unwrap();
    cloud_key.kms_key = Some("arn:aws:kms:eu-central-1:111122223333:key/5678".parse().unwrap());
    let material = |number: u32, material| {
        let id = CloudMaterialId::generate().unwrap();
        CloudMaterial::new(id, cloud_key.id, number, material, at(1_800_000_000)).unwrap()
    };
    let mut first = material(1, Material::Vault(Zeroizing::new(MATERIAL)));
    first.check = Some(MaterialCheck::new([0xca; 16], [0xfe; 16]));
    first.kms_key.clone_from(&cloud_key.kms_key);
    first.kms_material = Some("0123456789abcdef".repeat(4).parse().unwrap());
    first.imported = Some(at(1_800_000_100));
    first.valid_to = Some(at(1_830_000_000));
    first.wanted = WantedMaterial::Removed;
    first.former = WantedKey::Deleted(DeletionDays::DEFAULT);
    first.retired = Some(at(1_810_000_000));
    first.kept_until = Some(at(1_815_184_000));
    let second = Material::Backend {
        key: Some("material-in-the-hsm".parse().unwrap()),
        token: Some(CreationToken::from([5; 16])),
    };
    let second = material(2, second);
    [cloud_key.into(), first.into(), second.into()]
}

/// Makes a state with one of everything.
pub(crate) fn fill(store: Arc<dyn Store>, roots: &[Root]) -> (Repository, Snapshot, Filled) {
    let now = at(1_800_000_000);
    let (repository, mut snapshot) = block_on(Repository::create(store, roots, now)).unwrap();
    let tenant = Tenant::new(TenantId::generate().unwrap(), "Payroll").unwrap();
    let regions = Regions::new(["eu-central-1", "us-east-1"]).unwrap();
    let key_store = KeyStoreId::generate().unwrap();
    let prefix = "/payroll".parse().unwrap();
    let mut key_store = ExternalKeyStore::new(key_store, tenant.id, "Payroll", prefix, regions).unwrap();
    let credential = Credential::new("BETWEEN2TENAND3TENCHARACTERS", SECRET.to_owned()).unwrap();
    let secret = SecretAccessKey::new(SECRET.to_owned()).unwrap();
    let mut credential = KeyStoreCredential::new(key_store.id, credential.access_key_id().clone(), secret, now);
    credential.is_untaken = true;
    let mut key_set = KeySet::new(KeySetId::generate().unwrap(), tenant.id, "Salaries", KeySource::Vault).unwrap();
    key_set.key_store = Some(key_store.id);
    let timing = Timing::Cron {
        pattern: "30 2 1 */3 *".parse().unwrap(),
        zone: "Europe/Berlin".parse().unwrap(),
    };
    let schedule = Schedule::new(ScheduleId::generate().unwrap(), tenant.id, "Each quarter", timing).unwrap();
    key_set.schedule = Some(schedule.id);
    (key_store.schedule, key_store.overlap) = (Some(schedule.id), OverlapMinutes::new(90).unwrap());
    key_set.backend = Some(Name::new("backend", "hsm").unwrap());
    let mut key = Key::new("key-of-salaries".parse().unwrap(), key_set.id, "Salaries 2027").unwrap();
    key.state = StoredState::Enabled;
    key.expires = Some(now.plus_days(365));
    key.kms_key = Some("arn:aws:kms:eu-central-1:111122223333:key/1234".parse().unwrap());
    let vault = KeyVersionId::new(key.id.clone(), VersionId::from_bytes([0, 0, 0, 2]));
    let material = Material::Vault(Zeroizing::new(MATERIAL));
    let mut vault_version = KeyVersion::new(vault.clone(), 2, material, now).unwrap();
    vault_version.state = VersionState::Current;
    let hsm = KeyVersionId::new(key.id.clone(), VersionId::from_bytes([0, 0, 0, 1]));
    let material = Material::Backend {
        key: Some("label-in-the-hsm".parse().unwrap()),
        token: Some(CreationToken::from([3; 16])),
    };
    let mut hsm_version = KeyVersion::new(hsm, 1, material, now).unwrap();
    hsm_version.state = VersionState::DecryptOnly;
    hsm_version.earlier_encryptions = 1 << 31;
    hsm_version.legacy_metadata = Some(b"version=1".as_slice().try_into().unwrap());
    let cloud = cloud(&tenant, &key_store, &key);
    let filled = Filled {
        tenant: tenant.id,
        key_set: key_set.id,
        key_store: key_store.id,
        key: key.id.clone(),
        vault: vault.clone(),
    };
    let changes = Changes::new()
        .insert(tenant)
        .insert(key_store)
        .insert(credential)
        .insert(schedule)
        .insert(key_set)
        .insert(key)
        .insert(vault_version)
        .insert(hsm_version)
        .event(event("create", "keys/key-of-salaries"));
    let changes = cloud.into_iter().fold(changes, Changes::insert);
    block_on(repository.commit(&mut snapshot, changes)).unwrap();
    assert_eq!(block_on(repository.reserve(&vault, COUNT, 1 << 32)).unwrap(), 0..COUNT);
    (repository, snapshot, filled)
}

/// All that a snapshot holds, as text; without secrets, but whether they are these.
pub(crate) fn shown(snapshot: &Snapshot) -> String {
    use std::fmt::Write as _;

    let mut text = format!("{:?}\n", snapshot.revision());
    for tenant in snapshot.tenants() {
        writeln!(text, "{:?} {:?}", tenant.revision(), **tenant).unwrap();
    }
    for key_store in snapshot.key_stores() {
        writeln!(text, "{:?} {:?}", key_store.revision(), **key_store).unwrap();
    }
    for credential in snapshot.credentials() {
        let is_same = credential.secret.expose() == SECRET;
        writeln!(text, "{:?} {:?} {is_same}", credential.revision(), **credential).unwrap();
    }
    for schedule in snapshot.schedules() {
        writeln!(text, "{:?} {:?}", schedule.revision(), **schedule).unwrap();
    }
    for key_set in snapshot.key_sets() {
        writeln!(text, "{:?} {:?}", key_set.revision(), **key_set).unwrap();
    }
    for key in snapshot.keys() {
        writeln!(text, "{:?} {:?}", key.revision(), **key).unwrap();
        for version in snapshot.versions(&key.id) {
            let is_same = matches!(&version.material, Material::Vault(material) if **material == MATERIAL);
            writeln!(text, "{:?} {:?} {is_same}", version.revision(), **version).unwrap();
        }
    }
    for account in snapshot.cloud_accounts() {
        let is_same = matches!(&account.credential, CloudCredential::AccessKey(key) if key.secret.expose() == SECRET);
        writeln!(text, "{:?} {:?} opens: {is_same};", account.revision(), **account).unwrap();
    }
    for key_store in snapshot.cloud_key_stores() {
        writeln!(text, "{:?} {:?}", key_store.revision(), **key_store).unwrap();
    }
    for key in snapshot.cloud_keys() {
        writeln!(text, "{:?} {:?}", key.revision(), **key).unwrap();
    }
    for material in snapshot.cloud_materials() {
        let is_same = matches!(&material.material, Material::Vault(material) if **material == MATERIAL);
        writeln!(text, "{:?} {:?} unsealed: {is_same};", material.revision(), **material).unwrap();
    }
    writeln!(text, "{:?}", snapshot.roots().collect::<Vec<_>>()).unwrap();
    text
}
