//! The requests and responses of the AWS KMS API, by the names that AWS gives them. A field that the double
//! does not know is refused, not skipped, so that no caller believes that it did something. A field that is
//! `null` is absent.

mod administration;
mod cryptography;
mod import;
mod key_stores;
mod keys;
mod multi_region;

use serde::{Deserialize, Deserializer};

pub use self::{administration::*, cryptography::*, import::*, key_stores::*, keys::*, multi_region::*};

/// Reads a field that has a default. `null` is absence, as it is by itself where the type is an `Option`.
fn null_is_absent<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(field: D) -> Result<T, D::Error> {
    Option::deserialize(field).map(Option::unwrap_or_default)
}
