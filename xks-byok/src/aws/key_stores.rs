//! Requests and responses about external key stores.

use std::fmt;

use xks_core::Zeroizing;
use xks_lifecycle::Timestamp;

use super::{PageRequest, open_enum::open_enum};

open_enum! {
    /// The kind of a custom key store.
    CustomKeyStoreType {
        AwsCloudHsm = "AWS_CLOUDHSM",
        ExternalKeyStore = "EXTERNAL_KEY_STORE",
    }
}

open_enum! {
    /// How AWS KMS reaches the proxy.
    Connectivity {
        PublicEndpoint = "PUBLIC_ENDPOINT",
        VpcEndpointService = "VPC_ENDPOINT_SERVICE",
    }
}

open_enum! {
    /// The connection state of a key store.
    ConnectionState {
        Connected = "CONNECTED",
        Connecting = "CONNECTING",
        /// Could not be connected: its error code says why.
        Failed = "FAILED",
        Disconnected = "DISCONNECTED",
        Disconnecting = "DISCONNECTING",
    }
}

open_enum! {
    /// Why an external key store could not be connected.
    ConnectionErrorCode {
        InternalError = "INTERNAL_ERROR",
        XksProxyAccessDenied = "XKS_PROXY_ACCESS_DENIED",
        XksProxyNotReachable = "XKS_PROXY_NOT_REACHABLE",
        XksProxyInvalidResponse = "XKS_PROXY_INVALID_RESPONSE",
        XksProxyInvalidConfiguration = "XKS_PROXY_INVALID_CONFIGURATION",
        XksProxyInvalidTlsConfiguration = "XKS_PROXY_INVALID_TLS_CONFIGURATION",
        XksProxyTimedOut = "XKS_PROXY_TIMED_OUT",
        XksVpcEndpointServiceNotFound = "XKS_VPC_ENDPOINT_SERVICE_NOT_FOUND",
        XksVpcEndpointServiceInvalidConfiguration = "XKS_VPC_ENDPOINT_SERVICE_INVALID_CONFIGURATION",
    }
}

/// The credential that AWS KMS signs its requests to the proxy with.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxyCredential {
    /// 20 to 30 characters of A–Z and 2–7.
    pub access_key_id: String,
    /// 43 to 64 characters.
    pub raw_secret_access_key: Zeroizing<String>,
}

impl ProxyCredential {
    /// Creates a credential.
    pub fn new(access_key_id: impl Into<String>, raw_secret_access_key: impl Into<String>) -> Self {
        Self {
            access_key_id: access_key_id.into(),
            raw_secret_access_key: Zeroizing::new(raw_secret_access_key.into()),
        }
    }
}

impl fmt::Debug for ProxyCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyCredential")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// Makes an external key store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CreateCustomKeyStoreRequest {
    /// 1 to 256 characters, unique in account and Region.
    pub custom_key_store_name: String,
    /// How AWS KMS reaches the proxy.
    pub xks_proxy_connectivity: Connectivity,
    /// `https://` and a host name.
    pub xks_proxy_uri_endpoint: String,
    /// A prefix or nothing, and `/kms/xks/v1`.
    pub xks_proxy_uri_path: String,
    /// The credential.
    pub xks_proxy_authentication_credential: ProxyCredential,
    /// `com.amazonaws.vpce.…`, with a VPC endpoint service.
    pub xks_proxy_vpc_endpoint_service_name: Option<String>,
    /// The account that owns the VPC endpoint service, 12 digits; the caller's where it is missing.
    pub xks_proxy_vpc_endpoint_service_owner: Option<String>,
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
            xks_proxy_connectivity: Connectivity::PublicEndpoint,
            xks_proxy_uri_endpoint: uri_endpoint.into(),
            xks_proxy_uri_path: uri_path.into(),
            xks_proxy_authentication_credential: credential,
            xks_proxy_vpc_endpoint_service_name: None,
            xks_proxy_vpc_endpoint_service_owner: None,
        }
    }
}

