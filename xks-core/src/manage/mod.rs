//! Key administration: [`KeyManager`] makes, lists, disables, destroys and exports the keys that a
//! [`KeyBackend`](crate::KeyBackend) uses.
//!
//! The proxy API never calls a [`KeyManager`]: KMS uses keys and cannot change them. What administers keys
//! calls it, such as a life cycle of managed keys, or the import of key material into AWS KMS.

mod capabilities;
mod description;
mod error;
mod new_key;
mod spki;
mod wrapping;

use std::{num::NonZeroUsize, time::Instant};

use async_trait::async_trait;

pub use self::{
    capabilities::Capabilities,
    description::{KeyDescription, KeyPage},
    error::{ManageError, ManageErrorKind},
    new_key::{CreationToken, CreationTokenError, NewKey},
    wrapping::{WrappingAlgorithm, WrappingKey, WrappingKeyError},
};
use crate::{KeyId, backend::KeyStatus};

/// Administers the AES-256 keys of a key manager; stands beside [`KeyBackend`](crate::KeyBackend), which uses
/// them.
///
/// Usually one type implements both traits. A [`KeyId`] means the same key in both.
///
/// # You must
/// * make a change visible before its call returns: after `create_key` the backend serves the key, after
///   `destroy_key` it answers `KeyNotFound`, after `set_status` it answers accordingly. This binds the
///   backend that belongs to this manager; other processes see the change as soon as the key manager shows it
///   to them;
/// * keep a change once the call has returned, also over a restart, unless the keys themselves end with the
///   process;
/// * answer `KeyNotFound` for a key that does not exist, from every method, and do nothing;
/// * take a key id as it is, to the case of its letters;
/// * serve calls from many threads and tasks at once. Calls that contradict each other happen one after the
///   other;
/// * return key material only from [`wrap_key`](Self::wrap_key), wrapped, and only of keys that were created
///   [extractable](NewKey::extractable); log none, and put none into an error.
///
/// # Repeating a call
/// Answers get lost: a call may end with an error of the kind `Timeout`, `Unavailable` or `Other`, or its
/// future may be dropped, although the key manager makes the change, perhaps later. So every method can be
/// repeated with the same arguments:
/// * [`create_key`](Self::create_key) makes one key for one [`CreationToken`], however often it is called and
///   however the calls overlap;
/// * [`destroy_key`](Self::destroy_key) answers `KeyNotFound` when the key is gone;
/// * [`set_status`](Self::set_status) succeeds when the key has that status.
///
/// An error of any other kind means that nothing was changed.
///
/// # Deadlines
/// Each call has its own deadline, since making a key or wrapping it can take an HSM a thousand times longer
/// than an encryption. After `deadline` the caller waits no more: the manager answers `Timeout`, soon after
/// at the latest, and a manager that has not begun by then does not begin. A call whose deadline has passed
/// already changes nothing.
///
/// # Cancellation
/// The future may be dropped at any time. Dropping it leaks nothing and breaks nothing for later calls;
/// whether the change was made is unknown, as after `Timeout`.
///
/// A blocking call belongs on a thread of the manager's own, not in the future.
///
/// # Errors
/// A [`ManageError`], whose [kind](ManageErrorKind) says what the caller can do. What a manager
/// [cannot do](Self::capabilities) at all is `Unsupported`, which the provided methods answer.
///
/// # Conformance
/// `xks_core::manager_conformance!`, of the feature `testkit-manage`, makes a test of each of these rules in
/// the manager's own tests.
///
/// # Example
/// ```
/// use std::time::{Duration, Instant};
/// use xks_core::manage::{CreationToken, KeyManager, ManageError, ManageErrorKind, NewKey};
///
/// /// Makes a key, or finds the one that an earlier call with this token made.
/// async fn make(manager: &dyn KeyManager, token: CreationToken) -> Result<xks_core::KeyId, ManageError> {
///     let deadline = Instant::now() + Duration::from_secs(60);
///     let label = "prod-payroll-v1".parse().map_err(|_| ManageErrorKind::Other)?;
///     manager.create_key(&NewKey::for_xks(token, label), deadline).await
/// }
/// # let _ = make;
/// ```
#[async_trait]
pub trait KeyManager: Send + Sync + 'static {
    /// Returns what this manager can do now, with the device and the login that it has.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when that cannot be found out.
    async fn capabilities(&self, deadline: Instant) -> Result<Capabilities, ManageError>;

    /// Creates an AES-256 key from the key manager's random source, and returns the id by which the backend
    /// serves it.
    ///
    /// The id may be the label; it may also be one that the key manager gives. The key is enabled, permits
    /// exactly the usages that were asked for, and leaves the key manager only if it was asked to be
    /// extractable.
    ///
    /// When a key with this token exists already, returns its id and makes none. So does a call that overlaps
    /// with another one of the same token. Tokens of destroyed keys may be forgotten: do not use a token
    /// again once its key has been destroyed.
    ///
    /// # Errors
    /// `TokenTaken` when a key with this token exists that differs in label, usages or extractability;
    /// `LabelTaken` when another key has the label; `Unsupported` when keys of this sort cannot be made;
    /// `Full` when there is no room.
    async fn create_key(&self, key: &NewKey, deadline: Instant) -> Result<KeyId, ManageError>;

    /// Creates several keys, each as [`create_key`](Self::create_key) does, and returns what became of each,
    /// in their order. `deadline` is for all of them.
    ///
    /// The provided method makes one call after the other. A manager that has to search for tokens and labels
    /// searches once for all keys.
    ///
    /// # Errors
    /// Those of `create_key`, for each key. After one that is not about a single key, the keys behind it
    /// [have its kind too](ManageError::for_the_following) and are not tried.
    async fn create_keys(&self, keys: &[NewKey], deadline: Instant) -> Vec<Result<KeyId, ManageError>> {
        let mut outcomes: Vec<Result<KeyId, ManageError>> = Vec::with_capacity(keys.len());
        for key in keys {
            let failed = outcomes.last().and_then(|last| last.as_ref().err());
            outcomes.push(match failed.and_then(ManageError::for_the_following) {
                Some(error) => Err(error),
                None => self.create_key(key, deadline).await,
            });
        }
        outcomes
    }

    /// Returns a page of all keys that the backend serves, with at most `limit` of them, in the byte order of
    /// their ids: those whose ids are greater than `after`, or the first ones.
    ///
    /// A page may be shorter than `limit`, but it is empty only when it is the last one. `after` need not be
    /// the id of a key, so that listing goes on when that key was destroyed meanwhile: a key that exists from
    /// the first call to the last is listed exactly once. Keys that were made by other means are listed too;
    /// those whose id is not a legal [`KeyId`], and those that share their id with another key, are not,
    /// since KMS cannot use them.
    ///
    /// # Errors
    /// `Unavailable`, `Timeout` and the like; none that speaks of a key.
    async fn keys(&self, after: Option<&KeyId>, limit: NonZeroUsize, deadline: Instant)
    -> Result<KeyPage, ManageError>;

    /// Returns the description of one key, as [`keys`](Self::keys) lists it.
    ///
    /// # Errors
    /// `KeyNotFound`.
    async fn key(&self, id: &KeyId, deadline: Instant) -> Result<KeyDescription, ManageError>;

    /// Destroys a key permanently: what it encrypted can no longer be decrypted. Copies that were wrapped
    /// before, and backups of the key manager, are not touched.
    ///
    /// # Errors
    /// `KeyNotFound`, also after an earlier call has destroyed it; `Unsupported`.
    async fn destroy_key(&self, id: &KeyId, deadline: Instant) -> Result<(), ManageError>;

    /// Enables or disables a key in the key manager itself. A disabled key stays, is listed, and can be
    /// destroyed; it neither encrypts nor decrypts, is not wrapped and computes no CMAC.
    ///
    /// # Errors
    /// `KeyNotFound`; `Unsupported`, which the provided method answers.
    async fn set_status(&self, id: &KeyId, status: KeyStatus, deadline: Instant) -> Result<(), ManageError> {
        let _ = (id, status, deadline);
        Err(unsupported("this key manager cannot enable or disable single keys"))
    }

    /// Wraps the material of an extractable key for the import into AWS KMS, and returns what
    /// `ImportKeyMaterial` takes as `EncryptedKeyMaterial`: [`WrappingKey::wrapped_length`] bytes.
    ///
    /// Anyone who holds the private key of `wrapping_key` can unwrap the material: pass only a key that
    /// `GetParametersForImport` returned for the KMS key that the material is meant for.
    ///
    /// # Errors
    /// `KeyNotFound`; `NotExtractable`; `KeyDisabled`; `Unsupported`, for an algorithm that is not among the
    /// [capabilities](Capabilities::wrapping) too, which the provided method answers.
    async fn wrap_key(
        &self,
        id: &KeyId,
        wrapping_key: &WrappingKey,
        deadline: Instant,
    ) -> Result<Vec<u8>, ManageError> {
        let _ = (id, wrapping_key, deadline);
        Err(unsupported(
            "this key manager cannot wrap keys for the import into AWS KMS",
        ))
    }

    /// Computes the AES-CMAC (NIST SP 800-38B) of `message` under the key's own material: all 16 bytes.
    ///
    /// By it two keys are shown to have the same material, in one key manager or in two, without it leaving
    /// either. The usual check value of a key is the first three bytes of the CMAC of 16 zero bytes. The key
    /// must have been created with the usage [`Sign`](crate::backend::KeyUsage::Sign), as
    /// [`NewKey::for_import`] does.
    ///
    /// # Errors
    /// `KeyNotFound`; `KeyUsage` when the key may not sign; `KeyDisabled`; `Unsupported`, which the provided
    /// method answers.
    async fn cmac(&self, id: &KeyId, message: &[u8], deadline: Instant) -> Result<[u8; 16], ManageError> {
        let _ = (id, message, deadline);
        Err(unsupported("this key manager computes no CMAC under its keys"))
    }
}

fn unsupported(detail: &'static str) -> ManageError {
    ManageError::new(ManageErrorKind::Unsupported, detail)
}
