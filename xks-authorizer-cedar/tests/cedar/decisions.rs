//! Which policies decide, and how the log calls them.

use serde_json::json;
use xks_authorizer_cedar::CedarAuthorizer;
use xks_core::{
    api::KeyOperation,
    authorize::{Authorizer as _, Decision},
    dependency::Reply,
};

use crate::support::{UNMATCHED, ask, asked, bare, decide, logged, metadata};

/// AUZ-1: what nothing permits is denied, and what is forbidden is denied whatever permits it.
#[test]
fn forbid_wins_and_silence_denies() {
    let policies = r#"
        @id("all") permit (principal, action, resource);
        @id("not-s3") forbid (principal, action, resource)
        when { context has kmsViaService && context.kmsViaService == "s3" };
        permit (principal, action, resource);
    "#;
    assert_eq!(decide(policies, &metadata()), Decision::deny("not-s3"));
    assert_eq!(
        decide(policies, &bare("AWS Internal")),
        Decision::allow_by("all, policy2")
    );
    let none_applies = "permit (principal, action, resource == Xks::Key::\"other\");";
    assert_eq!(decide(none_applies, &metadata()), Decision::deny(UNMATCHED));
    let only_forbids = "forbid (principal, action, resource == Xks::Key::\"other\");";
    assert_eq!(decide(only_forbids, &metadata()), Decision::deny(UNMATCHED));
}

/// AUZ-1: all policies that decided are named, in the order of the text.
#[test]
fn several_policies_are_named_in_the_order_of_the_text() {
    let names = ["z", "y", "x", "w", "v", "u", "t", "s", "r", "q", "p", "o"];
    let mut policies: String = names
        .iter()
        .map(|name| format!("@id(\"{name}\") permit (principal, action, resource);\n"))
        .collect();
    policies += "@id(\"\") permit (principal, action, resource);";
    let expected = format!("{}, policy12", names.join(", "));
    assert_eq!(decide(&policies, &metadata()), Decision::allow_by(&*expected));
    let forbids = policies.replace("permit", "forbid");
    assert_eq!(decide(&forbids, &metadata()), Decision::deny(&*expected));
}

const FAILS: &str = "Xks::Principal::\"nobody knows\".id == \"x\"";

/// AUZ-1: a policy that cannot be evaluated denies, is named and logged; one that permits does not help.
#[test]
fn a_policy_that_fails_denies() {
    for effect in ["forbid", "permit"] {
        let policies = format!(
            "@id(\"all\") permit (principal, action, resource);
             @id(\"broken\") {effect} (principal, action, resource) when {{ {FAILS} }};"
        );
        let (decision, log) = logged(|| decide(&policies, &metadata()));
        assert_eq!(decision, Decision::deny("cannot be evaluated: broken"), "{effect}");
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(log.starts_with("ERROR xks::authorize: "), "{log}");
        for part in ["policy=\"broken\"", "kms_request_id=\"request-1\"", "nobody knows"] {
            assert!(log.contains(part), "{part}: {log}");
        }
    }
}

/// AUZ-1: where another policy forbids it anyway, that one is named; the failure is logged all the same.
#[test]
fn a_policy_that_fails_does_not_hide_who_forbids() {
    let policies = format!(
        "@id(\"broken\") permit (principal, action, resource) when {{ {FAILS} }};
         @id(\"never\") forbid (principal, action, resource);"
    );
    let (decision, log) = logged(|| decide(&policies, &metadata()));
    assert_eq!(decision, Decision::deny("never"));
    assert!(log.contains("policy=\"broken\""), "{log}");
}

#[test]
fn failures_are_counted_only_where_the_policy_applies() {
    let policies = format!(
        "@id(\"all\") permit (principal, action, resource);
         @id(\"broken\") forbid (principal, action, resource == Xks::Key::\"other\") when {{ {FAILS} }};"
    );
    let (decision, log) = logged(|| decide(&policies, &metadata()));
    assert_eq!((decision, &*log), (Decision::allow_by("all"), ""));
}

/// LOG-2: what comes from a request forges no line and has an end.
#[test]
fn logged_texts_are_escaped_and_bounded() {
    let request_id = format!("a\nERROR forged{}", "x".repeat(10_000));
    let metadata = json!({ "awsPrincipalArn": "a", "kmsOperation": "b", "kmsRequestId": request_id });
    let policies = format!("permit (principal, action, resource) when {{ {FAILS} }};");
    let (_, log) = logged(|| decide(&policies, &metadata));
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.len() < 3_000 && log.contains("forged"), "{log}");
}

/// A test of policies may leave out what the proxy insists on (MD-1).
#[test]
fn a_request_that_lacks_what_is_always_there_is_denied() {
    let metadata = json!({ "awsPrincipalArn": "a", "kmsOperation": "b" });
    let (decision, log) = logged(|| decide("permit (principal, action, resource);", &metadata));
    assert_eq!(decision, Decision::deny("the request does not fit the schema"));
    assert!(log.starts_with("ERROR xks::authorize: "), "{log}");
}

#[test]
fn debug_tells_the_names() {
    let authorizer = CedarAuthorizer::new("@id(\"b\") permit (principal, action, resource);").unwrap();
    assert!(format!("{authorizer:?}").contains("[\"b\"]"), "{authorizer:?}");
    assert_eq!(ask(&authorizer, &metadata()), Decision::allow_by("b"));
}

/// A decision is there at once, and to be an `Authorizer` costs no allocation.
#[test]
fn an_authorizer_allocates_nothing_beside_the_decision() {
    let authorizer = CedarAuthorizer::new("@id(\"b\") permit (principal, action, resource);").unwrap();
    let (alone, replied) = asked("/store", KeyOperation::Encrypt, &metadata().to_string(), |subject| {
        let alone = allocation_counter::measure(|| assert_eq!(authorizer.decide(subject), Decision::allow_by("b")));
        let replied = allocation_counter::measure(|| {
            let Reply::Now(decision) = authorizer.authorize(subject) else {
                panic!("it decides at once");
            };
            assert_eq!(decision, Decision::allow_by("b"));
        });
        (alone, replied)
    });
    assert_eq!(replied.count_total, alone.count_total);
}
