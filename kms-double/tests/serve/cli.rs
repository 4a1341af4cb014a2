//! Every operation by the AWS CLI, over the server with software keys.

use std::fs;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rustix::process::Signal;
use serde_json::Value;

use crate::{Folder, SECRET, aws::Aws, key_store, proxy, serve};

fn text<'a>(answer: &'a Value, field: &str) -> &'a str {
    answer[field].as_str().unwrap_or_else(|| panic!("no {field}: {answer}"))
}

fn bytes(answer: &Value, field: &str) -> Vec<u8> {
    BASE64_STANDARD.decode(text(answer, field)).unwrap()
}

#[test]
fn each_operation_by_the_aws_cli_and_over_a_restart() {
    let folder = Folder::new();
    let (_proxy, url) = proxy(&folder);
    let state = folder.path("state");
    let more = ["--state", state.to_str().unwrap()];
    let (program, address) = serve(&more);
    let aws = Aws::new(&address);
    let file = |name: &str, content: &[u8]| {
        fs::write(folder.path(name), content).unwrap();
        format!("fileb://{}", folder.path(name).display())
    };

    let input = folder.write("key-store.json", &key_store(&url));
    let input = format!("file://{}", input.display());
    let store = aws.kms(&["create-custom-key-store", "--cli-input-json", &input]);
    let store = text(&store, "CustomKeyStoreId");
    let again = aws.refused(&["create-custom-key-store", "--cli-input-json", &input]);
    assert_eq!(again.0, "CustomKeyStoreNameInUseException");
    let by_id = ["--custom-key-store-id", store];
    let state_of =
        |aws: &Aws| aws.kms(&["describe-custom-key-stores", by_id[0], by_id[1]])["CustomKeyStores"][0].clone();
    assert_eq!(state_of(&aws)["ConnectionState"], "DISCONNECTED");
    aws.kms(&["connect-custom-key-store", by_id[0], by_id[1]]);
    let described = state_of(&aws);
    assert_eq!(described["ConnectionState"], "CONNECTED");
    assert_eq!(described["XksProxyConfiguration"]["UriEndpoint"], *url);
    assert!(!described.to_string().contains(SECRET));

    let create = |aws: &Aws, external: &str| {
        let origin = ["create-key", "--origin", "EXTERNAL_KEY_STORE", "--xks-key-id", external];
        aws.kms(&[&origin[..], &by_id[..]].concat())["KeyMetadata"].clone()
    };
    let (key, other) = (create(&aws, "usable"), create(&aws, "other"));
    let (key_id, arn) = (text(&key, "KeyId"), text(&key, "Arn"));
    let taken = [
        "create-key",
        "--origin",
        "EXTERNAL_KEY_STORE",
        "--xks-key-id",
        "usable",
        by_id[0],
        by_id[1],
    ];
    assert_eq!(aws.refused(&taken).0, "XksKeyAlreadyInUseException");
    let absent = [
        "create-key",
        "--origin",
        "EXTERNAL_KEY_STORE",
        "--xks-key-id",
        "absent",
        by_id[0],
        by_id[1],
    ];
    assert_eq!(aws.refused(&absent).0, "XksKeyNotFoundException");
    let listed = aws.kms(&["list-keys"]);
    assert_eq!(listed["Keys"].as_array().unwrap().len(), 2);
    let described = aws.kms(&["describe-key", "--key-id", arn]);
    assert_eq!(described["KeyMetadata"]["XksKeyConfiguration"]["Id"], "usable");
    assert_eq!(described["KeyMetadata"]["KeyState"], "Enabled");
    aws.kms(&["create-alias", "--alias-name", "alias/cli", "--target-key-id", key_id]);
    assert_eq!(aws.kms(&["list-aliases"])["Aliases"][0]["TargetKeyId"], *key_id);

    let context = ["--encryption-context", "project=nile"];
    let plain = file("plain", b"\0plain\xff");
    let encrypt = [
        "encrypt",
        "--key-id",
        "alias/cli",
        "--plaintext",
        &plain,
        context[0],
        context[1],
    ];
    let encrypted = aws.kms(&encrypt);
    assert_eq!(encrypted["KeyId"], *arn);
    let blob = file("blob", &bytes(&encrypted, "CiphertextBlob"));
    let decrypt = ["decrypt", "--ciphertext-blob", &blob, context[0], context[1]];
    assert_eq!(bytes(&aws.kms(&decrypt), "Plaintext"), b"\0plain\xff");
    let (name, said) = aws.refused(&["decrypt", "--ciphertext-blob", &blob]);
    assert_eq!(name, "KMSInvalidStateException");
    assert!(said.contains("The external key store proxy rejected the request because the specified ciphertext"));
    let nonsense = file("nonsense", b"nonsense");
    assert_eq!(
        aws.refused(&["decrypt", "--ciphertext-blob", &nonsense]).0,
        "InvalidCiphertextException"
    );
    let wrong_key = [&decrypt[..], &["--key-id", text(&other, "Arn")]].concat();
    assert_eq!(aws.refused(&wrong_key).0, "IncorrectKeyException");
    let again = aws.kms(&[
        "re-encrypt",
        "--ciphertext-blob",
        &blob,
        "--source-encryption-context",
        "project=nile",
        "--destination-key-id",
        text(&other, "KeyId"),
    ]);
    assert_eq!((&again["SourceKeyId"], &again["KeyId"]), (&key["Arn"], &other["Arn"]));
    let again = file("again", &bytes(&again, "CiphertextBlob"));
    assert_eq!(
        bytes(&aws.kms(&["decrypt", "--ciphertext-blob", &again]), "Plaintext"),
        b"\0plain\xff"
    );
    let made = aws.kms(&["generate-data-key", "--key-id", key_id, "--key-spec", "AES_256"]);
    assert_eq!(bytes(&made, "Plaintext").len(), 32);
    let without = [
        "generate-data-key-without-plaintext",
        "--key-id",
        key_id,
        "--number-of-bytes",
        "64",
    ];
    let without = aws.kms(&without);
    assert_eq!(without.get("Plaintext"), None);
    let without = file("without", &bytes(&without, "CiphertextBlob"));
    assert_eq!(
        bytes(&aws.kms(&["decrypt", "--ciphertext-blob", &without]), "Plaintext").len(),
        64
    );

    aws.kms(&["disable-key", "--key-id", key_id]);
    assert_eq!(aws.refused(&decrypt).0, "DisabledException");
    aws.kms(&["enable-key", "--key-id", key_id]);

    // Another process goes on with the same file, and no other.
    assert!(program.stop());
    let (program, address) = serve(&more);
    let aws = Aws::new(&address);
    assert_eq!(bytes(&aws.kms(&decrypt), "Plaintext"), b"\0plain\xff");
    let (_other, other_address) = serve(&[]);
    assert_eq!(
        Aws::new(&other_address).refused(&decrypt).0,
        "InvalidCiphertextException"
    );
    assert_eq!(
        Aws::new(&other_address).refused(&["describe-key", "--key-id", arn]).0,
        "NotFoundException"
    );

    let credential = format!("AccessKeyId=ANOTHER2ACCESS3KEY4ID5,RawSecretAccessKey={SECRET}");
    let update = [
        "update-custom-key-store",
        by_id[0],
        by_id[1],
        "--xks-proxy-authentication-credential",
        &credential,
    ];
    assert_eq!(
        aws.refused(&update).0,
        "XksProxyIncorrectAuthenticationCredentialException"
    );
    aws.kms(&[
        "update-custom-key-store",
        by_id[0],
        by_id[1],
        "--new-custom-key-store-name",
        "renamed",
    ]);
    assert_eq!(state_of(&aws)["CustomKeyStoreName"], "renamed");
    aws.kms(&["disconnect-custom-key-store", by_id[0], by_id[1]]);
    assert_eq!(aws.refused(&decrypt).0, "KMSInvalidStateException");
    assert_eq!(
        aws.refused(&["delete-custom-key-store", by_id[0], by_id[1]]).0,
        "CustomKeyStoreHasCMKsException"
    );
    let scheduled = aws.kms(&[
        "schedule-key-deletion",
        "--key-id",
        key_id,
        "--pending-window-in-days",
        "7",
    ]);
    assert_eq!(scheduled["KeyState"], "PendingDeletion");
    aws.kms(&["cancel-key-deletion", "--key-id", key_id]);
    aws.kms(&["delete-alias", "--alias-name", "alias/cli"]);
    let described = aws.kms(&["describe-key", "--key-id", key_id]);
    assert_eq!(described["KeyMetadata"]["KeyState"], "Unavailable");
    aws.kms(&["connect-custom-key-store", by_id[0], by_id[1]]);
    assert_eq!(aws.refused(&decrypt).0, "DisabledException");
    assert!(program.stop());
}

