//! AWS's table of key states: each operation on a key in each state, row by row.

use kms_double::kms::{Exception, ExceptionName as Name, api::*};

use crate::{
    importing::{Importing, material, new_key},
    site::{Site, alice},
};

/// Operation; a key with imported material that is Enabled, Disabled, PendingImport, PendingDeletion; a key
/// in an external key store that is Enabled, Disabled, PendingDeletion, Unavailable; a key with material of
/// KMS's own that is Enabled, Disabled, PendingDeletion.
///
/// Y yes, D DisabledException, S KMSInvalidStateException, U UnsupportedOperationException.
const TABLE: &str = "
    CancelKeyDeletion               S S S Y  S S Y S  S S Y
    CreateAlias                     Y Y Y S  Y Y S Y  Y Y S
    Decrypt                         Y D S S  Y D S S  Y D S
    DeleteImportedKeyMaterial       Y Y Y Y  U U U U  U U U
    DescribeKey                     Y Y Y Y  Y Y Y Y  Y Y Y
    DisableKey                      Y Y S S  Y Y S Y  Y Y S
    DisableKeyRotation              U U U U  U U U U  Y D S
    EnableKey                       Y Y S S  Y Y S Y  Y Y S
    EnableKeyRotation               U U U U  U U U U  Y D S
    Encrypt                         Y D S S  Y D S S  Y D S
    GenerateDataKey                 Y D S S  Y D S S  Y D S
    GenerateDataKeyWithoutPlaintext Y D S S  Y D S S  Y D S
    GetKeyRotationStatus            Y Y Y Y  U U U U  Y Y Y
    GetKeyPolicy                    Y Y Y Y  Y Y Y Y  Y Y Y
    GetParametersForImport          Y Y Y S  U U U U  U U U
    ImportKeyMaterial               Y S Y S  U U U U  U U U
    ListKeyRotations                Y Y Y Y  U U U U  Y Y Y
    ListKeyPolicies                 Y Y Y Y  Y Y Y Y  Y Y Y
    ListResourceTags                Y Y Y Y  Y Y Y Y  Y Y Y
    PutKeyPolicy                    Y Y Y Y  Y Y Y Y  Y Y Y
    ReEncrypt                       Y D S S  Y D S S  Y D S
    RotateKeyOnDemand               Y D S S  U U U U  Y D S
    ScheduleKeyDeletion             Y Y Y S  Y Y S Y  Y Y S
    TagResource                     Y Y Y S  Y Y S Y  Y Y S
    UntagResource                   Y Y Y S  Y Y S Y  Y Y S
    UpdateAlias                     Y Y Y S  Y Y S Y  Y Y S
    UpdateKeyDescription            Y Y Y S  Y Y S Y  Y Y S
";

/// A key in one state, and what operations on it need.
struct Subject {
    site: Importing,
    /// Kept for its proxy.
    _external: Option<Site>,
    state: KeyState,
    blob: Vec<u8>,
    import: ImportKeyMaterialRequest,
}

async fn imported(state: KeyState) -> Subject {
    let site = Importing::new().await;
    let import = site.request(&material(1)).await;
    site.import_request(import.clone()).await.unwrap();
    let blob = site.encrypt(b"plain").await.unwrap().ciphertext_blob.to_vec();
    site.import_new(&material(2)).await.unwrap();
    match state {
        KeyState::Disabled => drop(site.kms.disable_key(&alice(), site.id()).await.unwrap()),
        KeyState::PendingImport => drop(site.delete(None).await.unwrap()),
        KeyState::PendingDeletion => schedule(&site).await,
        _ => (),
    }
    Subject {
        site,
        _external: None,
        state,
        blob,
        import,
    }
}

async fn external(state: KeyState) -> Subject {
    let external = Site::new().await;
    let blob = external.encrypt(b"plain").await.unwrap().ciphertext_blob.to_vec();
    let mut site = Importing::new().await;
    let import = site.request(&material(1)).await;
    (site.kms, site.key_id) = (external.kms.clone(), external.key.key_id.clone());
    match state {
        KeyState::Disabled => drop(site.kms.disable_key(&alice(), site.id()).await.unwrap()),
        KeyState::PendingDeletion => schedule(&site).await,
        KeyState::Unavailable => {
            let id = external.id();
            site.kms.disconnect_custom_key_store(&alice(), id).await.unwrap();
        }
        _ => (),
    }
    Subject {
        site,
        _external: Some(external),
        state,
        blob,
        import,
    }
}

async fn generated(state: KeyState) -> Subject {
    let mut site = Importing::new().await;
    let import = site.request(&material(1)).await;
    let made = site.kms.create_key(&alice(), CreateKeyRequest::default()).await;
    site.key_id = made.unwrap().key_metadata.key_id;
    let blob = site.encrypt(b"plain").await.unwrap().ciphertext_blob.to_vec();
    match state {
        KeyState::Disabled => drop(site.kms.disable_key(&alice(), site.id()).await.unwrap()),
        KeyState::PendingDeletion => schedule(&site).await,
        _ => (),
    }
    Subject {
        site,
        _external: None,
        state,
        blob,
        import,
    }
}

async fn schedule(site: &Importing) {
    let request = ScheduleKeyDeletionRequest::new(&site.key_id);
    site.kms.schedule_key_deletion(&alice(), request).await.unwrap();
}

