//! The operations on the rotation of key material. Automatic rotation is for keys whose material AWS KMS
//! makes; the double keeps its settings, and does not rotate by itself.

use super::{
    Kms,
    api::{
        Empty, EnableKeyRotationRequest, ExpirationModel, GetKeyRotationStatusResponse, ImportState,
        IncludeKeyMaterial, KeyIdRequest, KeyIdResponse, ListKeyRotationsRequest, ListKeyRotationsResponse,
        RotationsListEntry,
    },
    caller::Caller,
    exception::{Exception, ExceptionName},
    key::{AutomaticRotation, Key, KeyStatus},
    materials::Material,
    page::{Limits, page},
    state::SECONDS_A_DAY,
};

impl Kms {
    /// Makes the material in PENDING_ROTATION the current one, or new material where KMS makes it. The former
    /// one decrypts what it has encrypted.
    ///
    /// # Errors
    /// As AWS documents them for RotateKeyOnDemand.
    pub async fn rotate_key_on_demand(
        &self,
        caller: &Caller,
        request: KeyIdRequest,
    ) -> Result<KeyIdResponse, Exception> {
        self.operate("RotateKeyOnDemand", caller, async |operation| {
            let now = self.now();
            operation.change_key(&request.key_id, |key| {
                check_primary(key)?;
                key.rotate(now)?;
                Ok(KeyIdResponse {
                    key_id: key.arn.clone(),
                })
            })
        })
        .await
    }

    /// Returns the material of a key.
    ///
    /// # Errors
    /// As AWS documents them for ListKeyRotations.
    pub async fn list_key_rotations(
        &self,
        caller: &Caller,
        request: ListKeyRotationsRequest,
    ) -> Result<ListKeyRotationsResponse, Exception> {
        self.operate("ListKeyRotations", caller, async |operation| {
            operation.read_key(&request.key_id, |key| {
                let materials = key.materials()?;
                let wants_all = request.include_key_material == Some(IncludeKeyMaterial::AllKeyMaterial);
                let wanted = materials
                    .iter()
                    .filter(|material| wants_all || material.rotated.is_some());
                let page = page(wanted, |material| &material.id, Limits::USUAL, &request)?;
                Ok(ListKeyRotationsResponse {
                    rotations: page.items.iter().map(|material| entry(key, material)).collect(),
                    truncated: page.is_truncated(),
                    next_marker: page.next_marker,
                })
            })
        })
        .await
    }

    /// Returns whether a key is rotated by AWS KMS itself: one with imported material never is, and one that
    /// is pending deletion is not.
    ///
    /// # Errors
    /// As AWS documents them for GetKeyRotationStatus.
    pub async fn get_key_rotation_status(
        &self,
        caller: &Caller,
        request: KeyIdRequest,
    ) -> Result<GetKeyRotationStatusResponse, Exception> {
        self.operate("GetKeyRotationStatus", caller, async |operation| {
            let now = self.now();
            operation.read_key(&request.key_id, |key| {
                let is_leaving = matches!(
                    key.status,
                    KeyStatus::PendingDeletion(_) | KeyStatus::PendingReplicaDeletion(_)
                );
                let rotation = key.generated().and_then(|generated| generated.automatic_rotation);
                let rotation = rotation.filter(|_| !is_leaving);
                Ok(GetKeyRotationStatusResponse {
                    key_id: key.arn.clone(),
                    key_rotation_enabled: rotation.is_some(),
                    rotation_period_in_days: rotation.map(|rotation| rotation.period_in_days),
                    next_rotation_date: rotation.map(|rotation| next(rotation, now)),
                })
            })
        })
        .await
    }

    /// Turns automatic rotation on, or changes its period. Neither imported material nor an external key is
    /// rotated by AWS KMS itself.
    ///
    /// # Errors
    /// As AWS documents them for EnableKeyRotation.
    pub async fn enable_key_rotation(
        &self,
        caller: &Caller,
        request: EnableKeyRotationRequest,
    ) -> Result<Empty, Exception> {
        let period_in_days = request.rotation_period_in_days.unwrap_or(365);
        if !(90..=2560).contains(&period_in_days) {
            return Err(Exception::validation("RotationPeriodInDays has to be 90 to 2560"));
        }
        let rotation = AutomaticRotation {
            period_in_days,
            since: self.now(),
        };
        self.set_automatic_rotation("EnableKeyRotation", caller, &request.key_id, Some(rotation))
            .await
    }

    /// Turns automatic rotation off.
    ///
    /// # Errors
    /// As AWS documents them for DisableKeyRotation.
    pub async fn disable_key_rotation(&self, caller: &Caller, request: KeyIdRequest) -> Result<Empty, Exception> {
        self.set_automatic_rotation("DisableKeyRotation", caller, &request.key_id, None)
            .await
    }

    async fn set_automatic_rotation(
        &self,
        name: &str,
        caller: &Caller,
        named: &str,
        rotation: Option<AutomaticRotation>,
    ) -> Result<Empty, Exception> {
        self.operate(name, caller, async |operation| {
            operation.change_key(named, |key| {
                check_primary(key)?;
                key.generated_mut()?.automatic_rotation = rotation;
                Ok(Empty {})
            })
        })
        .await
    }
}

/// Rotation is the primary's, for all its replicas.
fn check_primary(key: &Key) -> Result<(), Exception> {
    match key.is_replica() {
        true => Err(Exception::new(
            ExceptionName::UnsupportedOperation,
            format!("{} is a replica key: rotate its primary key", key.arn),
        )),
        false => Ok(()),
    }
}

/// When the next period ends.
fn next(rotation: AutomaticRotation, now: f64) -> f64 {
    let period = f64::from(rotation.period_in_days) * SECONDS_A_DAY;
    let periods = ((now - rotation.since) / period).floor().max(0.0) + 1.0;
    rotation.since + periods * period
}

fn entry(key: &Key, material: &Material) -> RotationsListEntry {
    // Material that KMS makes is not imported.
    let import_state = key.imported().map(|_| material.import_state());
    RotationsListEntry {
        key_id: key.id.clone(),
        key_material_id: material.id.clone(),
        key_material_description: material.description.clone(),
        import_state,
        key_material_state: material.state,
        expiration_model: (import_state == Some(ImportState::Imported)).then_some(match material.valid_to {
            Some(_) => ExpirationModel::KeyMaterialExpires,
            None => ExpirationModel::KeyMaterialDoesNotExpire,
        }),
        valid_to: material.valid_to,
        rotation_date: material.rotated,
        rotation_type: material.rotated.map(|_| "ON_DEMAND"),
    }
}
