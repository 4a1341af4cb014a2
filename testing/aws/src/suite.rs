//! Each operation once, over any implementation of the traits, against an account of kms-double: what is sent
//! arrives, and what is answered is read.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "only tests use it"
)]

use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use xks_byok::aws::{
    AccessKeyStatus, AwsCredentials, AwsError, AwsErrorKind, ConnectionState, Connectivity, Connector,
    CreateCustomKeyStoreRequest, CreateKeyRequest, DescribeCustomKeyStoresRequest, ExpirationModel,
    GetParametersForImportRequest, Iam, ImportKeyMaterialRequest, ImportState, ImportType, KeyManager,
    KeyMaterialState, KeyState, Kms, ListAliasesRequest, ListKeyRotationsRequest, Operation, Origin, PageRequest,
    PutKeyPolicyRequest, Tag, UpdateCustomKeyStoreRequest, WrappingAlgorithm, WrappingKeySpec,
};
use xks_lifecycle::Timestamp;

use crate::TestProxy;

/// What is wrong with a call that has to fail.
fn kind<T>(result: Result<T, AwsError>) -> AwsErrorKind {
    match result {
        Ok(_) => AwsErrorKind::Unknown("it has succeeded".into()),
        Err(error) => error.kind,
    }
}

/// All parts; `account` is the credentials' account, `now` the time of the double.
pub async fn every_operation(
    connector: &dyn Connector,
    credentials: &AwsCredentials,
    region: &str,
    proxy: &TestProxy,
    now: Timestamp,
) {
    let kms = connector.kms(credentials, region).await.unwrap();
    let iam = connector.iam(credentials, region).await.unwrap();
    external_key_store(&*kms, proxy).await;
    keys(&*kms, &iam.get_caller_identity().await.unwrap().account).await;
    aliases(&*kms).await;
    import(&*kms, now).await;
    identities(&*iam).await;
}

/// Custom key stores, and a KMS key in one.
pub async fn external_key_store(kms: &dyn Kms, proxy: &TestProxy) {
    let id = kms.create_custom_key_store(proxy.key_store("one")).await.unwrap();
    let again = kms.create_custom_key_store(proxy.key_store("one")).await;
    assert_eq!(kind(again), AwsErrorKind::CustomKeyStoreNameInUse);

    let mut update = UpdateCustomKeyStoreRequest::new(&id);
    update.new_custom_key_store_name = Some("two".into());
    update.xks_proxy_authentication_credential = Some(TestProxy::credential());
    kms.update_custom_key_store(update).await.unwrap();
    let none = DescribeCustomKeyStoresRequest::name("one");
    assert_eq!(
        kind(kms.describe_custom_key_stores(none).await),
        AwsErrorKind::CustomKeyStoreNotFound
    );
    let described = async || {
        let page = kms.describe_custom_key_stores(DescribeCustomKeyStoresRequest::name("two"));
        page.await.unwrap().items.remove(0)
    };
    let store = described().await;
    assert_eq!(
        (store.custom_key_store_id, store.connection_error_code),
        (id.clone(), None)
    );
    assert_eq!(store.connection_state, ConnectionState::Disconnected);
    let configuration = store.xks_proxy_configuration.unwrap();
    assert_eq!(configuration.connectivity, Connectivity::PublicEndpoint);
    assert_eq!(configuration.uri_endpoint, proxy.url());
    assert_eq!(configuration.uri_path, TestProxy::PATH);
    assert_eq!(configuration.access_key_id, TestProxy::credential().access_key_id);
    assert_eq!(configuration.vpc_endpoint_service_name, None);

    kms.connect_custom_key_store(&id).await.unwrap();
    assert_eq!(described().await.connection_state, ConnectionState::Connected);
    assert_eq!(
        kind(kms.delete_custom_key_store(&id).await),
        AwsErrorKind::CustomKeyStoreInvalidState
    );
    let mut request = CreateKeyRequest::external_key_store(&id, TestProxy::KEYS[0]);
    request.description = Some("held outside".into());
    let key = kms.create_key(request.clone()).await.unwrap();
    assert_eq!(
        (&key.origin, &key.key_state),
        (&Origin::ExternalKeyStore, &KeyState::Enabled)
    );
    assert_eq!(key.custom_key_store_id.as_deref(), Some(&*id));
    assert_eq!(key.xks_key_id.as_deref(), Some(TestProxy::KEYS[0]));
    assert_eq!(kind(kms.create_key(request).await), AwsErrorKind::XksKeyAlreadyInUse);

    let mut update = UpdateCustomKeyStoreRequest::new(&id);
    update.xks_proxy_uri_endpoint = Some("https://xks.example.com".into());
    update.xks_proxy_connectivity = Some(Connectivity::PublicEndpoint);
    assert_eq!(
        kind(kms.update_custom_key_store(update).await),
        AwsErrorKind::CustomKeyStoreInvalidState
    );
    kms.disconnect_custom_key_store(&id).await.unwrap();
    assert_eq!(described().await.connection_state, ConnectionState::Disconnected);
    let unavailable = kms.describe_key(&key.key_id).await.unwrap();
    assert_eq!(unavailable.key_state, KeyState::Unavailable);
    assert_eq!(
        kind(kms.delete_custom_key_store(&id).await),
        AwsErrorKind::CustomKeyStoreHasKeys
    );

    let empty = kms.create_custom_key_store(proxy.key_store("empty")).await;
    assert_eq!(kind(empty), AwsErrorKind::XksProxyUriInUse);
}

