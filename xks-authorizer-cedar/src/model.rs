//! A schema, and how requests look under it.

use cedar_policy::{Entities, EntityUid, Request, Schema, schema_str_to_json_with_resolved_types};
use xks_core::{
    KeyId,
    api::{KeyOperation, RequestMetadata},
    authorize::Subject,
    context::RequestContext,
    key_store::{AccessKeyId, Region, UriPathPrefix},
    text::ErrorChain,
};

use crate::{
    context::context,
    declared::Declared,
    entities::Types,
    error::{CedarError, finding},
    extra::ExtraFields,
    known::Known,
    misfit::Misfit,
};

/// Requests between which all others lie: with all fields of requestMetadata, and with those alone that are
/// always there.
const EXTREMES: [&str; 2] = [
    r#"{
        "awsPrincipalArn": "arn:aws:iam::111122223333:user/Alice",
        "awsSourceVpc": "vpc-1",
        "awsSourceVpce": "vpce-1",
        "kmsKeyArn": "arn:aws:kms:us-east-1:111122223333:key/1",
        "kmsOperation": "Encrypt",
        "kmsRequestId": "1",
        "kmsViaService": "ebs"
    }"#,
    r#"{"awsPrincipalArn": "AWS Internal", "kmsOperation": "Encrypt", "kmsRequestId": "1"}"#,
];

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) schema: Schema,
    pub(crate) types: Types,
    pub(crate) declared: Declared,
    get_key_metadata: Action,
    encrypt: Action,
    decrypt: Action,
}

#[derive(Debug)]
struct Action {
    uid: EntityUid,
    extra: ExtraFields,
}

impl Model {
    /// Reads a schema, and sees that it has a place for every request that KMS may send.
    pub(crate) fn new(schema: &str) -> Result<Self, CedarError> {
        let (parsed, warnings) =
            Schema::from_cedarschema_str(schema).map_err(|error| CedarError::Schema(finding(&error, schema)))?;
        for warning in warnings {
            tracing::warn!(target: "xks::authorize", warning = &*finding(&warning, schema), "the schema may be \
                 misleading");
        }
        let (json, _) = schema_str_to_json_with_resolved_types(schema)
            .map_err(|error| CedarError::Schema(finding(&error, schema)))?;
        let types = Types::new()?;
        let action = |operation: KeyOperation| {
            let extra = ExtraFields::of_action(&json, operation.as_str()).map_err(CedarError::Schema)?;
            let uid = types.action(operation);
            Ok(Action { uid, extra })
        };
        let model = Self {
            get_key_metadata: action(KeyOperation::GetKeyMetadata)?,
            encrypt: action(KeyOperation::Encrypt)?,
            decrypt: action(KeyOperation::Decrypt)?,
            declared: Declared::new(&json).map_err(CedarError::Schema)?,
            schema: parsed,
            types,
        };
        for operation in [
            KeyOperation::GetKeyMetadata,
            KeyOperation::Encrypt,
            KeyOperation::Decrypt,
        ] {
            for metadata in EXTREMES {
                model.try_out(operation, metadata).map_err(|why| {
                    CedarError::Schema(format!(
                        "some requests do not fit the schema: {why}; keep what the built-in schema declares, and \
                         add only optional attributes (`name?`)"
                    ))
                })?;
            }
        }
        Ok(model)
    }

    /// The request in Cedar's terms. It is checked against the schema each time, as the policies were: only
    /// then does what the validation promises of them hold.
    pub(crate) fn request(&self, subject: &Subject<'_>) -> Result<Request, Misfit> {
        let action = match subject.operation {
            KeyOperation::GetKeyMetadata => &self.get_key_metadata,
            KeyOperation::Encrypt => &self.encrypt,
            KeyOperation::Decrypt => &self.decrypt,
        };
        let context = context(subject, &action.extra)?;
        let (principal, key) = (self.types.principal(subject), self.types.key(subject));
        Request::new(principal, action.uid.clone(), key, context, Some(&self.schema))
            .map_err(|error| Misfit::request(&error))
    }

    fn try_out(&self, operation: KeyOperation, metadata: &str) -> Result<(), String> {
        with_sample(operation, metadata, |subject| {
            self.request(subject).map_err(|misfit| misfit.detail)?;
            let entities = self.types.own(subject, &Known::default());
            let entities = entities.map_err(|misfit| misfit.detail)?;
            let checked = Entities::from_entities(entities, Some(&self.schema));
            checked.map(drop).map_err(|error| ErrorChain(&error).to_string())
        })?
    }
}

/// Does something with a made-up request.
pub(crate) fn with_sample<T>(
    operation: KeyOperation,
    metadata: &str,
    with: impl FnOnce(&Subject<'_>) -> T,
) -> Result<T, String> {
    let metadata = RequestMetadata::from_json(metadata).map_err(|error| error.to_string())?;
    let key = KeyId::new("sample").map_err(|error| error.to_string())?;
    let key_store = UriPathPrefix::new("/sample").map_err(|error| error.to_string())?;
    let id = AccessKeyId::new("SAMPLESAMPLESAMPLESAMPLE").map_err(|error| error.to_string())?;
    let region = Region::new("us-east-1").map_err(|error| error.to_string())?;
    let request = xks_core::Request::new("POST", "/", b"");
    let context = RequestContext::new(&request, &key_store, &id, &region);
    Ok(with(&Subject::new(&context, &key, operation, &metadata)))
}
