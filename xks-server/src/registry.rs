//! The kinds of backends that are registered, and backends as the settings have them, whatever their kind.

use std::{any::Any, fmt, sync::Arc};

use xks_core::KeyId;

use crate::{
    backend::{BackendSettings, OpenBackend, OpenError, Opening, ReadContext},
    settings::Table,
};

type Read = dyn Fn(&mut Table<'_, '_>, &ReadContext) -> Option<Arc<dyn AnySettings>> + Send + Sync;

/// The kinds, each under its word, in the order in which messages name them.
#[derive(Clone, Default)]
pub(crate) struct Kinds(Vec<(&'static str, Arc<Read>)>);

impl Kinds {
    /// A kind of the same word is replaced.
    pub(crate) fn add<S: BackendSettings>(
        &mut self,
        word: &'static str,
        read: impl Fn(&mut Table<'_, '_>, &ReadContext) -> Option<S> + Send + Sync + 'static,
    ) {
        let read = move |table: &mut Table<'_, '_>, context: &ReadContext| -> Option<Arc<dyn AnySettings>> {
            read(table, context).map(|settings| Arc::new(settings) as _)
        };
        self.0.retain(|(known, _)| *known != word);
        self.0.push((word, Arc::new(read)));
    }

    pub(crate) fn words(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|(word, _)| *word)
    }

    /// Reads the table of a backend of that kind.
    pub(crate) fn read(
        &self,
        word: &'static str,
        name: &str,
        table: &mut Table<'_, '_>,
        context: &ReadContext,
    ) -> Option<ConfiguredBackend> {
        let (_, read) = self.0.iter().find(|(known, _)| *known == word)?;
        Some(ConfiguredBackend {
            name: name.to_owned(),
            kind: word,
            settings: read(table, context)?,
        })
    }
}

/// A backend of the settings: its name, its kind, and what its kind made of the table.
#[derive(Clone)]
pub(crate) struct ConfiguredBackend {
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    settings: Arc<dyn AnySettings>,
}

impl ConfiguredBackend {
    pub(crate) fn new(name: &str, kind: &'static str, settings: impl BackendSettings) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            settings: Arc::new(settings),
        }
    }

    /// The settings, if they are of this type.
    pub(crate) fn settings<S: BackendSettings>(&self) -> Option<&S> {
        (&*self.settings as &dyn Any).downcast_ref()
    }

    pub(crate) fn open(&self, opening: &Opening<'_>) -> Result<Arc<dyn OpenBackend>, OpenError> {
        self.settings.open(opening)
    }

    pub(crate) fn members(&self) -> Vec<&str> {
        self.settings.members()
    }

    pub(crate) fn has_member(&self, name: &str) -> bool {
        self.members().contains(&name)
    }

    pub(crate) fn may_block(&self) -> bool {
        self.settings.may_block()
    }

    pub(crate) fn is_test_key(&self, key: &KeyId) -> bool {
        self.settings.is_test_key(key)
    }

    pub(crate) fn own_metadata(&self) -> Option<&'static str> {
        self.settings.own_metadata()
    }

    /// Whether both may be one device. A backend is that of itself.
    #[cfg(feature = "lifecycle")]
    pub(crate) fn may_share_device_with(&self, other: &Self) -> bool {
        self.name == other.name || self.settings.may_share_device_with(&*other.settings)
    }

    #[cfg(feature = "lifecycle")]
    pub(crate) fn names_keys_as(&self, other: &Self) -> bool {
        self.settings.names_keys_as(&*other.settings)
    }

    #[cfg(feature = "lifecycle")]
    pub(crate) fn device(&self) -> Option<String> {
        self.settings.device()
    }

    #[cfg(feature = "lifecycle")]
    pub(crate) fn makes_no_keys(&self) -> Option<&'static str> {
        self.settings.makes_no_keys()
    }

    pub(crate) fn is_same_device(&self, other: &Self) -> bool {
        self.settings.is_same_device(&*other.settings)
    }

    pub(crate) fn shares_keys_with(&self, other: &Self) -> bool {
        self.settings.shares_keys_with(&*other.settings)
    }

    pub(crate) fn replacement_notice(&self, open: &Self) -> Option<&'static str> {
        self.settings.replacement_notice(&*open.settings)
    }
}

