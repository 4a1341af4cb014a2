//! `Encrypt` (section 5 of the specification).
//!
//! `KeyBackend::encrypt` takes `&mut EncryptRequest`: the AAD is decoded once, into a buffer with room for
//! its frame, and `bind_aad` writes the metadata after it in place. The result is shared, not copied, so it
//! can go to another thread, and verification uses the same bytes. A second attempt on another HSM binds the
//! AAD again at no cost.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use zeroize::Zeroizing;

use super::{RequestMetadata, Text, base64, base64_object, parse, require_aes_gcm, required};
use crate::{
    aad::{AadFraming, BoundAad, Parts, RawAad},
    api::{ErrorName, KeyOperation, Operation},
    backend::{CiphertextMetadata, Encrypted, Limits},
    context::{RequestContext, in_context},
    error::Error,
    sigv4::Verified,
};

/// A request to encrypt, as a backend gets it: no larger than the limits, its AAD framed.
pub struct EncryptRequest<'a> {
    request_metadata: RequestMetadata<'a>,
    plaintext: Zeroizing<Vec<u8>>,
    aad: BoundAad,
    default_metadata: Option<CiphertextMetadata>,
    parts: Parts,
    context: Option<&'a RequestContext<'a>>,
}

impl<'a> EncryptRequest<'a> {
    /// Creates a request, as the pipeline makes it out of a body: for tests of backends.
    #[must_use]
    pub fn new(request_metadata: RequestMetadata<'a>, plaintext: Zeroizing<Vec<u8>>, aad: BoundAad) -> Self {
        Self {
            request_metadata,
            plaintext,
            aad,
            default_metadata: None,
            parts: Parts::default(),
            context: None,
        }
    }

