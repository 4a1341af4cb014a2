//! Disagreements of members about one key, as an embedder and an operator see them.
//!
//! A key that one member has disabled is rejected by the fleet: an operator may have disabled it on purpose
//! on the member that was within reach.

use super::{Fleet, set::Set, standing::Standing};
use crate::{KeyId, names::named_enum};

/// A key of which one member of a [`Fleet`] is not as the others are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Disagreement<'a> {
    /// The key's id.
    pub key: KeyId,
    /// The id of the odd member.
    pub member: &'a str,
    /// The kind of disagreement.
    pub kind: DisagreementKind,
}

/// The kinds of disagreement of a [`Fleet`]'s member about one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DisagreementKind {
    /// It holds another key under this id than most members, or than the first one where two disagree.
    OtherKey,
    /// It has no key of this id, and others do.
    Missing,
    /// It says that the key is disabled, and others do not.
    Disabled,
}

// Their names in logs and metrics.
named_enum! {
    DisagreementKind, "a kind of disagreement",
    OtherKey => "other_key",
    Missing => "missing",
    Disabled => "disabled",
}

impl DisagreementKind {
    const fn members(self, standing: &Standing) -> Set {
        let set = match self {
            Self::OtherKey => standing.differs,
            Self::Missing => standing.missing,
            Self::Disabled => standing.disabled,
        };
        set.only(standing.odd())
    }
}

impl Fleet {
    /// Returns what members are known to disagree about, key by key. Nothing is asked of them:
    /// [`compare`](Self::compare) and [`health`](crate::KeyBackend::health) do that.
    #[must_use]
    pub fn disagreements(&self) -> Vec<Disagreement<'_>> {
        let mut all = Vec::new();
        for (key, standing) in self.keys.odd() {
            for kind in DisagreementKind::ALL {
                let odd = kind.members(&standing);
                let members = self.members.iter().enumerate();
                all.extend(
                    members
                        .filter(|(index, _)| odd.has(*index))
                        .map(|(_, member)| Disagreement {
                            key: key.clone(),
                            member: &member.id,
                            kind,
                        }),
                );
            }
        }
        all
    }

    /// Tells the operator what has come and what has gone, each once.
    pub(super) fn log_disagreements(&self, key: &KeyId, former: &Standing, standing: &Standing) {
        let key = key.as_str();
        let first = self.members.iter().enumerate();
        let mut first = first.filter(|(index, _)| standing.agrees.has(*index));
        let reference = first.next().map_or("the others", |(_, member)| &*member.id);
        let chosen = if standing.agrees.len() > standing.differs.len() {
            "the key that most members hold"
        } else {
            "the first member's key: no key has a majority"
        };
        for (index, member) in self.members.iter().enumerate() {
            let member = &*member.id;
            for kind in DisagreementKind::ALL {
                let (was, is) = (kind.members(former).has(index), kind.members(standing).has(index));
                let kind_name = kind.as_str();
                match (was, is, kind) {
                    (false, true, DisagreementKind::OtherKey) => tracing::warn!(
                        target: "xks::fleet", member, key, reference, chosen, disagreement = kind_name,
                        "the members hold different keys under this id: encryptions go only to members that agree \
                         with the reference, and this member only decrypts its own earlier ciphertexts. Re-encrypt \
                         those, then give this member the key of the reference"
                    ),
                    (false, true, DisagreementKind::Missing) => tracing::warn!(
                        target: "xks::fleet", member, key, reference, disagreement = kind_name,
                        "the key is missing on this member: only the others serve it. Copy the key to this member"
                    ),
                    (false, true, DisagreementKind::Disabled) => tracing::warn!(
                        target: "xks::fleet", member, key, reference, disagreement = kind_name,
                        "the key is disabled on this member and enabled on others: requests for it are rejected. \
                         Disable it on all members, or enable it on this one"
                    ),
                    (true, false, _) => tracing::info!(
                        target: "xks::fleet", member, key, disagreement = kind_name,
                        "this member agrees with the others about this key again"
                    ),
                    (false, false, _) | (true, true, _) => {}
                }
            }
        }
    }
}
