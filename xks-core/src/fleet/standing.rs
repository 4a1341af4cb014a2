//! The standing of one key across the members: which of them have it, and what that means for a request.

use super::set::Set;

/// What a request needs of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Metadata,
    Encrypt,
    Decrypt,
}

/// Who holds a key, as far as comparisons and answers have told. A member that is in none of the sets is
/// taken to hold the same key as all others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Those that were seen to hold the same key as the reference, itself among them.
    pub(super) agrees: Set,
    /// Those that hold another key under this id.
    pub(super) differs: Set,
    /// Those that have no key of this id, while others do.
    pub(super) missing: Set,
    /// Those that say that it is disabled.
    pub(super) disabled: Set,
    /// Those that do not encrypt with it, while others do.
    pub(super) cannot_encrypt: Set,
    /// Two members do not hold the same key, and which one is odd has to be found out.
    pub(super) is_suspect: bool,
}

/// How fit a member is for a request: the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// The key may have been disabled on purpose, on the one member in reach: it is asked first, so that all
    /// requests are refused.
    Disabled,
    Holds,
    /// It may have made this ciphertext.
    Differs,
    CannotEncrypt,
    /// It may have got the key since.
    Missing,
}

/// What members lacked that were asked for one request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lacks {
    /// The key.
    pub(super) key: Set,
    /// The permission to use it so.
    pub(super) usage: Set,
    /// What this ciphertext was made with.
    pub(super) secret: Set,
}

impl Lacks {
    pub(super) const fn all(self) -> Set {
        self.key.and(self.usage).and(self.secret)
    }
}

impl Standing {
    /// Whether `others` would not read what a member of `lacks` could not: all of them were seen to hold its
    /// key.
    pub(super) const fn speaks_for(&self, others: Set, lacks: Set) -> bool {
        !self.is_suspect && others.without(self.agrees).is_empty() && !lacks.only(self.agrees).is_empty()
    }

    /// Where a member stands for a request; none if it must not be asked: what it encrypts, no other could
    /// decrypt.
    pub(super) fn place(&self, index: usize, need: Need) -> Option<Place> {
        if self.disabled.has(index) {
            return Some(Place::Disabled);
        }
        if self.missing.has(index) {
            return Some(Place::Missing);
        }
        if self.differs.has(index) {
            return Some(Place::Differs).filter(|_| need != Need::Encrypt);
        }
        if need != Need::Decrypt && self.cannot_encrypt.has(index) {
            return Some(Place::CannotEncrypt);
        }
        Some(Place::Holds)
    }

    /// As `by` has answered, after others that lacked something.
    pub(super) fn heard(mut self, by: usize, need: Need, is_disabled: bool, lacks: Lacks) -> Self {
        let one = Set::of(by);
        self.missing = self.missing.and(lacks.key).without(one);
        self.disabled = if is_disabled {
            self.disabled.and(one)
        } else {
            self.disabled.without(one)
        };
        if need == Need::Encrypt && !is_disabled {
            self.cannot_encrypt = self.cannot_encrypt.and(lacks.usage).without(one);
        }
        // That one of two which are known to differ cannot read what the other made is no news.
        if !is_disabled && !lacks.secret.without(self.differs).is_empty() && !self.differs.has(by) {
            self.is_suspect = true;
        }
        self
    }

    /// Those that are not as the others are, whatever it is.
    pub(super) const fn odd(&self) -> Set {
        let disabled = if self.agrees.without(self.disabled).is_empty() {
            Set::NONE // on all of them: it is agreed upon
        } else {
            self.disabled
        };
        self.differs.and(self.missing).and(disabled)
    }
}
