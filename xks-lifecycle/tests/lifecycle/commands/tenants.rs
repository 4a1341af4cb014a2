//! What belongs to one tenant refers to nothing of another, and no two key stores have one prefix.

use pollster::block_on;
use xks_lifecycle::{
    ChangeError, CommandError, ExternalKeyStore, KeySet, KeySetId, KeySource, KeyStoreId, Regions, RepositoryError,
    Rotation, Schedule, ScheduleId, Tenant, TenantId,
    commands::{Administered, CreateKey},
    key_state::KeyCommand,
    schedule::{PeriodDays, Timing},
};

use super::world::{World, alice};

fn create<T: Administered>(world: &World, record: T) -> Result<(), CommandError> {
    block_on(world.commands.create(alice(), record)).map(drop)
}

fn tenant(world: &World, name: &str) -> TenantId {
    let tenant = Tenant::new(TenantId::generate().unwrap(), name).unwrap();
    let id = tenant.id;
    create(world, tenant).unwrap();
    id
}

fn schedule(world: &World, tenant: TenantId) -> ScheduleId {
    let timing = Timing::EveryDays(PeriodDays::new(30).unwrap());
    let schedule = Schedule::new(ScheduleId::generate().unwrap(), tenant, "Schedule", timing).unwrap();
    let id = schedule.id;
    create(world, schedule).unwrap();
    id
}

fn key_store(tenant: TenantId, prefix: &str) -> ExternalKeyStore {
    let (id, regions) = (KeyStoreId::generate().unwrap(), Regions::new(["eu-central-1"]).unwrap());
    ExternalKeyStore::new(id, tenant, "Store", prefix.parse().unwrap(), regions).unwrap()
}

fn set(tenant: TenantId) -> KeySet {
    KeySet::new(KeySetId::generate().unwrap(), tenant, "Set", KeySource::Vault).unwrap()
}

/// The field that names what belongs to another tenant, and the words.
fn refused(error: CommandError) -> (&'static str, String) {
    let words = error.to_string();
    match error {
        CommandError::Repository(RepositoryError::Change(ChangeError::OtherTenant { field, .. })) => (field, words),
        other => panic!("{other}"),
    }
}

#[test]
fn what_belongs_to_another_tenant_is_refused_by_its_field() {
    let world = World::new();
    let (own, other) = (world.tenant, tenant(&world, "Other"));
    let (own_schedule, schedule) = (schedule(&world, own), schedule(&world, other));
    let store = key_store(other, "/other");
    create(&world, store.clone()).unwrap();
    let (mut by_schedule, mut by_store, mut by_own) = (set(own), set(own), set(own));
    by_schedule.schedule = Some(schedule);
    by_store.key_store = Some(store.id);
    by_own.schedule = Some(own_schedule);
    let (field, words) = refused(create(&world, by_schedule.clone()).unwrap_err());
    assert_eq!(field, "schedule");
    assert_eq!(
        words,
        format!(
            "key-sets/{}: `schedule` names schedules/{schedule}, which belongs to another tenant",
            by_schedule.id
        )
    );
    assert_eq!(refused(create(&world, by_store).unwrap_err()).0, "key_store");
    create(&world, by_own.clone()).unwrap();
    by_own.schedule = Some(schedule);
    let update = block_on(world.commands.update(alice(), by_own, None));
    assert_eq!(refused(update.unwrap_err()).0, "schedule");

    let mut own_store = key_store(own, "/own");
    own_store.schedule = Some(schedule);
    assert_eq!(refused(create(&world, own_store.clone()).unwrap_err()).0, "schedule");
    own_store.schedule = Some(own_schedule);
    create(&world, own_store).unwrap();

    let key = world.create(world.vault, "Name").key.id;
    let rotate = |schedule| world.change(&key, KeyCommand::SetRotation(Rotation::By(schedule)));
    assert_eq!(refused(rotate(schedule).unwrap_err()).0, "rotation");
    rotate(own_schedule).unwrap();
    let mut spec = CreateKey::new(world.vault, "Name").unwrap();
    spec.rotation = Rotation::By(schedule);
    let created = block_on(world.commands.create_key(alice(), spec));
    assert_eq!(refused(created.unwrap_err()).0, "rotation");
    assert_eq!(world.told().last().map(String::as_str), Some("create refused"));
}

#[test]
fn a_prefix_belongs_to_one_key_store() {
    let world = World::new();
    let (mut first, second) = (key_store(world.tenant, "/a"), key_store(world.tenant, "/b"));
    let other = key_store(tenant(&world, "Other"), "/a");
    create(&world, first.clone()).unwrap();
    let error = create(&world, other.clone()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "key-stores/{}: `prefix` is that of key-stores/{} already",
            other.id, first.id
        )
    );
    create(&world, second).unwrap();
    first.prefix = "/b".parse().unwrap();
    let update = |store: &ExternalKeyStore| block_on(world.commands.update(alice(), store.clone(), None));
    assert!(update(&first).unwrap_err().to_string().contains("`prefix` is that of"));
    first.prefix = "/a".parse().unwrap();
    first.is_blocked = true;
    update(&first).unwrap(); // its own
    first.prefix = "/c".parse().unwrap();
    update(&first).unwrap();
    create(&world, other).unwrap();
}
