//! Random commands, times and restarts against a model of keys, over memory and SQLite.

use std::sync::Arc;

use pollster::block_on;
use proptest::prelude::*;
use xks_core::{KeyId, Zeroizing, backend::KeyStatus};
use xks_lifecycle::{
    Changes, Event, Key, KeySet, KeySetId, KeySource, KeyVersion, KeyVersionId, Material, Name, Outcome, Repository,
    Rotation, Snapshot, Tenant, TenantId, Timestamp, VersionId, VersionState, WaitingDays,
    key_state::{Conditions, KeyCommand, KeyContext, KeyState, Refused, add_version, decide, view},
    seal::Root,
    store::{MemoryStore, SqliteStore, Store},
};

use crate::support::{TempDir, at, shown};

const KEYS: usize = 2;
const DAY: u64 = 24 * 60 * 60;
const START: u64 = 1_800_000_000;
/// The key set's waiting time.
const WAITING: u32 = 10;

#[derive(Clone, Debug)]
enum Action {
    Command(usize, Command),
    Wait(u64),
    Encrypt(usize),
    Restart,
}

/// A command, with times in days from now.
#[derive(Clone, Debug)]
enum Command {
    Activate,
    Enable,
    Disable,
    Deactivate,
    Expire(Option<i64>),
    Rotation(bool),
    ScheduleDeletion(Option<u32>),
    CancelDeletion,
    Destroy(Option<bool>),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let command = prop_oneof![
        3 => Just(Command::Activate),
        3 => Just(Command::Enable),
        3 => Just(Command::Disable),
        2 => Just(Command::Deactivate),
        2 => prop_oneof![Just(None), (-5_i64..30).prop_map(Some)].prop_map(Command::Expire),
        2 => any::<bool>().prop_map(Command::Rotation),
        3 => prop_oneof![Just(None), (7_u32..=30).prop_map(Some)].prop_map(Command::ScheduleDeletion),
        2 => Just(Command::CancelDeletion),
        3 => prop_oneof![Just(None), any::<bool>().prop_map(Some)].prop_map(Command::Destroy),
    ];
    let action = prop_oneof![
        12 => (0..KEYS, command).prop_map(|(key, command)| Action::Command(key, command)),
        4 => (0_u64..12).prop_map(Action::Wait),
        1 => (0..KEYS).prop_map(Action::Encrypt),
        1 => Just(Action::Restart),
    ];
    proptest::collection::vec(action, 1..40)
}

/// What the model knows of a key.
#[derive(Clone, Debug, Default)]
struct Model {
    was_activated: bool,
    is_closed: bool,
    /// In days from the start.
    deletion: Option<u64>,
    is_gone: bool,
    expires: Option<i64>,
    never_rotates: bool,
    rotates_since: Option<u64>,
    was_used: bool,
    needs_two: bool,
}

impl Model {
    fn is_expired(&self, today: u64) -> bool {
        self.expires.is_some_and(|day| day <= today as i64)
    }

    fn state(&self, today: u64) -> KeyState {
        match self {
            _ if self.is_gone => KeyState::Destroyed,
            _ if self.deletion.is_some() => KeyState::PendingDeletion,
            _ if self.is_closed => KeyState::Disabled,
            _ if !self.was_activated => KeyState::PreActive,
            _ if self.is_expired(today) => KeyState::Deactivated,
            _ => KeyState::Enabled,
        }
    }

