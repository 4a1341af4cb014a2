//! The operations on aliases, by which tools such as those for S3 name keys.

use std::sync::Arc;

use super::{
    Kms,
    api::{AliasListEntry, CreateAliasRequest, DeleteAliasRequest, Empty, ListAliasesRequest, ListAliasesResponse},
    caller::Caller,
    exception::{Exception, ExceptionName},
    page::{Limits, page},
    state::Alias,
};

impl Kms {
    /// Gives a key another name.
    ///
    /// # Errors
    /// There is no such key, or it is going to be deleted, or the name cannot be given or is given already.
    pub async fn create_alias(&self, _: &Caller, request: CreateAliasRequest) -> Result<Empty, Exception> {
        let name = request.alias_name;
        check_name(&name)?;
        self.change(|state| {
            if state.aliases.iter().any(|alias| alias.name == name) {
                let message = format!("There is an alias {name} already");
                return Err(Exception::new(ExceptionName::AlreadyExists, message));
            }
            if request.target_key_id.contains("alias/") {
                return Err(Exception::validation("TargetKeyId has to be a key id or a key's ARN"));
            }
            let key = state.key_by_id(&request.target_key_id)?;
            state.check_key_state("CreateAlias", key)?;
            let key_id = key.id.clone();
            state.aliases.push(Arc::new(Alias {
                name,
                key_id,
                created: self.now(),
            }));
            state.aliases.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(Empty {})
        })
    }

    /// Takes a name away.
    ///
    /// # Errors
    /// There is no such alias.
    pub async fn delete_alias(&self, _: &Caller, request: DeleteAliasRequest) -> Result<Empty, Exception> {
        let name = request.alias_name;
        self.change(|state| {
            let before = state.aliases.len();
            state.aliases.retain(|alias| alias.name != name);
            if state.aliases.len() == before {
                let message = format!("The alias {name:?} does not exist");
                return Err(Exception::new(ExceptionName::NotFound, message));
            }
            Ok(Empty {})
        })
    }

    /// Tells which names there are.
    ///
    /// # Errors
    /// There is no such key, or `Limit` or `Marker` is none.
    pub async fn list_aliases(
        &self,
        _: &Caller,
        request: ListAliasesRequest,
    ) -> Result<ListAliasesResponse, Exception> {
        self.read(|state| {
            let key = request
                .key_id
                .as_deref()
                .map(|named| state.key_by_id(named))
                .transpose()?;
            let is_wanted = |alias: &&Arc<Alias>| key.is_none_or(|key| alias.key_id == key.id);
            let wanted = state.aliases.iter().filter(is_wanted);
            let (limit, marker) = (request.limit, request.marker.as_deref());
            let page = page(wanted, |alias| &alias.name, Limits::ALIASES, limit, marker)?;
            let entry = |alias: &&Arc<Alias>| AliasListEntry {
                alias_name: alias.name.clone(),
                alias_arn: self.arn(&alias.name),
                target_key_id: alias.key_id.clone(),
                creation_date: alias.created,
                last_updated_date: alias.created,
            };
            Ok(ListAliasesResponse {
                aliases: page.items.iter().map(entry).collect(),
                truncated: page.next_marker.is_some(),
                next_marker: page.next_marker,
            })
        })
    }
}

fn check_name(name: &str) -> Result<(), Exception> {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-".contains(&byte);
    let rest = name.strip_prefix("alias/").filter(|rest| !rest.is_empty());
    if !rest.is_some_and(|rest| rest.bytes().all(is_legal)) || name.len() > 256 {
        return Err(Exception::validation(
            "AliasName has to be alias/ and 1 to 250 characters of a-z A-Z 0-9 / _ -",
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
