//! Random commands on versions against a model, over memory and SQLite.

use std::sync::Arc;

use pollster::block_on;
use proptest::prelude::*;
use xks_core::{KeyId, Zeroizing};
use xks_lifecycle::{
    Changes, Key, KeySet, KeySetId, KeySource, Material, Minima, Repository, Snapshot, Tenant, TenantId, VersionId,
    VersionState,
    key_state::{
        Change, KeyCommand, KeyContext, Refused, Standing, StoredState, VersionCommand, add_version, decide,
        decide_version,
    },
    store::{MemoryStore, SqliteStore, Store},
};

use crate::support::{TempDir, at};

/// A version is named by its place.
#[derive(Clone, Debug)]
enum Action {
    Add {
        is_vault: bool,
    },
    Publish {
        place: usize,
        is_made: bool,
    },
    Promote(usize),
    Revoke(usize),
    Restore(usize),
    Abandon(usize),
    Destroy {
        place: usize,
        typed: Option<bool>,
        encryptions: u64,
    },
    SetMinima(u32, u32, u32),
    SetState(bool),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let place = || 0_usize..6;
    let action = prop_oneof![
        6 => any::<bool>().prop_map(|is_vault| Action::Add { is_vault }),
        8 => (place(), prop_oneof![1 => Just(false), 5 => Just(true)])
            .prop_map(|(place, is_made)| Action::Publish { place, is_made }),
        8 => place().prop_map(Action::Promote),
        3 => place().prop_map(Action::Revoke),
        2 => place().prop_map(Action::Restore),
        1 => place().prop_map(Action::Abandon),
        3 => (place(), prop_oneof![Just(None), any::<bool>().prop_map(Some)], 0_u64..2)
            .prop_map(|(place, typed, encryptions)| Action::Destroy { place, typed, encryptions }),
        1 => (1_u32..6, 1_u32..6, 1_u32..6)
            .prop_map(|(encrypt, decrypt, kept)| Action::SetMinima(encrypt, decrypt, kept)),
        3 => [1_u32..4, 1_u32..4, 1_u32..4].prop_map(|mut minima| {
            minima.sort_unstable();
            Action::SetMinima(minima[2], minima[1], minima[0])
        }),
        1 => any::<bool>().prop_map(Action::SetState),
    ];
    proptest::collection::vec(action, 1..60)
}

/// What the model knows of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Made,
    Ready,
    Encrypts,
    Reads,
    Shut,
    Gone,
}

#[derive(Debug, Default)]
struct Model {
    versions: Vec<(Phase, bool)>,
    minima: (u32, u32, u32),
    is_waiting: bool,
    is_gone: bool,
}