/// What is the same for keys of every origin.
pub async fn keys(kms: &dyn Kms, account: &str) {
    let mut request = CreateKeyRequest::external();
    request.description = Some("made by a test".into());
    request.tags = vec![Tag::new("operation", "1"), Tag::new("empty", "")];
    let key = kms.create_key(request).await.unwrap();
    assert_eq!(
        (&key.origin, &key.key_state),
        (&Origin::External, &KeyState::PendingImport)
    );
    assert_eq!((&*key.description, &*key.aws_account_id), ("made by a test", account));
    assert_eq!(
        (&key.key_manager, &*key.key_spec),
        (&KeyManager::Customer, "SYMMETRIC_DEFAULT")
    );
    assert!(key.creation_date.is_some() && !key.enabled && !key.multi_region);
    assert!(key.arn.ends_with(&key.key_id));
    let id = &*key.key_id;

    kms.update_key_description(id, "changed").await.unwrap();
    assert_eq!(kms.describe_key(&key.arn).await.unwrap().description, "changed");
    let missing = "00000000-0000-4000-8000-000000000000";
    assert_eq!(kind(kms.describe_key(missing).await), AwsErrorKind::NotFound);

    kms.tag_resource(id, vec![Tag::new("operation", "2")]).await.unwrap();
    kms.untag_resource(id, vec!["empty".into()]).await.unwrap();
    let tags = kms.list_resource_tags(id, PageRequest::first()).await.unwrap();
    assert_eq!((tags.items, tags.next_marker), (vec![Tag::new("operation", "2")], None));

    let policies = kms.list_key_policies(id, PageRequest::first()).await.unwrap();
    assert_eq!(policies.items, ["default"]);
    let policy = kms.get_key_policy(id, "default").await.unwrap();
    kms.put_key_policy(PutKeyPolicyRequest::new(id, &policy)).await.unwrap();
    let broken = PutKeyPolicyRequest::new(id, "{");
    assert_eq!(
        kind(kms.put_key_policy(broken).await),
        AwsErrorKind::MalformedPolicyDocument
    );
    assert_eq!(kind(kms.get_key_policy(id, "AWS_RAM").await), AwsErrorKind::NotFound);

    let usage = kms.get_key_last_usage(id).await.unwrap();
    assert_eq!((usage.last_usage, usage.key_creation_date), (None, key.creation_date));

    // In pages: every key once.
    kms.create_key(CreateKeyRequest::external()).await.unwrap();
    let (mut found, mut request) = (Vec::new(), PageRequest::first());
    loop {
        let page = kms.list_keys(request.limit(1)).await.unwrap();
        assert!(page.items.len() <= 1);
        found.extend(page.items);
        let Some(marker) = page.next_marker else { break };
        request = PageRequest::after(marker);
    }
    assert_eq!(found.iter().filter(|entry| entry.key_arn == key.arn).count(), 1);
    assert!(found.len() >= 2);
    let bad = kms.list_keys(PageRequest::after("not a marker")).await;
    assert_eq!(kind(bad), AwsErrorKind::InvalidMarker);

    assert_eq!(kind(kms.enable_key(id).await), AwsErrorKind::InvalidState);
    let deletion = kms.schedule_key_deletion(id, 7).await.unwrap();
    assert_eq!(deletion.key_state, KeyState::PendingDeletion);
    let described = kms.describe_key(id).await.unwrap();
    assert!(deletion.deletion_date.is_some() && described.deletion_date == deletion.deletion_date);
    kms.cancel_key_deletion(id).await.unwrap();
    assert_eq!(kms.describe_key(id).await.unwrap().deletion_date, None);
}

