//! Callers: signatures that are verified, IAM's access keys, and a delay until a new one works.

use std::process::Command;

use serde_json::Value;

use crate::{Folder, aws::Aws, serve};

const ID: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

fn text<'a>(answer: &'a Value, field: &str) -> &'a str {
    answer[field].as_str().unwrap_or_else(|| panic!("no {field}: {answer}"))
}

#[test]
fn an_access_key_is_rotated_by_the_aws_cli() {
    let folder = Folder::new();
    let file = folder.write("access-keys", &format!("Carol,{ID},{SECRET}\n"));
    let file = file.to_str().unwrap();
    let more = ["--verify-callers", file, "--role", "Admins", "--settle-secs", "3600"];
    let (_program, url) = serve(&more);
    let advance = || {
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--fail",
            "--noproxy",
            "*",
            "--data",
            "{\"AdvanceSecs\": 3600}",
        ]);
        let status = curl.arg(format!("{url}/kms-double/control")).output().unwrap().status;
        assert!(status.success());
    };
    advance();
    let (kms, iam, sts) = (
        Aws::of(&url, "kms", ID, SECRET),
        Aws::of(&url, "iam", ID, SECRET),
        Aws::of(&url, "sts", ID, SECRET),
    );
    kms.kms(&["list-keys"]);
    let arn = "arn:aws:iam::111122223333:user/Carol";
    let identity = sts.kms(&["get-caller-identity"]);
    assert_eq!(
        (text(&identity, "Arn"), text(&identity, "Account")),
        (arn, "111122223333")
    );
    assert_eq!(iam.kms(&["get-user"])["User"]["Arn"], arn);
    assert_eq!(iam.kms(&["list-users"])["Users"][0]["UserName"], "Carol");
    assert_eq!(iam.kms(&["list-roles"])["Roles"][0]["RoleName"], "Admins");
    assert_eq!(iam.refused(&["get-user", "--user-name", "Dave"]).0, "NoSuchEntity");

    let made = iam.kms(&["create-access-key"])["AccessKey"].clone();
    let (id, secret) = (text(&made, "AccessKeyId"), text(&made, "SecretAccessKey"));
    assert_eq!(iam.refused(&["create-access-key"]).0, "LimitExceeded");
    let with_new = Aws::of(&url, "kms", id, secret);
    let (name, _) = with_new.refused(&["list-keys"]);
    assert_eq!(name, "UnrecognizedClientException", "it does not work yet");
    advance();
    with_new.kms(&["list-keys"]);
    assert_eq!(
        iam.kms(&["list-access-keys"])["AccessKeyMetadata"]
            .as_array()
            .unwrap()
            .len(),
        2
    );

    // The new one takes the old one away.
    let iam = Aws::of(&url, "iam", id, secret);
    iam.kms(&["update-access-key", "--access-key-id", ID, "--status", "Inactive"]);
    assert_eq!(kms.refused(&["list-keys"]).0, "UnrecognizedClientException");
    assert_eq!(sts.refused(&["get-caller-identity"]).0, "InvalidClientTokenId");
    iam.kms(&["delete-access-key", "--access-key-id", ID]);
    advance();
    assert_eq!(
        iam.refused(&["delete-access-key", "--access-key-id", ID]).0,
        "NoSuchEntity"
    );
    assert_eq!(
        iam.kms(&["list-access-keys"])["AccessKeyMetadata"][0]["AccessKeyId"],
        id
    );

    let wrong = "another/secret/that/is/not/that/of/Carol";
    let forged = Aws::of(&url, "kms", id, wrong).refused(&["list-keys"]);
    assert_eq!(forged.0, "InvalidSignatureException");
    let forged = Aws::of(&url, "iam", id, wrong).refused(&["get-user"]);
    assert_eq!(forged.0, "SignatureDoesNotMatch");
}

#[test]
fn without_verification_any_credential_will_do() {
    let (_program, url) = serve(&["--user", "ALICE"]);
    let iam = Aws::of(&url, "iam", "ALICE", "any");
    assert_eq!(iam.kms(&["get-user"])["User"]["UserName"], "ALICE");
}
