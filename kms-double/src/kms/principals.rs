//! The users and roles of the account: those that a key policy can name.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    Kms,
    exception::{Exception, ExceptionName},
    random,
    state::State,
};

/// What a principal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PrincipalKind {
    /// An IAM user.
    User,
    /// An IAM role.
    Role,
}

/// A user or role.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Principal {
    pub(crate) kind: PrincipalKind,
    pub(crate) name: String,
    pub(crate) arn: String,
    /// `AIDA…` or `AROA…`.
    pub(crate) id: String,
    pub(crate) created: f64,
    /// From then on key policies can name it.
    pub(crate) known_from: f64,
}

impl Kms {
    /// Makes a user or role, which key policies can name once it [has settled](super::Builder::settle). Where
    /// there is one, nothing changes.
    ///
    /// # Errors
    /// The name is none that IAM takes, or the state cannot be kept.
    pub fn add_principal(&self, kind: PrincipalKind, name: &str) -> Result<(), Exception> {
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte);
        if !(1..=64).contains(&name.len()) || !name.bytes().all(is_legal) {
            return Err(Exception::validation(
                "a user or role has a name of 1 to 64 characters of a-z A-Z 0-9 + = , . @ _ -",
            ));
        }
        let (folder, prefix) = match kind {
            PrincipalKind::User => ("user", "AIDA"),
            PrincipalKind::Role => ("role", "AROA"),
        };
        let id = iam_id(prefix)?;
        let (now, settle) = (self.now(), self.settle_secs());
        self.change(|state| {
            let is_same = |other: &Principal| other.kind == kind && other.name == name;
            if !state.principals.iter().any(is_same) {
                Arc::make_mut(&mut state.principals).push(Principal {
                    kind,
                    name: name.to_owned(),
                    arn: format!("arn:aws:iam::{}:{folder}/{name}", self.0.settings.account),
                    id,
                    created: now,
                    known_from: now + settle,
                });
            }
            Ok(())
        })
    }

    /// Removes a user or role.
    ///
    /// # Errors
    /// There is none, or the state cannot be kept.
    pub fn remove_principal(&self, kind: PrincipalKind, name: &str) -> Result<(), Exception> {
        self.change(|state| {
            let before = state.principals.len();
            Arc::make_mut(&mut state.principals).retain(|other| other.kind != kind || other.name != name);
            if state.principals.len() == before {
                let message = format!("There is no {kind:?} {name:?}");
                return Err(Exception::new(ExceptionName::NotFound, message));
            }
            if kind == PrincipalKind::User {
                Arc::make_mut(&mut state.access_keys).retain(|key| !key.is_of(name));
            }
            Ok(())
        })
    }
}

impl State {
    pub(crate) fn knows_principal(&self, arn: &str, now: f64) -> bool {
        let mut principals = self.principals.iter();
        principals.any(|principal| principal.arn == arn && principal.known_from <= now)
    }
}

/// An id of IAM: a prefix and 16 characters of A-Z 2-7.
pub(crate) fn iam_id(prefix: &str) -> Result<String, Exception> {
    const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let random = random::<16>()?;
    let digits = random.iter().filter_map(|byte| DIGITS.get(usize::from(byte & 31)));
    Ok(prefix.chars().chain(digits.map(|digit| char::from(*digit))).collect())
}
