//! The settings of secondary authorization: rules, or policies in Cedar.

use xks_core::{api::KeyOperation, authorize::Rule};

use super::patterns::{Scope, why_never};
use crate::settings::{Authorization, secrecy::shown, table::Table};

/// None when something was wrong, so that no principal is let in by mistake.
pub(super) fn authorization(table: &mut Table<'_, '_>, scope: &Scope<'_>) -> Option<Authorization> {
    let has_rules = table.has("rules");
    let rules = table.tables("rules");
    if let Some(first) = rules.first().filter(|_| !rules.iter().any(|rule| rule.has("allow"))) {
        let warning = "no rule allows anything: every request is denied";
        first.source.warn(first.span.clone(), warning);
    }
    let rules: Vec<_> = rules.into_iter().map(|table| rule(table, scope)).collect();
    let cedar = table.table("cedar");
    match (has_rules, cedar) {
        (true, Some(_)) => {
            table.error("`rules` and `cedar` exclude each other: remove one");
            None
        }
        (false, Some(cedar)) => policies(cedar),
        (false, None) => Some(Authorization::AllowAll),
        (true, None) if rules.is_empty() => {
            table.error("`rules` is empty, which denies every request: remove it, or add a rule");
            None
        }
        (true, None) => rules.into_iter().collect::<Option<_>>().map(Authorization::Rules),
    }
}

fn rule(mut table: Table<'_, '_>, scope: &Scope<'_>) -> Option<Rule> {
    let denies = table.has("deny");
    let mut rule = match (table.text("allow"), table.text("deny")) {
        (Some(name), None) => Some(Rule::allow(name.value)),
        (None, Some(name)) => Some(Rule::deny(name.value)),
        _ => {
            table.error("a rule needs a name: `allow = \"...\"` or `deny = \"...\"`");
            None
        }
    };
    type Condition = fn(Rule, &str) -> Rule;
    let conditions: [(&'static str, Condition); 9] = [
        ("principals", Rule::principal),
        ("accounts", Rule::account),
        ("kms_key_arns", Rule::kms_key_arn),
        ("regions", Rule::region),
        ("kms_via_services", Rule::kms_via_service),
        ("vpcs", Rule::vpc),
        ("vpc_endpoints", Rule::vpc_endpoint),
        ("kms_operations", Rule::kms_operation),
        ("keys", Rule::key),
    ];
    for (key, condition) in conditions {
        let Some(patterns) = table.texts(key) else { continue };
        if patterns.is_empty() {
            // A list that happens to be empty must not become no condition at all.
            table.error(format!("`{key}` is empty: remove it, or add a pattern"));
            rule = None;
        }
        for pattern in patterns {
            if let Some(why) = why_never(key, &pattern.value, scope) {
                let effect = if denies { "denies" } else { "allows" };
                let warning = format!(
                    "`{key}`: {} matches nothing, so the rule {effect} nothing: {why}",
                    shown(&pattern.value)
                );
                table.source.warn(pattern.span.clone(), warning);
            }
            rule = rule.map(|rule| condition(rule, &pattern.value));
        }
    }
    let operations = table.texts("operations");
    if operations.as_ref().is_some_and(Vec::is_empty) {
        table.error("`operations` is empty: remove it, or add an operation");
        rule = None;
    }
    for operation in operations.into_iter().flatten() {
        let all = [
            KeyOperation::GetKeyMetadata,
            KeyOperation::Encrypt,
            KeyOperation::Decrypt,
        ];
        match all.into_iter().find(|known| known.as_str() == operation.value) {
            Some(operation) => rule = rule.map(|rule| rule.operation(operation)),
            None => {
                let wrong = format!(
                    "`operations`: {} must be GetKeyMetadata, Encrypt or Decrypt",
                    shown(&operation.value)
                );
                table.source.error(operation.span, wrong);
                rule = None;
            }
        }
    }
    rule
}

/// Policies, and the schema and entities that may come with them, in Cedar's own formats.
#[cfg(feature = "cedar")]
fn policies(mut table: Table<'_, '_>) -> Option<Authorization> {
    use xks_authorizer_cedar::CedarError;
    use xks_core::Zeroizing;

    use crate::settings::CedarPolicies;

    let source = table.source;
    let policies = table.path("policies");
    let policies = table.needed("policies", policies);
    let others = [table.path("schema"), table.path("entities")];
    let policies = policies?;
    let text = source.read_text(&policies);
    let [schema, entities] = others.map(|file| file.map(|file| (source.read_text(&file), file.span)));
    let text = text?;
    let optional = |file: &Option<(Option<Zeroizing<String>>, _)>| match file {
        Some((text, _)) => text.as_ref().map(|text| Some(text.to_string())),
        None => Some(None),
    };
    let cedar = CedarPolicies {
        file: policies.value,
        policies: text.to_string(),
        schema: optional(&schema)?,
        entities: optional(&entities)?,
    };
    match cedar.authorizer() {
        Ok(_) => Some(Authorization::Cedar(cedar)),
        Err(error) => {
            let span = match (&error, schema, entities) {
                (CedarError::Schema(_), Some((_, span)), _) | (CedarError::Entities(_), _, Some((_, span))) => span,
                _ => policies.span,
            };
            source.error(span, error.to_string());
            None
        }
    }
}

#[cfg(not(feature = "cedar"))]
fn policies(mut table: Table<'_, '_>) -> Option<Authorization> {
    table.error("this build does not include Cedar: build it with `--features cedar`");
    table.forget();
    None
}
