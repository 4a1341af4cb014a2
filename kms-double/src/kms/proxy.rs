//! The four calls to a proxy, as KMS makes them.

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{
    Kms,
    answer::{Decrypted, Encrypted, Health, KeyMetadata, checked},
    binary::Binary,
    blob::External,
    exception::Exception,
    failure::{Failure, Fault},
    key_store::ProxySettings,
    locked,
    operation::Operation,
};
use crate::wire::{CallError, Client, Credential};

/// `requestMetadata`. That of health has no caller.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestMetadata<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    aws_principal_arn: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aws_source_vpc: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aws_source_vpce: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kms_key_arn: Option<&'a str>,
    kms_operation: &'a str,
    kms_request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kms_via_service: Option<&'a str>,
}

impl<'a> Operation<'a> {
    fn metadata(&self, key_arn: Option<&'a str>) -> RequestMetadata<'a> {
        let vpc = self.caller.vpc.as_ref();
        RequestMetadata {
            aws_principal_arn: Some(&self.caller.principal_arn),
            aws_source_vpc: vpc.map(|(vpc, _)| &**vpc),
            aws_source_vpce: vpc.map(|(_, endpoint)| &**endpoint),
            kms_key_arn: key_arn,
            kms_operation: self.name,
            kms_request_id: self.request_id,
            kms_via_service: self.caller.via_service.as_deref(),
        }
    }
}

/// The body of each request: its metadata, and what else the operation takes.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a, P> {
    request_metadata: RequestMetadata<'a>,
    #[serde(flatten)]
    parameters: P,
}

#[derive(Serialize)]
struct Nothing {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EncryptParameters<'a> {
    plaintext: &'a Binary,
    encryption_algorithm: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    additional_authenticated_data: Option<Binary>,
    ciphertext_data_integrity_value_algorithm: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DecryptParameters {
    ciphertext: Binary,
    initialization_vector: Binary,
    authentication_tag: Binary,
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext_metadata: Option<Binary>,
    encryption_algorithm: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    additional_authenticated_data: Option<Binary>,
}

/// An external key, as KMS names it to its proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ExternalKey<'a> {
    pub(crate) id: &'a str,
    /// Not there yet while the KMS key is being created.
    pub(crate) kms_key_arn: Option<&'a str>,
}

/// The proxy of one key store.
#[derive(Clone, Debug)]
pub(crate) struct Proxy(pub(crate) Client);

impl Kms {
    /// The proxy of a key store, over the connections that it has.
    pub(super) fn proxy(&self, key_store_id: &str, settings: &ProxySettings) -> Result<Proxy, Exception> {
        let mut proxies = locked(&self.0.proxies);
        if let Some((of, proxy)) = proxies.get(key_store_id)
            && of == settings
        {
            return Ok(proxy.clone());
        }
        let proxy = self.new_proxy(settings)?;
        proxies.insert(key_store_id.to_owned(), (settings.clone(), proxy.clone()));
        Ok(proxy)
    }

    pub(super) fn new_proxy(&self, settings: &ProxySettings) -> Result<Proxy, Exception> {
        let credential = Credential::new(
            &settings.credential.access_key_id,
            &*settings.credential.raw_secret_access_key,
            &*self.1,
        );
        let url = format!("{}{}", settings.uri_endpoint, settings.uri_path);
        let endpoint = self.0.settings.endpoint(&url, credential);
        let endpoint = endpoint.map_err(|error| Exception::validation(error.to_string()))?;
        Ok(Proxy(Client::new(endpoint)))
    }
}

impl Proxy {
    pub(crate) async fn health(&self, operation: Operation<'_>) -> Result<Health, Fault> {
        let metadata = RequestMetadata {
            aws_principal_arn: None,
            aws_source_vpc: None,
            aws_source_vpce: None,
            kms_via_service: None,
            ..operation.metadata(None)
        };
        let body = self.call("health", metadata, Nothing {}).await?;
        checked::<Health>(&body)
    }

    pub(crate) async fn key_metadata(
        &self,
        operation: Operation<'_>,
        key: ExternalKey<'_>,
    ) -> Result<KeyMetadata, Fault> {
        let path = format!("keys/{}/metadata", key.id);
        let body = self
            .call(&path, operation.metadata(key.kms_key_arn), Nothing {})
            .await?;
        checked::<KeyMetadata>(&body)
    }