impl Model {
    /// Whether the action is taken.
    fn take(&mut self, action: &Action) -> Result<(), &'static str> {
        let number = |place: usize| place as u32 + 1;
        let phase = |model: &Self, place: usize| model.versions.get(place).copied().ok_or("unknown");
        if self.is_gone || self.is_waiting {
            match action {
                Action::SetState(_) => {}
                Action::Destroy { place, .. } if phase(self, *place).is_ok_and(|(phase, _)| phase == Phase::Gone) => {
                    return Ok(());
                }
                Action::SetMinima(encrypt, decrypt, kept) if decrypt > encrypt || kept > decrypt => {
                    return Err("illegal");
                }
                Action::Add { .. } => return Err("state"),
                Action::SetMinima(..) => return Err("state"),
                Action::Publish { place, .. }
                | Action::Promote(place)
                | Action::Revoke(place)
                | Action::Restore(place)
                | Action::Abandon(place)
                | Action::Destroy { place, .. } => return phase(self, *place).and(Err("state")),
            }
        }
        match *action {
            Action::Add { is_vault } => {
                if self.versions.iter().any(|(phase, _)| *phase == Phase::Made) {
                    return Err("unfinished");
                }
                self.versions.push((Phase::Made, is_vault));
                Ok(())
            }
            Action::Publish { place, is_made } => match phase(self, place)? {
                (Phase::Made, is_vault) if is_vault == is_made => Err("not made"),
                (Phase::Made, is_vault) => {
                    self.versions[place] = (Phase::Ready, is_vault);
                    Ok(())
                }
                (Phase::Ready | Phase::Encrypts | Phase::Reads, _) => Ok(()),
                (Phase::Shut | Phase::Gone, _) => Err("version"),
            },
            Action::Promote(place) => match phase(self, place)? {
                (Phase::Encrypts, _) => Ok(()),
                (Phase::Ready | Phase::Reads, _) if number(place) < self.minima.0 => Err("minimum"),
                (Phase::Ready | Phase::Reads, _) => {
                    for (phase, _) in &mut self.versions {
                        if *phase == Phase::Encrypts {
                            *phase = Phase::Reads;
                        }
                    }
                    self.versions[place].0 = Phase::Encrypts;
                    Ok(())
                }
                _ => Err("version"),
            },
            Action::Revoke(place) => match phase(self, place)?.0 {
                Phase::Encrypts => Err("current"),
                Phase::Ready | Phase::Reads | Phase::Shut => {
                    self.versions[place].0 = Phase::Shut;
                    Ok(())
                }
                Phase::Made | Phase::Gone => Err("version"),
            },
            Action::Restore(place) => match phase(self, place)?.0 {
                Phase::Reads => Ok(()),
                Phase::Shut => {
                    self.versions[place].0 = Phase::Reads;
                    Ok(())
                }
                _ => Err("version"),
            },
            Action::Abandon(place) => match phase(self, place)?.0 {
                Phase::Made => {
                    self.versions[place].0 = Phase::Gone;
                    self.is_gone = self.versions.len() == 1;
                    Ok(())
                }
                _ => Err("version"),
            },
            Action::Destroy {
                place,
                typed,
                encryptions,
            } => {
                match phase(self, place)?.0 {
                    Phase::Gone | Phase::Made => {}
                    Phase::Encrypts => return Err("current"),
                    Phase::Ready | Phase::Reads if number(place) >= self.minima.2 => return Err("kept"),
                    _ if encryptions == 0 || typed == Some(true) => {}
                    _ => return Err(if typed.is_none() { "needed" } else { "name" }),
                }
                self.versions[place].0 = Phase::Gone;
                Ok(())
            }
            Action::SetMinima(encrypt, decrypt, kept) => {
                if decrypt > encrypt || kept > decrypt {
                    return Err("illegal");
                }
                let current = self.versions.iter().position(|(phase, _)| *phase == Phase::Encrypts);
                let is_legal = encrypt <= current.map_or(1, number);
                if (encrypt, decrypt, kept) != self.minima && !is_legal {
                    return Err("min_encrypt");
                }
                self.minima = (encrypt, decrypt, kept);
                Ok(())
            }
            Action::SetState(is_waiting) => {
                self.is_waiting = is_waiting;
                Ok(())
            }
        }
    }

    fn expected(&self, place: usize) -> (VersionState, Standing) {
        let number = place as u32 + 1;
        let reads = |standing| {
            if number < self.minima.1 {
                Standing::Nothing
            } else {
                standing
            }
        };
        match self.versions[place].0 {
            Phase::Made => (VersionState::Pending, Standing::Nothing),
            Phase::Ready => (VersionState::Published, reads(Standing::Decrypt)),
            Phase::Encrypts => (VersionState::Current, Standing::All),
            Phase::Reads => (VersionState::DecryptOnly, reads(Standing::Decrypt)),
            Phase::Shut => (VersionState::Revoked, Standing::Nothing),
            Phase::Gone => (VersionState::Destroyed, Standing::Gone),
        }
    }
}

fn kind(refused: &Refused) -> &'static str {
    match refused {
        Refused::State { .. } => "state",
        Refused::Version { .. } => "version",
        Refused::UnknownVersion(_) => "unknown",
        Refused::NotMade(_) => "not made",
        Refused::CurrentVersion(_) => "current",
        Refused::Unfinished(_) => "unfinished",
        Refused::BelowMinimum { .. } => "minimum",
        Refused::Kept { .. } => "kept",
        Refused::Needed(_) => "needed",
        Refused::TypedName => "name",
        Refused::Field(error) => error.field(),
        other => panic!("{other}"),
    }
}

struct Run {
    repository: Repository,
    snapshot: Snapshot,
    key: KeyId,
    /// In the order of their numbers.
    ids: Vec<VersionId>,
    model: Model,
}

impl Run {
    fn new(store: Arc<dyn Store>, directory: &TempDir) -> Self {
        let root = directory.root("first");
        let (repository, mut snapshot) = block_on(Repository::create(store, &[root], at(0))).unwrap();
        let tenant = Tenant::new(TenantId::generate().unwrap(), "Tenant").unwrap();
        let set = KeySet::new(KeySetId::generate().unwrap(), tenant.id, "Set", KeySource::Hsm).unwrap();
        let key = Key::new("key".parse().unwrap(), set.id, "Name").unwrap();
        let id = key.id.clone();
        let changes = Changes::new().insert(tenant).insert(set).insert(key);
        block_on(repository.commit(&mut snapshot, changes)).unwrap();
        let model = Model {
            minima: (1, 1, 1),
            ..Model::default()
        };
        Self {
            repository,
            snapshot,
            key: id,
            ids: Vec::new(),
            model,
        }
    }

