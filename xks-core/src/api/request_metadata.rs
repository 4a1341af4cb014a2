//! The `requestMetadata` of each request: KMS's data about the call that made it call the proxy (section 3 of
//! the specification).

use std::{borrow::Cow, fmt};

use serde::de::DeserializeSeed as _;
use serde_json::value::RawValue;

use super::{JsonError, Text, fields::InPlace};
use crate::{api::Operation, error::Error};

/// The `requestMetadata` of a request: who asked KMS for what, through which service, by which network.
/// Specification: requestMetadata, API operations, Appendix B.
///
/// Nothing here is validated beyond its presence: `awsPrincipalArn` may be a service principal or `AWS
/// Internal`, ARNs may be of any length, `kmsOperation` may be one that does not exist yet, `kmsRequestId` is
/// opaque. Fields that are not known are kept as they came.
///
/// ```
/// use xks_core::api::RequestMetadata;
///
/// let metadata = RequestMetadata::from_json(r#"{"kmsOperation": "Encrypt", "sourceIdentity": "alice"}"#)?;
/// assert_eq!(metadata.kms_operation(), Some("Encrypt"));
/// assert_eq!(metadata.extra().collect::<Vec<_>>(), [("sourceIdentity", r#""alice""#)]);
/// # Ok::<(), xks_core::api::JsonError>(())
/// ```
// MD-6, TRN-5, MD-2, MD-3, MD-5
#[derive(Clone, Default)]
pub struct RequestMetadata<'a> {
    aws_principal_arn: Option<Text<'a>>,
    aws_source_vpc: Option<Text<'a>>,
    aws_source_vpce: Option<Text<'a>>,
    kms_key_arn: Option<Text<'a>>,
    kms_operation: Option<Text<'a>>,
    kms_request_id: Option<Text<'a>>,
    kms_via_service: Option<Text<'a>>,
    /// Fields that are not known, each with its value as it came.
    pub(super) extra: Vec<(Text<'a>, Cow<'a, RawValue>)>,
}

/// The number of known fields.
pub(super) const KNOWN_FIELDS: usize = 7;

impl<'a> RequestMetadata<'a> {
    /// Reads the metadata from a JSON object: for tests of authorizers and backends.
    ///
    /// # Errors
    /// A [`JsonError`] when it is not a JSON object, or a field that is known is not a text.
    pub fn from_json(json: &'a str) -> Result<Self, JsonError> {
        let mut metadata = Self::default();
        let mut deserializer = serde_json::Deserializer::from_str(json);
        InPlace(&mut metadata)
            .deserialize(&mut deserializer)
            .and_then(|()| deserializer.end())
            .map_err(|error| JsonError::new(&error))?;
        Ok(metadata)
    }

