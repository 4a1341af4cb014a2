//! Kill points: the steps of commands at which a test ends the process, to see what the next one makes of
//! what is left. Without the feature `kill-points` they are nothing.

use std::sync::OnceLock;

use crate::field::named_enum;

/// A step of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum KillPoint {
    /// A change is decided, and not written.
    Decided,
    /// A change is written, and this process does not know it yet.
    Written,
    /// A key manager is about to be asked for a new key.
    Making,
    /// A key manager has made a key, and the state does not know which.
    Made,
    /// A new key was read back and tried.
    ReadBack,
    /// A key manager is about to be asked to destroy a key.
    Destroying,
    /// A key manager has destroyed a key, and the state does not know it.
    Destroyed,
    /// Encryptions are reserved, and this process does not know it yet.
    Reserved,
    /// The event of a command that changed nothing is about to be recorded.
    Recording,
    /// The event of a command that changed nothing is recorded.
    Recorded,
    /// The row of a job is about to be written.
    Claiming,
    /// The row of a job is written, and this process does not know it yet.
    Claimed,
    /// Another system is about to be called for a change.
    Calling,
    /// Another system has answered, and nothing of that is written.
    Called,
}

named_enum! {
    KillPoint,
    Decided => "decided",
    Written => "written",
    Making => "making",
    Made => "made",
    ReadBack => "read-back",
    Destroying => "destroying",
    Destroyed => "destroyed",
    Reserved => "reserved",
    Recording => "recording",
    Recorded => "recorded",
    Claiming => "claiming",
    Claimed => "claimed",
    Calling => "calling",
    Called => "called",
}

type Hook = Box<dyn Fn(KillPoint) + Send + Sync>;
static HOOK: OnceLock<Hook> = OnceLock::new();

/// Sets what is called at every kill point of this process. The first call counts.
pub fn on_kill_point(hook: impl Fn(KillPoint) + Send + Sync + 'static) {
    let _ = HOOK.set(Box::new(hook));
}

/// Calls what was set, if anything was.
pub fn reach(point: KillPoint) {
    if let Some(hook) = HOOK.get() {
        hook(point);
    }
}
