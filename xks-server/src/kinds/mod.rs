//! The kinds of backends that come with the server; a program registers those that it wants.

mod demo;
mod fleet;
mod pkcs11;
mod soft;

pub use self::{demo::soft_demo, fleet::FleetSettings, pkcs11::Pkcs11Settings, soft::SoftSettings};

pub(crate) use self::pkcs11::{KEY_REFRESH, MODULE_VARIABLE, TestKeySetting, module, module_of_environment, pin};
