//! The entities that a request is about: its principal, its action, its key.

use std::collections::{HashMap, HashSet};

use cedar_policy::{Entities, Entity, EntityId, EntityTypeName, EntityUid, RestrictedExpression};
use xks_core::{KeyId, api::KeyOperation, authorize::Subject, key_store::UriPathPrefix, text::ErrorChain};

use crate::{error::CedarError, known::Known, misfit::Misfit};

pub(crate) const PRINCIPAL: &str = "Xks::Principal";
pub(crate) const KEY: &str = "Xks::Key";

/// The names of the types, parsed.
#[derive(Debug)]
pub(crate) struct Types {
    principal: EntityTypeName,
    pub(crate) key: EntityTypeName,
    pub(crate) key_store: EntityTypeName,
    action: EntityTypeName,
}

impl Types {
    pub(crate) fn new() -> Result<Self, CedarError> {
        let parse = |name: &str| {
            name.parse()
                .map_err(|error| CedarError::Schema(ErrorChain(&error).to_string()))
        };
        Ok(Self {
            principal: parse(PRINCIPAL)?,
            key: parse(KEY)?,
            key_store: parse("Xks::KeyStore")?,
            action: parse("Xks::Action")?,
        })
    }

    // MD-6: any text is a principal.
    pub(crate) fn principal(&self, subject: &Subject<'_>) -> EntityUid {
        uid(&self.principal, subject.principal)
    }

    pub(crate) fn action(&self, operation: KeyOperation) -> EntityUid {
        uid(&self.action, operation.as_str())
    }

    pub(crate) fn key(&self, subject: &Subject<'_>) -> EntityUid {
        uid(&self.key, subject.key.as_str())
    }

    fn key_store(&self, subject: &Subject<'_>) -> EntityUid {
        uid(&self.key_store, subject.context.key_store().as_str())
    }

    /// Why a key or a key store cannot be called so, if it cannot.
    // URI-1, URI-3
    pub(crate) fn impossible(&self, named: &EntityUid) -> Option<String> {
        let (of_type, id) = (named.type_name(), named.id().unescaped());
        let why = if *of_type == self.key {
            KeyId::new(id).err()?.to_string()
        } else if *of_type == self.key_store {
            UriPathPrefix::new(id).err()?.to_string()
        } else {
            return None;
        };
        Some(format!("`{named}`, but {why}"))
    }

    /// All that a request needs: its principal and its key, and what is known of them and of its key store.
    pub(crate) fn of(&self, subject: &Subject<'_>, known: &Known) -> Result<Entities, Misfit> {
        let roots = vec![self.principal(subject), self.key(subject), self.key_store(subject)];
        known.with(self.own(subject, known)?, roots)
    }

    /// The principal, unless it is known, and the key.
    pub(crate) fn own(&self, subject: &Subject<'_>, known: &Known) -> Result<Vec<Entity>, Misfit> {
        let key = self.key_of(subject, known)?;
        let principal = self.principal_of(subject, known)?;
        Ok(principal.into_iter().chain([key]).collect())
    }

    fn principal_of(&self, subject: &Subject<'_>, known: &Known) -> Result<Option<Entity>, Misfit> {
        let principal = self.principal(subject);
        if known.get(&principal).is_some() {
            return Ok(None);
        }
        let id = Some(text("id", subject.principal));
        let account = subject.account().map(|account| text("account", account));
        entity(principal, id.into_iter().chain(account).collect(), HashSet::new()).map(Some)
    }

    /// The key is in the key store that the request came to, and in no other: there may be one of the same
    /// id.
    fn key_of(&self, subject: &Subject<'_>, known: &Known) -> Result<Entity, Misfit> {
        let key = self.key(subject);
        let (key, attributes, mut parents) = match known.get(&key) {
            Some(known) => known.clone().into_inner(),
            None => {
                let attributes = HashMap::from([text("id", subject.key.as_str())]);
                (key, attributes, HashSet::new())
            }
        };
        parents.insert(self.key_store(subject));
        entity(key, attributes, parents)
    }
}

fn uid(of_type: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(of_type.clone(), EntityId::new(id))
}

fn text(name: &str, value: &str) -> (String, RestrictedExpression) {
    (name.to_owned(), RestrictedExpression::new_string(value.to_owned()))
}

fn entity(
    uid: EntityUid,
    attributes: HashMap<String, RestrictedExpression>,
    parents: HashSet<EntityUid>,
) -> Result<Entity, Misfit> {
    Entity::new(uid, attributes, parents).map_err(|error| Misfit::request(&error))
}
