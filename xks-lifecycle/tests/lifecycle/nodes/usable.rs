//! New versions on nodes with key managers of their own, of which the second is synchronised late.

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use pollster::block_on;
use xks_backend_soft::{SoftBackend, SoftKey};
use xks_core::KeyId;
use xks_lifecycle::{
    KeySet, KeySetId, KeySource, Managed, Name, Outcome, Repository, Tenant, TenantId, VersionState,
    commands::{Actor, Backends, CommandError, Commands, CreateKey, Deployment, KeyEntry},
    key_state::{KeyCommand, KeyState, VersionCommand},
    nodes::{Confirmation, Node, Terms},
    seal::Root,
    store::{ClaimKind, MemoryStore, Revision, Store, Swap},
};

use super::sim::{Apart, Clock, Far, Slot, run};
use crate::{
    managed::{decrypt, encrypt},
    support::{TempDir, at},
};

pub(super) const LEASE: Duration = Duration::from_secs(1);

/// A process with its own key manager.
pub(super) struct Process {
    pub(super) hsm: Arc<SoftBackend>,
    pub(super) commands: Arc<Commands>,
    pub(super) managed: Managed,
    pub(super) far: Arc<Far>,
}

/// Two nodes, `a` and `b`.
pub(super) struct Pair {
    pub(super) clock: Arc<Clock>,
    pub(super) store: Arc<MemoryStore>,
    root: Root,
    pub(super) slots: Vec<Arc<Slot>>,
    pub(super) a: Process,
    pub(super) b: Process,
    hsm_keys: KeySetId,
    pub(super) vault_keys: KeySetId,
    _directory: TempDir,
}

pub(super) fn alice() -> Actor {
    Actor::new("alice").unwrap()
}

fn commands(repository: Repository, snapshot: xks_lifecycle::Snapshot, hsm: &Arc<SoftBackend>) -> Commands {
    let backends = Backends::new().with(Name::new("name", "hsm").unwrap(), hsm.clone(), hsm.clone());
    Commands::new(repository, snapshot, backends, Deployment::new("prod").unwrap()).with_clock(|| at(1_000))
}

impl Process {
    fn start(clock: &Arc<Clock>, store: &Arc<MemoryStore>, root: &Root, name: &str, slot: &Slot) -> Self {
        Self::start_as(clock, store, root, (name, |node| node), slot)
    }

    fn start_as(
        clock: &Arc<Clock>,
        store: &Arc<MemoryStore>,
        root: &Root,
        (name, option): (&str, fn(Node) -> Node),
        slot: &Slot,
    ) -> Self {
        let hsm = Arc::new(SoftBackend::new());
        let far = Arc::new(Far {
            inner: Arc::clone(store),
            clock: Arc::clone(clock),
            is_near: AtomicBool::new(true),
            is_cut_off: AtomicBool::new(false),
        });
        let (repository, snapshot) =
            block_on(Repository::open(Arc::clone(&far) as _, std::slice::from_ref(root))).unwrap();
        let timer = Apart {
            clock: Arc::clone(clock),
            thousandths: 1_000,
        };
        let name = Name::new("node", name).unwrap();
        let node = Arc::new(option(Node::new(&name, Terms::new(LEASE), Arc::new(timer)).unwrap()));
        let commands = Arc::new(commands(repository, snapshot, &hsm).with_node(Arc::clone(&node)));
        let managed = Managed::all(&commands);
        let run = Arc::clone(&commands);
        *slot.task.lock().unwrap() = Some(Box::pin(async move { node.run(&run).await }));
        Self {
            hsm,
            commands,
            managed,
            far,
        }
    }

    async fn create(&self, spec: CreateKey) -> Result<KeyEntry, CommandError> {
        self.commands.create_key(&alice(), spec).await
    }

    async fn activate(&self, id: &KeyId) -> Result<KeyEntry, CommandError> {
        self.commands.change_key(&alice(), id, None, KeyCommand::Activate).await
    }

