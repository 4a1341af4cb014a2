//! The access keys of a user, read until the answers agree.

use crate::aws::{AccessKeyMetadata, AwsError, Iam, PageRequest};

/// How many equal reads in a row are trusted.
pub const EQUAL_READS: usize = 3;

/// How many reads are made for that.
const MAX_READS: usize = 8;

/// Reads all access keys of the caller, in the order of their ids. Returns nothing where AWS's answers do not
/// agree yet: [`EQUAL_READS`] in a row. Read again some seconds later then.
///
/// # Errors
/// The call failed.
pub async fn observe(iam: &dyn Iam) -> Result<Option<Vec<AccessKeyMetadata>>, AwsError> {
    let (mut last, mut equal) = (None, 0);
    for _ in 0..MAX_READS {
        let keys = Some(read(iam).await?);
        equal = if keys == last { equal + 1 } else { 1 };
        last = keys;
        if equal == EQUAL_READS {
            return Ok(last);
        }
    }
    Ok(None)
}

async fn read(iam: &dyn Iam) -> Result<Vec<AccessKeyMetadata>, AwsError> {
    let (mut keys, mut request) = (Vec::new(), PageRequest::first());
    loop {
        let page = iam.list_access_keys(None, request).await?;
        keys.extend(page.items);
        let Some(marker) = page.next_marker else {
            keys.sort_by(|a, b| a.access_key_id.cmp(&b.access_key_id));
            return Ok(keys);
        };
        request = PageRequest::after(marker);
    }
}
