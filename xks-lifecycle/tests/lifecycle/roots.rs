//! Roots: files, keys of a backend, several at once.

use std::{fs, os::unix::fs::PermissionsExt as _, sync::Arc};

use pollster::block_on;
use xks_backend_soft::{SoftBackend, SoftKey};
use xks_lifecycle::{
    Repository, RepositoryError,
    seal::{Root, RootError},
    store::{MemoryStore, Scope, Store as _, Table},
};

use crate::support::{TempDir, event, fill, shown};

/// All rows of the store but those of the roots.
fn rows(store: &MemoryStore) -> Vec<String> {
    let rows = Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = Arc::clone(&rows);
    let sink = Box::new(move |loaded: xks_lifecycle::store::Loaded<'_>| {
        if let xks_lifecycle::store::Loaded::Row(row) = loaded
            && row.table != Table::Roots
        {
            sink.lock().unwrap().push(format!("{row:?}"));
        }
    });
    block_on(store.load(Scope::Everything, sink)).unwrap();
    let rows = rows.lock().unwrap();
    rows.clone()
}

fn backend_root(name: &str) -> Root {
    let key = "root-key".parse().unwrap();
    let backend = SoftBackend::new().with_key("root-key".parse().unwrap(), SoftKey::generate().unwrap());
    Root::backend(name, Arc::new(backend), key).unwrap()
}

#[test]
fn each_of_several_roots_opens_alone_and_no_other_does() {
    let directory = TempDir::new();
    let store = Arc::new(MemoryStore::new());
    let roots = [directory.root("file"), backend_root("hsm")];
    let (_, snapshot, _) = fill(Arc::clone(&store) as _, &roots);
    for root in &roots {
        let opened = block_on(Repository::open(Arc::clone(&store) as _, std::slice::from_ref(root))).unwrap();
        assert_eq!(shown(&opened.1), shown(&snapshot));
    }
    // Others of these names, and one that is not known.
    let other = TempDir::new();
    for (root, why) in [
        (
            other.root("file"),
            "`file`: the data key was not wrapped under this root",
        ),
        (backend_root("hsm"), "`hsm`: key root-key of the backend"),
        (directory.root("third"), "`third` is not among its roots"),
    ] {
        let error = block_on(Repository::open(Arc::clone(&store) as _, &[root])).unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, RepositoryError::NoRoot { .. }));
        assert!(
            message.contains(why) && message.ends_with("the store knows file; hsm"),
            "{message}"
        );
    }
}

/// A root that fails is no reason not to try the next one.
#[test]
fn the_next_root_opens_when_one_fails() {
    let directory = TempDir::new();
    let store = Arc::new(MemoryStore::new());
    fill(Arc::clone(&store) as _, &[directory.root("file"), backend_root("hsm")]);
    let roots = [backend_root("hsm"), directory.root("file")];
    assert!(block_on(Repository::open(store, &roots)).is_ok());
}

#[test]
fn roots_are_added_changed_and_removed_without_touching_a_row() {
    let directory = TempDir::new();
    let store = Arc::new(MemoryStore::new());
    let first = directory.root("first");
    let (repository, mut snapshot, _) = fill(Arc::clone(&store) as _, std::slice::from_ref(&first));
    let before = rows(&store);
    let open = |root: &Root| block_on(Repository::open(Arc::clone(&store) as _, std::slice::from_ref(root)));
    let (one, another) = (backend_root("hsm"), backend_root("hsm"));
    block_on(repository.put_root(&mut snapshot, &one, event("put-root", "roots/hsm"))).unwrap();
    assert!(open(&one).is_ok() && open(&first).is_ok());
    block_on(repository.put_root(&mut snapshot, &another, event("put-root", "roots/hsm"))).unwrap();
    assert!(open(&one).is_err() && open(&another).is_ok());
    block_on(repository.remove_root(&mut snapshot, "first", event("remove-root", "roots/first"))).unwrap();
    assert!(open(&first).is_err() && open(&another).is_ok());
    assert_eq!(rows(&store), before);
    let error = block_on(repository.remove_root(&mut snapshot, "hsm", event("remove-root", "roots/hsm"))).unwrap_err();
    assert!(error.to_string().contains("`hsm` is the only root"), "{error}");
    assert!(block_on(repository.remove_root(&mut snapshot, "none", event("remove-root", "roots/none"))).is_err());
    assert!(open(&another).is_ok());
}

#[test]
fn a_root_file_is_of_its_owner_and_has_32_bytes() {
    let directory = TempDir::new();
    let path = directory.path().join("root");
    Root::create_file(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(
        matches!(Root::create_file(&path), Err(RootError::File { .. })),
        "a root is not overwritten"
    );
    let root = Root::file("root", &path).unwrap();
    let content = fs::read(&path).unwrap();
    assert!(!format!("{root:?}").contains(&format!("{content:?}")));
    for mode in [0o640, 0o604, 0o660, 0o601] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = Root::file("root", &path).unwrap_err();
        assert!(
            matches!(error, RootError::Mode { mode: found, .. } if found == mode),
            "{error}"
        );
        assert!(error.to_string().contains(&format!("has mode {mode:o}")), "{error}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    assert!(Root::file("root", &path).is_ok());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    for length in [0, 31, 33, 64] {
        fs::write(&path, vec![7; length]).unwrap();
        assert!(
            matches!(Root::file("root", &path), Err(RootError::Length { .. })),
            "{length}"
        );
    }
    assert!(matches!(
        Root::file("root", directory.path()),
        Err(RootError::File { .. })
    ));
    assert!(matches!(
        Root::file("root", &directory.path().join("none")),
        Err(RootError::File { .. })
    ));
    assert!(matches!(Root::file("", &path), Err(RootError::Field(error)) if error.field() == "root"));
}

#[test]
fn a_state_is_made_once_and_under_a_root() {
    let directory = TempDir::new();
    let store = Arc::new(MemoryStore::new());
    let create = |roots: &[Root]| {
        block_on(Repository::create(
            Arc::clone(&store) as _,
            roots,
            crate::support::at(0),
        ))
    };
    let open = || block_on(Repository::open(Arc::clone(&store) as _, &[directory.root("first")]));
    assert!(matches!(open(), Err(RepositoryError::Empty)));
    assert!(matches!(create(&[]), Err(RepositoryError::RootRequired)));
    let key = "no-such-key".parse().unwrap();
    let broken = Root::backend("hsm", Arc::new(SoftBackend::new()), key).unwrap();
    assert!(matches!(create(&[broken]), Err(RepositoryError::Root { name, .. }) if name == "hsm"));
    assert!(matches!(open(), Err(RepositoryError::Empty)));
    create(&[directory.root("first")]).unwrap();
    assert!(matches!(
        create(&[directory.root("first")]),
        Err(RepositoryError::Exists(_))
    ));
    assert!(open().is_ok());
}