    async fn rotate(&self, id: &KeyId) -> Result<KeyEntry, CommandError> {
        self.commands.rotate(&alice(), id, None).await
    }

    fn entry(&self, id: &KeyId) -> KeyEntry {
        self.commands.key(id).unwrap()
    }
}

impl Pair {
    fn new() -> Self {
        Self::with(|node| node)
    }

    /// `b` is a node with an option.
    pub(super) fn with(option: fn(Node) -> Node) -> Self {
        let (directory, store) = (TempDir::new(), Arc::new(MemoryStore::new()));
        let root = directory.root("first");
        let roots = std::slice::from_ref(&root);
        let (repository, snapshot) = block_on(Repository::create(Arc::clone(&store) as _, roots, at(1))).unwrap();
        let first = commands(repository, snapshot, &Arc::new(SoftBackend::new()));
        let tenant = Tenant::new(TenantId::generate().unwrap(), "Tenant").unwrap();
        let set = |source| KeySet::new(KeySetId::generate().unwrap(), tenant.id, "Set", source).unwrap();
        let (hsm, vault) = (set(KeySource::Hsm), set(KeySource::Vault));
        let (hsm_keys, vault_keys) = (hsm.id, vault.id);
        block_on(first.create(&alice(), tenant)).unwrap();
        block_on(first.create(&alice(), hsm)).unwrap();
        block_on(first.create(&alice(), vault)).unwrap();
        let clock = Clock::new(1);
        let slots: Vec<Arc<Slot>> = (0..2).map(|_| Arc::default()).collect();
        Self {
            a: Process::start(&clock, &store, &root, "a", &slots[0]),
            b: Process::start_as(&clock, &store, &root, ("b", option), &slots[1]),
            clock,
            store,
            root,
            slots,
            hsm_keys,
            vault_keys,
            _directory: directory,
        }
    }

    /// The state as another process opens it.
    pub(super) fn repository(&self) -> Repository {
        let roots = std::slice::from_ref(&self.root);
        block_on(Repository::open(Arc::clone(&self.store) as _, roots))
            .unwrap()
            .0
    }

    /// Runs a test when both nodes serve.
    pub(super) fn run(self, test: impl AsyncFnOnce(&Self)) {
        let (clock, slots) = (Arc::clone(&self.clock), self.slots.clone());
        let test = async {
            self.clock.sleep(LEASE).await;
            test(&self).await;
        };
        run(&clock, test, &slots, || {});
    }

    fn spec(&self) -> CreateKey {
        CreateKey::new(self.hsm_keys, "Key").unwrap()
    }

    /// What the key managers of `b` get from those of `a`.
    fn synchronise(&self) {
        synchronise(&self.a.hsm, &self.b.hsm);
    }

    /// As `synchronise`, in a while.
    fn synchronise_later(&self, after: Duration) {
        let (from, to) = (Arc::clone(&self.a.hsm), Arc::clone(&self.b.hsm));
        let sleep = self.clock.sleep(after);
        self.clock.begin(async move {
            sleep.await;
            synchronise(&from, &to);
        });
    }

    fn known_answers(&self) -> usize {
        block_on(self.store.claims(ClaimKind::KnownAnswer)).unwrap().0.len()
    }

    /// A key that both nodes serve.
    async fn key(&self) -> KeyId {
        self.synchronise_later(LEASE / 10);
        let entry = self.a.create(self.spec()).await.unwrap();
        assert_eq!(entry.state, KeyState::Enabled);
        entry.key.id
    }
}

fn synchronise(from: &SoftBackend, to: &SoftBackend) {
    for id in from.key_ids() {
        to.insert(id.clone(), from.key(&id).unwrap());
    }
}

