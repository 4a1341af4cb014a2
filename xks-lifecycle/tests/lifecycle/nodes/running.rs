//! Nodes that run over a store, with keys that are disabled and enabled while anything may happen to them.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use pollster::block_on;
use xks_backend_soft::SoftBackend;
use xks_core::{
    BackendError, KeyBackend, KeyId,
    api::RequestMetadata,
    async_trait,
    backend::{BackendErrorKind, EncryptRequest, Encrypted, GetKeyMetadataRequest, KeyStatus, Layered},
    key_store::Credentials as _,
};
use xks_lifecycle::{
    KeySet, KeySetId, KeySource, KeyStoreId, Managed, ManagedCredentials, Name, Repository, Tenant, TenantId,
    commands::{Actor, Backends, Commands, CreateKey, Deployment},
    key_state::KeyCommand,
    nodes::{Confirmation, Node, Terms},
    seal::Root,
    store::{ClaimKind, MemoryStore, Store},
};

use super::sim::{Apart, Clock, Far, Slot, run};
use crate::{
    managed::encrypt,
    support::{TempDir, at},
};

const LEASE: Duration = Duration::from_secs(1);

/// A process with the store as it sees it.
struct Process {
    commands: Arc<Commands>,
    managed: Managed,
    far: Arc<Far>,
}

/// Three places for processes, of which the first also gives the commands.
struct Site {
    clock: Arc<Clock>,
    store: Arc<MemoryStore>,
    root: Root,
    key: KeyId,
    processes: Mutex<Vec<Process>>,
    slots: Vec<Arc<Slot>>,
    has_lease: bool,
    _directory: TempDir,
}

fn alice() -> Actor {
    Actor::new("alice").unwrap()
}

fn commands(repository: Repository, snapshot: xks_lifecycle::Snapshot) -> Commands {
    Commands::new(repository, snapshot, Backends::new(), Deployment::new("prod").unwrap()).with_clock(|| at(1_000))
}

impl Site {
    fn new(seed: u64, has_lease: bool) -> Arc<Self> {
        let (directory, store) = (TempDir::new(), Arc::new(MemoryStore::new()));
        let root = directory.root("first");
        let roots = std::slice::from_ref(&root);
        let (repository, snapshot) = block_on(Repository::create(Arc::clone(&store) as _, roots, at(1))).unwrap();
        let commands = commands(repository, snapshot);
        let tenant = Tenant::new(TenantId::generate().unwrap(), "Tenant").unwrap();
        let set = KeySet::new(KeySetId::generate().unwrap(), tenant.id, "Set", KeySource::Vault).unwrap();
        let id = set.id;
        block_on(commands.create(&alice(), tenant)).unwrap();
        block_on(commands.create(&alice(), set)).unwrap();
        let made = block_on(commands.create_key(&alice(), CreateKey::new(id, "Key").unwrap())).unwrap();
        let clock = Clock::new(seed);
        let site = Arc::new(Self {
            slots: (0..3).map(|_| Arc::default()).collect(),
            processes: Mutex::default(),
            key: made.key.id,
            clock,
            store,
            root,
            has_lease,
            _directory: directory,
        });
        for place in 0..3 {
            let process = site.start(place);
            site.processes.lock().unwrap().push(process);
        }
        site
    }

