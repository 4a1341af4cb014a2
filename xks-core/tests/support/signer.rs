//! AWS's own signer, as an independent witness. Other test suites of the workspace include this file by its path.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4::SigningParams,
};

pub(crate) const ACCESS_KEY_ID: &str = "BETWEEN2TENAND3TENCHARACTERS";
pub(crate) const SECRET_ACCESS_KEY: &str = "PleaseReplaceThisWithSomeSecretOfLength43To64";
pub(crate) const REGION: &str = "us-east-1";
pub(crate) const HOST: &str = "xks.example.com";

/// Signs as KMS would, unless told otherwise.
#[derive(Clone)]
pub(crate) struct Signer {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    pub(crate) region: String,
    pub(crate) service: String,
    pub(crate) time: SystemTime,
    /// Whether to send and sign `x-amz-content-sha256`.
    pub(crate) with_content_hash: bool,
}

impl Signer {
    pub(crate) fn at(time: SystemTime) -> Self {
        Self {
            access_key_id: ACCESS_KEY_ID.into(),
            secret_access_key: SECRET_ACCESS_KEY.into(),
            region: REGION.into(),
            service: "kms-xks-proxy".into(),
            time,
            with_content_hash: false,
        }
    }

    /// All headers to send: `headers`, which are signed too, and those that the signature adds.
    pub(crate) fn sign(
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
