//! Every command is an event.

use std::sync::{Arc, atomic::Ordering};

use pollster::block_on;
use serde_json::Value;
use xks_lifecycle::{CommandError, KeySet, KeySetId, KeySource, Name, Tenant, TenantId, key_state::KeyCommand};

use super::{
    hooked::Hooked,
    world::{World, alice},
};

#[test]
fn events_say_who_did_what_before_and_after() {
    let world = World::new();
    let key = world.create(world.hsm, "Name");
    let id = key.key.id;
    world.change(&id, KeyCommand::Disable).unwrap();
    world.change(&id, KeyCommand::Disable).unwrap();
    world.change(&id, KeyCommand::Destroy { typed_name: None }).unwrap_err();
    let gone = "gone".parse().unwrap();
    world.change(&gone, KeyCommand::Enable).unwrap_err();
    let events = world.events();
    let told = [
        "create begun",
        "create done",
        "disable done",
        "disable done",
        "destroy refused",
        "enable refused",
    ];
    assert_eq!(world.told(), told);
    let object = format!("keys/{id}");
    for event in &events[..5] {
        assert_eq!(
            (event.actor.as_str(), event.object.as_str()),
            ("alice", object.as_str())
        );
    }
    let json = |text: &Option<xks_lifecycle::EventText>| -> Value {
        serde_json::from_str(text.as_ref().unwrap().as_str()).unwrap()
    };
    assert!(events[0].before.is_none());
    assert_eq!(json(&events[0].after)["versions"][0]["state"], "pending");
    assert_eq!(json(&events[1].after)["key"]["state"], "enabled");
    assert_eq!(json(&events[2].before)["key"]["state"], "enabled");
    assert_eq!(json(&events[2].after)["key"]["state"], "disabled");
    assert_eq!(events[2].revision, Some(key.revision.next()));
    assert_eq!((&events[3].revision, &events[3].after), (&None, &None));
    let reason = events[4].reason.as_ref().unwrap().as_str();
    assert_eq!(reason, "`destroy` cannot be applied to a key that is disabled");
    assert_eq!(events[5].reason.as_ref().unwrap().as_str(), "there is no keys/gone");
}

#[test]
fn events_show_no_key_material() {
    let world = World::new();
    let key = world.create(world.vault, "Name");
    let xks_lifecycle::Material::Vault(material) = &key.versions[0].material else {
        panic!()
    };
    let numbers: Vec<_> = material.iter().map(ToString::to_string).collect();
    for text in [
        format!("{:?}", world.events()),
        serde_json::to_string(&key).unwrap(),
        format!("{key:?}"),
    ] {
        assert!(
            !text.contains(&numbers.join(", ")) && !text.contains(&numbers.join(",")),
            "{text}"
        );
    }
}

#[test]
fn tenants_and_key_sets_are_made_and_removed() {
    let world = World::new();
    let tenant = Tenant::new(TenantId::generate().unwrap(), "Other").unwrap();
    let id = tenant.id;
    let mut set = KeySet::new(KeySetId::generate().unwrap(), id, "Set", KeySource::Hsm).unwrap();
    block_on(world.commands.create(alice(), tenant)).unwrap();
    set.backend = Some(Name::new("backend", "typo").unwrap());
    let error = block_on(world.commands.create(alice(), set.clone())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`backend` is not legal: there is no backend `typo`; there are: hsm"
    );
    set.backend = None;
    let seen = block_on(world.commands.create(alice(), set.clone())).unwrap();
    let health = block_on(world.commands.verify_backend(alice(), set.id)).unwrap();
    assert_eq!(health.vendor(), "xks-backend-soft");
    block_on(world.commands.remove::<KeySet>(alice(), set.id, Some(seen))).unwrap();
    let error = block_on(world.commands.remove::<KeySet>(alice(), set.id, None)).unwrap_err();
    assert!(matches!(error, CommandError::Unknown(_)), "{error}");
    block_on(world.commands.remove::<Tenant>(alice(), id, None)).unwrap();
    let told = [
        "create done",
        "create refused",
        "create done",
        "verify-backend done",
        "remove done",
        "remove refused",
        "remove done",
    ];
    assert_eq!(world.told(), told);
}

#[test]
fn a_command_whose_event_is_not_recorded_says_so() {
    let store = Arc::new(Hooked::default());
    let world = World::over(Arc::clone(&store) as _);
    let id = world.create(world.vault, "Name").key.id;
    store.is_deaf.store(true, Ordering::Relaxed);
    let error = world.change(&id, KeyCommand::CancelDeletion).unwrap_err();
    assert!(matches!(&error, CommandError::NotRecorded { error, .. } if matches!(**error, CommandError::Refused(_))));
    let error = world.change(&id, KeyCommand::Enable).unwrap_err();
    assert!(matches!(error, CommandError::DoneUnrecorded(_)), "{error}");
    // One that changes the state has its event in the same commit.
    world.change(&id, KeyCommand::Disable).unwrap();
}
