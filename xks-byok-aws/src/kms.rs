//! AWS KMS over the SDK.

use aws_config::SdkConfig;
use aws_sdk_kms::{
    Client,
    types::{
        CustomKeyStoreType, IncludeKeyMaterial as SdkInclude, Tag as SdkTag, XksProxyAuthenticationCredentialType,
    },
};
use aws_smithy_types::Blob;
use xks_byok::aws::{
    AliasListEntry, AwsError, CreateCustomKeyStoreRequest, CreateKeyRequest, CustomKeyStore,
    DescribeCustomKeyStoresRequest, GetParametersForImportRequest, ImportKeyMaterialRequest, ImportParameters,
    IncludeKeyMaterial, KeyLastUsage, KeyListEntry, KeyMetadata, KeyState, Kms, ListAliasesRequest,
    ListKeyRotationsRequest, Operation, Page, PageRequest, ProxyCredential, PutKeyPolicyRequest, RotationsListEntry,
    ScheduledKeyDeletion, Tag, UpdateCustomKeyStoreRequest,
};
use xks_core::async_trait;

use crate::{
    connector::{no_retries, retries},
    convert::{date, lacking, limit, owned, text, time, unwritten},
    error::failed,
    keys::{key_metadata, key_store, last_usage, rotation},
};

pub(crate) struct KmsClient {
    /// For what changes nothing.
    reads: Client,
    /// For all else: sends each request once.
    once: Client,
}

impl KmsClient {
    pub(crate) fn new(config: &SdkConfig) -> Self {
        let client = |retries| {
            let config = aws_sdk_kms::config::Builder::from(config).retry_config(retries);
            Client::from_conf(config.build())
        };
        Self {
            reads: client(retries()),
            once: client(no_retries()),
        }
    }
}

macro_rules! send {
    ($operation:ident, $request:expr) => {
        $request
            .send()
            .await
            .map_err(|error| failed(Operation::$operation, &error))?
    };
}

#[async_trait]
impl Kms for KmsClient {
    async fn create_key(&self, request: CreateKeyRequest) -> Result<KeyMetadata, AwsError> {
        let tags = tags(Operation::CreateKey, &request.tags)?;
        let call = self
            .once
            .create_key()
            .origin(request.origin.as_str().into())
            .set_custom_key_store_id(request.custom_key_store_id)
            .set_xks_key_id(request.xks_key_id)
            .set_description(request.description)
            .set_policy(request.policy)
            .bypass_policy_lockout_safety_check(request.bypass_policy_lockout_safety_check)
            .set_tags((!tags.is_empty()).then_some(tags))
            .multi_region(request.multi_region);
        let answer = send!(CreateKey, call);
        let key = answer
            .key_metadata()
            .ok_or_else(|| lacking(Operation::CreateKey, "KeyMetadata"))?;
        Ok(key_metadata(key))
    }

    async fn describe_key(&self, key_id: &str) -> Result<KeyMetadata, AwsError> {
        let answer = send!(DescribeKey, self.reads.describe_key().key_id(key_id));
        let key = answer
            .key_metadata()
            .ok_or_else(|| lacking(Operation::DescribeKey, "KeyMetadata"))?;
        Ok(key_metadata(key))
    }

    async fn list_keys(&self, page: PageRequest) -> Result<Page<KeyListEntry>, AwsError> {
        let call = self
            .reads
            .list_keys()
            .set_limit(limit(page.limit))
            .set_marker(page.marker);
        let answer = send!(ListKeys, call);
        let keys = answer.keys().iter();
        let keys = keys.map(|key| KeyListEntry::new(text(key.key_id()), text(key.key_arn())));
        Ok(Page::new(keys.collect(), answer.next_marker))
    }

    async fn list_aliases(&self, request: ListAliasesRequest) -> Result<Page<AliasListEntry>, AwsError> {
        let call = self.reads.list_aliases().set_key_id(request.key_id);
        let call = call
            .set_limit(limit(request.page.limit))
            .set_marker(request.page.marker);
        let answer = send!(ListAliases, call);
        let aliases = answer.aliases().iter().map(|alias| {
            let (name, arn) = (text(alias.alias_name()), text(alias.alias_arn()));
            AliasListEntry::new(name, arn, owned(alias.target_key_id()))
        });
        Ok(Page::new(aliases.collect(), answer.next_marker))
    }

