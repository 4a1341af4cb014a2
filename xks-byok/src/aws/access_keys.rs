//! Users, roles and access keys.

use std::fmt;

use xks_core::Zeroizing;
use xks_lifecycle::Timestamp;

use super::open_enum::open_enum;

/// An access key with its secret, which signs requests.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccessKey {
    /// `AKIA…`.
    pub access_key_id: String,
    /// 40 characters.
    pub secret_access_key: Zeroizing<String>,
}

impl AccessKey {
    /// Creates an access key.
    pub fn new(access_key_id: impl Into<String>, secret_access_key: impl Into<String>) -> Self {
        Self {
            access_key_id: access_key_id.into(),
            secret_access_key: Zeroizing::new(secret_access_key.into()),
        }
    }
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKey")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

open_enum! {
    /// Whether an access key can be used.
    AccessKeyStatus {
        Active = "Active",
        Inactive = "Inactive",
        Expired = "Expired",
    }
}

/// An access key without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccessKeyMetadata {
    /// Whose it is.
    pub user_name: String,
    /// `AKIA…`.
    pub access_key_id: String,
    /// Whether it can be used.
    pub status: AccessKeyStatus,
    /// When it was made.
    pub create_date: Option<Timestamp>,
}

impl AccessKeyMetadata {
    /// Creates the description of an access key.
    pub fn new(user_name: impl Into<String>, access_key_id: impl Into<String>, status: AccessKeyStatus) -> Self {
        Self {
            user_name: user_name.into(),
            access_key_id: access_key_id.into(),
            status,
            create_date: None,
        }
    }
}

/// A new access key: the only time that its secret is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewAccessKey {
    /// Whose it is.
    pub user_name: String,
    /// The access key.
    pub access_key: AccessKey,
}

impl NewAccessKey {
    /// Creates one.
    pub fn new(user_name: impl Into<String>, access_key: AccessKey) -> Self {
        Self {
            user_name: user_name.into(),
            access_key,
        }
    }
}

/// A user or role.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// Its name.
    pub name: String,
    /// Its ARN, which key policies name.
    pub arn: String,
    /// `AIDA…` or `AROA…`.
    pub id: String,
}

impl Identity {
    /// Creates one.
    pub fn new(name: impl Into<String>, arn: impl Into<String>, id: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            arn: arn.into(),
            id: id.into(),
        }
    }
}

/// Who the credentials belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallerIdentity {
    /// 12 digits.
    pub account: String,
    /// The ARN of the user, or of the session of a role.
    pub arn: String,
    /// `AIDA…`, or `AROA…:session`.
    pub user_id: String,
}

impl CallerIdentity {
    /// Creates one.
    pub fn new(account: impl Into<String>, arn: impl Into<String>, user_id: impl Into<String>) -> Self {
        Self {
            account: account.into(),
            arn: arn.into(),
            user_id: user_id.into(),
        }
    }

    /// Returns the partition of the account, such as `aws` or `aws-eusc`.
    #[must_use]
    pub fn partition(&self) -> &str {
        self.arn.split(':').nth(1).unwrap_or("aws")
    }

    /// Returns the name of the user, without its path. Sessions of roles and the account's root have none.
    #[must_use]
    pub fn user_name(&self) -> Option<&str> {
        let (_, path_and_name) = self.arn.split_once(":user/")?;
        path_and_name.rsplit('/').next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_tells_partition_and_user() {
        let name = |arn: &str| {
            let caller = CallerIdentity::new("111122223333", arn, "");
            (caller.partition().to_owned(), caller.user_name().map(str::to_owned))
        };
        let alice = Some("alice".to_owned());
        assert_eq!(
            name("arn:aws:iam::111122223333:user/alice"),
            ("aws".into(), alice.clone())
        );
        assert_eq!(
            name("arn:aws-eusc:iam::111122223333:user/a/b/alice"),
            ("aws-eusc".into(), alice)
        );
        assert_eq!(name("arn:aws:sts::111122223333:assumed-role/x/y"), ("aws".into(), None));
        assert_eq!(name("arn:aws:iam::111122223333:root"), ("aws".into(), None));
    }

    #[test]
    fn secrets_are_not_shown() {
        let key = NewAccessKey::new("alice", AccessKey::new("AKIAEXAMPLE", "wJalrXUtnFEMI"));
        let shown = format!("{key:?}");
        assert!(shown.contains("AKIAEXAMPLE") && !shown.contains("wJalr"), "{shown}");
    }
}
