//! Fields of requestMetadata that are not known yet.

use serde_json::{Value, json};
use xks_authorizer_cedar::{CedarAuthorizer, SCHEMA};
use xks_core::{api::KeyOperation, authorize::Decision};

use crate::support::{ask, ask_of, asked, decide, logged, metadata, with};

/// The built-in schema with a type more, and with these fields.
fn schema() -> String {
    SCHEMA.replace(
        "type Call = {",
        "type Pcrs = { pcr0: String, pcr1?: String };
         type Names = Set<String>;
         type Call = {
             sourceIdentity?: String, level?: Long, attested?: Bool, groups?: Names,
             recipient?: { pcrs: Pcrs, depth?: Long },",
    )
}

/// Whether a condition on a field holds, or the name of the field that does not do.
fn holds(condition: &str, field: &str, value: Value) -> Result<bool, String> {
    let policies = format!("@id(\"it\") permit (principal, action, resource) when {{ {condition} }};");
    let authorizer = CedarAuthorizer::builder(&policies).schema(&schema()).build().unwrap();
    match ask(&authorizer, &with(metadata(), field, value)) {
        Decision::Allow { .. } => Ok(true),
        Decision::Deny { policy } if &*policy == "no policy allows it" => Ok(false),
        Decision::Deny { policy } => Err(policy.to_string()),
        other => panic!("{other:?}"),
    }
}

/// MD-5: fields that a schema declares reach the policies, whatever their shape.
#[test]
fn declared_fields_reach_the_policies() {
    for (condition, field, good, bad) in [
        (
            "context has sourceIdentity && context.sourceIdentity like \"al*\"",
            "sourceIdentity",
            json!("alice"),
            json!("bob"),
        ),
        ("context has level && context.level > 3", "level", json!(4), json!(-4)),
        (
            "context has attested && context.attested",
            "attested",
            json!(true),
            json!(false),
        ),
        (
            "context has groups && context.groups.contains(\"b\")",
            "groups",
            json!(["a", "b"]),
            json!([]),
        ),
        (
            "context has recipient && context.recipient.pcrs.pcr0 == \"x\"",
            "recipient",
            json!({ "pcrs": { "pcr0": "x" } }),
            json!({ "pcrs": { "pcr0": "y", "pcr1": "x" }, "depth": 1 }),
        ),
    ] {
        assert_eq!(holds(condition, field, good), Ok(true), "{condition}");
        assert_eq!(holds(condition, field, bad), Ok(false), "{condition}");
        assert_eq!(holds(condition, "another", json!(1)), Ok(false), "absent: {condition}");
    }
}

/// MD-5: fields that are not declared do no harm, nor do those within a declared record.
#[test]
fn undeclared_fields_are_left_out() {
    let metadata = with(metadata(), "later", json!({ "any": [1.5, null, { "__entity": 1 }] }));
    assert_eq!(
        decide("permit (principal, action, resource);", &metadata),
        Decision::allow_by("policy0")
    );
    let recipient = json!({ "pcrs": { "pcr0": "x", "pcr15": null }, "module": { "id": 1 } });
    let condition = "context has recipient && context.recipient.pcrs.pcr0 == \"x\"";
    assert_eq!(holds(condition, "recipient", recipient), Ok(true));
}

/// AUZ-1, MD-5: a field that is not what was declared denies, since a policy that forbids might ask for it.
#[test]
fn fields_of_another_type_deny() {
    for (field, value) in [
        ("sourceIdentity", json!(1)),
        ("sourceIdentity", json!(null)),
        (
            "sourceIdentity",
            json!({ "__entity": { "type": "Xks::Key", "id": "key-1" } }),
        ),
        ("level", json!("1")),
        ("level", json!(1.5)),
        ("level", json!(u64::MAX)),
        ("attested", json!("true")),
        ("groups", json!(["a", 1])),
        ("groups", json!("a")),
        ("recipient", json!([])),
        ("recipient", json!({ "pcrs": { "pcr1": "x" } })),
        ("recipient", json!({ "pcrs": { "pcr0": 0 } })),
    ] {
        let (result, log) = logged(|| holds("true", field, value.clone()));
        let expected = format!("requestMetadata.{field} is not what the schema declares");
        assert_eq!(result, Err(expected.clone()), "{value}");
        assert!(
            log.starts_with("ERROR xks::authorize: ") && log.contains(&expected),
            "{log}"
        );
    }
}

/// MD-5: of two values of one field it is unclear which is meant.
#[test]
fn a_field_that_is_there_twice_denies() {
    let authorizer = CedarAuthorizer::builder("permit (principal, action, resource);")
        .schema(&schema())
        .build()
        .unwrap();
    for (extra, is_allowed) in [
        (r#""level": 1"#, true),
        (r#""level": 1, "level": 2"#, false),
        (r#""other": 1, "other": 2"#, true),
    ] {
        let json = format!(r#"{{"awsPrincipalArn": "a", "kmsOperation": "b", "kmsRequestId": "c", {extra}}}"#);
        let decision = asked("/store", KeyOperation::Decrypt, &json, |subject| {
            authorizer.decide(subject)
        });
        assert_eq!(matches!(decision, Decision::Allow { .. }), is_allowed, "{extra}");
    }
}

/// MD-5: KMS may one day name a field as we name what we add; that does not change what policies see.
#[test]
fn no_field_takes_the_place_of_the_region() {
    let condition = "context.region == \"eu-west-1\" && context.signingRegion == \"us-east-1\"";
    for field in ["region", "signingRegion"] {
        assert_eq!(holds(condition, field, json!("xx-else-1")), Ok(true), "{field}");
    }
}

/// An action may have a context of its own.
#[test]
fn fields_are_declared_for_each_action() {
    let (before, call) = SCHEMA.split_once("type Call = {").unwrap();
    let (fields, after) = call.split_once("};").unwrap();
    let after = after.replace(
        "action GetKeyMetadata, Encrypt, Decrypt",
        "action GetKeyMetadata, Decrypt",
    );
    let schema = format!(
        "{before}
         type Call = {{ {fields} }};
         type Sealing = {{ level?: Long, {fields} }};
         action Encrypt appliesTo {{ principal: Principal, resource: Key, context: Sealing }};
         {after}"
    );
    let policies = "permit (principal, action, resource) when { context has level && context.level == 1 };";
    let authorizer = CedarAuthorizer::builder(policies).schema(&schema).build().unwrap();
    let metadata = with(metadata(), "level", json!(1));
    for (operation, is_allowed) in [(KeyOperation::Encrypt, true), (KeyOperation::Decrypt, false)] {
        let decision = ask_of(&authorizer, "/store", operation, &metadata);
        assert_eq!(matches!(decision, Decision::Allow { .. }), is_allowed, "{operation}");
    }
}