    /// A new process in a place, instead of the one that was there.
    fn start(&self, place: usize) -> Process {
        let far = Arc::new(Far {
            inner: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock),
            is_near: AtomicBool::new(true),
            is_cut_off: AtomicBool::new(false),
        });
        let roots = std::slice::from_ref(&self.root);
        let (repository, snapshot) = block_on(Repository::open(Arc::clone(&far) as _, roots)).unwrap();
        far.is_near.store(false, Ordering::Relaxed);
        let timer = Apart {
            clock: Arc::clone(&self.clock),
            thousandths: [1_000, 997, 1_003][place],
        };
        // The commander's name is that of another node too.
        let name = Name::new("node", ["a", "b", "a"][place]).unwrap();
        let node = Arc::new(Node::new(&name, Terms::new(LEASE), Arc::new(timer)).unwrap());
        let commands = commands(repository, snapshot);
        let unleased = (!self.has_lease).then(|| Managed::all(&commands));
        let commands = Arc::new(commands.with_node(Arc::clone(&node)));
        let managed = unleased.unwrap_or_else(|| Managed::all(&commands));
        let run = Arc::clone(&commands);
        *self.slots[place].task.lock().unwrap() = Some(Box::pin(async move { node.run(&run).await }));
        Process { commands, managed, far }
    }

    /// What a request gets from each process that is there, whether it is stopped or not.
    fn answers(&self) -> Vec<Result<KeyStatus, BackendErrorKind>> {
        let request = GetKeyMetadataRequest::new(RequestMetadata::default());
        let processes = self.processes.lock().unwrap();
        let answer = |process: &Process| {
            let answer = block_on(process.managed.key_metadata(&self.key, &request));
            answer.map(|metadata| metadata.status()).map_err(|error| error.kind())
        };
        processes.iter().map(answer).collect()
    }

    fn serving(&self) -> usize {
        self.answers()
            .iter()
            .filter(|answer| **answer == Ok(KeyStatus::Enabled))
            .count()
    }

    /// Disables or enables the key, and waits for all nodes.
    async fn flip(&self, command: KeyCommand) -> Confirmation {
        let commands = Arc::clone(&self.processes.lock().unwrap()[0].commands);
        let revision = loop {
            match commands.change_key(&alice(), &self.key, None, command.clone()).await {
                Ok(entry) => break entry.revision,
                Err(_) => self.clock.sleep(Duration::from_millis(20)).await,
            }
        };
        commands.confirm_within(revision, LEASE * 10).await
    }

    /// Stops, kills and cuts off the other nodes.
    async fn disturb(&self) {
        loop {
            self.clock.sleep(Duration::from_millis(self.clock.below(4_000))).await;
            let place = 1 + self.clock.below(2) as usize;
            let time = LEASE * self.clock.below(30) as u32 / 10;
            match self.clock.below(4) {
                0 => {
                    self.slots[place].is_stopped.store(true, Ordering::Relaxed);
                    self.clock.sleep(time).await;
                    self.slots[place].is_stopped.store(false, Ordering::Relaxed);
                }
                1 => {
                    let far = Arc::clone(&self.processes.lock().unwrap()[place].far);
                    far.is_cut_off.store(true, Ordering::Relaxed);
                    self.clock.sleep(time).await;
                    far.is_cut_off.store(false, Ordering::Relaxed);
                }
                2 => {
                    let process = self.start(place);
                    self.processes.lock().unwrap()[place] = process;
                }
                _ => {
                    let node = self.processes.lock().unwrap()[place].commands.node().cloned();
                    node.unwrap().leave();
                    self.clock.sleep(time).await;
                    let process = self.start(place);
                    self.processes.lock().unwrap()[place] = process;
                }
            }
        }
    }
}

#[derive(Debug, Default)]
struct Found {
    confirmed: u32,
    unconfirmed: u32,
    ended: usize,
    served: u32,
    wrong: u32,
}

