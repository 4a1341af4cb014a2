//! The operations that use a key: two layers of encryption, KMS's own within, the external one around it.

use super::{
    Kms,
    api::{
        DecryptRequest, DecryptResponse, DryRunModifier, EncryptRequest, EncryptResponse, GenerateDataKeyRequest,
        GenerateDataKeyResponse, GenerateDataKeyWithoutPlaintextResponse, ReEncryptRequest, ReEncryptResponse,
    },
    binary::Binary,
    blob,
    caller::Caller,
    context::EncryptionContext,
    exception::{Exception, ExceptionName},
    imported::{self, WithMaterial, invalid_ciphertext},
    key::Key,
    locked,
    operation::Operation,
    proxy::Proxy,
    state::State,
};

/// The only algorithm of a symmetric key.
const ALGORITHM: &str = "SYMMETRIC_DEFAULT";

const MAX_PLAINTEXT: usize = 4096;

impl Kms {
    /// Encrypts up to 4096 bytes.
    ///
    /// # Errors
    /// As AWS documents them for Encrypt: whatever the proxy does, `KMSInvalidStateException`.
    pub async fn encrypt(&self, caller: &Caller, request: EncryptRequest) -> Result<EncryptResponse, Exception> {
        check_algorithm(request.encryption_algorithm.as_deref())?;
        if !(1..=MAX_PLAINTEXT).contains(&request.plaintext.len()) {
            return Err(Exception::validation(format!(
                "Plaintext has to have 1 to {MAX_PLAINTEXT} bytes"
            )));
        }
        self.operate("Encrypt", caller, async |operation| {
            let key = self.usable(operation, &request.key_id)?;
            if request.dry_run == Some(true) {
                return Err(would_have_succeeded());
            }
            let context = &request.encryption_context;
            let encrypted = key.encrypt(operation, &request.plaintext, context).await?;
            self.was_used(operation, &key.key.arn)?;
            Ok(EncryptResponse {
                ciphertext_blob: encrypted.bytes,
                key_id: key.key.arn,
                encryption_algorithm: ALGORITHM,
            })
        })
        .await
    }

    /// Decrypts what [`encrypt`](Self::encrypt) or [`generate_data_key`](Self::generate_data_key) returned.
    ///
    /// # Errors
    /// As AWS documents them for Decrypt. What is no blob of this KMS is `InvalidCiphertextException`. A blob
    /// or a context that has been changed is for the proxy to refuse, which ends in
    /// `KMSInvalidStateException`, as any failure of the proxy. So it does when the proxy lets it pass and
    /// KMS's own layer does not.
    pub async fn decrypt(&self, caller: &Caller, request: DecryptRequest) -> Result<DecryptResponse, Exception> {
        check_algorithm(request.encryption_algorithm.as_deref())?;
        self.operate("Decrypt", caller, async |operation| {
            let sealed = Sealed {
                blob: &request.ciphertext_blob,
                named: request.key_id.as_deref(),
                context: &request.encryption_context,
                is_dry_run: request.dry_run == Some(true),
            };
            if ignores_ciphertext(sealed.is_dry_run, &request.dry_run_modifiers)? {
                return Err(self.without_ciphertext(operation, sealed.named));
            }
            let (key, plaintext) = self.opened(operation, sealed).await?;
            Ok(DecryptResponse {
                plaintext: plaintext.bytes,
                key_material_id: plaintext.material_id,
                key_id: key.arn,
                encryption_algorithm: ALGORITHM,
            })
        })
        .await
    }

    /// Decrypts, and encrypts with another key or context.
    ///
    /// # Errors
    /// As those of [`decrypt`](Self::decrypt) and [`encrypt`](Self::encrypt).
    pub async fn re_encrypt(&self, caller: &Caller, request: ReEncryptRequest) -> Result<ReEncryptResponse, Exception> {
        check_algorithm(request.source_encryption_algorithm.as_deref())?;
        check_algorithm(request.destination_encryption_algorithm.as_deref())?;
        self.operate("ReEncrypt", caller, async |operation| {
            let destination = self.usable(operation, &request.destination_key_id)?;
            let sealed = Sealed {
                blob: &request.ciphertext_blob,
                named: request.source_key_id.as_deref(),
                context: &request.source_encryption_context,
                is_dry_run: request.dry_run == Some(true),
            };
            if ignores_ciphertext(sealed.is_dry_run, &request.dry_run_modifiers)? {
                return Err(self.without_ciphertext(operation, sealed.named));
            }
            let (source, plaintext) = self.opened(operation, sealed).await?;
            let context = &request.destination_encryption_context;
            let encrypted = destination.encrypt(operation, &plaintext.bytes, context).await?;
            self.was_used(operation, &destination.key.arn)?;
            Ok(ReEncryptResponse {
                ciphertext_blob: encrypted.bytes,
                source_key_material_id: plaintext.material_id,
                destination_key_material_id: encrypted.material_id,
                source_key_id: source.arn,
                key_id: destination.key.arn,
                source_encryption_algorithm: ALGORITHM,
                destination_encryption_algorithm: ALGORITHM,
            })
        })
        .await
    }

