//! The reader of a token's settings.

use std::{env, path::PathBuf};

use xks_backend_pkcs11::{AppendedIv, IvSource, KeyLookup, Pin, Quirks, SlotSelector};
use xks_core::Zeroizing;

use super::{KEY_REFRESH, Pkcs11Settings, TestKeySetting};
use crate::{
    backend::ReadContext,
    settings::{BYTE_ORDER_MARK, DAY, DAY_MS, Item, Secret, SecretOrigin, Source, Table, shown},
};

/// The module's path, where it is to be another one than the file's.
pub(crate) const MODULE_VARIABLE: &str = "PKCS11_HSM_MODULE";

impl Pkcs11Settings {
    /// Reads the settings of a `[backends.NAME]` table.
    ///
    /// Returns `None` if something is missing or wrong, which is reported to the table.
    pub fn read(table: &mut Table<'_, '_>, context: &ReadContext) -> Option<Self> {
        let source = table.source;
        let of_environment = module_of_environment();
        let is_heeded = context.tables_of_kind() <= 1;
        if of_environment.is_some() && !is_heeded {
            let warning = format!("{MODULE_VARIABLE} is ignored: more than one backend has a module");
            source.warn(0..0, warning);
        }
        let of_file = table.path("module");
        let module = module(source, of_file, of_environment.filter(|_| is_heeded).as_ref());
        let module = table.needed("module", module);
        let mut quirks = table
            .parsed::<Quirks>("vendor")
            .map_or(Quirks::STANDARD, |item| item.value);
        let iv_sources = [
            ("token-random", IvSource::TokenRandom),
            ("system-random", IvSource::SystemRandom),
            ("written-back", IvSource::WrittenBack),
            ("appended-12", IvSource::Appended(AppendedIv::Bytes12)),
            ("appended-16", IvSource::Appended(AppendedIv::Bytes16)),
        ];
        if let Some(iv_source) = table.one_of("iv_source", &iv_sources) {
            quirks = quirks.with_iv_source(iv_source);
        }
        let slots = [
            table
                .text("token_label")
                .map(|label| SlotSelector::TokenLabel(label.value)),
            table
                .text("token_serial")
                .map(|serial| SlotSelector::Serial(serial.value)),
            table
                .number("slot_index", 0..=u64::from(u32::MAX))
                .map(SlotSelector::Index),
        ];
        let mut slots = slots.into_iter().flatten();
        let slot = slots.next().unwrap_or(SlotSelector::First);
        if slots.next().is_some() {
            table.error("set exactly one of `token_label`, `token_serial` and `slot_index`");
        }
        let pin = pin_of(table, &quirks);
        let no_login = table.flag("login") == Some(false);
        if no_login && PIN_KEYS.iter().any(|key| table.is_present(key)) {
            table.error("`login = false` and a PIN exclude each other: remove one");
        }
        let module_parameters = table.text("module_parameters");
        if let Some(text) = module_parameters.as_ref().filter(|text| text.value.contains('\0')) {
            source.error(
                text.span.clone(),
                "`module_parameters` must not contain a NUL character",
            );
        }
        let lookups = [("label", KeyLookup::Label), ("id", KeyLookup::Id)];
        let deadline = table.milliseconds("deadline_ms", 1..=DAY_MS);
        if deadline.is_some_and(|deadline| deadline > context.request_timeout()) {
            table.error("`deadline_ms` must not exceed `server.timeout_ms`");
        }
        if table.flag("inline") == Some(true) {
            // A module that hangs would keep the server's own threads.
            let warning = "`inline = true` is ignored: the module is called on worker threads; delete the line";
            source.warn(table.span.clone(), warning);
        }
        let label = table.text("test_key").map(|label| label.value);
        let test_key = match (label, table.flag("no_test_key").unwrap_or(false)) {
            (Some(_), true) => {
                table.error("`test_key` and `no_test_key` exclude each other: remove one");
                TestKeySetting::None
            }
            (None, true) => TestKeySetting::None,
            (Some(label), false) => TestKeySetting::Label(label),
            (None, false) => TestKeySetting::Session,
        };
        let settings = Self {
            module: PathBuf::new(),
            module_parameters: module_parameters.map(|text| text.value),
            quirks,
            slot,
            token_may_change: table.flag("token_may_change").unwrap_or(false),
            no_login,
            pin,
            key_lookup: table.one_of("key_lookup", &lookups).unwrap_or_default(),
            sessions: table.number("sessions", 1..=10_000).unwrap_or(30),
            queue: table.number("queue", 0..=1_000_000),
            deadline: deadline.unwrap_or_else(|| context.default_deadline()),
            key_refresh: table.seconds("key_refresh_secs", 1..=DAY).unwrap_or(KEY_REFRESH),
            test_key,
        };
        Some(Self {
            module: module?,
            ..settings
        })
    }
}

