//! Several backends as one: a request goes to a member that works, and on to the next when that one does not.
//!
//! A fleet has no task of its own. Requests and health checks drive it: they probe members, and open and
//! close the breakers. Timeouts come from a timer that the embedder passes in.

mod bound;
mod breaker;
mod builder;
mod call;
mod clock;
mod compare;
mod disagreement;
mod failures;
mod health;
mod keys;
mod member;
mod route;
mod set;
mod standing;

use std::{
    fmt,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use zeroize::Zeroizing;

use self::{
    bound::Bound,
    breaker::State,
    call::{Call, Decrypt, Encrypt, Metadata},
    clock::Clock,
    failures::{Failures, NotAsked, Verdict, judge},
    keys::Keys,
    member::{Attempt, Member},
    route::{Aim, Choice},
    set::Set,
    standing::{Lacks, Standing},
};
pub use self::{
    builder::{FleetBuilder, FleetError},
    disagreement::{Disagreement, DisagreementKind},
};
use crate::{
    BackendError, KeyBackend, KeyId,
    backend::{
        BackendErrorKind, DecryptRequest, EncryptRequest, Encrypted, GetKeyMetadataRequest, Health, KeyMetadata, Limits,
    },
    context::{RequestContext, begin_attempt},
    names::named_enum,
    panics::{Panicked, catch_panic},
};

/// Several key managers as one backend: the HSMs of a cluster, or fleets of them. All members are to hold the
/// same keys: what one encrypts, any other one decrypts. Where they do not, it is [found
/// out](#members-that-disagree). Specification: GetKeyMetadata.
///
/// ```
/// use std::sync::Arc;
/// use xks_core::{KeyBackend, fleet::{Fleet, FleetError}};
///
/// # type Backend = Arc<dyn KeyBackend>;
/// # fn doc(hsm_a: Backend, hsm_b: Backend, far: Backend) -> Result<Backend, FleetError> {
/// let fleet = Fleet::builder()
///     .member("hsm-a", hsm_a)
///     .member("hsm-b", hsm_b)
///     .standby_member("far-away", far)
///     .timer(tokio::time::sleep)
///     .build()?;
/// let backend: Arc<dyn KeyBackend> = Arc::new(fleet); // for a key store, or as a member of a fleet
/// # Ok(backend)
/// # }
/// ```
///
/// # Where a request goes
/// To the member with the fewest requests under way, and in turn where several have as few: a fault of an HSM
/// that is always used shows before that HSM is the last one. Members that were DEGRADED when their health
/// was asked last come after those that were ACTIVE, and standby members after all others. The
/// verification of an encryption goes its own way, mostly to another member, and so it also shows that both
/// have the same key.
///
/// # When a member fails
/// After `Unavailable`, `Timeout`, `Throttled`, `Other` or a panic, or when there is no answer within an
/// [attempt](FleetBuilder::attempt)'s time, the request goes to the next member, each of them once, as long
/// as the [budget](FleetBuilder::budget) lasts. That is safe: what the first one may still do is forgotten,
/// and the next one makes an IV of its own.
///
/// `KeyNotFound`, `KeyUsage`, `Unsupported` and `InvalidCiphertext` say what a member lacks. Another one may
/// have it, so it is asked too, and the error is returned when no member can do better: see below.
/// `KeyDisabled` and `AccessDenied` are decisions, and returned at once.
///
/// When all have failed, the kind of the error is the first of `Throttled`, `Timeout`, `Unavailable` and
/// `Other` that was among their answers. Its words name every member and what it said.
///
/// # Members that disagree
/// Members may hold different keys under one id, or one of them none: an HSM that was not in reach when a key
/// was copied, or for which a key was made instead. [`compare`](Self::compare) and health checks find that
/// out, key by key, by having members decrypt what others encrypted; answers to requests tell it too. Then,
/// for this key alone:
///
/// * the largest group of members that agree is right; among equals the one of the member that was added
///   first. So where two disagree the first one is the reference;
/// * encryptions go to members that are right and to no others. A ciphertext may have been made by one that
///   is not, so decryptions go there last;
/// * a member without the key, or without the permission to use it so, is asked last;
/// * a member that says that the key is disabled is asked first, and decides.
///
/// [`disagreements`](Self::disagreements) names key and member, `tracing` events with the target `xks::fleet`
/// do so once (WARN), and the member is `DEGRADED` in the health answer.
///
/// `InvalidCiphertext` is answered when no member reads the ciphertext; a member that cannot be asked is
/// taken to read what the others do if it was seen to hold the same key, and otherwise the error is one that
/// KMS may repeat. Invalid ciphertexts and absent keys do not multiply the load of key managers: at most
/// [`SECOND_OPINIONS_PER_SECOND`](Self::SECOND_OPINIONS_PER_SECOND) further members are asked without success
/// because another one lacked something. Beyond that, `InvalidCiphertext` stands if all members were seen to
/// hold the same key, and otherwise the error is `Throttled`.
///
/// # Breakers
/// A member that fails several times [in a row](FleetBuilder::failures_to_open) gets no requests for [a
/// while](FleetBuilder::back_off). Then one request at a time tries it as a probe, before it goes to another
/// member if need be. A member that is `Throttled` is full and not broken: that does not count. Nor does an
/// attempt that was dropped, unless it had an attempt's time by then; so one that hangs is found out without
/// a timer, too.
///
/// No request fails because of a breaker alone: when no other one is left, open members are asked all the
/// same, the one first that failed longest ago. A `tracing` event with the target `xks::fleet` tells when a
/// member's breaker opens (WARN, with the reason) and when it closes (INFO).
///
/// # Health
/// [`health`](KeyBackend::health) asks all members at once. Each has an entry under its id in the answer, or
/// several under `id/their own` if it is several key managers itself. Who does not answer is `UNAVAILABLE`,
/// as the model that was known last; who is `ACTIVE` behind an open breaker is `DEGRADED`.
///
/// The breakers learn from it: a member that is `UNAVAILABLE` gets no requests from then on, and one that
/// works again gets them once its time has come, without a request being risked. KMS does not ask often:
/// calling it every few seconds keeps requests from finding out for themselves.
///
/// # Time
/// KMS waits 250 ms in all, and a server should have answered after 200 ms. The defaults let a
/// request come upon a member that hangs, and still be served by a second one and tried by a third. That
/// takes a [timer](FleetBuilder::timer); without one, each member takes the time it takes, and the budget is
/// only looked at before another one is asked.
///
/// # Audit records
/// [`AuditRecord::attempts`](crate::audit::AuditRecord::attempts) lists the members that were asked, and what
/// each answered.
///
/// # Limits
/// The smallest of all members'.
// TRN-8
pub struct Fleet {
    members: Box<[Member]>,
    /// Whose turn it is among equals.
    turn: AtomicUsize,
    clock: Clock,
    attempt: Duration,
    budget: Duration,
    keys: Keys,
    second_opinions: Bound,
    comparisons: Bound,
    is_comparing: AtomicBool,
}

impl Fleet {
    /// 70 ms: many times what an HSM takes for an operation, and short enough to be had twice within the
    /// default budget.
    pub const DEFAULT_ATTEMPT: Duration = Duration::from_millis(70);

    /// 150 ms: of the 200 ms within which a server should answer, so that there is time for a
    /// verification and for everything that is not the key manager's.
    pub const DEFAULT_BUDGET: Duration = Duration::from_millis(150);

    /// How many keys [are compared](Self::compare) a second at most.
    pub const COMPARISONS_PER_SECOND: u32 = 8;

    /// How many members are asked a second, at most, because another member lacked what a request needs, and
    /// lack it too.
    pub const SECOND_OPINIONS_PER_SECOND: u32 = 20;

    /// Starts a fleet without members.
    pub fn builder() -> FleetBuilder {
        FleetBuilder::new()
    }

    /// Returns the state of each member at this moment, for metrics; without asking them.
    pub fn members(&self) -> impl Iterator<Item = MemberSnapshot<'_>> {
        let now = self.clock.millis();
        self.members.iter().map(move |member| MemberSnapshot {
            id: &member.id,
            is_standby: member.is_standby,
            breaker: match member.breaker.state() {
                State::Closed { .. } => BreakerState::Closed,
                State::Open { .. } if member.breaker.is_due(now) => BreakerState::HalfOpen,
                State::Open { .. } => BreakerState::Open,
            },
            in_flight: member.in_flight.load(Ordering::Relaxed),
        })
    }

    /// Asks one member after the other until one answers.
    async fn ask<C: Call>(&self, context: Option<&RequestContext<'_>>, mut call: C) -> Result<C::Answer, BackendError> {
        let (started, turn) = (self.clock.now(), self.turn.fetch_add(1, Ordering::Relaxed));
        let (standing, is_known) = self.keys.standing(call.key());
        let aim = Aim {
            need: C::NEED,
            standing,
        };
        let (mut asked, mut failures, mut spent) = (Set::default(), Failures::default(), Duration::ZERO);
        let (mut extra, mut is_enough) = (0, false);
        loop {
            // Requests for what no member has must not multiply the members' load.
            if !failures.lacks.all().is_empty() && !call.is_own() && asked.len() < self.members.len() {
                if !self.second_opinions.take(self.clock.millis()) {
                    is_enough = true;
                    break;
                }
                extra += 1;
            }
            let Some(choice) = self.choose(turn, asked, started + spent, &aim) else {
                break;
            };
            asked.insert(choice.index);
            let member = choice.member;
            let recorded = begin_attempt(context, Arc::clone(&member.id));
            let left = self.budget.saturating_sub(spent);
            let limit = if choice.is_last { left } else { left.min(self.attempt) };
            let attempt = Attempt::start(member, choice.is_probe, &self.clock, started + spent, self.attempt);
            let answer = {
                let asking = pin!(async { call.ask(&*member.backend).await });
                self.in_time(limit, catch_panic(asking)).await
            };
            // Who had less than an attempt's time before the budget's end is not to blame.
            let was_hurried = answer.is_none() && limit < self.attempt;
            let heard = |is_disabled, lacks| {
                self.heard(call.key(), (is_known, &aim), choice.index, is_disabled, lacks);
            };
            let answer = answer_or_error(answer, limit);
            recorded.end(&answer);
            let error = match answer {
                Ok(answer) => {
                    attempt.answered();
                    self.second_opinions.give_back(extra);
                    heard(C::says_disabled(&answer), failures.lacks);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            match judge(error.kind()) {
                Verdict::Answer => {
                    attempt.answered();
                    if error.kind() == BackendErrorKind::KeyDisabled {
                        heard(true, failures.lacks);
                    }
                    return Err(error);
                }
                Verdict::Lack => attempt.answered(),
                Verdict::Failed if !was_hurried => attempt.failed(&error),
                Verdict::Failed | Verdict::Full => attempt.told_nothing(),
            }
            failures.push(choice.index, &member.id, error);
            spent = self.clock.since(started);
            if spent >= self.budget {
                break;
            }
        }
        let others = self.all().without(standing.missing).without(failures.lacks.all());
        let is_invalid = others.is_empty() || standing.speaks_for(others, failures.lacks.secret);
        let members = self.members.iter().enumerate();
        let not_asked = members.filter(|(index, _)| !asked.has(*index));
        let not_asked = not_asked.map(|(index, member)| {
            let why = match aim.standing.place(index, C::NEED) {
                None => NotAsked::HoldsAnotherKey,
                Some(_) if is_enough => NotAsked::EnoughAsked,
                Some(_) => NotAsked::NoTime,
            };
            (&*member.id, why)
        });
        Err(failures.into_error(others, is_invalid, not_asked))
    }

    /// Takes note of what an answer tells about a key, which is mostly nothing new.
    fn heard(&self, key: &KeyId, (is_known, aim): (bool, &Aim), by: usize, is_disabled: bool, lacks: Lacks) {
        if self.members.len() < 2 {
            return;
        }
        let moved = |standing: Standing| standing.heard(by, aim.need, is_disabled, lacks);
        if is_known && moved(aim.standing) == aim.standing {
            return;
        }
        if let Some((former, standing)) = self.keys.used(key, moved) {
            self.log_disagreements(key, &former, &standing);
        }
    }

    fn all(&self) -> Set {
        (0..self.members.len()).fold(Set::NONE, |all, index| all.and(Set::of(index)))
    }

    fn choose(&self, turn: usize, asked: Set, now: Instant, aim: &Aim) -> Option<Choice<'_>> {
        route::next(&self.members, turn, asked, self.clock.millis_at(now), aim)
    }

    /// Waits for a member, as long as it has; without a timer there is no end. Whatever has not ended by then
    /// is dropped.
    async fn in_time<T>(&self, limit: Duration, answer: impl Future<Output = T>) -> Option<T> {
        let (mut answer, mut timer) = (pin!(answer), None);
        std::future::poll_fn(|context| {
            if let Poll::Ready(answer) = answer.as_mut().poll(context) {
                return Poll::Ready(Some(answer));
            }
            match timer.get_or_insert_with(|| self.clock.sleep(limit)) {
                Some(timer) => timer.as_mut().poll(context).map(|()| None),
                None => Poll::Pending,
            }
        })
        .await
    }
}

/// The answer of a member, or the error for a panic or for none in time.
fn answer_or_error<T>(
    answer: Option<Result<Result<T, BackendError>, Panicked>>,
    limit: Duration,
) -> Result<T, BackendError> {
    match answer {
        Some(Ok(answer)) => answer,
        Some(Err(Panicked)) => Err(BackendError::new(BackendErrorKind::Other, "it panicked")),
        None => Err(BackendError::new(
            BackendErrorKind::Timeout,
            format!("no response within {limit:?}"),
        )),
    }
}

#[async_trait]
impl KeyBackend for Fleet {
    async fn key_metadata(
        &self,
        key: &KeyId,
        request: &GetKeyMetadataRequest<'_>,
    ) -> Result<KeyMetadata, BackendError> {
        self.ask(request.context(), Metadata(key, request)).await
    }

    async fn encrypt(&self, key: &KeyId, request: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
        self.ask(request.context(), Encrypt(key, request)).await
    }

    async fn decrypt(&self, key: &KeyId, request: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        self.ask(request.context(), Decrypt(key, request)).await
    }

    // HLT-1: what each member says of itself, all of them asked at once, and what comparisons say about
    // them.
    async fn health(&self) -> Result<Health, BackendError> {
        let started = self.clock.now();
        let reports = self.ask_all().await;
        let left = self.budget.saturating_sub(self.clock.since(started));
        self.in_time(left, self.compare_due(self.clock.millis(), left)).await; // what is cut off comes again
        self.health_of_all(&reports)
    }

    fn limits(&self) -> Limits {
        let limits = self.members.iter().map(|member| member.backend.limits());
        limits.reduce(Limits::min).unwrap_or_default()
    }

    fn metadata_length(&self) -> usize {
        let lengths = self.members.iter().map(|member| member.backend.metadata_length());
        lengths.max().unwrap_or_default()
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet")
            .field("members", &self.members().collect::<Vec<_>>())
            .field("attempt", &self.attempt)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

/// How a member of a [`Fleet`] is at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberSnapshot<'a> {
    /// Its id in the fleet.
    pub id: &'a str,
    /// Whether it serves only when the others do not.
    pub is_standby: bool,
    /// Whether it gets requests.
    pub breaker: BreakerState,
    /// How many requests are with it.
    pub in_flight: usize,
}

/// Whether a member of a [`Fleet`] gets requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a breaker has these three states and no others")]
pub enum BreakerState {
    /// It does.
    Closed,
    /// It has failed and rests; it is asked only if all others have failed, too.
    Open,
    /// It has rested for long enough: the next request is its probe, or one is with it as such.
    HalfOpen,
}

// Their names in metrics.
named_enum! {
    BreakerState, "a breaker state",
    Closed => "closed",
    HalfOpen => "half_open",
    Open => "open",
}

#[cfg(test)]
mod tests;