/// Flips a key while nodes are disturbed.
fn flips(seed: u64, has_lease: bool, flips: u32) -> Found {
    let site = Site::new(seed, has_lease);
    let disturbed = Arc::clone(&site);
    let found = Mutex::new(Found::default());
    let is_over = AtomicBool::new(false);
    let served = AtomicU32::new(0);
    site.clock.begin(async move { disturbed.disturb().await });
    let flipping = async {
        for _ in 0..flips {
            site.clock.sleep(Duration::from_millis(site.clock.below(600))).await;
            let confirmation = site.flip(KeyCommand::Disable).await;
            is_over.store(confirmation.is_confirmed(), Ordering::Relaxed);
            {
                let mut found = found.lock().unwrap();
                found.ended += confirmation.ended.len();
                match confirmation.is_confirmed() {
                    true => found.confirmed += 1,
                    false => found.unconfirmed += 1,
                }
            }
            site.clock.sleep(Duration::from_millis(site.clock.below(1_500))).await;
            is_over.store(false, Ordering::Relaxed);
            site.flip(KeyCommand::Enable).await;
        }
    };
    run(&site.clock, flipping, &site.slots, || match site.serving() {
        0 => {}
        _ if is_over.load(Ordering::Relaxed) => found.lock().unwrap().wrong += 1,
        _ => drop(served.fetch_add(1, Ordering::Relaxed)),
    });
    let mut found = found.into_inner().unwrap();
    found.served = served.into_inner();
    found
}

#[test]
fn a_confirmed_command_is_felt_on_every_node() {
    let mut ended = 0;
    for seed in 1..=16 {
        let found = flips(seed, true, 15);
        println!("{found:?}");
        assert_eq!(found.wrong, 0, "{found:?}");
        assert!(found.confirmed > 10 && found.served > 100, "{found:?}");
        ended += found.ended;
    }
    assert!(ended > 0);
}

/// The same without the lease: the search would find a wrong answer.
#[test]
fn without_a_lease_answers_would_be_wrong() {
    let found = flips(1, false, 15);
    assert!(found.wrong > 0, "{found:?}");
}

/// Nodes whose processes are killed cost their lease time once, also when no command waits for them.
#[test]
fn the_dead_are_buried_and_who_leaves_is_not_waited_for() {
    let site = Site::new(7, true);
    let rows = || block_on(site.store.claims(ClaimKind::Node)).unwrap().0.len();
    site.processes
        .lock()
        .unwrap()
        .iter()
        .for_each(|process| process.far.is_near.store(true, Ordering::Relaxed));
    let test = async {
        site.clock.sleep(LEASE).await;
        assert_eq!((rows(), site.serving()), (3, 3));
        *site.slots[1].task.lock().unwrap() = None; // killed
        let node = site.processes.lock().unwrap()[2].commands.node().cloned().unwrap();
        node.leave();
        assert_eq!(site.answers()[2], Err(BackendErrorKind::Timeout));
        site.clock.sleep(LEASE / 10).await;
        assert_eq!(rows(), 2);
        site.clock.sleep(LEASE).await;
        assert_eq!(site.answers()[1], Err(BackendErrorKind::Timeout));
        let confirmation = site.flip(KeyCommand::Disable).await;
        assert!(
            confirmation.is_confirmed() && confirmation.took < LEASE,
            "{confirmation:?}"
        );
        assert_eq!((confirmation.confirmed.len(), confirmation.ended.len()), (1, 1));
        assert_eq!(rows(), 1);
        let confirmation = site.flip(KeyCommand::Enable).await;
        assert!(confirmation.took < Duration::from_millis(10), "{confirmation:?}");
    };
    run(&site.clock, test, &site.slots, || {});
}

/// A backend in which something happens before it answers.
struct Hooked {
    soft: Arc<SoftBackend>,
    hook: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

#[async_trait]
impl Layered for Hooked {
    type Inner = SoftBackend;

    fn inner(&self) -> &SoftBackend {
        &self.soft
    }

