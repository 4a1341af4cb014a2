//! The import of key material: parameters and tokens, wrapping, ends, and which material may come back.

use std::time::Duration;

use kms_double::kms::{ExceptionName as Name, api::*};

use crate::{
    importing::{DAY, Importing, material, new_key, wrap},
    site::{Site, alice, context, name},
};

#[tokio::test]
async fn a_key_is_used_once_its_material_is_there() {
    let site = Importing::new().await;
    let described = site.described().await;
    assert_eq!(
        (described.key_state, described.enabled),
        (KeyState::PendingImport, false)
    );
    assert_eq!(described.origin, "EXTERNAL");
    assert_eq!(
        (described.expiration_model, described.current_key_material_id),
        (None, None)
    );
    assert_eq!(name(site.encrypt(b"plain").await), Name::InvalidState);

    let id = site.import(&material(1), |_| ()).await.unwrap();
    assert!(
        id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{id}"
    );
    let described = site.described().await;
    assert_eq!(described.key_state, KeyState::Enabled);
    assert_eq!(described.current_key_material_id, Some(id.clone()));
    let never = ExpirationModel::KeyMaterialDoesNotExpire;
    assert_eq!((described.expiration_model, described.valid_to), (Some(never), None));

    let mut encrypt = EncryptRequest::new(&site.key_id, b"plain");
    encrypt.encryption_context = context("nile");
    let blob = site.kms.encrypt(&alice(), encrypt).await.unwrap().ciphertext_blob;
    let mut decrypt = DecryptRequest::new(blob.clone());
    assert_eq!(
        name(site.kms.decrypt(&alice(), decrypt.clone()).await),
        Name::InvalidCiphertext
    );
    decrypt.encryption_context = context("nile");
    let decrypted = site.kms.decrypt(&alice(), decrypt.clone()).await.unwrap();
    assert_eq!(
        (&*decrypted.plaintext, decrypted.key_material_id),
        (&b"plain"[..], Some(id.clone()))
    );
    for index in 0..blob.len() {
        let mut changed = blob.to_vec();
        changed[index] ^= 1;
        decrypt.ciphertext_blob = changed.into();
        let changed = site.kms.decrypt(&alice(), decrypt.clone()).await;
        assert_eq!(name(changed), Name::InvalidCiphertext, "{index}");
    }
    let made = site
        .kms
        .generate_data_key(&alice(), GenerateDataKeyRequest::new(&site.key_id))
        .await;
    let made = made.unwrap();
    assert_eq!(made.key_material_id, Some(id.clone()));
    assert_eq!(
        site.decrypt(&made.ciphertext_blob).await.unwrap().plaintext,
        made.plaintext
    );
    let again = ReEncryptRequest::new(made.ciphertext_blob, &site.key_id);
    let again = site.kms.re_encrypt(&alice(), again).await.unwrap();
    let ids = (again.source_key_material_id, again.destination_key_material_id);
    assert_eq!(ids, (Some(id.clone()), Some(id)));
}

#[tokio::test]
async fn each_algorithm_and_length_is_unwrapped_and_no_other_is() {
    use WrappingAlgorithm as Algorithm;
    let site = Importing::new().await;
    let algorithms = [
        Algorithm::RsaesOaepSha1,
        Algorithm::RsaesOaepSha256,
        Algorithm::RsaAesKeyWrapSha1,
        Algorithm::RsaAesKeyWrapSha256,
    ];
    for (spec, modulus) in [
        (WrappingKeySpec::Rsa2048, 256),
        (WrappingKeySpec::Rsa3072, 384),
        (WrappingKeySpec::Rsa4096, 512),
    ] {
        for algorithm in algorithms {
            let parameters = site.parameters(algorithm, spec).await.unwrap();
            for other in algorithms.into_iter().chain([Algorithm::RsaesPkcs1V15]) {
                let wrapped = wrap(&parameters.public_key, other, &material(1));
                let is_hybrid = [Algorithm::RsaAesKeyWrapSha1, Algorithm::RsaAesKeyWrapSha256].contains(&other);
                assert_eq!(wrapped.len(), if is_hybrid { modulus + 40 } else { modulus });
                let request = ImportKeyMaterialRequest::new(&site.key_id, parameters.import_token.clone(), wrapped);
                let imported = site.import_request(request).await;
                if other == algorithm {
                    imported.unwrap();
                } else {
                    assert_eq!(name(imported), Name::InvalidCiphertext, "{algorithm:?} {other:?}");
                }
            }
        }
    }
    assert_eq!(site.state().await, KeyState::Enabled);
    for (algorithm, spec) in [
        (Algorithm::RsaesPkcs1V15, WrappingKeySpec::Rsa2048),
        (Algorithm::Sm2pke, WrappingKeySpec::Sm2),
        (Algorithm::RsaesOaepSha256, WrappingKeySpec::Sm2),
    ] {
        assert_eq!(name(site.parameters(algorithm, spec).await), Name::UnsupportedOperation);
    }
}

