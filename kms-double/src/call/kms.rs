//! The operations of AWS KMS by name, JSON in and JSON out.

use zeroize::Zeroizing;

use super::json::{json, parsed};
use crate::kms::{Caller, Exception, ExceptionName, Kms};

/// Does an operation. Returns the body of the answer.
pub(super) async fn answer(
    kms: &Kms,
    caller: &Caller,
    operation: &str,
    body: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Exception> {
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
        "ReplicateKey" => json(&kms.replicate_key(caller, parsed(body)?).await?),
        "UpdatePrimaryRegion" => json(&kms.update_primary_region(caller, parsed(body)?).await?),
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