    /// Returns the request's metadata: who asks KMS, and what for.
    #[must_use]
    pub const fn request_metadata(&self) -> &RequestMetadata<'a> {
        &self.request_metadata
    }

    /// Returns the plaintext: 0 bytes or more. Never log it. Specification: Encrypt.
    // ENC-12
    #[must_use]
    pub fn plaintext(&self) -> &[u8] {
        &self.plaintext
    }

    /// Fixes the ciphertext metadata, if any, and gives the bytes to authenticate. `None` stands for
    /// [the default](Self::set_default_metadata). KMS keeps the metadata with the ciphertext and sends it
    /// back on decrypt. What an earlier call gave stays as it was; the metadata that KMS gets is that of the
    /// one which the [`Encrypted`] was made with. Specification: Encrypt.
    // ENC-7
    #[must_use]
    pub fn bind_aad(&mut self, metadata: Option<CiphertextMetadata>) -> BoundAad {
        self.aad.set_metadata(&self.parts, metadata.or(self.default_metadata));
        self.aad.clone()
    }

    /// Sets the ciphertext metadata for a backend that has none of its own, by default none: for a backend
    /// around another one, which calls this before it hands the request on.
    pub const fn set_default_metadata(&mut self, metadata: CiphertextMetadata) {
        self.default_metadata = Some(metadata);
    }

    /// Puts a layer's own bytes into the ciphertext metadata, for as long as the returned request is held: in
    /// front of the backend's, and behind those of the layers further out. They are authenticated, and KMS
    /// sends them back on decrypt, where the layer [takes them off](crate::backend::DecryptRequest::untag).
    /// The backend sees nothing of them.
    ///
    /// All parts together have 20 bytes. The layer adds its own to
    /// [`metadata_length`](crate::KeyBackend::metadata_length), so that a key store with more is not built;
    /// if there are more all the same, the ciphertext is not returned. Specification: Encrypt.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use xks_core::{
    ///     BackendError, KeyBackend, KeyId, Zeroizing, async_trait,
    ///     backend::{DecryptRequest, EncryptRequest, Encrypted, Layered, VerifiedEncryption},
    /// };
    ///
    /// /// Tags what it encrypts. What has no tag is older than this layer, and another key decrypts it.
    /// struct Successor {
    ///     inner: Arc<dyn KeyBackend>,
    ///     older: KeyId,
    /// }
    ///
    /// const TAG: &[u8] = &[0x81]; // no metadata of the older key begins so
    ///
    /// #[async_trait]
    /// impl Layered for Successor {
    ///     type Inner = dyn KeyBackend;
    ///
    ///     fn inner(&self) -> &dyn KeyBackend {
    ///         &*self.inner
    ///     }
    ///
    ///     async fn encrypt(
    ///         &self,
    ///         key: &KeyId,
    ///         request: &mut EncryptRequest<'_>,
    ///     ) -> Result<Encrypted, BackendError> {
    ///         self.inner().encrypt(key, &mut request.tag(TAG)).await
    ///     }
    ///
    ///     async fn encrypt_verified(
    ///         &self,
    ///         key: &KeyId,
    ///         request: &mut EncryptRequest<'_>,
    ///     ) -> Result<VerifiedEncryption, BackendError> {
    ///         self.inner().encrypt_verified(key, &mut request.tag(TAG)).await
    ///     }
    ///
    ///     async fn decrypt(
    ///         &self,
    ///         key: &KeyId,
    ///         request: &DecryptRequest<'_>,
    ///     ) -> Result<Zeroizing<Vec<u8>>, BackendError> {
    ///         match request.untag(TAG.len()) {
    ///             Some((TAG, request)) => self.inner().decrypt(key, &request).await,
    ///             _ => self.inner().decrypt(&self.older, request).await,
    ///         }
    ///     }
    ///
    ///     fn metadata_length(&self) -> usize {
    ///         TAG.len() + self.inner().metadata_length()
    ///     }
    /// }
    /// ```
    // ENC-7
    pub fn tag(&mut self, part: &[u8]) -> TaggedRequest<'_, 'a> {
        let outer = self.parts.length();
        self.parts.push(part);
        TaggedRequest { request: self, outer }
    }

    /// The length of the parts that the layers so far have put in.
    pub(crate) const fn parts_length(&self) -> usize {
        self.parts.length()
    }

    /// Whether what was encrypted was authenticated with this request's AAD, is of the right length, and can
    /// be read again.
    // ENC-6, ENC-7, ENC-8
    pub(crate) fn check(&self, encrypted: &Encrypted) -> Result<(), &'static str> {
        if encrypted.ciphertext.len() != self.plaintext.len() {
            return Err("the backend returned a ciphertext whose length differs from the plaintext's");
        }
        if !encrypted.aad.is_of_the_same_request(&self.aad) {
            return Err("the backend authenticated the AAD of another request");
        }
        encrypted.aad.check()
    }
}

/// A request to encrypt with a layer's part in its ciphertext metadata: see [`EncryptRequest::tag`]. It is
/// used like the request itself, which is without the part again when this is dropped.
#[must_use = "the part is taken off again when this is dropped"]
#[derive(Debug)]
pub struct TaggedRequest<'r, 'a> {
    request: &'r mut EncryptRequest<'a>,
    /// The length of the parts further out.
    outer: usize,
}

impl<'a> Deref for TaggedRequest<'_, 'a> {
    type Target = EncryptRequest<'a>;

    fn deref(&self) -> &EncryptRequest<'a> {
        self.request
    }
}

impl<'a> DerefMut for TaggedRequest<'_, 'a> {
    fn deref_mut(&mut self) -> &mut EncryptRequest<'a> {
        self.request
    }
}

impl Drop for TaggedRequest<'_, '_> {
    fn drop(&mut self) {
        self.request.parts.truncate(self.outer);
    }
}

in_context!(EncryptRequest);

impl fmt::Debug for EncryptRequest<'_> {
    // ENC-12.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptRequest")
            .field("request_metadata", &self.request_metadata)
            .field("plaintext", &self.plaintext.len())
            .field("aad", &self.aad)
            .finish()
    }
}

