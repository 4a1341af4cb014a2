//! The operations of a load, and the signed requests for them.

use std::time::SystemTime;

use anyhow::{Context as _, bail};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use xks_test_client::{Prepared, Signer};

use super::{Place, Target};
use crate::Size;

/// How many different requests are made; they go round.
const VARIETY: usize = 16;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Operation {
    /// Encrypt.
    Encrypt,
    /// Encrypt, with a ciphertext data integrity value.
    EncryptCdiv,
    /// Decrypt, of what the proxy encrypted before.
    Decrypt,
    /// `GetKeyMetadata`.
    Metadata,
    /// `GetHealthStatus`.
    Health,
    /// GET /ping, without a signature.
    Ping,
}

/// Requests of a kind, each with an id of its own.
#[derive(Debug)]
pub(super) struct Requests(Vec<Prepared>);

impl Requests {
    /// Signs them. For decryptions, something is encrypted first.
    pub(super) async fn prepare(target: &Target, operation: Operation, size: Size) -> anyhow::Result<Self> {
        let mut requests = Vec::with_capacity(VARIETY);
        for number in 0..VARIETY {
            let fields = match operation {
                Operation::Decrypt => Self::encrypted(target, size, number).await?,
                Operation::Encrypt => encrypt_fields(size, ""),
                Operation::EncryptCdiv => encrypt_fields(size, r#","ciphertextDataIntegrityValueAlgorithm":"SHA_256""#),
                Operation::Metadata | Operation::Health | Operation::Ping => String::new(),
            };
            requests.push(prepared(target, operation, &fields, number)?);
        }
        Ok(Self(requests))
    }

    /// The fields of a decryption.
    async fn encrypted(target: &Target, size: Size, number: usize) -> anyhow::Result<String> {
        let encrypt = prepared(target, Operation::Encrypt, &encrypt_fields(size, ""), number)?;
        let mut connection = target.connect().await?;
        let status = connection.exchange(&encrypt).await?;
        let answer = String::from_utf8_lossy(connection.body());
        if status != 200 {
            bail!("nothing to decrypt: {status} {answer}");
        }
        let encrypted = answer.trim().trim_start_matches('{').trim_end_matches('}');
        Ok(format!(
            r#","encryptionAlgorithm":"AES_GCM",{encrypted}{}"#,
            aad_field(size)
        ))
    }

    /// One of them.
    #[expect(clippy::indexing_slicing, reason = "there are as many as VARIETY says")]
    pub(super) fn at(&self, number: usize) -> &Prepared {
        &self.0[number % VARIETY]
    }
}

/// A signed request.
fn prepared(target: &Target, operation: Operation, fields: &str, number: usize) -> anyhow::Result<Prepared> {
    let Target { places, region, .. } = target;
    let Place {
        prefix,
        credential,
        key,
    } = places.get(number % places.len().max(1)).context("no key")?;
    let id = format!("4112f4d6-db54-4af4-ae30-{number:012x}");
    let name = match operation {
        Operation::Ping => {
            let host = ("host".to_owned(), target.proxy.host.clone());
            return Ok(Prepared::new(&target.proxy, "GET", "/ping", &[host], b""));
        }
        Operation::Health => "health".to_owned(),
        Operation::Metadata => format!("keys/{key}/metadata"),
        Operation::Decrypt => format!("keys/{key}/decrypt"),
        Operation::Encrypt | Operation::EncryptCdiv => format!("keys/{key}/encrypt"),
    };
    let kms_operation = match operation {
        Operation::Health => "KmsHealthCheck",
        Operation::Metadata => "DescribeKey",
        Operation::Decrypt => "Decrypt",
        _ => "GenerateDataKey",
    };
    let metadata = match operation {
        Operation::Health => format!(r#"{{"kmsRequestId":"{id}","kmsOperation":"{kms_operation}"}}"#),
        _ => format!(
            r#"{{"awsPrincipalArn":"arn:aws:iam::123456789012:user/Alice","kmsKeyArn":"arn:aws:kms:{region}:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab","kmsOperation":"{kms_operation}","kmsRequestId":"{id}","kmsViaService":"s3"}}"#
        ),
    };
    let path = format!("{prefix}/kms/xks/v1/{name}");
    let body = format!(r#"{{"requestMetadata":{metadata}{fields}}}"#);
    let signer = Signer {
        region: region.clone(),
        ..Signer::with(
            credential.access_key_id().as_str(),
            credential.secret_access_key().expose(),
            SystemTime::now(),
        )
    };
    Ok(Prepared::signed(&target.proxy, &signer, &path, body.as_bytes()))
}

fn encrypt_fields(size: Size, more: &str) -> String {
    let plaintext = BASE64_STANDARD.encode(vec![b'p'; size.plaintext]);
    let aad = aad_field(size);
    format!(r#","plaintext":"{plaintext}","encryptionAlgorithm":"AES_GCM"{aad}{more}"#)
}

fn aad_field(size: Size) -> String {
    match size.aad {
        0 => String::new(),
        length => {
            let aad = BASE64_STANDARD.encode(vec![b'a'; length]);
            format!(r#","additionalAuthenticatedData":"{aad}""#)
        }
    }
}
