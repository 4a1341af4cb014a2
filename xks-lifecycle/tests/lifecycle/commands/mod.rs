//! Commands over the real store and a real key manager, which fails where a test wants it.

mod adoption;
mod cloud;
pub(crate) mod cloud_material;
mod conflicts;
mod creation;
mod creation_of_many;
pub(crate) mod credentials;
mod events;
mod expiry;
pub(crate) mod hooked;
mod jobs;
mod observer;
mod removal;
mod rotation;
mod tenants;
pub(crate) mod world;