    /// Copies the metadata out of the request: for audit sinks that pass records on.
    #[must_use]
    pub fn to_owned(&self) -> RequestMetadata<'static> {
        let text = |text: &Option<Text<'a>>| text.as_ref().map(Text::to_owned);
        RequestMetadata {
            aws_principal_arn: text(&self.aws_principal_arn),
            aws_source_vpc: text(&self.aws_source_vpc),
            aws_source_vpce: text(&self.aws_source_vpce),
            kms_key_arn: text(&self.kms_key_arn),
            kms_operation: text(&self.kms_operation),
            kms_request_id: text(&self.kms_request_id),
            kms_via_service: text(&self.kms_via_service),
            extra: self
                .extra
                .iter()
                .map(|(name, value)| (name.to_owned(), Cow::Owned((**value).to_owned())))
                .collect(),
        }
    }

    /// Where the field of that name goes, if it is known, and its place in `seen`.
    pub(super) fn slot<'s>(
        &'s mut self,
        name: &str,
        seen: &'s mut [bool; KNOWN_FIELDS],
    ) -> Option<(&'s mut Option<Text<'a>>, &'s mut bool)> {
        let [arn, vpc, vpce, key, operation, id, service] = seen;
        Some(match name {
            "awsPrincipalArn" => (&mut self.aws_principal_arn, arn),
            "awsSourceVpc" => (&mut self.aws_source_vpc, vpc),
            "awsSourceVpce" => (&mut self.aws_source_vpce, vpce),
            "kmsKeyArn" => (&mut self.kms_key_arn, key),
            "kmsOperation" => (&mut self.kms_operation, operation),
            "kmsRequestId" => (&mut self.kms_request_id, id),
            "kmsViaService" => (&mut self.kms_via_service, service),
            _ => return None,
        })
    }

    // MD-1: what must be there depends on the operation.
    pub(super) fn check(&self, operation: Operation) -> Result<(), Error> {
        use crate::api::KeyOperation::{Decrypt, Encrypt, GetKeyMetadata};

        let of_one_key = matches!(operation, Operation::Key(Decrypt | Encrypt | GetKeyMetadata));
        let with_the_key = matches!(operation, Operation::Key(Decrypt | Encrypt));
        for (needed, field, name) in [
            (of_one_key, &self.aws_principal_arn, "awsPrincipalArn"),
            (with_the_key, &self.kms_key_arn, "kmsKeyArn"),
            (true, &self.kms_operation, "kmsOperation"),
            (true, &self.kms_request_id, "kmsRequestId"),
        ] {
            if needed && field.is_none() {
                return Err(Error::validation(format!("requestMetadata.{name} is missing")));
            }
        }
        Ok(())
    }

    /// `awsPrincipalArn`: who called KMS. Always there but for health; need not parse as an ARN.
    /// Specification: requestMetadata.
    // MD-6
    #[must_use]
    pub fn aws_principal_arn(&self) -> Option<&str> {
        self.aws_principal_arn.as_ref().map(Text::as_str)
    }

    /// `awsSourceVpc`: the VPC from which KMS was called.
    #[must_use]
    pub fn aws_source_vpc(&self) -> Option<&str> {
        self.aws_source_vpc.as_ref().map(Text::as_str)
    }

    /// `awsSourceVpce`: the VPC endpoint through which KMS was called.
    #[must_use]
    pub fn aws_source_vpce(&self) -> Option<&str> {
        self.aws_source_vpce.as_ref().map(Text::as_str)
    }

    /// `kmsKeyArn`: the KMS key that the external key backs. Always there for encrypt and decrypt.
    #[must_use]
    pub fn kms_key_arn(&self) -> Option<&str> {
        self.kms_key_arn.as_ref().map(Text::as_str)
    }

    /// `kmsOperation`: what KMS was asked to do, such as `GenerateDataKey`. Always there.
    #[must_use]
    pub fn kms_operation(&self) -> Option<&str> {
        self.kms_operation.as_ref().map(Text::as_str)
    }

    /// `kmsRequestId`: the id of the call to KMS, as in CloudTrail. Always there.
    #[must_use]
    pub fn kms_request_id(&self) -> Option<&str> {
        self.kms_request_id.as_ref().map(Text::as_str)
    }

    /// `kmsViaService`: the AWS service that called KMS for its user, such as `ebs`.
    #[must_use]
    pub fn kms_via_service(&self) -> Option<&str> {
        self.kms_via_service.as_ref().map(Text::as_str)
    }

    /// Fields that this version does not know, each with its value as JSON. Specification: Appendix B.
    // MD-5
    pub fn extra(&self) -> impl Iterator<Item = (&str, &str)> {
        self.extra.iter().map(|(name, value)| (name.as_str(), value.get()))
    }
}

impl fmt::Debug for RequestMetadata<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestMetadata")
            .field("aws_principal_arn", &self.aws_principal_arn())
            .field("aws_source_vpc", &self.aws_source_vpc())
            .field("aws_source_vpce", &self.aws_source_vpce())
            .field("kms_key_arn", &self.kms_key_arn())
            .field("kms_operation", &self.kms_operation())
            .field("kms_request_id", &self.kms_request_id())
            .field("kms_via_service", &self.kms_via_service())
            .field("extra", &self.extra().collect::<Vec<_>>())
            .finish()
    }
}
