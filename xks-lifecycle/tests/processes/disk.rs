//! A disk that takes nothing more: the limit of file sizes, which a process sets for itself.

use std::{
    env,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use pollster::block_on;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use xks_backend_soft::SoftBackend;
use xks_core::{
    KeyBackend, KeyId, Zeroizing,
    aad::{AadFraming, BoundAad},
    api::RequestMetadata,
    backend::{BackendErrorKind, DecryptRequest, EncryptRequest, Encrypted},
};
use xks_lifecycle::{
    CommandError, ExternalKeyStore, KeySet, KeySetId, KeySource, KeyStoreId, Managed, Name, Regions, Repository,
    RepositoryError, Tenant, TenantId,
    commands::{Backends, Commands, CreateKey, Deployment},
    key_state::KeyCommand,
    store::{SqliteStore, StoreError},
};

use crate::{
    START, alice,
    support::{TempDir, at},
};

const DIRECTORY: &str = "XKS_LIFECYCLE_FULL";
/// The first block of a version.
const BLOCK: usize = 1 << 10;

fn limit(bytes: Option<u64>) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Fsize);
    let current = bytes.or(maximum);
    setrlimit(Resource::Fsize, Rlimit { current, maximum }).unwrap();
}

fn encrypt(managed: &Managed, key: &KeyId) -> Result<Encrypted, BackendErrorKind> {
    let aad = BoundAad::new(AadFraming::Spec, Some(b"aad"), None).unwrap();
    let plaintext = Zeroizing::new(b"plaintext".to_vec());
    let mut request = EncryptRequest::new(RequestMetadata::default(), plaintext, aad);
    block_on(managed.encrypt(key, &mut request)).map_err(|error| error.kind())
}

fn decrypt(managed: &Managed, key: &KeyId, encrypted: &Encrypted) {
    // Behind the length of the AAD, the AAD, and its own length.
    let metadata = &encrypted.bound_aad().as_bytes()[2 + b"aad".len() + 1..];
    let aad = BoundAad::new(AadFraming::Spec, Some(b"aad"), Some(metadata.try_into().unwrap())).unwrap();
    let encrypted = Encrypted::new(encrypted.ciphertext().to_vec(), *encrypted.iv(), *encrypted.tag(), aad);
    let request = DecryptRequest::new(RequestMetadata::default(), encrypted);
    assert_eq!(*block_on(managed.decrypt(key, &request)).unwrap(), b"plaintext");
}

/// Whether a command failed because the disk took nothing, and said so; its event is not recorded either.
fn is_of_the_disk(error: &CommandError) -> bool {
    let is_disk = |error: &StoreError| matches!(error, StoreError::Disk(_) | StoreError::Full(_));
    match error {
        CommandError::NotRecorded { error, store } => is_of_the_disk(error) && is_disk(store),
        CommandError::Repository(RepositoryError::Store(error)) => is_disk(error),
        _ => false,
    }
}

/// Not a test but the process of one.
#[test]
fn in_a_process_with_a_limit() {
    let Ok(directory) = env::var(DIRECTORY) else { return };
    let directory = Path::new(&directory);
    let root = xks_lifecycle::seal::Root::file("first", &directory.join("first")).unwrap();
    let store = Arc::new(SqliteStore::open(&directory.join("state.db")).unwrap());
    let roots = [root];
    let made = Repository::create(store, &roots, at(START));
    let (repository, snapshot) = block_on(made).unwrap();
    let hsm = Arc::new(SoftBackend::new());
    let name = Name::new("name", "hsm").unwrap();
    let backends = Backends::new().with(name, Arc::clone(&hsm) as _, Arc::clone(&hsm) as _);
    let clock = AtomicU64::new(START);
    let commands = Commands::new(repository, snapshot, backends, Deployment::new("test").unwrap())
        .with_clock(move || at(clock.fetch_add(1, Ordering::Relaxed)));
    let tenant = Tenant::new(TenantId::generate().unwrap(), "Tenant").unwrap();
    let (id, regions) = (KeyStoreId::generate().unwrap(), Regions::new(["eu-central-1"]).unwrap());
    let key_store = ExternalKeyStore::new(id, tenant.id, "Store", "/store".parse().unwrap(), regions).unwrap();
    let sets = [KeySource::Hsm, KeySource::Vault].map(|source| {
        let mut set = KeySet::new(KeySetId::generate().unwrap(), tenant.id, source.as_str(), source).unwrap();
        set.key_store = Some(id);
        set
    });
    block_on(commands.create(alice(), tenant.clone())).unwrap();
    block_on(commands.create(alice(), key_store)).unwrap();
    let keys = sets.clone().map(|set| {
        block_on(commands.create(alice(), set.clone())).unwrap();
        block_on(commands.create_key(alice(), CreateKey::new(set.id, "Key").unwrap()))
            .unwrap()
            .key
            .id
    });
    let managed = Managed::new(&commands, id);
    let before = keys.each_ref().map(|key| encrypt(&managed, key).unwrap());
    let (revision, hsm_keys) = (commands.revision(), hsm.key_ids());

    limit(Some(0));
    // Each kind of command fails, and none is half done.
    for set in &sets {
        let error = block_on(commands.create_key(alice(), CreateKey::new(set.id, "Another").unwrap())).unwrap_err();
        assert!(is_of_the_disk(&error), "{error}");
    }
    for key in &keys {
        let error = block_on(commands.rotate(alice(), key, None)).unwrap_err();
        assert!(is_of_the_disk(&error), "{error}");
        let error = block_on(commands.change_key(alice(), key, None, KeyCommand::Disable)).unwrap_err();
        assert!(is_of_the_disk(&error), "{error}");
    }
    let error = block_on(commands.remove::<Tenant>(alice(), tenant.id, None)).unwrap_err();
    assert!(matches!(error, CommandError::NotRecorded { .. }), "{error}");
    assert_eq!((commands.revision(), hsm.key_ids()), (revision, hsm_keys));
    // The layer goes on: it decrypts, and encrypts as far as that is counted.
    for (key, before) in keys.iter().zip(&before) {
        decrypt(&managed, key, before);
        for _ in 1..BLOCK {
            encrypt(&managed, key).unwrap();
        }
        assert_eq!(encrypt(&managed, key).unwrap_err(), BackendErrorKind::Timeout);
        decrypt(&managed, key, before);
    }

    limit(None);
    for (key, set) in keys.iter().zip(&sets) {
        encrypt(&managed, key).unwrap();
        block_on(commands.create_key(alice(), CreateKey::new(set.id, "Another").unwrap())).unwrap();
        let rotated = block_on(commands.rotate(alice(), key, None)).unwrap();
        assert_eq!(rotated.versions.len(), 2, "the rotation that failed has left none");
    }
    assert_eq!(commands.keys(None, None, 100).len(), 4);
    println!("all is as it was");
}

/// The process goes on in another one, whose state is whole afterwards.
#[test]
fn a_full_disk_fails_commands_and_loses_nothing() {
    let directory = TempDir::new();
    directory.root("first");
    // What is written beyond the limit is an error, and not the end of the process.
    let output = Command::new("sh")
        .args([
            "-c",
            "trap '' XFSZ; exec \"$0\" --exact disk::in_a_process_with_a_limit --nocapture",
        ])
        .arg(env::current_exe().unwrap())
        .env(DIRECTORY, directory.path())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && printed.contains("all is as it was"),
        "{output:?}"
    );
    let (repository, snapshot) = directory.open().unwrap();
    assert_eq!(snapshot.keys().len(), 4);
    drop(repository);
}