    async fn create_alias(&self, alias_name: &str, target_key_id: &str) -> Result<(), AwsError> {
        let call = self.once.create_alias().alias_name(alias_name);
        send!(CreateAlias, call.target_key_id(target_key_id));
        Ok(())
    }

    async fn update_alias(&self, alias_name: &str, target_key_id: &str) -> Result<(), AwsError> {
        let call = self.once.update_alias().alias_name(alias_name);
        send!(UpdateAlias, call.target_key_id(target_key_id));
        Ok(())
    }

    async fn delete_alias(&self, alias_name: &str) -> Result<(), AwsError> {
        send!(DeleteAlias, self.once.delete_alias().alias_name(alias_name));
        Ok(())
    }

    async fn get_key_policy(&self, key_id: &str, policy_name: &str) -> Result<String, AwsError> {
        let call = self.reads.get_key_policy().key_id(key_id).policy_name(policy_name);
        let policy = send!(GetKeyPolicy, call).policy;
        policy.ok_or_else(|| lacking(Operation::GetKeyPolicy, "Policy"))
    }

    async fn put_key_policy(&self, request: PutKeyPolicyRequest) -> Result<(), AwsError> {
        let call = self.once.put_key_policy().key_id(request.key_id).policy(request.policy);
        let bypass = request.bypass_policy_lockout_safety_check;
        send!(PutKeyPolicy, call.bypass_policy_lockout_safety_check(bypass));
        Ok(())
    }

    async fn list_key_policies(&self, key_id: &str, page: PageRequest) -> Result<Page<String>, AwsError> {
        let call = self.reads.list_key_policies().key_id(key_id);
        let answer = send!(
            ListKeyPolicies,
            call.set_limit(limit(page.limit)).set_marker(page.marker)
        );
        Ok(Page::new(answer.policy_names.unwrap_or_default(), answer.next_marker))
    }

    async fn list_resource_tags(&self, key_id: &str, page: PageRequest) -> Result<Page<Tag>, AwsError> {
        let call = self.reads.list_resource_tags().key_id(key_id);
        let answer = send!(
            ListResourceTags,
            call.set_limit(limit(page.limit)).set_marker(page.marker)
        );
        let tags = answer.tags().iter().map(|tag| Tag::new(tag.tag_key(), tag.tag_value()));
        Ok(Page::new(tags.collect(), answer.next_marker))
    }

    async fn tag_resource(&self, key_id: &str, new: Vec<Tag>) -> Result<(), AwsError> {
        let tags = tags(Operation::TagResource, &new)?;
        send!(
            TagResource,
            self.once.tag_resource().key_id(key_id).set_tags(Some(tags))
        );
        Ok(())
    }

    async fn untag_resource(&self, key_id: &str, tag_keys: Vec<String>) -> Result<(), AwsError> {
        let call = self.once.untag_resource().key_id(key_id);
        send!(UntagResource, call.set_tag_keys(Some(tag_keys)));
        Ok(())
    }

    async fn update_key_description(&self, key_id: &str, description: &str) -> Result<(), AwsError> {
        let call = self.once.update_key_description().key_id(key_id);
        send!(UpdateKeyDescription, call.description(description));
        Ok(())
    }

    async fn enable_key(&self, key_id: &str) -> Result<(), AwsError> {
        send!(EnableKey, self.once.enable_key().key_id(key_id));
        Ok(())
    }

    async fn disable_key(&self, key_id: &str) -> Result<(), AwsError> {
        send!(DisableKey, self.once.disable_key().key_id(key_id));
        Ok(())
    }

    async fn schedule_key_deletion(
        &self,
        key_id: &str,
        pending_window_in_days: u32,
    ) -> Result<ScheduledKeyDeletion, AwsError> {
        let call = self.once.schedule_key_deletion().key_id(key_id);
        let call = call.set_pending_window_in_days(limit(Some(pending_window_in_days)));
        let answer = send!(ScheduleKeyDeletion, call);
        let state = answer.key_state().map(|state| state.as_str()).unwrap_or_default();
        Ok(ScheduledKeyDeletion::new(
            time(answer.deletion_date()),
            KeyState::from(state),
        ))
    }

