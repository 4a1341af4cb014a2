//! AWS KMS.

use serde_json::{Value, json};
use xks_byok::aws::{
    AliasListEntry, AwsError, CreateCustomKeyStoreRequest, CreateKeyRequest, CustomKeyStore,
    DescribeCustomKeyStoresRequest, GetParametersForImportRequest, ImportKeyMaterialRequest, ImportParameters,
    IncludeKeyMaterial, KeyLastUsage, KeyListEntry, KeyMetadata, Kms, ListAliasesRequest, ListKeyRotationsRequest,
    Operation, Page, PageRequest, ProxyCredential, PutKeyPolicyRequest, RotationsListEntry, ScheduledKeyDeletion, Tag,
    UpdateCustomKeyStoreRequest,
};
use xks_core::async_trait;

use crate::{
    Session,
    json::{base64, bytes, optional_text, page, text, time, value, with_page},
    keys::{key_metadata, key_store, last_usage, rotation},
};

impl Session {
    /// An operation that answers nothing.
    async fn order(&self, operation: Operation, body: Value) -> Result<(), AwsError> {
        self.call(operation, body).await.map(drop)
    }
}

#[async_trait]
impl Kms for Session {
    async fn create_key(&self, request: CreateKeyRequest) -> Result<KeyMetadata, AwsError> {
        let body = json!({
            "Origin": request.origin.as_str(),
            "CustomKeyStoreId": request.custom_key_store_id,
            "XksKeyId": request.xks_key_id,
            "Description": request.description,
            "Policy": request.policy,
            "BypassPolicyLockoutSafetyCheck": request.bypass_policy_lockout_safety_check,
            "Tags": request.tags.iter().map(tag).collect::<Vec<_>>(),
            "MultiRegion": request.multi_region,
        });
        Ok(key_metadata(&self.call(Operation::CreateKey, body).await?))
    }

    async fn describe_key(&self, key_id: &str) -> Result<KeyMetadata, AwsError> {
        Ok(key_metadata(&self.call(Operation::DescribeKey, of_key(key_id)).await?))
    }

    async fn list_keys(&self, request: PageRequest) -> Result<Page<KeyListEntry>, AwsError> {
        let body = self.call(Operation::ListKeys, with_page(json!({}), request)).await?;
        Ok(page(&body, "Keys", |key| {
            KeyListEntry::new(text(key, "KeyId"), text(key, "KeyArn"))
        }))
    }

    async fn list_aliases(&self, request: ListAliasesRequest) -> Result<Page<AliasListEntry>, AwsError> {
        let body = with_page(json!({ "KeyId": request.key_id }), request.page);
        let body = self.call(Operation::ListAliases, body).await?;
        Ok(page(&body, "Aliases", |alias| {
            AliasListEntry::new(
                text(alias, "AliasName"),
                text(alias, "AliasArn"),
                optional_text(alias, "TargetKeyId"),
            )
        }))
    }

    async fn create_alias(&self, alias_name: &str, target_key_id: &str) -> Result<(), AwsError> {
        self.order(Operation::CreateAlias, alias(alias_name, target_key_id))
            .await
    }

    async fn update_alias(&self, alias_name: &str, target_key_id: &str) -> Result<(), AwsError> {
        self.order(Operation::UpdateAlias, alias(alias_name, target_key_id))
            .await
    }

    async fn delete_alias(&self, alias_name: &str) -> Result<(), AwsError> {
        let body = json!({ "AliasName": alias_name });
        self.order(Operation::DeleteAlias, body).await
    }

    async fn get_key_policy(&self, key_id: &str, policy_name: &str) -> Result<String, AwsError> {
        let body = json!({ "KeyId": key_id, "PolicyName": policy_name });
        Ok(text(&self.call(Operation::GetKeyPolicy, body).await?, "Policy"))
    }

    async fn put_key_policy(&self, request: PutKeyPolicyRequest) -> Result<(), AwsError> {
        let body = json!({
            "KeyId": request.key_id,
            "Policy": request.policy,
            "BypassPolicyLockoutSafetyCheck": request.bypass_policy_lockout_safety_check,
        });
        self.order(Operation::PutKeyPolicy, body).await
    }

    async fn list_key_policies(&self, key_id: &str, request: PageRequest) -> Result<Page<String>, AwsError> {
        let body = with_page(of_key(key_id), request);
        let body = self.call(Operation::ListKeyPolicies, body).await?;
        Ok(page(&body, "PolicyNames", |name| {
            name.as_str().unwrap_or_default().to_owned()
        }))
    }

