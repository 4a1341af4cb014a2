//! What leaves a key manager is the key's material, wrapped as it was asked for, and only of keys that may
//! leave.

use std::collections::HashSet;

use super::{
    super::{
        Problem,
        ciphertexts::software_agrees,
        tools::{Checked, broken, require, text},
    },
    Fixture,
    unwrap::{Importer, cmac},
};
use crate::{
    KeyId, Zeroizing,
    backend::KeyUsage,
    manage::{ManageErrorKind as Kind, WrappingAlgorithm},
};

/// The lengths of the keys that AWS KMS gives.
const SIZES: [usize; 3] = [2048, 3072, 4096];

fn algorithms(fixture: &Fixture) -> Result<Vec<WrappingAlgorithm>, Problem> {
    let algorithms = fixture.capabilities()?.wrapping;
    if algorithms.is_empty() {
        return Err(Problem::NotTried("way to wrap keys"));
    }
    Ok(algorithms)
}

fn wrap(fixture: &Fixture, id: &KeyId, algorithm: WrappingAlgorithm, bits: usize) -> Result<Vec<u8>, Problem> {
    let key = Importer::of_bits(bits)?.wrapping_key(algorithm)?;
    let call = fixture.manager.wrap_key(id, &key, fixture.deadline());
    let wrapped = fixture.must(&format!("to wrap with {algorithm} under {bits} bits"), call)?;
    require(wrapped.len() == key.wrapped_length(), || {
        format!(
            "{algorithm} under {bits} bits gave {} bytes instead of {}",
            wrapped.len(),
            key.wrapped_length()
        )
    })?;
    Ok(wrapped)
}

/// Wraps a key and unwraps it again.
pub(super) fn material(
    fixture: &Fixture,
    id: &KeyId,
    algorithm: WrappingAlgorithm,
    bits: usize,
) -> Result<Zeroizing<[u8; 32]>, Problem> {
    let wrapped = wrap(fixture, id, algorithm, bits)?;
    let material = Importer::of_bits(bits)?.unwrap(algorithm, &wrapped);
    material.ok_or_else(|| {
        broken(format!(
            "what was wrapped with {algorithm} under {bits} bits cannot be unwrapped"
        ))
    })
}

pub(super) fn only_extractable_keys_are_wrapped(fixture: &Fixture) -> Checked {
    let algorithms = algorithms(fixture)?;
    let stays = fixture.new_key()?;
    let signs = fixture.new_key()?.with_usages([KeyUsage::Sign]);
    let mut keys = vec![stays];
    if fixture.capabilities()?.cmac {
        keys.push(signs);
    }
    fixture.create(&fixture.extractable_key()?)?; // beside one that may be wrapped
    for new in keys {
        let id = fixture.create(&new)?;
        for algorithm in &algorithms {
            let key = Importer::of_bits(2048)?.wrapping_key(*algorithm)?;
            let call = fixture.manager.wrap_key(&id, &key, fixture.deadline());
            let what = format!("to wrap a key with {algorithm} that is not extractable");
            fixture.refuses(&what, &[Kind::NotExtractable], call)?;
        }
    }
    Ok(())
}

pub(super) fn wrapped_keys_are_the_keys(fixture: &Fixture) -> Checked {
    let algorithms = algorithms(fixture)?;
    for (number, bits) in SIZES.into_iter().enumerate() {
        for algorithm in &algorithms {
            let id = fixture.create(&fixture.extractable_key()?)?;
            // Another key beside it, before or after: it must not be wrapped in its place.
            if number % 2 == 0 {
                fixture.create(&fixture.extractable_key()?)?;
            }
            let value = material(fixture, &id, *algorithm, bits)?;
            software_agrees(&fixture.serving(&id).value(*value)).map_err(|problem| match problem {
                Problem::Broken(how) => broken(format!("{how}, by what {algorithm} under {bits} bits wrapped")),
                not_tried @ Problem::NotTried(_) => not_tried,
            })?;
        }
    }
    Ok(())
}

pub(super) fn wrappings_differ(fixture: &Fixture) -> Checked {
    let algorithms = algorithms(fixture)?;
    let id = fixture.create(&fixture.extractable_key()?)?;
    let mut parts = HashSet::new();
    for algorithm in algorithms {
        for _ in 0..3 {
            let wrapped = wrap(fixture, &id, algorithm, 2048)?;
            let (by_rsa, by_aes) = wrapped.split_at_checked(256).unwrap_or_default();
            // With one ephemeral key, the same material would be wrapped alike.
            let is_new = parts.insert(by_rsa.to_vec()) && (by_aes.is_empty() || parts.insert(by_aes.to_vec()));
            require(is_new, || format!("{algorithm} wrapped twice alike"))?;
        }
    }
    Ok(())
}

pub(super) fn cmacs_are_of_the_material(fixture: &Fixture) -> Checked {
    if !fixture.capabilities()?.cmac {
        return Err(Problem::NotTried("way to compute CMACs"));
    }
    let compute = |id: &KeyId, message: &[u8]| {
        let call = fixture.manager.cmac(id, message, fixture.deadline());
        fixture.must(&format!("to compute the CMAC of {} bytes", message.len()), call)
    };
    let signs = fixture.new_key()?.with_usages([KeyUsage::Sign]);
    let others = fixture.create(&fixture.new_key()?)?;
    let call = fixture.manager.cmac(&others, b"message", fixture.deadline());
    fixture.refuses(
        "to compute a CMAC under a key that may not sign",
        &[Kind::KeyUsage],
        call,
    )?;
    let stays = fixture.create(&signs)?;
    require(compute(&stays, b"message")? == compute(&stays, b"message")?, || {
        "a CMAC differs from the next".to_owned()
    })?;

    let Some(algorithm) = fixture.capabilities()?.wrapping.first().copied() else {
        return Ok(()); // what the material is remains unknown
    };
    let id = fixture.create(&fixture.extractable_key()?.with_usages([KeyUsage::Sign]))?;
    let value = material(fixture, &id, algorithm, 2048)?;
    for length in [0, 1, 15, 16, 17, 32, 100, 4096] {
        let message = text(length);
        let (by_manager, by_software) = (compute(&id, &message)?, cmac(&value, &message)?);
        require(by_manager[..] == by_software[..], || {
            format!("the CMAC of {length} bytes is not that of the key's material")
        })?;
        require(compute(&stays, &message)? != by_manager, || {
            "two keys have one CMAC".to_owned()
        })?;
    }
    Ok(())
}