/// Aliases.
pub async fn aliases(kms: &dyn Kms) {
    let one = kms.create_key(CreateKeyRequest::external()).await.unwrap().key_id;
    let two = kms.create_key(CreateKeyRequest::external()).await.unwrap().key_id;
    kms.create_alias("alias/current", &one).await.unwrap();
    assert_eq!(
        kind(kms.create_alias("alias/current", &one).await),
        AwsErrorKind::AlreadyExists
    );
    let of = async |id: &str| {
        let request = ListAliasesRequest::of(id, PageRequest::first());
        let page = kms.list_aliases(request).await.unwrap();
        page.items.into_iter().map(|alias| alias.alias_name).collect::<Vec<_>>()
    };
    assert_eq!(of(&one).await, ["alias/current"]);
    kms.update_alias("alias/current", &two).await.unwrap();
    assert_eq!(
        (of(&one).await.len(), of(&two).await),
        (0, vec!["alias/current".to_owned()])
    );
    let all = kms
        .list_aliases(ListAliasesRequest::all(PageRequest::first()))
        .await
        .unwrap();
    let alias = all.items.iter().find(|alias| alias.alias_name == "alias/current");
    assert_eq!(alias.unwrap().target_key_id.as_ref(), Some(&two));
    kms.delete_alias("alias/current").await.unwrap();
    assert_eq!(kind(kms.delete_alias("alias/current").await), AwsErrorKind::NotFound);
}

/// Wraps material by RSA-OAEP with SHA-256 under a wrapping key of AWS.
#[must_use]
pub fn wrapped(public_key: &[u8], material: [u8; 32]) -> Vec<u8> {
    let public = PublicEncryptingKey::from_der(public_key).unwrap();
    let public = OaepPublicEncryptingKey::new(public).unwrap();
    let mut wrapped = vec![0; public.ciphertext_size()];
    let wrapped = public.encrypt(&OAEP_SHA256_MGF1SHA256, &material, &mut wrapped, None);
    wrapped.unwrap().to_vec()
}

