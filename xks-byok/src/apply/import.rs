//! The import of material: a wrapping key of AWS, the wrapped material, and the call that takes it.

use xks_core::manage::WrappingKey;
use xks_lifecycle::Timestamp;

use super::{ApplyError, Effect, Target};
use crate::{
    aws::{
        AwsErrorKind, GetParametersForImportRequest, ImportKeyMaterialRequest, ImportParameters, ImportType, Operation,
        WrappingAlgorithm, WrappingKeySpec,
    },
    caller::{CallError, Caller},
    plan::{Action, material_label},
};

/// AWS's longest RSA key. The material is worth 256 bits, and no import is slow enough for less.
const SPEC: WrappingKeySpec = WrappingKeySpec::Rsa4096;

/// Wraps and imports. Wrapping key and token are used at once and not kept: they are good for a day, and a
/// later attempt asks for others.
pub(super) async fn import(
    caller: &Caller,
    key_id: &str,
    action: &Action,
    target: &Target,
) -> Result<Effect, ApplyError> {
    let no_target = || ApplyError::NoTarget(action.to_string());
    let Action::ImportMaterial {
        material,
        kms_material,
        valid_to,
        ..
    } = action
    else {
        return Err(no_target());
    };
    let wrapper = target.wrapper.as_ref().ok_or_else(no_target)?;
    // First, since AWS gives one wrapping key a second: none is asked for while the key manager is away.
    let algorithms = wrapper.algorithms(material).await.map_err(ApplyError::Material)?;
    let algorithm = *algorithms.first().ok_or(ApplyError::NoAlgorithm)?;
    let kms = caller.kms();
    let request = GetParametersForImportRequest::new(key_id, WrappingAlgorithm::from(algorithm.as_str()), SPEC);
    let parameters = parameters(caller, &request).await?;
    let wrapping_key = WrappingKey::from_spki_der(&parameters.public_key, algorithm)?;
    let wrapped = wrapper.wrap(material, &wrapping_key).await;
    let wrapped = wrapped.map_err(ApplyError::Material)?;
    let mut request = ImportKeyMaterialRequest::new(key_id, parameters.import_token, wrapped);
    if let Some(end) = valid_to {
        let end = Timestamp::from_seconds("valid_to", *end).map_err(|_| no_target())?;
        request.valid_to = Some(end); // without one, material does not end
    }
    request.key_material_description = Some(material_label(material));
    request.import_type = Some(match kms_material {
        Some(_) => ImportType::Existing,
        None => ImportType::New,
    });
    request.key_material_id.clone_from(kms_material);
    let import = || kms.import_key_material(request);
    let made = caller.call(Operation::ImportKeyMaterial, import).await?;
    Ok(Effect::Material(made.or_else(|| kms_material.clone())))
}

/// Asks for a wrapping key. When AWS throttles that, which a little delay on the way can bring about at one a
/// second, the next turn is waited for at once: all that was read for this step would else be read again.
async fn parameters(caller: &Caller, request: &GetParametersForImportRequest) -> Result<ImportParameters, CallError> {
    const ATTEMPTS: usize = 5;
    let operation = Operation::GetParametersForImport;
    let ask = || caller.call(operation, || caller.kms().get_parameters_for_import(request.clone()));
    for _ in 1..ATTEMPTS {
        match ask().await {
            Err(CallError::Aws(error)) if error.kind == AwsErrorKind::Throttled => {}
            outcome => return outcome,
        }
    }
    ask().await
}
