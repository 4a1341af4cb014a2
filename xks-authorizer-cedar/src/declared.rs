//! The attributes that a schema declares. To Cedar, `context has kmsViaServise` is no error but false, so a
//! `forbid` with a mistyped name would never apply. Here it is an error.

use std::collections::BTreeSet;

use serde_json::Value;
use xks_core::api::KeyOperation;

use crate::schema::{attributes_of, context_of, resolved};

#[derive(Debug, Default)]
pub(crate) struct Declared {
    context: BTreeSet<String>,
    principal: BTreeSet<String>,
    resource: BTreeSet<String>,
    anywhere: BTreeSet<String>,
}

impl Declared {
    /// Reads them out of a schema in Cedar's JSON form. An error says what is wrong with the schema.
    pub(crate) fn new(schema: &Value) -> Result<Self, String> {
        let names = |record| attributes_of(record).map(|(name, _)| name.clone());
        let of_entity = |name| -> Result<BTreeSet<String>, String> {
            let shape = schema.pointer(&format!("/Xks/entityTypes/{name}/shape"));
            let shape = shape.map(|shape| resolved(schema, shape)).transpose()?;
            Ok(shape.into_iter().flat_map(names).collect())
        };
        let mut declared = Self {
            principal: of_entity("Principal")?,
            resource: of_entity("Key")?,
            ..Self::default()
        };
        for operation in [
            KeyOperation::GetKeyMetadata,
            KeyOperation::Encrypt,
            KeyOperation::Decrypt,
        ] {
            declared.context.extend(names(context_of(schema, operation.as_str())?));
        }
        declared.gather(schema);
        Ok(declared)
    }

    fn gather(&mut self, json: &Value) {
        self.anywhere.extend(attributes_of(json).map(|(name, _)| name.clone()));
        for_each_in(json, |json| self.gather(json));
    }

    /// What a policy, in Cedar's JSON form, asks for with `has` that nothing has.
    pub(crate) fn mistakes(&self, policy: &Value, found: &mut Vec<String>) {
        let has = policy.get("has");
        let asked = has.and_then(|has| Some((has.get("left")?, has.get("attr")?.as_str()?)));
        if let Some((left, attribute)) = asked {
            let variable = left.get("Var").and_then(Value::as_str);
            let declared = match variable {
                Some("context") => &self.context,
                Some("principal") => &self.principal,
                Some("resource") => &self.resource,
                _ => &self.anywhere,
            };
            if !declared.contains(attribute) {
                found.push(format!(
                    "`{} has {attribute}`: no entity has this attribute",
                    variable.unwrap_or("...")
                ));
            }
        }
        for_each_in(policy, |json| self.mistakes(json, found));
    }
}

fn for_each_in(json: &Value, mut act: impl FnMut(&Value)) {
    match json {
        Value::Array(values) => values.iter().for_each(act),
        Value::Object(values) => values.values().for_each(&mut act),
        _ => {}
    }
}
