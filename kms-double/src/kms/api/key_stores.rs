//! Requests and responses about custom key stores.

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::kms::failure::ConnectionErrorCode;

/// The connectivity of a proxy. The double reaches all of them alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
pub enum Connectivity {
    /// Over the internet.
    PublicEndpoint,
    /// Through an Amazon VPC endpoint service.
    VpcEndpointService,
}

/// The credential with which KMS signs its requests to a proxy.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct ProxyCredential {
    /// 20 to 30 characters of `A-Z 2-7`.
    pub access_key_id: String,
    /// 43 to 64 characters of `a-z A-Z 0-9 + / =`.
    pub raw_secret_access_key: Zeroizing<String>,
}

impl ProxyCredential {
    /// Creates a credential. Whether KMS takes it is seen when it is used.
    pub fn new(access_key_id: impl Into<String>, raw_secret_access_key: impl Into<String>) -> Self {
        Self {
            access_key_id: access_key_id.into(),
            raw_secret_access_key: Zeroizing::new(raw_secret_access_key.into()),
        }
    }
}

impl fmt::Debug for ProxyCredential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ProxyCredential")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// Makes a key store that is not connected yet.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct CreateCustomKeyStoreRequest {
    /// A name, unique in the account.
    pub custom_key_store_name: String,
    /// `EXTERNAL_KEY_STORE`.
    pub custom_key_store_type: Option<String>,
    /// The connectivity of the proxy.
    pub xks_proxy_connectivity: Option<Connectivity>,
    /// `https://` and the proxy's name. AWS KMS takes no port; the double does.
    pub xks_proxy_uri_endpoint: Option<String>,
    /// `[/prefix]/kms/xks/v1`.
    pub xks_proxy_uri_path: Option<String>,
    /// The VPC endpoint service, where there is one. The double does not look for it.
    pub xks_proxy_vpc_endpoint_service_name: Option<String>,
    /// The account that owns the VPC endpoint service, 12 digits; by default the caller's.
    pub xks_proxy_vpc_endpoint_service_owner: Option<String>,
    /// The credential that requests are signed with.
    pub xks_proxy_authentication_credential: Option<ProxyCredential>,
}

impl CreateCustomKeyStoreRequest {
    /// Creates a request for a proxy with a public endpoint.
    pub fn new(
        name: impl Into<String>,
        uri_endpoint: impl Into<String>,
        uri_path: impl Into<String>,
        credential: ProxyCredential,
    ) -> Self {
        Self {
            custom_key_store_name: name.into(),
            custom_key_store_type: Some("EXTERNAL_KEY_STORE".into()),
            xks_proxy_connectivity: Some(Connectivity::PublicEndpoint),
            xks_proxy_uri_endpoint: Some(uri_endpoint.into()),
            xks_proxy_uri_path: Some(uri_path.into()),
            xks_proxy_vpc_endpoint_service_name: None,
            xks_proxy_vpc_endpoint_service_owner: None,
            xks_proxy_authentication_credential: Some(credential),
        }
    }
}

/// The new key store.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct CreateCustomKeyStoreResponse {
    /// Its id.
    pub custom_key_store_id: String,
}

/// Names a key store: to connect, disconnect or delete it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct CustomKeyStoreIdRequest {
    /// Its id.
    pub custom_key_store_id: String,
}

impl CustomKeyStoreIdRequest {
    /// Creates a request for the key store of this id.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            custom_key_store_id: id.into(),
        }
    }
}

/// Changes what is given. Name, credential and path can be changed while the key store is connected.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct UpdateCustomKeyStoreRequest {
    /// Which one.
    pub custom_key_store_id: String,
    /// Another name.
    pub new_custom_key_store_name: Option<String>,
    /// Another connectivity.
    pub xks_proxy_connectivity: Option<Connectivity>,
    /// Another proxy.
    pub xks_proxy_uri_endpoint: Option<String>,
    /// Another path.
    pub xks_proxy_uri_path: Option<String>,
    /// Another VPC endpoint service; empty for none.
    pub xks_proxy_vpc_endpoint_service_name: Option<String>,
    /// The account that owns the VPC endpoint service, 12 digits; by default the caller's.
    pub xks_proxy_vpc_endpoint_service_owner: Option<String>,
    /// Another credential, as after a rotation.
    pub xks_proxy_authentication_credential: Option<ProxyCredential>,
}

impl UpdateCustomKeyStoreRequest {
    /// Changes nothing yet.
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            custom_key_store_id: id.into(),
            ..Self::default()
        }
    }
}

/// Asks for all key stores, or for one by id or name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct DescribeCustomKeyStoresRequest {
    /// The one with this id.
    pub custom_key_store_id: Option<String>,
    /// The one with this name.
    pub custom_key_store_name: Option<String>,
    /// The number of items at a time, 1 to 1000.
    pub limit: Option<usize>,
    /// The start of this part: a former answer's `NextMarker`.
    pub marker: Option<String>,
}

/// Key stores, oldest first.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct DescribeCustomKeyStoresResponse {
    /// The key stores.
    pub custom_key_stores: Vec<CustomKeyStore>,
    /// The start of the next part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_marker: Option<String>,
    /// Whether there are more.
    pub truncated: bool,
}

/// Whether a key store is connected to its proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[non_exhaustive]
pub enum ConnectionState {
    /// Its keys can be used.
    Connected,
    /// It never was, or was disconnected.
    Disconnected,
    /// It is going to be connected, or to have failed.
    Connecting,
    /// It is going to be disconnected.
    Disconnecting,
    /// An attempt to connect failed: disconnect it before the next.
    Failed,
}

/// A key store, without its secret.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct CustomKeyStore {
    /// Its id.
    pub custom_key_store_id: String,
    /// Its name.
    pub custom_key_store_name: String,
    /// Whether it is connected.
    pub connection_state: ConnectionState,
    /// The error code, when the state is FAILED.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_error_code: Option<ConnectionErrorCode>,
    /// Seconds since 1970.
    pub creation_date: f64,
    /// `EXTERNAL_KEY_STORE`.
    pub custom_key_store_type: &'static str,
    /// Its proxy.
    pub xks_proxy_configuration: ProxyConfiguration,
}

/// The parameters by which a proxy is called.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub struct ProxyConfiguration {
    /// Its connectivity.
    pub connectivity: Connectivity,
    /// The name of the credential.
    pub access_key_id: String,
    /// `https://` and its name.
    pub uri_endpoint: String,
    /// `[/prefix]/kms/xks/v1`.
    pub uri_path: String,
    /// The VPC endpoint service, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc_endpoint_service_name: Option<String>,
    /// The account that owns it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vpc_endpoint_service_owner: Option<String>,
}

/// An answer without anything in it.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Empty {}
