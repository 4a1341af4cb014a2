//! The operations on KMS keys that use no key.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Kms, answer,
    api::{
        CreateKeyRequest, Empty, ExpirationModel, KeyIdRequest, KeyIdResponse, KeyListEntry, KeyMetadata,
        KeyMetadataResponse, KeyState, ListKeysRequest, ListKeysResponse, ResourceOwner, ScheduleKeyDeletionRequest,
        ScheduleKeyDeletionResponse, XksKeyConfiguration,
    },
    caller::Caller,
    exception::{Exception, ExceptionName},
    failure::Fault,
    key::{Backing, ExternalBacking, Generated, Key, KeyStatus},
    key_store::Connection,
    materials::Materials,
    multi_region::{self, MultiRegion},
    operation::Operation,
    page::{Limits, page_of},
    policy::{Proposal, default_policy},
    proxy::ExternalKey,
    random,
    seal::KeyMaterial,
    sorted::Sorted,
    state::{SECONDS_A_DAY, State, not_connected},
    tags::{add_tags, check_description},
    uuid,
};

impl Kms {
    /// Makes a KMS key: one with material that KMS makes, one that waits for the import of its key material,
    /// or one over an external key, after the proxy has said that it is an AES-256 key that can encrypt and
    /// decrypt and is enabled.
    ///
    /// # Errors
    /// As AWS documents them for CreateKey; for what the proxy does, by [the table](super::Failure::row).
    pub async fn create_key(
        &self,
        caller: &Caller,
        request: CreateKeyRequest,
    ) -> Result<KeyMetadataResponse, Exception> {
        self.operate("CreateKey", caller, async |operation| {
            check_kind(&request)?;
            let attributes = self.attributes(operation, &request)?;
            let is_multi_region = request.multi_region == Some(true);
            let id = match is_multi_region {
                true => multi_region::id(u128::from_be_bytes(*random::<16>()?)),
                false => uuid()?,
            };
            let backing = match (&request.custom_key_store_id, &request.xks_key_id) {
                (Some(key_store_id), Some(xks_key_id)) => {
                    let external = self.external_backing(operation, key_store_id, xks_key_id).await?;
                    Backing::ExternalKeyStore(external)
                }
                _ if request.origin.as_deref() == Some("EXTERNAL") => Backing::Imported(Materials::default()),
                _ => Backing::Generated(Generated::new(&id)?),
            };
            let key = Key {
                arn: self.arn(&format!("key/{id}")),
                id,
                created: self.now(),
                status: KeyStatus::Enabled,
                backing,
                multi_region: is_multi_region.then(|| MultiRegion::new(&self.1)),
                ..attributes
            };
            operation.change(|state| {
                if state.keys().len() >= self.0.settings.resources.keys {
                    let message = "The account has as many KMS keys in this Region as it may have";
                    return Err(Exception::new(ExceptionName::LimitExceeded, message));
                }
                if let Some(external) = key.external() {
                    check_unused(state, &external.key_store_id, &external.xks_key_id)?;
                    state.key_store(&external.key_store_id)?;
                }
                let key_metadata = self.described_key(state, &key);
                state.put_key(key);
                Ok(KeyMetadataResponse { key_metadata })
            })
        })
        .await
    }

    /// A key that has what the request says, and nothing else yet.
    fn attributes(&self, operation: Operation<'_>, request: &CreateKeyRequest) -> Result<Key, Exception> {
        let description = request.description.clone().unwrap_or_default();
        check_description(&description)?;
        let mut tags = BTreeMap::new();
        add_tags(&mut tags, request.tags.as_deref().unwrap_or_default())?;
        let account = &self.0.settings.account;
        let policy = request.policy.clone().unwrap_or_else(|| default_policy(account));
        let proposal = Proposal {
            text: &policy,
            bypasses_lockout_check: request.bypass_policy_lockout_safety_check == Some(true),
            caller: operation.caller,
            account,
            now: self.now(),
        };
        operation.read(|state| proposal.check(state))?;
        Ok(Key {
            id: String::new(),
            arn: String::new(),
            description,
            created: 0.0,
            status: KeyStatus::Enabled,
            backing: Backing::Imported(Materials::default()),
            policy,
            ram_policy: None,
            tags,
            multi_region: None,
        })
    }

