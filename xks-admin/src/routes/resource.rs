//! What is made, changed and removed as a whole: the paths of tenants, key sets, external key stores,
//! schedules and what is kept of AWS, once for all of them.

use std::{fmt::Display, str::FromStr};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use xks_lifecycle::{
    CloudAccountId, CommandError, Entry, FieldError, KeySetId, Snapshot, TenantId, commands::Administered,
    store::Revision,
};

use super::Routes;
use crate::{
    answer::{Answer, Page, Revised},
    call::Call,
    confirmation::Done,
    problem::Problem,
};

/// A noun with paths for all of its kind and for one.
pub(super) trait Resource: Administered<Id: FromStr + Display + Ord> {
    /// Where they are.
    const PATH: &'static str;
    /// The filters of a list that not all nouns have.
    const FILTERS: &'static [&'static str] = &[];
    /// What a new one is made of.
    type New: DeserializeOwned + Send;
    /// What changes one.
    type Patch: DeserializeOwned + Send;

    /// Makes one in a state.
    fn make(new: Self::New, snapshot: &Snapshot) -> Result<Self, Problem>;
    fn patch(&mut self, patch: Self::Patch) -> Result<(), FieldError>;
    fn id(&self) -> Self::Id;
    fn tenant(&self, snapshot: &Snapshot) -> Option<TenantId>;
    /// In which cloud account it is, for what is in AWS.
    fn account(&self) -> Option<CloudAccountId> {
        None
    }
    /// To which key set it belongs, for what belongs to one.
    fn key_set(&self) -> Option<KeySetId> {
        None
    }
    fn name(&self) -> &str;
    fn find(snapshot: &Snapshot, id: Self::Id) -> Option<&Entry<Self>>;
    /// Commits a new one, with what is made along with it.
    fn create(call: &Call, record: Self) -> impl Future<Output = Result<Revision, CommandError>> + Send {
        call.commands.create(&call.actor, record)
    }
    fn all(snapshot: &Snapshot) -> impl Iterator<Item = &Entry<Self>>;
}

/// Which part of a list is wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    tenant: Option<TenantId>,
    name: Option<String>,
    account: Option<CloudAccountId>,
    key_set: Option<KeySetId>,
    after: Option<String>,
    #[serde(default)]
    limit: Limit,
}

/// How many items a page has at most: 1 to 1000, 100 by default.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "u64")]
pub(super) struct Limit(u16);

impl Limit {
    const MAX: u16 = 1000;

    pub(super) fn get(self) -> usize {
        self.0.into()
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(100)
    }
}

impl TryFrom<u64> for Limit {
    type Error = String;

    fn try_from(number: u64) -> Result<Self, String> {
        let legal = u16::try_from(number)
            .ok()
            .filter(|number| (1..=Self::MAX).contains(number));
        legal
            .map(Self)
            .ok_or_else(|| format!("it must be a number from 1 to {}", Self::MAX))
    }
}

/// The paths of a noun.
pub(super) fn routes<R: Resource>() -> Routes {
    let all = format!("/{}", R::PATH);
    let each = format!("{all}/{{id}}");
    Routes::new()
        .get(&all, list::<R>)
        .post(&all, create::<R>)
        .get(&each, show::<R>)
        .patch(&each, patch::<R>)
        .delete(&each, remove::<R>)
}

/// The id that the path has, if it is one.
pub(super) fn id<R: Resource>(call: &Call) -> Result<R::Id, Problem> {
    let text = call.param(0);
    text.parse().map_err(|_| Problem::unknown(R::PATH, text))
}

/// The object of a command, as events call it.
pub(super) fn object(path: &str, id: &str) -> String {
    let id: String = id.chars().take(128).collect();
    format!("{path}/{id}")
}

/// One as it is now.
fn shown<R: Resource>(call: &Call, id: R::Id) -> Result<Answer, Problem> {
    entry::<R>(call, id).map(|(answer, _)| answer)
}

