//! Contracts of ciphertexts: what is encrypted decrypts.

use aes_gcm::{
    Aes256Gcm, AesGcm, KeyInit as _,
    aead::{AeadInOut, consts::U16},
    aes::Aes256,
};

use super::{
    Fixture, Problem,
    tools::{Checked, aad, broken, metadata, request, require, said, text, usual_aad},
};
use crate::{
    KeyBackend as _,
    aad::{AadFraming, BoundAad},
    backend::{CiphertextMetadata, Encrypted, Iv},
};

pub(super) const FRAMINGS: [AadFraming; 3] = [AadFraming::Spec, AadFraming::Digest, AadFraming::Migrating];

/// More is not tried, even if the backend has no limit: bytes of plaintext, and of AAD, of which no framing
/// takes more.
const MOST: (usize, usize) = (1 << 20, u16::MAX as usize);

pub(super) fn round_trips(fixture: &Fixture) -> Checked {
    let limits = fixture.backend.limits();
    let (most, most_aad) = (limits.plaintext.min(MOST.0), limits.aad.min(MOST.1));
    let all_aad = text(most_aad);
    for framing in FRAMINGS {
        for length in [0, 1, 15, 16, 17, 32, 4096, 4300, most] {
            for aad_length in [None, Some(0), Some(1), Some(300), Some(8192), Some(most_aad)] {
                let plaintext = text(length);
                let raw = aad_length.map(|length| all_aad.get(..length).unwrap_or(&all_aad));
                let what =
                    format!("what was encrypted of {length} bytes with AAD of {aad_length:?} bytes in {framing:?}");
                let encrypted = fixture.encrypt(&plaintext, aad(framing, raw)?);
                let encrypted = encrypted.map_err(|problem| match problem {
                    Problem::Broken(how) => broken(format!("{how} (AAD of {aad_length:?} bytes in {framing:?})")),
                    not_tried @ Problem::NotTried(_) => not_tried,
                })?;
                fixture.must_decrypt(&encrypted, &plaintext, &what)?;
            }
        }
    }
    Ok(())
}

pub(super) fn any_bytes_are_taken(fixture: &Fixture) -> Checked {
    for byte in [0, 1, b'\n', b'"', 0x7f, 0x80, 0xff] {
        for length in [1, 16, 33] {
            let plaintext = [&text(length)[..], &vec![byte; length]].concat();
            let bound = aad(AadFraming::Spec, Some(&plaintext))?;
            let encrypted = fixture.encrypt(&plaintext, bound)?;
            let what = format!("what ends in the byte {byte:#04x} {length} times, as does its AAD,");
            fixture.must_decrypt(&encrypted, &plaintext, &what)?;
        }
    }
    // As if it were padded to the cipher's blocks, in each way.
    for pad in 1..=16_u8 {
        let plaintext = [&text(16)[..], &vec![pad; pad.into()]].concat();
        let encrypted = fixture.encrypt(&plaintext, usual_aad()?)?;
        fixture.must_decrypt(
            &encrypted,
            &plaintext,
            &format!("what ends as if it had {pad} bytes of padding"),
        )?;
    }
    Ok(())
}

pub(super) fn lengths(fixture: &Fixture) -> Checked {
    for length in [0, 1, 12, 16, 17, 4300] {
        let encrypted = fixture.encrypt(&text(length), usual_aad()?)?;
        let got = encrypted.ciphertext().len();
        require(got == length, || format!("{length} bytes became a ciphertext of {got}"))?;
        let is_plain = length > 1 && encrypted.ciphertext() == text(length);
        require(!is_plain, || "the ciphertext is the plaintext".into())?;
    }
    Ok(())
}

pub(super) fn the_requests_aad_is_returned(fixture: &Fixture) -> Checked {
    for framing in FRAMINGS {
        for raw in [None, Some(&b""[..]), Some(b"this")] {
            // `encrypt` compares what comes back with the request.
            let encrypted = fixture.encrypt(b"plaintext", aad(framing, raw)?)?;
            let own = encrypted.bound_aad().metadata().copied();
            let expected = BoundAad::new(framing, raw, own).map_err(|error| broken(error.to_string()))?;
            let is_same = encrypted.bound_aad().as_bytes() == expected.as_bytes();
            require(is_same, || "the `BoundAad` is not that of the request".into())?;
        }
    }
    Ok(())
}

