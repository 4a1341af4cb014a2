//! Records as data, of the feature `serde`: the fields of the log under the log's names, and the attempts as
//! a list. A field without a value is absent.

use std::{collections::BTreeMap, net::SocketAddr};

use serde::{Serialize, Serializer};

use super::{Attempt, AuditRecord, OwnedAuditRecord};
use crate::{
    api::{ErrorName, Operation},
    key_store::{AccessKeyId, Region, UriPathPrefix},
};

#[derive(Serialize)]
struct Fields<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    kms_request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_store: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_sent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a str>,
    #[serde(skip_serializing_if = "<[Attempt]>::is_empty")]
    attempts: &'a [Attempt],
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kms_operation: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kms_key_arn: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kms_via_service: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_vpc: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_vpce: Option<&'a str>,
    /// Each value as a text of JSON.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    extra: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    access_key_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signing_region: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed_access_key_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claimed_signing_region: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_client: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    method: &'a str,
    path: &'a str,
    duration_us: u64,
}

impl Serialize for AuditRecord<'_> {
    /// Texts are whole: the writer bounds their length. Of the target it is the path, since a query
    /// may hold a signature.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (metadata, outcome) = (self.request_metadata, self.outcome);
        Fields {
            kms_request_id: metadata.and_then(|metadata| metadata.kms_request_id()),
            operation: self.operation.map(Operation::as_str),
            key: self.key,
            key_store: self.key_store.map(UriPathPrefix::as_str),
            status: outcome.status(),
            error: outcome.error_name().map(ErrorName::as_str),
            message_sent: outcome.message(),
            reason: outcome.reason(),
            policy: self.policy,
            attempts: self.attempts,
            principal: metadata.and_then(|metadata| metadata.aws_principal_arn()),
            kms_operation: metadata.and_then(|metadata| metadata.kms_operation()),
            kms_key_arn: metadata.and_then(|metadata| metadata.kms_key_arn()),
            kms_via_service: metadata.and_then(|metadata| metadata.kms_via_service()),
            source_vpc: metadata.and_then(|metadata| metadata.aws_source_vpc()),
            source_vpce: metadata.and_then(|metadata| metadata.aws_source_vpce()),
            extra: metadata.into_iter().flat_map(|metadata| metadata.extra()).collect(),
            access_key_id: self.access_key_id.map(AccessKeyId::as_str),
            signing_region: self.signing_region.map(Region::as_str),
            claimed_access_key_id: self.claimed_access_key_id,
            claimed_signing_region: self.claimed_signing_region,
            client: self.client_address,
            tls_client: self.tls_client,
            trace_id: self.trace_id,
            method: self.method,
            path: self.target.split(['?', '#']).next().unwrap_or_default(),
            duration_us: u64::try_from(self.duration.as_micros()).unwrap_or(u64::MAX),
        }
        .serialize(serializer)
    }
}

impl Serialize for OwnedAuditRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.record().serialize(serializer)
    }
}

impl Serialize for Attempt {
    /// `{"member": ["near", "hsm-b"], "phase": "operation", "outcome": "Timeout"}`
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fields<'a> {
            member: Vec<&'a str>,
            phase: &'static str,
            outcome: String,
        }
        Fields {
            member: self.member.names(),
            phase: self.phase.as_str(),
            outcome: self.outcome.to_string(),
        }
        .serialize(serializer)
    }
}
