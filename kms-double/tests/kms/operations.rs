//! Operations that succeed, the requests that a proxy gets for them, and what KMS refuses by itself.

use kms_double::kms::{Caller, ExceptionName as Name, Failure, api::*};
use serde_json::json;

use crate::{
    site::{Site, alice, context, name, what},
    support::KEY,
};

#[tokio::test]
async fn each_operation_does_what_it_is_for() {
    let site = Site::new().await;
    for length in [1, 1000, 4096] {
        let plaintext = vec![7; length];
        let mut encrypt = EncryptRequest::new(&site.key.arn, &*plaintext);
        encrypt.encryption_context = context("nile");
        let encrypted = site.kms.encrypt(&alice(), encrypt).await.unwrap();
        assert!(
            encrypted.ciphertext_blob.len() < 6144,
            "the AWS SDKs take no longer blob"
        );
        let mut decrypt = DecryptRequest::new(encrypted.ciphertext_blob.clone());
        decrypt.encryption_context = context("nile");
        let decrypted = site.kms.decrypt(&alice(), decrypt.clone()).await.unwrap();
        assert_eq!((&*decrypted.plaintext, &decrypted.key_id), (&*plaintext, &site.key.arn));

        let mut again = ReEncryptRequest::new(encrypted.ciphertext_blob, &site.key.key_id);
        again.source_encryption_context = context("nile");
        again.destination_encryption_context = context("rhine");
        let again = site.kms.re_encrypt(&alice(), again).await.unwrap();
        assert_eq!((&again.source_key_id, &again.key_id), (&site.key.arn, &site.key.arn));
        decrypt.ciphertext_blob = again.ciphertext_blob;
        assert_eq!(
            name(site.kms.decrypt(&alice(), decrypt.clone()).await),
            Name::InvalidState
        );
        decrypt.encryption_context = context("rhine");
        let decrypted = site.kms.decrypt(&alice(), decrypt).await.unwrap();
        assert_eq!(&*decrypted.plaintext, &*plaintext);
    }
    let mut request = GenerateDataKeyRequest::new(&site.key.key_id);
    for (spec, bytes, length) in [
        (Some("AES_256"), None, 32),
        (Some("AES_128"), None, 16),
        (None, Some(24), 24),
    ] {
        (request.key_spec, request.number_of_bytes) = (spec.map(str::to_owned), bytes);
        let made = site.kms.generate_data_key(&alice(), request.clone()).await.unwrap();
        assert_eq!(made.plaintext.len(), length);
        assert!(made.plaintext.iter().any(|byte| *byte != 0));
        let decrypted = site.decrypt(&made.ciphertext_blob).await.unwrap();
        assert_eq!(decrypted.plaintext, made.plaintext);
        let kept = site
            .kms
            .generate_data_key_without_plaintext(&alice(), request.clone())
            .await
            .unwrap();
        assert_eq!(
            site.decrypt(&kept.ciphertext_blob).await.unwrap().plaintext.len(),
            length
        );
    }
    for (spec, bytes) in [
        (Some("AES_256"), Some(32)),
        (None, None),
        (None, Some(1025)),
        (Some("AES_512"), None),
    ] {
        (request.key_spec, request.number_of_bytes) = (spec.map(str::to_owned), bytes);
        assert_eq!(
            name(site.kms.generate_data_key(&alice(), request.clone()).await),
            Name::Validation
        );
    }
}