#[tokio::test]
async fn a_token_is_good_for_its_key_and_a_day() {
    let site = Importing::new().await;
    // Several are outstanding at a time, each with a wrapping key of its own.
    let (first, second) = (site.request(&material(1)).await, site.request(&material(1)).await);
    let mut mixed = first.clone();
    mixed.encrypted_key_material = second.encrypted_key_material.clone();
    assert_eq!(name(site.import_request(mixed).await), Name::InvalidCiphertext);
    site.import_request(second).await.unwrap();
    site.import_request(first.clone()).await.unwrap();
    site.import_request(first.clone()).await.unwrap();

    let mut other = first.clone();
    other.key_id = new_key(&site.kms).await;
    assert_eq!(
        name(site.kms.import_key_material(&alice(), other).await),
        Name::InvalidImportToken
    );
    let mut other = first.clone();
    other.import_token = b"no token".into();
    assert_eq!(name(site.import_request(other).await), Name::InvalidImportToken);
    let mut other = first.clone();
    other.encrypted_key_material = b"nothing wrapped".into();
    assert_eq!(name(site.import_request(other).await), Name::InvalidCiphertext);

    site.clock.advance(DAY - Duration::from_secs(600));
    site.import_request(first.clone()).await.unwrap();
    site.clock.advance(Duration::from_secs(600));
    assert_eq!(name(site.import_request(first).await), Name::ExpiredImportToken);
}

#[tokio::test]
async fn a_token_outlives_the_process() {
    let folder = crate::support::Folder::new();
    let build = || {
        kms_double::kms::Kms::builder()
            .state_file(folder.path("state"))
            .build()
            .unwrap()
    };
    let mut site = Importing::new().await;
    site.kms = build();
    site.key_id = new_key(&site.kms).await;
    let request = site.request(&material(1)).await;
    site.kms = build();
    site.import_request(request).await.unwrap();
    let blob = site.encrypt(b"plain").await.unwrap().ciphertext_blob;
    site.kms = build();
    assert_eq!(&*site.decrypt(&blob).await.unwrap().plaintext, b"plain");
}

#[tokio::test]
async fn only_the_same_material_comes_back() {
    let site = Importing::new().await;
    let id = site.import(&material(1), |_| ()).await.unwrap();
    let blob = site.encrypt(b"plain").await.unwrap().ciphertext_blob;
    let deleted = site.delete(None).await.unwrap();
    assert_eq!(deleted.key_material_id, Some(id.clone()));
    assert_eq!(site.state().await, KeyState::PendingImport);
    assert_eq!(name(site.decrypt(&blob).await), Name::InvalidState);
    let listed = &site.all_material().await[0];
    assert_eq!(listed.import_state, Some(ImportState::PendingImport));
    assert_eq!(
        (listed.key_material_state, listed.expiration_model),
        (KeyMaterialState::Current, None)
    );
    // Once more: without an effect.
    assert_eq!(site.delete(None).await.unwrap().key_material_id, Some(id.clone()));

    assert_eq!(
        name(site.import(&material(2), |_| ()).await),
        Name::IncorrectKeyMaterial
    );
    assert_eq!(name(site.import_new(&material(1)).await), Name::IncorrectKeyMaterial);
    for length in [0, 16, 31, 33] {
        assert_eq!(
            name(site.import(&vec![1; length], |_| ()).await),
            Name::IncorrectKeyMaterial,
            "{length}"
        );
    }
    assert_eq!(site.state().await, KeyState::PendingImport);
    assert_eq!(site.import(&material(1), |_| ()).await.unwrap(), id);
    assert_eq!(site.state().await, KeyState::Enabled);
    assert_eq!(&*site.decrypt(&blob).await.unwrap().plaintext, b"plain");

    // The same bytes in another key are another material, and decrypt nothing.
    let other = Importing {
        kms: site.kms.clone(),
        clock: site.clock.clone(),
        key_id: new_key(&site.kms).await,
    };
    assert_ne!(other.import(&material(1), |_| ()).await.unwrap(), id);
    let mut of_other = blob.to_vec();
    let number = u128::from_str_radix(&other.key_id.replace('-', ""), 16).unwrap();
    of_other[1..17].copy_from_slice(&number.to_be_bytes());
    assert_eq!(name(site.decrypt(&of_other).await), Name::InvalidCiphertext);
}