/// What an error says of who has not confirmed: it must be `b` alone.
fn not_confirmed<T: std::fmt::Debug>(outcome: Result<T, CommandError>) -> (Box<Confirmation>, String) {
    let error = outcome.unwrap_err();
    let text = error.to_string();
    let CommandError::NotConfirmed { confirmation } = error else {
        panic!("{error}")
    };
    let nodes = |all: &[Box<str>]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(nodes(&confirmation.confirmed), ["a"], "{confirmation:?}");
    assert!(confirmation.ended.is_empty(), "{confirmation:?}");
    let [missing] = &confirmation.missing[..] else {
        panic!("{confirmation:?}")
    };
    assert_eq!(&*missing.node, "b");
    assert!(missing.reason.contains("cannot use version"), "{confirmation:?}");
    assert!(text.contains(&*missing.reason) && text.contains("`b`"), "{text}");
    (confirmation, text)
}

#[test]
fn a_version_is_promoted_when_every_node_can_use_it_in_its_own_key_manager() {
    Pair::new().run(async |pair| {
        let id = pair.key().await;
        let before = encrypt(&pair.a.managed, &id).unwrap();
        pair.clock.sleep(LEASE).await;
        decrypt(&pair.b.managed, &id, &before).unwrap();

        // `b` does not have it: it is published, and encrypts nothing.
        let (confirmation, text) = not_confirmed(pair.a.rotate(&id).await);
        let entry = pair.a.entry(&id);
        let states: Vec<_> = entry.versions.iter().map(|version| version.state).collect();
        assert_eq!(states, [VersionState::Current, VersionState::Published]);
        assert!(text.contains(&entry.versions[1].id.to_string()), "{text}");
        assert_eq!(
            confirmation.took.as_millis() / 100,
            25,
            "twice the time of a dead node: {confirmation:?}"
        );
        let former = encrypt(&pair.a.managed, &id).unwrap();
        decrypt(&pair.b.managed, &id, &former).unwrap();
        let row = pair.b.commands.node().unwrap().row().unwrap();
        assert_eq!((row.usable.failed.len(), row.usable.through()), (1, None), "{row:?}");
        let events = pair.a.commands.events(0, 100).await.unwrap();
        let (_, last) = events.last().unwrap();
        assert_eq!((last.outcome, last.command.as_str()), (Outcome::Failed, "rotate"));
        assert!(
            last.reason
                .as_ref()
                .unwrap()
                .as_str()
                .contains("node `b`: it cannot use version")
        );
        assert_eq!(pair.known_answers(), 1);

        // The same command ends it, here on the node that had not made it, when that has got it.
        pair.synchronise_later(LEASE / 3);
        let entry = pair.b.rotate(&id).await.unwrap();
        let states: Vec<_> = entry.versions.iter().map(|version| version.state).collect();
        assert_eq!(states, [VersionState::DecryptOnly, VersionState::Current]);
        assert_eq!(pair.known_answers(), 0);
        let after = encrypt(&pair.b.managed, &id).unwrap();
        pair.clock.sleep(LEASE).await;
        decrypt(&pair.a.managed, &id, &after).unwrap();
        decrypt(&pair.b.managed, &id, &before).unwrap();
        let row = pair.b.commands.node().unwrap().row().unwrap();
        assert_eq!(row.usable.through(), Some(entry.revision));
    });
}

#[test]
fn a_key_is_enabled_when_every_node_can_use_it() {
    Pair::new().run(async |pair| {
        not_confirmed(pair.a.create(pair.spec()).await);
        let entry = pair.a.commands.keys(None, None, 2).remove(0);
        let id = entry.key.id.clone();
        assert_eq!(
            (entry.state, entry.versions[0].state),
            (KeyState::PreActive, VersionState::Published)
        );
        not_confirmed(pair.a.activate(&id).await);
        assert_eq!(pair.a.entry(&id), entry);
        // A promotion by hand is no way around.
        let version = entry.versions[0].id.clone();
        let actor = alice();
        let promote = pair
            .a
            .commands
            .change_version(&actor, &version, None, VersionCommand::Promote);
        not_confirmed(promote.await);
        pair.synchronise();
        let entry = pair.a.activate(&id).await.unwrap();
        assert_eq!(
            (entry.state, entry.versions[0].state),
            (KeyState::Enabled, VersionState::Current)
        );
        pair.clock.sleep(LEASE).await;
        let encrypted = encrypt(&pair.b.managed, &id).unwrap();
        decrypt(&pair.a.managed, &id, &encrypted).unwrap();
    });
}

