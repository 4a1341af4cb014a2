//! Encryptions are counted before they are made: over restarts, failures and threads.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use pollster::block_on;
use xks_backend_soft::SoftKey;
use xks_core::{
    KeyId,
    backend::{BackendErrorKind, KeyStatus},
};
use xks_lifecycle::{
    KeyVersionId, Managed, Repository,
    commands::{Adopt, CreateKey},
    key_state::KeyCommand,
    store::{Claim, ClaimKind, Swap},
};

use crate::{
    commands::{
        hooked::Hooked,
        world::{World, alice},
    },
    managed::{Store, encrypt},
};

const LIMIT: u64 = 1 << 32;
/// The first block of a version in a process.
const BLOCK: u64 = 1 << 10;

fn reserved(repository: &Repository, version: &KeyVersionId) -> u64 {
    block_on(repository.reserved(version)).unwrap()
}

pub(crate) fn encrypt_times(store: &Store, id: &KeyId, times: u64) {
    for _ in 0..times {
        store.encrypt(id).unwrap();
    }
}

/// A key that has made encryptions before.
fn adopted(store: &Store, earlier: u64) -> (KeyId, KeyVersionId) {
    let id: KeyId = "adopted-key".parse().unwrap();
    let manager = &store.world.manager;
    manager.soft.insert(id.clone(), SoftKey::generate().unwrap());
    let mut adopt = Adopt::new(CreateKey::new(store.world.adopted, "Name").unwrap(), id.clone());
    adopt.earlier_encryptions = Some(earlier);
    let adopted = block_on(store.world.commands.adopt(alice(), adopt)).unwrap();
    (id, adopted.entry.versions[0].id.clone())
}

pub(crate) fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Knows whether it was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

/// A key that encrypts nothing reserves nothing: it can be destroyed without asking.
#[test]
fn encryptions_are_reserved_in_blocks_before_they_are_made() {
    let store = Store::new();
    let (repository, snapshot) = store.world.repository();
    for set in store.sets() {
        let key = store.world.create(set, "Name");
        let version = &key.versions[0].id;
        assert_eq!(reserved(&repository, version), 0);
        for number in 1..=2 * BLOCK + 1 {
            store.encrypt(&key.key.id).unwrap();
            assert_eq!(reserved(&repository, version), number.div_ceil(BLOCK) * BLOCK);
        }
    }
    let revision = block_on(repository.load()).unwrap().revision();
    assert_eq!(revision, store.world.commands.revision(), "counts do not move it");
    drop(snapshot);
}

