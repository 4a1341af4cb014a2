//! KMS keys with material of KMS's own, as there are in an account that is adopted.

use std::time::Duration;

use kms_double::kms::{Clock, ExceptionName as Name, Kms, api::*};

use crate::site::{alice, context, name};

const DAY: f64 = 86_400.0;

async fn new_key(kms: &Kms) -> KeyMetadata {
    let made = kms.create_key(&alice(), CreateKeyRequest::default()).await;
    made.unwrap().key_metadata
}

#[tokio::test]
async fn it_is_enabled_at_once_and_encrypts() {
    let kms = Kms::builder().build().unwrap();
    let (key, other) = (new_key(&kms).await, new_key(&kms).await);
    assert_eq!(
        (key.key_state, key.origin, key.enabled),
        (KeyState::Enabled, "AWS_KMS", true)
    );
    assert_eq!((key.expiration_model, key.valid_to), (None, None));
    let material = key.current_key_material_id.unwrap();
    let mut encrypt = EncryptRequest::new(&key.key_id, b"plain");
    encrypt.encryption_context = context("nile");
    let blob = kms.encrypt(&alice(), encrypt).await.unwrap().ciphertext_blob;
    let mut decrypt = DecryptRequest::new(blob);
    assert_eq!(
        name(kms.decrypt(&alice(), decrypt.clone()).await),
        Name::InvalidCiphertext
    );
    decrypt.encryption_context = context("nile");
    let decrypted = kms.decrypt(&alice(), decrypt.clone()).await.unwrap();
    assert_eq!(
        (&*decrypted.plaintext, decrypted.key_material_id),
        (&b"plain"[..], Some(material.clone()))
    );
    decrypt.key_id = Some(other.key_id);
    assert_eq!(name(kms.decrypt(&alice(), decrypt.clone()).await), Name::IncorrectKey);
    decrypt.key_id = None;

    // It is rotated to material that is new.
    let id = || KeyIdRequest::new(&key.key_id);
    for _ in 0..25 {
        kms.rotate_key_on_demand(&alice(), id()).await.unwrap();
    }
    assert_eq!(
        name(kms.rotate_key_on_demand(&alice(), id()).await),
        Name::LimitExceeded
    );
    let current = kms
        .describe_key(&alice(), id())
        .await
        .unwrap()
        .key_metadata
        .current_key_material_id;
    assert_ne!(current, Some(material));
    assert_eq!(&*kms.decrypt(&alice(), decrypt).await.unwrap().plaintext, b"plain");
    let listed = kms
        .list_key_rotations(&alice(), ListKeyRotationsRequest::all(&key.key_id))
        .await;
    let listed = listed.unwrap().rotations;
    let current = listed
        .iter()
        .filter(|material| material.key_material_state == KeyMaterialState::Current);
    assert_eq!((listed.len(), current.count()), (26, 1));
    assert!(
        listed
            .iter()
            .all(|material| material.import_state.is_none() && material.expiration_model.is_none())
    );
}

#[tokio::test]
async fn automatic_rotation_is_a_setting() {
    let clock = Clock::stopped_at(1e9);
    let kms = Kms::builder().clock(clock.clone()).build().unwrap();
    let key = new_key(&kms).await.key_id;
    let id = || KeyIdRequest::new(&key);
    let status = async || {
        let status = kms.get_key_rotation_status(&alice(), id()).await.unwrap();
        (
            status.key_rotation_enabled,
            status.rotation_period_in_days,
            status.next_rotation_date,
        )
    };
    assert_eq!(status().await, (false, None, None));
    let mut enable = EnableKeyRotationRequest::new(&key);
    kms.enable_key_rotation(&alice(), enable.clone()).await.unwrap();
    assert_eq!(status().await, (true, Some(365), Some(1e9 + 365.0 * DAY)));
    enable.rotation_period_in_days = Some(90);
    kms.enable_key_rotation(&alice(), enable.clone()).await.unwrap();
    clock.advance(Duration::from_secs(91 * 86_400));
    assert_eq!(status().await, (true, Some(90), Some(1e9 + 180.0 * DAY)));
    for wrong in [89, 2561] {
        enable.rotation_period_in_days = Some(wrong);
        assert_eq!(
            name(kms.enable_key_rotation(&alice(), enable.clone()).await),
            Name::Validation
        );
    }
    // Not while it is pending deletion, and again after that.
    kms.schedule_key_deletion(&alice(), ScheduleKeyDeletionRequest::new(&key))
        .await
        .unwrap();
    assert_eq!(status().await, (false, None, None));
    kms.cancel_key_deletion(&alice(), id()).await.unwrap();
    assert!(status().await.0);
    assert_eq!(name(kms.disable_key_rotation(&alice(), id()).await), Name::Disabled);
    kms.enable_key(&alice(), id()).await.unwrap();
    kms.disable_key_rotation(&alice(), id()).await.unwrap();
    assert_eq!(status().await, (false, None, None));
}