async fn tried(operation: &str, subject: &Subject) -> Result<(), Exception> {
    let (Subject { site, blob, import, .. }, caller) = (subject, alice());
    let (kms, key_id, id) = (&site.kms, &*site.key_id, site.id());
    let data_key = GenerateDataKeyRequest::new(key_id);
    let blob = || blob.clone();
    match operation {
        "CancelKeyDeletion" => kms.cancel_key_deletion(&caller, id).await.map(drop),
        "CreateAlias" => kms
            .create_alias(&caller, CreateAliasRequest::new("alias/a", key_id))
            .await
            .map(drop),
        "Decrypt" => kms.decrypt(&caller, DecryptRequest::new(blob())).await.map(drop),
        "DeleteImportedKeyMaterial" => site.delete(None).await.map(drop),
        "DescribeKey" => kms.describe_key(&caller, id).await.map(drop),
        "DisableKey" => kms.disable_key(&caller, id).await.map(drop),
        "DisableKeyRotation" => kms.disable_key_rotation(&caller, id).await.map(drop),
        "EnableKey" => kms.enable_key(&caller, id).await.map(drop),
        "EnableKeyRotation" => kms
            .enable_key_rotation(&caller, EnableKeyRotationRequest::new(key_id))
            .await
            .map(drop),
        "Encrypt" => site.encrypt(b"plain").await.map(drop),
        "GenerateDataKey" => kms.generate_data_key(&caller, data_key).await.map(drop),
        "GenerateDataKeyWithoutPlaintext" => kms
            .generate_data_key_without_plaintext(&caller, data_key)
            .await
            .map(drop),
        "GetKeyRotationStatus" => kms.get_key_rotation_status(&caller, id).await.map(drop),
        "GetParametersForImport" => {
            let parameters = site.parameters(WrappingAlgorithm::RsaesOaepSha256, WrappingKeySpec::Rsa2048);
            parameters.await.map(drop)
        }
        "ImportKeyMaterial" => {
            let mut import = import.clone();
            import.key_id = key_id.to_owned();
            kms.import_key_material(&caller, import).await.map(drop)
        }
        "ListKeyRotations" => kms
            .list_key_rotations(&caller, ListKeyRotationsRequest::all(key_id))
            .await
            .map(drop),
        "ReEncrypt" => kms
            .re_encrypt(&caller, ReEncryptRequest::new(blob(), key_id))
            .await
            .map(drop),
        "RotateKeyOnDemand" => site.rotate().await.map(drop),
        "ScheduleKeyDeletion" => kms
            .schedule_key_deletion(&caller, ScheduleKeyDeletionRequest::new(key_id))
            .await
            .map(drop),
        "GetKeyPolicy" => kms
            .get_key_policy(&caller, GetKeyPolicyRequest::new(key_id))
            .await
            .map(drop),
        "ListKeyPolicies" => kms
            .list_key_policies(&caller, ListOfKeyRequest::new(key_id))
            .await
            .map(drop),
        "ListResourceTags" => kms
            .list_resource_tags(&caller, ListOfKeyRequest::new(key_id))
            .await
            .map(drop),
        "PutKeyPolicy" => {
            let policy = kms
                .get_key_policy(&caller, GetKeyPolicyRequest::new(key_id))
                .await
                .unwrap()
                .policy;
            kms.put_key_policy(&caller, PutKeyPolicyRequest::new(key_id, policy))
                .await
                .map(drop)
        }
        "TagResource" => kms
            .tag_resource(&caller, TagResourceRequest::new(key_id, [Tag::new("a", "b")]))
            .await
            .map(drop),
        "UntagResource" => kms
            .untag_resource(&caller, UntagResourceRequest::new(key_id, ["a".to_owned()]))
            .await
            .map(drop),
        "UpdateAlias" => {
            let other = new_key(kms).await;
            kms.create_alias(&caller, CreateAliasRequest::new("alias/moves", other))
                .await
                .unwrap();
            kms.update_alias(&caller, UpdateAliasRequest::new("alias/moves", key_id))
                .await
                .map(drop)
        }
        "UpdateKeyDescription" => {
            let request = UpdateKeyDescriptionRequest::new(key_id, "described");
            kms.update_key_description(&caller, request).await.map(drop)
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn each_operation_in_each_state() {
    use KeyState::{Disabled, Enabled, PendingDeletion, PendingImport, Unavailable};
    for row in TABLE.trim().lines() {
        let mut cells = row.split_whitespace();
        let operation = cells.next().unwrap();
        let cells: Vec<_> = cells.collect();
        assert_eq!(cells.len(), 11, "{row}");
        let mut subjects = Vec::new();
        for state in [Enabled, Disabled, PendingImport, PendingDeletion] {
            subjects.push(imported(state).await);
        }
        for state in [Enabled, Disabled, PendingDeletion, Unavailable] {
            subjects.push(external(state).await);
        }
        for state in [Enabled, Disabled, PendingDeletion] {
            subjects.push(generated(state).await);
        }
        for (subject, cell) in subjects.into_iter().zip(cells) {
            let described = subject.site.described().await;
            assert_eq!(described.key_state, subject.state);
            let expected = match cell {
                "Y" => None,
                "D" => Some(Name::Disabled),
                "S" => Some(Name::InvalidState),
                "U" => Some(Name::UnsupportedOperation),
                other => panic!("{other}"),
            };
            let tried = tried(operation, &subject).await;
            let found = tried.as_ref().err().map(Exception::name);
            assert_eq!(
                found, expected,
                "{operation}, {} {:?}: {tried:?}",
                described.origin, subject.state
            );
        }
    }
}
