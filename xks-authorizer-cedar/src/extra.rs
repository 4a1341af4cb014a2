//! The fields that requestMetadata may have beyond those known when this was written, as a schema declares
//! them.

use std::collections::BTreeMap;

use cedar_policy::RestrictedExpression;
use serde_json::Value;
use xks_core::api::RequestMetadata;

use crate::{
    context::{BUILT_IN, MAY_BE_ABSENT},
    schema::{attributes_of, context_of, resolved, type_name},
};

/// The extra fields that the schema declares for one action, each of them optional.
#[derive(Debug)]
pub(crate) struct ExtraFields(BTreeMap<String, Type>);

/// What a field may hold.
#[derive(Debug)]
enum Type {
    Bool,
    Long,
    String,
    Set(Box<Self>),
    Record(BTreeMap<String, Attribute>),
}

#[derive(Debug)]
struct Attribute {
    holds: Type,
    is_required: bool,
}

impl ExtraFields {
    /// Reads them out of a schema in Cedar's JSON form, and sees that the built-in ones are there. An error
    /// says what is wrong with the schema.
    pub(crate) fn of_action(schema: &Value, action: &str) -> Result<Self, String> {
        let mut fields = BTreeMap::new();
        for (name, declared) in attributes_of(context_of(schema, action)?) {
            fields.insert(name.clone(), Attribute::read(schema, name, declared)?);
        }
        for name in BUILT_IN {
            let may_be_absent = MAY_BE_ABSENT.contains(&name);
            let does = |declared: &Attribute| {
                matches!(declared.holds, Type::String) && !(may_be_absent && declared.is_required)
            };
            if !fields.remove(name).is_some_and(|declared| does(&declared)) {
                let optional = if may_be_absent { "?" } else { "" };
                return Err(format!(
                    "the context of Xks::Action::\"{action}\" needs `{name}{optional}: String`"
                ));
            }
        }
        if let Some((name, _)) = fields.iter().find(|(_, declared)| declared.is_required) {
            return Err(format!("`{name}` is to be `{name}?`, as KMS may not send it"));
        }
        let fields = fields.into_iter().map(|(name, declared)| (name, declared.holds));
        Ok(Self(fields.collect()))
    }

    // MD-5: those that a request has and the schema declares; nothing can ask for the others. An error is the
    // name of a field that holds something else than the schema says, or that is there twice: a policy
    // cannot decide by it.
    pub(crate) fn of<'a>(
        &'a self,
        metadata: &RequestMetadata<'_>,
    ) -> Result<BTreeMap<&'a str, RestrictedExpression>, &'a str> {
        let mut found = BTreeMap::new();
        if self.0.is_empty() {
            return Ok(found);
        }
        for (name, json) in metadata.extra() {
            let Some((name, holds)) = self.0.get_key_value(name) else {
                continue;
            };
            let json: Option<Value> = serde_json::from_str(json).ok();
            let value = json.and_then(|json| holds.value(&json)).ok_or(name.as_str())?;
            if found.insert(name.as_str(), value).is_some() {
                return Err(name);
            }
        }
        Ok(found)
    }
}

impl Attribute {
    fn read(schema: &Value, name: &str, declared: &Value) -> Result<Self, String> {
        Ok(Self {
            holds: Type::read(schema, name, declared)?,
            is_required: declared.get("required") != Some(&Value::Bool(false)),
        })
    }
}

impl Type {
    fn read(schema: &Value, name: &str, declared: &Value) -> Result<Self, String> {
        let declared = resolved(schema, declared)?;
        Ok(match type_name(declared) {
            "Bool" | "Boolean" => Self::Bool,
            "Long" => Self::Long,
            "String" => Self::String,
            "Set" => Self::Set(Box::new(Self::read(
                schema,
                name,
                declared.get("element").unwrap_or(&Value::Null),
            )?)),
            "Record" => {
                let attributes = attributes_of(declared)
                    .map(|(name, declared)| Ok((name.clone(), Attribute::read(schema, name, declared)?)));
                Self::Record(attributes.collect::<Result<_, String>>()?)
            }
            _ => {
                return Err(format!(
                    "`{name}` can only be a String, Long, Bool, or a set or record of these: a field of \
                     requestMetadata is JSON"
                ));
            }
        })
    }

    /// None when it is something else. What a record has beyond what is declared is left out here too.
    fn value(&self, json: &Value) -> Option<RestrictedExpression> {
        match self {
            Self::Bool => json.as_bool().map(RestrictedExpression::new_bool),
            Self::Long => json.as_i64().map(RestrictedExpression::new_long),
            Self::String => json
                .as_str()
                .map(|text| RestrictedExpression::new_string(text.to_owned())),
            Self::Set(element) => {
                let values: Option<Vec<_>> = json.as_array()?.iter().map(|json| element.value(json)).collect();
                values.map(RestrictedExpression::new_set)
            }
            Self::Record(attributes) => {
                let json = json.as_object()?;
                let mut values = Vec::new();
                for (name, attribute) in attributes {
                    match json.get(name) {
                        Some(json) => values.push((name.clone(), attribute.holds.value(json)?)),
                        None if attribute.is_required => return None,
                        None => {}
                    }
                }
                RestrictedExpression::new_record(values).ok()
            }
        }
    }
}
