//! Contracts of changed ciphertexts: they do not decrypt, and harm nothing else.

use std::{collections::HashSet, error::Error as _};

use super::{
    Fixture, Problem,
    ciphertexts::with_default_metadata,
    tools::{
        Altered, Checked, aad, broken, copy, flipped, is_plaintext, metadata, must_refuse, not_run, request, require,
        said, some_bits, text, usual_aad,
    },
};
use crate::{
    KeyBackend as _,
    aad::{AadFraming, BoundAad},
    backend::{BackendErrorKind, DecryptRequest, Encrypted, Iv, Verification},
};

/// What is wrong is tried after what is right, which a backend may have remembered.
const FIRST: &str = "a good ciphertext, before anything was changed,";

pub(super) fn any_change_of_the_ciphertext_is_noticed(fixture: &Fixture) -> Checked {
    for length in [1, 16, 33, 4300] {
        let encrypted = fixture.encrypt(&text(length), usual_aad()?)?;
        fixture.must_decrypt(&encrypted, &text(length), FIRST)?;
        let good = encrypted.ciphertext();
        let alter = |to: Vec<u8>, what: &str| {
            fixture.must_be_invalid(&fixture.usable, Altered(&encrypted).ciphertext(to), what)
        };
        for bit in some_bits(length) {
            let what = format!("bit {bit} of a ciphertext of {length} bytes was changed");
            alter(flipped(good, bit), &what)?;
        }
        alter(Vec::new(), "the ciphertext was left out")?;
        alter(
            good.get(1..).unwrap_or_default().to_vec(),
            "the first byte was left out",
        )?;
        alter(
            good.get(..length - 1).unwrap_or_default().to_vec(),
            "the last byte was left out",
        )?;
        alter([good, &[0]].concat(), "a byte was added at the end")?;
        alter([&[0], good].concat(), "a byte was added at the beginning")?;
        fixture.must_decrypt(&encrypted, &text(length), "the good ciphertext, after changed ones,")?;
    }
    let empty = fixture.encrypt(b"", usual_aad()?)?;
    let what = "a byte was added to an empty ciphertext";
    fixture.must_be_invalid(&fixture.usable, Altered(&empty).ciphertext(vec![0]), what)
}

pub(super) fn any_change_of_the_tag_is_noticed(fixture: &Fixture) -> Checked {
    for length in [0, 32] {
        let encrypted = fixture.encrypt(&text(length), usual_aad()?)?;
        fixture.must_decrypt(&encrypted, &text(length), FIRST)?;
        let tag = *encrypted.tag().as_bytes();
        let alter = |to: [u8; 16], what: &str| {
            fixture.must_be_invalid(&fixture.usable, Altered(&encrypted).tag(to.into()), what)
        };
        for bit in 0..128 {
            let altered = flipped(&tag, bit).try_into().unwrap_or_default();
            alter(altered, &format!("bit {bit} of the tag was changed"))?;
        }
        alter([0; 16], "the tag was replaced by zeros")?;
        // A byte moves from the ciphertext into the tag, or back.
        let all = [encrypted.ciphertext(), &tag].concat();
        if let Some((ciphertext, rest)) = all.split_at_checked(length.saturating_sub(1))
            && let Some(tag) = rest.first_chunk::<16>()
            && length > 0
        {
            let aad = encrypted.bound_aad().clone();
            let moved = Encrypted::new(ciphertext.to_vec(), *encrypted.iv(), (*tag).into(), aad);
            let what = "a byte was moved from the ciphertext into the tag, and the tag cut";
            fixture.must_be_invalid(&fixture.usable, moved, what)?;
        }
        fixture.must_decrypt(&encrypted, &text(length), "the good ciphertext, after changed tags,")?;
    }
    Ok(())
}

pub(super) fn any_change_of_the_iv_is_noticed(fixture: &Fixture) -> Checked {
    let encrypted = fixture.encrypt(b"plaintext", usual_aad()?)?;
    fixture.must_decrypt(&encrypted, b"plaintext", FIRST)?;
    let iv = encrypted.iv().as_bytes();
    for bit in 0..iv.len() * 8 {
        if let Ok(altered) = Iv::try_from(&*flipped(iv, bit)) {
            let what = format!("bit {bit} of the IV was changed");
            fixture.must_be_invalid(&fixture.usable, Altered(&encrypted).iv(altered), &what)?;
        }
    }
    let mut other_length = iv.to_vec();
    other_length.resize(28 - iv.len(), 0);
    if let Ok(altered) = Iv::try_from(&*other_length) {
        let what = "the IV was made longer or shorter";
        fixture.must_be_invalid(&fixture.usable, Altered(&encrypted).iv(altered), what)?;
    }
    fixture.must_decrypt(&encrypted, b"plaintext", "the good ciphertext, after changed IVs,")
}