    /// Makes a data key, and encrypts it.
    ///
    /// # Errors
    /// As those of [`encrypt`](Self::encrypt).
    pub async fn generate_data_key(
        &self,
        caller: &Caller,
        request: GenerateDataKeyRequest,
    ) -> Result<GenerateDataKeyResponse, Exception> {
        self.new_data_key("GenerateDataKey", caller, &request).await
    }

    /// Makes a data key, and returns it encrypted alone.
    ///
    /// # Errors
    /// As those of [`encrypt`](Self::encrypt).
    pub async fn generate_data_key_without_plaintext(
        &self,
        caller: &Caller,
        request: GenerateDataKeyRequest,
    ) -> Result<GenerateDataKeyWithoutPlaintextResponse, Exception> {
        let made = self
            .new_data_key("GenerateDataKeyWithoutPlaintext", caller, &request)
            .await?;
        Ok(GenerateDataKeyWithoutPlaintextResponse {
            ciphertext_blob: made.ciphertext_blob,
            key_material_id: made.key_material_id,
            key_id: made.key_id,
        })
    }

    async fn new_data_key(
        &self,
        operation: &str,
        caller: &Caller,
        request: &GenerateDataKeyRequest,
    ) -> Result<GenerateDataKeyResponse, Exception> {
        let length = match (request.key_spec.as_deref(), request.number_of_bytes) {
            (Some("AES_256"), None) => 32,
            (Some("AES_128"), None) => 16,
            (None, Some(length @ 1..=1024)) => length,
            _ => {
                return Err(Exception::validation(
                    "either KeySpec, AES_256 or AES_128, or NumberOfBytes, 1 to 1024",
                ));
            }
        };
        self.operate(operation, caller, async |operation| {
            let key = self.usable(operation, &request.key_id)?;
            if request.dry_run == Some(true) {
                return Err(would_have_succeeded());
            }
            let plaintext = random_bytes(length)?;
            let encrypted = key.encrypt(operation, &plaintext, &request.encryption_context).await?;
            self.was_used(operation, &key.key.arn)?;
            Ok(GenerateDataKeyResponse {
                ciphertext_blob: encrypted.bytes,
                key_material_id: encrypted.material_id,
                plaintext,
                key_id: key.key.arn,
            })
        })
        .await
    }

    /// A key that may be used at this moment, and its proxy.
    fn usable(&self, operation: Operation<'_>, named: &str) -> Result<Usable, Exception> {
        let action = match operation.name {
            "ReEncrypt" => "ReEncryptTo",
            name => name,
        };
        operation.read(|state| self.usable_key(operation, action, state, state.key(named)?))
    }

    /// As policies name the operation.
    fn usable_key(
        &self,
        operation: Operation<'_>,
        action: &str,
        state: &State,
        key: &Key,
    ) -> Result<Usable, Exception> {
        operation.check_as(action, state, key)?;
        let proxy = match key.external() {
            Some(external) => {
                let id = &external.key_store_id;
                if let Some(quotas) = self.0.settings.quotas
                    && !locked(&self.0.buckets).take_of_key_store(quotas, id, self.now())
                {
                    return Err(self.faults().throttled(operation.name));
                }
                let store = state.key_store(&external.key_store_id)?;
                Some(self.proxy(&store.id, &store.proxy)?)
            }
            None => None,
        };
        Ok(Usable {
            proxy,
            key: key.clone(),
        })
    }

