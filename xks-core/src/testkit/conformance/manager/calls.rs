//! Contracts of concurrent calls.

use super::{
    super::{
        ivs::on_threads,
        tools::{Checked, require},
    },
    Fixture,
};
use crate::manage::ManageErrorKind as Kind;

/// Each thread with keys of its own, beside the list.
pub(super) fn calls_in_parallel(fixture: &Fixture) -> Checked {
    on_threads(4, |thread| {
        for round in 0..5 {
            let new = fixture.new_key()?;
            let id = fixture.create(&new)?;
            let described = fixture.describe(&id)?;
            require(described.id == id && described.token == Some(new.token()), || {
                format!("thread {thread} asked for {id} beside others, and got {described:?}")
            })?;
            let encrypted = fixture.encrypt(&id)?;
            let listed = fixture.made_with(new.token())?;
            require(listed == [id.clone()], || {
                format!("thread {thread} made {id}, and {listed:?} is listed")
            })?;
            fixture.must_decrypt(&id, &encrypted, "what was encrypted beside other calls")?;
            if fixture.capabilities()?.destroy && round % 2 == 0 {
                fixture.destroy(&id)?;
                let call = fixture.manager.key(&id, fixture.deadline());
                fixture.refuses("to describe a destroyed key", &[Kind::KeyNotFound], call)?;
            }
        }
        Ok(())
    })
}
