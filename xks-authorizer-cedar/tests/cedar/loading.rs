//! Policies, schemas and entities that are refused when they are read, and the errors.

use xks_authorizer_cedar::{CedarAuthorizer, CedarError, SCHEMA};

const ALL: &str = "permit (principal, action, resource);";

fn refused(policies: &str) -> CedarError {
    CedarAuthorizer::new(policies).unwrap_err()
}

/// Each text is somewhere in the error.
#[track_caller]
fn assert_says(error: &CedarError, texts: &[&str]) {
    for text in texts {
        assert!(error.to_string().contains(text), "`{text}` is not in: {error}");
    }
}

#[test]
fn what_is_not_in_the_schema_is_refused_with_its_place() {
    for (policy, says) in [
        (
            "@id(\"s3\")\npermit (principal, action, resource)\nwhen { context.kmsViaServise == \"s3\" };",
            ["policy `s3`, line 3, column 8: ", "kmsViaServise", "kmsViaService"],
        ),
        (
            "permit (principal, action == Xks::Action::\"Encript\", resource);",
            ["policy `policy0`, line 1, column 30: ", "Encript", "Encrypt"],
        ),
        (
            "permit (principal == Xks::Principle::\"a\", action, resource);",
            ["line 1, column 22: ", "Xks::Principle", "Xks::Principal"],
        ),
        (
            "permit (principal, action, resource) when { principal.acount == \"1\" };",
            ["line 1, column 45: ", "acount", "account"],
        ),
        (
            "permit (principal, action, resource) when { context.kmsOperation == 1 };",
            ["line 1, column 45: ", "Long", "String"],
        ),
        (
            "permit (principal, action, resource) when { context.kmsViaService == \"s3\" };",
            ["line 1, column 45: ", "optional", "context has kmsViaService"],
        ),
    ] {
        let error = refused(policy);
        assert!(matches!(error, CedarError::Policies(_)), "{error:?}");
        assert_says(&error, &says);
        assert_eq!(error.to_string().matches("policy `").count(), 1, "once: {error}");
    }
}

/// AUZ-1: Cedar takes such a `has` for false, and a forbid would never apply.
#[test]
fn a_has_of_what_nothing_has_is_refused() {
    for (condition, says) in [
        (
            "context has kmsViaServise || principal.id == \"a\"",
            "`context has kmsViaServise`",
        ),
        ("context has account || principal.id == \"a\"", "`context has account`"),
        (
            "principal has acount || principal.id == \"a\"",
            "`principal has acount`",
        ),
        ("!(resource has account)", "`resource has account`"),
        ("[true].contains(Xks::Key::\"a\" has size)", "`... has size`"),
        (
            "if context has \"kms region\" then false else true",
            "`context has kms region`",
        ),
    ] {
        let error = refused(&format!(
            "@id(\"it\") forbid (principal, action, resource) when {{ {condition} }};"
        ));
        assert!(matches!(error, CedarError::Policies(_)), "{error:?}");
        assert_says(&error, &["policy `it` says ", says]);
    }
    let policies = "forbid (principal, action, resource)
        when { context has kmsViaService || principal has account || {size: 1} has size || resource has id };";
    let error = refused(policies);
    assert_says(&error, &["has size"]);
    assert!(CedarAuthorizer::new(&policies.replace("{size: 1} has size", "true")).is_ok());
}

/// URI-1, URI-3: no request has a key or a key store of such a name.
#[test]
fn names_that_no_key_or_key_store_can_have_are_refused() {
    for (condition, says) in [
        (
            "resource in Xks::KeyStore::\"tenant\"",
            "`Xks::KeyStore::\"tenant\"`, but ",
        ),
        ("resource == Xks::Key::\"key/1\"", "`Xks::Key::\"key/1\"`, but "),
    ] {
        let error = refused(&format!(
            "@id(\"it\") forbid (principal, action, resource) unless {{ {condition} }};"
        ));
        assert_says(&error, &["policy `it` says ", says]);
    }
}

