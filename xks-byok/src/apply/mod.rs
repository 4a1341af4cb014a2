//! One step, done.

mod import;

use std::{fmt, sync::Arc};

use thiserror::Error;
use xks_core::{
    Zeroizing, async_trait,
    manage::{WrappingAlgorithm, WrappingKey, WrappingKeyError},
};
use xks_lifecycle::CommandError;

use crate::{
    aws::{
        Connectivity, CreateCustomKeyStoreRequest, CreateKeyRequest, KeyMetadata, ProxyCredential, PutKeyPolicyRequest,
        Tag, UpdateCustomKeyStoreRequest,
    },
    caller::{CallError, Caller},
    plan::Action,
};

/// Gives key material away wrapped: a key manager does it, or software for what is sealed in the store. The
/// material itself never comes here.
#[async_trait]
pub trait Wrapper: Send + Sync {
    /// Returns the algorithms by which a material can be wrapped, the best first. `material` is its id.
    ///
    /// # Errors
    /// The material is not there, or its key manager fails.
    async fn algorithms(&self, material: &str) -> Result<Vec<WrappingAlgorithm>, CommandError>;

    /// Wraps a material under a key of AWS.
    ///
    /// # Errors
    /// The material is not there, or its key manager fails.
    async fn wrap(&self, material: &str, key: &WrappingKey) -> Result<Vec<u8>, CommandError>;
}

/// What a step works on.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Target {
    /// The id of the key store, or the ARN of the key, if it is there.
    pub id: Option<String>,
    /// The credential that the step gives to AWS, if it gives one.
    pub credential: Option<ProxyCredential>,
    /// The name of the operation tag.
    pub operation_tag: String,
    /// What wraps material, for a step that imports it.
    pub wrapper: Option<Arc<dyn Wrapper>>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What a step has made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// Nothing new.
    Changed,
    /// A key store of this id.
    KeyStore(String),
    /// A KMS key.
    Key(Box<KeyMetadata>),
    /// Material in AWS, of this id, if AWS has said it.
    Material(Option<String>),
}

/// Why a step was not done.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The call.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The credential that AWS shall have is not there any more.
    #[error("the credential {0} of the external key store is not live any more: plan again")]
    NoCredential(String),
    /// There is nothing to work on.
    #[error("it is not known in AWS what to {0}: plan again")]
    NoTarget(String),
    /// Material could not be wrapped.
    #[error("the material could not be wrapped: {0}")]
    Material(CommandError),
    /// No algorithm of the key manager is one of AWS.
    #[error(
        "its key manager can wrap the material by no algorithm that AWS takes (RSA_AES_KEY_WRAP_SHA_256, \
         RSAES_OAEP_SHA_256, RSAES_OAEP_SHA_1): the log says once how keys can be wrapped, and why not otherwise"
    )]
    NoAlgorithm,
    /// AWS has given another public key than its documents say.
    #[error("the wrapping key of AWS: {0}")]
    WrappingKey(#[from] WrappingKeyError),
}

impl Target {
    fn credential(&self, id: &str) -> Result<ProxyCredential, ApplyError> {
        let found = self
            .credential
            .as_ref()
            .filter(|credential| credential.access_key_id == *id);
        found.cloned().ok_or_else(|| ApplyError::NoCredential(id.to_owned()))
    }
}

/// A credential for AWS.
#[must_use]
pub fn proxy_credential(access_key_id: &str, secret: &str) -> ProxyCredential {
    let secret = Zeroizing::new(secret.to_owned());
    ProxyCredential::new(access_key_id, secret.as_str())
}

