//! Cloud accounts, key stores in AWS and KMS keys: made, changed and removed by commands.

use pollster::block_on;
use xks_core::Zeroizing;
use xks_lifecycle::{
    AwsSecret, ChangeError, CloudAccessKey, CloudAccount, CloudAccountId, CloudCredential, CloudKey, CloudKeyId,
    CloudKeyOrigin, CloudKeyStore, CloudKeyStoreId, CommandError, ExternalKeyStore, Import, KeepDays, KeyStoreId,
    Object, Regions, RepositoryError, Rotation, RotationStyle, Tenant, TenantId, WantedKey, commands::Administered,
    store::Table,
};

use super::world::{World, alice};

fn create<T: Administered>(world: &World, record: T) -> Result<(), CommandError> {
    block_on(world.commands.create(alice(), record)).map(drop)
}

/// Why the state does not take it.
fn refused(outcome: Result<(), CommandError>) -> ChangeError {
    match outcome.unwrap_err() {
        CommandError::Repository(RepositoryError::Change(error)) => error,
        other => panic!("{other}"),
    }
}

struct Cloud {
    world: World,
    account: CloudAccount,
    key_store: ExternalKeyStore,
    in_aws: CloudKeyStore,
    key: CloudKey,
}

fn key_store(tenant: TenantId, prefix: &str) -> ExternalKeyStore {
    let regions = Regions::new(["eu-central-1"]).unwrap();
    let id = KeyStoreId::generate().unwrap();
    ExternalKeyStore::new(id, tenant, "Payroll", prefix.parse().unwrap(), regions).unwrap()
}

fn account(tenant: TenantId) -> CloudAccount {
    let region = "eu-central-1".parse().unwrap();
    CloudAccount::new(CloudAccountId::generate().unwrap(), tenant, "Main", region).unwrap()
}

fn in_aws(account: &CloudAccount, key_store: &ExternalKeyStore, name: &str) -> CloudKeyStore {
    let id = CloudKeyStoreId::generate().unwrap();
    CloudKeyStore::new(
        id,
        account,
        name.parse().unwrap(),
        key_store.id,
        "https://xks.example.com",
    )
    .unwrap()
}

impl Cloud {
    fn new() -> Self {
        let world = World::new();
        let managed = world.create(world.hsm, "Salaries");
        let key_set = managed.key.key_set;
        let tenant = world.commands.read(|state| state.key_set(key_set).unwrap().tenant);
        let (account, key_store) = (account(tenant), key_store(tenant, "/payroll"));
        let in_aws = in_aws(&account, &key_store, "payroll");
        let origin = CloudKeyOrigin::ExternalKeyStore {
            cloud_key_store: in_aws.id,
            key: managed.key.id,
        };
        let (id, alias) = (CloudKeyId::generate().unwrap(), "alias/salaries".parse().unwrap());
        let key = CloudKey::new(id, key_set, &account, alias, origin).unwrap();
        create(&world, key_store.clone()).unwrap();
        create(&world, account.clone()).unwrap();
        create(&world, in_aws.clone()).unwrap();
        create(&world, key.clone()).unwrap();
        Self {
            world,
            account,
            key_store,
            in_aws,
            key,
        }
    }
}

#[test]
fn what_is_used_is_not_removed() {
    let Cloud {
        world,
        account,
        key_store,
        in_aws,
        key,
    } = Cloud::new();
    let commands = &world.commands;
    let in_use = |outcome: Result<_, CommandError>| match refused(outcome.map(drop)) {
        ChangeError::InUse { by, .. } => by,
        other => panic!("{other}"),
    };
    let named = |table, id: &dyn ToString| Object(table, id.to_string().into());
    let by = in_use(block_on(commands.remove::<CloudAccount>(alice(), account.id, None)));
    assert!([Table::CloudKeyStores, Table::CloudKeys].contains(&by.0), "{by}");
    let by = in_use(block_on(commands.remove::<ExternalKeyStore>(
        alice(),
        key_store.id,
        None,
    )));
    assert_eq!(by, named(Table::CloudKeyStores, &in_aws.id));
    let by = in_use(block_on(commands.remove::<CloudKeyStore>(alice(), in_aws.id, None)));
    assert_eq!(by, named(Table::CloudKeys, &key.id));
    assert_eq!(by.to_string(), format!("cloud-keys/{}", key.id));
    block_on(commands.remove::<CloudKey>(alice(), key.id, None)).unwrap();
    block_on(commands.remove::<CloudKeyStore>(alice(), in_aws.id, None)).unwrap();
    block_on(commands.remove::<CloudAccount>(alice(), account.id, None)).unwrap();
    block_on(commands.remove::<ExternalKeyStore>(alice(), key_store.id, None)).unwrap();
}

