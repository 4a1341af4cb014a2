//! `Decrypt` (section 6 of the specification).

use std::{borrow::Cow, fmt, iter};

use zeroize::Zeroizing;

use super::{
    RequestMetadata, base64, base64_object,
    encrypt::{EncryptRequest, check_size, decode_aad, frame_aad},
    parse, require_aes_gcm, required,
};
use crate::{
    aad::{AadFraming, BoundAad, RawAad},
    api::{KeyOperation, Operation},
    backend::{CiphertextMetadata, Encrypted, Iv, Limits, Tag},
    context::{RequestContext, in_context},
    error::Error,
    sigv4::Verified,
};

/// A request to decrypt, as a backend gets it: every part of a legal length, the AAD framed with the metadata
/// that came with the ciphertext.
#[derive(Clone)]
pub struct DecryptRequest<'a> {
    request_metadata: RequestMetadata<'a>,
    ciphertext: Cow<'a, [u8]>,
    iv: Iv,
    tag: Tag,
    aad: BoundAad,
    is_verification: bool,
    context: Option<&'a RequestContext<'a>>,
}

impl<'a> DecryptRequest<'a> {
    /// Creates a request for the plaintext of what `encrypted` holds, with all of its ciphertext metadata, as
    /// when KMS sends it: for tests of backends.
    #[must_use]
    pub fn new(request_metadata: RequestMetadata<'a>, encrypted: Encrypted) -> Self {
        Self::seen_from(0, request_metadata, encrypted)
    }

    /// As one sees it whose request has parts of so many bytes.
    fn seen_from(parts: usize, request_metadata: RequestMetadata<'a>, encrypted: Encrypted) -> Self {
        let Encrypted {
            ciphertext,
            iv,
            tag,
            mut aad,
        } = encrypted;
        aad.see_from(parts);
        Self {
            request_metadata,
            ciphertext: Cow::Owned(ciphertext),
            iv,
            tag,
            aad,
            is_verification: false,
            context: None,
        }
    }

    /// The decryption that verifies what is about to be returned.
    // ENC-10
    pub(crate) fn verification(request: &EncryptRequest<'a>, encrypted: Encrypted) -> Self {
        if let Some(context) = request.context() {
            context.begin_verification();
        }
        Self {
            is_verification: true,
            context: request.context(),
            ..Self::seen_from(request.parts_length(), request.request_metadata().clone(), encrypted)
        }
    }

    /// Gives back what [`verification`](Self::verification) took: the very bytes that were decrypted.
    pub(crate) fn into_encrypted(self) -> Encrypted {
        Encrypted {
            ciphertext: self.ciphertext.into_owned(),
            iv: self.iv,
            tag: self.tag,
            aad: self.aad,
        }
    }

    /// Takes a layer's part, the first `length` bytes, off the ciphertext metadata: returns it with the
    /// request for the inner backend, which has the rest. Nothing if there are fewer bytes: then
    /// [`EncryptRequest::tag`] did not make this ciphertext.
    ///
    /// What is authenticated is still the whole, so a part that was changed does not decrypt. To look before
    /// taking, as for ciphertexts that are older than the layer, see [`BoundAad::metadata`]. Copies no
    /// ciphertext. Specification: Decrypt.
    // DEC-3
    #[must_use]
    pub fn untag(&self, length: usize) -> Option<(&[u8], DecryptRequest<'_>)> {
        let (part, aad) = self.aad.untag(length)?;
        let request = DecryptRequest {
            request_metadata: self.request_metadata.clone(),
            ciphertext: Cow::Borrowed(&self.ciphertext),
            iv: self.iv,
            tag: self.tag,
            aad,
            is_verification: self.is_verification,
            context: self.context,
        };
        Some((part, request))
    }

    /// Returns whether this verifies an encryption that is about to be returned, and KMS did not ask for it:
    /// for backends that count or log.
    #[must_use]
    pub const fn is_verification(&self) -> bool {
        self.is_verification
    }

