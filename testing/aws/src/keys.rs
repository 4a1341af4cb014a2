//! What KMS says of keys, materials and key stores.

use serde_json::Value;
use xks_byok::aws::{CustomKeyStore, KeyLastUsage, KeyMetadata, LastUsage, ProxyConfiguration, RotationsListEntry};

use crate::json::{flag, optional_text, optional_value, text, time, value};

/// The field `KeyMetadata` of an answer.
pub(crate) fn key_metadata(body: &Value) -> KeyMetadata {
    let body = body.get("KeyMetadata").unwrap_or(&Value::Null);
    let mut key = KeyMetadata::new(
        text(body, "KeyId"),
        text(body, "Arn"),
        value(body, "Origin"),
        value(body, "KeyState"),
    );
    key.aws_account_id = text(body, "AWSAccountId");
    key.creation_date = time(body, "CreationDate");
    key.enabled = flag(body, "Enabled");
    key.description = text(body, "Description");
    key.key_manager = value(body, "KeyManager");
    key.key_spec = text(body, "KeySpec");
    key.key_usage = text(body, "KeyUsage");
    key.deletion_date = time(body, "DeletionDate");
    key.valid_to = time(body, "ValidTo");
    key.expiration_model = optional_value(body, "ExpirationModel");
    key.custom_key_store_id = optional_text(body, "CustomKeyStoreId");
    key.xks_key_id = body.get("XksKeyConfiguration").and_then(|xks| optional_text(xks, "Id"));
    key.current_key_material_id = optional_text(body, "CurrentKeyMaterialId");
    key.multi_region = flag(body, "MultiRegion");
    key
}

pub(crate) fn last_usage(body: &Value) -> KeyLastUsage {
    let last = body.get("KeyLastUsage").unwrap_or(&Value::Null);
    let last = optional_text(last, "Operation").map(|operation| {
        let mut usage = LastUsage::new(operation, time(last, "Timestamp"));
        usage.cloud_trail_event_id = optional_text(last, "CloudTrailEventId");
        usage.kms_request_id = optional_text(last, "KmsRequestId");
        usage
    });
    let mut usage = KeyLastUsage::new(last);
    usage.tracking_start_date = time(body, "TrackingStartDate");
    usage.key_creation_date = time(body, "KeyCreationDate");
    usage
}

pub(crate) fn rotation(body: &Value) -> RotationsListEntry {
    let mut entry = RotationsListEntry::new(
        optional_text(body, "KeyMaterialId"),
        optional_value(body, "KeyMaterialState"),
    );
    entry.key_material_description = optional_text(body, "KeyMaterialDescription");
    entry.import_state = optional_value(body, "ImportState");
    entry.expiration_model = optional_value(body, "ExpirationModel");
    entry.valid_to = time(body, "ValidTo");
    entry.rotation_date = time(body, "RotationDate");
    entry.rotation_type = optional_value(body, "RotationType");
    entry
}

pub(crate) fn key_store(body: &Value) -> CustomKeyStore {
    let mut store = CustomKeyStore::new(
        text(body, "CustomKeyStoreId"),
        text(body, "CustomKeyStoreName"),
        value(body, "ConnectionState"),
    );
    store.custom_key_store_type = value(body, "CustomKeyStoreType");
    store.connection_error_code = optional_value(body, "ConnectionErrorCode");
    store.creation_date = time(body, "CreationDate");
    store.xks_proxy_configuration = body.get("XksProxyConfiguration").map(|proxy| {
        let mut configuration = ProxyConfiguration::new(
            value(proxy, "Connectivity"),
            text(proxy, "AccessKeyId"),
            text(proxy, "UriEndpoint"),
            text(proxy, "UriPath"),
        );
        configuration.vpc_endpoint_service_name = optional_text(proxy, "VpcEndpointServiceName");
        configuration.vpc_endpoint_service_owner = optional_text(proxy, "VpcEndpointServiceOwner");
        configuration
    });
    store
}
