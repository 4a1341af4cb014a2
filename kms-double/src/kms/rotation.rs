//! The operations on the rotation of key material. Automatic rotation is for keys whose material AWS KMS
//! makes, and the double has none: it refuses that.

use super::{
    Kms,
    api::{
        Empty, EnableKeyRotationRequest, ExpirationModel, GetKeyRotationStatusResponse, ImportState,
        IncludeKeyMaterial, KeyIdRequest, KeyIdResponse, ListKeyRotationsRequest, ListKeyRotationsResponse,
        RotationsListEntry,
    },
    caller::Caller,
    exception::Exception,
    key::not_imported,
    materials::Material,
    page::{Limits, page},
};

impl Kms {
    /// Makes the material in PENDING_ROTATION the current one. The former one decrypts what it has encrypted.
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
                key.imported_mut()?.rotate(now)?;
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
                let materials = key.imported().ok_or_else(|| not_imported(&key.arn))?;
                let wants_all = request.include_key_material == Some(IncludeKeyMaterial::AllKeyMaterial);
                let wanted = materials
                    .iter()
                    .filter(|material| wants_all || material.rotated.is_some());
                let page = page(wanted, |material| &material.id, Limits::USUAL, &request)?;
                Ok(ListKeyRotationsResponse {
                    rotations: page.items.iter().map(|material| entry(&key.id, material)).collect(),
                    truncated: page.is_truncated(),
                    next_marker: page.next_marker,
                })
            })
        })
        .await
    }

    /// Returns whether a key is rotated by AWS KMS itself: one with imported material never is.
    ///
    /// # Errors
    /// As AWS documents them for GetKeyRotationStatus.
    pub async fn get_key_rotation_status(
        &self,
        caller: &Caller,
        request: KeyIdRequest,
    ) -> Result<GetKeyRotationStatusResponse, Exception> {
        self.operate("GetKeyRotationStatus", caller, async |operation| {
            operation.read_key(&request.key_id, |key| {
                Ok(GetKeyRotationStatusResponse {
                    key_id: key.arn.clone(),
                    key_rotation_enabled: false,
                })
            })
        })
        .await
    }

    /// Refuses: neither imported material nor an external key is rotated by AWS KMS itself.
    ///
    /// # Errors
    /// Always.
    pub async fn enable_key_rotation(
        &self,
        caller: &Caller,
        request: EnableKeyRotationRequest,
    ) -> Result<Empty, Exception> {
        if request
            .rotation_period_in_days
            .is_some_and(|days| !(90..=2560).contains(&days))
        {
            return Err(Exception::validation("RotationPeriodInDays has to be 90 to 2560"));
        }
        self.refuse_automatic_rotation("EnableKeyRotation", caller, &request.key_id)
            .await
    }

    /// Refuses, as [`enable_key_rotation`](Self::enable_key_rotation).
    ///
    /// # Errors
    /// Always.
    pub async fn disable_key_rotation(&self, caller: &Caller, request: KeyIdRequest) -> Result<Empty, Exception> {
        self.refuse_automatic_rotation("DisableKeyRotation", caller, &request.key_id)
            .await
    }

    async fn refuse_automatic_rotation(&self, name: &str, caller: &Caller, named: &str) -> Result<Empty, Exception> {
        self.operate(name, caller, async |operation| {
            operation.read_key(named, |_| Ok(Empty {}))
        })
        .await
    }
}

fn entry(key_id: &str, material: &Material) -> RotationsListEntry {
    let import_state = material.import_state();
    RotationsListEntry {
        key_id: key_id.to_owned(),
        key_material_id: material.id.clone(),
        key_material_description: material.description.clone(),
        import_state,
        key_material_state: material.state,
        expiration_model: (import_state == ImportState::Imported).then_some(match material.valid_to {
            Some(_) => ExpirationModel::KeyMaterialExpires,
            None => ExpirationModel::KeyMaterialDoesNotExpire,
        }),
        valid_to: material.valid_to,
        rotation_date: material.rotated,
        rotation_type: material.rotated.map(|_| "ON_DEMAND"),
    }
}
