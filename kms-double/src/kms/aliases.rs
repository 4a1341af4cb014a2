//! The operations on aliases, by which tools such as those for S3 name keys.

use std::sync::Arc;

use super::{
    Kms,
    api::{
        AliasListEntry, CreateAliasRequest, DeleteAliasRequest, Empty, ListAliasesRequest, ListAliasesResponse,
        UpdateAliasRequest,
    },
    caller::Caller,
    exception::{Exception, ExceptionName},
    operation::Operation,
    page::{Limits, page, page_of},
    state::{Alias, State},
};

impl Kms {
    /// Gives a key another name.
    ///
    /// # Errors
    /// There is no such key, or it is going to be deleted, or the name cannot be given or is given already.
    pub async fn create_alias(&self, caller: &Caller, request: CreateAliasRequest) -> Result<Empty, Exception> {
        self.operate("CreateAlias", caller, async |operation| {
            check_name(&request.alias_name)?;
            operation.change(|state| {
                if state.aliases().get(&request.alias_name).is_some() {
                    let message = format!("There is an alias {} already", request.alias_name);
                    return Err(Exception::new(ExceptionName::AlreadyExists, message));
                }
                let key_id = self.alias_target(operation, state, &request.target_key_id)?;
                state.put_alias(Alias {
                    name: request.alias_name.clone(),
                    key_id,
                    created: self.now(),
                    updated: self.now(),
                });
                Ok(Empty {})
            })
        })
        .await
    }

    /// Moves a name to another key.
    ///
    /// # Errors
    /// There is no such name or key, or the new key is going to be deleted or has too many names.
    pub async fn update_alias(&self, caller: &Caller, request: UpdateAliasRequest) -> Result<Empty, Exception> {
        self.operate("UpdateAlias", caller, async |operation| {
            check_name(&request.alias_name)?;
            operation.change(|state| {
                let key_id = self.alias_target(operation, state, &request.target_key_id)?;
                let alias = state.alias(&request.alias_name);
                let alias = alias.ok_or_else(|| no_alias(&request.alias_name))?.clone();
                operation.check_permission(operation.name, state.key_by_id(&alias.key_id)?)?;
                state.put_alias(Alias {
                    key_id,
                    updated: self.now(),
                    ..alias
                });
                Ok(Empty {})
            })
        })
        .await
    }

    /// Takes a name away.
    ///
    /// # Errors
    /// There is no such alias.
    pub async fn delete_alias(&self, caller: &Caller, request: DeleteAliasRequest) -> Result<Empty, Exception> {
        self.operate("DeleteAlias", caller, async |operation| {
            operation.change(|state| {
                let alias = state.alias(&request.alias_name);
                let alias = alias.ok_or_else(|| no_alias(&request.alias_name))?;
                operation.check_permission(operation.name, state.key_by_id(&alias.key_id)?)?;
                state.remove_alias(&request.alias_name);
                Ok(Empty {})
            })
        })
        .await
    }

    /// Tells which names there are.
    ///
    /// # Errors
    /// There is no such key, or `Limit` or `Marker` is none.
    pub async fn list_aliases(
        &self,
        caller: &Caller,
        request: ListAliasesRequest,
    ) -> Result<ListAliasesResponse, Exception> {
        self.operate("ListAliases", caller, async |operation| {
            operation.read(|state| {
                let page = match &request.key_id {
                    Some(named) => {
                        let aliases = state.aliases_of(&state.key_by_id(named)?.id);
                        page(aliases, |alias| &alias.name, Limits::ALIASES, &request)?
                    }
                    None => page_of(state.aliases(), Limits::ALIASES, &request)?,
                };
                let entry = |alias: &&Arc<Alias>| AliasListEntry {
                    alias_name: alias.name.clone(),
                    alias_arn: self.arn(&alias.name),
                    target_key_id: alias.key_id.clone(),
                    creation_date: alias.created,
                    last_updated_date: alias.updated,
                };
                Ok(ListAliasesResponse {
                    aliases: page.items.iter().map(entry).collect(),
                    truncated: page.is_truncated(),
                    next_marker: page.next_marker,
                })
            })
        })
        .await
    }

    /// The id of a key that can be given another name.
    fn alias_target(&self, operation: Operation<'_>, state: &State, named: &str) -> Result<String, Exception> {
        if named.contains("alias/") {
            return Err(Exception::validation("TargetKeyId has to be a key id or a key's ARN"));
        }
        let key = operation.key_by_id(state, named)?;
        if state.aliases_of(&key.id).len() >= self.0.settings.resources.aliases_of_a_key {
            let message = format!("{} has as many aliases as it may have", key.arn);
            return Err(Exception::new(ExceptionName::LimitExceeded, message));
        }
        Ok(key.id.clone())
    }
}

fn no_alias(name: &str) -> Exception {
    let message = format!("The alias {name:?} does not exist");
    Exception::new(ExceptionName::NotFound, message)
}

fn check_name(name: &str) -> Result<(), Exception> {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b":/_-".contains(&byte);
    let rest = name.strip_prefix("alias/").filter(|rest| !rest.is_empty());
    if !rest.is_some_and(|rest| rest.bytes().all(is_legal)) || name.len() > 256 {
        return Err(Exception::validation(
            "AliasName has to be alias/ and 1 to 250 characters of a-z A-Z 0-9 : / _ -",
        ));
    }
    if name.starts_with("alias/aws/") {
        return Err(Exception::new(
            ExceptionName::InvalidAliasName,
            "names that begin with alias/aws/ are for AWS's own keys",
        ));
    }
    Ok(())
}