    async fn encrypt(&self, key: &KeyId, request: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
        let hook = self.hook.lock().unwrap().take();
        hook.into_iter().for_each(|hook| hook());
        self.soft.encrypt(key, request).await
    }
}

/// A node without a lease knows no credential that was made since, and must not say that there is none.
#[test]
fn without_a_lease_a_credential_that_is_not_known_is_not_refused() {
    let site = Site::new(5, true);
    let test = async {
        site.clock.sleep(LEASE).await;
        let commands = Arc::clone(&site.processes.lock().unwrap()[0].commands);
        let credentials = ManagedCredentials::new(&commands, KeyStoreId::generate().unwrap());
        assert_eq!(block_on(credentials.find("UNKNOWN").wait()).unwrap(), None);
        commands.node().unwrap().leave();
        let error = block_on(credentials.find("UNKNOWN").wait()).unwrap_err();
        assert!(error.to_string().contains("this node has no lease"), "{error}");
    };
    run(&site.clock, test, &site.slots, || {});
}

/// The lease is checked again before an answer leaves.
#[test]
fn what_was_made_before_the_lease_ended_does_not_leave_after_it() {
    let site = Site::new(9, true);
    let test = async {
        site.clock.sleep(LEASE).await;
        let (commands, node) = {
            let processes = site.processes.lock().unwrap();
            (
                Arc::clone(&processes[0].commands),
                processes[0].commands.node().cloned().unwrap(),
            )
        };
        let tenant = commands.read(|snapshot| snapshot.tenants().next().unwrap().id);
        let set = KeySet::new(KeySetId::generate().unwrap(), tenant, "HSM", KeySource::Hsm).unwrap();
        let id = set.id;
        let hooked = Arc::new(Hooked {
            soft: Arc::new(SoftBackend::new()),
            hook: Mutex::default(),
        });
        let roots = std::slice::from_ref(&site.root);
        let (repository, snapshot) = block_on(Repository::open(Arc::clone(&site.store) as _, roots)).unwrap();
        let backends = Backends::new().with(Name::new("name", "hsm").unwrap(), hooked.clone(), hooked.soft.clone());
        let commands = Commands::new(repository, snapshot, backends, Deployment::new("prod").unwrap());
        block_on(commands.create(&alice(), set)).unwrap();
        let key = block_on(commands.create_key(&alice(), CreateKey::new(id, "Key").unwrap()))
            .unwrap()
            .key
            .id;
        let managed = Managed::all(&commands.with_node(Arc::clone(&node)));
        encrypt(&managed, &key).unwrap();
        *hooked.hook.lock().unwrap() = Some(Box::new(move || node.leave()));
        assert_eq!(encrypt(&managed, &key).unwrap_err().kind(), BackendErrorKind::Timeout);
        assert!(hooked.hook.lock().unwrap().is_none(), "it was asked");
        assert_eq!(encrypt(&managed, &key).unwrap_err().kind(), BackendErrorKind::Timeout);
        assert_eq!(
            block_on(managed.health()).unwrap_err().kind(),
            BackendErrorKind::Timeout
        );
    };
    run(&site.clock, test, &site.slots, || {});
}

/// A command that cannot be confirmed says so, and why.
#[test]
fn who_has_not_confirmed_is_named() {
    let site = Site::new(8, true);
    let test = async {
        site.clock.sleep(LEASE).await;
        site.slots[1].is_stopped.store(true, Ordering::Relaxed);
        let commands = Arc::clone(&site.processes.lock().unwrap()[0].commands);
        let revision = loop {
            match commands
                .change_key(&alice(), &site.key, None, KeyCommand::Disable)
                .await
            {
                Ok(entry) => break entry.revision,
                Err(_) => site.clock.sleep(LEASE / 50).await,
            }
        };
        let confirmation = commands.confirm_within(revision, LEASE / 3).await;
        assert!(!confirmation.is_confirmed());
        let missing: Vec<_> = confirmation.missing.iter().map(|missing| &*missing.node).collect();
        assert!(missing.contains(&"b"), "{confirmation:?}");
        assert!(
            confirmation
                .missing
                .iter()
                .all(|missing| missing.serves < Some(revision))
        );
        let far = Arc::clone(&site.processes.lock().unwrap()[0].far);
        far.is_cut_off.store(true, Ordering::Relaxed);
        let confirmation = commands.confirm_within(revision, LEASE).await;
        assert!(
            !confirmation.is_confirmed() && confirmation.store.is_some(),
            "{confirmation:?}"
        );
    };
    run(&site.clock, test, &site.slots, || {});
}
