//! Sources of a key store's credentials.

use std::{fmt, sync::Arc};

use super::Credential;
use crate::dependency::Reply;

/// Looks credentials up for a key store: a vault, a database, whatever rotates them.
/// [`KeyStoreBuilder::credentials_from`] takes one in place of a list.
///
/// Several credentials may be valid at once, so a rotation has an overlap: return the former and the new one
/// for as long as both are to be served.
///
/// Return a clone of the same [`Credential`] each time. Its clones share the signing keys that were derived
/// from it, which take as long as the rest of the verification, and its [last use](Credential::last_used).
///
/// ```
/// use std::{collections::HashMap, sync::RwLock};
/// use xks_core::{
///     Credential,
///     dependency::{DependencyError, Reply},
///     key_store::{AccessKeyId, Credentials},
/// };
///
/// /// Credentials of a vault, kept for as long as they are valid.
/// struct Vault {
///     known: RwLock<HashMap<AccessKeyId, Credential>>,
/// }
///
/// impl Vault {
/// #   async fn secret_of(&self, _: &AccessKeyId) -> std::io::Result<Option<String>> { Ok(Some("s".repeat(43))) }
///     async fn ask(&self, id: AccessKeyId) -> Result<Option<Credential>, DependencyError> {
///         let secret = self
///             .secret_of(&id) // over the network
///             .await
///             .map_err(|error| DependencyError::failed("the vault does not answer").with_source(error))?;
///         let Some(secret) = secret else {
///             return Ok(None); // a real one remembers this too, for a while
///         };
///         let credential = Credential::new(&id, secret)
///             .map_err(|error| DependencyError::failed("the vault holds no legal secret").with_source(error))?;
///         if let Ok(mut known) = self.known.write() {
///             known.insert(id, credential.clone());
///         }
///         Ok(Some(credential))
///     }
/// }
///
/// impl Credentials for Vault {
///     fn find<'a>(&'a self, access_key_id: &'a str) -> Reply<'a, Option<Credential>> {
///         let known = self.known.read().ok().and_then(|known| known.get(access_key_id).cloned());
///         match (known, AccessKeyId::new(access_key_id)) {
///             (Some(credential), _) => Reply::Now(Some(credential)),
///             (None, Ok(id)) => Reply::later(self.ask(id)),
///             (None, Err(_)) => Reply::Now(None), // cannot be the name of a credential
///         }
///     }
/// }
/// ```
///
/// [`KeyStoreBuilder::credentials_from`]: super::KeyStoreBuilder::credentials_from
pub trait Credentials: Send + Sync + 'static {
    /// Returns the credential of an access key id, or none if there is no such credential: the request is
    /// then answered `AuthenticationFailedException`.
    ///
    /// It is called once for each request, before its signature is verified: `access_key_id` may be any text.
    /// It must not block. What is not known should not cost much, also when it is
    /// asked for often.
    ///
    /// # Errors
    /// A reply that fails is answered as [`DependencyError`](crate::dependency::DependencyError) says; one
    /// that is late, as a key manager that is.
    fn find<'a>(&'a self, access_key_id: &'a str) -> Reply<'a, Option<Credential>>;
}

impl<T: Credentials + ?Sized> Credentials for Arc<T> {
    fn find<'a>(&'a self, access_key_id: &'a str) -> Reply<'a, Option<Credential>> {
        (**self).find(access_key_id)
    }
}

/// A list: what key stores have by default.
impl Credentials for Vec<Credential> {
    fn find<'a>(&'a self, access_key_id: &'a str) -> Reply<'a, Option<Credential>> {
        let is_it = |credential: &&Credential| credential.access_key_id().as_str() == access_key_id;
        Reply::Now(self.iter().find(is_it).cloned())
    }
}

/// The credentials of one key store.
#[derive(Clone)]
pub(super) enum CredentialSource {
    /// Known up front, so that they can be compared with those of others.
    Listed(Vec<Credential>),
    Other(Arc<dyn Credentials>),
}

impl CredentialSource {
    pub(super) fn listed(&self) -> &[Credential] {
        match self {
            Self::Listed(credentials) => credentials,
            Self::Other(_) => &[],
        }
    }
}

impl fmt::Debug for CredentialSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed(credentials) => credentials.fmt(f),
            Self::Other(_) => f.write_str("from a source"),
        }
    }
}