#[test]
fn a_name_is_given_once_in_an_account_and_region() {
    let cloud = Cloud::new();
    let world = &cloud.world;
    let again = in_aws(&cloud.account, &cloud.key_store, "payroll");
    let error = refused(create(world, again.clone()));
    assert!(matches!(error, ChangeError::Taken { field: "name", .. }), "{error}");
    let mut elsewhere = again;
    elsewhere.region = "us-east-1".parse().unwrap();
    create(world, elsewhere).unwrap();
    let mut key = cloud.key.clone();
    key.id = CloudKeyId::generate().unwrap();
    let error = refused(create(world, key.clone()));
    assert!(matches!(error, ChangeError::Taken { field: "alias", .. }), "{error}");
    key.alias = "alias/other".parse().unwrap();
    create(world, key).unwrap();
    // A record keeps its own name.
    let mut same = cloud.key;
    same.wanted = WantedKey::Disabled;
    block_on(world.commands.update(alice(), same, None)).unwrap();
}

#[test]
fn what_belongs_to_another_tenant_is_not_used() {
    let cloud = Cloud::new();
    let other = Tenant::new(TenantId::generate().unwrap(), "Other").unwrap();
    let theirs = account(other.id);
    create(&cloud.world, other.clone()).unwrap();
    create(&cloud.world, theirs.clone()).unwrap();
    let error = refused(create(&cloud.world, in_aws(&theirs, &cloud.key_store, "theirs")));
    assert!(
        matches!(error, ChangeError::OtherTenant { field: "key_store", .. }),
        "{error}"
    );
    let mut key = cloud.key.clone();
    key.id = CloudKeyId::generate().unwrap();
    key.account = theirs.id;
    let error = refused(create(&cloud.world, key));
    assert!(
        matches!(error, ChangeError::OtherTenant { field: "account", .. }),
        "{error}"
    );
    let mut moved = cloud.account;
    moved.tenant = other.id;
    let moved = block_on(cloud.world.commands.update(alice(), moved, None));
    let error = refused(moved.map(drop));
    assert!(matches!(error, ChangeError::Final { field: "tenant", .. }), "{error}");
}

#[test]
fn an_imported_key_has_a_source_for_its_material_and_keeps_its_origin_and_style() {
    let cloud = Cloud::new();
    let (world, in_key_store) = (&cloud.world, cloud.key);
    let import = |style| CloudKeyOrigin::External(Import::new(style));
    let imported = |key_set, alias: &str| {
        let mut key = in_key_store.clone();
        (key.id, key.key_set) = (CloudKeyId::generate().unwrap(), key_set);
        (key.alias, key.origin) = (alias.parse().unwrap(), import(RotationStyle::NewKey));
        key
    };
    let field = |outcome: Result<(), CommandError>| match outcome.unwrap_err() {
        CommandError::Field(error) => error.field(),
        other => panic!("{other}"),
    };
    assert_eq!(field(create(world, imported(world.adopted, "alias/a"))), "key_set");
    let mut key = imported(world.hsm, "alias/a");
    create(world, key.clone()).unwrap();
    create(world, imported(world.vault, "alias/b")).unwrap();
    let update = |key: &CloudKey| block_on(world.commands.update(alice(), key.clone(), None)).map(drop);
    for (origin, expected) in [
        (in_key_store.origin.clone(), "origin"),
        (import(RotationStyle::InPlace), "style"),
    ] {
        let mut changed = key.clone();
        changed.origin = origin;
        let error = refused(update(&changed));
        assert!(
            matches!(error, ChangeError::Final { field, .. } if field == expected),
            "{error}"
        );
    }
    let mut changed = Import::new(RotationStyle::NewKey);
    (changed.disable_former, changed.keep_days) = (true, Some(KeepDays::new(7).unwrap()));
    key.origin = CloudKeyOrigin::External(changed.clone());
    assert_eq!(field(update(&key)), "keep_days");
    // Since when it rotates otherwise, is kept with it.
    (changed.disable_former, changed.rotation) = (false, Rotation::Never);
    key.origin = CloudKeyOrigin::External(changed);
    update(&key).unwrap();
    let known = world
        .commands
        .read(|state| (**state.cloud_key(key.id).unwrap()).clone());
    let import = known.import().unwrap();
    assert_eq!(
        (import.rotation, import.rotation_since),
        (Rotation::Never, Some(world.commands.now()))
    );
}

#[test]
fn the_secret_of_an_account_is_in_no_event() {
    let cloud = Cloud::new();
    let mut account = cloud.account;
    let secret = "PleaseReplaceThisWithSomeSecret";
    account.credential = CloudCredential::AccessKey(CloudAccessKey {
        id: "AKIAIOSFODNN7EXAMPLE".parse().unwrap(),
        secret: AwsSecret::new(Zeroizing::new(secret.to_owned())).unwrap(),
    });
    block_on(cloud.world.commands.update(alice(), account.clone(), None)).unwrap();
    let events = block_on(cloud.world.commands.events(0, 1000)).unwrap();
    let text = format!("{events:?} {account:?}");
    assert!(
        text.contains("AKIAIOSFODNN7EXAMPLE") && !text.contains(secret),
        "{text}"
    );
    // Another process reads it.
    let (_, snapshot) = cloud.world.repository();
    assert_eq!(**snapshot.cloud_account(account.id).unwrap(), account);
}
