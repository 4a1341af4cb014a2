//! The import of key material as a person does it: the AWS CLI, and openssl to wrap.

use std::{fs, process::Command};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;

use crate::{Folder, aws::Aws, serve};

fn text<'a>(answer: &'a Value, field: &str) -> &'a str {
    answer[field].as_str().unwrap_or_else(|| panic!("no {field}: {answer}"))
}

/// Runs openssl in the folder.
fn openssl(folder: &Folder, arguments: &str) {
    let mut command = Command::new("openssl");
    let command = command.args(arguments.split_whitespace()).current_dir(folder.path(""));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments}: {said}");
}

/// Wraps `material` for `public.der` into `wrapped`.
fn wrap(folder: &Folder, algorithm: &str) {
    let hash = if algorithm.ends_with("256") { "sha256" } else { "sha1" };
    let oaep = format!(
        "pkeyutl -encrypt -pubin -keyform DER -inkey public.der -pkeyopt rsa_padding_mode:oaep \
         -pkeyopt rsa_oaep_md:{hash} -pkeyopt rsa_mgf1_md:{hash}"
    );
    if algorithm.starts_with("RSAES") {
        return openssl(folder, &format!("{oaep} -in material -out wrapped"));
    }
    fs::write(folder.path("kek"), [0x5a; 32]).unwrap();
    openssl(folder, &format!("{oaep} -in kek -out by-rsa"));
    let kek = "5a".repeat(32);
    let wrap = format!("enc -id-aes256-wrap-pad -K {kek} -iv A65959A6 -in material -out by-aes");
    openssl(folder, &wrap);
    let parts = ["by-rsa", "by-aes"].map(|name| fs::read(folder.path(name)).unwrap());
    fs::write(folder.path("wrapped"), parts.concat()).unwrap();
}

#[test]
fn key_material_wrapped_by_openssl_is_imported_rotated_and_deleted() {
    let folder = Folder::new();
    let (_program, address) = serve(&[]);
    let aws = Aws::new(&address);
    let key = aws.kms(&["create-key", "--origin", "EXTERNAL"])["KeyMetadata"].clone();
    assert_eq!(key["KeyState"], "PendingImport");
    let by_key = ["--key-id", text(&key, "KeyId")];
    let import = |algorithm: &str, spec: &str, number: u8, more: &[&str]| {
        let wrapping = ["--wrapping-algorithm", algorithm, "--wrapping-key-spec", spec];
        let parameters = aws.kms(&[&["get-parameters-for-import"], &by_key[..], &wrapping].concat());
        let decoded = |field| BASE64_STANDARD.decode(text(&parameters, field)).unwrap();
        fs::write(folder.path("public.der"), decoded("PublicKey")).unwrap();
        fs::write(folder.path("token"), decoded("ImportToken")).unwrap();
        fs::write(folder.path("material"), [number; 32]).unwrap();
        wrap(&folder, algorithm);
        let file = |name| format!("fileb://{}", folder.path(name).display());
        let (wrapped, token) = (file("wrapped"), file("token"));
        let blobs = ["--encrypted-key-material", &wrapped, "--import-token", &token];
        [&["import-key-material"], &by_key[..], &blobs, more]
            .concat()
            .iter()
            .map(|argument| (*argument).to_owned())
            .collect::<Vec<_>>()
    };
    let never = ["--expiration-model", "KEY_MATERIAL_DOES_NOT_EXPIRE"];
    let mut first = None;
    for (algorithm, spec) in [
        ("RSAES_OAEP_SHA_1", "RSA_2048"),
        ("RSAES_OAEP_SHA_256", "RSA_3072"),
        ("RSA_AES_KEY_WRAP_SHA_1", "RSA_4096"),
        ("RSA_AES_KEY_WRAP_SHA_256", "RSA_2048"),
    ] {
        let request = import(algorithm, spec, 1, &never);
        let imported = aws.kms(&request.iter().map(|argument| &**argument).collect::<Vec<_>>());
        let id = text(&imported, "KeyMaterialId").to_owned();
        assert_eq!(
            *first.get_or_insert(id.clone()),
            id,
            "{algorithm}: the same material as before"
        );
    }
    let first = first.unwrap();
    let other = import("RSAES_OAEP_SHA_256", "RSA_2048", 2, &never);
    let other: Vec<_> = other.iter().map(|argument| &**argument).collect();
    assert_eq!(aws.refused(&other).0, "IncorrectKeyMaterialException");

    let end = ["--valid-to", "2099-01-01T00:00:00Z"];
    let expiring = import("RSAES_OAEP_SHA_256", "RSA_2048", 1, &end);
    let expiring: Vec<_> = expiring.iter().map(|argument| &**argument).collect();
    assert_eq!(aws.refused(&expiring).0, "ValidationException", "more than a year away");

    let plain = folder.write("plain", "plain");
    let plain = format!("fileb://{}", plain.display());
    let encrypted = aws.kms(&[&["encrypt", "--plaintext", &plain], &by_key[..]].concat());
    let blob = BASE64_STANDARD.decode(text(&encrypted, "CiphertextBlob")).unwrap();
    fs::write(folder.path("blob"), blob).unwrap();
    let blob = format!("fileb://{}", folder.path("blob").display());
    let decrypt = ["decrypt", "--ciphertext-blob", &blob];
    assert_eq!(aws.kms(&decrypt)["KeyMaterialId"], *first);
    aws.kms(&[&["delete-imported-key-material"], &by_key[..]].concat());
    assert_eq!(aws.refused(&decrypt).0, "KMSInvalidStateException");
    let request = import("RSAES_OAEP_SHA_256", "RSA_4096", 1, &never);
    aws.kms(&request.iter().map(|argument| &**argument).collect::<Vec<_>>());
    assert_eq!(aws.kms(&decrypt)["Plaintext"], "cGxhaW4=");

    let new = [&never[..], &["--import-type", "NEW_KEY_MATERIAL"]].concat();
    let request = import("RSAES_OAEP_SHA_256", "RSA_2048", 2, &new);
    aws.kms(&request.iter().map(|argument| &**argument).collect::<Vec<_>>());
    let all = ["list-key-rotations", "--include-key-material", "ALL_KEY_MATERIAL"];
    let all = [&all[..], &by_key].concat();
    assert_eq!(
        aws.kms(&all)["Rotations"][1]["KeyMaterialState"],
        "PENDING_ROTATION".to_owned()
    );
    aws.kms(&[&["rotate-key-on-demand"], &by_key[..]].concat());
    let rotations = aws.kms(&all)["Rotations"].clone();
    assert_eq!(rotations[0]["KeyMaterialState"], "NON_CURRENT");
    assert_eq!(rotations[1]["RotationType"], "ON_DEMAND");
    assert_eq!(aws.kms(&decrypt)["Plaintext"], "cGxhaW4=");
}
