//! What AWS KMS sees of a key.

use xks_core::backend::{BackendErrorKind, KeyStatus};

use super::KeyState;
use crate::{KeyVersion, Minima, VersionState};

/// What decides whether a request is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conditions {
    /// The state of the key now.
    pub state: KeyState,
    /// Whether its key set keeps decryption for keys that are deactivated.
    pub keeps_decryption: bool,
    /// Whether its external key store is blocked.
    pub is_blocked: bool,
    /// Whether this node holds a lease.
    pub has_lease: bool,
    /// What the version may do: of an encryption and of the key's metadata the current one, of a decryption
    /// that which the ciphertext names.
    pub standing: Standing,
}

impl Conditions {
    /// A key in this state, on a node with a lease, in a key store that is not blocked, with a version that
    /// may do all.
    #[must_use]
    pub const fn new(state: KeyState, keeps_decryption: bool) -> Self {
        Self {
            state,
            keeps_decryption,
            is_blocked: false,
            has_lease: true,
            standing: Standing::All,
        }
    }
}

/// What a version may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a table that is complete")]
pub enum Standing {
    /// Encrypt and decrypt.
    All,
    /// Decrypt.
    Decrypt,
    /// Nothing: it was revoked, is below the minimum, or is not published yet.
    Nothing,
    /// It is gone.
    Gone,
}

impl Standing {
    /// What a version may do under the minima of its key.
    #[must_use]
    pub const fn of(version: &KeyVersion, minima: Minima) -> Self {
        match version.state {
            VersionState::Destroyed => Self::Gone,
            VersionState::Revoked | VersionState::Pending => Self::Nothing,
            _ if version.number < minima.decrypt() => Self::Nothing,
            VersionState::Current if version.number >= minima.encrypt() => Self::All,
            VersionState::Current | VersionState::Published | VersionState::DecryptOnly => Self::Decrypt,
        }
    }
}

/// What AWS KMS is answered: the key's status, and whether an operation is served or with which kind of
/// failure it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "three operations use a key")]
pub struct KmsView {
    /// GetKeyMetadata.
    pub status: Result<KeyStatus, BackendErrorKind>,
    /// Encrypt.
    pub encrypt: Result<(), BackendErrorKind>,
    /// Decrypt.
    pub decrypt: Result<(), BackendErrorKind>,
}

impl KmsView {
    const SERVED: Self = Self {
        status: Ok(KeyStatus::Enabled),
        encrypt: Ok(()),
        decrypt: Ok(()),
    };
    /// `InvalidStateException`
    const DISABLED: Self = Self {
        status: Ok(KeyStatus::Disabled),
        encrypt: Err(BackendErrorKind::KeyDisabled),
        decrypt: Err(BackendErrorKind::KeyDisabled),
    };
    const DECRYPTS: Self = Self {
        decrypt: Ok(()),
        ..Self::DISABLED
    };

    const fn refused(kind: BackendErrorKind) -> Self {
        Self {
            status: Err(kind),
            encrypt: Err(kind),
            decrypt: Err(kind),
        }
    }
}