/// Makes the one call of a step; an import takes two, of which the first one changes nothing. Steps without
/// an [operation](Action::operation) call nothing.
///
/// # Errors
/// [`ApplyError`]; that of a call says whether it may have been done.
pub async fn apply(caller: &Caller, action: &Action, target: &Target) -> Result<Effect, ApplyError> {
    let kms = caller.kms();
    let id = || {
        target
            .id
            .as_deref()
            .ok_or_else(|| ApplyError::NoTarget(action.to_string()))
    };
    let Some(operation) = action.operation() else {
        return Ok(Effect::Changed);
    };
    match action {
        Action::Adopt { .. }
        | Action::Forget
        | Action::MakeMaterial { .. }
        | Action::NoteMaterial { .. }
        | Action::NoteCurrent { .. }
        | Action::RotateAccessKey { .. } => {}
        Action::CreateKeyStore {
            name,
            endpoint,
            path,
            access_key_id,
            vpc,
        } => {
            let credential = target.credential(access_key_id)?;
            let mut request = CreateCustomKeyStoreRequest::new(name, endpoint, path, credential);
            if let Some((service, owner)) = vpc {
                request.xks_proxy_connectivity = Connectivity::VpcEndpointService;
                request.xks_proxy_vpc_endpoint_service_name = Some(service.clone());
                request.xks_proxy_vpc_endpoint_service_owner.clone_from(owner);
            }
            let made = caller.call(operation, || kms.create_custom_key_store(request)).await?;
            return Ok(Effect::KeyStore(made));
        }
        Action::UpdateKeyStore(update) => {
            let mut request = UpdateCustomKeyStoreRequest::new(id()?);
            request.new_custom_key_store_name.clone_from(&update.name);
            request.xks_proxy_uri_path.clone_from(&update.path);
            request.xks_proxy_uri_endpoint.clone_from(&update.endpoint);
            request.xks_proxy_connectivity = update.connectivity.as_deref().map(Connectivity::from);
            request
                .xks_proxy_vpc_endpoint_service_name
                .clone_from(&update.vpc_service);
            request
                .xks_proxy_vpc_endpoint_service_owner
                .clone_from(&update.vpc_owner);
            if let Some(access_key_id) = &update.access_key_id {
                request.xks_proxy_authentication_credential = Some(target.credential(access_key_id)?);
            }
            caller.call(operation, || kms.update_custom_key_store(request)).await?;
        }
        Action::ConnectKeyStore => {
            let id = id()?;
            caller.call(operation, || kms.connect_custom_key_store(id)).await?;
        }
        Action::DisconnectKeyStore => {
            let id = id()?;
            caller.call(operation, || kms.disconnect_custom_key_store(id)).await?;
        }
        Action::DeleteKeyStore => {
            let id = id()?;
            caller.call(operation, || kms.delete_custom_key_store(id)).await?;
        }
        Action::CreateKey { .. } | Action::CreateImportKey { .. } => {
            let request = create_key(action, target)?;
            let made = caller.call(operation, || kms.create_key(request)).await?;
            return Ok(Effect::Key(Box::new(made)));
        }
        Action::ImportMaterial { .. } => return import::import(caller, id()?, action, target).await,
        Action::RotateOnDemand { .. } => {
            let id = id()?;
            caller.call(operation, || kms.rotate_key_on_demand(id)).await?;
        }
        Action::MoveAlias { alias, .. } => {
            let id = id()?;
            caller.call(operation, || kms.update_alias(alias, id)).await?;
        }
        Action::DisableFormer { key, .. } => caller.call(operation, || kms.disable_key(key)).await?,
        Action::DeleteMaterial { kms_material, .. } => {
            let id = id()?;
            let delete = || kms.delete_imported_key_material(id, Some(kms_material));
            caller.call(operation, delete).await?;
        }
        Action::EnableKey => {
            let id = id()?;
            caller.call(operation, || kms.enable_key(id)).await?;
        }
        Action::DisableKey => {
            let id = id()?;
            caller.call(operation, || kms.disable_key(id)).await?;
        }
        Action::UpdateDescription { description } => {
            let id = id()?;
            caller
                .call(operation, || kms.update_key_description(id, description))
                .await?;
        }
        Action::PutPolicy { policy } => {
            let request = PutKeyPolicyRequest::new(id()?, policy);
            caller.call(operation, || kms.put_key_policy(request)).await?;
        }
        Action::Tag { tags } => {
            let id = id()?;
            let tags = tags.iter().map(|(key, value)| Tag::new(key, value)).collect();
            caller.call(operation, || kms.tag_resource(id, tags)).await?;
        }
        Action::CreateAlias { alias } => {
            let id = id()?;
            caller.call(operation, || kms.create_alias(alias, id)).await?;
        }
        Action::ScheduleDeletion { days } => {
            let id = id()?;
            caller.call(operation, || kms.schedule_key_deletion(id, *days)).await?;
        }
        Action::DeleteOrphan { arn, days } => {
            caller.call(operation, || kms.schedule_key_deletion(arn, *days)).await?;
        }
        Action::CancelDeletion => {
            let id = id()?;
            caller.call(operation, || kms.cancel_key_deletion(id)).await?;
        }
    }
    Ok(Effect::Changed)
}

fn create_key(action: &Action, target: &Target) -> Result<CreateKeyRequest, ApplyError> {
    let (mut request, operation, description, tags, policy) = match action {
        Action::CreateKey {
            operation,
            custom_key_store_id,
            xks_key_id,
            description,
            tags,
            policy,
        } => {
            let request = CreateKeyRequest::external_key_store(custom_key_store_id, xks_key_id);
            (request, operation, description, tags, policy)
        }
        Action::CreateImportKey {
            operation,
            description,
            tags,
            policy,
            ..
        } => (CreateKeyRequest::external(), operation, description, tags, policy),
        other => return Err(ApplyError::NoTarget(other.to_string())),
    };
    request.description = Some(description.clone()).filter(|description| !description.is_empty());
    request.policy = Some(policy.clone());
    request.tags = tags.iter().map(|(key, value)| Tag::new(key, value)).collect();
    request.tags.push(Tag::new(&target.operation_tag, operation));
    Ok(request)
}