    /// Whether the command is taken.
    fn take(&mut self, command: &Command, today: u64) -> Result<(), &'static str> {
        let is_waiting = self.deletion.is_some() || self.is_gone;
        let is_fresh = !self.was_activated && !self.is_closed;
        match command {
            _ if self.is_gone && !matches!(command, Command::Destroy(_)) => Err("state"),
            Command::Activate if is_waiting || self.is_closed => Err("state"),
            Command::Enable if is_waiting || is_fresh => Err("state"),
            Command::Activate | Command::Enable => {
                if self.is_expired(today) {
                    return Err("expired");
                }
                (self.was_activated, self.is_closed) = (true, false);
                Ok(())
            }
            Command::Disable | Command::Deactivate if is_waiting || is_fresh => Err("state"),
            Command::Disable => {
                self.is_closed = true;
                Ok(())
            }
            Command::Deactivate => {
                if !self.is_expired(today) {
                    self.expires = Some(today as i64);
                }
                Ok(())
            }
            Command::Expire(_) if is_waiting => Err("state"),
            Command::Expire(days) => {
                let day = days.map(|days| today as i64 + days);
                if day != self.expires && day.is_some_and(|day| day <= today as i64) {
                    return Err("expires");
                }
                self.expires = day;
                Ok(())
            }
            Command::Rotation(_) if is_waiting => Err("state"),
            Command::Rotation(never) => {
                if *never != self.never_rotates {
                    (self.never_rotates, self.rotates_since) = (*never, Some(today));
                }
                Ok(())
            }
            Command::ScheduleDeletion(_) if is_waiting => Err("state"),
            Command::ScheduleDeletion(Some(days)) if *days < WAITING => Err("waiting_days"),
            Command::ScheduleDeletion(days) => {
                self.deletion = Some(today + u64::from(days.unwrap_or(WAITING)));
                Ok(())
            }
            Command::CancelDeletion if self.deletion.take().is_some() => {
                self.is_closed = true;
                Ok(())
            }
            Command::CancelDeletion => {
                if self.is_closed {
                    Ok(())
                } else {
                    Err("state")
                }
            }
            Command::Destroy(_) if self.is_gone => Ok(()),
            Command::Destroy(typed) => match self.deletion {
                None => Err("state"),
                Some(day) if today < day => Err("waiting"),
                Some(_) if self.was_used && self.needs_two => Err("two"),
                Some(_) if self.was_used && typed.is_none() => Err("needed"),
                Some(_) if self.was_used && *typed == Some(false) => Err("name"),
                Some(_) => {
                    self.is_gone = true;
                    Ok(())
                }
            },
        }
    }
}

fn kind(refused: &Refused) -> &'static str {
    match refused {
        Refused::State { .. } => "state",
        Refused::Expired(_) => "expired",
        Refused::Waiting(_) => "waiting",
        Refused::Needed(_) => "needed",
        Refused::TypedName => "name",
        Refused::TwoPeople(_) => "two",
        Refused::Field(error) => error.field(),
        other => panic!("{other}"),
    }
}

struct Run {
    store: Arc<dyn Store>,
    reopen: Box<dyn Fn() -> Arc<dyn Store>>,
    root: Root,
    repository: Repository,
    snapshot: Snapshot,
    keys: Vec<KeyId>,
    models: Vec<Model>,
    encryptions: Vec<u64>,
    today: u64,
    events: usize,
}

fn day(day: i64) -> Timestamp {
    at((START as i64 + day * DAY as i64) as u64)
}

impl Run {
    fn new(reopen: Box<dyn Fn() -> Arc<dyn Store>>, root: Root) -> Self {
        let store = reopen();
        let (repository, mut snapshot) = block_on(Repository::create(
            Arc::clone(&store),
            std::slice::from_ref(&root),
            day(0),
        ))
        .unwrap();
        let tenant = Tenant::new(TenantId::generate().unwrap(), "Tenant").unwrap();
        let mut changes = Changes::new().insert(tenant.clone());
        let (mut keys, mut models) = (Vec::new(), Vec::new());
        for number in 0..KEYS {
            let mut set = KeySet::new(KeySetId::generate().unwrap(), tenant.id, "Set", KeySource::Vault).unwrap();
            set.waiting = WaitingDays::new(WAITING.into()).unwrap();
            set.needs_two = number == 1;
            let key = Key::new(format!("key-{number}").parse().unwrap(), set.id, "Name").unwrap();
            let id = KeyVersionId::new(key.id.clone(), VersionId::generate().unwrap());
            let mut version = KeyVersion::new(id, 1, Material::Vault(Zeroizing::new([7; 32])), day(0)).unwrap();
            version.state = VersionState::Current;
            keys.push(key.id.clone());
            models.push(Model {
                needs_two: set.needs_two,
                ..Model::default()
            });
            changes = changes.insert(set).insert(key).insert(version);
        }
        block_on(repository.commit(&mut snapshot, changes)).unwrap();
        Self {
            store,
            reopen,
            root,
            repository,
            snapshot,
            keys,
            models,
            encryptions: vec![0; KEYS],
            today: 0,
            events: 0,
        }
    }

    fn apply(&mut self, action: &Action) {
        match action {
            Action::Wait(days) => self.today += days,
            Action::Encrypt(key) => self.encrypt(*key),
            Action::Restart => self.restart(),
            Action::Command(key, command) => self.command(*key, command),
        }
        let now = day(self.today as i64);
        for (id, model) in self.keys.iter().zip(&self.models) {
            let key = self.snapshot.key(id).unwrap();
            let state = model.state(self.today);
            assert_eq!(key.state_at(now), state, "{action:?} {model:?}");
            let (never, since) = (key.rotation == Rotation::Never, key.rotation_since);
            let model_since = model.rotates_since.map(|today| day(today as i64));
            assert_eq!(
                (never, since),
                (model.never_rotates, model_since),
                "{action:?} {model:?}"
            );
            let view = view(&Conditions::new(state, true));
            assert_eq!(view.encrypt.is_ok(), state == KeyState::Enabled);
            assert_eq!(view.status == Ok(KeyStatus::Enabled), state == KeyState::Enabled);
            let is_gone = self
                .snapshot
                .versions(id)
                .all(|version| version.material == Material::Gone);
            assert_eq!(is_gone, model.is_gone);
        }
    }

