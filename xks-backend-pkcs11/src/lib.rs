//! Keys in hardware security modules that speak PKCS#11, for `xks-core`.

mod attendant;
mod backend;
mod bell;
mod config;
mod error;
mod gate;
mod gcm;
mod health;
mod inline;
mod keys;
mod module;
mod pool;
mod quirks;
mod raw;
mod session;
mod token;

pub use self::{
    backend::{Pkcs11Backend, Status},
    config::{Config, Dispatch, KeyLookup, KeyName, Pin, PinError, SlotSelector, TestKey},
    error::{CallError, LoadError, OpenError, Phase, ReturnCode, Verdict},
    quirks::{AppendedIv, IvSource, Quirks, SessionMode, UnknownVendor},
};