#[test]
fn many_keys_are_confirmed_together() {
    Pair::new().run(async |pair| {
        let specs = vec![pair.spec(); 12];
        let made = pair.a.commands.create_keys(&alice(), &specs[..1]).await;
        not_confirmed(made.into_iter().next().unwrap());
        pair.synchronise_later(LEASE / 5);
        let first = pair.a.commands.keys(None, None, 2).remove(0).key.id;
        pair.a.activate(&first).await.unwrap();
        // The first one is tried alone; after that `b` is synchronised no more for a while.
        pair.synchronise_later(LEASE / 5);
        let begun = pair.clock.now();
        let mut made = pair.a.commands.create_keys(&alice(), &specs).await.into_iter();
        assert!(made.next().unwrap().is_ok());
        let (confirmation, text) = not_confirmed(made.next().unwrap());
        assert!(text.contains("(and 10 more)"), "{text}");
        assert!(made.all(|made| matches!(made, Err(CommandError::AnotherFailed))));
        assert!(
            pair.clock.now() - begun < confirmation.took + LEASE,
            "they were waited for once"
        );
        let row = pair.b.commands.node().unwrap().row().unwrap();
        assert_eq!(row.usable.failed.len() as u64 + row.usable.more, 11);
        assert!(row.usable.failed.len() < 5, "a row stays short");
        assert_eq!(pair.known_answers(), 11);
        pair.synchronise();
        for entry in pair.a.commands.keys(None, None, 100) {
            pair.a.activate(&entry.key.id).await.unwrap();
        }
        assert_eq!(pair.known_answers(), 0);
        pair.clock.sleep(LEASE).await;
        let keys = pair.b.commands.keys(None, None, 100);
        assert!(keys.len() == 13 && keys.iter().all(|entry| entry.state == KeyState::Enabled));
    });
}

/// Another key under the same id is none.
#[test]
fn a_node_with_another_key_of_that_name_is_found() {
    Pair::new().run(async |pair| {
        not_confirmed(pair.a.create(pair.spec()).await);
        for id in pair.a.hsm.key_ids() {
            pair.b.hsm.insert(id, SoftKey::generate().unwrap());
        }
        let id = pair.a.commands.keys(None, None, 1).remove(0).key.id;
        let (_, text) = not_confirmed(pair.a.activate(&id).await);
        assert!(text.contains("backend `hsm`"), "{text}");
        pair.synchronise();
        pair.a.activate(&id).await.unwrap();
    });
}

/// What is sealed in the store is there on each node that serves the revision.
#[test]
fn a_version_of_a_vault_needs_no_synchronisation() {
    Pair::new().run(async |pair| {
        let spec = CreateKey::new(pair.vault_keys, "Key").unwrap();
        let id = pair.a.create(spec).await.unwrap().key.id;
        let begun = pair.clock.now();
        let entry = pair.a.rotate(&id).await.unwrap();
        assert!(pair.clock.now() - begun < LEASE / 2);
        assert_eq!(entry.versions.len(), 2);
        assert!(
            pair.b.entry(&id).versions.len() == 2,
            "it has it when the command returns"
        );
        let encrypted = encrypt(&pair.a.managed, &id).unwrap();
        decrypt(&pair.b.managed, &id, &encrypted).unwrap();
    });
}