    async fn opened(&self, operation: Operation<'_>, sealed: Sealed<'_>) -> Result<(Key, WithMaterial), Exception> {
        let Sealed {
            blob, named, context, ..
        } = sealed;
        if blob.is_empty() {
            return Err(Exception::validation("CiphertextBlob has to have 1 to 6144 bytes"));
        }
        let (external, imported) = (blob::parse(blob), imported::parse(blob));
        let of_external = external.as_ref().map(|blob| blob.key_id);
        let of_imported = imported.as_ref().map(|blob| blob.key_id);
        let key_id = of_external.or(of_imported).ok_or_else(invalid_ciphertext)?;
        let usable = operation.read(|state| {
            let named = named.map(|named| state.key(named)).transpose()?;
            let key = state.key_of_blob(&key_id).ok_or_else(invalid_ciphertext)?;
            if named.is_some_and(|named| named.id != key.id) {
                return Err(Exception::new(
                    ExceptionName::IncorrectKey,
                    "The key ID in the request does not identify a key that can perform this operation.",
                ));
            }
            let action = match operation.name {
                "ReEncrypt" => "ReEncryptFrom",
                name => name,
            };
            self.usable_key(operation, action, state, key)
        })?;
        let plaintext = match (&usable.proxy, &external, &imported) {
            // Our reading: the proxy is not asked for a dry run.
            (Some(_), Some(_), _) if sealed.is_dry_run => return Err(would_have_succeeded()),
            (Some(proxy), Some(blob), _) => WithMaterial {
                bytes: usable.key.decrypt_external(proxy, operation, blob, context).await?,
                material_id: None,
            },
            (None, _, Some(blob)) => usable.key.decrypt_imported(blob, context)?,
            _ => return Err(invalid_ciphertext()),
        };
        if sealed.is_dry_run {
            return Err(would_have_succeeded());
        }
        self.was_used(operation, &usable.key.arn)?;
        Ok((usable.key, plaintext))
    }

    /// A dry run without a ciphertext: only the key is looked at.
    fn without_ciphertext(&self, operation: Operation<'_>, named: Option<&str>) -> Exception {
        let Some(named) = named else {
            return Exception::validation(
                "IGNORE_CIPHERTEXT takes a key id, since there is no ciphertext to name the key",
            );
        };
        match self.usable(operation, named) {
            Ok(_) => would_have_succeeded(),
            Err(exception) => exception,
        }
    }
}

/// A ciphertext, and what a request says of it.
#[derive(Clone, Copy)]
struct Sealed<'a> {
    blob: &'a [u8],
    /// The key that it has to be of.
    named: Option<&'a str>,
    context: &'a EncryptionContext,
    is_dry_run: bool,
}

/// Whether a ciphertext is left out of account, which a dry run alone can do.
fn ignores_ciphertext(is_dry_run: bool, modifiers: &[DryRunModifier]) -> Result<bool, Exception> {
    if !modifiers.is_empty() && !is_dry_run {
        return Err(Exception::validation("DryRunModifiers go with DryRun"));
    }
    Ok(modifiers.contains(&DryRunModifier::IgnoreCiphertext))
}

fn would_have_succeeded() -> Exception {
    let message = "The request would have succeeded, but the DryRun option is set.";
    Exception::new(ExceptionName::DryRunOperation, message)
}

struct Usable {
    /// None of a key with imported material.
    proxy: Option<Proxy>,
    key: Key,
}

impl Usable {
    async fn encrypt(
        &self,
        operation: Operation<'_>,
        plaintext: &[u8],
        context: &EncryptionContext,
    ) -> Result<WithMaterial, Exception> {
        let Some(proxy) = &self.proxy else {
            return self.key.encrypt_imported(plaintext, context);
        };
        Ok(WithMaterial {
            bytes: self.key.encrypt_external(proxy, operation, plaintext, context).await?,
            material_id: None,
        })
    }
}

fn random_bytes(length: usize) -> Result<Binary, Exception> {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).map_err(|_| {
        Exception::new(
            ExceptionName::Internal,
            "the operating system's random number generator failed",
        )
    })?;
    Ok(bytes.into())
}

fn check_algorithm(algorithm: Option<&str>) -> Result<(), Exception> {
    match algorithm {
        None | Some(ALGORITHM) => Ok(()),
        Some(other) => Err(Exception::new(
            ExceptionName::InvalidKeyUsage,
            format!("a symmetric key has no algorithm {other:?}"),
        )),
    }
}