/// Returns what AWS KMS is answered under these conditions.
///
/// | | status | Encrypt | Decrypt |
/// |---|---|---|---|
/// | no lease | – | `DependencyTimeoutException` | `DependencyTimeoutException` |
/// | destroyed, or its version is | – | `KeyNotFoundException` | `KeyNotFoundException` |
/// | pre-active, disabled, pending deletion, or a blocked store | `DISABLED` | `InvalidStateException` | `InvalidStateException` |
/// | a version that may do nothing | `DISABLED` | `InvalidStateException` | `InvalidStateException` |
/// | deactivated, decryption not kept | `DISABLED` | `InvalidStateException` | `InvalidStateException` |
/// | deactivated, decryption kept; or a version that may decrypt | `DISABLED` | `InvalidStateException` | served |
/// | enabled | `ENABLED` | served | served |
#[must_use]
pub const fn view(conditions: &Conditions) -> KmsView {
    let Conditions {
        state,
        keeps_decryption,
        is_blocked,
        has_lease,
        standing,
    } = *conditions;
    if !has_lease {
        return KmsView::refused(BackendErrorKind::Timeout); // what is known of the key may be out of date
    }
    match (state, standing) {
        (KeyState::Destroyed, _) | (_, Standing::Gone) => KmsView::refused(BackendErrorKind::KeyNotFound),
        (KeyState::PreActive | KeyState::Disabled | KeyState::PendingDeletion, _) | (_, Standing::Nothing) => {
            KmsView::DISABLED
        }
        _ if is_blocked => KmsView::DISABLED,
        (KeyState::Deactivated, _) if !keeps_decryption => KmsView::DISABLED,
        (KeyState::Deactivated, _) | (_, Standing::Decrypt) => KmsView::DECRYPTS,
        (KeyState::Enabled, Standing::All) => KmsView::SERVED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISABLED: [&str; 3] = ["DISABLED", "KeyDisabled", "KeyDisabled"];
    const DECRYPTS: [&str; 3] = ["DISABLED", "KeyDisabled", "served"];
    const SERVED: [&str; 3] = ["ENABLED", "served", "served"];
    const GONE: [&str; 3] = ["KeyNotFound"; 3];

    fn shown(view: KmsView) -> [String; 3] {
        let outcome = |outcome: Result<(), BackendErrorKind>| match outcome {
            Ok(()) => "served".to_owned(),
            Err(kind) => format!("{kind:?}"),
        };
        let status = match view.status {
            Ok(status) => status.to_string(),
            Err(kind) => format!("{kind:?}"),
        };
        [status, outcome(view.encrypt), outcome(view.decrypt)]
    }

    #[test]
    fn kms_sees_what_the_table_says() {
        use KeyState::{Deactivated, Destroyed, Disabled, Enabled, PendingDeletion, PreActive};
        for (state, keeps, expected) in [
            (Enabled, false, SERVED),
            (PreActive, true, DISABLED),
            (Disabled, true, DISABLED),
            (PendingDeletion, true, DISABLED),
            (Deactivated, true, DECRYPTS),
            (Deactivated, false, DISABLED),
            (Destroyed, true, GONE),
        ] {
            let conditions = Conditions::new(state, keeps);
            assert_eq!(shown(view(&conditions)), expected, "{state} {keeps}");
        }
        for (standing, expected) in [
            (Standing::Decrypt, DECRYPTS),
            (Standing::Nothing, DISABLED),
            (Standing::Gone, GONE),
        ] {
            let conditions = Conditions {
                standing,
                ..Conditions::new(Enabled, true)
            };
            assert_eq!(shown(view(&conditions)), expected, "{standing:?}");
        }
    }

    /// A condition that is worse never serves more.
    #[test]
    fn nothing_opens_what_something_else_closes() {
        let rank = |view: KmsView| {
            [
                view.status == Ok(KeyStatus::Enabled),
                view.encrypt.is_ok(),
                view.decrypt.is_ok(),
            ]
        };
        let all = [Standing::All, Standing::Decrypt, Standing::Nothing, Standing::Gone];
        for state in KeyState::ALL {
            for keeps_decryption in [true, false] {
                for (place, standing) in all.into_iter().enumerate() {
                    let good = Conditions {
                        standing,
                        ..Conditions::new(state, keeps_decryption)
                    };
                    let worse = all
                        .into_iter()
                        .skip(place)
                        .map(|standing| Conditions { standing, ..good });
                    let worse = worse.chain([
                        Conditions {
                            is_blocked: true,
                            ..good
                        },
                        Conditions {
                            has_lease: false,
                            ..good
                        },
                        Conditions {
                            keeps_decryption: false,
                            ..good
                        },
                    ]);
                    for worse in worse {
                        let (more, less) = (rank(view(&good)), rank(view(&worse)));
                        assert!(
                            more.iter().zip(less).all(|(more, less)| *more >= less),
                            "{good:?} {worse:?}"
                        );
                    }
                    let blocked = view(&Conditions {
                        is_blocked: true,
                        ..good
                    });
                    assert_eq!(rank(blocked), [false; 3]);
                    let lost = view(&Conditions {
                        has_lease: false,
                        ..good
                    });
                    assert_eq!(shown(lost), ["Timeout"; 3]);
                }
            }
        }
    }

    #[test]
    fn the_standing_of_a_version_follows_from_its_state_and_the_minima() {
        use crate::{KeyVersionId, Material, Timestamp, VersionId};
        let id = KeyVersionId::new("key".parse().unwrap(), VersionId::from_bytes([0; 4]));
        let mut version = KeyVersion::new(id, 3, Material::Gone, Timestamp::MIN).unwrap();
        let all = Minima::default();
        for (state, expected) in [
            (VersionState::Pending, Standing::Nothing),
            (VersionState::Published, Standing::Decrypt),
            (VersionState::Current, Standing::All),
            (VersionState::DecryptOnly, Standing::Decrypt),
            (VersionState::Revoked, Standing::Nothing),
            (VersionState::Destroyed, Standing::Gone),
        ] {
            version.state = state;
            assert_eq!(Standing::of(&version, all), expected, "{state}");
        }
        version.state = VersionState::Current;
        for (encrypt, decrypt, expected) in [
            (3, 3, Standing::All),
            (4, 3, Standing::Decrypt),
            (4, 4, Standing::Nothing),
        ] {
            assert_eq!(
                Standing::of(&version, Minima::new(encrypt, decrypt, 1).unwrap()),
                expected
            );
        }
        version.state = VersionState::Destroyed;
        assert_eq!(Standing::of(&version, Minima::new(4, 4, 1).unwrap()), Standing::Gone);
    }
}
