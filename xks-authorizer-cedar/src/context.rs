//! The context of a Cedar request: what KMS says about the call.

use cedar_policy::{Context, RestrictedExpression};
use xks_core::authorize::Subject;

use crate::{extra::ExtraFields, misfit::Misfit};

/// The attributes that the context has in any schema. A field of requestMetadata that KMS should name like
/// one of the last two is not taken for it.
pub(crate) const BUILT_IN: [&str; 8] = [
    "kmsOperation",
    "kmsRequestId",
    "kmsKeyArn",
    "kmsViaService",
    "awsSourceVpc",
    "awsSourceVpce",
    "region",
    "signingRegion",
];

/// Those that not every request has.
pub(crate) const MAY_BE_ABSENT: [&str; 4] = ["kmsKeyArn", "kmsViaService", "awsSourceVpc", "awsSourceVpce"];

/// What is absent is absent; what the schema does not declare is left out.
pub(crate) fn context(subject: &Subject<'_>, extra: &ExtraFields) -> Result<Context, Misfit> {
    let metadata = subject.request_metadata;
    let [
        operation,
        request_id,
        key_arn,
        via_service,
        vpc,
        vpce,
        region,
        signing_region,
    ] = BUILT_IN;
    let built_in = [
        (operation, metadata.kms_operation()), // MD-2: any text is one
        (request_id, metadata.kms_request_id()),
        (key_arn, metadata.kms_key_arn()),
        (via_service, metadata.kms_via_service()),
        (vpc, metadata.aws_source_vpc()),
        (vpce, metadata.aws_source_vpce()),
        (region, Some(subject.region())),
        (signing_region, Some(subject.context.signing_region().as_str())),
    ];
    let built_in = built_in
        .into_iter()
        .filter_map(|(name, value)| Some((name, RestrictedExpression::new_string(value?.to_owned()))));
    let extra = extra.of(metadata).map_err(Misfit::field)?;
    let attributes = built_in.chain(extra).map(|(name, value)| (name.to_owned(), value));
    Context::from_pairs(attributes).map_err(|error| Misfit::request(&error))
}
