//! Whether all members hold the same key under one id: found out by having each decrypt what another one
//! encrypted, which is the one thing that every key manager can do, and the very thing that is asked of them.
//!
//! Key check values would not do: not every key manager has them, and they do not show that a member cannot
//! read another's IVs or key versions. Comparisons and second opinions are limited per second, so that
//! garbage does not multiply an HSM's load.

use std::{
    pin::{Pin, pin},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use super::{
    Fleet, answer_or_error,
    breaker::{Millis, State},
    set::Set,
    standing::Standing,
};
use crate::{
    BackendError, KeyBackend, KeyId, Zeroizing,
    aad::{AadFraming, BoundAad},
    api::RequestMetadata,
    backend::{BackendErrorKind, DecryptRequest, EncryptRequest},
    panics::catch_panic,
};

/// What is encrypted for a comparison; its ciphertext never leaves the process.
const PLAINTEXT: &[u8] = b"comparison of a fleet's members";

const REQUEST_METADATA: &str = r#"{
    "awsPrincipalArn": "comparison of a fleet's members", "kmsKeyArn": "none", "kmsOperation": "Compare",
    "kmsRequestId": "comparison of a fleet's members"
}"#;

/// What a member made of the request to encrypt.
enum Sample {
    Made(Box<DecryptRequest<'static>>),
    /// It has the key, and may only decrypt.
    None,
    NotFound,
    Disabled,
    /// It did not answer.
    Silent,
}

/// Whether a member decrypts what another one made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    Yes,
    No,
    /// It did not say.
    Silent,
}

/// Members that read what the first one of them made, and it what they made.
struct Group {
    sample: DecryptRequest<'static>,
    first: usize,
    members: Set,
}

impl Fleet {
    /// Compares what members hold under the ids `keys`, and under those that requests have used: each as soon
    /// as possible, and [again](crate::fleet::FleetBuilder::compare_again) from time to time. At most
    /// [`COMPARISONS_PER_SECOND`](Self::COMPARISONS_PER_SECOND) keys are compared a second, and four times as
    /// many after a quiet time; those that requests use come first. Returns how many keys are left that are
    /// due.
    ///
    /// Each member encrypts a fixed text, and decrypts that of another one: two calls of each member for a
    /// key about which all agree. [`health`](KeyBackend::health) does the same for the keys that are known by
    /// then. Call this at the start, with the keys that are going to be used, and every second from then on,
    /// so that disagreements are known before a request meets with them. One comparison is under way at a
    /// time; a second caller returns at once.
    ///
    /// The future may be dropped at any time: a key whose comparison was given up comes again as one whose
    /// members disagree.
    pub async fn compare(&self, keys: &[KeyId]) -> usize {
        let now = self.clock.millis();
        if self.members.len() > 1 {
            self.keys.watch(keys);
            self.compare_due(now, Duration::MAX).await;
        }
        self.keys.count_due(now)
    }

    /// Compares as many of the keys that are due `now` as the bound allows, each once; none is begun after so
    /// long.
    pub(super) async fn compare_due(&self, now: Millis, at_most: Duration) {
        let started = self.clock.now();
        let Some(_turn) = Turn::take(&self.is_comparing) else {
            return;
        };
        while self.clock.since(started) < at_most
            && self.keys.count_due(now) > 0
            && self.comparisons.take(self.clock.millis())
        {
            let Some((key, former)) = self.keys.next_due(now) else {
                return;
            };
            let (standing, is_settled) = self.compare_key(&key, former).await;
            self.log_disagreements(&key, &former, &standing.unwrap_or_default());
            self.keys.compared(&key, standing, is_settled, self.clock.millis());
        }
    }

    /// Where a key stands, none if no member has it; and whether all have answered, and agree.
    async fn compare_key(&self, key: &KeyId, former: Standing) -> (Option<Standing>, bool) {
        let mut samples = Vec::with_capacity(self.members.len());
        for index in 0..self.members.len() {
            samples.push(self.sample(index, key).await);
        }
        let mut standing = Standing::default();
        let mut silent = Set::NONE;
        for (index, sample) in samples.iter().enumerate() {
            match sample {
                Sample::Made(_) => {}
                Sample::None => standing.cannot_encrypt.insert(index),
                Sample::NotFound => standing.missing.insert(index),
                Sample::Disabled => standing.disabled.insert(index),
                Sample::Silent => silent.insert(index),
            }
        }
        if standing.missing.len() == self.members.len() {
            return (None, true);
        }
        let groups = self.group(key, samples, &mut silent).await;
        let winner = self.winner(&groups, &former, silent);
        let grouped = groups.iter().fold(Set::NONE, |all, group| all.and(group.members));
        standing.agrees = winner.map_or(Set::NONE, |winner| winner.members);
        standing.differs = grouped.without(standing.agrees);
        if winner.is_some() {
            // What can only decrypt, and reads what no member encrypted.
            let readers = standing.cannot_encrypt.without(grouped).without(silent);
            standing.differs = standing.differs.and(readers);
        }
        // Who does not answer is taken to be as it was.
        let agrees = match winner {
            Some(winner) if winner.members.only(former.agrees).is_empty() => Set::NONE,
            _ => silent.only(former.agrees),
        };
        standing.agrees = standing.agrees.and(agrees);
        standing.differs = standing.differs.and(silent.only(former.differs));
        standing.missing = standing.missing.and(silent.only(former.missing));
        standing.disabled = standing.disabled.and(silent.only(former.disabled));
        standing.cannot_encrypt = standing.cannot_encrypt.and(silent.only(former.cannot_encrypt));
        standing.is_suspect = former.is_suspect && !silent.is_empty();
        let is_settled = silent.is_empty() && standing.odd().is_empty();
        (Some(standing), is_settled)
    }

