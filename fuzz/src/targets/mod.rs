//! One file for each kind of target.

pub mod audit;
pub mod base64;
pub mod bodies;
pub mod differential;
pub mod exchanges;
pub mod pkcs11_attributes;
pub mod settings;
pub mod text_types;
