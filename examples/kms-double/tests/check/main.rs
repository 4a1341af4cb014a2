//! `kms-double check` on our own proxy, on proxies that are broken on purpose, and on what is no proxy.

mod answers;
mod ciphertexts;
mod hostile;
mod ours;
mod program;
mod signatures;
mod support;
mod table;
mod wire;
