//! The kinds of backends that come with the server; a program registers those that it wants.
//!
//! ```
//! use xks_server::{Server, kinds};
//!
//! let server = Server::new("acme-proxy", "1.0.0")
//!     .backend("pkcs11", kinds::Pkcs11Settings::read) // the word is what `kind` in the settings has to be
//!     .backend("soft", kinds::SoftSettings::read)
//!     .backend("fleet", kinds::FleetSettings::read) // of backends of any kind
//!     .sample_proxy("pkcs11") // settings of AWS's sample proxy become a backend of this kind
//!     .demo(kinds::soft_demo); // what is served without settings
//! ```

mod demo;
mod fleet;
mod pkcs11;
mod soft;

pub use self::{demo::soft_demo, fleet::FleetSettings, pkcs11::Pkcs11Settings, soft::SoftSettings};

pub(crate) use self::pkcs11::{KEY_REFRESH, MODULE_VARIABLE, TestKeySetting, module, module_of_environment, pin};
