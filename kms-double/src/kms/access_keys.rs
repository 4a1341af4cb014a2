//! IAM and STS, as far as a tool needs them that picks users and roles for key policies, and rotates its own
//! access key.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    Kms,
    binary::Binary,
    caller::Caller,
    exception::{Exception, ExceptionName},
    page::{Limits, page},
    principals::{Principal, PrincipalKind, iam_id},
    random,
    state::State,
};

/// How many access keys a user can have.
const MAX_ACCESS_KEYS: usize = 2;

/// A user or role.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Identity {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// `AIDA…` or `AROA…`.
    pub id: String,
    /// Seconds since 1970.
    pub created: f64,
}

/// An access key, as it is made: the only time that its secret is shown.
#[derive(Clone)]
#[non_exhaustive]
pub struct NewAccessKey {
    /// What it is without its secret.
    pub metadata: AccessKeyMetadata,
    /// 40 characters.
    pub secret_access_key: Zeroizing<String>,
}

impl fmt::Debug for NewAccessKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.metadata.fmt(formatter)
    }
}

/// An access key without its secret.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct AccessKeyMetadata {
    /// Whose it is.
    pub user_name: String,
    /// `AKIA…`.
    pub access_key_id: String,
    /// Whether it can be used.
    pub is_active: bool,
    /// Seconds since 1970.
    pub created: f64,
}

/// A part of a list.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Part<T> {
    /// The items.
    pub items: Vec<T>,
    /// The start of the next part.
    pub next_marker: Option<String>,
}

/// Which part of a list.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PartRequest {
    /// A former answer's `next_marker`.
    pub marker: Option<String>,
    /// The number of items at a time, 1 to 1000; 100 by default.
    pub max_items: Option<usize>,
    /// Only users or roles whose path begins so. All of them have the path `/`.
    pub path_prefix: Option<String>,
}

impl PartRequest {
    /// Creates a request for the part after a marker.
    #[must_use]
    pub fn new(marker: Option<String>, max_items: Option<usize>) -> Self {
        Self {
            marker,
            max_items,
            path_prefix: None,
        }
    }

    /// Sets the path that users or roles have to begin with.
    #[must_use]
    pub fn path_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.path_prefix = Some(prefix.into());
        self
    }
}

/// Who calls, as STS says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallerIdentity {
    /// The ARN of the principal.
    pub arn: String,
    /// The id of a user of the account, `AIDA…`; of others the end of the ARN.
    pub user_id: String,
    /// The account.
    pub account: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AccessKey {
    pub(crate) id: String,
    user: String,
    secret: Binary,
    is_active: bool,
    created: f64,
    /// From then on requests that it signs are taken.
    works_from: f64,
}