impl PartialEq for ConfiguredBackend {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.kind == other.kind && self.settings.equals(&*other.settings)
    }
}

impl fmt::Debug for ConfiguredBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfiguredBackend")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// [`BackendSettings`] of any type; those of another type are not equal, and have nothing in common.
trait AnySettings: Any + Send + Sync {
    fn equals(&self, other: &dyn AnySettings) -> bool;
    fn open(&self, opening: &Opening<'_>) -> Result<Arc<dyn OpenBackend>, OpenError>;
    fn members(&self) -> Vec<&str>;
    fn may_block(&self) -> bool;
    fn is_test_key(&self, key: &KeyId) -> bool;
    fn own_metadata(&self) -> Option<&'static str>;
    #[cfg(feature = "lifecycle")]
    fn device(&self) -> Option<String>;
    #[cfg(feature = "lifecycle")]
    fn makes_no_keys(&self) -> Option<&'static str>;
    #[cfg(feature = "lifecycle")]
    fn may_share_device_with(&self, other: &dyn AnySettings) -> bool;
    #[cfg(feature = "lifecycle")]
    fn names_keys_as(&self, other: &dyn AnySettings) -> bool;
    fn is_same_device(&self, other: &dyn AnySettings) -> bool;
    fn shares_keys_with(&self, other: &dyn AnySettings) -> bool;
    fn replacement_notice(&self, open: &dyn AnySettings) -> Option<&'static str>;
}

fn downcast<S: 'static>(settings: &dyn AnySettings) -> Option<&S> {
    (settings as &dyn Any).downcast_ref()
}

impl<S: BackendSettings> AnySettings for S {
    fn equals(&self, other: &dyn AnySettings) -> bool {
        downcast(other).is_some_and(|other| self == other)
    }

    fn open(&self, opening: &Opening<'_>) -> Result<Arc<dyn OpenBackend>, OpenError> {
        BackendSettings::open(self, opening)
    }

    fn members(&self) -> Vec<&str> {
        BackendSettings::members(self)
    }

    fn may_block(&self) -> bool {
        BackendSettings::may_block(self)
    }

    fn is_test_key(&self, key: &KeyId) -> bool {
        BackendSettings::is_test_key(self, key)
    }

    fn own_metadata(&self) -> Option<&'static str> {
        BackendSettings::own_metadata(self)
    }

    #[cfg(feature = "lifecycle")]
    fn may_share_device_with(&self, other: &dyn AnySettings) -> bool {
        downcast(other).is_some_and(|other| BackendSettings::may_share_device_with(self, other))
    }

    #[cfg(feature = "lifecycle")]
    fn names_keys_as(&self, other: &dyn AnySettings) -> bool {
        downcast(other).is_none_or(|other| BackendSettings::names_keys_as(self, other))
    }

    #[cfg(feature = "lifecycle")]
    fn device(&self) -> Option<String> {
        BackendSettings::device(self)
    }

    #[cfg(feature = "lifecycle")]
    fn makes_no_keys(&self) -> Option<&'static str> {
        BackendSettings::makes_no_keys(self)
    }

    fn is_same_device(&self, other: &dyn AnySettings) -> bool {
        downcast(other).is_some_and(|other| BackendSettings::is_same_device(self, other))
    }

    fn shares_keys_with(&self, other: &dyn AnySettings) -> bool {
        downcast(other).is_some_and(|other| BackendSettings::shares_keys_with(self, other))
    }

    fn replacement_notice(&self, open: &dyn AnySettings) -> Option<&'static str> {
        downcast(open).and_then(|open| BackendSettings::replacement_notice(self, open))
    }
}