#[tokio::test]
async fn a_proxy_is_told_who_does_what() {
    let site = Site::new().await;
    let caller = Caller::new("arn:aws:iam::111122223333:user/Bob")
        .via_service("s3.us-east-1.amazonaws.com")
        .from_vpc("vpc-1", "vpce-1")
        .request_id("request-1");
    let request = EncryptRequest::new(&site.key.key_id, b"plain");
    let blob = site.kms.encrypt(&caller, request).await.unwrap().ciphertext_blob;
    let (path, body) = site.proxy.asked().pop().unwrap();
    assert_eq!(path, format!("keys/{KEY}/encrypt"));
    let expected = json!({
        "awsPrincipalArn": "arn:aws:iam::111122223333:user/Bob",
        "awsSourceVpc": "vpc-1",
        "awsSourceVpce": "vpce-1",
        "kmsKeyArn": site.key.arn,
        "kmsOperation": "Encrypt",
        "kmsRequestId": "request-1",
        "kmsViaService": "s3.us-east-1.amazonaws.com",
    });
    assert_eq!(body["requestMetadata"], expected);
    assert_eq!(body["ciphertextDataIntegrityValueAlgorithm"], "SHA_256");
    assert_eq!(
        body.get("additionalAuthenticatedData"),
        None,
        "there is no encryption context"
    );
    // The proxy never sees what the caller gave: KMS's own layer is around it.
    assert_ne!(body["plaintext"], "cGxhaW4=");

    let mut request = DecryptRequest::new(blob.clone());
    request.encryption_context = context("nile");
    let refused = site.kms.decrypt(&alice(), request).await;
    assert_eq!(what(refused), (Name::InvalidState, Some(Failure::InvalidCiphertext)));
    let (_, body) = site.proxy.asked().pop().unwrap();
    assert_eq!(
        body["additionalAuthenticatedData"], "AAdwcm9qZWN0AARuaWxl",
        "each text with its length in front"
    );

    // Each call of KMS has an id of its own, and both requests of ReEncrypt the same.
    let again = ReEncryptRequest::new(blob.clone(), &site.key.key_id);
    site.kms.re_encrypt(&alice(), again).await.unwrap();
    site.kms.decrypt(&alice(), DecryptRequest::new(blob)).await.unwrap();
    site.kms
        .generate_data_key(&alice(), GenerateDataKeyRequest::new(&site.key.key_id))
        .await
        .unwrap();
    site.kms.connect_custom_key_store(&alice(), site.id()).await.unwrap();
    site.kms.check_health().await.unwrap();
    let asked = site.proxy.asked();
    let field = |name: &str| -> Vec<String> {
        let field =
            |(_, body): &(_, serde_json::Value)| body["requestMetadata"][name].as_str().unwrap_or("").to_owned();
        asked.iter().map(field).collect()
    };
    let (decrypt, encrypt) = (format!("keys/{KEY}/decrypt"), format!("keys/{KEY}/encrypt"));
    let paths: Vec<_> = asked.iter().map(|(path, _)| path.clone()).collect();
    assert_eq!(paths, [&*decrypt, &encrypt, &decrypt, &encrypt, "health", "health"]);
    let operations = [
        "ReEncrypt",
        "ReEncrypt",
        "Decrypt",
        "GenerateDataKey",
        "ConnectCustomKeyStore",
        "KmsHealthCheck",
    ];
    assert_eq!(field("kmsOperation"), operations);
    let mut ids = field("kmsRequestId");
    assert!(
        ids.iter().all(|id| id.len() == 36 && id.as_bytes()[14] == b'4'),
        "{ids:?}"
    );
    assert_eq!(ids[0], ids[1]);
    ids.dedup();
    assert_eq!(ids.len(), 5);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 5);
    assert_eq!(field("awsPrincipalArn")[4..], ["", ""], "health knows no caller");
}

