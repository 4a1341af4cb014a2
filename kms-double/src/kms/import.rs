//! The operations on imported key material.

use super::{
    Kms,
    api::{
        DeleteImportedKeyMaterialRequest, ExpirationModel, GetParametersForImportRequest,
        GetParametersForImportResponse, ImportKeyMaterialRequest, KeyMaterialResponse,
    },
    caller::Caller,
    exception::{Exception, ExceptionName},
    key::KeyStatus,
    materials::Import,
    seal::KeyMaterial,
    state::{SECONDS_A_DAY, State},
    wrapping::{Token, WrappingKey},
};

/// How long a wrapping key and its token are good for, in days.
const TOKEN_DAYS: f64 = 1.0;

/// How long imported material may be good for, in days.
const MAX_VALIDITY_DAYS: f64 = 365.0;

impl Kms {
    /// Returns a wrapping key and the import token that belongs to it. Earlier ones stay good.
    ///
    /// # Errors
    /// As AWS documents them for GetParametersForImport.
    pub async fn get_parameters_for_import(
        &self,
        caller: &Caller,
        request: GetParametersForImportRequest,
    ) -> Result<GetParametersForImportResponse, Exception> {
        self.operate("GetParametersForImport", caller, async |operation| {
            let (key_id, arn) = operation.read_key(&request.key_id, |key| Ok((key.id.clone(), key.arn.clone())))?;
            request.wrapping_algorithm.check(request.wrapping_key_spec)?;
            // Making an RSA key takes long.
            let spec = request.wrapping_key_spec;
            let made = tokio::task::spawn_blocking(move || WrappingKey::next(spec)).await;
            let key = made.map_err(|error| Exception::new(ExceptionName::Internal, error.to_string()))??;
            let valid_to = self.now() + TOKEN_DAYS * SECONDS_A_DAY;
            let token = Token::new(&key_id, request.wrapping_algorithm, valid_to, &key);
            Ok(GetParametersForImportResponse {
                key_id: arn,
                import_token: token.sealed(&self.token_secret()?)?,
                public_key: key.public.clone(),
                parameters_valid_to: valid_to,
            })
        })
        .await
    }

    /// Takes in wrapped key material.
    ///
    /// # Errors
    /// As AWS documents them for ImportKeyMaterial.
    pub async fn import_key_material(
        &self,
        caller: &Caller,
        request: ImportKeyMaterialRequest,
    ) -> Result<KeyMaterialResponse, Exception> {
        self.operate("ImportKeyMaterial", caller, async |operation| {
            check_description(request.key_material_description.as_deref())?;
            check_material_id(request.key_material_id.as_deref())?;
            let now = self.now();
            let valid_to = checked_end(request.expiration_model, request.valid_to, now)?;
            let secret = self.token_secret()?;
            operation.change_key(&request.key_id, |key| {
                let token = Token::open(&request.import_token, &secret);
                let token = token.filter(|token| token.key_id == key.id).ok_or_else(|| {
                    let message = "The import token is not one of this KMS key";
                    Exception::new(ExceptionName::InvalidImportToken, message)
                })?;
                if token.valid_to <= now {
                    let message = "The import token has expired: call GetParametersForImport again";
                    return Err(Exception::new(ExceptionName::ExpiredImportToken, message));
                }
                let bytes = token.unwrap(&request.encrypted_key_material).ok_or_else(|| {
                    let message = "The key material is not encrypted with this wrapping key and algorithm";
                    Exception::new(ExceptionName::InvalidCiphertext, message)
                })?;
                let bytes = KeyMaterial::imported(&bytes).ok_or_else(|| {
                    let message = format!("The key material has {} bytes, and has to have 32", bytes.len());
                    Exception::new(ExceptionName::IncorrectKeyMaterial, message)
                })?;
                let import = Import {
                    import_type: request.import_type,
                    material_id: request.key_material_id.clone(),
                    description: request.key_material_description.clone(),
                    valid_to,
                    is_of_replica: key.is_replica(),
                };
                let key_id = key.id.clone();
                let materials = key.imported_mut()?;
                let was_complete = materials.are_complete();
                let material_id = materials.import(&key_id, bytes, import)?;
                if !was_complete && materials.are_complete() {
                    key.status = KeyStatus::Enabled;
                }
                Ok(KeyMaterialResponse {
                    key_id: key.arn.clone(),
                    key_material_id: Some(material_id),
                })
            })
        })
        .await
    }

    /// Deletes imported key material: one of several, by default the current one.
    ///
    /// # Errors
    /// As AWS documents them for DeleteImportedKeyMaterial.
    pub async fn delete_imported_key_material(
        &self,
        caller: &Caller,
        request: DeleteImportedKeyMaterialRequest,
    ) -> Result<KeyMaterialResponse, Exception> {
        self.operate("DeleteImportedKeyMaterial", caller, async |operation| {
            check_material_id(request.key_material_id.as_deref())?;
            operation.change_key(&request.key_id, |key| {
                let key_material_id = key.imported_mut()?.delete(request.key_material_id.as_deref())?;
                Ok(KeyMaterialResponse {
                    key_id: key.arn.clone(),
                    key_material_id,
                })
            })
        })
        .await
    }

    /// What import tokens are sealed with; made at the first use.
    fn token_secret(&self) -> Result<KeyMaterial, Exception> {
        if let Some(secret) = self.read(|state| Ok(state.token_secret.clone()))? {
            return Ok(secret);
        }
        let new = KeyMaterial::generate()?;
        self.change(|state: &mut State| Ok(state.token_secret.get_or_insert(new).clone()))
    }
}

/// The end of the material; none where it does not expire.
fn checked_end(model: Option<ExpirationModel>, valid_to: Option<f64>, now: f64) -> Result<Option<f64>, Exception> {
    match (model.unwrap_or(ExpirationModel::KeyMaterialExpires), valid_to) {
        (ExpirationModel::KeyMaterialDoesNotExpire, None) => Ok(None),
        (ExpirationModel::KeyMaterialDoesNotExpire, Some(_)) => Err(Exception::validation(
            "ValidTo cannot be specified with KEY_MATERIAL_DOES_NOT_EXPIRE",
        )),
        (ExpirationModel::KeyMaterialExpires, None) => Err(Exception::validation(
            "ValidTo is required with KEY_MATERIAL_EXPIRES, which is the default",
        )),
        (ExpirationModel::KeyMaterialExpires, Some(valid_to)) => {
            let is_legal = valid_to > now && valid_to <= now + MAX_VALIDITY_DAYS * SECONDS_A_DAY;
            is_legal
                .then_some(Some(valid_to))
                .ok_or_else(|| Exception::validation("ValidTo has to be in the future, and at most 365 days away"))
        }
    }
}

fn check_description(description: Option<&str>) -> Result<(), Exception> {
    let is_legal = |character: char| {
        character.is_ascii_alphanumeric() || character.is_ascii_whitespace() || ":/_.-".contains(character)
    };
    match description {
        Some(text) if text.len() > 256 || !text.chars().all(is_legal) => Err(Exception::validation(
            "KeyMaterialDescription has to have at most 256 characters of a-z A-Z 0-9 : / _ . - and white space",
        )),
        _ => Ok(()),
    }
}

fn check_material_id(id: Option<&str>) -> Result<(), Exception> {
    let is_legal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    match id {
        Some(id) if id.len() != 64 || !id.bytes().all(is_legal) => Err(Exception::validation(
            "KeyMaterialId has to have 64 characters of 0-9 a-f",
        )),
        _ => Ok(()),
    }
}