#[test]
fn a_proxy_that_dies_is_told_by_the_aws_cli() {
    let folder = Folder::new();
    let (proxy, url) = proxy(&folder);
    let (_program, address) = serve(&["--health-interval-secs", "1"]);
    let aws = Aws::new(&address);
    let input = folder.write("key-store.json", &key_store(&url));
    let input = format!("file://{}", input.display());
    let store = aws.kms(&["create-custom-key-store", "--cli-input-json", &input]);
    let by_id = ["--custom-key-store-id", text(&store, "CustomKeyStoreId")];
    aws.kms(&["connect-custom-key-store", by_id[0], by_id[1]]);
    let key = [
        "create-key",
        "--origin",
        "EXTERNAL_KEY_STORE",
        "--xks-key-id",
        "usable",
        by_id[0],
        by_id[1],
    ];
    let key = aws.kms(&key)["KeyMetadata"].clone();

    proxy.signal(Signal::KILL);
    let generate = [
        "generate-data-key",
        "--key-id",
        text(&key, "KeyId"),
        "--key-spec",
        "AES_256",
    ];
    let (name, said) = aws.refused(&generate);
    assert_eq!(name, "KMSInvalidStateException");
    assert!(
        said.contains("AWS KMS cannot communicate with the external key store proxy"),
        "{said}"
    );
    aws.kms(&["disconnect-custom-key-store", by_id[0], by_id[1]]);
    aws.kms(&["connect-custom-key-store", by_id[0], by_id[1]]);
    let described = aws.kms(&["describe-custom-key-stores"])["CustomKeyStores"][0].clone();
    assert_eq!(described["ConnectionState"], "FAILED");
    assert_eq!(described["ConnectionErrorCode"], "XKS_PROXY_NOT_REACHABLE");
    let (name, _) = aws.refused(&["connect-custom-key-store", by_id[0], by_id[1]]);
    assert_eq!(name, "CustomKeyStoreInvalidStateException");
}
