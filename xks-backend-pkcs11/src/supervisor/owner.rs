//! The owner of a test key: which process made it. It stands in the key's `CKA_ID`, since some modules keep
//! session objects, and a process that crashes cannot destroy its own.

use std::{
    process,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// The first bytes of the `CKA_ID` of every test key.
const MARK: &[u8; 8] = b"xks test";

/// One backend of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    process: Process,
    backend: u32,
}

/// A process, as another one of its surroundings can look for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    surroundings: Surroundings,
    id: u32,
    /// When it started, in the system's ticks.
    started: u64,
}

/// The processes that can be seen from one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Surroundings {
    /// The machine since it was booted; random bytes where the system does not tell.
    boot: [u8; 16],
    /// The namespace of process ids.
    namespace: u64,
    user: u32,
}

static OWN: LazyLock<Process> = LazyLock::new(|| Process::own().unwrap_or_else(Process::unknown));

impl Owner {
    /// The owner of the keys of one more backend of this process.
    pub(super) fn new() -> Self {
        static BACKENDS: AtomicU32 = AtomicU32::new(0);
        Self {
            process: *OWN,
            backend: BACKENDS.fetch_add(1, Ordering::Relaxed),
        }
    }

    /// The `CKA_ID` of this owner's keys.
    pub(super) fn to_id(self) -> Vec<u8> {
        let Process {
            surroundings,
            id,
            started,
        } = self.process;
        [
            &MARK[..],
            &surroundings.boot,
            &surroundings.namespace.to_be_bytes(),
            &surroundings.user.to_be_bytes(),
            &id.to_be_bytes(),
            &started.to_be_bytes(),
            &self.backend.to_be_bytes(),
        ]
        .concat()
    }

    /// The owner of the test key with this `CKA_ID`; none if it is not a test key's.
    pub(super) fn of_id(id: &[u8]) -> Option<Self> {
        let rest = id.strip_prefix(MARK)?;
        let (boot, rest) = rest.split_first_chunk()?;
        let (namespace, rest) = rest.split_first_chunk()?;
        let (user, rest) = rest.split_first_chunk()?;
        let (process, rest) = rest.split_first_chunk()?;
        let (started, rest) = rest.split_first_chunk()?;
        Some(Self {
            process: Process {
                surroundings: Surroundings {
                    boot: *boot,
                    namespace: u64::from_be_bytes(*namespace),
                    user: u32::from_be_bytes(*user),
                },
                id: u32::from_be_bytes(*process),
                started: u64::from_be_bytes(*started),
            },
            backend: u32::from_be_bytes(rest.try_into().ok()?),
        })
    }

    pub(super) fn is_this_process(self) -> bool {
        self.process == *OWN
    }

    /// Whether the process has certainly ended, or certainly runs; none where that cannot be known from here:
    /// another machine, another container, another user.
    pub(super) fn has_ended(self) -> Option<bool> {
        let process = self.process;
        (process.surroundings == OWN.surroundings).then(|| start_of(process.id) != Some(process.started))
    }
}

/// Whether a key with this `CKA_ID` is a test key.
pub(crate) fn is_test_key(id: &[u8]) -> bool {
    Owner::of_id(id).is_some()
}

impl Process {
    #[cfg(target_os = "linux")]
    fn own() -> Option<Self> {
        use std::{fs, os::unix::fs::MetadataExt as _};

        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let boot = u128::from_str_radix(&boot.trim().replace('-', ""), 16).ok()?;
        Some(Self {
            surroundings: Surroundings {
                boot: boot.to_be_bytes(),
                namespace: fs::metadata("/proc/self/ns/pid").ok()?.ino(),
                user: fs::metadata("/proc/self").ok()?.uid(),
            },
            id: process::id(),
            started: start_of(process::id())?,
        })
    }

    #[cfg(not(target_os = "linux"))]
    fn own() -> Option<Self> {
        None
    }

    /// A process that equals no other.
    fn unknown() -> Self {
        let mut boot = [0; 16];
        // Where there are no random bytes, keys of other processes are left alone all the same: the ids
        // differ.
        let _ = getrandom::fill(&mut boot);
        Self {
            surroundings: Surroundings {
                boot,
                namespace: 0,
                user: 0,
            },
            id: process::id(),
            started: 0,
        }
    }
}

/// When a process of this machine started; none if there is none with this id.
#[cfg(target_os = "linux")]
fn start_of(id: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name may hold anything; what follows it begins with the third field, and this is the twenty-second.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(not(target_os = "linux"))]
fn start_of(_id: u32) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_read_as_it_was_written() {
        let (first, second) = (Owner::new(), Owner::new());
        assert_ne!(first, second);
        assert_eq!(Owner::of_id(&first.to_id()), Some(first));
        assert!(first.is_this_process() && is_test_key(&second.to_id()));
        let id = first.to_id();
        for other in [
            &b""[..],
            b"xks test",
            &id[1..],
            &id[..id.len() - 1],
            &[&id[..], b"1"].concat(),
        ] {
            assert!(!is_test_key(other), "{other:?}");
        }
    }

    /// A process that cannot be seen from here does not count as ended.
    #[test]
    #[cfg(target_os = "linux")]
    fn only_what_can_be_seen_has_ended() {
        let own = Owner::new();
        assert_eq!(own.has_ended(), Some(false));
        let with = |change: fn(&mut Process)| {
            let mut other = own;
            change(&mut other.process);
            other
        };
        assert_eq!(with(|process| process.started += 1).has_ended(), Some(true));
        assert_eq!(with(|process| process.id = u32::MAX).has_ended(), Some(true));
        for elsewhere in [
            with(|process| process.surroundings.boot[0] ^= 1),
            with(|process| process.surroundings.namespace += 1),
            with(|process| process.surroundings.user += 1),
        ] {
            assert_eq!(elsewhere.has_ended(), None);
            assert!(!elsewhere.is_this_process());
        }
    }
}
