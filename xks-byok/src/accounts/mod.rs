//! Accounts of AWS: their credentials, what these must be allowed to do, and the rotation of their access
//! key.
//!
//! | to | see |
//! |---|---|
//! | read the file that AWS's console gives for an access key | [`parse_csv`] |
//! | know the smallest IAM policy for what is configured | [`iam_policy`] |
//! | replace an account's own access key by a new one | [`rotation`] |

mod csv;
mod policy;
pub mod rotation;

pub use self::{
    csv::{CsvError, parse_csv},
    policy::{Configured, iam_policy, partition},
};