/// A decoded body, before it is known whether it keeps the limits.
pub(crate) struct EncryptBody<'t, 'a> {
    pub(crate) request_metadata: &'t RequestMetadata<'a>,
    /// Whether the answer shall hold a ciphertext data integrity value.
    // ENC-9
    pub(crate) wants_integrity_value: bool,
    plaintext: Zeroizing<Vec<u8>>,
    aad: RawAad,
}

impl<'t, 'a> EncryptBody<'t, 'a> {
    pub(crate) fn decode(verified: &Verified<'a>, note: &'t mut Option<RequestMetadata<'a>>) -> Result<Self, Error> {
        let names = [
            "plaintext",
            "encryptionAlgorithm",
            "additionalAuthenticatedData",
            "ciphertextDataIntegrityValueAlgorithm",
        ];
        let operation = Operation::Key(KeyOperation::Encrypt);
        let (request_metadata, [plaintext, algorithm, aad, integrity_value]) = parse(verified, operation, names, note)?;
        require_aes_gcm(algorithm)?;
        let wants_integrity_value = match integrity_value {
            None => false,
            Some(algorithm) if algorithm.as_str() == "SHA_256" => true,
            Some(_) => {
                return Err(Error::validation(
                    "ciphertextDataIntegrityValueAlgorithm is not SHA_256",
                ));
            }
        };
        Ok(Self {
            request_metadata,
            wants_integrity_value,
            plaintext: base64::decode(&required(plaintext, "plaintext")?, "plaintext")?,
            aad: decode_aad(aad)?,
        })
    }

    pub(crate) fn into_request(self, framing: AadFraming, limits: Limits) -> Result<EncryptRequest<'a>, Error> {
        check_size(self.plaintext.len(), limits.plaintext, "plaintext")?;
        let aad = frame_aad(self.aad, framing, limits)?;
        Ok(EncryptRequest {
            request_metadata: self.request_metadata.clone(),
            plaintext: self.plaintext,
            aad,
            default_metadata: None,
            parts: Parts::default(),
            context: None,
        })
    }
}

/// Decodes the AAD into a buffer that it can be framed in.
pub(super) fn decode_aad(text: Option<Text<'_>>) -> Result<RawAad, Error> {
    let mut aad = RawAad::with_room_for(text.as_ref().map_or(0, base64::decoded_len));
    if let Some(text) = text {
        let length = base64::decode_into(&text, "additionalAuthenticatedData", aad.room())?;
        aad.truncate(length);
        aad.is_present = true;
    }
    Ok(aad)
}

/// Frames AAD that keeps the limit.
pub(super) fn frame_aad(aad: RawAad, framing: AadFraming, limits: Limits) -> Result<BoundAad, Error> {
    let length = aad.len();
    check_size(length, limits.aad, "additionalAuthenticatedData")?;
    aad.frame(framing)
        .map_err(|_| too_large(length, u16::MAX.into(), "additionalAuthenticatedData"))
}

// ENC-4
pub(super) fn check_size(length: usize, limit: usize, field: &'static str) -> Result<(), Error> {
    if length > limit {
        Err(too_large(length, limit, field))
    } else {
        Ok(())
    }
}

fn too_large(length: usize, limit: usize, field: &'static str) -> Error {
    let message = format!("{field} has {length} bytes; at most {limit} are supported");
    Error {
        message: message.into(),
        ..Error::from(ErrorName::UnsupportedOperation)
    }
}

impl Encrypted {
    /// The answer; `integrity_value` is there exactly when the request asked for it.
    // ENC-9
    pub(crate) fn encode(&self, integrity_value: Option<&[u8; 32]>) -> Zeroizing<Vec<u8>> {
        let metadata = Some(self.aad.sent_metadata()).filter(|metadata| !metadata.is_empty());
        let fields = [
            Some(("ciphertext", &*self.ciphertext)),
            Some(("initializationVector", self.iv.as_bytes())),
            Some(("authenticationTag", self.tag.as_bytes())),
            metadata.map(|metadata| ("ciphertextMetadata", metadata)),
            integrity_value.map(|value| ("ciphertextDataIntegrityValue", value.as_slice())),
        ];
        base64_object(fields.into_iter().flatten())
    }
}
