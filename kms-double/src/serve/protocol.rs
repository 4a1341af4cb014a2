//! The protocol of AWS KMS, JSON 1.1: the operation is named by a header, its parameters are the body.

use serde::{
    Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::{error::Category, json};
use zeroize::Zeroizing;

use crate::kms::{Caller, Exception, ExceptionName, Kms};

/// Does the operation that `X-Amz-Target` names. Returns the body of the answer.
pub(super) async fn answer(
    kms: &Kms,
    caller: &Caller,
    target: &str,
    body: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Exception> {
    let operation = target.strip_prefix("TrentService.").unwrap_or_default();
    match operation {
        "CreateCustomKeyStore" => json(&kms.create_custom_key_store(caller, parsed(body)?).await?),
        "ConnectCustomKeyStore" => json(&kms.connect_custom_key_store(caller, parsed(body)?).await?),
        "DisconnectCustomKeyStore" => json(&kms.disconnect_custom_key_store(caller, parsed(body)?).await?),
        "DescribeCustomKeyStores" => json(&kms.describe_custom_key_stores(caller, parsed(body)?).await?),
        "UpdateCustomKeyStore" => json(&kms.update_custom_key_store(caller, parsed(body)?).await?),
        "DeleteCustomKeyStore" => json(&kms.delete_custom_key_store(caller, parsed(body)?).await?),
        "CreateKey" => json(&kms.create_key(caller, parsed(body)?).await?),
        "DescribeKey" => json(&kms.describe_key(caller, parsed(body)?).await?),
        "ListKeys" => json(&kms.list_keys(caller, parsed(body)?).await?),
        "EnableKey" => json(&kms.enable_key(caller, parsed(body)?).await?),
        "DisableKey" => json(&kms.disable_key(caller, parsed(body)?).await?),
        "ScheduleKeyDeletion" => json(&kms.schedule_key_deletion(caller, parsed(body)?).await?),
        "CancelKeyDeletion" => json(&kms.cancel_key_deletion(caller, parsed(body)?).await?),
        "CreateAlias" => json(&kms.create_alias(caller, parsed(body)?).await?),
        "UpdateAlias" => json(&kms.update_alias(caller, parsed(body)?).await?),
        "DeleteAlias" => json(&kms.delete_alias(caller, parsed(body)?).await?),
        "ListAliases" => json(&kms.list_aliases(caller, parsed(body)?).await?),
        "GetParametersForImport" => json(&kms.get_parameters_for_import(caller, parsed(body)?).await?),
        "ImportKeyMaterial" => json(&kms.import_key_material(caller, parsed(body)?).await?),
        "DeleteImportedKeyMaterial" => json(&kms.delete_imported_key_material(caller, parsed(body)?).await?),
        "RotateKeyOnDemand" => json(&kms.rotate_key_on_demand(caller, parsed(body)?).await?),
        "ListKeyRotations" => json(&kms.list_key_rotations(caller, parsed(body)?).await?),
        "GetKeyRotationStatus" => json(&kms.get_key_rotation_status(caller, parsed(body)?).await?),
        "EnableKeyRotation" => json(&kms.enable_key_rotation(caller, parsed(body)?).await?),
        "DisableKeyRotation" => json(&kms.disable_key_rotation(caller, parsed(body)?).await?),
        "PutKeyPolicy" => json(&kms.put_key_policy(caller, parsed(body)?).await?),
        "GetKeyPolicy" => json(&kms.get_key_policy(caller, parsed(body)?).await?),
        "ListKeyPolicies" => json(&kms.list_key_policies(caller, parsed(body)?).await?),
        "TagResource" => json(&kms.tag_resource(caller, parsed(body)?).await?),
        "UntagResource" => json(&kms.untag_resource(caller, parsed(body)?).await?),
        "ListResourceTags" => json(&kms.list_resource_tags(caller, parsed(body)?).await?),
        "UpdateKeyDescription" => json(&kms.update_key_description(caller, parsed(body)?).await?),
        "GetKeyLastUsage" => json(&kms.get_key_last_usage(caller, parsed(body)?).await?),
        "Encrypt" => json(&kms.encrypt(caller, parsed(body)?).await?),
        "Decrypt" => json(&kms.decrypt(caller, parsed(body)?).await?),
        "ReEncrypt" => json(&kms.re_encrypt(caller, parsed(body)?).await?),
        "GenerateDataKey" => json(&kms.generate_data_key(caller, parsed(body)?).await?),
        "GenerateDataKeyWithoutPlaintext" => {
            json(&kms.generate_data_key_without_plaintext(caller, parsed(body)?).await?)
        }
        _ => Err(Exception::new(
            ExceptionName::UnknownOperation,
            format!("kms-double does not implement {operation:?}"),
        )),
    }
}

/// The body that tells of an exception.
pub(super) fn told(exception: &Exception) -> Vec<u8> {
    let body = json!({ "__type": exception.name().as_str(), "message": exception.message() });
    body.to_string().into_bytes()
}

pub(super) fn parsed<R: DeserializeOwned>(body: &[u8]) -> Result<R, Exception> {
    serde_json::from_slice(body).map_err(|error| {
        let text = error.to_string();
        let names_a_field = ["unknown field", "missing field", "duplicate field"];
        match error.classify() {
            Category::Data if names_a_field.iter().any(|start| text.starts_with(start)) => Exception::validation(text),
            // Other texts could quote a value, and that could be a secret.
            Category::Data => Exception::validation(format!(
                "invalid value at line {} column {}",
                error.line(),
                error.column()
            )),
            // `null` where an enumeration is expected, for instance.
            _ if serde_json::from_slice::<IgnoredAny>(body).is_ok() => Exception::validation(format!(
                "invalid value at line {} column {}",
                error.line(),
                error.column()
            )),
            _ => Exception::new(ExceptionName::Serialization, "the body is not JSON"),
        }
    })
}

pub(super) fn json(answer: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, Exception> {
    let body = serde_json::to_vec(answer).map(Zeroizing::new);
    body.map_err(|error| Exception::new(ExceptionName::Internal, error.to_string()))
}
