//! Key material leaves a key manager wrapped, and in no other way.

use std::{error::Error, fmt::Write as _};

use super::{
    super::{
        Problem,
        secrets::{Log, holds},
        tools::{Checked, broken, require},
    },
    Fixture,
    export::material,
    unwrap::Importer,
};
use crate::{
    backend::KeyUsage,
    manage::{ManageError, NewKey},
};

/// On the threads that call, where the manager itself runs; not on threads of its own.
pub(super) fn nothing_tells_key_material(fixture: &Fixture) -> Checked {
    let new = fixture.extractable_key()?;
    let capabilities = fixture.capabilities()?;
    let algorithm = capabilities.wrapping.first().copied();
    let algorithm = algorithm.ok_or(Problem::NotTried("way to wrap keys"))?;
    let new = if capabilities.cmac {
        new.with_usages([KeyUsage::Encrypt, KeyUsage::Decrypt, KeyUsage::Sign])
    } else {
        new
    };
    let log = Log::default();
    let (value, said) = tracing::subscriber::with_default(log.clone(), || {
        let mut said = String::new();
        let id = fixture.create(&new)?;
        let value = material(fixture, &id, algorithm, 2048)?;
        let _ = write!(said, "{:?}", fixture.describe(&id)?); // a String takes everything
        let _ = write!(said, "{:?}", fixture.list(1000)?);
        fixture.encrypt(&id)?;
        let (manager, deadline) = (&fixture.manager, fixture.deadline());
        if capabilities.cmac {
            fixture.must("to compute a CMAC", manager.cmac(&id, b"message", deadline))?;
        }
        let wrapping_key = Importer::of_bits(2048)?.wrapping_key(algorithm)?;
        let other = NewKey::for_xks(new.token(), fixture.new_key()?.label().clone());
        said.extend(
            fixture
                .call(manager.create_key(&other, deadline))?
                .err()
                .map(|error| all_of(&error)),
        );
        if capabilities.destroy {
            fixture.destroy(&id)?;
        }
        let outcome = fixture.call(manager.wrap_key(&id, &wrapping_key, deadline))?;
        said.extend(outcome.err().map(|error| all_of(&error)));
        Ok::<_, Problem>((value, said))
    })?;
    for (place, said) in [("an error or a description", said), ("the log", log.said())] {
        require(!holds(&said.to_ascii_lowercase(), &*value), || {
            format!("{place} holds some of the key material")
        })?;
    }
    if value.iter().all(|byte| *byte == 0) {
        return Err(broken("the key material is zero"));
    }
    Ok(())
}

/// An error and all its sources, with all that they show.
fn all_of(error: &ManageError) -> String {
    let mut said = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(error) = source {
        let _ = write!(said, " {error} {error:?}");
        source = error.source();
    }
    said
}
