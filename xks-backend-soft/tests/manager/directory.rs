//! A directory of keys: what stands in it, what is found there again, and what happens when it cannot be
//! written.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use xks_backend_soft::{KeyDirectoryError, SoftBackend, SoftKey};
use xks_core::{
    KeyId,
    backend::KeyStatus,
    manage::{KeyManager, ManageErrorKind, NewKey},
};

use crate::TempDir;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn new_key(label: &str) -> NewKey {
    let mut token = [0; 16];
    label.bytes().zip(&mut token).for_each(|(byte, place)| *place = byte);
    NewKey::for_xks(token.into(), label.parse().unwrap())
}

fn open(path: &Path) -> Result<SoftBackend, KeyDirectoryError> {
    SoftBackend::new().with_directory(path)
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

async fn create(manager: &dyn KeyManager, label: &str) -> KeyId {
    manager.create_key(&new_key(label), soon()).await.unwrap()
}

#[tokio::test]
async fn a_key_has_one_file_that_only_its_owner_can_read() {
    let directory = TempDir::new();
    let backend = open(directory.path()).unwrap();
    let (a, b) = (create(&backend, "key-a").await, create(&backend, "Key.b_2").await);
    assert_eq!(names(directory.path()), ["Key.b_2.key", "key-a.key", "lock"]);
    #[cfg(unix)]
    for (path, mode) in [
        (directory.path().into(), 0o700),
        (directory.path().join("key-a.key"), 0o600),
    ] {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, mode);
    }
    let text = fs::read_to_string(directory.path().join("key-a.key")).unwrap();
    let (head, material) = text.rsplit_once(' ').unwrap();
    let expected = "xks-backend-soft key 1\ntoken 6b65792d610000000000000000000000\nusages ENCRYPT DECRYPT\n\
                    status ENABLED\nextractable no\nversion 1";
    assert_eq!((head, material.len()), (expected, 45));
    KeyManager::set_status(&backend, &a, KeyStatus::Disabled, soon())
        .await
        .unwrap();
    let disabled = fs::read_to_string(directory.path().join("key-a.key")).unwrap();
    assert_eq!(disabled, text.replace("ENABLED", "DISABLED"));
    backend.destroy_key(&b, soon()).await.unwrap();
    assert_eq!(names(directory.path()), ["key-a.key", "lock"]);
}

#[tokio::test]
async fn a_directory_belongs_to_one_backend() {
    let directory = TempDir::new();
    let first = open(directory.path()).unwrap();
    create(&first, "a").await;
    assert!(matches!(open(directory.path()), Err(KeyDirectoryError::InUse(_))));
    drop(first);
    assert_eq!(open(directory.path()).unwrap().key_ids().len(), 1);
    let other = SoftBackend::new().with_key("a".parse().unwrap(), SoftKey::generate().unwrap());
    let other = other.with_directory(directory.path());
    assert!(matches!(other, Err(KeyDirectoryError::KeyExists(id)) if id.as_str() == "a"));
}

/// As the power can leave it: files that were not finished are no keys, and make none impossible.
#[tokio::test]
async fn what_was_not_finished_is_removed() {
    let directory = TempDir::new();
    let backend = open(directory.path()).unwrap();
    create(&backend, "whole").await;
    drop(backend);
    let text = fs::read(directory.path().join("whole.key")).unwrap();
    for length in [0, 20, text.len()] {
        fs::write(directory.path().join("cut.unfinished"), &text[..length]).unwrap();
        fs::write(directory.path().join("whole.unfinished"), &text[..length]).unwrap();
        fs::write(directory.path().join("README"), "of the operator").unwrap();
        let backend = open(directory.path()).unwrap();
        assert_eq!(names(directory.path()), ["README", "lock", "whole.key"]);
        assert_eq!(backend.key_ids(), ["whole".parse::<KeyId>().unwrap()]);
        let cut = create(&backend, "cut").await;
        backend.destroy_key(&cut, soon()).await.unwrap();
    }
}

/// A file that is not whole is named, and its content is not shown.
#[tokio::test]
async fn what_is_no_key_is_refused() {
    let directory = TempDir::new();
    create(&open(directory.path()).unwrap(), "a").await;
    let file = directory.path().join("a.key");
    let good = fs::read_to_string(&file).unwrap();
    let material = good.rsplit_once(' ').unwrap().1.trim_end().to_owned();
    let (start, _) = material.split_at(12);
    let mut bad: Vec<_> = (0..good.len())
        .map(|length| good.chars().take(length).collect())
        .collect();
    bad.extend([
        good.replace("key 1", "key 2"),
        good.replace("ENABLED", "enabled"),
        good.replace("DECRYPT", "COPY"),
        good.replace("extractable no", "extractable "),
        good.replace("version 1", "version 0"),
        good.replace("\nversion", "\r\nversion"),
        format!("{good}\n"),
        format!("{good}version 2 {material}\n"),
        format!("\n{good}"),
    ]);
    for bad in bad {
        fs::write(&file, &bad).unwrap();
        let error = open(directory.path()).unwrap_err();
        assert!(
            matches!(&error, KeyDirectoryError::Malformed { path, .. } if *path == file),
            "{bad}: {error}"
        );
        for text in [error.to_string(), format!("{error:?}")] {
            assert!(text.contains("a.key") && !text.contains(start), "{text}");
        }
    }
    fs::write(&file, &good).unwrap();
    fs::rename(&file, directory.path().join("not an id.key")).unwrap();
    assert!(matches!(
        open(directory.path()),
        Err(KeyDirectoryError::Malformed { .. })
    ));
}

/// What cannot be written down is not done.
#[tokio::test]
async fn a_directory_that_cannot_be_written_changes_nothing() {
    let directory = TempDir::new();
    let backend = open(directory.path()).unwrap();
    let a = create(&backend, "a").await;
    fs::remove_dir_all(directory.path()).unwrap();
    let kind = |outcome: Result<(), xks_core::manage::ManageError>| outcome.unwrap_err().kind();
    let created = backend.create_key(&new_key("b"), soon()).await.map(drop);
    assert_eq!(kind(created), ManageErrorKind::Unavailable);
    let disabled = KeyManager::set_status(&backend, &a, KeyStatus::Disabled, soon()).await;
    assert_eq!(kind(disabled), ManageErrorKind::Unavailable);
    assert_eq!(
        kind(backend.destroy_key(&a, soon()).await),
        ManageErrorKind::Unavailable
    );
    assert_eq!(backend.key_ids(), std::slice::from_ref(&a));
    assert_eq!(backend.key(&a).unwrap().metadata().status(), KeyStatus::Enabled);
}

/// A key that comes from elsewhere is listed, and changed where it comes from.
#[tokio::test]
async fn keys_from_elsewhere_are_left_alone() {
    let directory = TempDir::new();
    let elsewhere: KeyId = "elsewhere".parse().unwrap();
    let backend = open(directory.path())
        .unwrap()
        .with_key(elsewhere.clone(), SoftKey::generate().unwrap());
    assert_eq!(KeyManager::key(&backend, &elsewhere, soon()).await.unwrap().token, None);
    let disabled = KeyManager::set_status(&backend, &elsewhere, KeyStatus::Disabled, soon()).await;
    assert_eq!(disabled.unwrap_err().kind(), ManageErrorKind::Unsupported);
    let destroyed = backend.destroy_key(&elsewhere, soon()).await;
    assert_eq!(destroyed.unwrap_err().kind(), ManageErrorKind::Unsupported);
    assert_eq!(names(directory.path()), ["lock"]);
}
