//! Key states and operations: AWS's table ("Key states of AWS KMS keys", AWS KMS Developer Guide), as a
//! table.
//!
//! Where the guide leaves a choice (`[2] or [3]`), or the API Reference is newer, the row says so.
//! PendingReplicaDeletion has the column of PendingDeletion. A replica that is Creating can be looked at, and
//! nothing else: our own reading. Updating does not occur: the double makes a replica the primary at once.

use super::{
    api::KeyState,
    exception::{Exception, ExceptionName},
    key::Key,
    state::State,
};

/// What an operation does with a key in some state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    /// It succeeds.
    Yes,
    /// `[1]` DisabledException: … is disabled.
    Disabled,
    /// `[3]` KMSInvalidStateException: … is pending deletion.
    PendingDeletion,
    /// `[4]` KMSInvalidStateException: … is not pending deletion.
    NotPendingDeletion,
    /// `[5]` KMSInvalidStateException: … is pending import.
    PendingImport,
    /// KMSInvalidStateException: the state is not one for this operation.
    WrongState,
    /// KMSInvalidStateException: … is not enabled.
    NotEnabled,
    /// The operation itself decides, by the key store: `[11]` KMSInvalidStateException: … is unavailable,
    /// with what KMS says of the proxy.
    Unavailable,
}

/// Which keys an operation is for; with others it is an UnsupportedOperationException, in every state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origins {
    /// All of them.
    All,
    /// `[9]` Those with imported material.
    Imported,
    /// `[6]`, `[7]` Neither those with imported material nor those in custom key stores.
    Generated,
    /// `[7]` Those with imported material, and those whose material KMS makes.
    InKms,
}

/// One row: the operation, the keys that it is for, and the states Enabled, Disabled, PendingImport,
/// PendingDeletion and Unavailable.
type Row = (&'static str, Origins, [Cell; 5]);

/// The table, in the order of the guide. EnableKey and DisableKey of an unavailable key succeed `[12]`.
const TABLE: &[Row] = {
    use Cell::{
        Disabled as D, NotEnabled as E, NotPendingDeletion as N, PendingDeletion as P, PendingImport as I,
        Unavailable as U, WrongState as W, Yes,
    };
    use Origins::{All, Generated, Imported, InKms};
    &[
        ("CancelKeyDeletion", All, [N, N, N, Yes, N]),
        ("CreateAlias", All, [Yes, Yes, Yes, P, Yes]),
        ("Decrypt", All, [Yes, D, I, P, U]), // [2] or [3]
        ("DeleteImportedKeyMaterial", Imported, [Yes, Yes, Yes, Yes, U]), // API Reference: PendingDeletion stays
        ("DescribeKey", All, [Yes, Yes, Yes, Yes, Yes]),
        ("DisableKey", All, [Yes, Yes, I, P, Yes]),
        ("DisableKeyRotation", Generated, [Yes, D, Yes, P, Yes]),
        ("EnableKey", All, [Yes, Yes, I, P, Yes]),
        ("EnableKeyRotation", Generated, [Yes, D, Yes, P, Yes]),
        ("Encrypt", All, [Yes, D, I, P, U]),
        ("GenerateDataKey", All, [Yes, D, I, P, U]),
        ("GenerateDataKeyWithoutPlaintext", All, [Yes, D, I, P, U]),
        ("GetKeyPolicy", All, [Yes, Yes, Yes, Yes, Yes]),
        ("GetKeyRotationStatus", InKms, [Yes, Yes, Yes, Yes, U]), // since on-demand rotation of imported material
        ("GetParametersForImport", Imported, [Yes, Yes, Yes, P, U]),
        ("ImportKeyMaterial", Imported, [Yes, W, Yes, P, U]), // API Reference: PendingImport or Enabled
        ("ListKeyPolicies", All, [Yes, Yes, Yes, Yes, Yes]),
        ("ListKeyRotations", InKms, [Yes, Yes, Yes, Yes, U]),
        ("ListResourceTags", All, [Yes, Yes, Yes, Yes, Yes]),
        ("PutKeyPolicy", All, [Yes, Yes, Yes, Yes, Yes]),
        ("ReEncrypt", All, [Yes, D, I, P, U]),
        // The narrower reading: with imported material it has to be there before a replica is.
        ("ReplicateKey", InKms, [Yes, D, I, P, U]),
        ("RotateKeyOnDemand", InKms, [Yes, D, I, P, U]),
        ("ScheduleKeyDeletion", All, [Yes, Yes, Yes, P, Yes]),
        ("TagResource", All, [Yes, Yes, Yes, P, Yes]),
        ("UntagResource", All, [Yes, Yes, Yes, P, Yes]),
        ("UpdateAlias", All, [Yes, Yes, Yes, P, Yes]), // [10]: the state of the new key
        ("UpdatePrimaryRegion", InKms, [Yes, E, E, P, U]), // "both must be in the Enabled key state"
        ("UpdateKeyDescription", All, [Yes, Yes, Yes, P, Yes]),
    ]
};

/// What looks at a key, and changes nothing.
const LOOKS: &[&str] = &[
    "DescribeKey",
    "GetKeyPolicy",
    "GetKeyRotationStatus",
    "ListKeyPolicies",
    "ListKeyRotations",
    "ListResourceTags",
];

impl State {
    /// Refuses an operation on a key in a state that is not one for it.
    pub(crate) fn check_key_state(&self, operation: &str, key: &Key) -> Result<(), Exception> {
        let row = TABLE.iter().find(|(name, ..)| *name == operation);
        let (_, origins, cells) = row.ok_or_else(|| {
            let message = format!("the table of key states has no row for {operation}");
            Exception::new(ExceptionName::Internal, message)
        })?;
        let is_for_key = match origins {
            Origins::All => true,
            Origins::Imported => key.imported().is_some(),
            Origins::Generated => key.generated().is_some(),
            Origins::InKms => key.external().is_none(),
        };
        if !is_for_key {
            return Err(key.wrong_origin());
        }
        let [enabled, disabled, pending_import, pending_deletion, unavailable] = cells;
        let cell = match self.key_state(key) {
            KeyState::Enabled => enabled,
            KeyState::Disabled => disabled,
            KeyState::PendingImport => pending_import,
            KeyState::PendingDeletion | KeyState::PendingReplicaDeletion => pending_deletion,
            // What can be looked at in any state.
            KeyState::Creating if LOOKS.contains(&operation) => &Cell::Yes,
            KeyState::Creating => &Cell::NotEnabled,
            KeyState::Unavailable => unavailable,
        };
        let invalid = |why: &str| {
            let message = format!("{} {why}.", key.arn);
            Err(Exception::new(ExceptionName::InvalidState, message))
        };
        match cell {
            Cell::Yes => Ok(()),
            Cell::Disabled => {
                let message = format!("{} is disabled.", key.arn);
                Err(Exception::new(ExceptionName::Disabled, message))
            }
            Cell::PendingDeletion => invalid("is pending deletion"),
            Cell::NotPendingDeletion => invalid("is not pending deletion"),
            Cell::PendingImport => invalid("is pending import"),
            Cell::WrongState => invalid("is disabled, and has to be enabled or pending import for this operation"),
            Cell::NotEnabled => invalid("is not enabled"),
            Cell::Unavailable => self.check_connected(key),
        }
    }
}
