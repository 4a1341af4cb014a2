//! The model of all settings, whole and checked, whichever format they came in.

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use subtle::ConstantTimeEq as _;
#[cfg(feature = "cedar")]
use xks_authorizer_cedar::{CedarAuthorizer, CedarError};
use xks_core::{
    Credential, KeyId, Zeroizing,
    aad::AadFraming,
    authorize::{Authorizer, Rule, Rules},
    backend::{CiphertextMetadata, Limits},
    key_store::{Region, UriPathPrefix},
};

#[cfg(feature = "lifecycle")]
use super::LifecycleSettings;
use super::{AuditSettings, Secret, SecretOrigin};
use crate::{
    registry::ConfiguredBackend,
    tls::{TlsMaterial, TlsProblem},
};

/// All settings.
#[derive(Debug, PartialEq)]
pub(crate) struct Settings {
    /// Variables that a PKCS#11 module reads.
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) server: ServerSettings,
    pub(crate) tls: Listeners<Option<TlsSettings>>,
    pub(crate) health: HealthSettings,
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) log: LogSettings,
    pub(crate) audit: Option<AuditSettings>,
    /// How often the files are looked at; none for never.
    pub(crate) watch: Option<Duration>,
    pub(crate) backends: Vec<ConfiguredBackend>,
    pub(crate) key_stores: Vec<KeyStoreSettings>,
    #[cfg(feature = "lifecycle")]
    pub(crate) lifecycle: Option<LifecycleSettings>,
}

/// One of these for each listener.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Listeners<T> {
    pub(crate) api: T,
    pub(crate) health: T,
    pub(crate) metrics: T,
}

impl<T> Listeners<T> {
    pub(crate) const fn as_ref(&self) -> Listeners<&T> {
        let Self { api, health, metrics } = self;
        Listeners { api, health, metrics }
    }

    pub(crate) fn map<U>(self, mut change: impl FnMut(T) -> U) -> Listeners<U> {
        Listeners {
            api: change(self.api),
            health: change(self.health),
            metrics: change(self.metrics),
        }
    }

    pub(crate) const fn each(&self) -> [&T; 3] {
        [&self.api, &self.health, &self.metrics]
    }
}

/// What stays as it was at the start, whatever a reload says.
pub(crate) struct Fixed {
    environment: BTreeMap<String, String>,
    server: ServerSettings,
    has_tls: Listeners<bool>,
    health: HealthSettings,
    metrics: Option<SocketAddr>,
    log: LogSettings,
    audit: Option<AuditSettings>,
    #[cfg(feature = "lifecycle")]
    lifecycle: Option<LifecycleSettings>,
}

impl Fixed {
    pub(crate) fn of(settings: &Settings) -> Self {
        Self {
            environment: settings.environment.clone(),
            server: settings.server.clone(),
            has_tls: settings.tls.as_ref().map(Option::is_some),
            health: settings.health.clone(),
            metrics: settings.metrics,
            log: settings.log.clone(),
            audit: settings.audit.clone(),
            #[cfg(feature = "lifecycle")]
            lifecycle: settings.lifecycle.clone(),
        }
    }

    /// The tables of which new settings say something else.
    pub(crate) fn changes(&self, new: &Settings) -> impl Iterator<Item = &'static str> {
        let Self {
            environment,
            server,
            has_tls,
            health,
            metrics,
            log,
            audit,
            #[cfg(feature = "lifecycle")]
            lifecycle,
        } = self;
        let new_has_tls = new.tls.as_ref().map(Option::is_some);
        let tables = [
            ("environment", *environment == new.environment),
            ("server", *server == new.server),
            ("tls", has_tls.api == new_has_tls.api),
            ("health", *health == new.health && has_tls.health == new_has_tls.health),
            (
                "metrics",
                *metrics == new.metrics && has_tls.metrics == new_has_tls.metrics,
            ),
            ("log", *log == new.log),
            ("audit", *audit == new.audit),
            #[cfg(feature = "lifecycle")]
            (
                "store",
                LifecycleSettings::is_same_store(lifecycle.as_ref(), new.lifecycle.as_ref()),
            ),
            #[cfg(feature = "lifecycle")]
            (
                "lifecycle",
                LifecycleSettings::is_same_but_for_store(lifecycle.as_ref(), new.lifecycle.as_ref()),
            ),
        ];
        tables
            .into_iter()
            .filter(|(_, is_same)| !is_same)
            .map(|(table, _)| table)
    }
}