pub(super) fn software_agrees(fixture: &Fixture) -> Checked {
    let value = fixture
        .value
        .as_ref()
        .ok_or(Problem::NotTried("value of its usable key"))?;
    let short = Aes256Gcm::new((&**value).into());
    let long = AesGcm::<Aes256, U16>::new((&**value).into());
    for (length, raw) in [(0, None), (14, Some(&b"project=nile"[..])), (4300, Some(&[7; 8192]))] {
        let plaintext = text(length);
        let encrypted = fixture.encrypt(&plaintext, aad(AadFraming::Spec, raw)?)?;
        let mut opened = encrypted.ciphertext().to_vec();
        let (bytes, tag) = (encrypted.bound_aad().as_bytes(), (*encrypted.tag().as_bytes()).into());
        let outcome = match <[u8; 12]>::try_from(encrypted.iv().as_bytes()) {
            Ok(iv) => short.decrypt_inout_detached(&iv.into(), bytes, opened.as_mut_slice().into(), &tag),
            Err(_) => match <[u8; 16]>::try_from(encrypted.iv().as_bytes()) {
                Ok(iv) => long.decrypt_inout_detached(&iv.into(), bytes, opened.as_mut_slice().into(), &tag),
                Err(_) => return Err(broken("an IV of another length")),
            },
        };
        let agrees = outcome.is_ok() && opened == plaintext;
        require(agrees, || {
            format!("AES-256-GCM in software does not decrypt what the backend encrypted of {length} bytes")
        })?;

        // Metadata of its own belongs to the ciphertext, so it is taken from there.
        let own = encrypted.bound_aad().metadata().copied();
        let bound = BoundAad::new(AadFraming::Spec, raw, own).map_err(|error| broken(error.to_string()))?;
        for iv in [Iv::from([9; 12]), Iv::from([9; 16])] {
            let mut sealed = plaintext.clone();
            let buffer = sealed.as_mut_slice().into();
            let tag = match <[u8; 12]>::try_from(iv.as_bytes()) {
                Ok(iv) => short.encrypt_inout_detached(&iv.into(), bound.as_bytes(), buffer),
                Err(_) if fixture.long_ivs => long.encrypt_inout_detached(&[9; 16].into(), bound.as_bytes(), buffer),
                Err(_) => continue,
            };
            let tag = tag.map_err(|_| broken("AES-256-GCM in software refused to encrypt"))?;
            let by_software = Encrypted::new(sealed, iv, <[u8; 16]>::from(tag).into(), bound.clone());
            let what = format!("what software encrypted under an IV of {} bytes", iv.as_bytes().len());
            fixture.must_decrypt(&by_software, &plaintext, &what)?;
        }
    }
    Ok(())
}

pub(super) fn default_metadata_is_used(fixture: &Fixture) -> Checked {
    // Any bytes, and as many as there may be beside those of the backend, which may be a layer's.
    let room = CiphertextMetadata::MAX_LENGTH.saturating_sub(fixture.backend.metadata_length());
    for default in [&b"\0"[..], b"default metadata", &[0xff; CiphertextMetadata::MAX_LENGTH]] {
        let default = default.get(..room).unwrap_or(default);
        let encrypted = with_default_metadata(fixture, default)?;
        let what = format!(
            "what was encrypted with the default metadata {}",
            default.escape_ascii()
        );
        fixture.must_decrypt(&encrypted, b"plaintext", &what)?;
    }
    Ok(())
}

/// What a layer around the backend makes, with metadata of its own or with the backend's.
pub(super) fn with_default_metadata(fixture: &Fixture, default: &[u8]) -> Result<Encrypted, Problem> {
    let mut request = request(b"plaintext", usual_aad()?);
    if let Some(default) = metadata(default) {
        request.set_default_metadata(default);
    }
    let encrypted = fixture.encrypt_request(&mut request)?;
    let has_metadata = encrypted.bound_aad().metadata().is_some();
    require(has_metadata, || {
        "neither its own metadata nor the default one is bound".into()
    })?;
    Ok(encrypted)
}

pub(super) fn a_request_can_be_encrypted_again(fixture: &Fixture) -> Checked {
    let mut request = request(b"plaintext", usual_aad()?);
    let (first, second) = (
        fixture.encrypt_request(&mut request)?,
        fixture.encrypt_request(&mut request)?,
    );
    require(first.iv() != second.iv(), || "both have the same IV".into())?;
    fixture.must_decrypt(&first, b"plaintext", "the first of two encryptions of a request")?;
    fixture.must_decrypt(&second, b"plaintext", "the second of two encryptions of a request")
}

pub(super) fn an_answer_can_be_decrypted_again(fixture: &Fixture) -> Checked {
    let encrypted: Vec<_> = (1..20)
        .map(|length| Ok((length, fixture.encrypt(&text(length), usual_aad()?)?)))
        .collect::<Result<_, Problem>>()?;
    for (length, encrypted) in encrypted.iter().rev().chain(&encrypted) {
        fixture.must_decrypt(encrypted, &text(*length), "an older ciphertext")?;
    }
    Ok(())
}

pub(super) fn ciphertexts_outlive_a_restart(fixture: &Fixture) -> Checked {
    let restarted = fixture
        .restarted
        .as_ref()
        .ok_or(Problem::NotTried("backend as after a restart"))?;
    for length in [0, 1, 4300] {
        let plaintext = text(length);
        let encrypted = fixture.encrypt(&plaintext, usual_aad()?)?;
        match fixture.decrypt_on(&**restarted, &fixture.usable, encrypted)? {
            Ok(decrypted) if *decrypted == plaintext => {}
            Ok(_) => return Err(broken("after a restart a ciphertext decrypted to another plaintext")),
            Err(error) => {
                return Err(broken(format!(
                    "after a restart a ciphertext did not decrypt: {}",
                    said(&error)
                )));
            }
        }
    }
    Ok(())
}
