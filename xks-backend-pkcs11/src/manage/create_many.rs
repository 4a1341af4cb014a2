//! The making of many keys: what is searched for each time when one key is made is looked up once for all.

use std::{
    collections::{HashMap, HashSet},
    time::Instant,
};

use cryptoki_sys as ck;
use xks_core::{
    KeyId,
    manage::{CreationToken, ManageError, NewKey},
};

use super::{
    Here,
    create::{contended, keep_as_asked, make, to_id, token_of, unseen},
    refusal, too_late,
};
use crate::{
    config::KeyName,
    error::CallError,
    gcm::AttemptError,
    keys::{Key, MOST_KEYS, secret_keys},
    request::Failed,
    session::SessionSlot,
    token::Token,
};

/// How many keys of the token are looked at for each that is to be made, at most. With more of them, a search
/// for each new key costs less.
const MOST_LOOKED_AT: usize = 8;

type Made = Result<(KeyId, Key), ManageError>;

/// What the token has before anything is made.
#[derive(Default)]
struct Known {
    handles: HashSet<ck::CK_OBJECT_HANDLE>,
    tokens: HashSet<CreationToken>,
    labels: HashSet<String>,
}

impl Known {
    fn add(&mut self, key: &Key) {
        self.tokens.extend(key.identity.id().and_then(token_of));
        self.labels.insert(key.identity.label_text());
    }

    /// Whether nothing on the token has to do with a key that is to be made.
    fn is_new(&self, new: &NewKey) -> bool {
        !self.tokens.contains(&new.token()) && !self.labels.contains(new.label().as_str())
    }
}

/// The outcomes of keys of which none was made, for this reason.
pub(super) fn all_failed<T>(error: ManageError, count: usize) -> Vec<Result<T, ManageError>> {
    let following = || error.for_the_following().unwrap_or_else(|| error.kind().into());
    let mut outcomes: Vec<_> = (1..count).map(|_| Err(following())).collect();
    outcomes.insert(0, Err(error));
    outcomes.truncate(count);
    outcomes
}

impl Token {
    pub(super) fn create_keys(
        &self,
        session_slot: &mut SessionSlot,
        deadline: Instant,
        keys: &[NewKey],
    ) -> Vec<Result<KeyId, ManageError>> {
        match self.create_together(session_slot, deadline, keys) {
            Ok(Some(made)) => {
                let shown = made.into_iter().map(|made| {
                    let (id, key) = made?;
                    self.show(&id, &key, deadline);
                    Ok(id)
                });
                shown.collect()
            }
            Ok(None) => in_order(keys, |new| self.create_key(session_slot, deadline, new)),
            Err(error) => all_failed(error, keys.len()),
        }
    }

    /// Makes keys; nothing if the token has so many that they are better made one by one.
    fn create_together(
        &self,
        session_slot: &mut SessionSlot,
        deadline: Instant,
        keys: &[NewKey],
    ) -> Result<Option<Vec<Made>>, ManageError> {
        let _turn = self.module.take_turn(deadline)?;
        // An attempt that follows another one finds what that has made.
        let made = self.with_session(session_slot, deadline, |access, connection, session| {
            let here = self.here(access, connection, session, deadline);
            let Some(mut known) = self.know(&here, keys.len().saturating_mul(MOST_LOOKED_AT))? else {
                return Ok(None);
            };
            let mut failed = None;
            let mut made = in_order(keys, |new| {
                let made = self.create_known(&here, new, &mut known);
                made.unwrap_or_else(|error| {
                    failed = Some(error);
                    Err(too_late()) // it is not returned
                })
            });
            match failed {
                Some(error) => Err(error),
                None => {
                    self.confirm_alone(&here, &known, &mut made)?;
                    Ok(Some(made))
                }
            }
        });
        Ok(made.map_err(Failed::into_error)?)
    }

