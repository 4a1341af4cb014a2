//! Which of several key managers served a request: written by backends that have several, read when the
//! request's record is made.
//!
//! It is written on the request, so the record has it also when the request timed out, panicked or was
//! dropped. It costs nothing where no backend writes.

use std::{
    fmt, mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// What the backends of one request wrote down. It outlives the request's future, so that what was written is there
/// when that is dropped or panics, too. It allocates nothing until something is written.
#[derive(Default)]
pub(crate) struct Attribution(Mutex<Attributed>);

#[derive(Default)]
pub(crate) struct Attributed {
    /// The one that served, or was asked last: `outer/inner` where one stands behind the other.
    pub(crate) by: String,
    /// Those that were asked before in vain.
    pub(crate) tried_before: String,
    /// How much of `by` was written by those around the one that writes next.
    around: usize,
    /// Who encrypted, while and after the encryption is tried.
    encrypted_by: Option<String>,
}

impl Attribution {
    /// Only the tasks of one request come here, one after the other: nobody ever waits.
    fn lock(&self) -> MutexGuard<'_, Attributed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was written, once there is nothing more to come.
    pub(crate) fn take(&self) -> Attributed {
        let mut served = mem::take(&mut *self.lock());
        if let Some(encrypted_by) = served.encrypted_by.take() {
            let trial = mem::replace(&mut served.by, encrypted_by);
            if !trial.is_empty() && trial != served.by {
                append(&mut served.by, &["trial ", &trial]);
            }
        }
        served
    }
}

/// Appends to a list with commas.
fn append(list: &mut String, parts: &[&str]) {
    if !list.is_empty() {
        list.push_str(", ");
    }
    list.extend(parts.iter().copied());
}

/// Where a request's backends write, if anybody is going to read it.
#[derive(Clone, Copy)]
pub(crate) struct Attributor<'a>(Option<&'a Attribution>);

impl<'a> Attributor<'a> {
    /// Nobody reads: the request was not made by the pipeline.
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    pub(crate) const fn to(attribution: &'a Attribution) -> Self {
        Self(Some(attribution))
    }

    /// The request is with this member now, in place of the one that was written at this depth before.
    pub(crate) fn write(self, member: &str) {
        if let Some(attribution) = self.0 {
            let served = &mut *attribution.lock();
            served.by.truncate(served.around);
            if !served.by.is_empty() {
                served.by.push('/');
            }
            served.by.push_str(member);
        }
    }

    /// The same, and what is written until the answer is dropped comes after it.
    pub(crate) fn enter(self, member: &str) -> Nested<'a> {
        self.write(member);
        let around = self.0.map_or(0, |attribution| {
            let served = &mut *attribution.lock();
            mem::replace(&mut served.around, served.by.len())
        });
        Nested {
            attributor: self,
            around,
        }
    }

    /// The one that was written last did not serve, and another one is going to be asked.
    pub(crate) fn failed(self) {
        if let Some(attribution) = self.0 {
            let served = &mut *attribution.lock();
            let trial = served.encrypted_by.as_ref().map_or("", |_| "trial ");
            append(&mut served.tried_before, &[trial, &served.by]);
        }
    }

    /// The encryption is done, and is tried from now on.
    // ENC-10
    pub(crate) fn begin_verification(self) {
        if let Some(attribution) = self.0 {
            let served = &mut *attribution.lock();
            if !served.by.is_empty() {
                served.encrypted_by = Some(mem::take(&mut served.by));
            }
        }
    }
}

impl fmt::Debug for Attributor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Attributor")
    }
}

/// While a member has the request.
pub(crate) struct Nested<'a> {
    attributor: Attributor<'a>,
    around: usize,
}

impl Drop for Nested<'_> {
    fn drop(&mut self) {
        if let Some(attribution) = self.attributor.0 {
            attribution.lock().around = self.around;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(attribution: &Attribution) -> (String, String) {
        let served = attribution.take();
        (served.by, served.tried_before)
    }

    /// LOG-1: the last one stands in the record, behind those around it, and beside those that were tried in vain.
    #[test]
    fn the_way_through_nested_fleets_is_written_down() {
        let attribution = Attribution::default();
        let attributor = Attributor::to(&attribution);
        {
            let _outer = attributor.enter("a");
            drop(attributor.enter("1"));
            attributor.failed();
            drop(attributor.enter("2"));
        }
        attributor.failed();
        {
            let _outer = attributor.enter("b");
            attributor.write("3");
            attributor.write("4");
        }
        assert_eq!(read(&attribution), ("b/4".into(), "a/1, a/2".into()));
        assert_eq!(read(&attribution), (String::new(), String::new()));
    }

    /// LOG-1, ENC-10: who tried the encryption is named where it is another one.
    #[test]
    fn encryption_and_trial_are_told_apart() {
        for (trial, expected) in [
            (&["a"][..], ("a", "")),
            (&["b"], ("a, trial b", "")),
            (&["b", "a"], ("a", "trial b")),
            (&[], ("a", "")),
        ] {
            let attribution = Attribution::default();
            let attributor = Attributor::to(&attribution);
            drop(attributor.enter("a"));
            attributor.begin_verification();
            for (n, member) in trial.iter().enumerate() {
                if n > 0 {
                    attributor.failed();
                }
                drop(attributor.enter(member));
            }
            assert_eq!(read(&attribution), (expected.0.into(), expected.1.into()));
        }
        let none = Attributor::none();
        drop(none.enter("a"));
        none.failed();
        none.begin_verification();
    }
}
