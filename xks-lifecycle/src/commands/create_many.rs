//! Making many keys by one command: what they are to be is committed together, a key manager makes all of
//! them in one call, and they are taken into use together.

use std::time::Instant;

use xks_core::KeyId;

use super::{Actor, Call, Commands, CreateKey, Decided, KeyEntry, create::New, key::object, version::into_use};
use crate::{
    Changes, CommandError, KeySet, KeySource, KeyVersion, Outcome, Snapshot, Timestamp, generate_key_id,
    key_state::{KeyContext, Step, VersionCommand, decide_all},
    store::Claim,
};

/// At most so many keys are made together.
const TOGETHER: usize = 1000;
/// A key manager may take the time that one key may take for each so many.
const IN_THE_TIME_OF_ONE: usize = 50;

type Outcomes = Vec<Result<KeyEntry, CommandError>>;

/// A key that is to be made.
struct Planned<'c> {
    spec: &'c CreateKey,
    call: Call<'c>,
    id: KeyId,
    version: KeyVersion,
    /// As what the backend serves it, once it is made there.
    made: Option<KeyId>,
    /// For the other nodes, if there are any.
    known_answer: Option<Claim>,
    /// None while it is under way.
    outcome: Option<Result<KeyEntry, CommandError>>,
}

fn under_way<'p, 'c>(planned: &'p mut [Planned<'c>]) -> Vec<&'p mut Planned<'c>> {
    planned.iter_mut().filter(|planned| planned.outcome.is_none()).collect()
}