    /// Returns the request's metadata: who asks KMS, and what for.
    #[must_use]
    pub const fn request_metadata(&self) -> &RequestMetadata<'a> {
        &self.request_metadata
    }

    /// Returns the ciphertext, without the tag: 0 bytes or more.
    #[must_use]
    pub fn ciphertext(&self) -> &[u8] {
        &self.ciphertext
    }

    /// Returns the initialization vector.
    #[must_use]
    pub const fn iv(&self) -> &Iv {
        &self.iv
    }

    /// Returns the authentication tag.
    #[must_use]
    pub const fn tag(&self) -> &Tag {
        &self.tag
    }

    /// Returns the bytes to authenticate, and within them the metadata that encrypt returned.
    #[must_use]
    pub const fn bound_aad(&self) -> &BoundAad {
        &self.aad
    }
}

in_context!(DecryptRequest);

impl fmt::Debug for DecryptRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecryptRequest")
            .field("request_metadata", &self.request_metadata)
            .field("ciphertext", &self.ciphertext.len())
            .field("iv", &self.iv)
            .field("tag", &self.tag)
            .field("aad", &self.aad)
            .field("is_verification", &self.is_verification)
            .finish()
    }
}

/// A decoded body, before it is known whether it keeps the limits.
pub(crate) struct DecryptBody<'t, 'a> {
    pub(crate) request_metadata: &'t RequestMetadata<'a>,
    ciphertext: Vec<u8>,
    iv: Iv,
    tag: Tag,
    metadata: Option<CiphertextMetadata>,
    aad: RawAad,
}

impl<'t, 'a> DecryptBody<'t, 'a> {
    pub(crate) fn decode(verified: &Verified<'a>, note: &'t mut Option<RequestMetadata<'a>>) -> Result<Self, Error> {
        let names = [
            "ciphertext",
            "initializationVector",
            "authenticationTag",
            "ciphertextMetadata",
            "encryptionAlgorithm",
            "additionalAuthenticatedData",
        ];
        let operation = Operation::Key(KeyOperation::Decrypt);
        let (request_metadata, [ciphertext, iv, tag, metadata, algorithm, aad]) =
            parse(verified, operation, names, note)?;
        require_aes_gcm(algorithm)?;
        let mut ciphertext = base64::decode(&required(ciphertext, "ciphertext")?, "ciphertext")?;
        let iv = required(iv, "initializationVector")?;
        let tag = required(tag, "authenticationTag")?;
        // An empty field counts as an absent one: both are framed as zero bytes (ENC-7).
        let metadata = metadata.filter(|text| !text.as_str().is_empty());
        Ok(Self {
            request_metadata,
            ciphertext: std::mem::take(&mut ciphertext),
            iv: base64::decode_short(&iv, "initializationVector")?,
            tag: base64::decode_short(&tag, "authenticationTag")?,
            metadata: metadata
                .map(|text| base64::decode_short(&text, "ciphertextMetadata"))
                .transpose()?,
            aad: decode_aad(aad)?,
        })
    }

    pub(crate) fn into_request(self, framing: AadFraming, limits: Limits) -> Result<DecryptRequest<'a>, Error> {
        check_size(self.ciphertext.len(), limits.plaintext, "ciphertext")?;
        let mut aad = frame_aad(self.aad, framing, limits)?;
        aad.set_sent_metadata(self.metadata);
        Ok(DecryptRequest {
            request_metadata: self.request_metadata.clone(),
            ciphertext: Cow::Owned(self.ciphertext),
            iv: self.iv,
            tag: self.tag,
            aad,
            is_verification: false,
            context: None,
        })
    }
}

/// The answer: the plaintext, in a buffer that is wiped.
pub(crate) fn encode_plaintext(plaintext: &[u8]) -> Zeroizing<Vec<u8>> {
    base64_object(iter::once(("plaintext", plaintext)))
}