    async fn cancel_key_deletion(&self, key_id: &str) -> Result<(), AwsError> {
        send!(CancelKeyDeletion, self.once.cancel_key_deletion().key_id(key_id));
        Ok(())
    }

    async fn get_key_last_usage(&self, key_id: &str) -> Result<KeyLastUsage, AwsError> {
        let answer = send!(GetKeyLastUsage, self.reads.get_key_last_usage().key_id(key_id));
        Ok(last_usage(&answer))
    }

    async fn get_parameters_for_import(
        &self,
        request: GetParametersForImportRequest,
    ) -> Result<ImportParameters, AwsError> {
        let call = self
            .once
            .get_parameters_for_import()
            .key_id(request.key_id)
            .wrapping_algorithm(request.wrapping_algorithm.as_str().into())
            .wrapping_key_spec(request.wrapping_key_spec.as_str().into());
        let answer = send!(GetParametersForImport, call);
        let until = time(answer.parameters_valid_to());
        let lacks = |field| move || lacking(Operation::GetParametersForImport, field);
        let public_key = answer.public_key.ok_or_else(lacks("PublicKey"))?;
        let import_token = answer.import_token.ok_or_else(lacks("ImportToken"))?;
        Ok(ImportParameters::new(
            public_key.into_inner(),
            import_token.into_inner(),
            until,
        ))
    }

    async fn import_key_material(&self, request: ImportKeyMaterialRequest) -> Result<Option<String>, AwsError> {
        let call = self
            .once
            .import_key_material()
            .expiration_model(request.expiration_model().as_str().into())
            .set_valid_to(request.valid_to.map(date))
            .set_import_type(request.import_type.as_ref().map(|kind| kind.as_str().into()))
            .key_id(request.key_id)
            .import_token(Blob::new(request.import_token))
            .encrypted_key_material(Blob::new(request.encrypted_key_material))
            .set_key_material_description(request.key_material_description)
            .set_key_material_id(request.key_material_id);
        Ok(send!(ImportKeyMaterial, call).key_material_id)
    }

    async fn delete_imported_key_material(
        &self,
        key_id: &str,
        key_material_id: Option<&str>,
    ) -> Result<Option<String>, AwsError> {
        let call = self.once.delete_imported_key_material().key_id(key_id);
        let call = call.set_key_material_id(owned(key_material_id));
        Ok(send!(DeleteImportedKeyMaterial, call).key_material_id)
    }

    async fn rotate_key_on_demand(&self, key_id: &str) -> Result<(), AwsError> {
        send!(RotateKeyOnDemand, self.once.rotate_key_on_demand().key_id(key_id));
        Ok(())
    }

    async fn list_key_rotations(&self, request: ListKeyRotationsRequest) -> Result<Page<RotationsListEntry>, AwsError> {
        let include = match request.include_key_material {
            IncludeKeyMaterial::RotationsOnly => SdkInclude::RotationsOnly,
            _ => SdkInclude::AllKeyMaterial,
        };
        let call = self
            .reads
            .list_key_rotations()
            .key_id(request.key_id)
            .include_key_material(include);
        let call = call
            .set_limit(limit(request.page.limit))
            .set_marker(request.page.marker);
        let answer = send!(ListKeyRotations, call);
        Ok(Page::new(
            answer.rotations().iter().map(rotation).collect(),
            answer.next_marker,
        ))
    }

