//! The additional authenticated data as AES-GCM gets it: the request's AAD and the ciphertext metadata,
//! framed so that no byte of one can pass for a byte of the other.
//!
//! Ciphertext metadata has parts: the mark of the migrating framing, one part for each layer that
//! [tags](crate::backend::EncryptRequest::tag), outermost first, and the backend's own. On decrypt each is
//! taken off from the front, by the one that put it there; what is authenticated stays the whole.

mod parts;

use std::{fmt, iter, sync::Arc};

use sha2::{Digest as _, Sha256};
use thiserror::Error;

pub(crate) use self::parts::Parts;
use crate::{backend::CiphertextMetadata, names::named_enum};

/// The framing of the GCM AAD input from a request's AAD and the ciphertext metadata. A choice per key store:
/// a ciphertext can only be decrypted with the framing it was made with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AadFraming {
    /// The specification's own: `u16be(len(AAD)) ‖ AAD ‖ u8(len(metadata)) ‖ metadata`.
    /// Specification: Encrypt.
    // ENC-7
    #[default]
    Spec,
    /// The framing of AWS's sample proxy: `u16be(len(AAD)) ‖ SHA-256(AAD) ‖ u8(len(metadata)) ‖ metadata`,
    /// without the digest when the request has no AAD field. For HSMs that take little AAD, and for
    /// ciphertexts that were made by that proxy.
    Digest,
    /// From `Digest` to `Spec` without losing a ciphertext: encrypts as `Spec` and says so with
    /// [`MARK`](Self::MARK) at the head of the ciphertext metadata; decrypts what is marked as `Spec` and
    /// everything else as `Digest`. The mark takes 2 of the 20 bytes of metadata, and neither layers nor the
    /// backend see it. A key store is not built when its backend may need more than the other 18; one that
    /// does later, all the same, gets `Digest`. Specification: Encrypt.
    ///
    /// No metadata that `Digest` ciphertexts already have may begin with the mark. It is no text in UTF-8.
    // ENC-8
    Migrating,
}

named_enum! {
    AadFraming, "a framing",
    Spec => "spec",
    Digest => "digest",
    Migrating => "migrating",
}

impl AadFraming {
    /// The first bytes of the ciphertext metadata of [`Migrating`](Self::Migrating).
    pub const MARK: [u8; 2] = [0xad, 0x01];

    /// Returns how many bytes of the ciphertext metadata the framing itself takes: those of the mark.
    #[must_use]
    pub const fn metadata_length(self) -> usize {
        match self {
            Self::Spec | Self::Digest => 0,
            Self::Migrating => Self::MARK.len(),
        }
    }
}

/// AAD of more than 65 535 bytes, which no framing can express.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
#[error("additional authenticated data has at most 65535 bytes")]
pub struct AadTooLong;

/// The GCM AAD input, made for one metadata: authenticate exactly [`as_bytes`](Self::as_bytes).
///
/// Cheap to clone, so that it can be sent to another thread.
#[derive(Clone)]
pub struct BoundAad {
    framing: AadFraming,
    /// Whether the request has the AAD field, even an empty one.
    is_present: bool,
    /// One buffer that holds the AAD as it came and the GCM AAD input: the former is needed again for the
    /// ciphertext data integrity value, the latter must be contiguous. Length, AAD, then by layout. `Spec`:
    /// metadata length, metadata; all of it is the input. `Digest`: the input. There is room for either.
    buffer: Arc<[u8]>,
    /// The AAD is `buffer[LENGTH_BYTES..aad_end]`.
    aad_end: usize,
    layout: Layout,
    /// The metadata's length stands at `buffer[metadata_start]`.
    metadata_start: usize,
    /// What comes after the metadata is room.
    end: usize,
    /// The metadata from where its holder sees it: all but the mark, and but the parts of layers further out.
    metadata: Option<CiphertextMetadata>,
    /// Whether the parts have more bytes than metadata may have. Then none of it is bound.
    is_too_long: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    Spec,
    Digest,
}

/// What `u16be(len(AAD))` takes.
const LENGTH_BYTES: usize = 2;
/// The most that follows the AAD in the buffer: length, digest, metadata length, metadata.
const MAX_TAIL: usize = LENGTH_BYTES + 32 + 1 + CiphertextMetadata::MAX_LENGTH;

