//! Why a command did not do what it was given for.

use std::error::Error as StdError;

use thiserror::Error;
use xks_core::{
    BackendError,
    manage::{ManageError, ManageErrorKind},
};

use crate::{
    ChangeError, FieldError, Object, Outcome, RandomError, RepositoryError,
    commands::CredentialRefused,
    key_state::Refused,
    nodes::Confirmation,
    store::{Revision, StoreError},
};

/// Why a command was refused, or how it failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CommandError {
    /// It is not there.
    #[error("there is no {0}")]
    Unknown(Object),
    /// Somebody has changed it since the caller saw it.
    #[error(
        "{object} was changed by revision {found}, after revision {seen} that the command was given for{}; look at \
         it and give the command again", listed(.fields)
    )]
    Changed {
        /// What was to be changed.
        object: Object,
        /// The revision that the caller saw.
        seen: Revision,
        /// The revision that has changed it last.
        found: Revision,
        /// The fields that have changed while the command was under way; empty if it was before.
        fields: Vec<String>,
    },
    /// The state of the key does not allow it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The credentials of the key store do not allow it.
    #[error(transparent)]
    Credential(#[from] CredentialRefused),
    /// A value that is not legal.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// A backend's key does not fit: it does not encrypt, or does not decrypt.
    #[error("the backend's key `{key}` {problem}")]
    Unfit {
        /// The id under which the backend knows it.
        key: Box<str>,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The key manager failed.
    #[error("key manager `{backend}`: {action}: {source}")]
    Manager {
        /// The backend.
        backend: String,
        /// What it was asked for.
        action: &'static str,
        /// Why it failed.
        source: ManageError,
    },
    /// The key is one of several that a command was to make, and another one failed.
    #[error(
        "not made, or not in use, since another key of the same command failed; what was begun is finished or \
             removed by the next start"
    )]
    AnotherFailed,
    /// There is no node of this id.
    #[error("there is no row of a node `{0}`: it has ended, or joined again under another incarnation")]
    UnknownNode(Box<str>),
    /// The row is not known to be that of a node which has ended.
    #[error(
        "node `{0}` has renewed its lease lately, or was not watched for as long as a lease lasts: stop it, and give \
         the command again when that time is over"
    )]
    NodeLives(Box<str>),
    /// Another node is making the version, or the material.
    #[error("node `{node}` is making {object} at the moment: wait until it has, or has ended")]
    UnderWay {
        /// What it makes.
        object: Object,
        /// The node's name.
        node: Box<str>,
    },
    /// Versions are made and published, and encrypt nothing yet, since not every node can use them. They stay
    /// published: the same command, given again, ends what it has begun.
    #[error(
        "published, and not in use yet, since not every node can use it: {}; synchronise the key managers of these \
         nodes, or end the nodes, and give the command again", .confirmation.obstacles()
    )]
    NotConfirmed {
        /// Which nodes can, and which cannot, and why.
        confirmation: Box<Confirmation>,
    },
    /// The backend does not serve a key that it has.
    #[error("backend `{backend}`: {action}: {source}")]
    Backend {
        /// The backend.
        backend: String,
        /// What it was asked for.
        action: &'static str,
        /// Why it failed.
        source: BackendError,
    },
    /// The state cannot be read or changed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// There are no random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// The command failed, and no event could be recorded that says so.
    #[error("{error}; and no event of that could be recorded: {store}")]
    NotRecorded {
        /// How the command failed.
        error: Box<Self>,
        /// Why no event could be recorded.
        store: StoreError,
    },
    /// The command has done what it was given for, and no event could be recorded that says so.
    #[error("it is done, and no event of that could be recorded: {0}")]
    DoneUnrecorded(StoreError),
}

impl CommandError {
    /// Returns what its event says: a command that was refused has changed nothing; one that failed may have,
    /// and can be repeated.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Unknown(_)
            | Self::Changed { .. }
            | Self::Refused(_)
            | Self::Credential(_)
            | Self::Field(_)
            | Self::UnderWay { .. }
            | Self::UnknownNode(_)
            | Self::NodeLives(_)
            | Self::Unfit { .. } => Outcome::Refused,
            Self::Repository(RepositoryError::Change(_)) => Outcome::Refused,
            Self::Manager { source, .. } if source.kind() == ManageErrorKind::Unsupported => Outcome::Refused,
            Self::NotRecorded { error, .. } => error.outcome(),
            _ => Outcome::Failed,
        }
    }

    /// Returns whether it changed nothing, since the claim [under which](super::Commands::under_job) it was
    /// given is another's now.
    #[must_use]
    pub const fn is_claim_lost(&self) -> bool {
        match self {
            Self::Repository(RepositoryError::Store(error)) => matches!(error, StoreError::ClaimLost { .. }),
            Self::NotRecorded { error, .. } => error.is_claim_lost(),
            _ => false,
        }
    }

    /// Whether a key manager that failed so may have made the change, or may still make it.
    pub(super) fn is_unknown(&self) -> bool {
        let Self::Manager { source, .. } = self else {
            return true;
        };
        matches!(
            source.kind(),
            ManageErrorKind::Timeout | ManageErrorKind::Unavailable | ManageErrorKind::Other
        )
    }

    /// Its words with those of its causes, for an event.
    pub(super) fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let words = error.to_string();
            if !text.contains(&words) {
                text.push_str(": ");
                text.push_str(&words);
            }
            cause = error.source();
        }
        text
    }
}

impl From<ChangeError> for CommandError {
    fn from(error: ChangeError) -> Self {
        Self::Repository(error.into())
    }
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        Self::Repository(error.into())
    }
}

fn listed(fields: &[String]) -> String {
    if fields.is_empty() {
        return String::new();
    }
    format!(" (other now: {})", fields.join(", "))
}