/// The sources of a PIN.
const PIN_KEYS: [&str; 3] = ["pin_file", "pin_env", "pin"];

fn pin_of(table: &mut Table<'_, '_>, quirks: &Quirks) -> Option<Secret> {
    let (pin, origin) = table.one_secret(PIN_KEYS)?;
    let key = match origin {
        SecretOrigin::File(_) => "pin_file",
        SecretOrigin::Environment(_) => "pin_env",
        SecretOrigin::Settings | SecretOrigin::New => "pin",
    };
    // In the settings themselves it is meant; and nShield's card sets may have no passphrase.
    if pin.value.is_empty() && key != "pin" && quirks.name() != Quirks::NSHIELD.name() {
        let warning = format!("`{key}` is empty: the empty PIN is sent");
        table.source.warn(pin.span.clone(), warning);
    }
    Some(self::pin(table.source, key, &pin))
}

/// The module that the environment names.
pub(crate) fn module_of_environment() -> Option<PathBuf> {
    let module = env::var_os(MODULE_VARIABLE).filter(|module| !module.is_empty());
    module.map(PathBuf::from)
}

/// The module's path: that of the environment goes before that of the file.
pub(crate) fn module(
    source: &Source<'_>,
    of_file: Option<Item<PathBuf>>,
    of_environment: Option<&PathBuf>,
) -> Option<PathBuf> {
    let in_file = of_file.as_ref().map(|item| item.value.clone());
    let (path, span) = match (of_environment, of_file) {
        (Some(path), of_file) => (path.clone(), of_file.map_or(0..0, |item| item.span)),
        (None, Some(item)) => (item.value, item.span),
        (None, None) => return None,
    };
    let name = shown(&path.to_string_lossy());
    if of_environment.is_some_and(|of_environment| in_file.as_ref().is_some_and(|in_file| in_file != of_environment)) {
        let warning = format!(
            "the environment variable {} overrides this module: {name}",
            MODULE_VARIABLE
        );
        source.warn(span.clone(), warning);
    }
    if !path.is_file() {
        source.error(span, format!("no PKCS#11 module at {name}"));
    }
    Some(path)
}

/// A PIN. What cannot be one is an error, since each attempt counts; what is odd is a warning.
pub(crate) fn pin(source: &Source<'_>, key: &str, pin: &Item<Zeroizing<String>>) -> Secret {
    let text = match pin.value.strip_prefix(BYTE_ORDER_MARK) {
        Some(text) => {
            source.warn(
                pin.span.clone(),
                format!("`{key}` begins with a byte order mark, which is ignored"),
            );
            text
        }
        None => &pin.value,
    };
    if let Some(fault) = Pin::fault(text) {
        let warning = format!("`{key}` cannot be a PIN: {fault}; the server does not start with it");
        source.warn(pin.span.clone(), warning);
    }
    for warning in Pin::warnings(text) {
        source.warn(pin.span.clone(), format!("`{key}`: {warning}"));
    }
    Secret(Zeroizing::new(text.as_bytes().to_vec()))
}
