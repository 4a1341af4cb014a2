//! Keys in hardware security modules that speak PKCS#11, for `xks-core`.
//!
//! This crate will hold a [`KeyBackend`](xks_core::KeyBackend) for such modules: sessions on threads of their own, a
//! cache of key handles, IVs made by the token, recovery from a failing device.
//!
//! Today there is one finished part of it: the table that says what a module's return code means at each step of a
//! request, [`ReturnCode::verdict`]. The same event has different codes in different modules, and one code stands for
//! different events, so the table is made from what modules were seen to answer. It calls no module.

mod error;

pub use error::{Phase, ReturnCode, Verdict};
