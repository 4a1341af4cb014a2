//! Groups, and what else entities say.

use serde_json::{Value, json};
use xks_authorizer_cedar::{CedarAuthorizer, CedarError, SCHEMA};
use xks_core::{api::KeyOperation, authorize::Decision};

use crate::support::{ALICE, UNMATCHED, ask, ask_of, bare, metadata};

fn uid(of_type: &str, id: &str) -> Value {
    json!({ "type": format!("Xks::{of_type}"), "id": id })
}

fn entity(uid: &Value, parents: &[Value]) -> Value {
    json!({ "uid": uid, "parents": parents })
}

fn build(policies: &str, entities: &[Value]) -> Result<CedarAuthorizer, CedarError> {
    let entities = json!(entities).to_string();
    CedarAuthorizer::builder(policies).entities(&entities).build()
}

/// AUZ-1: callers and keys in groups, and in groups of groups; a key store in a group.
#[test]
fn groups_hold_who_is_listed() {
    let (staff, finance) = (uid("PrincipalGroup", "staff"), uid("PrincipalGroup", "finance"));
    let alice = entity(&uid("Principal", ALICE), std::slice::from_ref(&finance));
    let finance = entity(&finance, &[staff]);
    let key = entity(&uid("Key", "key-1"), &[uid("KeyGroup", "red")]);
    let store = entity(&uid("KeyStore", "/store"), &[uid("KeyGroup", "blue")]);
    let entities = [alice, finance, key, store];
    for (condition, of_alice, of_bob) in [
        ("principal in Xks::PrincipalGroup::\"finance\"", true, false),
        ("principal in Xks::PrincipalGroup::\"staff\"", true, false),
        ("principal in Xks::PrincipalGroup::\"others\"", false, false),
        ("resource in Xks::KeyGroup::\"red\"", true, true),
        ("resource in Xks::KeyGroup::\"blue\"", true, true),
        ("resource in Xks::KeyGroup::\"green\"", false, false),
        ("resource in Xks::KeyStore::\"/store\"", true, true),
    ] {
        let policy = format!("permit (principal, action, resource) when {{ {condition} }};");
        let authorizer = build(&policy, &entities).unwrap();
        for (principal, expected) in [(ALICE, of_alice), ("arn:aws:iam::1:user/Bob", of_bob)] {
            let is_allowed = ask(&authorizer, &bare(principal)) == Decision::allow_by("policy0");
            assert_eq!(is_allowed, expected, "{condition} {principal}");
        }
    }
    let blue = build(
        "permit (principal, action, resource in Xks::KeyGroup::\"blue\");",
        &entities,
    )
    .unwrap();
    assert_eq!(
        ask_of(&blue, "/other", KeyOperation::Encrypt, &metadata()),
        Decision::deny(UNMATCHED),
        "the group is that of the other key store"
    );
}