/// The API's listener.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServerSettings {
    pub(crate) listen: SocketAddr,
    pub(crate) tcp_keepalive: Option<TcpKeepalive>,
    pub(crate) max_connections: usize,
    pub(crate) max_body_bytes: usize,
    pub(crate) timeout: Duration,
    pub(crate) header_timeout: Duration,
    pub(crate) stall_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) drain_delay: Duration,
    pub(crate) drain_timeout: Duration,
}

impl ServerSettings {
    // TRN-8: of the 250 ms that KMS waits.
    pub(crate) const TIMEOUT: Duration = Duration::from_millis(200);

    pub(crate) const fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            tcp_keepalive: None,
            max_connections: 10_000,
            max_body_bytes: xks_http::XksService::DEFAULT_MAX_BODY_BYTES,
            timeout: Self::TIMEOUT,
            header_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(300),
            // HAProxy notices after three checks, two seconds apart.
            drain_delay: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// When the system asks a silent peer whether it is still there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct TcpKeepalive {
    pub(crate) idle: Duration,
    pub(crate) interval: Option<Duration>,
    pub(crate) retries: Option<u32>,
}

// TRN-3, TRN-6
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TlsSettings {
    pub(crate) certificate_chain: PathBuf,
    pub(crate) private_key: PathBuf,
    pub(crate) client: Option<ClientCertificates>,
    /// What the files hold, as it was read.
    pub(crate) content: TlsContent,
}

/// The chain, the private key, and the roots of clients.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TlsContent(pub(crate) Secret, pub(crate) Secret, pub(crate) Option<Secret>);

impl TlsSettings {
    /// Makes ready to serve what the files hold, or tells all that is wrong with them.
    pub(crate) fn material(&self) -> Result<TlsMaterial, Vec<TlsProblem>> {
        let TlsContent(chain, key, roots) = &self.content;
        let clients = roots.as_ref().zip(self.client.as_ref());
        let clients = clients.map(|(roots, client)| (roots.expose(), &*client.names));
        TlsMaterial::new(chain.expose(), key.expose(), clients)
    }

    /// The same for clients without a certificate, such as balancers and Prometheus: those that KMS calls
    /// from have names of its own.
    pub(crate) fn without_client_certificates(&self) -> Self {
        let TlsContent(chain, key, _) = self.content.clone();
        Self {
            client: None,
            content: TlsContent(chain, key, None),
            ..self.clone()
        }
    }
}

/// Which client certificates are taken.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClientCertificates {
    pub(crate) roots: PathBuf,
    pub(crate) names: Vec<String>,
}

// TRN-7
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HealthSettings {
    /// None for the API's own listener.
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) readiness_path: String,
    pub(crate) liveness_path: String,
    pub(crate) ready_when: ReadyWhen,
    pub(crate) interval: Duration,
    /// For how long no call of a module may return before liveness fails; `None`: liveness never fails.
    pub(crate) hang_timeout: Option<Duration>,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            listen: None,
            readiness_path: "/ping".to_owned(),
            liveness_path: "/livez".to_owned(),
            ready_when: ReadyWhen::Any,
            interval: Duration::from_secs(2),
            hang_timeout: Some(Duration::from_secs(12)),
        }
    }
}

/// How many of the key managers have to work for this instance to take traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadyWhen {
    Any,
    All,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LogSettings {
    pub(crate) level: tracing::Level,
    pub(crate) audit: AuditLevel,
    pub(crate) format: LogFormat,
    pub(crate) output: LogOutput,
    pub(crate) file: Option<LogFile>,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            level: tracing::Level::INFO,
            audit: AuditLevel::All,
            format: LogFormat::Human,
            output: LogOutput::Stderr,
            file: None,
        }
    }
}

