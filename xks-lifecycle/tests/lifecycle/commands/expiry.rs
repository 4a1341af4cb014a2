//! An expired key comes back by a later expiry, and by nothing else.

use pollster::block_on;
use xks_core::backend::{BackendErrorKind, KeyStatus};
use xks_lifecycle::{
    CommandError, Timestamp,
    key_state::{KeyCommand, KeyState, Refused},
};

use super::world::{START, World, alice};
use crate::{managed::Store, support::at};

fn expiry(days: u64) -> Option<Timestamp> {
    Some(at(START + days * super::world::DAY))
}

#[test]
fn an_expired_key_comes_back_by_a_later_expiry_and_by_nothing_else() {
    let store = Store::new();
    let world: &World = &store.world;
    let id = world.create(world.vault, "Name").key.id;
    let encrypted = store.encrypt(&id).unwrap();
    // By its date, and by a person.
    for by in ["date", "person"] {
        let now = world.commands.now();
        if by == "date" {
            world.change(&id, KeyCommand::SetExpiry(expiry(10))).unwrap();
            world.wait(10);
        } else {
            world.change(&id, KeyCommand::Deactivate).unwrap();
        }
        let expired = world.commands.key(&id).unwrap();
        let expires = expired.key.expires.unwrap();
        assert!(expires >= now);
        for command in [KeyCommand::Enable, KeyCommand::Activate] {
            let error = world.change(&id, command).unwrap_err();
            assert!(
                matches!(&error, CommandError::Refused(Refused::Expired(on)) if *on == expires),
                "{error}"
            );
        }
        assert!(world.rotate(&id).is_err());
        world.change(&id, KeyCommand::Disable).unwrap();
        assert!(world.change(&id, KeyCommand::Enable).is_err());
        world.change(&id, KeyCommand::ScheduleDeletion(None)).unwrap();
        world.change(&id, KeyCommand::CancelDeletion).unwrap();
        assert!(world.change(&id, KeyCommand::Enable).is_err());
        block_on(world.another().recover(alice())).unwrap();
        for past in [expired.key.expires, expiry(0)] {
            let _ = world.change(&id, KeyCommand::SetExpiry(past));
            assert_eq!(store.encrypt(&id).unwrap_err().kind(), BackendErrorKind::KeyDisabled);
        }
        assert_eq!(world.another().key(&id).unwrap().key.expires, Some(expires));

        let later = world.commands.now().plus_days(20);
        world.change(&id, KeyCommand::SetExpiry(Some(later))).unwrap();
        let back = world.change(&id, KeyCommand::Enable).unwrap();
        assert_eq!((back.state, back.key.expires), (KeyState::Enabled, Some(later)));
        assert_eq!(store.status(&id), Ok(KeyStatus::Enabled));
        store.encrypt(&id).unwrap();
        store.decrypt(&id, &encrypted).unwrap();
        let events = world.events();
        let set = events
            .iter()
            .rfind(|event| event.command.as_str() == "set-expiry")
            .unwrap();
        let (before, after) = (
            set.before.as_ref().unwrap().as_str(),
            set.after.as_ref().unwrap().as_str(),
        );
        assert!(before.contains(&expires.to_string()) && after.contains(&later.to_string()));
    }
}

/// A key that has expired and was not closed by a person is in use again at once.
#[test]
fn a_later_expiry_lets_an_expired_key_encrypt_at_once() {
    let store = Store::new();
    let id = store.world.create(store.world.vault, "Name").key.id;
    store.world.change(&id, KeyCommand::SetExpiry(expiry(10))).unwrap();
    store.world.wait(10);
    assert_eq!(store.encrypt(&id).unwrap_err().kind(), BackendErrorKind::KeyDisabled);
    let back = store.world.change(&id, KeyCommand::SetExpiry(expiry(11))).unwrap();
    assert_eq!(back.state, KeyState::Enabled);
    store.encrypt(&id).unwrap();
    store.world.change(&id, KeyCommand::SetExpiry(None)).unwrap();
    store.world.wait(1000);
    store.encrypt(&id).unwrap();
}
