//! The row of a job, with its code.

use xks_core::text::{Hex, decode_hex};

use crate::{
    JobId,
    seal::{DataKey, is_same_code},
    store::{Claim, ClaimKind, RowCode, StoreError},
};

/// The row of a job, which is authentic.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobRow {
    /// Its id.
    pub id: JobId,
    /// The [worker](super::Worker) that has it; empty if none has.
    pub owner: Box<str>,
    /// Incremented by each write.
    pub counter: u64,
    /// A JSON object.
    pub body: Box<str>,
}

/// The rows of all jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobRows {
    /// Those that are authentic, in the order of their ids.
    pub rows: Vec<JobRow>,
    /// The ids of those that are not: they were edited in the database, and are not worked on.
    pub refused: Vec<Box<str>>,
}

/// The end of a body: its code, and the end of the object.
fn end(code: &RowCode) -> String {
    format!(",\"mac\":\"{}\"}}", Hex(code))
}

impl JobRow {
    pub(super) fn new(id: JobId, owner: &str, counter: u64, body: &str) -> Self {
        Self {
            id,
            owner: owner.into(),
            counter,
            body: body.into(),
        }
    }

    fn code(&self, key: &DataKey) -> RowCode {
        key.claim(
            ClaimKind::CloudJob.as_str(),
            &self.id.to_string(),
            &self.owner,
            self.counter,
            &self.body,
        )
    }

    /// As the store keeps it.
    pub(super) fn claim(&self, key: &DataKey) -> Claim {
        let content = self.body.strip_suffix('}').unwrap_or(&self.body); // an object
        let body = format!("{content}{}", end(&self.code(key)));
        Claim::new(
            ClaimKind::CloudJob,
            &self.id.to_string(),
            &self.owner,
            self.counter,
            &body,
        )
    }

    /// Reads what the store keeps; nothing if it is not authentic.
    pub(super) fn read(key: &DataKey, claim: &Claim) -> Option<Self> {
        let length = end(&RowCode::default()).len();
        let (content, end) = claim.body.split_at_checked(claim.body.len().checked_sub(length)?)?;
        let digits = end.strip_prefix(",\"mac\":\"")?.strip_suffix("\"}")?;
        let mut code = RowCode::default();
        decode_hex(digits.as_bytes(), &mut code).ok()?;
        let row = Self::new(
            claim.id.parse().ok()?,
            &claim.owner,
            claim.counter,
            &format!("{content}}}"),
        );
        is_same_code(&row.code(key), &code).then_some(row)
    }

    /// The error of a write to a row that is not as it was seen.
    pub(super) fn lost(&self) -> StoreError {
        let id = self.id.to_string().into();
        StoreError::ClaimLost { id }
    }
}

#[cfg(test)]
mod tests {
    use xks_core::Zeroizing;

    use super::*;

    #[test]
    fn a_row_is_read_as_it_was_written_and_not_otherwise() {
        let key = DataKey::new(Zeroizing::new([7; 32]));
        let row = JobRow::new(JobId::generate().unwrap(), "worker", 3, r#"{"state":"planned"}"#);
        let claim = row.claim(&key);
        assert!(
            claim.body.starts_with(r#"{"state":"planned","mac":""#),
            "{}",
            claim.body
        );
        assert_eq!(JobRow::read(&key, &claim), Some(row));
        let with =
            |id: &str, owner: &str, counter, body: &str| Claim::new(ClaimKind::CloudJob, id, owner, counter, body);
        let edited = claim.body.replace("planned", "blocked");
        let other = JobId::generate().unwrap().to_string();
        for claim in [
            with(&other, "worker", 3, &claim.body),
            with(&claim.id, "other", 3, &claim.body),
            with(&claim.id, "", 3, &claim.body),
            with(&claim.id, "worker", 4, &claim.body),
            with(&claim.id, "worker", 3, &edited),
            with(&claim.id, "worker", 3, ""),
            with(&claim.id, "worker", 3, "ü"),
        ] {
            assert_eq!(JobRow::read(&key, &claim), None, "{claim:?}");
        }
        assert_eq!(JobRow::read(&DataKey::new(Zeroizing::new([8; 32])), &claim), None);
    }
}
