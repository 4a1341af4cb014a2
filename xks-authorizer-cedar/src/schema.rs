//! Looking things up in a schema in Cedar's JSON form.

use serde_json::Value;

/// The record that the context of an action is.
pub(crate) fn context_of<'a>(schema: &'a Value, action: &str) -> Result<&'a Value, String> {
    let context = schema
        .pointer(&format!("/Xks/actions/{action}/appliesTo/context"))
        .ok_or_else(|| format!("Xks::Action::\"{action}\" has no context"))?;
    resolved(schema, context)
}

/// What the schema calls a type; its own types may have the namespace of Cedar's before them.
pub(crate) fn type_name(declared: &Value) -> &str {
    let name = declared.get("type").and_then(Value::as_str).unwrap_or_default();
    name.strip_prefix("__cedar::").unwrap_or(name)
}

pub(crate) fn attributes_of(record: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let attributes = record.get("attributes").and_then(Value::as_object);
    attributes.into_iter().flatten()
}

/// The type behind a name, if it is one of `type Name = ...`. Cedar has seen that none leads back to itself.
pub(crate) fn resolved<'a>(schema: &'a Value, mut declared: &'a Value) -> Result<&'a Value, String> {
    loop {
        let name = type_name(declared);
        let (namespace, base) = name.rsplit_once("::").unwrap_or(("", name));
        let common = schema.get(namespace).and_then(|namespace| namespace.get("commonTypes"));
        match common.and_then(|types| types.get(base)) {
            Some(behind) => declared = behind,
            None if name.is_empty() => return Err("a type has no name".to_owned()),
            None => return Ok(declared),
        }
    }
}