impl Planned<'_> {
    /// What the steps change of the key, which `call` has begun with. Those that do not end it publish it,
    /// with its known answer.
    fn take(
        &self,
        (call, outcome): (&Call<'_>, Outcome),
        snapshot: &Snapshot,
        now: Timestamp,
        steps: impl FnOnce(&KeyContext<'_>) -> Vec<Step>,
    ) -> Result<Decided<KeyEntry>, CommandError> {
        let unknown = || CommandError::Unknown(object(&self.id));
        let entry = KeyEntry::find(snapshot, &self.id, now).ok_or_else(unknown)?;
        let set = snapshot.key_set(entry.key.key_set).ok_or_else(unknown)?;
        let context = KeyContext::new(&entry.key, set, &entry.versions, 0);
        let change = decide_all(&context, &steps(&context), now)?;
        if change.is_empty() {
            return Ok(Decided::nothing(entry));
        }
        let event = call.change(now, outcome, Some(&entry), &change);
        let after = entry.after(&change, snapshot.revision().next(), now);
        let changes = Changes::new().apply(change).event(event);
        let known_answer = self.known_answer.clone().filter(|_| outcome == Outcome::Begun);
        Ok(Decided::change(changes.claim(known_answer), after))
    }
}

impl Commands {
    /// Makes keys, each as [`create_key`](Self::create_key) does and with its own events, and returns what
    /// became of each, in their order. Of a thousand keys a key manager is asked by one call.
    ///
    /// The first key of a key set is made and tried alone: if that fails, no other of it is begun. Of those
    /// that are made together, the last one is tried.
    ///
    /// # Errors
    /// Those of `create_key`, for each key; [`CommandError::AnotherFailed`].
    pub async fn create_keys(&self, actor: &Actor, specs: &[CreateKey]) -> Vec<Result<KeyEntry, CommandError>> {
        let mut outcomes = Vec::with_capacity(specs.len());
        for of_set in specs.chunk_by(|one, next| one.key_set == next.key_set) {
            let mut has_failed = false;
            for together in of_set
                .chunks(1)
                .take(1)
                .chain(of_set.get(1..).unwrap_or_default().chunks(TOGETHER))
            {
                let made = match together {
                    _ if has_failed => together.iter().map(|_| Err(CommandError::AnotherFailed)).collect(),
                    [one] => vec![self.create_key(actor, one.clone()).await],
                    _ => self.create_together(actor, together).await,
                };
                has_failed = made.iter().any(Result::is_err);
                outcomes.extend(made);
            }
        }
        outcomes
    }

    async fn create_together(&self, actor: &Actor, specs: &[CreateKey]) -> Outcomes {
        let (set, mut planned) = match self.plan(actor, specs) {
            Ok(planned) => planned,
            Err(error) => {
                let others = specs.iter().skip(1).map(|_| Err(CommandError::AnotherFailed));
                return [Err(error)].into_iter().chain(others).collect();
            }
        };
        let is_vault = set.source == KeySource::Vault;
        let begin = |planned: &Planned<'_>, snapshot: &Snapshot, now| {
            let new = New::decide(snapshot, planned.spec, &planned.id, planned.version.clone(), now)?;
            let (new, outcome) = match is_vault {
                true => (new.ready(planned.spec), Outcome::Done),
                false => (new.marked(self.mark(&planned.version.id)), Outcome::Begun),
            };
            Ok(new.commit(&planned.call, snapshot, now, outcome))
        };
        self.commit_each(under_way(&mut planned), is_vault, begin).await;
        if !is_vault {
            self.make_together(&set, &mut planned).await;
            if self.node.is_some() {
                self.publish_together(&mut planned).await;
            }
            let take = |planned: &Planned<'_>, snapshot: &Snapshot, now| {
                planned.take((&planned.call, Outcome::Done), snapshot, now, |context| {
                    let (version, made) = (planned.version.id.version, planned.made.clone());
                    into_use(context, version, made, planned.spec.is_active)
                })
            };
            self.commit_each(under_way(&mut planned), true, take).await;
        }
        self.record_failures(&mut planned).await;
        let outcomes = planned.into_iter().map(|planned| planned.outcome);
        outcomes
            .map(|outcome| outcome.unwrap_or(Err(CommandError::AnotherFailed)))
            .collect()
    }

    fn plan<'c>(&self, actor: &'c Actor, specs: &'c [CreateKey]) -> Result<(KeySet, Vec<Planned<'c>>), CommandError> {
        let first = specs.first().ok_or(CommandError::AnotherFailed)?; // there is one
        let set = self.key_set(first.key_set)?;
        let plan = |spec| {
            let id = generate_key_id()?;
            Ok(Planned {
                spec,
                call: Call::key(actor, "create", &id),
                version: self.first_version(&set, &id)?,
                id,
                made: None,
                known_answer: None,
                outcome: None,
            })
        };
        let planned = specs.iter().map(plan).collect::<Result<_, CommandError>>()?;
        Ok((set, planned))
    }

    /// Makes keys in their key manager, and tries the last one.
    async fn make_together(&self, set: &KeySet, planned: &mut [Planned<'_>]) {
        if let Err(error) = self.make_in(set, under_way(planned)).await {
            fail(under_way(planned), error);
        }
        // What the key manager has refused leaves tombstones; what it may still make is left for recovery.
        let is_refused = |planned: &&mut Planned<'_>| match &planned.outcome {
            Some(Err(error)) => planned.made.is_none() && !error.is_unknown(),
            _ => false,
        };
        let refused: Vec<_> = planned.iter_mut().filter(is_refused).collect();
        let abandon = |planned: &Planned<'_>, snapshot: &Snapshot, now| {
            let command = VersionCommand::Abandon;
            let call = Call::key(planned.call.actor, command.name(), &planned.id);
            planned.take((&call, Outcome::Done), snapshot, now, |_| {
                vec![Step::Version(planned.version.id.version, command)]
            })
        };
        self.commit_each(refused, false, abandon).await;
        for planned in planned.iter().filter(|planned| planned.outcome.is_some()) {
            // As after the creation of one.
            drop(self.leave(&planned.version.id).await);
        }
    }

    async fn make_in(&self, set: &KeySet, mut planned: Vec<&mut Planned<'_>>) -> Result<(), CommandError> {
        let backend = self.backends.of(set)?;
        let new = planned.iter().map(|planned| self.new_key(&planned.version));
        let new = new.collect::<Result<Vec<_>, _>>()?;
        kill_point!(Making);
        let made = backend.manager.create_keys(&new, self.deadline_for(new.len())).await;
        kill_point!(Made);
        for (planned, made) in planned.iter_mut().zip(made) {
            match made {
                Ok(made) => planned.made = Some(made),
                Err(error) => {
                    let error = backend.failed("a key could not be made", error);
                    planned.outcome = Some(Err(error));
                }
            }
        }
        let mut made = planned.iter_mut().rev().filter(|planned| planned.made.is_some());
        if let Some(last) = made.next()
            && let Some(key) = &last.made
        {
            last.known_answer = Some(self.read_back(backend, &last.version, key).await?);
        }
        if self.node.is_some() {
            for planned in made {
                let Some(key) = &planned.made else { continue };
                planned.known_answer = Some(backend.known_answer(&planned.version.id, key).await?);
            }
        }
        Ok(())
    }

    /// Publishes what is made, and waits once until every node can use all of it.
    async fn publish_together(&self, planned: &mut [Planned<'_>]) {
        let publish = |planned: &Planned<'_>, snapshot: &Snapshot, now| {
            let command = VersionCommand::Publish {
                backend_key: planned.made.clone(),
            };
            planned.take((&planned.call, Outcome::Begun), snapshot, now, |_| {
                vec![Step::Version(planned.version.id.version, command)]
            })
        };
        self.commit_each(under_way(planned), false, publish).await;
        let published = under_way(planned);
        let versions: Vec<_> = published.iter().map(|planned| planned.version.id.clone()).collect();
        if !versions.is_empty()
            && let Err(error) = self.usable_everywhere(&versions).await
        {
            fail(published, error);
        }
    }

    fn deadline_for(&self, keys: usize) -> Instant {
        let times = u32::try_from(keys / IN_THE_TIME_OF_ONE + 1).unwrap_or(u32::MAX);
        let now = Instant::now();
        now.checked_add(self.manager_timeout.saturating_mul(times))
            .unwrap_or(now)
    }

    /// Commits what is decided of each key, all together. What fails has its outcome with that; the others
    /// have theirs if this is the end of it.
    async fn commit_each(
        &self,
        planned: Vec<&mut Planned<'_>>,
        is_end: bool,
        decide: impl Fn(&Planned<'_>, &Snapshot, Timestamp) -> Result<Decided<KeyEntry>, CommandError> + Send + Sync,
    ) {
        let Some(actor) = planned.first().map(|planned| planned.call.actor) else {
            return;
        };
        let committed = self.commit(actor, |snapshot, now| {
            let (mut all, mut answers) = (None, Vec::with_capacity(planned.len()));
            for planned in &planned {
                answers.push(decide(planned, snapshot, now).map(|Decided { changes, answer }| {
                    if let Some(changes) = changes {
                        all = Some(all.take().unwrap_or_else(Changes::new).and(changes));
                    }
                    answer
                }));
            }
            Ok(Decided {
                changes: all,
                answer: answers,
            })
        });
        let answers = match committed.await {
            Ok(answers) => answers,
            Err(error) => return fail(planned, error),
        };
        for (planned, answer) in planned.into_iter().zip(answers) {
            match answer {
                Ok(entry) if is_end => planned.outcome = Some(Ok(entry)),
                Ok(_) => {}
                Err(error) => planned.outcome = Some(Err(error)),
            }
        }
    }

    /// Records which keys were not made, and why.
    async fn record_failures(&self, planned: &mut [Planned<'_>]) {
        let now = self.now();
        let failure = |planned: &Planned<'_>| match &planned.outcome {
            Some(Err(error)) => Some(planned.call.failure(now, error)),
            _ => None,
        };
        let events: Vec<_> = planned.iter().filter_map(failure).collect();
        if events.is_empty() {
            return;
        }
        let failed = |planned: &&mut Planned<'_>| matches!(planned.outcome, Some(Err(_)));
        if let Err(store) = self.record(events).await
            && let Some(first) = planned.iter_mut().find(failed)
            && let Some(Err(error)) = first.outcome.take()
        {
            let error = Box::new(error);
            first.outcome = Some(Err(CommandError::NotRecorded { error, store }));
        }
    }
}

/// Fails keys for one reason: the first of them has it.
fn fail(planned: Vec<&mut Planned<'_>>, error: CommandError) {
    let mut error = Some(error);
    for planned in planned {
        planned.outcome = Some(Err(error.take().unwrap_or(CommandError::AnotherFailed)));
    }
}