    async fn list_resource_tags(&self, key_id: &str, request: PageRequest) -> Result<Page<Tag>, AwsError> {
        let body = with_page(of_key(key_id), request);
        let body = self.call(Operation::ListResourceTags, body).await?;
        Ok(page(&body, "Tags", |tag| {
            Tag::new(text(tag, "TagKey"), text(tag, "TagValue"))
        }))
    }

    async fn tag_resource(&self, key_id: &str, tags: Vec<Tag>) -> Result<(), AwsError> {
        let body = json!({ "KeyId": key_id, "Tags": tags.iter().map(tag).collect::<Vec<_>>() });
        self.order(Operation::TagResource, body).await
    }

    async fn untag_resource(&self, key_id: &str, tag_keys: Vec<String>) -> Result<(), AwsError> {
        let body = json!({ "KeyId": key_id, "TagKeys": tag_keys });
        self.order(Operation::UntagResource, body).await
    }

    async fn update_key_description(&self, key_id: &str, description: &str) -> Result<(), AwsError> {
        let body = json!({ "KeyId": key_id, "Description": description });
        self.order(Operation::UpdateKeyDescription, body).await
    }

    async fn enable_key(&self, key_id: &str) -> Result<(), AwsError> {
        self.order(Operation::EnableKey, of_key(key_id)).await
    }

    async fn disable_key(&self, key_id: &str) -> Result<(), AwsError> {
        self.order(Operation::DisableKey, of_key(key_id)).await
    }

    async fn schedule_key_deletion(
        &self,
        key_id: &str,
        pending_window_in_days: u32,
    ) -> Result<ScheduledKeyDeletion, AwsError> {
        let body = json!({ "KeyId": key_id, "PendingWindowInDays": pending_window_in_days });
        let body = self.call(Operation::ScheduleKeyDeletion, body).await?;
        Ok(ScheduledKeyDeletion::new(
            time(&body, "DeletionDate"),
            value(&body, "KeyState"),
        ))
    }

    async fn cancel_key_deletion(&self, key_id: &str) -> Result<(), AwsError> {
        self.order(Operation::CancelKeyDeletion, of_key(key_id)).await
    }

    async fn get_key_last_usage(&self, key_id: &str) -> Result<KeyLastUsage, AwsError> {
        Ok(last_usage(
            &self.call(Operation::GetKeyLastUsage, of_key(key_id)).await?,
        ))
    }

    async fn get_parameters_for_import(
        &self,
        request: GetParametersForImportRequest,
    ) -> Result<ImportParameters, AwsError> {
        let body = json!({
            "KeyId": request.key_id,
            "WrappingAlgorithm": request.wrapping_algorithm.as_str(),
            "WrappingKeySpec": request.wrapping_key_spec.as_str(),
        });
        let body = self.call(Operation::GetParametersForImport, body).await?;
        let (public_key, import_token) = (bytes(&body, "PublicKey"), bytes(&body, "ImportToken"));
        Ok(ImportParameters::new(
            public_key,
            import_token,
            time(&body, "ParametersValidTo"),
        ))
    }

    async fn import_key_material(&self, request: ImportKeyMaterialRequest) -> Result<Option<String>, AwsError> {
        let body = json!({
            "KeyId": request.key_id,
            "ImportToken": base64(&request.import_token),
            "EncryptedKeyMaterial": base64(&request.encrypted_key_material),
            "ExpirationModel": request.expiration_model().as_str(),
            "ValidTo": request.valid_to.map(|time| time.seconds()),
            "ImportType": request.import_type.as_ref().map(|kind| kind.as_str()),
            "KeyMaterialDescription": request.key_material_description,
            "KeyMaterialId": request.key_material_id,
        });
        let body = self.call(Operation::ImportKeyMaterial, body).await?;
        Ok(optional_text(&body, "KeyMaterialId"))
    }

    async fn delete_imported_key_material(
        &self,
        key_id: &str,
        key_material_id: Option<&str>,
    ) -> Result<Option<String>, AwsError> {
        let body = json!({ "KeyId": key_id, "KeyMaterialId": key_material_id });
        let body = self.call(Operation::DeleteImportedKeyMaterial, body).await?;
        Ok(optional_text(&body, "KeyMaterialId"))
    }

    async fn rotate_key_on_demand(&self, key_id: &str) -> Result<(), AwsError> {
        self.order(Operation::RotateKeyOnDemand, of_key(key_id)).await
    }