/// MD-6: who is listed has the same attributes as who is not, whatever the entities say.
#[test]
fn listed_entities_have_the_attributes_of_all() {
    let mut alice = entity(&uid("Principal", ALICE), &[]);
    alice["attrs"] = json!({ "id": "somebody else", "account": "999999999999" });
    let mut internal = entity(&json!({ "__entity": uid("Principal", "AWS Internal") }), &[]);
    internal["attrs"] = json!({ "account": "999999999999" });
    let key = entity(&uid("Key", "key-1"), &[]);
    let policies = format!(
        "@id(\"alice\") permit (principal, action, resource)
         when {{ principal has account && principal.account == \"111122223333\" && principal.id == \"{ALICE}\"
                 && resource.id == \"key-1\" && resource in Xks::KeyStore::\"/store\" }};
         @id(\"internal\") permit (principal, action, resource)
         when {{ principal.id == \"AWS Internal\" && !(principal has account) }};"
    );
    let authorizer = build(&policies, &[alice, internal, key]).unwrap();
    assert_eq!(ask(&authorizer, &bare(ALICE)), Decision::allow_by("alice"));
    assert_eq!(ask(&authorizer, &bare("AWS Internal")), Decision::allow_by("internal"));
}

#[test]
fn a_schema_can_give_entities_more_attributes() {
    let schema = SCHEMA.replace("id: String, ", "id: String, level?: Long, ");
    let mut alice = entity(&uid("Principal", ALICE), &[]);
    alice["attrs"] = json!({ "level": 3 });
    let mut key = entity(&uid("Key", "key-1"), &[]);
    key["attrs"] = json!({ "level": 2 });
    let authorizer = CedarAuthorizer::builder(
        "permit (principal, action, resource)
         when { principal has level && resource has level && principal.level >= resource.level };",
    )
    .schema(&schema)
    .entities(&json!([alice, key]).to_string())
    .build()
    .unwrap();
    assert_eq!(ask(&authorizer, &bare(ALICE)), Decision::allow_by("policy0"));
    assert_eq!(ask(&authorizer, &bare("AWS Internal")), Decision::deny(UNMATCHED));
}

/// Not all entities are taken along to a decision: those that a policy can get at are.
#[test]
fn policies_get_at_entities_by_way_of_others() {
    let schema = SCHEMA.replace(
        "id: String,       // the same text, for `like`",
        "id: String, level?: Long, manager?: Principal, team?: { lead: Principal, all: Set<Principal> },",
    );
    let schema = schema.replace("id: String, // the", "id: String, owner?: Principal, // the");
    let schema = schema.replace(
        "entity KeyGroup in [KeyGroup];",
        "entity KeyGroup in [KeyGroup] { owner?: Principal };",
    );
    let principal = |id: &str, attributes: Value| {
        let mut entity = entity(&uid("Principal", id), &[uid("PrincipalGroup", "staff")]);
        entity["attrs"] = attributes;
        entity
    };
    let bob = &json!({ "__entity": uid("Principal", "bob") });
    let (carol, dave) = (
        &json!({ "__entity": uid("Principal", "carol") }),
        &json!({ "__entity": uid("Principal", "dave") }),
    );
    let mut group = entity(&uid("KeyGroup", "red"), &[]);
    group["attrs"] = json!({ "owner": dave });
    let mut key = entity(&uid("Key", "key-1"), &[]);
    key["attrs"] = json!({ "owner": { "__entity": uid("Principal", "erin") } });
    let entities = json!([
        principal(
            ALICE,
            json!({ "manager": bob, "team": { "lead": carol, "all": [dave, carol] } })
        ),
        principal("bob", json!({ "manager": carol, "level": 2 })),
        principal("carol", json!({ "manager": bob, "level": 3 })),
        principal("dave", json!({ "level": 4 })),
        principal("erin", json!({ "level": 5 })),
        group,
        key,
    ]);
    for condition in [
        "principal has manager && principal.manager has manager && principal.manager.manager has level
         && principal.manager.manager.level == 3",
        "principal has team && principal.team.lead has level && principal.team.lead.level == 3",
        "principal has team && principal.team.lead in Xks::PrincipalGroup::\"staff\"",
        "resource has owner && resource.owner has level && resource.owner.level == 5",
        "Xks::Principal::\"dave\" has level && Xks::Principal::\"dave\".level == 4",
        "Xks::KeyGroup::\"red\" has owner && Xks::KeyGroup::\"red\".owner has level
         && Xks::KeyGroup::\"red\".owner.level == 4",
    ] {
        let policy = format!("permit (principal, action, resource) when {{ {condition} }};");
        let authorizer = CedarAuthorizer::builder(&policy)
            .schema(&schema)
            .entities(&entities.to_string())
            .build()
            .unwrap();
        let decision = ask(&authorizer, &bare(ALICE));
        assert_eq!(decision, Decision::allow_by("policy0"), "{condition}");
    }
}

#[test]
fn entities_that_do_not_do_are_refused() {
    let all = "permit (principal, action, resource);";
    let store = uid("KeyStore", "/store");
    let through_a_group = SCHEMA.replace(
        "entity KeyGroup in [KeyGroup]",
        "entity KeyGroup in [KeyGroup, KeyStore]",
    );
    let through_a_group = through_a_group.replace("entity KeyStore in [KeyGroup]", "entity KeyStore");
    let mut surplus = entity(&uid("Key", "key-1"), &[]);
    surplus["attrs"] = json!({ "colour": "red" });
    let tags = SCHEMA.replace(
        "id: String, // the same text, for `like`\n    };\n    // An external key store",
        "id: String,\n    } tags String;\n    // An external key store",
    );
    assert_ne!(tags, SCHEMA);
    let mut tagged = entity(&uid("Key", "key-1"), &[]);
    tagged["tags"] = json!({ "colour": "red" });
    for (schema, entities, says) in [
        (SCHEMA, "[".to_owned(), "line 1 column 1"),
        (SCHEMA, "{}".to_owned(), ""),
        (SCHEMA, "[1]".to_owned(), ""),
        (SCHEMA, json!([{ "uid": "key-1" }]).to_string(), ""),
        (SCHEMA, json!([entity(&uid("Kee", "a"), &[])]).to_string(), "Xks::Kee"),
        (SCHEMA, json!([surplus]).to_string(), "colour"),
        (
            SCHEMA,
            json!([entity(&uid("Key", "a"), &[uid("PrincipalGroup", "b")])]).to_string(),
            "Xks::PrincipalGroup",
        ),
        (
            SCHEMA,
            json!([entity(&uid("Key", "a"), std::slice::from_ref(&store))]).to_string(),
            "must not have a key store",
        ),
        (
            &through_a_group,
            json!([
                entity(&uid("Key", "a"), &[uid("KeyGroup", "b")]),
                entity(&uid("KeyGroup", "b"), &[store])
            ])
            .to_string(),
            "must not have a key store",
        ),
        (&tags, json!([tagged]).to_string(), "tags"),
        (
            SCHEMA,
            json!([entity(&uid("Key", "a b"), &[])]).to_string(),
            "A-Z a-z 0-9",
        ),
    ] {
        let authorizer = CedarAuthorizer::builder(all).schema(schema).entities(&entities).build();
        let error = authorizer.expect_err(says);
        assert!(matches!(error, CedarError::Entities(_)), "{error:?}");
        assert!(error.to_string().contains(says), "{says}: {error}");
    }
}
