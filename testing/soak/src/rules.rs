//! Which errors are right at which time: each phase says what it allows, and an answer must be allowed by one
//! of the phases that its request lived through.

use std::sync::{Mutex, PoisonError};

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Operation {
    Encrypt,
    Decrypt,
    /// A ciphertext of which a bit was changed.
    DecryptChanged,
    Metadata,
    Health,
    /// Whatever is refused before a key manager is asked.
    Hostile,
    Ping,
    Metrics,
}

impl Operation {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Encrypt => "encrypt",
            Self::Decrypt => "decrypt",
            Self::DecryptChanged => "decrypt-changed",
            Self::Metadata => "metadata",
            Self::Health => "health",
            Self::Hostile => "hostile",
            Self::Ping => "ping",
            Self::Metrics => "metrics",
        }
    }

    /// Whether its answer comes from the token.
    const fn asks_the_token(self) -> bool {
        matches!(
            self,
            Self::Encrypt | Self::Decrypt | Self::DecryptChanged | Self::Metadata
        )
    }
}

/// What a request was about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) operation: Operation,
    pub(crate) key: &'a str,
}

/// What came instead of what was wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failure<'a> {
    /// An error with this name.
    Error(&'a str),
    /// No answer: the connection was refused or closed.
    Lost,
    /// Health is not ACTIVE or DEGRADED, or the readiness check says no.
    Unready,
}

/// Operations, and errors that they may end with.
pub(crate) type Excuse = (&'static [Operation], &'static [&'static str]);

/// What a phase allows, beside what is right at all times.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rules {
    /// The token has trouble: `InternalException`, `DependencyTimeoutException` and `ThrottlingException`
    /// from whatever asks it, and health that says so.
    pub(crate) trouble: bool,
    /// The trouble is only that there is too much to do: no `InternalException` but for a changed ciphertext,
    /// and health stays.
    pub(crate) overload: bool,
    /// The token's IVs are not trusted: it encrypts nothing, and health says so.
    pub(crate) untrusted: bool,
    /// The server comes and goes.
    pub(crate) restart: bool,
    /// These errors of these operations for this key.
    pub(crate) key: Option<(&'static str, &'static [Excuse])>,
}

impl Rules {
    pub(crate) const CALM: Self = Self {
        trouble: false,
        overload: false,
        untrusted: false,
        restart: false,
        key: None,
    };
    pub(crate) const TROUBLE: Self = Self {
        trouble: true,
        ..Self::CALM
    };
    pub(crate) const OVERLOAD: Self = Self {
        overload: true,
        ..Self::CALM
    };
    pub(crate) const UNTRUSTED: Self = Self {
        untrusted: true,
        ..Self::CALM
    };
    pub(crate) const RESTART: Self = Self {
        restart: true,
        ..Self::CALM
    };

    pub(crate) const fn key(key: &'static str, excuses: &'static [Excuse]) -> Self {
        Self {
            key: Some((key, excuses)),
            ..Self::CALM
        }
    }

    /// Whether this may happen.
    pub(crate) fn allow(&self, subject: Subject<'_>, failure: Failure<'_>) -> bool {
        let operation = subject.operation;
        let asks_the_token = operation.asks_the_token();
        match failure {
            Failure::Lost => self.restart,
            Failure::Unready => self.trouble || self.untrusted || self.restart,
            // HLT-1: health is an error when nothing works.
            Failure::Error("InternalException")
                if (self.trouble && asks_the_token)
                    || (self.trouble || self.untrusted) && operation == Operation::Health =>
            {
                true
            }
            // Without encrypting something, a changed ciphertext cannot be distinguished from a token that
            // fails.
            Failure::Error("InternalException")
                if self.untrusted && matches!(operation, Operation::Encrypt | Operation::DecryptChanged) =>
            {
                true
            }
            // A slow module leaves no time for the repetitions that tell a changed ciphertext from a failing
            // device.
            Failure::Error("InternalException") if self.overload && operation == Operation::DecryptChanged => true,
            Failure::Error("DependencyTimeoutException" | "ThrottlingException")
                if (self.trouble || self.overload) && asks_the_token =>
            {
                true
            }
            Failure::Error(name) => self.key.is_some_and(|(key, excuses)| {
                let excuse = |(operations, errors): &Excuse| operations.contains(&operation) && errors.contains(&name);
                key == subject.key && excuses.iter().any(excuse)
            }),
        }
    }
}

/// The phases so far; the last one is the present.
pub(crate) struct Phases(Mutex<Vec<(&'static str, Rules)>>);

impl Phases {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(vec![(CALM, Rules::CALM)]))
    }

    pub(crate) fn begin(&self, name: &'static str, rules: Rules) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((name, rules));
    }

    /// The number of the present one.
    pub(crate) fn now(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len() - 1
    }

    /// What the present one is called.
    pub(crate) fn name(&self) -> &'static str {
        let phases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        phases.last().map_or("", |(name, _)| name)
    }

    /// Whether one of the phases since `first` allows it, and the name of the one that does, or of the
    /// present one.
    pub(crate) fn judge(&self, first: usize, subject: Subject<'_>, failure: Failure<'_>) -> (bool, &'static str) {
        let phases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lived_through = phases.iter().skip(first);
        let allowing = lived_through.clone().find(|(_, rules)| rules.allow(subject, failure));
        match allowing {
            Some((name, _)) => (true, name),
            None => (false, lived_through.last().map_or("", |(name, _)| name)),
        }
    }

    /// Whether it has been calm since `first`.
    pub(crate) fn was_calm(&self, first: usize) -> bool {
        let phases = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        phases.iter().skip(first).all(|(name, _)| *name == CALM)
    }
}