    /// Looks at the keys of the token, unless there are more than so many.
    fn know(&self, here: &Here<'_>, most: usize) -> Result<Option<Known>, CallError> {
        let handles = secret_keys(here.on, most.saturating_add(1))?;
        if handles.len() > most {
            return Ok(None);
        }
        let mut known = Known::default();
        for handle in handles {
            known.handles.insert(handle);
            if let Some((key, _)) = self.keys.examine(here.on, handle)? {
                known.add(&key);
            }
        }
        Ok(Some(known))
    }

    /// Makes one key beside those that are known.
    fn create_known(&self, here: &Here<'_>, new: &NewKey, known: &mut Known) -> Result<Made, AttemptError> {
        if Instant::now() >= here.deadline {
            return Ok(Err(too_late()));
        }
        let name = KeyName::Id(to_id(new.token()));
        let id = match self.id_of(new, &name) {
            Ok(id) => id,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(useless) = self.useless(here, new)? {
            return Ok(Err(useless));
        }
        if !known.is_new(new) {
            let found = self.find_or_make(here, new, &name)?;
            return Ok(found.and_then(|key| key.map(|key| (id, key)).ok_or_else(contended)));
        }
        let has_login = here.connection.wants_login;
        let made = match make(here.on, has_login, new, &name) {
            Ok(made) => made,
            Err(error) => return refusal::or_failure(&error, has_login, "the token makes no such key"),
        };
        let Some((key, exposure)) = self.keys.examine(here.on, made)? else {
            return Ok(Err(unseen(&name)));
        };
        known.add(&key);
        Ok(keep_as_asked(here.on, new, &key, &exposure)?.map(|()| (id, key)))
    }

    /// Checks that the token shows what was made, and that no other process has made the same meanwhile. If
    /// one has, its key is left.
    fn confirm_alone(&self, here: &Here<'_>, known: &Known, made: &mut [Made]) -> Result<(), CallError> {
        let handles = secret_keys(here.on, MOST_KEYS)?;
        let shown: HashSet<_> = handles.iter().copied().collect();
        let mut own: HashMap<CreationToken, &mut Made> = HashMap::new();
        for outcome in made {
            let token = |key: &Key| key.identity.id().and_then(token_of);
            if let Some(token) = outcome.as_ref().ok().and_then(|(_, key)| token(key)) {
                own.insert(token, outcome);
            }
        }
        let own_handles: HashSet<_> = own.values().filter_map(|made| handle_of(made)).collect();
        let is_other = |handle: &ck::CK_OBJECT_HANDLE| !known.handles.contains(handle) && !own_handles.contains(handle);
        for handle in handles.into_iter().filter(is_other) {
            let Some((other, _)) = self.keys.examine(here.on, handle)? else {
                continue;
            };
            let made = other
                .identity
                .id()
                .and_then(token_of)
                .and_then(|token| own.get_mut(&token));
            let Some(Ok((id, key))) = made.as_deref() else { continue };
            let outcome = if shown.contains(&key.handle) {
                here.on.cryptoki.destroy_object(here.on.session, key.handle)?;
                Err(contended())
            } else {
                Ok((id.clone(), other)) // the module has a new handle for it
            };
            if let Some(made) = made {
                **made = outcome;
            }
        }
        for (token, made) in own {
            if handle_of(made).is_some_and(|handle| !shown.contains(&handle)) {
                *made = Err(unseen(&KeyName::Id(to_id(token))));
            }
        }
        Ok(())
    }
}

fn handle_of(made: &Made) -> Option<ck::CK_OBJECT_HANDLE> {
    made.as_ref().ok().map(|(_, key)| key.handle)
}

/// Makes one after the other, until one fails for a reason that is not its own.
fn in_order<T>(
    keys: &[NewKey],
    mut make: impl FnMut(&NewKey) -> Result<T, ManageError>,
) -> Vec<Result<T, ManageError>> {
    let mut outcomes: Vec<Result<T, ManageError>> = Vec::with_capacity(keys.len());
    for new in keys {
        let failed = outcomes.last().and_then(|last| last.as_ref().err());
        let following = failed.and_then(ManageError::for_the_following);
        outcomes.push(following.map_or_else(|| make(new), Err));
    }
    outcomes
}
