//! The parameters of a check: the proxy, its keys, and how far the check may go.

use std::time::Duration;

use crate::wire::{Credential, Http, Tls};

/// The parameters of a check.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Setup {
    /// `http[s]://host[:port][/prefix]`, without or with `/kms/xks/v1`.
    pub url: String,
    /// The key store's credential.
    pub credential: Credential,
    /// How TLS is spoken.
    pub tls: Tls,
    /// The versions of HTTP over which all cases are tried, one after the other.
    pub http: Vec<Http>,
    /// External keys that are enabled, for both operations. The first one is used where one is enough.
    pub keys: Vec<String>,
    /// Key ids that the proxy does not have; one is made up where none is given.
    pub missing_keys: Vec<String>,
    /// A key that can only encrypt.
    pub encrypt_only: Option<String>,
    /// A key that can only decrypt.
    pub decrypt_only: Option<String>,
    /// A key that is disabled.
    pub disabled: Option<String>,
    /// The `awsPrincipalArn` of requests, where the proxy authorizes by it.
    pub principal: String,
    /// The `kmsKeyArn` of requests, where the proxy authorizes by it.
    pub kms_key_arn: String,
    /// Cases to try: those whose name, or requirement id, begins with one of these; all where there is none.
    pub only: Vec<String>,
    /// For how long to work in parallel; not at all when zero.
    pub load: Duration,
    /// How many round trips are under way at once then.
    pub connections: usize,
    /// Whether to send what ends weak proxies.
    pub is_destructive: bool,
    /// How long an answer may take. KMS waits 250 ms; the check waits longer, to tell slow from dead.
    pub timeout: Duration,
    /// How long a half-sent request is given to be closed.
    pub half_sent: Duration,
    /// How many encryptions are made in search of a repeated IV.
    pub ivs: usize,
}

impl Setup {
    /// Creates a setup of these, with defaults for everything else.
    pub fn new(url: impl Into<String>, credential: Credential, key: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            credential,
            tls: Tls::default(),
            http: vec![Http::One],
            keys: vec![key.into()],
            missing_keys: Vec::new(),
            encrypt_only: None,
            decrypt_only: None,
            disabled: None,
            principal: "arn:aws:iam::123456789012:user/kms-double".into(),
            kms_key_arn: "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab".into(),
            only: Vec::new(),
            load: Duration::ZERO,
            connections: 32,
            is_destructive: false,
            timeout: Duration::from_secs(5),
            half_sent: Duration::from_secs(30),
            ivs: 200,
        }
    }
}
