//! Keys in several Regions: one is the primary, the others are its replicas. They have the same key id and
//! the same key material, and everything else for themselves.
//!
//! ```text
//! made          CreateKey with MultiRegion, then ReplicateKey, in the primary's Region
//! shared        which materials there are, and which of them is current; what KMS itself makes is shared whole
//! of each       whether a material is imported, and until when; state, policy, tags, aliases, description
//! new material  NEW on the primary → PENDING_MULTI_REGION_IMPORT_AND_ROTATION, EXISTING on each replica
//!               → PENDING_ROTATION, RotateKeyOnDemand on the primary
//! deletion      of the primary: PendingReplicaDeletion until its last replica is gone, then its own time
//! ```
//! Source: ReplicateKey, UpdatePrimaryRegion, ImportKeyMaterial and ScheduleKeyDeletion in the AWS KMS API
//! Reference, "Multi-Region keys" in the Developer Guide. That a replica lists the primary's materials in
//! PENDING_IMPORT before its own import is our own reading.

use serde::{Deserialize, Serialize};

use super::{
    api::{KeyMaterialState, MultiRegionConfiguration, MultiRegionKey, MultiRegionKeyType},
    key::{Backing, Key, KeyStatus},
    materials::Materials,
    state::SECONDS_A_DAY,
    world::World,
};

/// What the ids of these keys begin with, which are the same in each Region.
pub(crate) const PREFIX: &str = "mrk-";

/// A key id: it has no hyphens, unlike others.
pub(crate) fn id(number: u128) -> String {
    format!("{PREFIX}{number:032x}")
}

/// The Regions of a key: each of the related keys knows all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MultiRegion {
    /// The Region of this one.
    pub(crate) own: String,
    pub(crate) primary: String,
    /// Sorted.
    pub(crate) replicas: Vec<String>,
}

impl MultiRegion {
    /// Of a new primary.
    pub(crate) fn new(region: &str) -> Self {
        Self {
            own: region.to_owned(),
            primary: region.to_owned(),
            replicas: Vec::new(),
        }
    }

    pub(crate) fn is_primary(&self) -> bool {
        self.own == self.primary
    }

    /// As DescribeKey shows it.
    pub(crate) fn described(&self, arn_in: impl Fn(&str) -> String) -> MultiRegionConfiguration {
        let key = |region: &str| MultiRegionKey {
            arn: arn_in(region),
            region: region.to_owned(),
        };
        MultiRegionConfiguration {
            multi_region_key_type: match self.is_primary() {
                true => MultiRegionKeyType::Primary,
                false => MultiRegionKeyType::Replica,
            },
            primary_key: key(&self.primary),
            replica_keys: self.replicas.iter().map(|region| key(region)).collect(),
        }
    }
}

impl Key {
    /// Whether nothing differs of what related keys have in common.
    fn is_as(&self, other: &Self) -> bool {
        let rotation = |key: &Self| key.generated().and_then(|generated| generated.automatic_rotation);
        let has_same_materials = match (self.materials(), other.materials()) {
            (Ok(materials), Ok(others)) => materials.are_as(others),
            _ => true,
        };
        has_same_materials
            && self.multi_region == other.multi_region
            && self.status == other.status
            && rotation(self) == rotation(other)
    }

    pub(crate) fn is_replica(&self) -> bool {
        self.multi_region.as_ref().is_some_and(|regions| !regions.is_primary())
    }
}

impl World {
    /// Brings related keys in step: after each change, and after keys were removed, each by its id and time.
    pub(crate) fn relate(&mut self, now: f64, removed: &[(String, f64)]) {
        let primaries: Vec<_> = self
            .iter()
            .flat_map(|(_, state)| state.keys().beginning_with(PREFIX))
            .filter(|key| key.multi_region.as_ref().is_some_and(MultiRegion::is_primary))
            .cloned()
            .collect();
        for former in primaries {
            let Some(regions) = &former.multi_region else { continue };
            let mut primary = Key::clone(&former);
            let mut replicas: Vec<(String, Key)> = self
                .iter()
                .filter(|(region, _)| *region != regions.own)
                .filter_map(|(region, state)| Some((region.to_owned(), Key::clone(state.keys().get(&former.id)?))))
                .collect();
            let names: Vec<_> = replicas.iter().map(|(region, _)| region.clone()).collect();
            if let (KeyStatus::PendingReplicaDeletion(days), true) = (primary.status, names.is_empty()) {
                let times = removed.iter().filter(|(id, _)| *id == primary.id).map(|(_, at)| *at);
                let since = times.reduce(f64::max).unwrap_or(now);
                primary.status = KeyStatus::PendingDeletion(since + f64::from(days) * SECONDS_A_DAY);
            }
            share_material(&mut primary, &mut replicas);
            for (own, key) in replicas
                .iter_mut()
                .map(|(region, key)| (region.clone(), key))
                .chain([(regions.own.clone(), &mut primary)])
            {
                key.multi_region = Some(MultiRegion {
                    own,
                    primary: regions.own.clone(),
                    replicas: names.clone(),
                });
            }
            replicas.push((regions.own.clone(), primary));
            for (region, key) in replicas {
                let is_new = |former: &&std::sync::Arc<Key>| former.is_as(&key);
                if self.region(&region).keys().get(&key.id).filter(is_new).is_none() {
                    self.region_mut(&region).put_key(key);
                }
            }
        }
    }
}

/// Gives the replicas what the primary's material has in common with theirs, and says how far new material
/// is.
fn share_material(primary: &mut Key, replicas: &mut [(String, Key)]) {
    if let Backing::Generated(generated) = &primary.backing {
        for (_, replica) in replicas {
            replica.backing = Backing::Generated(generated.clone());
        }
        return;
    }
    let Backing::Imported(materials) = &mut primary.backing else {
        return;
    };
    let is_everywhere = |id: &str| {
        let mut imported = replicas.iter().map(|(_, replica)| replica.imported());
        imported.all(|materials| {
            materials
                .and_then(|materials| materials.by_id(id))
                .is_some_and(|material| material.bytes.is_some())
        })
    };
    for material in materials.not_permanent_mut() {
        material.state = match is_everywhere(&material.id) {
            true => KeyMaterialState::PendingRotation,
            false => KeyMaterialState::PendingMultiRegionImportAndRotation,
        };
    }
    for (_, replica) in replicas {
        let own = replica.imported().cloned().unwrap_or_default();
        replica.backing = Backing::Imported(Materials::like(materials, &own));
    }
}