/// One as a command has left it.
pub(super) fn done<R: Resource>(call: &Call, id: R::Id) -> Result<Done, Problem> {
    entry::<R>(call, id).map(|(answer, revision)| answer.done(revision))
}

fn entry<R: Resource>(call: &Call, id: R::Id) -> Result<(Answer, Revision), Problem> {
    let entry = call.commands.read(|snapshot| R::find(snapshot, id).cloned());
    let entry = entry.ok_or_else(|| Problem::unknown(R::PATH, &id.to_string()))?;
    let revision = entry.revision();
    let record = &*entry;
    Ok((Answer::json(&Revised { record, revision })?.at(revision), revision))
}

async fn list<R: Resource>(call: Call) -> Result<Answer, Problem> {
    let query: ListQuery = call.query()?;
    let given = [
        ("account", query.account.is_some()),
        ("key_set", query.key_set.is_some()),
    ];
    for (name, is_given) in given {
        if is_given && !R::FILTERS.contains(&name) {
            return Err(Problem::parameter(name, format!("{} have no filter `{name}`", R::PATH)));
        }
    }
    let after: Option<R::Id> = match &query.after {
        None => None,
        Some(text) => {
            let wrong = || Problem::parameter("after", "`after` must be the `next` of a page".to_owned());
            Some(text.parse().map_err(|_| wrong())?)
        }
    };
    let page = call.commands.read(|snapshot| {
        let wanted = R::all(snapshot)
            .filter(|entry| after.is_none_or(|after| entry.id() > after))
            .filter(|entry| query.tenant.is_none_or(|tenant| entry.tenant(snapshot) == Some(tenant)))
            .filter(|entry| query.name.as_ref().is_none_or(|name| entry.name() == name))
            .filter(|entry| query.account.is_none_or(|account| entry.account() == Some(account)))
            .filter(|entry| query.key_set.is_none_or(|set| entry.key_set() == Some(set)));
        let revised = wanted.map(|entry| Revised {
            revision: entry.revision(),
            record: (**entry).clone(),
        });
        Page::of(revised, query.limit.get(), |last| last.record.id().to_string())
    });
    Answer::json(&page)
}

async fn show<R: Resource>(call: Call) -> Result<Answer, Problem> {
    shown::<R>(&call, id::<R>(&call)?)
}

async fn create<R: Resource>(call: Call) -> Result<Done, Problem> {
    let work = async {
        let new = call.body()?;
        let record = call.commands.read(|snapshot| R::make(new, snapshot))?;
        let id = record.id();
        R::create(&call, record).await?;
        Ok(done::<R>(&call, id)?.created(format_args!("{}/{id}", R::PATH)))
    };
    call.command("create", R::PATH, work).await
}

async fn patch<R: Resource>(call: Call) -> Result<Done, Problem> {
    let work = async {
        let id = id::<R>(&call)?;
        let found = call.commands.read(|snapshot| R::find(snapshot, id).cloned());
        let found = found.ok_or_else(|| Problem::unknown(R::PATH, call.param(0)))?;
        let mut record = (*found).clone();
        record.patch(call.body()?)?;
        let seen = call.seen()?;
        // What is not in the patch stays as it was read, so it must not have changed.
        let read = Some(seen.unwrap_or(found.revision()));
        let updated = call.commands.update(&call.actor, record, read).await;
        updated.map_err(|error| Problem::from(error).precondition(seen))?;
        done::<R>(&call, id)
    };
    call.command("update", &object(R::PATH, call.param(0)), work).await
}

async fn remove<R: Resource>(call: Call) -> Result<Done, Problem> {
    let work = async {
        let (id, seen) = (id::<R>(&call)?, call.seen()?);
        let _: Nothing = call.body()?;
        let removed = call.commands.remove::<R>(&call.actor, id, seen).await;
        let revision = removed.map_err(|error| Problem::from(error).precondition(seen))?;
        Ok(Answer::json(&Nothing {})?.done(revision))
    };
    call.command("remove", &object(R::PATH, call.param(0)), work).await
}

/// The body of a command that needs none.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}