    fn command(&mut self, index: usize, command: &Command) {
        let now = day(self.today as i64);
        let id = &self.keys[index];
        let key = self.snapshot.key(id).unwrap();
        let command_of = |command: &Command| match command {
            Command::Activate => KeyCommand::Activate,
            Command::Enable => KeyCommand::Enable,
            Command::Disable => KeyCommand::Disable,
            Command::Deactivate => KeyCommand::Deactivate,
            Command::Expire(days) => KeyCommand::SetExpiry(days.map(|days| day(self.today as i64 + days))),
            Command::Rotation(true) => KeyCommand::SetRotation(Rotation::Never),
            Command::Rotation(false) => KeyCommand::SetRotation(Rotation::Inherited),
            Command::ScheduleDeletion(days) => {
                KeyCommand::ScheduleDeletion(days.map(|days| WaitingDays::new(days.into()).unwrap()))
            }
            Command::CancelDeletion => KeyCommand::CancelDeletion,
            Command::Destroy(typed) => KeyCommand::Destroy {
                typed_name: typed.map(|is_right| if is_right { "Name" } else { "name" }.to_owned()),
            },
        };
        let set = self.snapshot.key_set(key.key_set).unwrap();
        let versions: Vec<_> = self.snapshot.versions(id).collect();
        let versions = versions.iter().map(|version| &***version);
        let context = KeyContext::new(key, set, versions, self.encryptions[index]);
        let key_command = command_of(command);
        let decided = decide(&context, &key_command, now);
        let before = self.models[index].clone();
        let expected = self.models[index].take(command, self.today);
        let event = |outcome| Event::new(now, "model", key_command.name(), &format!("keys/{id}"), outcome).unwrap();
        match (&decided, expected) {
            (Ok(change), Ok(())) => {
                if !change.is_empty() {
                    // Repeated, it changes nothing.
                    let changes = Changes::new().apply(change.clone()).event(event(Outcome::Done));
                    block_on(self.repository.commit(&mut self.snapshot, changes)).unwrap();
                    self.events += 1;
                    let key = self.snapshot.key(&self.keys[index]).unwrap();
                    let set = self.snapshot.key_set(key.key_set).unwrap();
                    let again = decide(&KeyContext::new(key, set, [], 0), &key_command, now);
                    let is_repeated = match key_command {
                        // The waiting time would begin again.
                        KeyCommand::ScheduleDeletion(_) => again.is_err(),
                        _ => again.as_ref().is_ok_and(xks_lifecycle::key_state::Change::is_empty),
                    };
                    assert!(is_repeated, "{command:?}: {again:?}");
                }
            }
            (Err(refused), Err(why)) => {
                assert_eq!(kind(refused), why, "{command:?} {before:?} {refused}");
                block_on(self.repository.record(vec![event(Outcome::Refused)])).unwrap();
                self.events += 1;
            }
            (decided, expected) => panic!("{command:?} on {before:?}: {decided:?} instead of {expected:?}"),
        }
    }

    fn encrypt(&mut self, index: usize) {
        if self.models[index].state(self.today) != KeyState::Enabled {
            return;
        }
        let version = self.snapshot.versions(&self.keys[index]).next().unwrap().id.clone();
        let reserved = block_on(self.repository.reserve(&version, 5, 1 << 32)).unwrap();
        assert_eq!(reserved, self.encryptions[index]..self.encryptions[index] + 5);
        self.encryptions[index] = reserved.end;
        self.models[index].was_used = true;
    }

    fn restart(&mut self) {
        let before = shown(&self.snapshot);
        let empty: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let directory = TempDir::new();
        // Nothing holds the store any more.
        self.repository = block_on(Repository::create(
            Arc::clone(&empty),
            &[directory.root("first")],
            day(0),
        ))
        .unwrap()
        .0;
        self.store = empty;
        self.store = (self.reopen)();
        let root = std::slice::from_ref(&self.root);
        let (repository, snapshot) = block_on(Repository::open(Arc::clone(&self.store), root)).unwrap();
        assert_eq!(shown(&snapshot), before);
        (self.repository, self.snapshot) = (repository, snapshot);
    }

