//! The additional authenticated data as AES-GCM gets it: the request's AAD and the ciphertext metadata,
//! framed so that no byte of one can pass for a byte of the other.

use std::{fmt, iter, sync::Arc};

use sha2::{Digest as _, Sha256};
use thiserror::Error;

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
    /// everything else as `Digest`. The mark takes 2 of the 20 bytes of metadata. A backend does not see it;
    /// for one that wants more than the other 18, `Digest` stays in use. Specification: Encrypt.
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
    /// What the backend knows of the metadata: all but the mark.
    metadata: Option<CiphertextMetadata>,
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
        bound.set_metadata(metadata);
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

    /// Returns the ciphertext metadata that is part of it, as the backend gave it.
    #[must_use]
    pub fn metadata(&self) -> Option<&CiphertextMetadata> {
        self.metadata.as_ref()
    }

    /// The ciphertext metadata as KMS gets it; empty if there is none.
    pub(crate) fn sent_metadata(&self) -> &[u8] {
        self.buffer.get(self.metadata_start + 1..self.end).unwrap_or_default()
    }

    /// Whether decrypt will see which framing this was made in. It would not if a backend's own metadata,
    /// with no room for the mark, began with the mark.
    pub(crate) fn is_readable_again(&self) -> bool {
        self.framing != AadFraming::Migrating
            || (self.layout == Layout::Spec) == self.sent_metadata().starts_with(&AadFraming::MARK)
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

    /// Binds a backend's metadata for an encryption, in place unless a clone of this is still held somewhere.
    pub(crate) fn set_metadata(&mut self, metadata: Option<CiphertextMetadata>) {
        let bytes = metadata.as_ref().map_or(&[][..], CiphertextMetadata::as_bytes);
        let room = CiphertextMetadata::MAX_LENGTH - AadFraming::MARK.len();
        match self.framing {
            AadFraming::Migrating if bytes.len() <= room => self.write(Layout::Spec, &AadFraming::MARK, bytes),
            AadFraming::Spec => self.write(Layout::Spec, &[], bytes),
            AadFraming::Digest | AadFraming::Migrating => self.write(Layout::Digest, &[], bytes),
        }
        self.metadata = metadata;
    }

    /// Binds the metadata that came with a ciphertext, for a decryption.
    pub(crate) fn set_sent_metadata(&mut self, sent: Option<CiphertextMetadata>) {
        let bytes = sent.as_ref().map_or(&[][..], CiphertextMetadata::as_bytes);
        match self.framing {
            AadFraming::Migrating => match bytes.strip_prefix(&AadFraming::MARK) {
                Some(own) => self.set_metadata(own.try_into().ok()), // ENC-8
                None => {
                    self.write(Layout::Digest, &[], bytes);
                    self.metadata = sent;
                }
            },
            AadFraming::Spec | AadFraming::Digest => self.set_metadata(sent),
        }
    }

    /// Writes all that follows the AAD.
    fn write(&mut self, layout: Layout, mark: &[u8], metadata: &[u8]) {
        if layout != self.layout {
            self.lay_out(layout);
        }
        self.end = self.metadata_start;
        self.append(&[(mark.len() + metadata.len()) as u8]); // at most 20
        self.append(mark);
        self.append(metadata);
    }

    /// Writes what stands between the AAD and the metadata's length.
    fn lay_out(&mut self, layout: Layout) {
        self.layout = layout;
        self.end = self.aad_end;
        if layout == Layout::Digest {
            let length = self.buffer.first_chunk::<LENGTH_BYTES>().copied().unwrap_or_default();
            let digest = Sha256::digest(self.raw());
            self.append(&length);
            if self.is_present {
                self.append(&digest);
            }
        }
        self.metadata_start = self.end;
    }

    /// Writes behind what is written: never more than [`MAX_TAIL`] behind the AAD.
    fn append(&mut self, bytes: &[u8]) {
        let room = Arc::make_mut(&mut self.buffer).iter_mut().skip(self.end);
        for (to, from) in room.zip(bytes) {
            *to = *from;
        }
        self.end += bytes.len();
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
        };
        bound.append(&length.to_be_bytes());
        if framing == AadFraming::Digest {
            bound.lay_out(Layout::Digest);
        }
        bound.set_metadata(None);
        Ok(bound)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn metadata(bytes: &[u8]) -> CiphertextMetadata {
        bytes.try_into().unwrap()
    }

    fn bound(framing: AadFraming, aad: Option<&[u8]>, md: Option<&[u8]>) -> Vec<u8> {
        BoundAad::new(framing, aad, md.map(metadata))
            .unwrap()
            .as_bytes()
            .to_vec()
    }

    /// ENC-7: the specification's own layout.
    #[test]
    fn spec_framing_is_the_specifications() {
        let spec = |aad, md| bound(AadFraming::Spec, aad, md);
        assert_eq!(spec(None, None), [0, 0, 0]);
        assert_eq!(spec(Some(b""), None), [0, 0, 0]);
        assert_eq!(spec(Some(b"aad"), None), *b"\x00\x03aad\x00");
        assert_eq!(spec(None, Some(b"v=1")), *b"\x00\x00\x03v=1");
        assert_eq!(spec(Some(b"aad"), Some(b"v=1")), *b"\x00\x03aad\x03v=1");
        let long = spec(Some(&[7; 8192]), Some(&[9; 20]));
        assert_eq!(
            (long.len(), &long[..2], long[2 + 8192]),
            (2 + 8192 + 1 + 20, &[0x20, 0][..], 20)
        );
        assert_eq!(spec(Some(&[0; 65_535]), None)[..2], [0xff, 0xff]);
    }

    /// The layout that the sample proxy's ciphertexts were made with, so that they stay readable.
    #[test]
    fn digest_framing_is_the_sample_proxys() {
        let digest = |aad, md| bound(AadFraming::Digest, aad, md);
        let hash = |aad: &[u8]| Sha256::digest(aad).to_vec();
        assert_eq!(digest(None, None), [0, 0, 0]);
        assert_eq!(digest(Some(b""), None), [&[0, 0][..], &hash(b""), &[0]].concat());
        assert_eq!(
            digest(Some(b"aad"), Some(b"v=1")),
            [&[0, 3][..], &hash(b"aad"), b"\x03v=1"].concat()
        );
        assert_eq!(digest(Some(&[1; 8192]), Some(&[2; 20])).len(), 55);
    }

    #[test]
    fn aad_that_no_frame_can_express_is_refused() {
        for framing in [AadFraming::Spec, AadFraming::Digest] {
            assert!(BoundAad::new(framing, Some(&[0; 65_535]), None).is_ok());
            assert_eq!(
                BoundAad::new(framing, Some(&[0; 65_536]), None).unwrap_err(),
                AadTooLong
            );
        }
    }

    #[test]
    fn metadata_can_be_bound_again_and_clones_stay_as_they_are() {
        let mut aad = BoundAad::new(AadFraming::Spec, Some(b"aad"), None).unwrap();
        let before = aad.buffer.as_ptr();
        aad.set_metadata(Some(metadata(b"first")));
        assert_eq!(aad.buffer.as_ptr(), before, "binding moves nothing");
        let clone = aad.clone();
        aad.set_metadata(Some(metadata(b"2")));
        assert_eq!(clone.as_bytes(), b"\x00\x03aad\x05first");
        assert_eq!(aad.as_bytes(), b"\x00\x03aad\x012");
        assert_eq!((clone.raw(), aad.raw()), (&b"aad"[..], &b"aad"[..]));
    }

    /// ENC-8: marked is `Spec`, and only that; what a backend sees has no mark.
    #[test]
    fn migrating_says_which_framing_it_used() {
        let framed = |framing, own: Option<&[u8]>| BoundAad::new(framing, Some(b"aad"), own.map(metadata)).unwrap();
        for own in [None, Some(&b"v=1"[..]), Some(&[7; 18]), Some(&[7; 19]), Some(&[7; 20])] {
            let new = framed(AadFraming::Migrating, own);
            let is_marked = own.is_none_or(|own| own.len() <= 18);
            let sent = if is_marked { &AadFraming::MARK[..] } else { &[] };
            let sent = [sent, own.unwrap_or_default()].concat();
            assert_eq!(
                (new.sent_metadata(), new.metadata()),
                (&*sent, own.map(metadata).as_ref())
            );
            assert!(new.is_readable_again());
            let same = if is_marked {
                AadFraming::Spec
            } else {
                AadFraming::Digest
            };
            assert_eq!(new.as_bytes(), framed(same, Some(&sent)).as_bytes());

            // On decrypt: the new one as it was bound, and what is not marked as `Digest`.
            for (sent, expected) in [
                (Some(&*sent), &new),
                (own, &framed(AadFraming::Digest, own)),
                (None, &framed(AadFraming::Digest, None)),
            ] {
                let mut again = framed(AadFraming::Migrating, Some(b"bound before"));
                again.set_sent_metadata(sent.filter(|sent| !sent.is_empty()).map(metadata));
                assert_eq!(again.as_bytes(), expected.as_bytes(), "{sent:?}");
                assert_eq!((again.metadata(), again.raw()), (expected.metadata(), &b"aad"[..]));
            }
        }
        let no_aad = BoundAad::new(AadFraming::Migrating, None, Some(metadata(&[7; 20]))).unwrap();
        assert_eq!(no_aad.as_bytes(), bound(AadFraming::Digest, None, Some(&[7; 20])));
    }

    /// ENC-8: a mark for which there was no room would be read as one on decrypt.
    #[test]
    fn a_mark_that_is_none_is_noticed() {
        let looks_marked = metadata(&[&AadFraming::MARK[..], &[7; 17]].concat());
        for (framing, is_readable) in [(AadFraming::Migrating, false), (AadFraming::Digest, true)] {
            let aad = BoundAad::new(framing, None, Some(looks_marked)).unwrap();
            assert_eq!(aad.is_readable_again(), is_readable);
        }
    }

    #[test]
    fn another_requests_aad_is_known_as_such() {
        let aad = |framing, aad: Option<&[u8]>, md: &[u8]| BoundAad::new(framing, aad, Some(metadata(md))).unwrap();
        let this = aad(AadFraming::Digest, Some(b""), b"1");
        assert!(this.is_of_the_same_request(&this.clone()));
        assert!(this.is_of_the_same_request(&aad(AadFraming::Digest, Some(b""), b"22")));
        let migrating = |md| aad(AadFraming::Migrating, Some(b""), md);
        assert!(
            migrating(b"1").is_of_the_same_request(&migrating(&[7; 20])),
            "in both layouts"
        );
        for other in [
            aad(AadFraming::Spec, Some(b""), b"1"),
            aad(AadFraming::Digest, None, b"1"),
            aad(AadFraming::Digest, Some(b"x"), b"1"),
        ] {
            assert!(!this.is_of_the_same_request(&other) && !other.is_of_the_same_request(&this));
        }
    }

    proptest! {
        /// ENC-7: two different inputs never have the same frame.
        #[test]
        fn framing_is_injective(
            a in prop::collection::vec(0u8..3, 0..6), b in prop::collection::vec(0u8..3, 0..6),
            m in prop::option::of(prop::collection::vec(0u8..3, 1..4)),
            n in prop::option::of(prop::collection::vec(0u8..3, 1..4)),
            framing in prop_oneof![Just(AadFraming::Spec), Just(AadFraming::Digest), Just(AadFraming::Migrating)],
        ) {
            let left = bound(framing, Some(&a), m.as_deref());
            let right = bound(framing, Some(&b), n.as_deref());
            prop_assert_eq!(left == right, a == b && m == n);
        }

        /// ENC-9 needs the AAD as it came, whatever the framing made of it.
        #[test]
        fn the_raw_aad_survives(a in prop::collection::vec(any::<u8>(), 0..300), digest: bool) {
            let framing = if digest { AadFraming::Digest } else { AadFraming::Spec };
            let aad = BoundAad::new(framing, Some(&a), Some(metadata(b"m"))).unwrap();
            prop_assert_eq!(aad.raw(), &a[..]);
        }
    }
}
