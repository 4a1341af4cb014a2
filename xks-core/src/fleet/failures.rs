//! Failures of members: whether another member may do better, and the error when none did.

use std::fmt::Write as _;

use super::{set::Set, standing::Lacks};
use crate::{BackendError, backend::BackendErrorKind, text::ErrorChain};

/// What a member's error tells.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The member works, and has decided: no other one is asked to decide otherwise.
    Answer,
    /// The member works, and lacks something that another one may have: the key, or what the ciphertext was
    /// made with.
    Lack,
    /// Another member may do better, and this one has failed.
    Failed,
    /// Another member may do better, and nothing is wrong with this one.
    Full,
}

pub(super) const fn judge(kind: BackendErrorKind) -> Verdict {
    use BackendErrorKind as Kind;

    match kind {
        Kind::KeyDisabled | Kind::AccessDenied => Verdict::Answer,
        Kind::KeyNotFound | Kind::KeyUsage | Kind::InvalidCiphertext | Kind::Unsupported => Verdict::Lack,
        Kind::Throttled => Verdict::Full,
        Kind::Timeout | Kind::Unavailable | Kind::Other => Verdict::Failed,
    }
}

/// Why a member was not asked.
#[derive(Clone, Copy)]
pub(super) enum NotAsked {
    NoTime,
    HoldsAnotherKey,
    EnoughAsked,
}

impl NotAsked {
    const fn words(self) -> &'static str {
        match self {
            Self::NoTime => "timed out",
            Self::HoldsAnotherKey => "holds another key under this id",
            Self::EnoughAsked => "too many failovers in this second",
        }
    }
}

/// The failures of the members that one request was with.
#[derive(Default)]
pub(super) struct Failures<'f> {
    of: Vec<(&'f str, BackendError)>,
    /// What the members lacked, each of which works.
    pub(super) lacks: Lacks,
}

impl<'f> Failures<'f> {
    pub(super) fn push(&mut self, index: usize, member: &'f str, error: BackendError) {
        match error.kind() {
            BackendErrorKind::KeyNotFound => self.lacks.key.insert(index),
            BackendErrorKind::KeyUsage => self.lacks.usage.insert(index),
            BackendErrorKind::InvalidCiphertext | BackendErrorKind::Unsupported => self.lacks.secret.insert(index),
            _ => {}
        }
        self.of.push((member, error));
    }

    /// The error of the request. What a member lacks is the answer when no other one can have it: `others`
    /// are members that have not answered and may have the key, `is_invalid` means that none of them reads
    /// what those that were asked do not.
    ///
    /// Else it is of the kind that tells KMS most. A full member works, so that KMS may come again with good
    /// hope: it gets to know that even if others are broken. One that is late may be overloaded, and the
    /// answer's name says that it was about time. The other two are one and the same to KMS.
    pub(super) fn into_error(
        mut self,
        others: Set,
        is_invalid: bool,
        not_asked: impl Iterator<Item = (&'f str, NotAsked)> + Clone,
    ) -> BackendError {
        use BackendErrorKind as Kind;

        let weight = |kind| match kind {
            Kind::InvalidCiphertext if is_invalid => 4,
            Kind::KeyUsage => 3,
            Kind::Unsupported => 2,
            Kind::KeyNotFound if others.is_empty() => 1,
            _ => 0,
        };
        let weights = self.of.iter().map(|(_, error)| weight(error.kind())).enumerate();
        if let Some((said, _)) = weights
            .filter(|(_, weight)| *weight > 0)
            .max_by_key(|(_, weight)| *weight)
        {
            return self.of.swap_remove(said).1;
        }
        let telling = |kind| match kind {
            Kind::Throttled => 3,
            Kind::Timeout => 2,
            Kind::Unavailable => 1,
            _ => 0,
        };
        let kinds = self.of.iter().map(|(_, error)| error.kind());
        let kinds = kinds.filter(|kind| judge(*kind) != Verdict::Lack);
        let is_bounded = not_asked.clone().any(|(_, why)| matches!(why, NotAsked::EnoughAsked));
        let kinds = kinds.chain(is_bounded.then_some(Kind::Throttled));
        let kind = kinds.max_by_key(|kind| telling(*kind));
        let mut detail = "no member of the fleet could serve the request:".to_owned();
        for (n, (member, error)) in self.of.iter().enumerate() {
            let separator = if n == 0 { "" } else { ";" };
            let (kind, words) = (error.kind(), ErrorChain(error).to_string());
            let _ = write!(detail, "{separator} {member} ({kind:?}): {words}"); // a String takes everything
        }
        for (member, why) in not_asked {
            let _ = write!(detail, "; {member}: not asked, {}", why.words());
        }
        BackendError::new(kind.unwrap_or(Kind::Unavailable), detail)
    }
}
