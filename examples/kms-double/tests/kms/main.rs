//! The double over our proxy as it is, over our proxy broken on purpose, and over the server with a token.

mod broken;
mod hsm;
mod key_stores;
mod operations;
#[path = "../serve/programs.rs"]
mod programs;
mod site;
#[path = "../check/support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "other tests use more of it")]
mod support;
mod tls;