#[tokio::test]
async fn a_key_is_used_only_in_the_state_for_it() {
    let site = Site::new().await;
    let blob = site.encrypt(b"plain").await.unwrap().ciphertext_blob;
    let state = async || {
        let described = site.kms.describe_key(&alice(), site.key_id()).await.unwrap();
        described.key_metadata.key_state
    };
    assert_eq!(state().await, KeyState::Enabled);

    site.kms.disable_key(&alice(), site.key_id()).await.unwrap();
    assert_eq!(name(site.decrypt(&blob).await), Name::Disabled);
    assert_eq!(name(site.encrypt(b"plain").await), Name::Disabled);
    assert_eq!(state().await, KeyState::Disabled);
    site.kms.enable_key(&alice(), site.key_id()).await.unwrap();
    assert_eq!(&*site.decrypt(&blob).await.unwrap().plaintext, b"plain");

    site.kms.disconnect_custom_key_store(&alice(), site.id()).await.unwrap();
    site.proxy.asked();
    let exception = site.decrypt(&blob).await.unwrap_err();
    assert_eq!(exception.name(), Name::InvalidState);
    assert!(
        exception
            .message()
            .contains("is not connected to its external key store proxy")
    );
    assert_eq!(state().await, KeyState::Unavailable);
    assert_eq!(site.proxy.asked().len(), 0);
    site.kms.connect_custom_key_store(&alice(), site.id()).await.unwrap();
    assert_eq!(&*site.decrypt(&blob).await.unwrap().plaintext, b"plain");

    let deletion = ScheduleKeyDeletionRequest::new(&site.key.key_id);
    let scheduled = site
        .kms
        .schedule_key_deletion(&alice(), deletion.clone())
        .await
        .unwrap();
    assert_eq!(scheduled.pending_window_in_days, 30);
    assert_eq!(state().await, KeyState::PendingDeletion);
    assert_eq!(name(site.decrypt(&blob).await), Name::InvalidState);
    assert_eq!(
        name(site.kms.enable_key(&alice(), site.key_id()).await),
        Name::InvalidState
    );
    assert_eq!(
        name(site.kms.schedule_key_deletion(&alice(), deletion).await),
        Name::InvalidState
    );
    site.kms.cancel_key_deletion(&alice(), site.key_id()).await.unwrap();
    assert_eq!(
        name(site.kms.cancel_key_deletion(&alice(), site.key_id()).await),
        Name::InvalidState
    );
    assert_eq!(state().await, KeyState::Disabled);
    site.kms.enable_key(&alice(), site.key_id()).await.unwrap();
    assert_eq!(&*site.decrypt(&blob).await.unwrap().plaintext, b"plain");
}

#[tokio::test]
async fn describe_key_asks_no_proxy() {
    let site = Site::new().await;
    let described = site.kms.describe_key(&alice(), site.key_id()).await.unwrap();
    assert_eq!(described.key_metadata.xks_key_configuration.unwrap().id, KEY);
    assert_eq!(site.proxy.asked().len(), 0);
}

#[tokio::test]
async fn the_wrong_inputs_are_refused_before_the_proxy_is_asked() {
    let site = Site::new().await;
    let blob = site.encrypt(b"plain").await.unwrap().ciphertext_blob;
    site.proxy.asked();
    assert_eq!(name(site.encrypt(b"").await), Name::Validation);
    assert_eq!(name(site.encrypt(&[7; 4097]).await), Name::Validation);
    for named in ["", "alias/nobody", "1234abcd-12ab-34cd-56ef-1234567890ab"] {
        let request = EncryptRequest::new(named, b"plain");
        assert_eq!(
            name(site.kms.encrypt(&alice(), request).await),
            Name::NotFound,
            "{named}"
        );
    }
    let mut request = EncryptRequest::new(&site.key.key_id, b"plain");
    request.encryption_algorithm = Some("RSAES_OAEP_SHA_256".into());
    assert_eq!(name(site.kms.encrypt(&alice(), request).await), Name::InvalidKeyUsage);
    let mut request = EncryptRequest::new(&site.key.key_id, b"plain");
    request.encryption_context = context(&"v".repeat(9000));
    assert_eq!(name(site.kms.encrypt(&alice(), request).await), Name::Validation);
    assert_eq!(site.proxy.asked().len(), 0);

    let other = CreateKeyRequest::new(&site.store, "second");
    let other = site.kms.create_key(&alice(), other).await.unwrap().key_metadata;
    site.proxy.asked();
    let mut request = DecryptRequest::new(blob);
    request.key_id = Some(other.key_id);
    assert_eq!(
        name(site.kms.decrypt(&alice(), request.clone()).await),
        Name::IncorrectKey
    );
    assert_eq!(site.proxy.asked().len(), 0);
    request.key_id = Some(site.key.arn.clone());
    site.kms.decrypt(&alice(), request).await.unwrap();
}

