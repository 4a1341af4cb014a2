//! Why changes contradict the state.

use thiserror::Error;
use xks_core::KeyId;

use crate::Object;

/// Why changes cannot be made to this state.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// Its id is taken.
    #[error("{0} exists already")]
    Exists(Object),
    /// It is not there.
    #[error("there is no {0}")]
    Unknown(Object),
    /// It refers to what is not there.
    #[error("{object}: `{field}` names {target}, which does not exist")]
    Dangling {
        /// What refers.
        object: Object,
        /// By which field.
        field: &'static str,
        /// To what.
        target: Object,
    },
    /// It refers to what belongs to another tenant.
    #[error("{object}: `{field}` names {target}, which belongs to another tenant")]
    OtherTenant {
        /// What refers.
        object: Object,
        /// By which field.
        field: &'static str,
        /// To what.
        target: Object,
    },
    /// Something else has this value of a field, of which there is one.
    #[error("{object}: `{field}` is that of {by} already")]
    Taken {
        /// What was to have it too.
        object: Object,
        /// Which field.
        field: &'static str,
        /// What has it.
        by: Object,
    },
    /// The changes have it twice.
    #[error("{0} is changed twice")]
    Twice(Object),
    /// Something refers to it.
    #[error("{object} is in use by {by}")]
    InUse {
        /// What was to be removed.
        object: Object,
        /// What refers to it.
        by: Object,
    },
    /// A field is changed that stays as it is.
    #[error("{object}: `{field}` cannot be changed")]
    Final {
        /// What was to be changed.
        object: Object,
        /// Which field.
        field: &'static str,
    },
    /// A key of a backend is in use.
    #[error("the backend's key `{key}` is in use by {by}")]
    BackendKeyTaken {
        /// The key.
        key: KeyId,
        /// What uses it.
        by: Object,
    },
    /// The last root was to be removed.
    #[error("`{0}` is the only root: without it nothing that is sealed can be opened again")]
    LastRoot(String),
}