/// Imported material, its rotation and its end.
pub async fn import(kms: &dyn Kms, now: Timestamp) {
    let key = kms.create_key(CreateKeyRequest::external()).await.unwrap();
    let id = &*key.key_id;
    let imported = async |material: u8, change: &dyn Fn(&mut ImportKeyMaterialRequest)| {
        let algorithm = WrappingAlgorithm::RsaesOaepSha256;
        let request = GetParametersForImportRequest::new(id, algorithm, WrappingKeySpec::Rsa2048);
        let parameters = kms.get_parameters_for_import(request).await.unwrap();
        assert!(parameters.parameters_valid_to.unwrap() > now);
        let wrapped = wrapped(&parameters.public_key, [material; 32]);
        let mut request = ImportKeyMaterialRequest::new(id, parameters.import_token, wrapped);
        change(&mut request);
        kms.import_key_material(request).await
    };
    let until = now.plus_days(30);
    let expiring = |request: &mut ImportKeyMaterialRequest| {
        request.valid_to = Some(until);
        request.key_material_description = Some("version 1".into());
    };
    let first = imported(1, &expiring).await.unwrap().unwrap();
    let described = kms.describe_key(id).await.unwrap();
    assert_eq!((&described.key_state, described.enabled), (&KeyState::Enabled, true));
    assert_eq!(described.valid_to, Some(until));
    assert_eq!(described.expiration_model, Some(ExpirationModel::Expires));
    assert_eq!(described.current_key_material_id.as_ref(), Some(&first));
    assert_eq!(kind(imported(9, &|_| ()).await), AwsErrorKind::IncorrectKeyMaterial);

    let new = |request: &mut ImportKeyMaterialRequest| request.import_type = Some(ImportType::New);
    let second = imported(2, &new).await.unwrap().unwrap();
    let listed = async || {
        let page = kms.list_key_rotations(ListKeyRotationsRequest::all(id, PageRequest::first()));
        let mut items = page.await.unwrap().items;
        items.sort_by_key(|entry| entry.key_material_id.as_ref() == Some(&second));
        items
    };
    let materials = listed().await;
    assert_eq!(materials[0].key_material_id.as_ref(), Some(&first));
    assert_eq!(materials[0].key_material_description.as_deref(), Some("version 1"));
    assert_eq!(materials[0].import_state, Some(ImportState::Imported));
    assert_eq!(materials[0].valid_to, Some(until));
    assert_eq!(materials[1].key_material_state, Some(KeyMaterialState::PendingRotation));
    kms.rotate_key_on_demand(id).await.unwrap();
    let materials = listed().await;
    assert_eq!(materials[0].key_material_state, Some(KeyMaterialState::NonCurrent));
    assert_eq!(materials[1].key_material_state, Some(KeyMaterialState::Current));
    assert_eq!(materials[1].expiration_model, Some(ExpirationModel::DoesNotExpire));

    kms.disable_key(id).await.unwrap();
    assert_eq!(kms.describe_key(id).await.unwrap().key_state, KeyState::Disabled);
    kms.enable_key(id).await.unwrap();
    let deleted = kms.delete_imported_key_material(id, Some(&first)).await.unwrap();
    assert_eq!(deleted.as_ref(), Some(&first));
    assert_eq!(kms.describe_key(id).await.unwrap().key_state, KeyState::PendingImport);
    assert_eq!(listed().await[0].import_state, Some(ImportState::PendingImport));
}

/// Users, roles and access keys. The credentials are those of a user.
pub async fn identities(iam: &dyn Iam) {
    let caller = iam.get_caller_identity().await.unwrap();
    let name = caller.user_name().unwrap().to_owned();
    let user = iam.get_user(None).await.unwrap();
    assert_eq!((&user.name, &user.arn), (&name, &caller.arn));
    assert_eq!(kind(iam.get_user(Some("no-such-user")).await), AwsErrorKind::NotFound);
    let users = iam.list_users(PageRequest::first()).await.unwrap();
    assert!(users.items.contains(&user), "{users:?}");
    let page = iam.list_users(PageRequest::first().limit(1)).await.unwrap();
    assert_eq!(
        (page.items.len(), page.next_marker.is_some()),
        (1, users.items.len() > 1)
    );
    iam.list_roles(PageRequest::first()).await.unwrap();

    let before = iam.list_access_keys(None, PageRequest::first()).await.unwrap().items;
    let made = iam.create_access_key(None).await.unwrap();
    assert_eq!(
        (made.user_name, made.access_key.secret_access_key.is_empty()),
        (name, false)
    );
    let id = &made.access_key.access_key_id;
    assert_eq!(kind(iam.create_access_key(None).await), AwsErrorKind::LimitExceeded);
    iam.update_access_key(None, id, AccessKeyStatus::Inactive)
        .await
        .unwrap();
    let keys = iam.list_access_keys(None, PageRequest::first()).await.unwrap().items;
    let key = keys.iter().find(|key| key.access_key_id == *id).unwrap();
    assert!(key.status == AccessKeyStatus::Inactive && key.create_date.is_some());
    iam.delete_access_key(None, id).await.unwrap();
    assert_eq!(
        iam.list_access_keys(None, PageRequest::first()).await.unwrap().items,
        before
    );
    assert_eq!(kind(iam.delete_access_key(None, id).await), AwsErrorKind::NotFound);
}