impl BoundAad {
    /// Frames a request's AAD (`None` when the request has no such field) and a backend's metadata, as for an
    /// encryption.
    ///
    /// The pipeline does this for a backend; it is public for tests.
    ///
    /// # Errors
    /// [`AadTooLong`].
    pub fn new(
        framing: AadFraming,
        aad: Option<&[u8]>,
        metadata: Option<CiphertextMetadata>,
    ) -> Result<Self, AadTooLong> {
        let bytes = aad.unwrap_or_default();
        let mut raw = RawAad::with_room_for(bytes.len());
        raw.is_present = aad.is_some();
        raw.room().copy_from_slice(bytes);
        let mut bound = raw.frame(framing)?;
        bound.set_metadata(&Parts::default(), metadata);
        Ok(bound)
    }

    /// Returns the GCM AAD input.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        let start = match self.layout {
            Layout::Spec => 0,
            Layout::Digest => self.aad_end,
        };
        self.buffer.get(start..self.end).unwrap_or_default()
    }

    /// Returns the ciphertext metadata that is part of it, without the parts that are not the caller's: on
    /// encrypt what the backend bound, on decrypt what is left when each layer further out has [taken its
    /// part off](crate::backend::DecryptRequest::untag).
    #[must_use]
    pub fn metadata(&self) -> Option<&CiphertextMetadata> {
        self.metadata.as_ref()
    }

    /// The ciphertext metadata as KMS gets it; empty if there is none.
    pub(crate) fn sent_metadata(&self) -> &[u8] {
        self.buffer.get(self.metadata_start + 1..self.end).unwrap_or_default()
    }

    /// Whether decrypt will get what was bound here, and see which framing it was made in. It would not see
    /// that if a backend's own metadata, with no room for the mark, began with the mark.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.is_too_long {
            return Err(
                "the ciphertext metadata of the backend and the layers around it has more than 20 bytes: \
                        each must include its part in `metadata_length`",
            );
        }
        let is_marked = self.sent_metadata().starts_with(&AadFraming::MARK);
        if self.framing == AadFraming::Migrating && is_marked != (self.layout == Layout::Spec) {
            return Err("the ciphertext metadata begins with the mark of the migrating framing");
        }
        Ok(())
    }

    /// Whether both are made from the same AAD in the same framing, whatever their metadata.
    pub(crate) fn is_of_the_same_request(&self, other: &Self) -> bool {
        let of = |aad: &Self| (aad.framing, aad.is_present);
        Arc::ptr_eq(&self.buffer, &other.buffer) || (of(self) == of(other) && self.raw() == other.raw())
    }

    /// The AAD as the request had it.
    pub(crate) fn raw(&self) -> &[u8] {
        self.buffer.get(LENGTH_BYTES..self.aad_end).unwrap_or_default()
    }

    /// Binds the parts of layers and a backend's own metadata for an encryption, in place unless a clone of
    /// this is still held somewhere.
    // ENC-7
    pub(crate) fn set_metadata(&mut self, parts: &Parts, own: Option<CiphertextMetadata>) {
        let bytes = own.as_ref().map_or(&[][..], CiphertextMetadata::as_bytes);
        let length = parts.length().saturating_add(bytes.len());
        let (layout, mark) = match self.framing {
            AadFraming::Migrating if length <= CiphertextMetadata::MAX_LENGTH - AadFraming::MARK.len() => {
                (Layout::Spec, &AadFraming::MARK[..])
            }
            AadFraming::Spec => (Layout::Spec, &[][..]),
            AadFraming::Digest | AadFraming::Migrating => (Layout::Digest, &[][..]),
        };
        self.is_too_long = length > CiphertextMetadata::MAX_LENGTH;
        if self.is_too_long {
            self.write(layout, [&[], &[], &[]]);
        } else {
            self.write(layout, [mark, parts.as_bytes(), bytes]);
        }
        self.metadata = own;
    }

    /// Binds the metadata that came with a ciphertext, for a decryption.
    pub(crate) fn set_sent_metadata(&mut self, sent: Option<CiphertextMetadata>) {
        let bytes = sent.as_ref().map_or(&[][..], CiphertextMetadata::as_bytes);
        let is_marked = self.framing == AadFraming::Migrating && bytes.starts_with(&AadFraming::MARK);
        let layout = match self.framing {
            AadFraming::Spec => Layout::Spec,
            AadFraming::Migrating if is_marked => Layout::Spec, // ENC-8
            AadFraming::Digest | AadFraming::Migrating => Layout::Digest,
        };
        self.write(layout, [bytes]);
        self.metadata = sent;
        if is_marked {
            self.see_from(0);
        }
    }

    /// Shows the metadata behind so many bytes of parts, as one sees it whose request has these parts.
    pub(crate) fn see_from(&mut self, parts: usize) {
        let mark = match (self.framing, self.layout) {
            (AadFraming::Migrating, Layout::Spec) => AadFraming::MARK.len(),
            _ => 0,
        };
        let seen = self.sent_metadata().get(mark + parts..);
        self.metadata = seen.and_then(|seen| seen.try_into().ok());
    }

    /// The first bytes of the metadata that is seen, and the same AAD with what is behind them: nothing if
    /// there are fewer.
    pub(crate) fn untag(&self, length: usize) -> Option<(&[u8], Self)> {
        let seen = self.metadata.as_ref().map_or(&[][..], CiphertextMetadata::as_bytes);
        let (part, behind) = seen.split_at_checked(length)?;
        let untagged = Self {
            metadata: behind.try_into().ok(),
            ..self.clone()
        };
        Some((part, untagged))
    }

    /// Writes all that follows the AAD.
    fn write<const N: usize>(&mut self, layout: Layout, metadata: [&[u8]; N]) {
        if layout != self.layout {
            self.lay_out(layout);
        }
        self.end = self.metadata_start;
        let length: usize = metadata.iter().map(|part| part.len()).sum();
        self.append([&[length as u8]]); // at most 20
        self.append(metadata);
    }

    /// Writes what stands between the AAD and the metadata's length.
    fn lay_out(&mut self, layout: Layout) {
        self.layout = layout;
        self.end = self.aad_end;
        if layout == Layout::Digest {
            let length = self.buffer.first_chunk::<LENGTH_BYTES>().copied().unwrap_or_default();
            let digest = Sha256::digest(self.raw());
            let digest = if self.is_present { &digest[..] } else { &[] };
            self.append([&length, digest]);
        }
        self.metadata_start = self.end;
    }

    /// Writes behind what is written: never more than [`MAX_TAIL`] behind the AAD.
    fn append<const N: usize>(&mut self, parts: [&[u8]; N]) {
        let buffer = Arc::make_mut(&mut self.buffer);
        for part in parts {
            let start = self.end;
            self.end += part.len();
            if let Some(room) = buffer.get_mut(start..self.end) {
                room.copy_from_slice(part);
            }
        }
    }
}