/// A version that a program published which makes no known answers, or one that a backup has brought back.
#[test]
fn a_known_answer_that_is_missing_is_made() {
    Pair::new().run(async |pair| {
        not_confirmed(pair.a.create(pair.spec()).await);
        pair.synchronise();
        let claim = block_on(pair.store.claims(ClaimKind::KnownAnswer)).unwrap().0.remove(0);
        assert!(block_on(pair.store.swap(Swap::Delete(claim))).unwrap().is_done);
        let id = pair.a.commands.keys(None, None, 1).remove(0).key.id;
        pair.a.activate(&id).await.unwrap();
    });
}

/// A node that is gone holds up a promotion for its lease time, and not more.
#[test]
fn a_dead_node_is_not_waited_for_when_its_lease_has_ended() {
    Pair::new().run(async |pair| {
        *pair.slots[1].task.lock().unwrap() = None; // killed
        let begun = pair.clock.now();
        let entry = pair.a.create(pair.spec()).await.unwrap();
        assert_eq!(entry.state, KeyState::Enabled);
        assert!(pair.clock.now() - begun < LEASE * 2);
    });
}

/// A node that comes while a promotion waits is waited for too.
#[test]
fn a_node_that_joins_meanwhile_must_be_able_to_use_it() {
    Pair::new().run(async |pair| {
        pair.b.commands.node().unwrap().leave();
        pair.clock.sleep(LEASE / 10).await;
        let key = pair.a.create(pair.spec()).await.unwrap().key.id;
        *pair.slots[1].task.lock().unwrap() = None;
        let c = Process::start(&pair.clock, &pair.store, &pair.root, "c", &pair.slots[1]);
        synchronise(&pair.a.hsm, &c.hsm);
        pair.clock.sleep(LEASE).await;
        let error = pair.a.rotate(&key).await.unwrap_err();
        assert!(error.to_string().contains("node `c`: it cannot use version"), "{error}");
        let encrypted = encrypt(&c.managed, &key).unwrap();
        decrypt(&pair.a.managed, &key, &encrypted).unwrap();
    });
}

/// A process alone needs none of this: as many commits as before, and nothing more is stored.
#[test]
fn a_state_of_one_process_has_no_more_commits_than_before() {
    let (directory, store) = (TempDir::new(), Arc::new(MemoryStore::new()));
    let root = directory.root("first");
    let roots = std::slice::from_ref(&root);
    let (repository, snapshot) = block_on(Repository::create(Arc::clone(&store) as _, roots, at(1))).unwrap();
    let commands = commands(repository, snapshot, &Arc::new(SoftBackend::new()));
    let tenant = Tenant::new(TenantId::generate().unwrap(), "Tenant").unwrap();
    let set = KeySet::new(KeySetId::generate().unwrap(), tenant.id, "Set", KeySource::Hsm).unwrap();
    let spec = CreateKey::new(set.id, "Key").unwrap();
    block_on(commands.create(&alice(), tenant)).unwrap();
    block_on(commands.create(&alice(), set)).unwrap();
    let commits = |work: &dyn Fn()| {
        let before = commands.revision().get();
        work();
        assert!(block_on(store.claims(ClaimKind::KnownAnswer)).unwrap().0.is_empty());
        commands.revision().get() - before
    };
    let create = || drop(block_on(commands.create_key(&alice(), spec.clone())).unwrap());
    assert_eq!(commits(&create), 2);
    let many = || {
        assert!(
            block_on(commands.create_keys(&alice(), &vec![spec.clone(); 5]))
                .iter()
                .all(Result::is_ok)
        );
    };
    assert_eq!(commits(&many), 4);
    let id = commands.keys(None, None, 1).remove(0).key.id;
    let rotate = || drop(block_on(commands.rotate(&alice(), &id, None)).unwrap());
    assert_eq!(commits(&rotate), 3);
    let confirmation = block_on(commands.confirm_usable(Revision::new(u64::MAX)));
    assert!(confirmation.is_confirmed());
}
