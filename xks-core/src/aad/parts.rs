//! The parts of the ciphertext metadata that layers put in front of the backend's.

use crate::backend::CiphertextMetadata;

/// The parts of an encryption's layers, outermost first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parts {
    bytes: [u8; CiphertextMetadata::MAX_LENGTH],
    /// May exceed the room: what does not fit is counted and not kept.
    length: usize,
}

impl Parts {
    pub(crate) fn push(&mut self, part: &[u8]) {
        let end = self.length.saturating_add(part.len());
        if let Some(room) = self.bytes.get_mut(self.length..end) {
            room.copy_from_slice(part);
        }
        self.length = end;
    }

    /// Takes off what is behind so many bytes.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }

    /// How long the parts are, whether they fit or not.
    pub(crate) const fn length(&self) -> usize {
        self.length
    }

    /// The parts, if they fit.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}