    async fn list_key_rotations(&self, request: ListKeyRotationsRequest) -> Result<Page<RotationsListEntry>, AwsError> {
        let include = match request.include_key_material {
            IncludeKeyMaterial::RotationsOnly => "ROTATIONS_ONLY",
            _ => "ALL_KEY_MATERIAL",
        };
        let body = json!({ "KeyId": request.key_id, "IncludeKeyMaterial": include });
        let body = self
            .call(Operation::ListKeyRotations, with_page(body, request.page))
            .await?;
        Ok(page(&body, "Rotations", rotation))
    }

    async fn create_custom_key_store(&self, request: CreateCustomKeyStoreRequest) -> Result<String, AwsError> {
        let body = json!({
            "CustomKeyStoreName": request.custom_key_store_name,
            "CustomKeyStoreType": "EXTERNAL_KEY_STORE",
            "XksProxyConnectivity": request.xks_proxy_connectivity.as_str(),
            "XksProxyUriEndpoint": request.xks_proxy_uri_endpoint,
            "XksProxyUriPath": request.xks_proxy_uri_path,
            "XksProxyAuthenticationCredential": credential(&request.xks_proxy_authentication_credential),
            "XksProxyVpcEndpointServiceName": request.xks_proxy_vpc_endpoint_service_name,
            "XksProxyVpcEndpointServiceOwner": request.xks_proxy_vpc_endpoint_service_owner,
        });
        let body = self.call(Operation::CreateCustomKeyStore, body).await?;
        Ok(text(&body, "CustomKeyStoreId"))
    }

    async fn update_custom_key_store(&self, request: UpdateCustomKeyStoreRequest) -> Result<(), AwsError> {
        let body = json!({
            "CustomKeyStoreId": request.custom_key_store_id,
            "NewCustomKeyStoreName": request.new_custom_key_store_name,
            "XksProxyConnectivity": request.xks_proxy_connectivity.as_ref().map(|kind| kind.as_str()),
            "XksProxyUriEndpoint": request.xks_proxy_uri_endpoint,
            "XksProxyUriPath": request.xks_proxy_uri_path,
            "XksProxyAuthenticationCredential": request.xks_proxy_authentication_credential.as_ref().map(credential),
            "XksProxyVpcEndpointServiceName": request.xks_proxy_vpc_endpoint_service_name,
            "XksProxyVpcEndpointServiceOwner": request.xks_proxy_vpc_endpoint_service_owner,
        });
        self.order(Operation::UpdateCustomKeyStore, body).await
    }

    async fn connect_custom_key_store(&self, custom_key_store_id: &str) -> Result<(), AwsError> {
        self.order(Operation::ConnectCustomKeyStore, of_store(custom_key_store_id))
            .await
    }

    async fn disconnect_custom_key_store(&self, custom_key_store_id: &str) -> Result<(), AwsError> {
        self.order(Operation::DisconnectCustomKeyStore, of_store(custom_key_store_id))
            .await
    }

    async fn describe_custom_key_stores(
        &self,
        request: DescribeCustomKeyStoresRequest,
    ) -> Result<Page<CustomKeyStore>, AwsError> {
        let body = json!({
            "CustomKeyStoreId": request.custom_key_store_id,
            "CustomKeyStoreName": request.custom_key_store_name,
        });
        let body = with_page(body, request.page);
        let body = self.call(Operation::DescribeCustomKeyStores, body).await?;
        Ok(page(&body, "CustomKeyStores", key_store))
    }

    async fn delete_custom_key_store(&self, custom_key_store_id: &str) -> Result<(), AwsError> {
        self.order(Operation::DeleteCustomKeyStore, of_store(custom_key_store_id))
            .await
    }
}

fn of_key(key_id: &str) -> Value {
    json!({ "KeyId": key_id })
}

fn of_store(custom_key_store_id: &str) -> Value {
    json!({ "CustomKeyStoreId": custom_key_store_id })
}

fn alias(alias_name: &str, target_key_id: &str) -> Value {
    json!({ "AliasName": alias_name, "TargetKeyId": target_key_id })
}

fn tag(tag: &Tag) -> Value {
    json!({ "TagKey": tag.tag_key, "TagValue": tag.tag_value })
}

fn credential(credential: &ProxyCredential) -> Value {
    json!({
        "AccessKeyId": credential.access_key_id,
        "RawSecretAccessKey": *credential.raw_secret_access_key,
    })
}