/// A caller of `low` is woken when half of the block is used, and the next block is twice as large.
#[test]
fn a_block_that_runs_low_is_reserved_in_the_background() {
    let store = Store::new();
    let (repository, _) = store.world.repository();
    let key = store.world.create(store.world.vault, "Name");
    let (id, version) = (&key.key.id, &key.versions[0].id);
    let counts = Arc::clone(store.world.commands.counts());
    encrypt_times(&store, id, BLOCK / 2);
    assert_eq!(poll(pin!(counts.low())), None);
    let background = {
        let counts = Arc::clone(&counts);
        std::thread::spawn(move || {
            block_on(counts.low());
            block_on(counts.refill()).unwrap();
        })
    };
    store.encrypt(id).unwrap();
    for _ in 0..10_000 {
        if !background.is_finished() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    assert!(background.is_finished(), "the task was not woken");
    let used = BLOCK / 2 + 1;
    assert_eq!(reserved(&repository, version), used + 2 * BLOCK);
    assert_eq!(poll(pin!(counts.low())), None);
    // As many as were reserved, and the store is not asked again.
    encrypt_times(&store, id, 2 * BLOCK);
    assert_eq!(reserved(&repository, version), used + 2 * BLOCK);
    assert_eq!(poll(pin!(counts.low())), Some(()));
}

/// A process that ends loses its block: what it may have used is never used again.
#[test]
fn another_process_begins_behind_what_is_reserved() {
    let store = Store::new();
    let (repository, _) = store.world.repository();
    for set in store.sets() {
        let key = store.world.create(set, "Name");
        let version = &key.versions[0].id;
        store.encrypt(&key.key.id).unwrap();
        for process in 2..5 {
            let restarted = Managed::new(&store.world.another(), store.id);
            encrypt(&restarted, &key.key.id).unwrap();
            assert_eq!(reserved(&repository, version), process * BLOCK);
        }
        // The first one goes on with its own.
        store.encrypt(&key.key.id).unwrap();
        assert_eq!(reserved(&repository, version), 4 * BLOCK);
        let used_up = BLOCK - 2;
        encrypt_times(&store, &key.key.id, used_up + 1);
        assert_eq!(reserved(&repository, version), 5 * BLOCK);
    }
}

/// An older state in the place of the one that a process knows does not make it count from there.
#[test]
fn a_count_does_not_go_back_under_a_process() {
    let store = Store::new();
    let (repository, _) = store.world.repository();
    let key = store.world.create(store.world.vault, "Name");
    let (id, version) = (&key.key.id, &key.versions[0].id);
    let swap = |swap| assert!(block_on(store.world.store.swap(swap)).unwrap().is_done);
    let claim = |counter| Claim::new(ClaimKind::Count, &version.to_string(), "", counter, "");
    store.encrypt(id).unwrap();
    swap(Swap::Replace {
        seen: claim(BLOCK),
        next: claim(3),
    });
    encrypt_times(&store, id, BLOCK);
    assert_eq!(reserved(&repository, version), 2 * BLOCK);
    swap(Swap::Delete(claim(2 * BLOCK)));
    encrypt_times(&store, id, BLOCK);
    assert_eq!(reserved(&repository, version), 3 * BLOCK);
}

/// A command changes the view, not the count.
#[test]
fn a_version_keeps_its_block_when_its_key_changes() {
    let store = Store::new();
    let (repository, _) = store.world.repository();
    let key = store.world.create(store.world.vault, "Name");
    let (id, version) = (&key.key.id, &key.versions[0].id);
    store.encrypt(id).unwrap();
    store.world.change(id, KeyCommand::Disable).unwrap();
    store.world.change(id, KeyCommand::Enable).unwrap();
    store.encrypt(id).unwrap();
    assert_eq!(reserved(&repository, version), BLOCK);
    let rotated = store.world.rotate(id).unwrap();
    store.encrypt(id).unwrap();
    assert_eq!(reserved(&repository, &rotated.versions[1].id), BLOCK);
    assert_eq!(reserved(&repository, version), BLOCK);
}

#[test]
fn an_adopted_key_begins_at_its_stated_count() {
    let store = Store::new();
    let (repository, _) = store.world.repository();
    let (id, version) = adopted(&store, 5);
    store.encrypt(&id).unwrap();
    assert_eq!(reserved(&repository, &version), 5 + BLOCK);
    store.world.change(&id, KeyCommand::ScheduleDeletion(None)).unwrap();
    store.world.wait(7);
    let destroy = store.world.change(&id, KeyCommand::Destroy { typed_name: None });
    let error = destroy.unwrap_err().to_string();
    assert!(error.contains(&format!("up to {} ciphertexts", 5 + BLOCK)), "{error}");
}

/// To the last one, and no further; what it has encrypted stays readable, and a new version goes on.
#[test]
fn a_version_encrypts_no_more_at_the_limit() {
    let store = Store::new();
    let (id, version) = adopted(&store, LIMIT - 700);
    let first = store.encrypt(&id).unwrap();
    encrypt_times(&store, &id, 698);
    assert_eq!(store.status(&id), Ok(KeyStatus::Enabled));
    store.encrypt(&id).unwrap();
    assert_eq!(store.status(&id), Ok(KeyStatus::Disabled));
    for _ in 0..3 {
        let error = store.encrypt(&id).unwrap_err();
        assert_eq!(error.kind(), BackendErrorKind::KeyDisabled);
        assert!(error.to_string().contains("rotate the key"), "{error}");
    }
    let (repository, _) = store.world.repository();
    assert_eq!(reserved(&repository, &version), LIMIT);
    block_on(store.world.commands.counts().refill()).unwrap();
    assert_eq!(store.decrypt(&id, &first), Ok(()));
    let restarted = Managed::new(&store.world.another(), store.id);
    let error = encrypt(&restarted, &id).unwrap_err();
    assert_eq!(error.kind(), BackendErrorKind::KeyDisabled);
    store.world.rotate(&id).unwrap();
    store.encrypt(&id).unwrap();
    assert_eq!(store.status(&id), Ok(KeyStatus::Enabled));
}

#[test]
fn a_version_near_the_limit_is_due_for_rotation() {
    let store = Store::new();
    let commands = &store.world.commands;
    store
        .encrypt(&store.world.create(store.world.vault, "Other").key.id)
        .unwrap();
    let (id, version) = adopted(&store, LIMIT / 4 * 3 - 1);
    assert_eq!(commands.versions_near_limit(), []);
    store.encrypt(&id).unwrap();
    assert_eq!(commands.versions_near_limit(), std::slice::from_ref(&version));
    // Another process knows it when it has read the counts.
    let restarted = store.world.another();
    block_on(restarted.load_counts()).unwrap();
    assert_eq!(restarted.versions_near_limit(), [version]);
    store.world.rotate(&id).unwrap();
    assert_eq!(commands.versions_near_limit(), []);
}

/// From many threads at once, not one encryption more than there are.
#[test]
fn threads_cannot_exceed_what_is_reserved() {
    let store = Store::new();
    let (id, _) = adopted(&store, LIMIT - 3 * BLOCK / 2);
    let made: u64 = std::thread::scope(|scope| {
        let one = || (0..400).filter(|_| store.encrypt(&id).is_ok()).count() as u64;
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(one)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(made, 3 * BLOCK / 2);
}

pub(crate) fn over_hooked() -> (Store, Arc<Hooked>, KeyId) {
    let hooked = Arc::new(Hooked::default());
    let store = Store::over(World::over(Arc::clone(&hooked) as _));
    let id = store.world.create(store.world.vault, "Name").key.id;
    (store, hooked, id)
}

/// Nothing is encrypted uncounted; what is reserved serves on, and decryption needs none of it.
#[test]
fn a_store_that_fails_refuses_encryptions_beyond_what_is_reserved() {
    let (store, hooked, id) = over_hooked();
    let first = store.encrypt(&id).unwrap();
    hooked.refuses_claims.store(true, Relaxed);
    encrypt_times(&store, &id, BLOCK - 1);
    for _ in 0..2 {
        let error = store.encrypt(&id).unwrap_err();
        assert_eq!(error.kind(), BackendErrorKind::Timeout);
        assert!(
            error.to_string().contains("no encryptions could be reserved"),
            "{error}"
        );
        block_on(store.world.commands.counts().refill()).unwrap_err();
    }
    assert_eq!(store.decrypt(&id, &first), Ok(()));
    hooked.refuses_claims.store(false, Relaxed);
    // It was low all the time, so that the background goes on by itself.
    block_on(async {
        store.world.commands.counts().low().await;
        store.world.commands.counts().refill().await.unwrap();
    });
    encrypt_times(&store, &id, 2 * BLOCK);
    assert_eq!(
        reserved(
            &store.world.repository().0,
            &store.world.commands.key(&id).unwrap().versions[0].id
        ),
        3 * BLOCK
    );
}

/// A request that is dropped while it reserves, and a background that is, leave the next one its turn.
#[test]
fn dropped_futures_leave_the_turn_to_the_next() {
    let (store, hooked, id) = over_hooked();
    let counts = store.world.commands.counts();
    hooked.is_stuck.store(true, Relaxed);
    let (managed, waiting) = (Arc::clone(&store.managed), Arc::clone(&store.managed));
    let request = |managed: Arc<Managed>| {
        let id = id.clone();
        async move { encrypt_in(&managed, &id).await }
    };
    let mut second = Box::pin(request(waiting));
    let woken = Arc::new(Woken::default());
    {
        let mut first = pin!(request(managed));
        assert!(poll(first.as_mut()).is_none());
        assert!(poll(second.as_mut()).is_none());
        hooked.is_stuck.store(false, Relaxed);
        let waker = Waker::from(Arc::clone(&woken));
        let polled = second.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending(), "the first one is at it");
        assert!(!woken.0.load(Relaxed));
    }
    assert!(woken.0.load(Relaxed));
    assert_eq!(poll(second.as_mut()), Some(()));
    drop(second);
    encrypt_times(&store, &id, BLOCK / 2);
    hooked.is_stuck.store(true, Relaxed);
    assert!(poll(pin!(counts.refill())).is_none());
    hooked.is_stuck.store(false, Relaxed);
    assert_eq!(poll(pin!(counts.low())), Some(()), "it is low still");
    block_on(counts.refill()).unwrap();
    assert_eq!(poll(pin!(counts.low())), None);
}

async fn encrypt_in(managed: &Managed, id: &KeyId) {
    use xks_core::{
        KeyBackend, Zeroizing,
        aad::{AadFraming, BoundAad},
        api::RequestMetadata,
        backend::EncryptRequest,
    };

    let aad = BoundAad::new(AadFraming::Spec, Some(b"aad"), None).unwrap();
    let plaintext = Zeroizing::new(b"plaintext".to_vec());
    let mut request = EncryptRequest::new(RequestMetadata::default(), plaintext, aad);
    KeyBackend::encrypt(managed, id, &mut request).await.unwrap();
}
