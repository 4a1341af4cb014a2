//! Contracts of ciphertext metadata: how much there is, and that a layer around the backend can add to it.

use super::{
    Fixture, Problem,
    ciphertexts::FRAMINGS,
    tools::{
        Altered, Checked, aad, broken, checked, copy, flipped, is_plaintext, must_refuse, not_run, request, require,
        said, text, usual_aad, who,
    },
};
use crate::{
    BackendError, KeyBackend as _, Zeroizing,
    aad::AadFraming,
    backend::{BackendErrorKind, CiphertextMetadata, DecryptRequest, EncryptRequest, Encrypted},
};

pub(super) fn metadata_is_as_long_as_said(fixture: &Fixture) -> Checked {
    let (said, most) = (fixture.backend.metadata_length(), CiphertextMetadata::MAX_LENGTH);
    require(said <= most, || {
        format!("`metadata_length` says {said} bytes; there may be at most {most}")
    })?;
    let encrypted = fixture.encrypt(b"plaintext", usual_aad()?)?;
    let bound = encrypted.bound_aad().metadata();
    let bound = bound.map_or(0, |bound| bound.as_bytes().len());
    require(bound <= said, || {
        format!("{bound} bytes of metadata are bound, and `metadata_length` says {said}")
    })
}

pub(super) fn parts_of_layers_are_kept(fixture: &Fixture) -> Checked {
    let taken = fixture.backend.metadata_length();
    let mut is_tried = false;
    for framing in FRAMINGS {
        let room = CiphertextMetadata::MAX_LENGTH.saturating_sub(taken + framing.metadata_length());
        for length in [1, 5, room] {
            if (1..=room).contains(&length) {
                Tagged::new(fixture, framing, length).check()?;
                is_tried = true;
            }
        }
    }
    if is_tried {
        Ok(())
    } else {
        Err(Problem::NotTried(
            "room for the part of a layer: its metadata has 20 bytes",
        ))
    }
}

/// A layer's part around the backend.
struct Tagged<'f> {
    fixture: &'f Fixture,
    framing: AadFraming,
    part: Vec<u8>,
}

impl<'f> Tagged<'f> {
    fn new(fixture: &'f Fixture, framing: AadFraming, length: usize) -> Self {
        let part = text(length);
        Self { fixture, framing, part }
    }

    fn check(&self) -> Checked {
        let (fixture, part) = (self.fixture, &*self.part);
        let mut request = request(b"plaintext", aad(self.framing, Some(b"aad"))?);

        let encrypted = fixture.encrypt_request(&mut request.tag(part))?;
        self.decrypts(&encrypted, "what was encrypted with the part of a layer")?;
        let verified = self.encrypt_verified(&mut request)?;
        self.decrypts(&verified, "what was encrypted and verified with the part of a layer")?;

        // The rest stays as it is, and another part stands in front of it.
        let own = encrypted.bound_aad().metadata().copied();
        let invalid = BackendErrorKind::InvalidCiphertext;
        for bit in 0..part.len() * 8 {
            let other = flipped(part, bit);
            let aad = request.tag(&other).bind_aad(own);
            let changed = self.decrypt(Altered(&encrypted).aad(aad), &other)?;
            must_refuse(
                changed,
                invalid,
                &format!("bit {bit} of the part of a layer was changed: to decrypt that"),
            )?;
        }
        self.decrypts(&encrypted, "the good ciphertext, after changed parts of a layer,")?;
        drop(request.tag(part));
        let without = fixture.encrypt_request(&mut request)?;
        fixture.must_decrypt(&without, b"plaintext", "what was encrypted without the part of a layer")
    }

    fn encrypt_verified(&self, request: &mut EncryptRequest<'_>) -> Result<Encrypted, Problem> {
        let (fixture, mut tagged) = (self.fixture, request.tag(&self.part));
        let key = fixture.key(&fixture.usable)?;
        let verified = fixture.wait(fixture.backend.encrypt_verified(&key, &mut tagged));
        let verified = verified.ok_or_else(not_run)?.map_err(|error| {
            let how = "an encryption with the part of a layer was not verified";
            broken(format!("{how}: {}", said(&error)))
        })?;
        checked(&tagged, verified.encrypted)
    }

    fn decrypts(&self, encrypted: &Encrypted, what: &str) -> Checked {
        is_plaintext(self.decrypt(copy(encrypted), &self.part)?, b"plaintext", what)
    }

    /// As the layer does it, which takes its part off.
    fn decrypt(&self, encrypted: Encrypted, part: &[u8]) -> Result<Result<Zeroizing<Vec<u8>>, BackendError>, Problem> {
        let (fixture, request) = (self.fixture, DecryptRequest::new(who(), encrypted));
        let key = fixture.key(&fixture.usable)?;
        match request.untag(part.len()) {
            Some((there, inner)) if there == part => {
                fixture.wait(fixture.backend.decrypt(&key, &inner)).ok_or_else(not_run)
            }
            _ => Err(broken(
                "the ciphertext metadata does not begin with the part of the layer",
            )),
        }
    }
}