    async fn create_custom_key_store(&self, request: CreateCustomKeyStoreRequest) -> Result<String, AwsError> {
        let secret = &request.xks_proxy_authentication_credential;
        let secret = credential(Operation::CreateCustomKeyStore, secret)?;
        let call = self
            .once
            .create_custom_key_store()
            .custom_key_store_name(request.custom_key_store_name)
            .custom_key_store_type(CustomKeyStoreType::ExternalKeyStore)
            .xks_proxy_connectivity(request.xks_proxy_connectivity.as_str().into())
            .xks_proxy_uri_endpoint(request.xks_proxy_uri_endpoint)
            .xks_proxy_uri_path(request.xks_proxy_uri_path)
            .xks_proxy_authentication_credential(secret)
            .set_xks_proxy_vpc_endpoint_service_name(request.xks_proxy_vpc_endpoint_service_name)
            .set_xks_proxy_vpc_endpoint_service_owner(request.xks_proxy_vpc_endpoint_service_owner);
        let id = send!(CreateCustomKeyStore, call).custom_key_store_id;
        id.ok_or_else(|| lacking(Operation::CreateCustomKeyStore, "CustomKeyStoreId"))
    }

    async fn update_custom_key_store(&self, request: UpdateCustomKeyStoreRequest) -> Result<(), AwsError> {
        let secret = request.xks_proxy_authentication_credential.as_ref();
        let secret = secret
            .map(|secret| credential(Operation::UpdateCustomKeyStore, secret))
            .transpose()?;
        let call = self
            .once
            .update_custom_key_store()
            .custom_key_store_id(request.custom_key_store_id)
            .set_new_custom_key_store_name(request.new_custom_key_store_name)
            .set_xks_proxy_connectivity(request.xks_proxy_connectivity.as_ref().map(|kind| kind.as_str().into()))
            .set_xks_proxy_uri_endpoint(request.xks_proxy_uri_endpoint)
            .set_xks_proxy_uri_path(request.xks_proxy_uri_path)
            .set_xks_proxy_authentication_credential(secret)
            .set_xks_proxy_vpc_endpoint_service_name(request.xks_proxy_vpc_endpoint_service_name)
            .set_xks_proxy_vpc_endpoint_service_owner(request.xks_proxy_vpc_endpoint_service_owner);
        send!(UpdateCustomKeyStore, call);
        Ok(())
    }

    async fn connect_custom_key_store(&self, custom_key_store_id: &str) -> Result<(), AwsError> {
        let call = self.once.connect_custom_key_store();
        send!(ConnectCustomKeyStore, call.custom_key_store_id(custom_key_store_id));
        Ok(())
    }

    async fn disconnect_custom_key_store(&self, custom_key_store_id: &str) -> Result<(), AwsError> {
        let call = self.once.disconnect_custom_key_store();
        send!(DisconnectCustomKeyStore, call.custom_key_store_id(custom_key_store_id));
        Ok(())
    }

    async fn describe_custom_key_stores(
        &self,
        request: DescribeCustomKeyStoresRequest,
    ) -> Result<Page<CustomKeyStore>, AwsError> {
        let call = self
            .reads
            .describe_custom_key_stores()
            .set_custom_key_store_id(request.custom_key_store_id)
            .set_custom_key_store_name(request.custom_key_store_name)
            .set_limit(limit(request.page.limit))
            .set_marker(request.page.marker);
        let answer = send!(DescribeCustomKeyStores, call);
        let stores = answer.custom_key_stores().iter().map(key_store);
        Ok(Page::new(stores.collect(), answer.next_marker))
    }

    async fn delete_custom_key_store(&self, custom_key_store_id: &str) -> Result<(), AwsError> {
        let call = self.once.delete_custom_key_store();
        send!(DeleteCustomKeyStore, call.custom_key_store_id(custom_key_store_id));
        Ok(())
    }
}

fn tags(operation: Operation, tags: &[Tag]) -> Result<Vec<SdkTag>, AwsError> {
    let built = tags.iter().map(|tag| {
        let tag = SdkTag::builder().tag_key(&tag.tag_key).tag_value(&tag.tag_value);
        tag.build().map_err(|error| unwritten(operation, &error))
    });
    built.collect()
}

fn credential(
    operation: Operation,
    credential: &ProxyCredential,
) -> Result<XksProxyAuthenticationCredentialType, AwsError> {
    XksProxyAuthenticationCredentialType::builder()
        .access_key_id(&credential.access_key_id)
        .raw_secret_access_key(credential.raw_secret_access_key.as_str())
        .build()
        .map_err(|error| unwritten(operation, &error))
}
