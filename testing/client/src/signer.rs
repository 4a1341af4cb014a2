//! AWS's own signer, as an independent witness.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4::SigningParams,
};

/// An access key id.
pub const ACCESS_KEY_ID: &str = "BETWEEN2TENAND3TENCHARACTERS";
/// Its secret access key.
pub const SECRET_ACCESS_KEY: &str = "PleaseReplaceThisWithSomeSecretOfLength43To64";
/// The Region that requests are signed for.
pub const REGION: &str = "us-east-1";
/// A name of a proxy.
pub const HOST: &str = "xks.example.com";

/// Signs as KMS would, unless told otherwise.
#[derive(Clone, Debug)]
pub struct Signer {
    /// Whom requests are signed as.
    pub access_key_id: String,
    /// The secret of the access key.
    pub secret_access_key: String,
    /// The Region of the credential scope.
    pub region: String,
    /// The service of the credential scope.
    pub service: String,
    /// The time of `x-amz-date`.
    pub time: SystemTime,
    /// Whether to send and sign `x-amz-content-sha256`.
    pub with_content_hash: bool,
}

impl Signer {
    /// Signs with [`ACCESS_KEY_ID`] at that time.
    #[must_use]
    pub fn at(time: SystemTime) -> Self {
        Self::with(ACCESS_KEY_ID, SECRET_ACCESS_KEY, time)
    }

    /// Signs with that access key at that time.
    #[must_use]
    pub fn with(access_key_id: &str, secret_access_key: &str, time: SystemTime) -> Self {
        Self {
            access_key_id: access_key_id.into(),
            secret_access_key: secret_access_key.into(),
            region: REGION.into(),
            service: "kms-xks-proxy".into(),
            time,
            with_content_hash: false,
        }
    }

    /// All headers to send: `headers`, which are signed too, and those that the signature adds.
    #[must_use]
    pub fn sign(
        &self,
        method: &str,
        host: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Vec<(String, String)> {
        let credentials = Credentials::from_keys(&self.access_key_id, &self.secret_access_key, None);
        let identity = credentials.into();
        let mut settings = SigningSettings::default();
        if self.with_content_hash {
            settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        }
        let parameters = SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(&self.service)
            .time(self.time)
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let mut all = vec![("host", host)];
        all.extend_from_slice(headers);
        let url = format!("https://{host}{path}");
        let request = SignableRequest::new(method, &url, all.iter().copied(), SignableBody::Bytes(body)).unwrap();
        let (instructions, _) = sign(request, &parameters).unwrap().into_parts();
        let sent = all
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let added = instructions
            .headers()
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        sent.chain(added).collect()
    }
}
