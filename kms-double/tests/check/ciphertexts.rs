//! Proxies that encrypt and decrypt wrongly, or take what they must not take.

use serde_json::{Value, json};

use crate::{
    alter::{
        AAD, CDIV, CIPHERTEXT, IV, METADATA, PLAINTEXT, TAG, bytes, confuses, decrypts_once, disguises, encoded,
        encrypts_nothing, forgets, gave, gives, is_authentic, metadata_field, reads, refuses, remembers_answers, takes,
    },
    support::{Answered, Broken, KEY},
    table::broken,
};

broken! {
    plaintext_is_altered: Broken::answers(|asked, answered| gave(asked, answered, "decrypt", |_, json| {
        let mut plaintext = bytes(json, PLAINTEXT);
        if let Some(last) = plaintext.last_mut() {
            *last ^= 1;
        }
        json[PLAINTEXT] = encoded(&plaintext);
    })) => ["round-trip/1-*", "round-trip/16-*", "round-trip/4300-*", "round-trip/with-second", "decrypt/twice", "tampering/aad-absent-or-empty"];
    large_plaintexts_are_cut: Broken::answers(|asked, answered| gave(asked, answered, "decrypt", |_, json| {
        let mut plaintext = bytes(json, PLAINTEXT);
        plaintext.truncate(512);
        json[PLAINTEXT] = encoded(&plaintext);
    })) => ["round-trip/4300-*", "decrypt/plaintext-length"];
    integrity_value_is_wrong: gives(|_, json| if json.get(CDIV).is_some() { json[CDIV] = encoded(&[0; 32]) }) => [
        "encrypt/integrity-value", "encrypt/integrity-value-without-aad",
    ];
    integrity_value_is_absent: gives(|_, json| { json.as_object_mut().unwrap().remove(CDIV); }) => [
        "encrypt/integrity-value", "encrypt/integrity-value-without-aad",
    ];
    integrity_value_is_always_there: gives(|_, json| if json.get(CDIV).is_none() { json[CDIV] = encoded(&[0; 32]) }) => [
        "encrypt/integrity-value-not-asked-for",
    ];
    integrity_value_is_without_the_aad: gives(|_, json| {
        use sha2::{Digest as _, Sha256};
        if json.get(CDIV).is_some() {
            let all: Vec<u8> = [METADATA, IV, CIPHERTEXT, TAG].iter().flat_map(|part| bytes(json, part)).collect();
            json[CDIV] = encoded(&Sha256::digest(&all));
        }
    }) => ["encrypt/integrity-value"];
    aad_is_ignored: Broken::requests(|asked| {
        if (asked.is("encrypt") || asked.is("decrypt")) && is_authentic(asked) {
            let mut json = asked.json();
            if json.as_object_mut().is_some_and(|json| json.remove(AAD).is_some()) {
                asked.set_json(&json);
            }
        }
    }) => ["tampering/aad-*", "encrypt/integrity-value", "base64/additional*", "json/aad-number", "json/field-twice"];
    metadata_is_not_authenticated: takes("decrypt", |json| json[METADATA] = encoded(b"key_version=1")) => [
        "tampering/metadata-*", "decrypt/ciphertextMetadata-*",
    ];
    metadata_is_read_behind_the_aad: takes("decrypt", |json| {
        let aad = bytes(json, AAD);
        if let Some(aad) = aad.strip_suffix(b"key_version=1") && json.get(METADATA).is_none() {
            json[METADATA] = encoded(b"key_version=1");
            json[AAD] = encoded(aad.strip_suffix(&[13]).and_then(|aad| aad.get(2..)).unwrap_or(aad));
        }
    }) => ["tampering/metadata-moved-behind-the-aad", "tampering/metadata-moved-into-the-aad-framed"];
    tag_is_of_any_length: takes("decrypt", |json| {
        let (mut all, tag) = (bytes(json, CIPHERTEXT), bytes(json, TAG));
        if tag.len() != 16 && all.len() + tag.len() >= 16 {
            all.extend(tag);
            let (ciphertext, tag) = all.split_at(all.len() - 16);
            json[CIPHERTEXT] = encoded(ciphertext);
            json[TAG] = encoded(tag);
        }
    }) => ["tampering/byte-moved-from-tag-to-ciphertext", "tampering/byte-moved-from-ciphertext-to-tag"];
    tag_is_not_checked: forgets(TAG, CIPHERTEXT) => ["tampering/tag-bits", "tampering/tag-of-another"];
    ciphertext_is_not_authenticated: forgets(CIPHERTEXT, TAG) => ["tampering/ciphertext-bits"];
    iv_is_not_looked_at: forgets(IV, TAG) => ["tampering/iv-bits", "tampering/iv-of-another"];
    ivs_repeat: remembers_answers() => ["encrypt/ivs-differ"];
    nothing_is_encrypted: encrypts_nothing() => ["encrypt/ciphertext-is-not-the-plaintext", "encrypt/ivs-differ"];
    ciphertext_is_longer: disguises(CIPHERTEXT, |bytes| [bytes, vec![0]].concat(), |mut bytes| { bytes.pop(); bytes }) => [
        "encrypt/ciphertext-length", "tampering/ciphertext-bits",
    ];
    iv_has_13_bytes: disguises(IV, |bytes| [bytes, vec![0]].concat(), |mut bytes| { bytes.truncate(12); bytes }) => [
        "encrypt/iv-length", "tampering/iv-*",
    ];
    tag_has_17_bytes: disguises(TAG, |bytes| [bytes, vec![0]].concat(), |mut bytes| { bytes.truncate(16); bytes }) => [
        "encrypt/tag-length", "tampering/*",
    ];
    metadata_has_21_bytes: disguises(METADATA, |bytes| [bytes, vec![b'.'; 8]].concat(), |mut bytes| { bytes.truncate(13); bytes }) => [
        "encrypt/metadata-length", "tampering/metadata-*",
    ];
    answers_are_url_safe: gives(|_, json| for part in [IV, TAG] {
        // Not every text has a character that is another one there, so each gets one.
        json[part] = json!(format!("-{}", json[part].as_str().unwrap().split_at(1).1));
    }) => ["round-trip/*", "encrypt/*", "decrypt/*", "tampering/*", "encrypt-only/*"];
    url_safe_is_taken: reads(|text| match serde_json::from_str::<Value>(text) {
        Ok(mut json) if json.get(PLAINTEXT).is_some_and(Value::is_string) => {
            for field in [PLAINTEXT, AAD] {
                if let Some(text) = json[field].as_str().map(|text| text.replace('-', "+").replace('_', "/")) {
                    json[field] = json!(text);
                }
            }
            json.to_string()
        }
        _ => text.to_owned(),
    }) => ["base64/plaintext-url-safe", "base64/additionalAuthenticatedData-url-safe", "json/field-twice"];
    padding_is_not_needed: reads(|text| text.replace("\"QUJDRA\"", "\"QUJDRA==\"")) => [ "base64/plaintext-without-padding", "base64/additionalAuthenticatedData-without-padding"];
    spaces_are_passed_over: reads(|text| text.replace("QUJD REVG", "QUJDREVG").replace("QUJD\\r\\nREVG", "QUJDREVG")) => [
        "base64/plaintext-with-a-*", "base64/additionalAuthenticatedData-with-a-*",
    ];
    stray_bits_are_passed_over: reads(|text| text.replace("QUJDRB==", "QUJDRA==")) => [
        "base64/plaintext-with-stray-bits", "base64/additionalAuthenticatedData-with-stray-bits",
    ];
    garbage_after_the_json_is_taken: reads(|text| {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        match values.next() {
            Some(Ok(value)) if value.is_object() => text[..values.byte_offset()].to_owned(),
            _ => text.to_owned(),
        }
    }) => ["json/followed-by-garbage", "json/followed-by-another-object"];
    the_first_of_two_fields_counts: reads(|text| match serde_json::from_str::<Value>(text) {
        Ok(value) if text.matches("\"plaintext\"").count() == 2 => value.to_string(),
        _ => text.to_owned(),
    }) => ["json/field-twice"];
    arrays_are_unpacked: reads(|text| match serde_json::from_str::<Value>(text) {
        Ok(Value::Array(values)) => values[0].to_string(),
        _ => text.to_owned(),
    }) => ["json/array"];
    null_is_absence: takes("encrypt", |json| if json[PLAINTEXT].is_null() && json.get(PLAINTEXT).is_some() {
        json[PLAINTEXT] = json!("");
    }) => ["json/plaintext-null"];
    every_algorithm_will_do: takes("encrypt", |json| json["encryptionAlgorithm"] = json!("AES_GCM")) => [
        "encrypt/algorithm-*", "encrypt/without-algorithm",
    ];
    algorithms_are_read_in_any_case: takes("encrypt", |json| {
        for field in ["encryptionAlgorithm", "ciphertextDataIntegrityValueAlgorithm"] {
            if let Some(name) = json.get(field).and_then(Value::as_str) {
                json[field] = json!(name.to_uppercase());
            }
        }
    }) => ["encrypt/algorithm-in-lower-case", "encrypt/integrity-algorithm-in-lower-case"];
    other_integrity_algorithms_are_passed_over: takes("encrypt", |json| {
        let field = "ciphertextDataIntegrityValueAlgorithm";
        if json.get(field).is_some_and(|value| *value != "SHA_256") {
            json.as_object_mut().unwrap().remove(field);
        }
    }) => ["encrypt/integrity-algorithm-*"];
    a_missing_plaintext_is_empty: takes("encrypt", |json| if json.get(PLAINTEXT).is_none() { json[PLAINTEXT] = json!("") }) => [
        "encrypt/without-plaintext",
    ];
    a_missing_key_arn_is_passed_over: takes("crypt", |json| if json["requestMetadata"].is_object() && json["requestMetadata"].get("kmsKeyArn").is_none() {
        json["requestMetadata"]["kmsKeyArn"] = json!("arn");
    }) => ["request-metadata/encrypt-without-kmsKeyArn", "request-metadata/decrypt-without-kmsKeyArn"];
    request_metadata_is_not_needed: takes("encrypt", |json| if !json["requestMetadata"].is_object() {
        json["requestMetadata"] = json!({ "awsPrincipalArn": "a", "kmsKeyArn": "a", "kmsOperation": "a", "kmsRequestId": "a" });
    }) => ["request-metadata/encrypt-without"];
    small_plaintexts_alone: refuses(501, "UnsupportedOperationException", |_, json| bytes(json, PLAINTEXT).len() > 4096) => ["round-trip/4300-*"];
    empty_plaintexts_are_refused: refuses(400, "ValidationException", |_, json| json[PLAINTEXT] == "") => ["round-trip/0-*"];
    small_aad_alone: refuses(501, "UnsupportedOperationException", |_, json| bytes(json, AAD).len() > 4096) => ["round-trip/0-bytes-8192-byte-aad*", "round-trip/1-bytes-8192-byte-aad*", "round-trip/16-bytes-8192-byte-aad*", "round-trip/4300-bytes-8192-byte-aad*"];
    large_requests_fail: refuses(500, "InternalException", |_, _| false).and_answers(|_, answered| {
        if answered.error_name() == "UnsupportedOperationException" {
            *answered = Answered::new(500, &json!({ "errorName": "InternalException" }));
        }
    }) => ["encrypt/4301-bytes", "encrypt/655*", "encrypt/8193-bytes-of-aad", "decrypt/4301-bytes", "decrypt/65536-bytes"];
    unknown_operations_are_refused: refuses(400, "ValidationException", |_, json| metadata_field(json, "kmsOperation").contains("Tomorrow")) => [
        "request-metadata/metadata-unknown-operation", "request-metadata/encrypt-unknown-operation",
    ];
    request_ids_are_uuids: refuses(400, "ValidationException", |_, json| metadata_field(json, "kmsRequestId").len() != 36) => [
        "request-metadata/metadata-odd-request-id", "request-metadata/metadata-long-request-id", "request-metadata/metadata-request-id-beyond-ascii", "request-metadata/encrypt-odd-request-id", "request-metadata/encrypt-long-request-id", "request-metadata/encrypt-request-id-beyond-ascii",
    ];
    principals_are_arns: refuses(400, "ValidationException", |asked, json| {
        !asked.is("health") && !metadata_field(json, "awsPrincipalArn").starts_with("arn:")
    }) => [
        "request-metadata/metadata-service-principal", "request-metadata/metadata-aws-internal",
        "request-metadata/encrypt-service-principal", "request-metadata/encrypt-aws-internal",
    ];
    arns_have_512_characters: refuses(400, "ValidationException", |_, json| {
        metadata_field(json, "awsPrincipalArn").len() > 512 || metadata_field(json, "kmsKeyArn").len() > 512
    }) => [
         "request-metadata/metadata-principal-of-2048-characters",
        "request-metadata/metadata-key-arn-of-2048-characters", "request-metadata/encrypt-principal-of-2048-characters",
        "request-metadata/encrypt-key-arn-of-2048-characters",
    ];
    unknown_fields_are_refused: refuses(400, "ValidationException", |_, json| {
        json["requestMetadata"].as_object().is_some_and(|fields| fields.keys().any(|name| {
            !name.starts_with("aws") && !name.starts_with("kms")
        }))
    }) => ["request-metadata/metadata-unknown-*", "request-metadata/encrypt-unknown-*", "request-metadata/health-unknown-field"];
    disabled_keys_work: confuses("crypt", "disabled", KEY) => ["disabled/encrypt", "disabled/decrypt"];
    usages_are_not_kept: confuses("crypt", "encrypt-only", KEY) => ["encrypt-only/decrypt", "encrypt-only/integrity-value"];
    decrypt_only_keys_encrypt: confuses("encrypt", "decrypt-only", KEY) => ["decrypt-only/encrypt"];
    any_key_decrypts: confuses("decrypt", "second", KEY) => ["tampering/other-key", "round-trip/with-second"];
    key_ids_have_no_case: confuses("metadata", "uSABLE-KEY.1", KEY) => ["uri/id-is-case-sensitive"];
    key_ids_have_64_characters: Broken::answers(|asked, answered| {
        if asked.parts.uri.path().split('/').any(|part| part.len() > 64) && answered.status == 404 {
            *answered = Answered::new(404, &json!({ "errorName": "InvalidUriPathException" }));
        }
    }) => ["uri/id-of-128-characters"];
    ciphertexts_open_once: decrypts_once() => ["decrypt/twice"];
    empty_aad_is_not_absent: refuses(400, "InvalidCiphertextException", |asked, json| {
        asked.is("decrypt") && json.get(AAD).is_some_and(|aad| aad == "") && bytes(json, CIPHERTEXT).len() == 48
    }) => ["tampering/aad-absent-or-empty"];
    wrong_tags_are_internal_errors: Broken::answers(|_, answered| {
        if answered.error_name() == "InvalidCiphertextException" {
            *answered = Answered::new(500, &json!({ "errorName": "InternalException" }));
        }
    }) => ["decrypt/ciphertextMetadata-null", "tampering/*"];
}