#[test]
fn all_mistakes_are_told_in_order() {
    let policies = "@id(\"b\") permit (principal, action, resource) when { context.one == 1 };
         @id(\"fine\") permit (principal, action, resource);
         @id(\"a\") permit (principal, action, resource) when { context.two == 1 };";
    let error = refused(policies);
    let text = error.to_string();
    let places = ["`b`, line 1", "`a`, line 3"].map(|place| text.find(place).expect(&text));
    assert!(places.is_sorted() && !text.contains("fine"), "{text}");
    for _ in 0..20 {
        assert_eq!(refused(policies), error, "the same each time");
    }
}

#[test]
fn what_can_never_apply_is_refused() {
    for policy in [
        "permit (principal == Xks::Key::\"key-1\", action, resource);",
        "permit (principal, action, resource == Xks::KeyStore::\"/store\");",
        "forbid (principal, action, resource) when { resource in Xks::PrincipalGroup::\"g\" };",
        "permit (principal, action, resource) when { false };",
    ] {
        let error = refused(policy);
        assert!(matches!(error, CedarError::Policies(_)), "{error:?}");
        assert_says(&error, &["policy `policy0`, line 1, column 1: "]);
    }
}

#[test]
fn characters_that_look_like_others_are_refused() {
    // The first two letters are Cyrillic.
    let error = refused("permit (principal == Xks::Principal::\"\u{440}\u{430}yroll\", action, resource);");
    assert_says(&error, &["policy `policy0`", "mixed scripts"]);
}

#[test]
fn what_is_not_cedar_is_refused_with_its_place() {
    let error = refused("permit (principal, action, resource);\n\npermit (principal, action resource);");
    assert!(matches!(error, CedarError::Syntax(_)), "{error:?}");
    assert_says(&error, &["line 3, column 27: "]);
    let error = refused("// ü\npermit (principal, action, resource) when { \"ü\" = \"u\" };");
    assert_says(&error, &["line 2, column 45: ", "=="]);
}

/// AUZ-1: nothing that is read does nothing, and no name stands for two policies.
#[test]
fn what_would_do_nothing_or_has_no_name_of_its_own_is_refused() {
    assert_eq!(refused(""), CedarError::NoPolicies);
    assert_eq!(
        refused("// permit (principal, action, resource);\n"),
        CedarError::NoPolicies
    );
    assert_eq!(
        refused("@id(\"t\") permit (principal == ?principal, action, resource);"),
        CedarError::Template("t".into())
    );
    assert_eq!(
        refused(&format!("{ALL} permit (principal, action, resource in ?resource);")),
        CedarError::Template("policy1".into())
    );
    assert_eq!(
        refused(&format!("@id(\"a\") {ALL} @id(\"b\") {ALL} @id(\"a\") {ALL}")),
        CedarError::DuplicateId("a".into())
    );
    assert_eq!(
        refused(&format!("@id(\"policy1\") {ALL} {ALL}")),
        CedarError::DuplicateId("policy1".into())
    );
}

#[test]
fn a_schema_that_does_not_do_is_refused() {
    let less = |text: &str| SCHEMA.replace(text, "");
    for (schema, says) in [
        ("namespace Xks {\n    entitty Key;\n}".to_owned(), "line 2, column 5: "),
        (String::new(), "Xks::Action::\"GetKeyMetadata\""),
        (less("Encrypt, "), "Xks::Action::\"Encrypt\""),
        (less("kmsViaService?: String,"), "`kmsViaService?: String`"),
        (less("signingRegion: String,"), "`signingRegion: String`"),
        (SCHEMA.replace("kmsKeyArn?:", "kmsKeyArn:"), "`kmsKeyArn?: String`"),
        (SCHEMA.replace("region: String,", "region: Long,"), "`region: String`"),
        (SCHEMA.replace("account?:", "account:"), "account"),
        (less("account?: String,"), "account"),
        (less("KeyStore, "), "Xks::KeyStore"),
        (
            SCHEMA.replace("principal: Principal,", "principal: PrincipalGroup,"),
            "Xks::Principal",
        ),
        (SCHEMA.replace("resource: Key,", "resource: KeyStore,"), "Xks::Key"),
        (
            SCHEMA.replace("type Call = {", "type Call = { tag: String,"),
            "`tag` is to be `tag?`",
        ),
        (
            SCHEMA.replace("type Call = {", "type Call = { who?: Principal,"),
            "`who` can only be",
        ),
        (
            SCHEMA.replace(
                "id: String, // the same text, for `like`\n",
                "id: String, size: Long,\n",
            ),
            "size",
        ),
    ] {
        assert_ne!(schema, SCHEMA, "{says}");
        let error = CedarAuthorizer::builder(ALL).schema(&schema).build().unwrap_err();
        assert!(matches!(error, CedarError::Schema(_)), "{error:?}");
        assert_says(&error, &[says]);
    }
}