/// The name of the phases between the others.
pub(crate) const CALM: &str = "calm";

#[cfg(test)]
mod tests {
    use super::*;

    const ENCRYPT: Subject<'_> = Subject {
        operation: Operation::Encrypt,
        key: "a",
    };

    fn of(operation: Operation) -> Subject<'static> {
        Subject { operation, key: "a" }
    }

    #[test]
    fn in_calm_nothing_may_fail() {
        for operation in [
            Operation::Encrypt,
            Operation::Health,
            Operation::Ping,
            Operation::Hostile,
        ] {
            for failure in [
                Failure::Error("InternalException"),
                Failure::Error("ThrottlingException"),
                Failure::Error("KeyNotFoundException"),
                Failure::Lost,
                Failure::Unready,
            ] {
                assert!(!Rules::CALM.allow(of(operation), failure), "{operation:?} {failure:?}");
            }
        }
    }

    #[test]
    fn trouble_excuses_three_errors_of_what_asks_the_token() {
        for name in ["InternalException", "DependencyTimeoutException", "ThrottlingException"] {
            assert!(Rules::TROUBLE.allow(ENCRYPT, Failure::Error(name)));
            assert!(!Rules::TROUBLE.allow(of(Operation::Hostile), Failure::Error(name)));
        }
        assert!(Rules::TROUBLE.allow(of(Operation::Health), Failure::Error("InternalException")));
        assert!(!Rules::TROUBLE.allow(of(Operation::Health), Failure::Error("DependencyTimeoutException")));
        for name in [
            "InvalidCiphertextException",
            "KeyNotFoundException",
            "AuthenticationFailedException",
            "",
        ] {
            assert!(
                !Rules::TROUBLE.allow(of(Operation::Decrypt), Failure::Error(name)),
                "{name}"
            );
        }
        assert!(Rules::TROUBLE.allow(of(Operation::Ping), Failure::Unready));
        assert!(!Rules::TROUBLE.allow(ENCRYPT, Failure::Lost));
    }

    #[test]
    fn overload_is_no_excuse_for_a_broken_token() {
        assert!(Rules::OVERLOAD.allow(ENCRYPT, Failure::Error("ThrottlingException")));
        for operation in [Operation::Encrypt, Operation::Decrypt, Operation::Metadata] {
            assert!(!Rules::OVERLOAD.allow(of(operation), Failure::Error("InternalException")));
        }
        assert!(Rules::OVERLOAD.allow(of(Operation::DecryptChanged), Failure::Error("InternalException")));
        assert!(!Rules::OVERLOAD.allow(of(Operation::Ping), Failure::Unready));
    }

    #[test]
    fn a_token_whose_ivs_are_not_trusted_still_decrypts() {
        assert!(Rules::UNTRUSTED.allow(ENCRYPT, Failure::Error("InternalException")));
        assert!(!Rules::UNTRUSTED.allow(of(Operation::Decrypt), Failure::Error("InternalException")));
        assert!(!Rules::UNTRUSTED.allow(ENCRYPT, Failure::Error("ThrottlingException")));
    }

    #[test]
    fn what_is_excused_for_a_key_is_for_no_other() {
        let rules = Rules::key("a", &[(&[Operation::Encrypt], &["InvalidKeyUsageException"])]);
        assert!(rules.allow(ENCRYPT, Failure::Error("InvalidKeyUsageException")));
        assert!(!rules.allow(ENCRYPT, Failure::Error("KeyNotFoundException")));
        assert!(!rules.allow(of(Operation::Decrypt), Failure::Error("InvalidKeyUsageException")));
        let other = Subject { key: "b", ..ENCRYPT };
        assert!(!rules.allow(other, Failure::Error("InvalidKeyUsageException")));
    }

    #[test]
    fn a_request_is_excused_by_each_phase_that_it_lived_through_and_by_no_other() {
        let phases = Phases::new();
        let failure = Failure::Error("InternalException");
        let before = phases.now();
        assert!(phases.was_calm(before));
        phases.begin("storm", Rules::TROUBLE);
        let during = phases.now();
        phases.begin(CALM, Rules::CALM);
        let after = phases.now();
        assert_eq!(phases.judge(before, ENCRYPT, failure), (true, "storm"));
        assert_eq!(phases.judge(during, ENCRYPT, failure), (true, "storm"));
        assert_eq!(phases.judge(after, ENCRYPT, failure), (false, CALM));
        assert_eq!((phases.was_calm(before), phases.was_calm(after)), (false, true));
    }
}
