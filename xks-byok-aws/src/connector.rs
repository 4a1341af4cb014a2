//! From credentials and a Region to clients, over one pool of connections.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_credential_types::Credentials;
use aws_smithy_async::rt::sleep::TokioSleep;
use aws_smithy_http_client::{
    Connector as HttpConnector,
    proxy::ProxyConfig,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::http::{
    HttpConnectorSettings, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use thiserror::Error;
use xks_byok::aws::{AwsCredentials, AwsError, AwsErrorKind, Connector, Iam, Kms, Operation};
use xks_core::async_trait;

use crate::{iam::IamClient, kms::KmsClient};

/// Makes clients of AWS. They share connections, and credentials of the chain.
pub struct AwsConnector {
    http: SharedHttpClient,
    endpoint_url: Option<String>,
    timeout: Duration,
    /// By Region: what the chain found is asked for once, not by each client.
    chain: Mutex<HashMap<String, SdkConfig>>,
}

impl fmt::Debug for AwsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsConnector")
            .field("endpoint_url", &self.endpoint_url)
            .finish_non_exhaustive()
    }
}

/// Makes an [`AwsConnector`].
#[derive(Clone, Debug)]
pub struct Builder {
    endpoint_url: Option<String>,
    roots: Option<Vec<u8>>,
    uses_environment_proxy: bool,
    connect_timeout: Duration,
    timeout: Duration,
}

/// Returned when a connector cannot be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectorError {
    /// The root certificates cannot be used.
    #[error("the root certificates for AWS's endpoint cannot be used: {0}; give certificates in PEM")]
    Roots(String),
    /// TLS cannot be set up.
    #[error("TLS to AWS cannot be set up: {0}")]
    Tls(String),
}

impl AwsConnector {
    /// How often a read is tried.
    pub const READ_ATTEMPTS: u32 = 3;

    /// Starts with AWS's endpoints, the system's root certificates and the environment's HTTP proxy.
    #[must_use]
    pub const fn builder() -> Builder {
        Builder {
            endpoint_url: None,
            roots: None,
            uses_environment_proxy: true,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
        }
    }

    async fn config(
        &self,
        credentials: &AwsCredentials,
        region: &str,
        operation: Operation,
    ) -> Result<SdkConfig, AwsError> {
        let fail = |kind, message: String| Err(AwsError::new(operation, kind, message));
        // The Region becomes a part of the host name that signed requests go to.
        let is_legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=63).contains(&region.len()) || !region.bytes().all(is_legal) {
            let message = format!("{region:?} is not a Region: write one such as eu-central-1");
            return fail(AwsErrorKind::InvalidRequest, message);
        }
        match credentials {
            AwsCredentials::Chain => {
                let known = self
                    .chain
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get(region)
                    .cloned();
                if let Some(config) = known {
                    return Ok(config);
                }
                let config = self.loader(region).load().await;
                let mut chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(chain.entry(region.to_owned()).or_insert(config).clone())
            }
            AwsCredentials::AccessKey(key) => {
                let (id, secret) = (&*key.access_key_id, &**key.secret_access_key);
                let credentials = Credentials::new(id, secret, None, None, "xks-byok");
                Ok(self.loader(region).credentials_provider(credentials).load().await)
            }
            _ => fail(AwsErrorKind::NoCredentials, "credentials of an unknown kind".into()),
        }
    }

    fn loader(&self, region: &str) -> aws_config::ConfigLoader {
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(self.timeout).build();
        let loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(region.to_owned()))
            .http_client(self.http.clone())
            .timeout_config(timeouts);
        match &self.endpoint_url {
            Some(url) => loader.endpoint_url(url),
            None => loader,
        }
    }
}

/// For operations that change nothing.
pub(crate) fn retries() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(AwsConnector::READ_ATTEMPTS)
}

/// For all others.
pub(crate) fn no_retries() -> RetryConfig {
    RetryConfig::disabled()
}

impl Builder {
    /// Sends everything to this URL, instead of AWS's endpoints: for VPC endpoints and simulators.
    #[must_use]
    pub fn endpoint_url(mut self, url: impl Into<String>) -> Self {
        self.endpoint_url = Some(url.into());
        self
    }

    /// Trusts these root certificates (PEM) instead of the system's.
    #[must_use]
    pub fn roots(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots = Some(pem.into());
        self
    }

    /// Uses no HTTP proxy, whatever `HTTPS_PROXY` and `HTTP_PROXY` say.
    #[must_use]
    pub const fn without_environment_proxy(mut self) -> Self {
        self.uses_environment_proxy = false;
        self
    }

    /// Sets the time limit for a connection with its TLS handshake, by default 5 seconds.
    #[must_use]
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets the time limit for each attempt of a call, by default 30 seconds.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// # Errors
    /// The root certificates cannot be used.
    pub fn build(self) -> Result<AwsConnector, ConnectorError> {
        let mut tls = TlsContext::builder();
        if let Some(pem) = self.roots {
            checked(&pem)?;
            tls = tls.with_trust_store(TrustStore::empty().with_pem_certificate(pem));
        }
        let tls = tls.build().map_err(|error| ConnectorError::Tls(error.to_string()))?;
        let proxy = match self.uses_environment_proxy {
            true => ProxyConfig::from_env(),
            false => ProxyConfig::disabled(),
        };
        let settings = HttpConnectorSettings::builder()
            .connect_timeout(self.connect_timeout)
            .read_timeout(self.timeout)
            .build();
        let connector = HttpConnector::builder()
            .connector_settings(settings)
            .sleep_impl(TokioSleep::new())
            .proxy_config(proxy)
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(tls)
            .build();
        let connector = SharedHttpConnector::new(connector);
        Ok(AwsConnector {
            http: http_client_fn(move |_, _| connector.clone()),
            endpoint_url: self.endpoint_url,
            timeout: self.timeout,
            chain: Mutex::default(),
        })
    }
}

/// The SDK takes certificates only if all of them are right.
fn checked(pem: &[u8]) -> Result<(), ConnectorError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| ConnectorError::Roots(error.to_string()))?;
        let added = roots.add(certificate);
        added.map_err(|error| ConnectorError::Roots(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(ConnectorError::Roots("there is none".into()));
    }
    Ok(())
}

#[async_trait]
impl Connector for AwsConnector {
    async fn kms(&self, credentials: &AwsCredentials, region: &str) -> Result<Arc<dyn Kms>, AwsError> {
        let config = self.config(credentials, region, Operation::ListKeys).await?;
        Ok(Arc::new(KmsClient::new(&config)))
    }

    async fn iam(&self, credentials: &AwsCredentials, region: &str) -> Result<Arc<dyn Iam>, AwsError> {
        let config = self.config(credentials, region, Operation::GetCallerIdentity).await?;
        Ok(Arc::new(IamClient::new(&config)))
    }
}