pub(super) fn any_change_of_the_aad_is_noticed(fixture: &Fixture) -> Checked {
    for (length, plaintext) in [
        (1, &b"plaintext"[..]),
        (12, b""),
        (40, b"plaintext"),
        (255, b"plaintext"),
        (256, b""),
        (8192, b"plaintext"),
    ] {
        let raw = text(length);
        let encrypted = fixture.encrypt(plaintext, aad(AadFraming::Spec, Some(&raw))?)?;
        fixture.must_decrypt(&encrypted, plaintext, FIRST)?;
        let own = encrypted.bound_aad().metadata().copied();
        let alter = |framing, to: Option<&[u8]>, what: &str| {
            let aad = BoundAad::new(framing, to, own).map_err(|error| broken(error.to_string()))?;
            fixture.must_be_invalid(&fixture.usable, Altered(&encrypted).aad(aad), what)
        };
        for bit in some_bits(length) {
            let what = format!("bit {bit} of {length} bytes of AAD was changed");
            alter(AadFraming::Spec, Some(&flipped(&raw, bit)), &what)?;
        }
        alter(AadFraming::Spec, None, "the AAD was left out")?;
        alter(
            AadFraming::Spec,
            raw.get(..length - 1),
            "the last byte of the AAD was left out",
        )?;
        alter(
            AadFraming::Spec,
            Some(&[&raw[..], &[0]].concat()),
            "a byte was added to the AAD",
        )?;
        alter(AadFraming::Digest, Some(&raw), "the AAD was framed as its digest")?;
        fixture.must_decrypt(&encrypted, plaintext, "the good ciphertext, after changed AAD,")?;
    }
    let absent = fixture.encrypt(b"plaintext", aad(AadFraming::Digest, None)?)?;
    let own = absent.bound_aad().metadata().copied();
    let empty = BoundAad::new(AadFraming::Digest, Some(b""), own).map_err(|error| broken(error.to_string()))?;
    let what = "AAD that was absent became empty in the digest framing";
    fixture.must_be_invalid(&fixture.usable, Altered(&absent).aad(empty), what)
}

pub(super) fn any_change_of_the_metadata_is_noticed(fixture: &Fixture) -> Checked {
    let encrypted = with_default_metadata(fixture, b"meta")?;
    fixture.must_decrypt(&encrypted, b"plaintext", "a ciphertext with metadata")?;
    let with = usual_aad()?;
    let raw = with.raw();
    let alter = |raw: &[u8], md: &[u8], what: &str| {
        let aad = BoundAad::new(AadFraming::Spec, Some(raw), metadata(md));
        let aad = aad.map_err(|error| broken(error.to_string()))?;
        fixture.must_be_invalid(&fixture.usable, Altered(&encrypted).aad(aad), what)
    };
    let Some(own) = encrypted.bound_aad().metadata().map(|own| own.as_bytes().to_vec()) else {
        return Err(broken("neither its own metadata nor the default one is bound"));
    };
    for bit in 0..own.len() * 8 {
        alter(
            raw,
            &flipped(&own, bit),
            &format!("bit {bit} of the metadata was changed"),
        )?;
    }
    alter(raw, b"", "the metadata was dropped")?;
    alter(
        raw,
        own.get(..own.len() - 1).unwrap_or_default(),
        "the metadata was cut",
    )?;
    alter(raw, &[&own[..], b"0"].concat(), "a byte was added to the metadata")?;
    alter(
        &[raw, &own].concat(),
        b"",
        "the metadata was moved to the end of the AAD",
    )?;
    alter(
        &[raw, &[own.len() as u8], &own].concat(),
        b"",
        "the framed metadata was moved into the AAD",
    )?;
    let (start, end) = raw.split_at(raw.len() - 2);
    alter(
        start,
        &[end, &own].concat(),
        "the end of the AAD was moved into the metadata",
    )?;
    fixture.must_decrypt(&encrypted, b"plaintext", "the good ciphertext, after changed metadata,")?;

    let without = fixture.encrypt(b"plaintext", usual_aad()?)?;
    if without.bound_aad().metadata().is_none() {
        let added = BoundAad::new(AadFraming::Spec, Some(raw), metadata(b"added"));
        let added = added.map_err(|error| broken(error.to_string()))?;
        fixture.must_be_invalid(&fixture.usable, Altered(&without).aad(added), "metadata was added")?;
    }
    Ok(())
}

pub(super) fn parts_of_two_ciphertexts_do_not_mix(fixture: &Fixture) -> Checked {
    let one = fixture.encrypt(b"the first one", usual_aad()?)?;
    let two = fixture.encrypt(b"the other one", usual_aad()?)?;
    fixture.must_decrypt(&one, b"the first one", FIRST)?;
    fixture.must_decrypt(&two, b"the other one", FIRST)?;
    for (encrypted, what) in [
        (
            Altered(&one).tag(*two.tag()),
            "the tag was replaced by that of another ciphertext",
        ),
        (
            Altered(&one).iv(*two.iv()),
            "the IV was replaced by that of another ciphertext",
        ),
        (
            Altered(&one).ciphertext(two.ciphertext().to_vec()),
            "the ciphertext was replaced by another",
        ),
    ] {
        fixture.must_be_invalid(&fixture.usable, encrypted, what)?;
    }
    fixture.must_decrypt(&one, b"the first one", "the first of two ciphertexts")?;
    fixture.must_decrypt(&two, b"the other one", "the second of two ciphertexts")
}

