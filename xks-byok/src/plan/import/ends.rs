//! When imported material ends in AWS, and when it is imported again for a later end.

use xks_lifecycle::Timestamp;

use super::super::DesiredImport;
use crate::aws::RotationsListEntry;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// The farthest end that AWS takes (ImportKeyMaterial, `ValidTo`).
const FARTHEST: u64 = 365 * DAY;
/// How long before its end in AWS material is imported again.
pub(crate) const AHEAD: u64 = 30 * DAY;

impl DesiredImport {
    /// Returns whether its material has ended: it is not imported again.
    pub(super) fn has_ended(&self) -> bool {
        self.expires.is_some_and(|end| end <= self.now)
    }

    /// Returns the end that an import gives to material, in seconds since 1970; nothing if it does not end.
    ///
    /// An end that is too far for AWS is cut to a whole day, an hour at least below the farthest: so a plan
    /// is the same for a day, and clocks may differ.
    pub(super) fn valid_to(&self) -> Option<u64> {
        let now = self.now.seconds();
        let farthest = (now + FARTHEST - HOUR) / DAY * DAY;
        self.expires.map(|end| end.seconds().min(farthest))
    }

    /// Returns why material that AWS has is imported again, if it is.
    pub(super) fn renewal(&self, entry: &RotationsListEntry) -> Option<&'static str> {
        if self.has_ended() {
            return None; // AWS deletes it
        }
        let (wanted, found) = (self.valid_to(), entry.valid_to.map(Timestamp::seconds));
        match (wanted, found) {
            (None, None) => None,
            (None, Some(_)) => Some("it is wanted without an end, and ends in AWS"),
            (Some(_), None) => Some("it is wanted with an end, and does not end in AWS"),
            (Some(wanted), Some(found)) if found > wanted => {
                // The farthest end is a later one each day.
                let is_early = self.expires.is_some_and(|end| found > end.seconds());
                is_early.then_some("its end in AWS is later than the one that is wanted")
            }
            (Some(wanted), Some(found)) if found == wanted => None,
            (Some(wanted), Some(found)) => {
                let is_exact = self.expires.is_some_and(|end| end.seconds() == wanted);
                let is_near = found < self.now.seconds() + AHEAD;
                match (is_exact, is_near) {
                    (_, true) => Some("its end in AWS is near, and it is wanted for longer"),
                    (true, false) => Some("its end in AWS is earlier than the one that is wanted"),
                    (false, false) => None,
                }
            }
        }
    }
}
