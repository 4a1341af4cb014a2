//! A PKCS#11 module within the process: a function list of its own, with answers that a test chooses. What
//! the `unsafe` room does with answers of every kind can be tried with it where no library can be loaded, as
//! under Miri.
//!
//! For tests, and for the fuzz targets, which need the feature `fake`. It is no part of the API.

#[cfg_attr(not(test), expect(dead_code, reason = "some of what a call has is for tests alone"))]
mod call;
mod honest;
mod list;
mod making;
mod memory;
mod wild;

#[cfg(test)]
mod tests;

pub use self::wild::wild;
