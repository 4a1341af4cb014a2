//! Which token it is: how the one that was asked for is found among those of a module, and how it is
//! distinguished from another that came in its place.
//!
//! The module remembers the identity for the life of the process: another serial number under the same label
//! is another HSM, which need not have the same keys. It is read before a session is opened or a PIN sent.

use std::fmt;

use cryptoki_sys as ck;

use crate::{config::SlotSelector, error::OpenError, module::Access, token_info::TokenInfo};

/// What a token says of itself that no other token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    serial: String,
    manufacturer: String,
    model: String,
}

impl Identity {
    pub(crate) fn of(info: &TokenInfo) -> Self {
        Self {
            serial: info.serial.clone(),
            manufacturer: info.manufacturer.clone(),
            model: info.model.clone(),
        }
    }

    /// Whether this is another token's. What one of both does not tell proves nothing: SoftHSM2 tells nothing
    /// at all for a moment while another process writes to a token.
    fn is_of_another_than(&self, info: &TokenInfo) -> bool {
        let pairs = [
            (&self.serial, &info.serial),
            (&self.manufacturer, &info.manufacturer),
            (&self.model, &info.model),
        ];
        pairs
            .into_iter()
            .any(|(known, told)| !known.is_empty() && !told.is_empty() && known != told)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "serial number {:?}, manufacturer {:?}, model {:?}",
            self.serial, self.manufacturer, self.model
        )
    }
}

/// Whether `told` is what another token says of itself than the one that was connected, which said `known`.
pub(crate) fn is_another(known: &TokenInfo, told: &TokenInfo) -> bool {
    let has_another_label = !told.label.is_empty() && told.label != known.label;
    told.is_initialized() && (has_another_label || Identity::of(known).is_of_another_than(told))
}

/// Returns the slot of the token that was asked for. Where `known` is there, only the token that it is of
/// will do.
pub(crate) fn find_token(
    access: &Access<'_>,
    wanted: &SlotSelector,
    known: Option<&Identity>,
) -> Result<(ck::CK_SLOT_ID, TokenInfo), OpenError> {
    let mut present = Vec::new();
    for slot in access.slots()? {
        match access.token_info(slot) {
            Ok(info) => present.push((slot, info)),
            // One slot's failure is no other's.
            Err(error) => tracing::debug!(slot, cause = %error, "C_GetTokenInfo failed for a slot"),
        }
    }
    choose(&present, wanted, known)
}

fn choose(
    present: &[(ck::CK_SLOT_ID, TokenInfo)],
    wanted: &SlotSelector,
    known: Option<&Identity>,
) -> Result<(ck::CK_SLOT_ID, TokenInfo), OpenError> {
    let with = |matches: &dyn Fn(&TokenInfo) -> bool| present.iter().filter(|(_, info)| matches(info)).collect();
    let mut matching: Vec<&(ck::CK_SLOT_ID, TokenInfo)> = match wanted {
        // SoftHSM2 has a slot for a token that is still to be made.
        SlotSelector::First => {
            let mut initialized = present.iter().filter(|(_, info)| info.is_initialized());
            initialized.next().or(present.first()).into_iter().collect()
        }
        SlotSelector::Index(index) => present.iter().skip(*index).take(1).collect(),
        SlotSelector::TokenLabel(label) => with(&|info| info.label == *label),
        SlotSelector::Serial(serial) => with(&|info| info.serial == *serial),
    };
    if matching.len() > 1 {
        matching.retain(|(_, info)| info.is_initialized());
    }
    if let Some(known) = known {
        if matches!(wanted, SlotSelector::First | SlotSelector::Index(_)) {
            // Places change when tokens come and go.
            let same = present.iter().find(|(_, info)| *known == Identity::of(info));
            matching = same.map_or(matching, |same| vec![same]);
        }
        let (others, same) = matching
            .into_iter()
            .filter(|(_, info)| info.is_initialized())
            .partition::<Vec<_>, _>(|(_, info)| known.is_of_another_than(info));
        if let (true, Some((_, info))) = (same.is_empty(), others.first()) {
            return Err(OpenError::AnotherToken {
                wanted: wanted.clone(),
                known: known.to_string(),
                found: Identity::of(info).to_string(),
            });
        }
        matching = same;
    }
    match *matching {
        [(slot, info)] => Ok((*slot, info.clone())),
        [] => Err(OpenError::NoToken {
            wanted: wanted.clone(),
            present: present
                .iter()
                .filter(|(_, info)| info.is_initialized())
                .map(|(_, info)| format!("{:?} (serial number {})", info.label, info.serial))
                .collect(),
        }),
        _ => Err(OpenError::Ambiguous {
            wanted: wanted.clone(),
            count: matching.len(),
            serials: matching.iter().map(|(_, info)| info.serial.clone()).collect(),
        }),
    }
}