    fn end(mut self) {
        self.restart();
        assert_eq!(block_on(self.repository.events(0, 1000)).unwrap().len(), self.events);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn keys_follow_the_model_in_memory(actions in actions()) {
        let directory = TempDir::new();
        let store = Arc::new(MemoryStore::new());
        let mut run = Run::new(Box::new(move || Arc::clone(&store) as _), directory.root("first"));
        actions.iter().for_each(|action| run.apply(action));
        run.end();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn keys_follow_the_model_in_a_file(actions in actions()) {
        let directory = TempDir::new();
        let (path, root) = (directory.database(), directory.root("first"));
        let mut run = Run::new(Box::new(move || Arc::new(SqliteStore::open(&path).unwrap()) as _), root);
        actions.iter().for_each(|action| run.apply(action));
        run.end();
    }
}

/// What the random commands do not do: a key without a version, and a change of the name.
#[test]
fn a_key_without_a_current_version_is_not_enabled() {
    let set = KeySet::new(
        KeySetId::generate().unwrap(),
        TenantId::generate().unwrap(),
        "Set",
        KeySource::Hsm,
    )
    .unwrap();
    let key = Key::new("key".parse().unwrap(), set.id, "Name").unwrap();
    let context = KeyContext::new(&key, &set, [], 0);
    assert_eq!(decide(&context, &KeyCommand::Activate, day(0)), Err(Refused::NoVersion));
    let description = key.description.clone();
    let name = Name::new("name", "Other").unwrap();
    let rename = KeyCommand::Rename { name, description };
    let renamed = decide(&context, &rename, day(0)).unwrap().key.unwrap();
    assert_eq!(renamed.name.as_str(), "Other");
    let context = KeyContext::new(&renamed, &set, [], 0);
    assert!(decide(&context, &rename, day(0)).unwrap().is_empty());
}

/// What a new version encrypts is told from what was encrypted before the key was managed.
#[test]
fn a_version_whose_tag_looks_like_the_earlier_constant_is_not_added() {
    let set = KeySet::new(
        KeySetId::generate().unwrap(),
        TenantId::generate().unwrap(),
        "Set",
        KeySource::Adopted,
    )
    .unwrap();
    let key = Key::new("key".parse().unwrap(), set.id, "Name").unwrap();
    let id = KeyVersionId::new(key.id.clone(), VersionId::from_bytes([1; 4]));
    let mut version = KeyVersion::new(id, 1, Material::Gone, day(0)).unwrap();
    version.state = VersionState::Current;
    version.legacy_metadata = Some([0x81, 1, 2, 3, 4, b'v', b'1'].as_slice().try_into().unwrap());
    let context = KeyContext::new(&key, &set, [&version], 0);
    let add = |id: [u8; 4]| add_version(&context, VersionId::from_bytes(id), Material::Gone, day(0));
    assert_eq!(kind(&add([1, 2, 3, 4]).unwrap_err()), "version");
    assert_eq!(add([1, 2, 3, 5]).unwrap().new_versions[0].number, 2);
}

/// A KMS key that uses a key is a reason not to destroy it, as are encryptions from before it was managed.
#[test]
fn a_key_that_may_be_needed_is_not_destroyed_unseen() {
    let set = KeySet::new(
        KeySetId::generate().unwrap(),
        TenantId::generate().unwrap(),
        "Set",
        KeySource::Hsm,
    )
    .unwrap();
    let mut key = Key::new("key".parse().unwrap(), set.id, "Name").unwrap();
    key.state = xks_lifecycle::key_state::StoredState::PendingDeletion { until: day(0) };
    let destroy = |key: &Key, versions: &[KeyVersion]| {
        let command = KeyCommand::Destroy { typed_name: None };
        decide(&KeyContext::new(key, &set, versions, 0), &command, day(0))
    };
    assert!(destroy(&key, &[]).is_ok());
    let id = KeyVersionId::new(key.id.clone(), VersionId::from_bytes([1; 4]));
    let mut version = KeyVersion::new(id, 1, Material::Gone, day(0)).unwrap();
    assert!(destroy(&key, std::slice::from_ref(&version)).is_ok());
    version.earlier_encryptions = 1 << 31;
    let refused = destroy(&key, std::slice::from_ref(&version)).unwrap_err();
    assert!(
        refused.to_string().contains("up to 2147483648 ciphertexts"),
        "{refused}"
    );
    key.kms_key = Some("arn:aws:kms:eu-central-1:111122223333:key/1234".parse().unwrap());
    let refused = destroy(&key, &[]).unwrap_err();
    assert!(refused.to_string().contains("key/1234 uses it"), "{refused}");
}