/// Header and lengths are read by KMS, the rest is for the proxy to refuse; nothing at all may decrypt.
#[tokio::test]
async fn a_changed_blob_or_context_never_decrypts() {
    let site = Site::new().await;
    let mut request = EncryptRequest::new(&site.key.key_id, b"plain");
    request.encryption_context = context("nile");
    let blob = site.kms.encrypt(&alice(), request).await.unwrap().ciphertext_blob;
    let mut request = DecryptRequest::new(blob.clone());
    request.encryption_context = context("nile");
    site.kms.decrypt(&alice(), request.clone()).await.unwrap();
    for index in 0..blob.len() {
        for change in [1, 0x80] {
            let mut changed = blob.to_vec();
            changed[index] ^= change;
            request.ciphertext_blob = changed.into();
            let exception = site.kms.decrypt(&alice(), request.clone()).await.unwrap_err();
            // Version and key id, and whatever makes lengths of which none is legal.
            let by_kms = exception.name() == Name::InvalidCiphertext;
            assert!(by_kms || exception.name() == Name::InvalidState, "{index}: {exception}");
            assert!(by_kms || index > 16, "{index}: {exception}");
        }
    }
    for length in [1, 16, 17, 60, blob.len() - 1] {
        request.ciphertext_blob = blob[..length].into();
        assert_eq!(
            name(site.kms.decrypt(&alice(), request.clone()).await),
            Name::InvalidCiphertext
        );
    }
    request.ciphertext_blob = b"".into();
    assert_eq!(
        name(site.kms.decrypt(&alice(), request.clone()).await),
        Name::Validation
    );
    request.ciphertext_blob = [&blob[..], b"\0"].concat().into();
    assert_eq!(
        name(site.kms.decrypt(&alice(), request.clone()).await),
        Name::InvalidCiphertext
    );
    request.ciphertext_blob = blob;
    for other in [context("rhine"), Default::default()] {
        request.encryption_context = other;
        assert_eq!(
            name(site.kms.decrypt(&alice(), request.clone()).await),
            Name::InvalidState
        );
    }
}