    fn decide(&self, action: &Action) -> Result<Change, &'static str> {
        let key = self.snapshot.key(&self.key).unwrap();
        let set = self.snapshot.key_set(key.key_set).unwrap();
        let versions: Vec<_> = self.snapshot.versions(&self.key).collect();
        let mut context = KeyContext::new(key, set, versions.iter().map(|version| &***version), 0);
        let id = |place: usize| self.ids.get(place).copied().unwrap_or(VersionId::from_bytes([0xff; 4]));
        let backend_key = |place: usize| format!("label-{place}").parse().unwrap();
        let command = |command: VersionCommand, place: usize| (id(place), command);
        let (version, command) = match *action {
            Action::Add { is_vault } => {
                let material = if is_vault {
                    Material::Vault(Zeroizing::new([7; 32]))
                } else {
                    let token = Some([self.ids.len() as u8; 16].into());
                    Material::Backend { key: None, token }
                };
                let next = VersionId::from_bytes((self.ids.len() as u32 + 1).to_be_bytes());
                if let Some(taken) = self.ids.last() {
                    let again = add_version(&context, *taken, material.clone(), at(0));
                    assert!(again.is_err());
                }
                return add_version(&context, next, material, at(0)).map_err(|refused| kind(&refused));
            }
            Action::SetMinima(encrypt, decrypt, kept) => {
                let Ok(minima) = Minima::new(encrypt, decrypt, kept) else {
                    return Err("illegal");
                };
                return decide(&context, &KeyCommand::SetMinima(minima), at(0)).map_err(|refused| kind(&refused));
            }
            Action::SetState(is_waiting) => {
                let mut key = (**key).clone();
                if key.state != StoredState::Destroyed {
                    key.state = if is_waiting {
                        StoredState::PendingDeletion { until: at(9) }
                    } else {
                        StoredState::PreActive
                    };
                }
                let mut change = Change::default();
                change.key = Some(key);
                return Ok(change);
            }
            Action::Publish { place, is_made } => {
                let backend_key = is_made.then(|| backend_key(place));
                command(VersionCommand::Publish { backend_key }, place)
            }
            Action::Promote(place) => command(VersionCommand::Promote, place),
            Action::Revoke(place) => command(VersionCommand::Revoke, place),
            Action::Restore(place) => command(VersionCommand::Restore, place),
            Action::Abandon(place) => command(VersionCommand::Abandon, place),
            Action::Destroy {
                place,
                typed,
                encryptions,
            } => {
                context.encryptions = encryptions;
                let typed_name = typed.map(|is_right| if is_right { "Name" } else { "name" }.to_owned());
                command(VersionCommand::Destroy { typed_name }, place)
            }
        };
        decide_version(&context, version, &command, at(0)).map_err(|refused| kind(&refused))
    }

    fn apply(&mut self, action: &Action) {
        let decided = self.decide(action);
        let expected = self.model.take(action);
        assert_eq!(
            decided.as_ref().map(|_| ()).map_err(|why| *why),
            expected,
            "{action:?} {:?}",
            self.model
        );
        if let Ok(change) = decided {
            if let Some(new) = change.new_versions.first() {
                self.ids.push(new.id.version);
            }
            block_on(self.repository.commit(&mut self.snapshot, Changes::new().apply(change))).unwrap();
            if !matches!(action, Action::Add { .. }) {
                let again = self.decide(action);
                let is_nothing = match action {
                    // What was abandoned is gone, and a state is set by this test itself.
                    Action::Abandon(_) => again.is_err(),
                    Action::SetState(_) => true,
                    _ => again.as_ref().is_ok_and(Change::is_empty),
                };
                assert!(is_nothing, "repeated: {action:?} {again:?}");
            }
        }
        self.check(action);
    }

    fn check(&self, action: &Action) {
        let key = self.snapshot.key(&self.key).unwrap();
        let mut versions: Vec<_> = self.snapshot.versions(&self.key).collect();
        versions.sort_by_key(|version| version.number);
        let ids: Vec<_> = versions.iter().map(|version| version.id.version).collect();
        assert_eq!(ids, self.ids, "tombstones stay");
        for (place, version) in versions.iter().enumerate() {
            let found = (version.state, Standing::of(version, key.minima));
            assert_eq!(found, self.model.expected(place), "{action:?} {place} {:?}", self.model);
            assert_eq!(version.number, place as u32 + 1);
        }
        let current = versions.iter().filter(|version| version.state == VersionState::Current);
        assert!(current.count() <= 1);
        assert_eq!(key.state == StoredState::Destroyed, self.model.is_gone);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn versions_follow_the_model_in_memory(actions in actions()) {
        let directory = TempDir::new();
        let mut run = Run::new(Arc::new(MemoryStore::new()), &directory);
        actions.iter().for_each(|action| run.apply(action));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn versions_follow_the_model_in_a_file(actions in actions()) {
        let directory = TempDir::new();
        let store = Arc::new(SqliteStore::open(&directory.database()).unwrap());
        let mut run = Run::new(store, &directory);
        actions.iter().for_each(|action| run.apply(action));
        // What was committed is what is found again.
        let before = crate::support::shown(&run.snapshot);
        drop(run);
        let (_, snapshot) = directory.open().unwrap();
        assert_eq!(crate::support::shown(&snapshot), before);
    }
}
