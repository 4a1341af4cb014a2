//! The attributes that policies can use.

use serde_json::json;
use xks_authorizer_cedar::CedarAuthorizer;
use xks_core::{api::KeyOperation, authorize::Decision};

use crate::support::{ALICE, UNMATCHED, ask, ask_of, bare, decide, holds, metadata, with};

/// AUZ-1: everything that is known of a request can be asked for, and another value does not match.
#[test]
fn every_attribute_can_be_asked_for() {
    for (good, bad) in [
        (
            format!("principal == Xks::Principal::\"{ALICE}\""),
            "principal == Xks::Principal::\"arn:aws:iam::111122223333:user/Bob\"",
        ),
        (
            "principal.id like \"arn:aws:iam::*:user/Al*\"".into(),
            "principal.id like \"arn:aws:iam::*:role/*\"",
        ),
        (
            "principal has account && principal.account == \"111122223333\"".into(),
            "principal has account && principal.account == \"444455556666\"",
        ),
        (
            "action == Xks::Action::\"Encrypt\"".into(),
            "action == Xks::Action::\"Decrypt\"",
        ),
        (
            "resource == Xks::Key::\"key-1\"".into(),
            "resource == Xks::Key::\"KEY-1\"",
        ),
        ("resource.id like \"key-*\"".into(), "resource.id like \"*-2\""),
        (
            "resource in Xks::KeyStore::\"/store\"".into(),
            "resource in Xks::KeyStore::\"\"",
        ),
        (
            "context.kmsOperation like \"GenerateDataKey*\"".into(),
            "context.kmsOperation == \"Encrypt\"",
        ),
        (
            "context.kmsRequestId == \"request-1\"".into(),
            "context.kmsRequestId == \"request-2\"",
        ),
        (
            "context has kmsKeyArn && context.kmsKeyArn like \"arn:aws:kms:*:444455556666:key/1234\"".into(),
            "context has kmsKeyArn && context.kmsKeyArn like \"*/12\"",
        ),
        (
            "context has kmsViaService && context.kmsViaService == \"s3\"".into(),
            "context has kmsViaService && context.kmsViaService == \"ebs\"",
        ),
        (
            "context has awsSourceVpc && context.awsSourceVpc == \"vpc-1\"".into(),
            "context has awsSourceVpc && context.awsSourceVpc == \"vpce-2\"",
        ),
        (
            "context has awsSourceVpce && context.awsSourceVpce == \"vpce-2\"".into(),
            "context has awsSourceVpce && context.awsSourceVpce == \"vpc-1\"",
        ),
        (
            "context.region == \"eu-west-1\"".into(),
            "context.region == \"us-east-1\"",
        ),
        (
            "context.signingRegion == \"us-east-1\"".into(),
            "context.signingRegion == \"eu-west-1\"",
        ),
    ] {
        assert!(holds(&good, &metadata()), "{good}");
        assert!(!holds(bad, &metadata()), "{bad}");
    }
}

#[test]
fn what_is_absent_is_absent() {
    for attribute in ["kmsKeyArn", "kmsViaService", "awsSourceVpc", "awsSourceVpce"] {
        let present = format!("context has {attribute}");
        assert!(holds(&present, &metadata()), "{attribute}");
        assert!(!holds(&present, &bare(ALICE)), "{attribute}");
    }
    let region = "context.region == \"us-east-1\" && context.signingRegion == \"us-east-1\"";
    assert!(
        holds(region, &bare(ALICE)),
        "where KMS names no key, the signed Region serves"
    );
}

/// MD-6: a principal of any text is distinguished from others, and what is not an ARN has no account.
#[test]
fn principals_need_not_be_arns() {
    for principal in [
        "AWS Internal",
        "ec2.amazonaws.com",
        "arn:aws:iam::not-an-arn",
        "",
        "quote\" and \\ and ü",
        "Xks::Principal::\"nested\"",
    ] {
        let metadata = bare(principal);
        assert!(!holds("principal has account", &metadata), "{principal}");
        assert!(!holds("principal == Xks::Principal::\"somebody else\"", &metadata));
        let literal = principal.replace('\\', "\\\\").replace('"', "\\\"");
        assert!(
            holds(&format!("principal.id == \"{literal}\""), &metadata),
            "{principal}"
        );
        assert!(
            holds(&format!("principal == Xks::Principal::\"{literal}\""), &metadata),
            "{principal}"
        );
    }
    assert!(holds("principal.id like \"nul *\"", &bare("nul \0 and line\n")));
    assert!(holds("principal has account", &bare(ALICE)));
}

/// MD-2: an operation that is not known yet is one more text.
#[test]
fn unknown_kms_operations_are_decided_about() {
    let policies = r#"
        @id("any") permit (principal, action, resource);
        @id("no-splines") forbid (principal, action, resource) when { context.kmsOperation == "ReticulateSplines" };
    "#;
    for (operation, decision) in [
        ("ReticulateSplines", Decision::deny("no-splines")),
        ("Wh@t ever\n", Decision::allow_by("any")),
    ] {
        let metadata = with(metadata(), "kmsOperation", json!(operation));
        assert_eq!(decide(policies, &metadata), decision);
    }
}

#[test]
fn each_operation_is_its_own_action() {
    let operations = [
        KeyOperation::GetKeyMetadata,
        KeyOperation::Encrypt,
        KeyOperation::Decrypt,
    ];
    for allowed in operations {
        let policy = format!("permit (principal, action == Xks::Action::\"{allowed}\", resource);");
        let authorizer = CedarAuthorizer::new(&policy).unwrap();
        for asked in operations {
            let decision = ask_of(&authorizer, "/store", asked, &metadata());
            assert_eq!(decision == Decision::allow_by("policy0"), asked == allowed, "{asked}");
        }
    }
}

/// URI-4: a key of the same id in another key store is another key, also where a key store has no prefix.
#[test]
fn a_key_is_in_the_key_store_of_its_request_only() {
    let stores = ["", "/a", "/a/b"];
    for allowed in stores {
        let policy = format!(
            "permit (principal, action, resource == Xks::Key::\"key-1\") when {{ resource in \
             Xks::KeyStore::\"{allowed}\" }};"
        );
        let authorizer = CedarAuthorizer::new(&policy).unwrap();
        for asked in stores {
            let decision = ask_of(&authorizer, asked, KeyOperation::Decrypt, &metadata());
            let expected = if asked == allowed {
                Decision::allow_by("policy0")
            } else {
                Decision::deny(UNMATCHED)
            };
            assert_eq!(decision, expected, "{allowed} {asked}");
        }
    }
    let everywhere = CedarAuthorizer::new("permit (principal, action, resource == Xks::Key::\"key-1\");").unwrap();
    assert_eq!(ask(&everywhere, &metadata()), Decision::allow_by("policy0"));
}