#[tokio::test]
async fn an_alias_names_a_key() {
    let site = Site::new().await;
    let create = async |name: &str| {
        let request = CreateAliasRequest::new(name, &site.key.key_id);
        site.kms.create_alias(&alice(), request).await
    };
    let list = async || {
        let all = site
            .kms
            .list_aliases(&alice(), ListAliasesRequest::default())
            .await
            .unwrap();
        all.aliases
    };
    for (wrong, expected) in [
        ("s3", Name::Validation),
        ("alias/", Name::Validation),
        ("alias/a b", Name::Validation),
        ("alias/aws/s3", Name::InvalidAliasName),
    ] {
        assert_eq!(name(create(wrong).await), expected, "{wrong}");
    }
    create("alias/s3").await.unwrap();
    assert_eq!(name(create("alias/s3").await), Name::AlreadyExists);
    let aliases = list().await;
    let found = (
        &*aliases[0].alias_name,
        &*aliases[0].alias_arn,
        &aliases[0].target_key_id,
    );
    let arn = "arn:aws:kms:us-east-1:111122223333:alias/s3";
    assert_eq!(found, ("alias/s3", arn, &site.key.key_id));
    for named in ["alias/s3", arn] {
        let made = site
            .kms
            .generate_data_key(&alice(), GenerateDataKeyRequest::new(named))
            .await
            .unwrap();
        assert_eq!(made.key_id, site.key.arn);
    }
    // What changes a key takes no alias: it may have moved to another one.
    for named in ["alias/s3", arn] {
        let request = KeyIdRequest::new(named);
        site.kms.describe_key(&alice(), request.clone()).await.unwrap();
        let deletion = ScheduleKeyDeletionRequest::new(named);
        let refused = [
            name(site.kms.disable_key(&alice(), request.clone()).await),
            name(site.kms.enable_key(&alice(), request.clone()).await),
            name(site.kms.schedule_key_deletion(&alice(), deletion).await),
            name(site.kms.cancel_key_deletion(&alice(), request).await),
        ];
        assert_eq!(refused, [Name::NotFound; 4], "{named}");
    }
    let mut request = ListAliasesRequest::default();
    for (limit, is_taken) in [(0, false), (1, true), (100, true), (101, false)] {
        request.limit = Some(limit);
        assert_eq!(
            site.kms.list_aliases(&alice(), request.clone()).await.is_ok(),
            is_taken,
            "{limit}"
        );
    }
    // A key has at most 50.
    let second = CreateKeyRequest::new(&site.store, "second");
    let second = site.kms.create_key(&alice(), second).await.unwrap().key_metadata.key_id;
    for n in 0..50 {
        let request = CreateAliasRequest::new(format!("alias/{n}"), &second);
        site.kms.create_alias(&alice(), request).await.unwrap();
    }
    assert_eq!(list().await.len(), 50, "unless more are asked for");
    request.limit = Some(100);
    let all = site.kms.list_aliases(&alice(), request).await.unwrap();
    assert_eq!((all.aliases.len(), all.truncated), (51, false));
    for n in 0..50 {
        let delete = DeleteAliasRequest::new(format!("alias/{n}"));
        site.kms.delete_alias(&alice(), delete).await.unwrap();
    }

    let deletion = ScheduleKeyDeletionRequest::new(&site.key.arn);
    site.kms.schedule_key_deletion(&alice(), deletion).await.unwrap();
    assert_eq!(name(create("alias/late").await), Name::InvalidState);
    assert_eq!(list().await.len(), 1);
    site.kms
        .cancel_key_deletion(&alice(), KeyIdRequest::new(&site.key.arn))
        .await
        .unwrap();
    create("alias/late").await.unwrap();
    site.kms
        .delete_alias(&alice(), DeleteAliasRequest::new("alias/late"))
        .await
        .unwrap();

    let delete = DeleteAliasRequest::new("alias/s3");
    site.kms.delete_alias(&alice(), delete.clone()).await.unwrap();
    assert_eq!(name(site.kms.delete_alias(&alice(), delete).await), Name::NotFound);
    assert_eq!(list().await.len(), 0);
}

#[tokio::test]
async fn keys_and_key_stores_outlive_the_process_in_a_file_of_their_owner() {
    let site = Site::new().await;
    let blob = site.encrypt(b"plain").await.unwrap().ciphertext_blob;
    site.kms
        .create_alias(&alice(), CreateAliasRequest::new("alias/a", &site.key.key_id))
        .await
        .unwrap();
    let again = site.again(|builder| builder);
    let decrypted = again.decrypt(&alice(), DecryptRequest::new(blob)).await.unwrap();
    assert_eq!(&*decrypted.plaintext, b"plain");
    let named = again
        .describe_key(&alice(), KeyIdRequest::new("alias/a"))
        .await
        .unwrap();
    assert_eq!(named.key_metadata.arn, site.key.arn);
    let keys = again
        .list_keys(&alice(), ListKeysRequest::default())
        .await
        .unwrap()
        .keys;
    assert_eq!((keys.len(), &keys[0].key_arn), (1, &site.key.arn));

    let file = site.folder.path("state");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    std::fs::write(&file, "{\"keys\": 7}").unwrap();
    assert!(crate::site::builder().state_file(&file).build().is_err());
    // A change that cannot be kept is none.
    std::fs::remove_dir_all(site.folder.path("")).unwrap();
    assert_eq!(
        name(site.kms.disable_key(&alice(), site.key_id()).await),
        Name::Internal
    );
    site.encrypt(b"still enabled").await.unwrap();
}
