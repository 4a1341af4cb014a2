//! What there is to be told, whole and checked, whichever format it came in.

use std::{fmt, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use subtle::ConstantTimeEq as _;
use xks_backend_pkcs11::{KeyLookup, Quirks, SlotSelector};
use xks_core::{
    Credential, KeyId, Zeroizing,
    aad::AadFraming,
    authorize::Authorizer,
    backend::{CiphertextMetadata, Limits},
    key_store::UriPathPrefix,
};

use crate::tls::TlsMaterial;

/// How long it is between two looks at a key, if nothing is said of it.
pub(crate) const KEY_REFRESH: Duration = Duration::from_secs(30);

/// All that the program is told.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Variables that a PKCS#11 module reads.
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) server: ServerSettings,
    pub(crate) tls: Option<TlsSettings>,
    pub(crate) health: HealthSettings,
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) log: LogSettings,
    /// How often the files are looked at; none for never.
    pub(crate) watch: Option<Duration>,
    pub(crate) backends: Vec<BackendSettings>,
    pub(crate) key_stores: Vec<KeyStoreSettings>,
}

/// The API's listener.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServerSettings {
    pub(crate) listen: SocketAddr,
    pub(crate) tcp_keepalive: Option<TcpKeepalive>,
    pub(crate) max_connections: usize,
    pub(crate) max_body_bytes: usize,
    pub(crate) budget: Duration,
    pub(crate) header_timeout: Duration,
    pub(crate) stall_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) drain_delay: Duration,
    pub(crate) drain_timeout: Duration,
}

impl ServerSettings {
    // TRN-8: of the 250 ms that KMS waits.
    pub(crate) const BUDGET: Duration = Duration::from_millis(200);

    pub(crate) const fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            tcp_keepalive: None,
            max_connections: 10_000,
            max_body_bytes: xks_http::XksService::DEFAULT_MAX_BODY_BYTES,
            budget: Self::BUDGET,
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
#[derive(Debug)]
pub(crate) struct TlsSettings {
    pub(crate) certificate_chain: PathBuf,
    pub(crate) private_key: PathBuf,
    pub(crate) client: Option<ClientCertificates>,
    /// What the files hold.
    pub(crate) material: TlsMaterial,
}

/// Which client certificates are taken.
#[derive(Clone, Debug)]
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

/// A key manager, or several as one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BackendSettings {
    pub(crate) name: String,
    pub(crate) kind: BackendKind,
}

impl BackendSettings {
    /// Whether both are the same token, and log in with different PINs.
    pub(crate) fn has_another_pin_than(&self, other: &Self) -> bool {
        self.same_token(other).is_some_and(|(one, other)| one.pin != other.pin)
    }

    /// Whether it is a token, which may take any time to open.
    pub(crate) const fn is_token(&self) -> bool {
        matches!(self.kind, BackendKind::Pkcs11(_))
    }

    pub(crate) fn is_same_token(&self, other: &Self) -> bool {
        self.same_token(other).is_some()
    }

    /// Whether both have keys of the same token, or the same software key under the same id.
    pub(crate) fn has_keys_of(&self, other: &Self) -> bool {
        match (&self.kind, &other.kind) {
            (BackendKind::Soft(one), BackendKind::Soft(other)) => one.keys.iter().any(|(id, _, secret)| {
                other
                    .keys
                    .iter()
                    .any(|(other_id, _, other)| id == other_id && secret == other)
            }),
            _ => self.is_same_token(other),
        }
    }

    fn same_token<'s>(&'s self, other: &'s Self) -> Option<(&'s Pkcs11Settings, &'s Pkcs11Settings)> {
        match (&self.kind, &other.kind) {
            (BackendKind::Pkcs11(one), BackendKind::Pkcs11(other)) => {
                (one.module == other.module && one.slot == other.slot).then_some((one, other))
            }
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum BackendKind {
    Pkcs11(Pkcs11Settings),
    Soft(SoftSettings),
    Fleet(FleetSettings),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pkcs11Settings {
    pub(crate) module: PathBuf,
    /// What the module wants to be told at its initialization.
    pub(crate) module_parameters: Option<String>,
    pub(crate) quirks: Quirks,
    pub(crate) slot: SlotSelector,
    /// Another token may come in its place.
    pub(crate) token_may_change: bool,
    /// The settings ask for no login.
    pub(crate) no_login: bool,
    /// None when nobody logs in; an empty one is one of no characters.
    pub(crate) pin: Option<Secret>,
    pub(crate) key_lookup: KeyLookup,
    pub(crate) sessions: usize,
    /// None for as many as the backend thinks fit.
    pub(crate) queue: Option<usize>,
    pub(crate) deadline: Duration,
    /// How long it is between two looks at a key.
    pub(crate) key_refresh: Duration,
    pub(crate) test_key: TestKeySetting,
}

impl Pkcs11Settings {
    // HLT-1: it is no external key.
    pub(crate) fn is_test_key(&self, key: &KeyId) -> bool {
        match &self.test_key {
            TestKeySetting::Label(label) => self.key_lookup == KeyLookup::Label && key.as_str() == label,
            TestKeySetting::Session | TestKeySetting::None => false,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TestKeySetting {
    Session,
    Label(String),
    None,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SoftSettings {
    /// Each key and the file that holds it.
    pub(crate) keys: Vec<(KeyId, PathBuf, Secret)>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FleetSettings {
    pub(crate) members: Vec<String>,
    pub(crate) standby: Vec<String>,
    pub(crate) attempt: Duration,
    pub(crate) budget: Duration,
}

// URI-4: a tenant.
#[derive(Clone)]
pub(crate) struct KeyStoreSettings {
    pub(crate) prefix: UriPathPrefix,
    pub(crate) regions: Vec<String>,
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

/// Where a secret came from. Only one that nobody knows yet is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SecretOrigin {
    /// Made at this start.
    New,
    File(PathBuf),
    Environment(String),
    Settings,
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
#[derive(Clone)]
pub(crate) enum Authorization {
    /// All that AWS lets through.
    AllowAll,
    By {
        what: String,
        authorizer: Arc<dyn Authorizer>,
    },
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

/// What is never printed, and compared in constant time.
#[derive(Clone)]
pub(crate) struct Secret(pub(crate) Zeroizing<Vec<u8>>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(_)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}