#[tokio::test]
async fn an_id_that_is_given_has_to_be_that_of_the_material() {
    let site = Importing::new().await;
    let existing = Some(ImportType::ExistingKeyMaterial);
    let imported = site
        .import(&material(1), |request| request.import_type = existing)
        .await;
    assert_eq!(name(imported), Name::IncorrectKeyMaterial, "there is none yet");
    let id = site.import(&material(1), |_| ()).await.unwrap();
    let by_id = async |bytes: [u8; 32], id: &str, import_type| {
        let change = |request: &mut ImportKeyMaterialRequest| {
            (request.key_material_id, request.import_type) = (Some(id.to_owned()), import_type);
        };
        site.import(&bytes, change).await
    };
    assert_eq!(by_id(material(1), &id, None).await.unwrap(), id);
    assert_eq!(by_id(material(1), &id, existing).await.unwrap(), id);
    let new = Some(ImportType::NewKeyMaterial);
    for (bytes, id, import_type, expected) in [
        (material(1), &*id, new, Name::Validation),
        (material(2), &id, None, Name::IncorrectKeyMaterial),
        (material(1), &"0".repeat(64), None, Name::IncorrectKeyMaterial),
        (material(1), &id.to_uppercase(), None, Name::Validation),
        (material(1), "", None, Name::Validation),
    ] {
        assert_eq!(
            name(by_id(bytes, id, import_type).await),
            expected,
            "{id} {import_type:?}"
        );
    }
}

#[tokio::test]
async fn material_expires_and_comes_back() {
    let site = Importing::new().await;
    let expires = Some(ExpirationModel::KeyMaterialExpires);
    let until = |days: f64| site.clock.now() + days * DAY.as_secs_f64();
    for (model, valid_to) in [
        (None, None),
        (expires, None),
        (expires, Some(site.clock.now() - 1.0)),
        (expires, Some(until(366.0))),
        (Some(ExpirationModel::KeyMaterialDoesNotExpire), Some(until(1.0))),
    ] {
        let change = |request: &mut ImportKeyMaterialRequest| {
            (request.expiration_model, request.valid_to) = (model, valid_to);
        };
        assert_eq!(
            name(site.import(&material(1), change).await),
            Name::Validation,
            "{model:?} {valid_to:?}"
        );
    }
    let import = async |valid_to| {
        let change = |request: &mut ImportKeyMaterialRequest| {
            (request.expiration_model, request.valid_to) = (None, Some(valid_to));
        };
        site.import(&material(1), change).await.unwrap()
    };
    let end = until(2.0);
    let id = import(end).await;
    let described = site.described().await;
    assert_eq!((described.expiration_model, described.valid_to), (expires, Some(end)));
    let blob = site.encrypt(b"plain").await.unwrap().ciphertext_blob;
    // Another import moves the end.
    site.clock.advance(DAY);
    let end = until(300.0);
    assert_eq!(import(end).await, id);
    assert_eq!(site.described().await.valid_to, Some(end));
    site.clock.advance(299 * DAY);
    site.decrypt(&blob).await.unwrap();
    site.clock.advance(DAY);
    assert_eq!(site.state().await, KeyState::PendingImport);
    assert_eq!(name(site.decrypt(&blob).await), Name::InvalidState);
    assert_eq!(
        site.all_material().await[0].import_state,
        Some(ImportState::PendingImport)
    );
    site.import(&material(1), |_| ()).await.unwrap();
    assert_eq!(&*site.decrypt(&blob).await.unwrap().plaintext, b"plain");
    assert_eq!(site.described().await.valid_to, None);
}

#[tokio::test]
async fn a_description_stays_until_there_is_another() {
    let site = Importing::new().await;
    let describe = async |text: Option<&str>| {
        let text = text.map(str::to_owned);
        site.import(&material(1), |request| request.key_material_description = text)
            .await
    };
    describe(Some("version:1/of_2 3-4.5")).await.unwrap();
    describe(None).await.unwrap();
    let listed = site.all_material().await[0].key_material_description.clone();
    assert_eq!(listed.as_deref(), Some("version:1/of_2 3-4.5"));
    describe(Some("other")).await.unwrap();
    let listed = site.all_material().await[0].key_material_description.clone();
    assert_eq!(listed.as_deref(), Some("other"));
    assert_eq!(name(describe(Some("a+b")).await), Name::Validation);
    assert_eq!(name(describe(Some(&"a".repeat(257))).await), Name::Validation);
}

#[tokio::test]
async fn nothing_is_imported_into_an_external_key_store() {
    let site = Site::new().await;
    let request = GetParametersForImportRequest::new(
        &site.key.key_id,
        WrappingAlgorithm::RsaesOaepSha256,
        WrappingKeySpec::Rsa2048,
    );
    let parameters = site.kms.get_parameters_for_import(&alice(), request).await;
    assert_eq!(name(parameters), Name::UnsupportedOperation);
    for origin in [Some("EXTERNAL".to_owned()), Some("AWS_KMS".to_owned()), None] {
        let mut wrong = CreateKeyRequest::external();
        (wrong.origin, wrong.custom_key_store_id) = (origin, Some(site.store.clone()));
        assert_eq!(name(site.kms.create_key(&alice(), wrong).await), Name::Validation);
    }
}