/// Calls an operation with what it takes, of objects that need not be there: for what goes wrong before that
/// matters.
///
/// # Errors
/// Those of the operation.
pub async fn call(operation: Operation, kms: &dyn Kms, iam: &dyn Iam) -> Result<(), AwsError> {
    const KEY: &str = "00000000-0000-4000-8000-000000000000";
    const STORE: &str = "cks-00000000000000000";
    let page = PageRequest::first;
    match operation {
        Operation::CreateKey => kms.create_key(CreateKeyRequest::external()).await.map(drop),
        Operation::DescribeKey => kms.describe_key(KEY).await.map(drop),
        Operation::ListKeys => kms.list_keys(page()).await.map(drop),
        Operation::ListAliases => kms.list_aliases(ListAliasesRequest::all(page())).await.map(drop),
        Operation::CreateAlias => kms.create_alias("alias/a", KEY).await,
        Operation::UpdateAlias => kms.update_alias("alias/a", KEY).await,
        Operation::DeleteAlias => kms.delete_alias("alias/a").await,
        Operation::GetKeyPolicy => kms.get_key_policy(KEY, "default").await.map(drop),
        Operation::PutKeyPolicy => kms.put_key_policy(PutKeyPolicyRequest::new(KEY, "{}")).await,
        Operation::ListKeyPolicies => kms.list_key_policies(KEY, page()).await.map(drop),
        Operation::ListResourceTags => kms.list_resource_tags(KEY, page()).await.map(drop),
        Operation::TagResource => kms.tag_resource(KEY, vec![Tag::new("a", "b")]).await,
        Operation::UntagResource => kms.untag_resource(KEY, vec!["a".into()]).await,
        Operation::UpdateKeyDescription => kms.update_key_description(KEY, "").await,
        Operation::EnableKey => kms.enable_key(KEY).await,
        Operation::DisableKey => kms.disable_key(KEY).await,
        Operation::ScheduleKeyDeletion => kms.schedule_key_deletion(KEY, 7).await.map(drop),
        Operation::CancelKeyDeletion => kms.cancel_key_deletion(KEY).await,
        Operation::GetKeyLastUsage => kms.get_key_last_usage(KEY).await.map(drop),
        Operation::GetParametersForImport => {
            let (algorithm, spec) = (WrappingAlgorithm::RsaesOaepSha256, WrappingKeySpec::Rsa2048);
            let request = GetParametersForImportRequest::new(KEY, algorithm, spec);
            kms.get_parameters_for_import(request).await.map(drop)
        }
        Operation::ImportKeyMaterial => {
            let request = ImportKeyMaterialRequest::new(KEY, b"token", b"material");
            kms.import_key_material(request).await.map(drop)
        }
        Operation::DeleteImportedKeyMaterial => kms.delete_imported_key_material(KEY, None).await.map(drop),
        Operation::RotateKeyOnDemand => kms.rotate_key_on_demand(KEY).await,
        Operation::ListKeyRotations => {
            let request = ListKeyRotationsRequest::all(KEY, page());
            kms.list_key_rotations(request).await.map(drop)
        }
        Operation::CreateCustomKeyStore => {
            let (url, credential) = ("https://xks.example.com", TestProxy::credential());
            let request = CreateCustomKeyStoreRequest::new("a", url, TestProxy::PATH, credential);
            kms.create_custom_key_store(request).await.map(drop)
        }
        Operation::UpdateCustomKeyStore => {
            kms.update_custom_key_store(UpdateCustomKeyStoreRequest::new(STORE))
                .await
        }
        Operation::ConnectCustomKeyStore => kms.connect_custom_key_store(STORE).await,
        Operation::DisconnectCustomKeyStore => kms.disconnect_custom_key_store(STORE).await,
        Operation::DescribeCustomKeyStores => {
            let request = DescribeCustomKeyStoresRequest::all(page());
            kms.describe_custom_key_stores(request).await.map(drop)
        }
        Operation::DeleteCustomKeyStore => kms.delete_custom_key_store(STORE).await,
        Operation::GetUser => iam.get_user(None).await.map(drop),
        Operation::ListUsers => iam.list_users(page()).await.map(drop),
        Operation::ListRoles => iam.list_roles(page()).await.map(drop),
        Operation::ListAccessKeys => iam.list_access_keys(None, page()).await.map(drop),
        Operation::CreateAccessKey => iam.create_access_key(None).await.map(drop),
        Operation::UpdateAccessKey => {
            let status = AccessKeyStatus::Inactive;
            iam.update_access_key(None, "AKIANONENONENONENONE", status).await
        }
        Operation::DeleteAccessKey => iam.delete_access_key(None, "AKIANONENONENONENONE").await,
        Operation::GetCallerIdentity => iam.get_caller_identity().await.map(drop),
        _ => panic!("{operation} is not known here"),
    }
}