/// Changes an external key store: what is missing stays.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpdateCustomKeyStoreRequest {
    /// The key store.
    pub custom_key_store_id: String,
    /// The name. It may change while the key store is connected.
    pub new_custom_key_store_name: Option<String>,
    /// The connectivity. It may change only while the key store is disconnected.
    pub xks_proxy_connectivity: Option<Connectivity>,
    /// The endpoint. It may change only while the key store is disconnected.
    pub xks_proxy_uri_endpoint: Option<String>,
    /// The path. It may change while the key store is connected.
    pub xks_proxy_uri_path: Option<String>,
    /// The credential. It may change while the key store is connected.
    pub xks_proxy_authentication_credential: Option<ProxyCredential>,
    /// The VPC endpoint service. It may change only while the key store is disconnected.
    pub xks_proxy_vpc_endpoint_service_name: Option<String>,
    /// Its owner. It may change only while the key store is disconnected.
    pub xks_proxy_vpc_endpoint_service_owner: Option<String>,
}

impl UpdateCustomKeyStoreRequest {
    /// Creates a request that changes nothing.
    pub fn new(custom_key_store_id: impl Into<String>) -> Self {
        Self {
            custom_key_store_id: custom_key_store_id.into(),
            new_custom_key_store_name: None,
            xks_proxy_connectivity: None,
            xks_proxy_uri_endpoint: None,
            xks_proxy_uri_path: None,
            xks_proxy_authentication_credential: None,
            xks_proxy_vpc_endpoint_service_name: None,
            xks_proxy_vpc_endpoint_service_owner: None,
        }
    }
}

/// Which key stores.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DescribeCustomKeyStoresRequest {
    /// The one of this id.
    pub custom_key_store_id: Option<String>,
    /// The one of this name.
    pub custom_key_store_name: Option<String>,
    /// The page.
    pub page: PageRequest,
}

impl DescribeCustomKeyStoresRequest {
    /// All of account and Region.
    #[must_use]
    pub fn all(page: PageRequest) -> Self {
        Self {
            page,
            ..Self::default()
        }
    }

    /// The one of an id.
    pub fn id(custom_key_store_id: impl Into<String>) -> Self {
        Self {
            custom_key_store_id: Some(custom_key_store_id.into()),
            ..Self::default()
        }
    }

    /// The one of a name.
    pub fn name(custom_key_store_name: impl Into<String>) -> Self {
        Self {
            custom_key_store_name: Some(custom_key_store_name.into()),
            ..Self::default()
        }
    }
}

/// A custom key store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CustomKeyStore {
    /// `cks-…`.
    pub custom_key_store_id: String,
    /// The name.
    pub custom_key_store_name: String,
    /// The kind.
    pub custom_key_store_type: CustomKeyStoreType,
    /// The connection state.
    pub connection_state: ConnectionState,
    /// Why it could not be connected.
    pub connection_error_code: Option<ConnectionErrorCode>,
    /// When it was made.
    pub creation_date: Option<Timestamp>,
    /// The proxy of an external key store.
    pub xks_proxy_configuration: Option<ProxyConfiguration>,
}

impl CustomKeyStore {
    /// Creates the description of an external key store, with the other fields empty.
    pub fn new(id: impl Into<String>, name: impl Into<String>, connection_state: ConnectionState) -> Self {
        Self {
            custom_key_store_id: id.into(),
            custom_key_store_name: name.into(),
            custom_key_store_type: CustomKeyStoreType::ExternalKeyStore,
            connection_state,
            connection_error_code: None,
            creation_date: None,
            xks_proxy_configuration: None,
        }
    }
}

/// The proxy of an external key store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxyConfiguration {
    /// How AWS KMS reaches it.
    pub connectivity: Connectivity,
    /// The id of the credential.
    pub access_key_id: String,
    /// `https://` and a host name.
    pub uri_endpoint: String,
    /// A prefix or nothing, and `/kms/xks/v1`.
    pub uri_path: String,
    /// The VPC endpoint service.
    pub vpc_endpoint_service_name: Option<String>,
    /// The account that owns it.
    pub vpc_endpoint_service_owner: Option<String>,
}

impl ProxyConfiguration {
    /// Creates one, without a VPC endpoint service.
    pub fn new(
        connectivity: Connectivity,
        access_key_id: impl Into<String>,
        uri_endpoint: impl Into<String>,
        uri_path: impl Into<String>,
    ) -> Self {
        Self {
            connectivity,
            access_key_id: access_key_id.into(),
            uri_endpoint: uri_endpoint.into(),
            uri_path: uri_path.into(),
            vpc_endpoint_service_name: None,
            vpc_endpoint_service_owner: None,
        }
    }
}