    /// An external key, if its proxy says that it can be used.
    async fn external_backing(
        &self,
        operation: Operation<'_>,
        key_store_id: &str,
        xks_key_id: &str,
    ) -> Result<ExternalBacking, Exception> {
        // URI-3
        let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !(1..=128).contains(&xks_key_id.len()) || !xks_key_id.bytes().all(is_legal) {
            return Err(Exception::validation(
                "XksKeyId has to have 1 to 128 characters of a-z A-Z 0-9 - _ .",
            ));
        }
        let store = operation.read(|state| {
            check_unused(state, key_store_id, xks_key_id)?;
            state.key_store(key_store_id).cloned()
        })?;
        if store.connection != Connection::Connected {
            return Err(not_connected().at_create_key());
        }
        let proxy = self.proxy(&store.id, &store.proxy)?;
        let external = ExternalKey {
            id: xks_key_id,
            kms_key_arn: None,
        };
        let metadata = proxy.key_metadata(operation, external).await;
        check_external_key(&metadata.map_err(Fault::at_create_key)?)?;
        Ok(ExternalBacking {
            key_store_id: key_store_id.to_owned(),
            xks_key_id: xks_key_id.to_owned(),
            material: KeyMaterial::generate()?,
        })
    }

    /// Tells of a key. As in AWS KMS, it asks no proxy.
    ///
    /// # Errors
    /// There is no such key.
    pub async fn describe_key(&self, caller: &Caller, request: KeyIdRequest) -> Result<KeyMetadataResponse, Exception> {
        self.operate("DescribeKey", caller, async |operation| {
            operation.read(|state| {
                let key = state.key(&request.key_id)?;
                operation.check(state, key)?;
                let key_metadata = self.described_key(state, key);
                Ok(KeyMetadataResponse { key_metadata })
            })
        })
        .await
    }

    /// Tells which keys there are.
    ///
    /// # Errors
    /// `Limit` or `Marker` is none.
    pub async fn list_keys(&self, caller: &Caller, request: ListKeysRequest) -> Result<ListKeysResponse, Exception> {
        self.operate("ListKeys", caller, async |operation| {
            let owners = request.resource_owners.as_deref().unwrap_or(&[ResourceOwner::Owned]);
            if !(1..=2).contains(&owners.len()) {
                return Err(Exception::validation("ResourceOwners has to have 1 or 2 values"));
            }
            operation.read(|state| {
                // No other account shares keys with this one.
                let (none, is_own) = (Sorted::default(), owners.contains(&ResourceOwner::Owned));
                let page = page_of(if is_own { state.keys() } else { &none }, Limits::USUAL, &request)?;
                let entry = |key: &&Arc<Key>| KeyListEntry {
                    key_id: key.id.clone(),
                    key_arn: key.arn.clone(),
                };
                Ok(ListKeysResponse {
                    keys: page.items.iter().map(entry).collect(),
                    truncated: page.is_truncated(),
                    next_marker: page.next_marker,
                })
            })
        })
        .await
    }

    /// Lets a key be used again. The external key stays as it is.
    ///
    /// # Errors
    /// There is no such key, or it is going to be deleted.
    pub async fn enable_key(&self, caller: &Caller, request: KeyIdRequest) -> Result<Empty, Exception> {
        self.set_status("EnableKey", caller, &request.key_id, KeyStatus::Enabled)
            .await
    }

    /// Lets a key be used no longer. The external key stays as it is.
    ///
    /// # Errors
    /// There is no such key, or it is going to be deleted.
    pub async fn disable_key(&self, caller: &Caller, request: KeyIdRequest) -> Result<Empty, Exception> {
        self.set_status("DisableKey", caller, &request.key_id, KeyStatus::Disabled)
            .await
    }

