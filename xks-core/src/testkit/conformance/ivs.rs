//! Contracts of initialization vectors: none is used twice.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    thread,
};

use super::{
    Fixture, Problem,
    tools::{Checked, broken, require, said, usual_aad},
};
use crate::{KeyBackend, backend::Iv};

/// Threads that encrypt at once.
const THREADS: usize = 4;

pub(super) fn ivs_never_repeat(fixture: &Fixture) -> Checked {
    let seen = Mutex::new(HashSet::new());
    let encrypt_many = || {
        for _ in 0..fixture.iv_calls / THREADS {
            let iv = iv(fixture, &*fixture.backend)?;
            let is_zero = iv.as_bytes().iter().all(|byte| *byte == 0);
            require(!is_zero, || "an IV is all zeros: the key manager made none".into())?;
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            let (is_new, calls) = (seen.insert(iv), seen.len());
            require(is_new, || format!("an IV came again within {} encryptions", calls + 1))?;
        }
        Ok(())
    };
    on_threads(THREADS, |_| encrypt_many())
}

pub(super) fn ivs_do_not_begin_anew(fixture: &Fixture) -> Checked {
    let restarted = fixture
        .restarted
        .as_ref()
        .ok_or(Problem::NotTried("backend as after a restart"))?;
    let mut seen = HashSet::new();
    for backend in [&fixture.backend, restarted] {
        for _ in 0..100 {
            let is_new = seen.insert(iv(fixture, &**backend)?);
            require(is_new, || "an IV of before the restart came again after it".into())?;
        }
    }
    Ok(())
}

fn iv(fixture: &Fixture, backend: &dyn KeyBackend) -> Result<Iv, Problem> {
    let outcome = fixture.encrypt_on(backend, &fixture.usable, b"the same", usual_aad()?)?;
    let encrypted = outcome.map_err(|error| broken(format!("not encrypted: {}", said(&error))))?;
    Ok(*encrypted.iv())
}

/// Does work on several threads; the first problem counts.
pub(super) fn on_threads(count: usize, work: impl Fn(usize) -> Checked + Sync) -> Checked {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..count).map(|index| scope.spawn(move || work(index))).collect();
        threads.into_iter().try_for_each(|thread| {
            let outcome = thread.join();
            outcome.unwrap_or_else(|_| Err(broken("the backend panicked")))
        })
    })
}
