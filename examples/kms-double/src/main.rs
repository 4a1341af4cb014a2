//! `kms-double check` and `kms-double serve`.

#![forbid(unsafe_code)]

fn main() {}