    /// Deletes a key after some days, with the material without which its ciphertexts cannot be decrypted.
    ///
    /// # Errors
    /// There is no such key, or it is going to be deleted already.
    pub async fn schedule_key_deletion(
        &self,
        caller: &Caller,
        request: ScheduleKeyDeletionRequest,
    ) -> Result<ScheduleKeyDeletionResponse, Exception> {
        self.operate("ScheduleKeyDeletion", caller, async |operation| {
            let days = request.pending_window_in_days.unwrap_or(30);
            if !(7..=30).contains(&days) {
                return Err(Exception::validation("PendingWindowInDays has to be 7 to 30"));
            }
            let deletion_date = self.now() + f64::from(days) * SECONDS_A_DAY;
            operation.change_key(&request.key_id, |key| {
                let regions = key.multi_region.as_ref().filter(|regions| regions.is_primary());
                let has_replicas = regions.is_some_and(|regions| !regions.replicas.is_empty());
                key.status = match has_replicas {
                    true => KeyStatus::PendingReplicaDeletion(days),
                    false => KeyStatus::PendingDeletion(deletion_date),
                };
                Ok(ScheduleKeyDeletionResponse {
                    key_id: key.arn.clone(),
                    deletion_date: (!has_replicas).then_some(deletion_date),
                    key_state: match has_replicas {
                        true => KeyState::PendingReplicaDeletion,
                        false => KeyState::PendingDeletion,
                    },
                    pending_window_in_days: days,
                })
            })
        })
        .await
    }

    /// Keeps a key that was going to be deleted. It is disabled then.
    ///
    /// # Errors
    /// There is no such key, or it was not going to be deleted.
    pub async fn cancel_key_deletion(
        &self,
        caller: &Caller,
        request: KeyIdRequest,
    ) -> Result<KeyIdResponse, Exception> {
        self.operate("CancelKeyDeletion", caller, async |operation| {
            operation.change_key(&request.key_id, |key| {
                key.status = KeyStatus::Disabled;
                Ok(KeyIdResponse {
                    key_id: key.arn.clone(),
                })
            })
        })
        .await
    }

    async fn set_status(
        &self,
        name: &str,
        caller: &Caller,
        named: &str,
        status: KeyStatus,
    ) -> Result<Empty, Exception> {
        self.operate(name, caller, async |operation| {
            operation.change_key(named, |key| {
                key.status = status;
                Ok(Empty {})
            })
        })
        .await
    }

    pub(super) fn described_key(&self, state: &State, key: &Key) -> KeyMetadata {
        let key_state = state.key_state(key);
        let (external, imported) = (key.external(), key.imported());
        let has_material = |materials: &&Materials| materials.current().is_some();
        KeyMetadata {
            account_id: self.0.settings.account.clone(),
            key_id: key.id.clone(),
            arn: key.arn.clone(),
            creation_date: key.created,
            enabled: key_state == KeyState::Enabled,
            description: key.description.clone(),
            key_usage: "ENCRYPT_DECRYPT",
            key_state,
            deletion_date: match key.status {
                KeyStatus::PendingDeletion(date) => Some(date),
                _ => None,
            },
            origin: key.origin(),
            custom_key_store_id: external.map(|external| external.key_store_id.clone()),
            expiration_model: imported
                .filter(has_material)
                .map(|materials| match materials.earliest_end() {
                    Some(_) => ExpirationModel::KeyMaterialExpires,
                    None => ExpirationModel::KeyMaterialDoesNotExpire,
                }),
            valid_to: imported.and_then(Materials::earliest_end),
            current_key_material_id: key
                .materials()
                .ok()
                .and_then(Materials::current)
                .map(|material| material.id.clone()),
            key_manager: "CUSTOMER",
            key_spec: "SYMMETRIC_DEFAULT",
            customer_master_key_spec: "SYMMETRIC_DEFAULT",
            encryption_algorithms: ["SYMMETRIC_DEFAULT"],
            multi_region: key.multi_region.is_some(),
            multi_region_configuration: key.multi_region.as_ref().map(|regions| {
                let resource = format!("key/{}", key.id);
                regions.described(|region| self.arn_in(region, &resource))
            }),
            pending_deletion_window_in_days: match key.status {
                KeyStatus::PendingReplicaDeletion(days) => Some(days),
                _ => None,
            },
            xks_key_configuration: external.map(|external| XksKeyConfiguration {
                id: external.xks_key_id.clone(),
            }),
        }
    }
}