impl Kms {
    /// IAM GetUser: returns a user, by default the caller.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub async fn get_user(&self, caller: &Caller, user_name: Option<&str>) -> Result<Identity, Exception> {
        self.operate("GetUser", caller, async |operation| {
            let name = user_name_or_own(user_name, caller)?;
            operation.read(|state| Ok(identity(state.user(&name)?)))
        })
        .await
    }

    /// IAM ListUsers.
    ///
    /// # Errors
    /// Marker or number is none.
    pub async fn list_users(&self, caller: &Caller, part: PartRequest) -> Result<Part<Identity>, Exception> {
        self.list_principals("ListUsers", PrincipalKind::User, caller, part)
            .await
    }

    /// IAM ListRoles.
    ///
    /// # Errors
    /// Marker or number is none.
    pub async fn list_roles(&self, caller: &Caller, part: PartRequest) -> Result<Part<Identity>, Exception> {
        self.list_principals("ListRoles", PrincipalKind::Role, caller, part)
            .await
    }

    async fn list_principals(
        &self,
        name: &str,
        kind: PrincipalKind,
        caller: &Caller,
        part: PartRequest,
    ) -> Result<Part<Identity>, Exception> {
        self.operate(name, caller, async |operation| {
            operation.read(|state| {
                let has_path = part.path_prefix.as_ref().is_none_or(|prefix| "/".starts_with(prefix));
                let is_wanted = |principal: &&Principal| principal.kind == kind && has_path;
                let wanted = state.principals.iter().filter(is_wanted);
                let page = page(wanted, |principal| &principal.name, Limits::IAM, &part)?;
                Ok(Part {
                    items: page.items.into_iter().map(identity).collect(),
                    next_marker: page.next_marker,
                })
            })
        })
        .await
    }

    /// IAM ListAccessKeys: those of a user, by default the caller.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub async fn list_access_keys(
        &self,
        caller: &Caller,
        user_name: Option<&str>,
        part: PartRequest,
    ) -> Result<Part<AccessKeyMetadata>, Exception> {
        self.operate("ListAccessKeys", caller, async |operation| {
            let name = user_name_or_own(user_name, caller)?;
            operation.read(|state| {
                state.user(&name)?;
                let keys = state.access_keys_of(&name);
                let page = page(keys, |key| &key.id, Limits::IAM, &part)?;
                Ok(Part {
                    items: page.items.into_iter().map(AccessKey::metadata).collect(),
                    next_marker: page.next_marker,
                })
            })
        })
        .await
    }

    /// IAM CreateAccessKey: makes an access key of a user, by default the caller. Requests that it signs are
    /// taken once it [has settled](super::Builder::settle).
    ///
    /// # Errors
    /// `NoSuchEntity`; `LimitExceeded`, with two of them.
    pub async fn create_access_key(&self, caller: &Caller, user_name: Option<&str>) -> Result<NewAccessKey, Exception> {
        self.operate("CreateAccessKey", caller, async |operation| {
            let user = user_name_or_own(user_name, caller)?;
            let secret = Binary::from(random::<30>()?.as_slice()).to_base64();
            let now = self.now();
            let key = AccessKey {
                id: iam_id("AKIA")?,
                user: user.clone(),
                secret: secret.as_bytes().into(),
                is_active: true,
                created: now,
                works_from: now + self.settle_secs(),
            };
            operation.change(|state| {
                state.user(&user)?;
                if state.access_keys_of(&user).count() >= MAX_ACCESS_KEYS {
                    let message = format!("Cannot exceed quota for AccessKeysPerUser: {MAX_ACCESS_KEYS}");
                    return Err(Exception::new(ExceptionName::IamLimitExceeded, message));
                }
                let metadata = key.metadata();
                Arc::make_mut(&mut state.access_keys).push(key);
                Ok(NewAccessKey {
                    metadata,
                    secret_access_key: secret,
                })
            })
        })
        .await
    }

    /// IAM UpdateAccessKey: lets an access key be used, or no longer.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub async fn update_access_key(
        &self,
        caller: &Caller,
        user_name: Option<&str>,
        access_key_id: &str,
        is_active: bool,
    ) -> Result<(), Exception> {
        self.operate("UpdateAccessKey", caller, async |operation| {
            let user = user_name_or_own(user_name, caller)?;
            operation.change(|state| {
                let mut keys = Arc::make_mut(&mut state.access_keys).iter_mut();
                let key = keys.find(|key| key.id == access_key_id && key.user == user);
                key.ok_or_else(|| no_access_key(access_key_id))?.is_active = is_active;
                Ok(())
            })
        })
        .await
    }

    /// IAM DeleteAccessKey.
    ///
    /// # Errors
    /// `NoSuchEntity`.
    pub async fn delete_access_key(
        &self,
        caller: &Caller,
        user_name: Option<&str>,
        access_key_id: &str,
    ) -> Result<(), Exception> {
        self.operate("DeleteAccessKey", caller, async |operation| {
            let user = user_name_or_own(user_name, caller)?;
            operation.change(|state| {
                let before = state.access_keys.len();
                Arc::make_mut(&mut state.access_keys).retain(|key| key.id != access_key_id || key.user != user);
                if state.access_keys.len() == before {
                    return Err(no_access_key(access_key_id));
                }
                Ok(())
            })
        })
        .await
    }

    /// STS GetCallerIdentity: returns who the caller is.
    ///
    /// # Errors
    /// Whatever goes wrong [on purpose](super::Faults).
    pub async fn get_caller_identity(&self, caller: &Caller) -> Result<CallerIdentity, Exception> {
        self.operate("GetCallerIdentity", caller, async |operation| {
            let arn = caller.principal_arn.clone();
            let known = operation.read(|state| {
                let known = state.principals.iter().find(|principal| principal.arn == arn);
                Ok(known.map(|principal| principal.id.clone()))
            })?;
            Ok(CallerIdentity {
                user_id: known.unwrap_or_else(|| arn.rsplit('/').next().unwrap_or_default().to_owned()),
                account: arn.split(':').nth(4).unwrap_or_default().to_owned(),
                arn,
            })
        })
        .await
    }

    /// Gives a user an access key that is known already, and works at once. Where there is one of that id, it
    /// is replaced; the user is made where there is none.
    ///
    /// # Errors
    /// The user has no legal name, or the state cannot be kept.
    pub fn add_access_key(&self, user_name: &str, access_key_id: &str, secret: &str) -> Result<(), Exception> {
        self.add_principal(PrincipalKind::User, user_name)?;
        let now = self.now();
        self.change(|state| {
            Arc::make_mut(&mut state.access_keys).retain(|key| key.id != access_key_id);
            Arc::make_mut(&mut state.access_keys).push(AccessKey {
                id: access_key_id.to_owned(),
                user: user_name.to_owned(),
                secret: secret.as_bytes().into(),
                is_active: true,
                created: now,
                works_from: now,
            });
            Ok(())
        })
    }

    /// The caller and the secret of an access key that works now.
    ///
    /// # Errors
    /// `UnrecognizedClient`.
    pub(crate) fn signer(&self, access_key_id: &str) -> Result<(Caller, Binary), Exception> {
        let now = self.now();
        self.read(|state| {
            let mut keys = state.access_keys.iter();
            let key = keys.find(|key| key.id == access_key_id && key.is_active && key.works_from <= now);
            let key = key.ok_or_else(|| {
                let message = "The security token included in the request is invalid.";
                Exception::new(ExceptionName::UnrecognizedClient, message)
            })?;
            let user = state.user(&key.user)?;
            Ok((Caller::new(&user.arn), key.secret.clone()))
        })
    }
}

