//! What KMS says of keys, materials and key stores.

use aws_sdk_kms::{
    operation::get_key_last_usage::GetKeyLastUsageOutput,
    types::{
        CustomKeyStoresListEntry, KeyMetadata as SdkKeyMetadata, RotationsListEntry as SdkRotation,
        XksProxyConfigurationType,
    },
};
use xks_byok::aws::{
    ConnectionState, Connectivity, CustomKeyStore, CustomKeyStoreType, KeyLastUsage, KeyManager, KeyMetadata, KeyState,
    LastUsage, Origin, ProxyConfiguration, RotationsListEntry,
};

use crate::convert::{owned, text, time};

/// A value of an enum, in AWS's text; an empty one where it is missing.
macro_rules! value {
    ($type:ident, $value:expr) => {
        $type::from($value.map(|value| value.as_str()).unwrap_or_default())
    };
}

macro_rules! optional {
    ($value:expr) => {
        $value.map(|value| value.as_str().into())
    };
}

pub(crate) fn key_metadata(key: &SdkKeyMetadata) -> KeyMetadata {
    let origin = value!(Origin, key.origin());
    let mut metadata = KeyMetadata::new(key.key_id(), text(key.arn()), origin, value!(KeyState, key.key_state()));
    metadata.aws_account_id = text(key.aws_account_id());
    metadata.creation_date = time(key.creation_date());
    metadata.enabled = key.enabled();
    metadata.description = text(key.description());
    metadata.key_manager = value!(KeyManager, key.key_manager());
    metadata.key_spec = text(key.key_spec().map(|spec| spec.as_str()));
    metadata.key_usage = text(key.key_usage().map(|usage| usage.as_str()));
    metadata.deletion_date = time(key.deletion_date());
    metadata.valid_to = time(key.valid_to());
    metadata.expiration_model = optional!(key.expiration_model());
    metadata.custom_key_store_id = owned(key.custom_key_store_id());
    metadata.xks_key_id = owned(key.xks_key_configuration().and_then(|xks| xks.id()));
    metadata.current_key_material_id = owned(key.current_key_material_id());
    metadata.multi_region = key.multi_region().unwrap_or_default();
    metadata
}

pub(crate) fn last_usage(answer: &GetKeyLastUsageOutput) -> KeyLastUsage {
    let last = answer.key_last_usage().and_then(|last| {
        let mut usage = LastUsage::new(last.operation()?.as_str(), time(last.timestamp()));
        usage.cloud_trail_event_id = owned(last.cloud_trail_event_id());
        usage.kms_request_id = owned(last.kms_request_id());
        Some(usage)
    });
    let mut usage = KeyLastUsage::new(last);
    usage.tracking_start_date = time(answer.tracking_start_date());
    usage.key_creation_date = time(answer.key_creation_date());
    usage
}

pub(crate) fn rotation(entry: &SdkRotation) -> RotationsListEntry {
    let state = optional!(entry.key_material_state());
    let mut rotation = RotationsListEntry::new(owned(entry.key_material_id()), state);
    rotation.key_material_description = owned(entry.key_material_description());
    rotation.import_state = optional!(entry.import_state());
    rotation.expiration_model = optional!(entry.expiration_model());
    rotation.valid_to = time(entry.valid_to());
    rotation.rotation_date = time(entry.rotation_date());
    rotation.rotation_type = optional!(entry.rotation_type());
    rotation
}

pub(crate) fn key_store(entry: &CustomKeyStoresListEntry) -> CustomKeyStore {
    let (id, name) = (text(entry.custom_key_store_id()), text(entry.custom_key_store_name()));
    let mut store = CustomKeyStore::new(id, name, value!(ConnectionState, entry.connection_state()));
    store.custom_key_store_type = value!(CustomKeyStoreType, entry.custom_key_store_type());
    store.connection_error_code = optional!(entry.connection_error_code());
    store.creation_date = time(entry.creation_date());
    store.xks_proxy_configuration = entry.xks_proxy_configuration().map(proxy);
    store
}

fn proxy(proxy: &XksProxyConfigurationType) -> ProxyConfiguration {
    let mut configuration = ProxyConfiguration::new(
        value!(Connectivity, proxy.connectivity()),
        text(proxy.access_key_id()),
        text(proxy.uri_endpoint()),
        text(proxy.uri_path()),
    );
    configuration.vpc_endpoint_service_name = owned(proxy.vpc_endpoint_service_name());
    configuration.vpc_endpoint_service_owner = owned(proxy.vpc_endpoint_service_owner());
    configuration
}
