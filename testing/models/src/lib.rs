//! The threads of xks-backend-pkcs11 in model checkers: its module `threads` and that module's models,
//! without the rest of the backend, which takes long to build. `scripts/test models` runs them; without
//! `--cfg model="loom"` or `--cfg model="shuttle"` the crate is empty.

#![cfg(all(test, any(model = "loom", model = "shuttle")))]
#![allow(dead_code, unused_imports, reason = "the backend uses what the models leave out")]

#[path = "../../../xks-backend-pkcs11/src/threads/mod.rs"]
mod threads;
