//! Secondary authorization: rules in the settings, or policies in Cedar.

use serde_json::{Value, json};

use crate::support::{
    PREFIX, Server, Settings, body, check, ciphertext, error, key_store, plaintext, usual_credential,
};

const RULES: &str = "all_keys = true
[[key_stores.rules]]
allow = \"backups\"
principals = [\"arn:aws:iam::111122223333:role/Backup*\"]
operations = [\"Encrypt\", \"GetKeyMetadata\"]
[[key_stores.rules]]
allow = \"by service\"
kms_via_services = [\"ebs\", \"s3\"]
[[key_stores.rules]]
deny = \"not from this VPC\"
vpcs = [\"vpc-9\"]
";

fn with_metadata(mut request: Value, fields: &[(&str, &str)]) -> Value {
    for (name, value) in fields {
        request["requestMetadata"][*name] = json!(value);
    }
    request
}

/// AUZ-1, HLT-2: what a rule allows is served, what none allows is denied, denials win; the log names the
/// rule; and health is not asked.
#[test]
fn rules_allow_and_deny() {
    let settings = Settings::new().key_stores(&key_store(PREFIX, RULES, &[usual_credential()]));
    let server = Server::start(&settings);
    let curl = server.curl();
    let backup = ("awsPrincipalArn", "arn:aws:iam::111122223333:role/Backup-7");
    let stranger = ("awsPrincipalArn", "arn:aws:iam::999922223333:role/Backup-7");
    let ebs = ("kmsViaService", "ebs");
    let call = |operation: &str, request: Value, fields: &[(&str, &str)]| {
        let answer = curl.call(
            &format!("keys/usable/{operation}"),
            &with_metadata(request, fields),
            &[],
        );
        let (status, name) = error(&answer);
        ((status, name.to_owned()), answer.1)
    };
    let denied = (403, "AccessDeniedException".to_owned());

    let (told, encrypted) = call("encrypt", plaintext(b"x"), &[backup]);
    assert_eq!(told.0, 200);
    let decrypt = || ciphertext(&encrypted);
    assert_eq!(call("metadata", body(&json!({})), &[backup]).0.0, 200);
    assert_eq!(
        call("decrypt", decrypt(), &[backup]).0,
        denied,
        "only what the rule names"
    );
    assert_eq!(call("encrypt", plaintext(b"x"), &[stranger]).0, denied);
    assert_eq!(call("decrypt", decrypt(), &[stranger, ebs]).0.0, 200);
    assert_eq!(
        call("decrypt", decrypt(), &[stranger, ("kmsViaService", "rds")]).0,
        denied
    );
    assert_eq!(
        call("encrypt", plaintext(b"x"), &[backup, ("awsSourceVpc", "vpc-9")]).0,
        denied
    );
    assert_eq!(curl.call("health", &body(&json!({})), &[]).0, 200);

    let (_, log) = server.stop();
    let of = |policy: &str, error: &str| {
        let policy = format!("policy=\"{policy}\"");
        log.lines()
            .filter(|line| line.contains(&policy) && line.contains(error))
            .count()
    };
    assert_eq!(of("backups", "status=200"), 2, "{log}");
    assert_eq!(of("by service", "status=200"), 1, "{log}");
    assert_eq!(of("not from this VPC", "AccessDeniedException"), 1, "{log}");
}

/// A rule that says nothing, or too much, would let in whom it should not: it is an error.
#[test]
fn a_careless_rule_is_refused() {
    for rule in [
        "principals = [\"*\"]",
        "allow = \"x\"\ndeny = \"y\"",
        "allow = \"x\"\naccounts = []",
        "allow = \"x\"\noperations = [\"encrypt\"]",
        "allow = \"x\"\nprincipal = [\"*\"]",
        "allow = \"x\"\nprincipals = \"*\"",
    ] {
        let rules = format!("all_keys = true\n[[key_stores.rules]]\n{rule}");
        let settings = Settings::new().key_stores(&key_store(PREFIX, &rules, &[usual_credential()]));
        let (code, printed) = check(&settings);
        assert!(code == Some(78) && printed.contains(": error: "), "{rule}: {printed}");
    }
}

#[cfg(not(feature = "cedar"))]
#[test]
fn a_build_without_cedar_says_so() {
    let cedar = "all_keys = true\n[key_stores.cedar]\npolicies = \"policies.cedar\"";
    let settings = Settings::new().key_stores(&key_store(PREFIX, cedar, &[usual_credential()]));
    let (code, printed) = check(&settings);
    assert!(code == Some(78) && printed.contains("--features cedar"), "{printed}");
}

/// AUZ-1: policies in Cedar allow and forbid, and are read again.
#[cfg(feature = "cedar")]
#[test]
fn cedar_policies_allow_and_forbid() {
    let cedar = "all_keys = true\n[key_stores.cedar]\npolicies = \"policies.cedar\"";
    let settings = Settings::new().key_stores(&key_store(PREFIX, cedar, &[usual_credential()]));
    settings.folder.write(
        "policies.cedar",
        "@id(\"everybody\")\npermit(principal, action, resource);\n",
    );
    let server = Server::start(&settings);
    let curl = server.curl();
    assert_eq!(curl.call("keys/usable/encrypt", &plaintext(b"x"), &[]).0, 200);
    settings.folder.write(
        "policies.cedar",
        "@id(\"nobody\")\nforbid(principal, action, resource);\n",
    );
    server.reload();
    let answer = curl.call("keys/usable/encrypt", &plaintext(b"x"), &[]);
    assert_eq!(error(&answer), (403, "AccessDeniedException"));
    assert_eq!(curl.call("health", &body(&json!({})), &[]).0, 200);
    let (_, log) = server.stop();
    assert!(
        log.lines()
            .any(|line| line.contains("AccessDeniedException") && line.contains("nobody")),
        "{log}"
    );

    settings.folder.write("policies.cedar", "permit(principal, action");
    let (code, printed) = check(&settings);
    let line = 1 + settings
        .text()
        .lines()
        .position(|line| line.starts_with("policies = "))
        .unwrap();
    let said = format!(":{line}: error: ");
    assert!(code == Some(78) && printed.contains(&said), "{printed}");
}