/// Of which requests there are records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AuditLevel {
    All,
    Failures,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Human,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogOutput {
    Stderr,
    Stdout,
    None,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LogFile {
    pub(crate) directory: PathBuf,
    pub(crate) prefix: String,
    pub(crate) rotation: Rotation,
    /// How many files there are at most; none for no limit.
    pub(crate) keep: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rotation {
    Minutely,
    Hourly,
    Daily,
    Never,
}

// URI-4: a tenant.
#[derive(Clone, PartialEq)]
pub(crate) struct KeyStoreSettings {
    pub(crate) prefix: UriPathPrefix,
    pub(crate) regions: Vec<Region>,
    pub(crate) backend: String,
    /// None for all of the backend.
    pub(crate) keys: Option<Vec<KeyId>>,
    pub(crate) credentials: Vec<CredentialSettings>,
    pub(crate) aad_framing: AadFraming,
    pub(crate) ciphertext_metadata: Option<CiphertextMetadata>,
    pub(crate) limits: Limits,
    pub(crate) traffic: TrafficLimits,
    pub(crate) authorization: Authorization,
}

#[derive(Clone, Debug)]
pub(crate) struct CredentialSettings {
    pub(crate) credential: Credential,
    pub(crate) origin: SecretOrigin,
}

impl PartialEq for CredentialSettings {
    fn eq(&self, other: &Self) -> bool {
        let secret = |settings: &Self| settings.credential.secret_access_key().expose().as_bytes().to_vec();
        let (one, two) = (Zeroizing::new(secret(self)), Zeroizing::new(secret(other)));
        self.credential.access_key_id() == other.credential.access_key_id()
            && self.origin == other.origin
            && bool::from(one.ct_eq(&two))
    }
}

/// How much one key store may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TrafficLimits {
    /// Requests a second, and how many at once.
    pub(crate) rate: Option<(u32, u32)>,
    pub(crate) concurrent: Option<usize>,
    /// How long a request that is too many waits before it is refused.
    pub(crate) queue: Duration,
}

impl TrafficLimits {
    /// No limit. Of KMS's 250 ms, a wait of 50 leaves most to the key manager.
    pub(crate) const NONE: Self = Self {
        rate: None,
        concurrent: None,
        queue: Duration::from_millis(50),
    };

    /// Seconds of the rate that may come at once by default.
    pub(crate) const BURST: u32 = 5;

    pub(crate) const fn is_limit(&self) -> bool {
        self.rate.is_some() || self.concurrent.is_some()
    }
}

// AUZ-1
#[derive(Clone, PartialEq)]
pub(crate) enum Authorization {
    /// All that AWS lets through.
    AllowAll,
    Rules(Vec<Rule>),
    #[cfg(feature = "cedar")]
    Cedar(CedarPolicies),
}

impl Authorization {
    /// None beyond AWS's own.
    pub(crate) fn authorizer(&self) -> anyhow::Result<Option<Arc<dyn Authorizer>>> {
        Ok(match self {
            Self::AllowAll => None,
            Self::Rules(rules) => Some(Arc::new(Rules::new(rules.iter().cloned()))),
            #[cfg(feature = "cedar")]
            Self::Cedar(policies) => Some(Arc::new(policies.authorizer()?)),
        })
    }
}

impl fmt::Display for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllowAll => f.write_str("no rules beyond AWS's own"),
            Self::Rules(rules) if rules.len() == 1 => f.write_str("1 rule"),
            Self::Rules(rules) => write!(f, "{} rules", rules.len()),
            #[cfg(feature = "cedar")]
            Self::Cedar(policies) => write!(f, "Cedar policies in {}", policies.file.display()),
        }
    }
}

/// Policies in Cedar, and what they are about, as the files hold it.
#[cfg(feature = "cedar")]
#[derive(Clone, PartialEq)]
pub(crate) struct CedarPolicies {
    pub(crate) file: PathBuf,
    pub(crate) policies: String,
    pub(crate) schema: Option<String>,
    pub(crate) entities: Option<String>,
}

#[cfg(feature = "cedar")]
impl CedarPolicies {
    pub(crate) fn authorizer(&self) -> Result<CedarAuthorizer, CedarError> {
        let mut builder = CedarAuthorizer::builder(&self.policies);
        if let Some(schema) = &self.schema {
            builder = builder.schema(schema);
        }
        if let Some(entities) = &self.entities {
            builder = builder.entities(entities);
        }
        builder.build()
    }
}

impl KeyStoreSettings {
    /// As it is until its own backend is open: with that of another one, and what belongs to that one's
    /// ciphertexts; and with those keys that both have.
    pub(crate) fn with_the_backend_of(self, other: &Self) -> Self {
        let keys = match (self.keys, &other.keys) {
            (Some(keys), Some(others)) => Some(keys.into_iter().filter(|key| others.contains(key)).collect()),
            (Some(keys), None) => Some(keys),
            (None, others) => others.clone(),
        };
        Self {
            backend: other.backend.clone(),
            keys,
            aad_framing: other.aad_framing,
            ciphertext_metadata: other.ciphertext_metadata,
            ..self
        }
    }
}

impl fmt::Debug for KeyStoreSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyStoreSettings")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}
