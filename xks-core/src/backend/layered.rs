//! A backend around another one: [`Layered`], whose methods forward unless a layer changes them.

use std::{pin::Pin, sync::Arc};

use zeroize::Zeroizing;

use super::{
    BackendError, DecryptRequest, EncryptRequest, Encrypted, GetKeyMetadataRequest, Health, KeyBackend, KeyMetadata,
    Limits, VerifiedEncryption,
};
use crate::KeyId;

/// What an `async fn` of a trait returns with [`async_trait`](crate::async_trait).
type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, BackendError>> + Send + 'a>>;

/// One asynchronous method, which hands the call on.
///
/// The signature is the one that `async_trait` makes of an `async fn`, so that layers and backends are
/// written with `async fn`. The body is not: it returns the future that it gets, where an `async fn` would
/// put it into a second one, at an allocation for each layer and request.
macro_rules! method {
    (to_inner $name:ident $signature:tt) => {
        method! {
            #[doc = concat!("Forwards to [`KeyBackend::", stringify!($name), "`] of the [inner](Self::inner) backend.")]
            $name $signature by |layer| KeyBackend::$name(Layered::inner(layer))
        }
    };
    (to_layer $name:ident $signature:tt) => {
        method! { $name $signature by |layer| Layered::$name(layer) }
    };
    (to_shared $name:ident $signature:tt) => {
        method! { $name $signature by |shared| KeyBackend::$name(&**shared) }
    };
    (
        $(#[$doc:meta])*
        $name:ident { <$($life:lifetime),*>($($arg:ident: $type:ty),*) -> $output:ty }
        by |$this:ident| $trait:ident::$call:ident($on:expr)
    ) => {
        $(#[$doc])*
        fn $name<'life0, $($life,)* 'async_trait>(&'life0 self, $($arg: $type),*) -> Answer<'async_trait, $output>
        where
            'life0: 'async_trait,
            $($life: 'async_trait,)*
            Self: 'async_trait,
        {
            let $this = self;
            $trait::$call($on, $($arg),*)
        }
    };
}

/// All asynchronous methods of [`KeyBackend`]: the only list of them.
macro_rules! methods {
    ($how:ident) => {
        method! { $how key_metadata {
            <'life1, 'life2, 'life3>(key: &'life1 KeyId, request: &'life2 GetKeyMetadataRequest<'life3>) -> KeyMetadata
        } }
        method! { $how encrypt {
            <'life1, 'life2, 'life3>(key: &'life1 KeyId, request: &'life2 mut EncryptRequest<'life3>) -> Encrypted
        } }
        method! { $how encrypt_verified {
            <'life1, 'life2, 'life3>(key: &'life1 KeyId, request: &'life2 mut EncryptRequest<'life3>)
                -> VerifiedEncryption
        } }
        method! { $how decrypt {
            <'life1, 'life2, 'life3>(key: &'life1 KeyId, request: &'life2 DecryptRequest<'life3>)
                -> Zeroizing<Vec<u8>>
        } }
        method! { $how health { <>() -> Health } }
    };
}

/// A layer: a backend around another one, such as limits, metrics or a cache. Every method forwards to the
/// inner backend unless the layer writes it, so a layer writes only what it changes and loses nothing of what
/// is inside it.
///
/// Every `Layered` is a [`KeyBackend`]: do not implement both. A layer that implements [`KeyBackend`] by hand
/// loses what it forgets: the [limits](KeyBackend::limits) of the backend inside, its one trip for a
/// [verified encryption](KeyBackend::encrypt_verified), and every method that the trait gets later.
///
/// # Encryption has two methods
/// KMS decides with each request whether the pipeline calls [`encrypt`](Self::encrypt) or
/// [`encrypt_verified`](Self::encrypt_verified), and each goes straight to the inner backend. A layer that
/// checks, counts or changes encryptions writes both. Where it changes ciphertexts or plaintexts on their
/// way, the verification has to go through its own methods: [`VerifiedEncryption::by_two_calls`] does that.
///
/// # Other rules
/// * Call the inner backend by [`inner`](Self::inner). A method of the layer itself needs the name of the
///   trait, as in `KeyBackend::encrypt(&layer, ...)`, where both traits are imported; behind an `Arc` it does
///   not.
/// * What `&mut EncryptRequest` lets a layer set, such as the [default
///   metadata](EncryptRequest::set_default_metadata), is set again whenever the request is handed to another
///   backend.
/// * A layer that has to recognize its ciphertexts [tags](EncryptRequest::tag) them, in both methods that
///   encrypt, and adds its part to [`metadata_length`](Self::metadata_length).
/// * A layer that renames keys gives the inner backend's name to each method that has a key.
/// * [`limits`](Self::limits) are at most those of the inner backend, unless the layer knows better what that
///   takes.
/// * A layer that holds something while a call is under way gives it back when the future is dropped.
///
/// # Example
/// ```
/// use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
/// use xks_core::{
///     BackendError, KeyBackend, KeyId, Zeroizing, async_trait,
///     backend::{DecryptRequest, Layered},
/// };
///
/// /// Counts decryptions that KMS asked for.
/// struct Counted {
///     inner: Arc<dyn KeyBackend>,
///     decryptions: AtomicU64,
/// }
///
/// #[async_trait]
/// impl Layered for Counted {
///     type Inner = dyn KeyBackend;
///
///     fn inner(&self) -> &dyn KeyBackend {
///         &*self.inner
///     }
///
///     async fn decrypt(&self, key: &KeyId, request: &DecryptRequest<'_>) -> Result<Zeroizing<Vec<u8>>, BackendError> {
///         if !request.is_verification() {
///             self.decryptions.fetch_add(1, Ordering::Relaxed);
///         }
///         self.inner().decrypt(key, request).await
///     }
/// }
///
/// # fn doc(inner: Arc<dyn KeyBackend>) -> Arc<dyn KeyBackend> {
/// let backend: Arc<dyn KeyBackend> = Arc::new(Counted { inner, decryptions: AtomicU64::new(0) });
/// # backend
/// # }
/// ```
pub trait Layered: Send + Sync + 'static {
    /// The inner backend: a type, or `dyn KeyBackend`.
    type Inner: KeyBackend + ?Sized;

    /// Returns the inner backend.
    fn inner(&self) -> &Self::Inner;

    methods! { to_inner }

    /// Forwards to [`KeyBackend::limits`] of the [inner](Self::inner) backend.
    fn limits(&self) -> Limits {
        self.inner().limits()
    }

    /// Forwards to [`KeyBackend::metadata_length`] of the [inner](Self::inner) backend.
    fn metadata_length(&self) -> usize {
        self.inner().metadata_length()
    }
}

// The lint: a new method of `KeyBackend` that has a body of its own must be handed on, too.
#[deny(clippy::missing_trait_methods)]
impl<L: Layered + ?Sized> KeyBackend for L {
    methods! { to_layer }

    fn limits(&self) -> Limits {
        Layered::limits(self)
    }

    fn metadata_length(&self) -> usize {
        Layered::metadata_length(self)
    }
}

/// Not by [`Layered`], so that a method of an `Arc<dyn KeyBackend>` is that of one trait.
#[deny(clippy::missing_trait_methods)]
impl<T: KeyBackend + ?Sized> KeyBackend for Arc<T> {
    methods! { to_shared }

    fn limits(&self) -> Limits {
        (**self).limits()
    }

    fn metadata_length(&self) -> usize {
        (**self).metadata_length()
    }
}
