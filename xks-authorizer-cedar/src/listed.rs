//! Entities in Cedar's JSON format, as they are written beside the policies.

use cedar_policy::Entities;
use serde_json::{Value, json};
use xks_core::{api::KeyOperation, authorize::Subject, text::ErrorChain};

use crate::{
    entities::{KEY, PRINCIPAL},
    error::CedarError,
    model::{Model, with_sample},
};

/// Reads them, and adds the actions of the schema. Principals and keys get the attributes that they would
/// have if they were not listed.
pub(crate) fn read(json: &str, model: &Model) -> Result<Entities, CedarError> {
    let problem = CedarError::Entities;
    let mut json: Value = serde_json::from_str(json).map_err(|error| problem(error.to_string()))?;
    for entity in json.as_array_mut().into_iter().flatten() {
        complete(entity).map_err(problem)?;
    }
    let entities = Entities::from_json_value(json, Some(&model.schema));
    let entities = entities.map_err(|error| problem(ErrorChain(&error).to_string()))?;
    for entity in entities.iter() {
        let uid = entity.uid();
        let mut ancestors = entities.ancestors(&uid).into_iter().flatten();
        if ancestors.any(|ancestor| *ancestor.type_name() == model.types.key_store) {
            let why = format!("{uid} must not have a key store: the request decides the key store of a key");
            return Err(problem(why));
        }
        if *uid.type_name() == model.types.key && entity.tags().next().is_some() {
            return Err(problem(format!("{uid} has tags: use attributes instead")));
        }
        if let Some(why) = model.types.impossible(&uid) {
            return Err(problem(why));
        }
    }
    Ok(entities)
}

/// What is no entity at all is left for Cedar to refuse.
fn complete(entity: &mut Value) -> Result<(), String> {
    let uid = entity.get("uid").unwrap_or(&Value::Null);
    let uid = uid.get("__entity").unwrap_or(uid);
    let text = |field| uid.get(field).and_then(Value::as_str).map(str::to_owned);
    let (Some(of_type), Some(id)) = (text("type"), text("id")) else {
        return Ok(());
    };
    let Some(entity) = entity.as_object_mut() else {
        return Ok(());
    };
    entity.entry("parents").or_insert_with(|| json!([]));
    let attributes = entity.entry("attrs").or_insert_with(|| json!({})).as_object_mut();
    let Some(attributes) = attributes.filter(|_| of_type == PRINCIPAL || of_type == KEY) else {
        return Ok(());
    };
    if of_type == PRINCIPAL {
        match account(&id)? {
            Some(account) => attributes.insert("account".to_owned(), account.into()),
            None => attributes.remove("account"),
        };
    }
    attributes.insert("id".to_owned(), id.into());
    Ok(())
}

// MD-6: by the rule of the core.
fn account(principal: &str) -> Result<Option<String>, String> {
    let metadata = json!({ "awsPrincipalArn": principal }).to_string();
    let account = |subject: &Subject<'_>| subject.account().map(str::to_owned);
    with_sample(KeyOperation::Encrypt, &metadata, account)
}