impl AccessKey {
    fn metadata(&self) -> AccessKeyMetadata {
        AccessKeyMetadata {
            user_name: self.user.clone(),
            access_key_id: self.id.clone(),
            is_active: self.is_active,
            created: self.created,
        }
    }

    pub(crate) fn is_of(&self, user: &str) -> bool {
        self.user == user
    }
}

impl State {
    fn user(&self, name: &str) -> Result<&Principal, Exception> {
        let is_user = |principal: &&Principal| principal.kind == PrincipalKind::User && principal.name == name;
        self.principals.iter().find(is_user).ok_or_else(|| {
            let message = format!("The user with name {name} cannot be found.");
            Exception::new(ExceptionName::NoSuchEntity, message)
        })
    }

    fn access_keys_of<'a>(&'a self, user: &'a str) -> impl Iterator<Item = &'a AccessKey> {
        self.access_keys.iter().filter(move |key| key.user == user)
    }
}

fn identity(principal: &Principal) -> Identity {
    Identity {
        name: principal.name.clone(),
        arn: principal.arn.clone(),
        id: principal.id.clone(),
        created: principal.created,
    }
}

fn user_name_or_own(user_name: Option<&str>, caller: &Caller) -> Result<String, Exception> {
    let own = caller.principal_arn.split_once(":user/").map(|(_, name)| name);
    user_name.or(own).map(str::to_owned).ok_or_else(|| {
        let message = "Must specify userName when calling with non-User credentials";
        Exception::validation(message)
    })
}

fn no_access_key(id: &str) -> Exception {
    let message = format!("The Access Key with id {id} cannot be found.");
    Exception::new(ExceptionName::NoSuchEntity, message)
}