    /// Sorts members by what they can read of one another.
    async fn group(&self, key: &KeyId, samples: Vec<Sample>, silent: &mut Set) -> Vec<Group> {
        let mut groups: Vec<Group> = Vec::new();
        let (makers, readers): (Vec<_>, Vec<_>) = samples
            .into_iter()
            .enumerate()
            .partition(|(_, sample)| matches!(sample, Sample::Made(_)));
        // Members that can only decrypt come last: they are sorted into the groups of the others.
        'members: for (index, sample) in makers.into_iter().chain(readers) {
            let own = match sample {
                Sample::Made(own) => Some(*own),
                Sample::None => None,
                Sample::NotFound | Sample::Disabled | Sample::Silent => continue,
            };
            for group in &mut groups {
                let mut reads = self.reads(index, key, &group.sample).await;
                if let (Reads::Yes, Some(own)) = (reads, &own) {
                    reads = self.reads(group.first, key, own).await;
                }
                match reads {
                    Reads::Yes => {
                        group.members.insert(index);
                        continue 'members;
                    }
                    Reads::No => {}
                    Reads::Silent => {
                        silent.insert(index);
                        continue 'members;
                    }
                }
            }
            let Some(own) = own else { continue };
            // Before it is believed to hold another key: a broken member cannot read its own either.
            if groups.is_empty() || self.reads(index, key, &own).await == Reads::Yes {
                groups.push(Group {
                    sample: own,
                    first: index,
                    members: Set::of(index),
                });
            } else {
                silent.insert(index);
            }
        }
        groups
    }

    /// The group that holds the right key: the largest one, and the one of the first member among equals. A
    /// member that does not answer counts with those that it agreed with before.
    fn winner<'g>(&self, groups: &'g [Group], former: &Standing, silent: Set) -> Option<&'g Group> {
        let absent = silent.only(former.agrees).len();
        let has_agreed = |group: &Group| !group.members.only(former.agrees).is_empty();
        let heir = groups.iter().position(has_agreed);
        let votes = |n: usize, group: &Group| group.members.len() + if heir == Some(n) { absent } else { 0 };
        let rank = |group: &Group| {
            let members = self.members.iter().enumerate();
            let members = members.filter(|(index, _)| group.members.has(*index));
            members.map(|(index, member)| (member.is_standby, index)).min()
        };
        let best = groups
            .iter()
            .enumerate()
            .min_by_key(|(n, group)| (usize::MAX - votes(*n, group), rank(group)));
        best.map(|(_, group)| group)
    }

    /// A text that a member encrypts for the others to decrypt.
    async fn sample(&self, index: usize, key: &KeyId) -> Sample {
        let aad = BoundAad::new(AadFraming::Spec, Some(PLAINTEXT), None);
        let (Ok(aad), Ok(metadata)) = (aad, RequestMetadata::from_json(REQUEST_METADATA)) else {
            return Sample::Silent; // both are constant and well-formed
        };
        let mut request = EncryptRequest::new(metadata, Zeroizing::new(PLAINTEXT.to_vec()), aad);
        let Some(member) = self.up(index) else {
            return Sample::Silent;
        };
        let made = self
            .within_attempt(pin!(async { member.encrypt(key, &mut request).await }))
            .await;
        let made = made.and_then(|made| {
            let broken = |reason| BackendError::new(BackendErrorKind::Other, reason);
            request.check(&made).map_err(broken).map(|()| made)
        });
        match made {
            Ok(made) => Sample::Made(Box::new(DecryptRequest::verification(&request, made))),
            Err(error) => match error.kind() {
                BackendErrorKind::KeyNotFound => Sample::NotFound,
                BackendErrorKind::KeyDisabled => Sample::Disabled,
                BackendErrorKind::KeyUsage => Sample::None,
                _ => Sample::Silent,
            },
        }
    }

    /// Whether a member decrypts this sample. A failure is believed when it comes twice.
    async fn reads(&self, index: usize, key: &KeyId, sample: &DecryptRequest<'_>) -> Reads {
        for _ in 0..2 {
            let Some(member) = self.up(index) else {
                return Reads::Silent;
            };
            let plaintext = self
                .within_attempt(pin!(async { member.decrypt(key, sample).await }))
                .await;
            match plaintext {
                Ok(plaintext) if *plaintext == PLAINTEXT => return Reads::Yes,
                Ok(_) => {}
                Err(error) => match error.kind() {
                    BackendErrorKind::InvalidCiphertext | BackendErrorKind::Unsupported => {}
                    _ => return Reads::Silent,
                },
            }
        }
        Reads::No
    }

    /// A member that may be asked something of the fleet's own accord: not if it is down.
    fn up(&self, index: usize) -> Option<&dyn KeyBackend> {
        let member = self.members.get(index)?;
        let is_up = matches!(member.breaker.state(), State::Closed { .. });
        is_up.then_some(&*member.backend)
    }

    /// Not longer than an attempt.
    async fn within_attempt<T>(
        &self,
        asking: Pin<&mut (impl Future<Output = Result<T, BackendError>> + Send)>,
    ) -> Result<T, BackendError> {
        answer_or_error(self.in_time(self.attempt, catch_panic(asking)).await, self.attempt)
    }
}

/// One comparison at a time.
struct Turn<'f>(&'f AtomicBool);

impl<'f> Turn<'f> {
    fn take(is_comparing: &'f AtomicBool) -> Option<Self> {
        (!is_comparing.swap(true, Ordering::Acquire)).then_some(Self(is_comparing))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
