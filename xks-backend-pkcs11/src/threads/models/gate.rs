//! The gate: no call is inside while a `Drained` exists, and what was done inside has happened before.

use std::time::Duration;

use loom::{cell::UnsafeCell, sync::Arc, thread};

use crate::threads::Gate;

const PATIENCE: Duration = Duration::from_secs(1);

/// A module: loom notices when it is finalized while a call is in it, or without having seen what was done
/// in it.
struct Module {
    gate: Gate,
    initializations: UnsafeCell<u32>,
}

// SAFETY: what is shared is what the gate guards; loom watches whether it does.
#[expect(unsafe_code, reason = "the gate is what makes it safe, and what is tried here")]
unsafe impl Sync for Module {}

impl Module {
    fn open() -> Arc<Self> {
        let module = Self {
            gate: Gate::closed(),
            initializations: UnsafeCell::new(1),
        };
        module.gate.open();
        Arc::new(module)
    }

    /// A call: which initialization it is in, if the gate is open.
    #[expect(unsafe_code, reason = "as above")]
    fn call(&self) -> Option<u32> {
        let _entry = self.gate.enter()?;
        // SAFETY: no thread writes while a call is inside.
        Some(self.initializations.with(|number| unsafe { *number }))
    }

    /// Finalizes and initializes, if all have left within the patience.
    #[expect(unsafe_code, reason = "as above")]
    fn reinitialize(&self, patience: Duration) -> bool {
        let Some(drained) = self.gate.drain(patience) else {
            self.gate.open();
            return false;
        };
        // SAFETY: no call is inside.
        self.initializations.with_mut(|number| unsafe { *number += 1 });
        drained.open();
        true
    }
}

#[test]
fn no_call_is_in_a_module_that_is_finalized() {
    loom::model(|| {
        let module = Module::open();
        let callers: Vec<_> = (0..2)
            .map(|_| {
                let module = Arc::clone(&module);
                thread::spawn(move || module.call())
            })
            .collect();
        assert!(module.reinitialize(PATIENCE), "callers leave");
        for caller in callers {
            assert!(matches!(caller.join().unwrap(), None | Some(1 | 2)));
        }
        assert_eq!(module.call(), Some(2));
        assert_eq!(module.gate.inside(), 0);
    });
}

/// Without patience the gate is drained only if no call is inside at that moment; the gate is open again in
/// any case.
#[test]
fn giving_up_lets_callers_in_again() {
    loom::model(|| {
        let module = Module::open();
        let caller = {
            let module = Arc::clone(&module);
            thread::spawn(move || (module.call(), module.call()))
        };
        let is_new = module.reinitialize(Duration::ZERO);
        caller.join().unwrap();
        assert_eq!(module.call(), Some(1 + u32::from(is_new)));
    });
}