pub(super) fn keys_are_kept_apart(fixture: &Fixture) -> Checked {
    let other = fixture.other.as_ref().ok_or(Problem::NotTried("other usable key"))?;
    let encrypted = fixture.encrypt(b"plaintext", usual_aad()?)?;
    fixture.must_decrypt(&encrypted, b"plaintext", FIRST)?;
    fixture.must_be_invalid(other, copy(&encrypted), "it was given to another key")?;
    let of_other = fixture.encrypt_on(&*fixture.backend, other, b"plaintext", usual_aad()?)?;
    let of_other = of_other.map_err(|error| broken(format!("the other key did not encrypt: {}", said(&error))))?;
    fixture.must_be_invalid(
        &fixture.usable,
        copy(&of_other),
        "that of the other key was given to this one",
    )?;
    is_plaintext(
        fixture.decrypt(other, of_other)?,
        b"plaintext",
        "what the other key encrypted",
    )
}

pub(super) fn verifications_are_decryptions(fixture: &Fixture) -> Checked {
    let (key, mut request) = (fixture.key(&fixture.usable)?, request(b"plaintext", usual_aad()?));
    let encrypted = fixture.encrypt_request(&mut request)?;
    let verify = |encrypted| {
        let request = DecryptRequest::verification(&request, encrypted);
        let outcome = fixture.wait(fixture.backend.decrypt(&key, &request));
        outcome.ok_or_else(not_run)
    };
    for (altered, what) in [
        (
            Altered(&encrypted).ciphertext(flipped(encrypted.ciphertext(), 9)),
            "ciphertext",
        ),
        (Altered(&encrypted).tag([0; 16].into()), "tag"),
        (Altered(&encrypted).aad(aad(AadFraming::Spec, None)?), "AAD"),
    ] {
        let what = format!("the verification with a wrong {what}");
        must_refuse(verify(altered)?, BackendErrorKind::InvalidCiphertext, &what)?;
    }
    let is_right = verify(encrypted)?.is_ok_and(|plaintext| *plaintext == b"plaintext");
    require(is_right, || {
        "the verification of what was encrypted does not give its plaintext".into()
    })
}

pub(super) fn verified_encryptions_are_encryptions(fixture: &Fixture) -> Checked {
    let mut ivs = Vec::new();
    for (length, framing, raw) in [
        (0, AadFraming::Spec, None),
        (32, AadFraming::Spec, Some(text(200))),
        (32, AadFraming::Digest, Some(text(200))),
        (4300, AadFraming::Spec, Some(text(8192))),
    ] {
        let (key, plaintext) = (fixture.key(&fixture.usable)?, text(length));
        let mut request = request(&plaintext, aad(framing, raw.as_deref())?);
        let outcome = fixture.wait(fixture.backend.encrypt_verified(&key, &mut request));
        let verified = outcome.ok_or_else(not_run)?.map_err(|error| {
            broken(format!(
                "an encryption of {length} bytes with its verification failed: {}",
                said(&error)
            ))
        })?;
        let encrypted = verified.encrypted();
        request.check(encrypted).map_err(broken)?;
        let right = *Verification::begin(copy(encrypted)).integrity_value();
        require(right == *verified.integrity_value(), || {
            "the ciphertext data integrity value is not that of the ciphertext".into()
        })?;
        fixture.must_decrypt(encrypted, &plaintext, "what was encrypted with its verification")?;
        ivs.push(*encrypted.iv());
        // The same request again, as when another key manager failed.
        let again = fixture.encrypt_request(&mut request)?;
        fixture.must_decrypt(&again, &plaintext, "what was encrypted after that")?;
        ivs.push(*again.iv());
    }
    let distinct: HashSet<_> = ivs.iter().collect();
    require(distinct.len() == ivs.len(), || "an IV was used twice".into())
}

pub(super) fn what_is_invalid_says_no_more(fixture: &Fixture) -> Checked {
    let encrypted = fixture.encrypt(&text(33), usual_aad()?)?;
    let good = encrypted.ciphertext();
    let mut words = Vec::new();
    for altered in [
        Altered(&encrypted).ciphertext(flipped(good, 0)),
        Altered(&encrypted).ciphertext(good.get(1..).unwrap_or_default().to_vec()),
        Altered(&encrypted).tag([0; 16].into()),
        Altered(&encrypted).iv([0; 12].into()),
        Altered(&encrypted).aad(aad(AadFraming::Spec, None)?),
    ] {
        match fixture.decrypt(&fixture.usable, altered)? {
            Ok(_) => return Err(broken("a changed ciphertext decrypted")),
            Err(error) => {
                require(error.source().is_none(), || {
                    format!("the error has a source: {}", said(&error))
                })?;
                words.push(said(&error));
            }
        }
    }
    words.dedup();
    require(words.len() == 1, || {
        format!("what is wrong with a ciphertext is told: {}", words.join(", "))
    })
}
