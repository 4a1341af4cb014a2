//! The additional authenticated data as AES-GCM gets it: the request's AAD and the ciphertext metadata, framed
//! so that no byte of one can pass for a byte of the other (ENC-7).

use std::{fmt, sync::Arc};

use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::ciphertext::CiphertextMetadata;

/// How the GCM AAD input is made from a request's AAD and the ciphertext metadata. A choice per key store: a
/// ciphertext can only be decrypted with the framing it was made with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AadFraming {
    /// The specification's own (ENC-7): `u16be(len(AAD)) ‖ AAD ‖ u8(len(metadata)) ‖ metadata`.
    #[default]
    Spec,
    /// What AWS's sample proxy makes: `u16be(len(AAD)) ‖ SHA-256(AAD) ‖ u8(len(metadata)) ‖ metadata`, without
    /// the digest when the request has no AAD field. For HSMs that take little AAD, and for ciphertexts that
    /// were made by that proxy.
    Digest,
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
pub struct BoundAad(Arc<Frame>);

/// One buffer that holds the AAD as it came and the GCM AAD input: the former is needed again for the ciphertext
/// data integrity value, the latter must be contiguous.
#[derive(Clone)]
struct Frame {
    /// `Spec`: length, AAD, metadata length, metadata. `Digest`: two unused bytes, AAD, then the input.
    buffer: Vec<u8>,
    /// The AAD is `buffer[LENGTH_BYTES..aad_end]`.
    aad_end: usize,
    /// The input is `buffer[input_start..]`.
    input_start: usize,
    /// The metadata's length stands at `buffer[metadata_start]`.
    metadata_start: usize,
    metadata: Option<CiphertextMetadata>,
}

/// What `u16be(len(AAD))` takes.
const LENGTH_BYTES: usize = 2;
/// The most that follows the AAD in the buffer: length, digest, metadata length, metadata.
const MAX_TAIL: usize = LENGTH_BYTES + 32 + 1 + CiphertextMetadata::MAX_LENGTH;

impl BoundAad {
    /// Frames a request's AAD (`None` when the request has no such field) and the metadata.
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
        let mut raw = RawAad::with_capacity(aad.map_or(0, <[u8]>::len));
        raw.is_present = aad.is_some();
        raw.buffer.extend_from_slice(aad.unwrap_or_default());
        let mut bound = raw.frame(framing)?;
        bound.set_metadata(metadata);
        Ok(bound)
    }

    /// The GCM AAD input.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.buffer.get(self.0.input_start..).unwrap_or_default()
    }

    /// The ciphertext metadata that is part of it.
    #[must_use]
    pub fn metadata(&self) -> Option<&CiphertextMetadata> {
        self.0.metadata.as_ref()
    }

    /// Whether both are made from the same AAD in the same framing, whatever their metadata.
    pub(crate) fn is_of_the_same_request(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.input_start == other.0.input_start
                && self.0.buffer.get(..self.0.metadata_start) == other.0.buffer.get(..other.0.metadata_start))
    }

    /// The AAD as the request had it.
    pub(crate) fn raw(&self) -> &[u8] {
        self.0.buffer.get(LENGTH_BYTES..self.0.aad_end).unwrap_or_default()
    }

    /// Writes the metadata behind the AAD, in place unless a clone of this is still held somewhere.
    pub(crate) fn set_metadata(&mut self, metadata: Option<CiphertextMetadata>) {
        let frame = Arc::make_mut(&mut self.0);
        let bytes = metadata.as_ref().map_or(&[][..], CiphertextMetadata::as_bytes);
        frame.buffer.truncate(frame.metadata_start);
        frame.buffer.push(bytes.len() as u8); // at most 20
        frame.buffer.extend_from_slice(bytes);
        frame.metadata = metadata;
    }
}

impl fmt::Debug for BoundAad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BoundAad({} bytes, {:?})", self.as_bytes().len(), self.0.metadata)
    }
}

/// AAD that has been decoded into a buffer with room for its frame: it is framed where it lies.
pub(crate) struct RawAad {
    /// Two bytes of room, then the AAD.
    pub(crate) buffer: Vec<u8>,
    /// Whether the request has the field, be it empty.
    pub(crate) is_present: bool,
}

impl RawAad {
    /// For AAD of up to `aad` bytes.
    pub(crate) fn with_capacity(aad: usize) -> Self {
        let mut buffer = Vec::with_capacity(LENGTH_BYTES + aad + MAX_TAIL);
        buffer.extend_from_slice(&[0; LENGTH_BYTES]);
        Self {
            buffer,
            is_present: false,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.buffer.len().saturating_sub(LENGTH_BYTES)
    }

    /// Frames the AAD, with no metadata yet.
    pub(crate) fn frame(self, framing: AadFraming) -> Result<BoundAad, AadTooLong> {
        let length = u16::try_from(self.len()).map_err(|_| AadTooLong)?.to_be_bytes();
        let Self { mut buffer, is_present } = self;
        let aad_end = buffer.len();
        let input_start = match framing {
            AadFraming::Spec => {
                for (to, from) in buffer.iter_mut().zip(length) {
                    *to = from;
                }
                0
            }
            AadFraming::Digest => {
                let digest = Sha256::digest(buffer.get(LENGTH_BYTES..).unwrap_or_default());
                buffer.extend_from_slice(&length);
                if is_present {
                    buffer.extend_from_slice(&digest);
                }
                aad_end
            }
        };
        let metadata_start = buffer.len();
        let mut bound = BoundAad(Arc::new(Frame {
            buffer,
            aad_end,
            input_start,
            metadata_start,
            metadata: None,
        }));
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
        let before = aad.0.buffer.as_ptr();
        aad.set_metadata(Some(metadata(b"first")));
        assert_eq!(aad.0.buffer.as_ptr(), before, "binding moves nothing");
        let clone = aad.clone();
        aad.set_metadata(Some(metadata(b"2")));
        assert_eq!(clone.as_bytes(), b"\x00\x03aad\x05first");
        assert_eq!(aad.as_bytes(), b"\x00\x03aad\x012");
        assert_eq!((clone.raw(), aad.raw()), (&b"aad"[..], &b"aad"[..]));
    }

    #[test]
    fn another_requests_aad_is_known_as_such() {
        let aad = |framing, aad: Option<&[u8]>, md: &[u8]| BoundAad::new(framing, aad, Some(metadata(md))).unwrap();
        let this = aad(AadFraming::Digest, Some(b""), b"1");
        assert!(this.is_of_the_same_request(&this.clone()));
        assert!(this.is_of_the_same_request(&aad(AadFraming::Digest, Some(b""), b"22")));
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
            framing in prop_oneof![Just(AadFraming::Spec), Just(AadFraming::Digest)],
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