    pub(crate) async fn encrypt(
        &self,
        operation: Operation<'_>,
        key: ExternalKey<'_>,
        plaintext: &Binary,
        aad: &[u8],
    ) -> Result<External, Fault> {
        let path = format!("keys/{}/encrypt", key.id);
        let parameters = EncryptParameters {
            plaintext,
            encryption_algorithm: "AES_GCM",
            additional_authenticated_data: unless_empty(aad),
            ciphertext_data_integrity_value_algorithm: "SHA_256",
        };
        let body = self
            .call(&path, operation.metadata(key.kms_key_arn), parameters)
            .await?;
        let encrypted: Encrypted = checked(&body)?;
        let (external, integrity) = encrypted.parts(plaintext.len())?;
        // ENC-9: KMS computes it again.
        let is_intact = integrity_value(aad, &external).ct_eq(&*integrity);
        if !bool::from(is_intact) {
            return Err(Fault::malformed(
                "the ciphertextDataIntegrityValue does not match the response",
            ));
        }
        Ok(external)
    }

    pub(crate) async fn decrypt(
        &self,
        operation: Operation<'_>,
        key: ExternalKey<'_>,
        external: &External,
        aad: &[u8],
    ) -> Result<Binary, Fault> {
        let path = format!("keys/{}/decrypt", key.id);
        let parameters = DecryptParameters {
            ciphertext: (*external.ciphertext).into(),
            initialization_vector: (*external.iv).into(),
            authentication_tag: external.tag.as_slice().into(),
            ciphertext_metadata: unless_empty(&external.metadata),
            encryption_algorithm: "AES_GCM",
            additional_authenticated_data: unless_empty(aad),
        };
        let body = self
            .call(&path, operation.metadata(key.kms_key_arn), parameters)
            .await?;
        let Decrypted { plaintext } = checked(&body)?;
        // DEC-5
        if plaintext.len() != external.ciphertext.len() {
            return Err(Fault::malformed(format!(
                "a plaintext of {} bytes for a ciphertext of {}",
                plaintext.len(),
                external.ciphertext.len()
            )));
        }
        Ok(plaintext)
    }

    /// The body of an answer with status 200.
    async fn call(
        &self,
        path: &str,
        request_metadata: RequestMetadata<'_>,
        parameters: impl Serialize,
    ) -> Result<Zeroizing<Vec<u8>>, Fault> {
        let body = Body {
            request_metadata,
            parameters,
        };
        let body = serde_json::to_vec(&body).map(Zeroizing::new);
        let body = body.map_err(|error| Fault::new(Failure::Internal, error.to_string()))?;
        // TRN-8: KMS counts from its first packet on, those that open a connection too.
        let limit = self.0.endpoint().timeout();
        let answer = match timeout(limit, Box::pin(self.0.post(path, &body))).await {
            Ok(answer) => answer.map_err(|error| not_answered(&error))?,
            Err(_) => return Err(not_answered(&CallError::Timeout(limit))),
        };
        if answer.status == 200 {
            return Ok(Zeroizing::new(answer.body.to_vec()));
        }
        let status = answer.status;
        let Some(name) = answer.error_name() else {
            return Err(Fault::malformed(format!("status {status} without an errorName")));
        };
        let Some(failure) = Failure::named(&name) else {
            return Err(Fault::malformed(format!("status {status} with the errorName {name:?}")));
        };
        let message = answer.json().and_then(|json| {
            let message = json.get("errorMessage")?.as_str()?;
            Some(message.to_owned())
        });
        let message = message.unwrap_or_else(|| "no errorMessage".into());
        Err(Fault::new(failure, format!("status {status}, {name}: {message:?}")))
    }
}

fn unless_empty(bytes: &[u8]) -> Option<Binary> {
    (!bytes.is_empty()).then(|| bytes.into())
}

fn not_answered(error: &CallError) -> Fault {
    let failure = match error {
        CallError::Timeout(_) => Failure::TimedOut,
        CallError::Connect(_) | CallError::Closed(_) => Failure::Unreachable,
        CallError::Tls(_) => Failure::Tls,
        CallError::Http(_) | CallError::TooLong(_) => Failure::Malformed,
        CallError::Request(_) => Failure::Internal,
    };
    Fault::new(failure, error.to_string())
}

/// ENC-9: `SHA-256(AAD ‖ metadata ‖ IV ‖ ciphertext ‖ tag)`, absent parts empty.
fn integrity_value(aad: &[u8], external: &External) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [
        aad,
        &external.metadata,
        &external.iv,
        &external.ciphertext,
        &external.tag,
    ] {
        hash.update(part);
    }
    hash.finalize().into()
}
