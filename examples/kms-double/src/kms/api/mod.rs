//! The requests and responses of the AWS KMS API, by the names that AWS gives them. A field that the double does not know
//! is refused, not skipped: nobody shall believe that it did something.

mod cryptography;
mod key_stores;
mod keys;

pub use self::{cryptography::*, key_stores::*, keys::*};
