//! The capabilities of a key manager.

use super::WrappingAlgorithm;

/// The operations that a [`KeyManager`](super::KeyManager) can do. It answers `Unsupported` to all others.
///
/// ```
/// use xks_core::manage::{Capabilities, WrappingAlgorithm};
///
/// let capabilities = Capabilities::none().with_create().with_destroy().with_wrapping([WrappingAlgorithm::RsaOaepSha1]);
/// assert!(capabilities.create && !capabilities.set_status);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// [`create_key`](super::KeyManager::create_key). False for a key manager whose keys are made elsewhere,
    /// or that needs an operator's card to create one.
    pub create: bool,
    /// [`destroy_key`](super::KeyManager::destroy_key).
    pub destroy: bool,
    /// [`set_status`](super::KeyManager::set_status).
    pub set_status: bool,
    /// [`cmac`](super::KeyManager::cmac).
    pub cmac: bool,
    /// The algorithms of [`wrap_key`](super::KeyManager::wrap_key), the best first. Without any, no key that
    /// is created can be extractable.
    pub wrapping: Vec<WrappingAlgorithm>,
}

impl Capabilities {
    /// Keys can be listed and described, which every manager can, and no more.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            create: false,
            destroy: false,
            set_status: false,
            cmac: false,
            wrapping: Vec::new(),
        }
    }

    /// Adds the creation of keys.
    #[must_use]
    pub fn with_create(self) -> Self {
        Self { create: true, ..self }
    }

    /// Adds the destruction of keys.
    #[must_use]
    pub fn with_destroy(self) -> Self {
        Self { destroy: true, ..self }
    }

    /// Adds enabling and disabling keys.
    #[must_use]
    pub fn with_set_status(self) -> Self {
        Self {
            set_status: true,
            ..self
        }
    }

    /// Adds CMACs.
    #[must_use]
    pub fn with_cmac(self) -> Self {
        Self { cmac: true, ..self }
    }

    /// Sets the wrapping algorithms, the best first.
    #[must_use]
    pub fn with_wrapping(self, wrapping: impl IntoIterator<Item = WrappingAlgorithm>) -> Self {
        Self {
            wrapping: wrapping.into_iter().collect(),
            ..self
        }
    }
}