impl fmt::Debug for BoundAad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BoundAad({} bytes, {:?})", self.as_bytes().len(), self.metadata)
    }
}

/// AAD in a buffer with room for its frame: it is framed where it lies.
pub(crate) struct RawAad {
    /// Room for the length, then the AAD, then room.
    buffer: Arc<[u8]>,
    /// The AAD is `buffer[LENGTH_BYTES..end]`.
    end: usize,
    /// Whether the request has the field, even an empty one.
    pub(crate) is_present: bool,
}

impl RawAad {
    /// Room for AAD of `length` bytes, all zero.
    pub(crate) fn with_room_for(length: usize) -> Self {
        let end = LENGTH_BYTES + length;
        Self {
            buffer: iter::repeat_n(0, end + MAX_TAIL).collect(),
            end,
            is_present: false,
        }
    }

    /// Where the AAD is written.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        let buffer = Arc::make_mut(&mut self.buffer); // not shared yet
        buffer.get_mut(LENGTH_BYTES..self.end).unwrap_or_default()
    }

    /// The AAD has no more than these bytes.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.end = self.end.min(LENGTH_BYTES + length);
    }

    pub(crate) const fn len(&self) -> usize {
        self.end - LENGTH_BYTES
    }

    /// Frames the AAD, with no metadata yet.
    pub(crate) fn frame(self, framing: AadFraming) -> Result<BoundAad, AadTooLong> {
        let length = u16::try_from(self.len()).map_err(|_| AadTooLong)?;
        let mut bound = BoundAad {
            framing,
            is_present: self.is_present,
            buffer: self.buffer,
            aad_end: self.end,
            layout: Layout::Spec,
            metadata_start: self.end,
            end: 0,
            metadata: None,
            is_too_long: false,
        };
        bound.append([&length.to_be_bytes()]);
        if framing == AadFraming::Digest {
            bound.lay_out(Layout::Digest);
        }
        bound.set_metadata(&Parts::default(), None);
        Ok(bound)
    }
}

#[cfg(test)]
mod tests;