/// Only what the double makes.
fn check_kind(request: &CreateKeyRequest) -> Result<(), Exception> {
    let unsupported = |what: &str| Err(Exception::new(ExceptionName::UnsupportedOperation, what));
    let names_external_key = (request.custom_key_store_id.is_some(), request.xks_key_id.is_some());
    match (request.origin.as_deref(), names_external_key) {
        (None | Some("AWS_KMS" | "EXTERNAL"), (false, false)) | (Some("EXTERNAL_KEY_STORE"), (true, true)) => (),
        (None | Some("AWS_KMS" | "EXTERNAL"), _) => {
            return Err(Exception::validation(
                "CustomKeyStoreId and XksKeyId can only be specified with the origin EXTERNAL_KEY_STORE",
            ));
        }
        (Some("EXTERNAL_KEY_STORE"), _) => {
            return Err(Exception::validation(
                "CustomKeyStoreId and XksKeyId are required for the origin EXTERNAL_KEY_STORE",
            ));
        }
        _ => return unsupported("Origin has to be AWS_KMS, EXTERNAL or EXTERNAL_KEY_STORE"),
    }
    if request
        .key_usage
        .as_ref()
        .is_some_and(|usage| usage != "ENCRYPT_DECRYPT")
    {
        return unsupported("KeyUsage has to be ENCRYPT_DECRYPT");
    }
    let mut specs = [&request.key_spec, &request.customer_master_key_spec]
        .into_iter()
        .flatten();
    if specs.any(|spec| spec != "SYMMETRIC_DEFAULT") {
        return unsupported("KeySpec has to be SYMMETRIC_DEFAULT");
    }
    if request.multi_region == Some(true) && request.custom_key_store_id.is_some() {
        return unsupported("A key in a custom key store cannot be a multi-Region key");
    }
    Ok(())
}

fn check_unused(state: &State, key_store_id: &str, xks_key_id: &str) -> Result<(), Exception> {
    if state.uses_external_key(key_store_id, xks_key_id) {
        let message = format!("The external key {xks_key_id} is in use by another KMS key of this key store");
        return Err(Exception::new(ExceptionName::XksKeyAlreadyInUse, message));
    }
    Ok(())
}

/// Checks what KMS demands of an external key before it makes a KMS key of it.
fn check_external_key(metadata: &answer::KeyMetadata) -> Result<(), Exception> {
    let usage = &metadata.key_usage;
    let has = |wanted: &str| usage.iter().any(|usage| usage == wanted);
    let message = if metadata.key_spec != "AES_256" {
        format!(
            "The key spec of the external key must be AES_256. The key spec of specified external key is {}.",
            metadata.key_spec
        )
    } else if !has("ENCRYPT") || !has("DECRYPT") {
        format!(
            "The key usage of the external key must include ENCRYPT and DECRYPT. The key use of specified external key is \
             {}.",
            usage.join(", ")
        )
    } else if metadata.key_status != "ENABLED" {
        format!(
            "The status of the external key must be ENABLED. The status of specified external key is {}.",
            metadata.key_status
        )
    } else {
        return Ok(());
    };
    Err(Exception::new(ExceptionName::XksKeyInvalidConfiguration, message))
}
