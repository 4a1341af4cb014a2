//! An external key store: the prefix and the Regions under which AWS KMS reaches keys.

use std::fmt;

use xks_core::key_store::UriPathPrefix;

use crate::{
    FieldError, FieldProblem, KeyStoreId, Name, OverlapMinutes, ScheduleId, TenantId, Timestamp,
    record::{CellReader, CellWriter, Record, RowProblem},
    snapshot::Object,
    store::Table,
};

/// An external key store under management. Its credentials are [records of their
/// own](crate::KeyStoreCredential).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct ExternalKeyStore {
    /// Its id.
    pub id: KeyStoreId,
    /// Whose it is.
    pub tenant: TenantId,
    /// What it is called.
    pub name: Name,
    /// Where AWS KMS reaches it, unique over the endpoint.
    pub prefix: UriPathPrefix,
    /// The Regions whose KMS may call.
    pub regions: Regions,
    /// Whether all of its keys are refused.
    pub is_blocked: bool,
    /// When its credential rotates by itself.
    pub schedule: Option<ScheduleId>,
    /// Since when it has this schedule, if it once had another, or none. [Commands](crate::commands) set it.
    pub schedule_since: Option<Timestamp>,
    /// How long a former credential goes on at least, when its schedule has made another one.
    #[serde(rename = "overlap_minutes")]
    pub overlap: OverlapMinutes,
}

/// The AWS Regions whose KMS may call: at least one, each once.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Regions(Box<[Box<str>]>);

impl Regions {
    /// Checks the names and keeps them in their order.
    ///
    /// # Errors
    /// Of the field `regions`: none, one that is no Region's name, or the same twice.
    pub fn new<'r>(regions: impl IntoIterator<Item = &'r str>) -> Result<Self, FieldError> {
        let error = |problem| FieldError::new("regions", problem);
        let mut kept: Vec<Box<str>> = Vec::new();
        for region in regions {
            let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            if !((1..=64).contains(&region.len()) && region.bytes().all(legal)) {
                let rule = "an AWS Region is named like eu-central-1";
                return Err(error(FieldProblem::Illegal(rule.to_owned())));
            }
            if kept.iter().any(|known| **known == *region) {
                return Err(error(FieldProblem::Repeated));
            }
            kept.push(region.into());
        }
        if kept.is_empty() {
            return Err(error(FieldProblem::Missing));
        }
        Ok(Self(kept.into()))
    }

    /// Returns the names.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|region| &**region)
    }
}

/// With a space between two.
impl fmt::Display for Regions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

impl ExternalKeyStore {
    /// A key store that is not blocked, and whose credential rotates by command alone.
    ///
    /// # Errors
    /// Of the field `name`.
    pub fn new(
        id: KeyStoreId,
        tenant: TenantId,
        name: &str,
        prefix: UriPathPrefix,
        regions: Regions,
    ) -> Result<Self, FieldError> {
        Ok(Self {
            id,
            tenant,
            name: Name::new("name", name)?,
            prefix,
            regions,
            is_blocked: false,
            schedule: None,
            schedule_since: None,
            overlap: OverlapMinutes::DEFAULT,
        })
    }
}

impl Record for ExternalKeyStore {
    type Id = KeyStoreId;
    const TABLE: Table = Table::KeyStores;

    fn id(&self) -> KeyStoreId {
        self.id
    }

    fn references(&self) -> Vec<(&'static str, Object)> {
        let tenant = ("tenant", Object::new(Table::Tenants, &self.tenant));
        let schedule = self.schedule.map(|id| ("schedule", Object::new(Table::Schedules, &id)));
        std::iter::once(tenant).chain(schedule).collect()
    }

    fn contradicts(&self, former: &Self) -> Option<&'static str> {
        (self.tenant != former.tenant).then_some("tenant")
    }

    fn write(&self, cells: &mut CellWriter<'_>) {
        cells.text("tenant", &self.tenant);
        cells.text("name", &self.name);
        cells.text("prefix", &self.prefix);
        cells.text("regions", &self.regions);
        cells.flag("is_blocked", self.is_blocked);
        cells.optional("schedule", self.schedule.as_ref());
        cells.optional_number("schedule_since", self.schedule_since.map(Timestamp::seconds));
        let overlap = Some(self.overlap).filter(|overlap| *overlap != OverlapMinutes::DEFAULT);
        cells.optional_number("overlap_minutes", overlap.map(|overlap| overlap.get().into()));
    }

    fn read(id: KeyStoreId, cells: &mut CellReader<'_>) -> Result<Self, RowProblem> {
        Ok(Self {
            id,
            tenant: cells.parsed("tenant")?,
            name: Name::new("name", cells.text("name")?)?,
            prefix: cells.parsed("prefix")?,
            regions: Regions::new(cells.text("regions")?.split(' '))?,
            is_blocked: cells.flag("is_blocked")?,
            schedule: cells.optional_parsed("schedule")?,
            schedule_since: cells.optional_time("schedule_since")?,
            overlap: match cells.optional_number("overlap_minutes")? {
                Some(minutes) => OverlapMinutes::new(minutes)?,
                None => OverlapMinutes::DEFAULT,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_legal_regions_are_regions() {
        let regions = Regions::new(["eu-central-1", "us-east-1"]).unwrap();
        assert_eq!(regions.to_string(), "eu-central-1 us-east-1");
        for bad in [&[][..], &["EU-CENTRAL-1"], &["a b"], &[""], &["us-east-1", "us-east-1"]] {
            assert_eq!(
                Regions::new(bad.iter().copied()).unwrap_err().field(),
                "regions",
                "{bad:?}"
            );
        }
    }
}
