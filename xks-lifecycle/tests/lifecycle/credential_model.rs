//! Random commands on the credentials of a key store against a model, over memory and SQLite.

use std::sync::Arc;

use proptest::prelude::*;
use xks_core::{Credential, dependency::Reply, key_store::Credentials};
use xks_lifecycle::{
    CommandError, ManagedCredentials,
    commands::{Commands, CredentialRefused, NewCredential},
    store::{MemoryStore, SqliteStore, Store},
};

use crate::{
    commands::{credentials::Site, world::World},
    support::TempDir,
};

#[derive(Clone, Debug)]
enum Action {
    /// A generated one, or one of these.
    Create(Option<u8>),
    /// With an overlap in minutes.
    Rotate(u64),
    /// One of those that were made.
    Revoke(usize),
    /// Minutes.
    Wait(u64),
    Restart,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        4 => prop_oneof![Just(None), (0_u8..3).prop_map(Some)].prop_map(Action::Create),
        4 => (0_u64..20).prop_map(Action::Rotate),
        4 => (0_usize..8).prop_map(Action::Revoke),
        4 => (0_u64..20).prop_map(Action::Wait),
        1 => Just(Action::Restart),
    ];
    proptest::collection::vec(action, 1..40)
}

/// What the model knows of a credential.
#[derive(Debug)]
struct Known {
    new: NewCredential,
    /// In minutes from the start.
    end: Option<u64>,
    is_revoked: bool,
}

impl Known {
    fn is_live(&self, now: u64) -> bool {
        !self.is_revoked && self.end.is_none_or(|end| now < end)
    }
}

#[derive(Default)]
struct Model {
    known: Vec<Known>,
    now: u64,
    events: Vec<&'static str>,
}

fn given(number: u8) -> Credential {
    let letter = char::from(b'A' + number).to_string();
    Credential::new(letter.repeat(20), "s".repeat(43)).unwrap()
}

fn found(commands: &Commands, site: &Site, known: &Known) -> bool {
    let credentials = ManagedCredentials::new(commands, site.id);
    let Reply::Now(found) = credentials.find(known.new.credential.access_key_id.as_str()) else {
        panic!("it waits")
    };
    let is_right = |found: Credential| assert_eq!(found.secret_access_key(), known.new.secret());
    found.map(is_right).is_some()
}

impl Model {
    fn live(&self) -> Vec<usize> {
        let live = self
            .known
            .iter()
            .enumerate()
            .filter(|(_, known)| known.is_live(self.now));
        live.map(|(number, _)| number).collect()
    }

    fn made(
        &mut self,
        outcome: Result<NewCredential, CommandError>,
        expected: Result<(), &str>,
        event: [&'static str; 2],
    ) {
        match (outcome, expected) {
            (Ok(new), Ok(())) => {
                self.known.push(Known {
                    new,
                    end: None,
                    is_revoked: false,
                });
                self.events.push(event[0]);
            }
            (Err(error), Err(expected)) => {
                let found = match &error {
                    CommandError::Credential(CredentialRefused::TwoLive { .. }) => "two",
                    CommandError::Credential(CredentialRefused::NoneLive(_)) => "none",
                    error if error.to_string().ends_with("exists already") => "exists",
                    error => panic!("{error}"),
                };
                assert_eq!(found, expected);
                self.events.push(event[1]);
            }
            (outcome, expected) => panic!("{outcome:?} instead of {expected:?}: {:?}", self.known),
        }
    }

    fn apply(&mut self, site: &Site, action: &Action) {
        let live = self.live();
        match action {
            Action::Wait(minutes) => {
                self.now += minutes;
                site.world.wait_seconds(minutes * 60);
            }
            Action::Restart => {
                let other = site.world.another();
                for known in &self.known {
                    assert_eq!(found(&other, site, known), known.is_live(self.now));
                }
            }
            Action::Create(number) => {
                let credential = number.map(given);
                let is_taken = |credential: &Credential| {
                    let ids = self.known.iter().map(|known| &known.new.credential.access_key_id);
                    ids.into_iter().any(|id| id == credential.access_key_id())
                };
                let expected = match &credential {
                    _ if live.len() == 2 => Err("two"),
                    Some(credential) if is_taken(credential) => Err("exists"),
                    _ => Ok(()),
                };
                self.made(site.create(credential), expected, ["create done", "create refused"]);
            }
            Action::Rotate(minutes) => {
                let expected = match live[..] {
                    [] => Err("none"),
                    [_] => Ok(()),
                    _ => Err("two"),
                };
                self.made(
                    site.rotate(*minutes),
                    expected,
                    ["rotate-credential done", "rotate-credential refused"],
                );
                if let ([former], Ok(())) = (&live[..], expected) {
                    let former = &mut self.known[*former];
                    let end = self.now + minutes;
                    former.end = Some(former.end.map_or(end, |known| known.min(end)));
                }
            }
            Action::Revoke(number) => {
                if let Some(known) = self.known.get_mut(*number) {
                    site.revoke(&known.new);
                    known.is_revoked = true;
                    self.events.push("revoke done");
                }
            }
        }
        for known in &self.known {
            assert_eq!(
                found(&site.world.commands, site, known),
                known.is_live(self.now),
                "{action:?} {known:?}"
            );
        }
        assert!(self.live().len() <= 2);
    }
}

fn run(store: Arc<dyn Store>, actions: &[Action]) {
    let site = Site::over(World::over(store));
    let mut model = Model::default();
    actions.iter().for_each(|action| model.apply(&site, action));
    model.apply(&site, &Action::Restart);
    assert_eq!(site.world.told()[1..], model.events);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn credentials_follow_the_model_in_memory(actions in actions()) {
        run(Arc::new(MemoryStore::new()), &actions);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn credentials_follow_the_model_in_a_file(actions in actions()) {
        let directory = TempDir::new();
        run(Arc::new(SqliteStore::open(&directory.database()).unwrap()), &actions);
    }
}
