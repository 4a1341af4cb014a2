//! What becomes of a member's failure: whether another member may do better, and what is said when none did.

use std::fmt::Write as _;

use crate::{BackendError, BackendErrorKind, error::with_all_causes};

/// What a member's error tells.
pub(super) enum Verdict {
    /// Every member would answer this: the member works.
    Answer,
    /// Another member may do better, and this one has failed.
    Failed,
    /// Another member may do better, and nothing is wrong with this one.
    Full,
}

pub(super) const fn judge(kind: BackendErrorKind) -> Verdict {
    use BackendErrorKind as Kind;

    match kind {
        Kind::KeyNotFound
        | Kind::KeyDisabled
        | Kind::KeyUsage
        | Kind::InvalidCiphertext
        | Kind::AccessDenied
        | Kind::Unsupported => Verdict::Answer,
        Kind::Throttled => Verdict::Full,
        Kind::Timeout | Kind::Unavailable | Kind::Other => Verdict::Failed,
    }
}

/// The failures of the members that one request was with.
#[derive(Default)]
pub(super) struct Failures<'f>(Vec<(&'f str, BackendError)>);

impl<'f> Failures<'f> {
    pub(super) fn push(&mut self, member: &'f str, error: BackendError) {
        self.0.push((member, error));
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The error of the request, of the kind that tells KMS most. A full member works, so that KMS may come again
    /// with good hope: it is told so even if others are broken. One that is late may be overloaded, and the answer's
    /// name says that it was about time. The other two are one and the same to KMS.
    pub(super) fn into_error(self, not_asked: impl Iterator<Item = &'f str>) -> BackendError {
        let telling = |kind| match kind {
            BackendErrorKind::Throttled => 3,
            BackendErrorKind::Timeout => 2,
            BackendErrorKind::Unavailable => 1,
            _ => 0,
        };
        let kinds = self.0.iter().map(|(_, error)| error.kind());
        let kind = kinds.max_by_key(|kind| telling(*kind));
        let mut detail = "no member of the fleet could serve:".to_owned();
        for (n, (member, error)) in self.0.iter().enumerate() {
            let separator = if n == 0 { "" } else { ";" };
            let (kind, words) = (error.kind(), with_all_causes(error));
            let _ = write!(detail, "{separator} {member} ({kind:?}): {words}"); // a String takes everything
        }
        for member in not_asked {
            let _ = write!(detail, "; {member}: not asked, the time was up");
        }
        BackendError::new(kind.unwrap_or(BackendErrorKind::Unavailable), detail)
    }
}
