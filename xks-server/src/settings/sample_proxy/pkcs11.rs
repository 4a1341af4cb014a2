//! `[pkcs11]`, `[pkcs11_logger]` and `[hsm_capabilities]` of the sample proxy's file: the HSM and its quirks.

use std::path::Path;

use xks_backend_pkcs11::{IvSource, KeyLookup, Quirks, SlotSelector};
use xks_core::Zeroizing;

use super::cut;
use crate::{
    kinds::{self, MODULE_VARIABLE, Pkcs11Settings, TestKeySetting},
    process,
    settings::{
        ServerSettings,
        secrecy::shown,
        shared,
        table::{Item, Table},
    },
};

/// Where a logging module finds the HSM's own.
pub(super) const LOGGED_MODULE: &str = "PKCS11_LOGGER_LIBRARY_PATH";

/// `[pkcs11_logger]`: what a logging module around the HSM's own reads from the environment. A variable that
/// the process was started with goes before the file's.
pub(super) fn logger_environment(mut table: Table<'_, '_>) -> Vec<(String, String)> {
    let source = table.source;
    let keys = [LOGGED_MODULE, "PKCS11_LOGGER_LOG_FILE_PATH", "PKCS11_LOGGER_FLAGS"];
    let variables = keys.into_iter().filter_map(|key| {
        let Item { value, span } = table.text_or_number(key)?;
        if !shared::is_variable(key, &value) {
            source.error(span, format!("`{key}` must not contain a NUL character"));
            return None;
        }
        match process::inherited(key) {
            Some(inherited) if inherited != value => {
                let warning = format!(
                    "the environment variable {key} = {} overrides this setting",
                    shown(&inherited)
                );
                source.warn(span, warning);
                Some((key.to_owned(), inherited))
            }
            _ => Some((key.to_owned(), value)),
        }
    });
    variables.collect()
}

/// `[hsm_capabilities]`: who makes the IVs.
#[derive(Clone, Copy, Default)]
pub(super) struct Capabilities {
    can_generate_iv: bool,
    is_zero_iv_required: bool,
}

pub(super) fn hsm_capabilities(mut table: Table<'_, '_>) -> Capabilities {
    let can_generate_iv = table.flag("can_generate_iv");
    let can_generate_iv = table.needed("can_generate_iv", can_generate_iv).unwrap_or(false);
    let mut is_zero_iv_required = table.flag("is_zero_iv_required");
    if can_generate_iv {
        is_zero_iv_required = table.needed("is_zero_iv_required", is_zero_iv_required);
    }
    Capabilities {
        can_generate_iv,
        is_zero_iv_required: is_zero_iv_required.unwrap_or(false),
    }
}

impl Capabilities {
    /// Which vendor's module it is, from the name that the vendor gave it; and how its IVs are made, from
    /// what was configured.
    fn quirks(self, module: &Path) -> Quirks {
        let name = module.to_string_lossy().to_lowercase();
        let vendors = [
            ("cknfast", Quirks::NSHIELD),
            ("cloudhsm", Quirks::CLOUDHSM),
            ("cryptoki2", Quirks::LUNA),
            ("luna", Quirks::LUNA),
            ("softhsm", Quirks::SOFTHSM),
        ];
        let named = vendors
            .into_iter()
            .find(|(part, _)| name.contains(part))
            .map(|(_, quirks)| quirks);
        let quirks = named.unwrap_or(Quirks::STANDARD);
        quirks.with_iv_source(match (self.can_generate_iv, self.is_zero_iv_required) {
            (false, _) => IvSource::TokenRandom,
            (true, true) => IvSource::WrittenBack,
            (true, false) => Quirks::LUNA.iv_source(),
        })
    }
}

/// Whether a module only logs calls, and hands them on to the HSM's own.
fn is_logger(module: &Path) -> bool {
    let name = module.file_name().unwrap_or_default().to_string_lossy();
    name.to_lowercase().contains("logger")
}

/// `[pkcs11]`
pub(super) fn pkcs11_settings(
    mut table: Table<'_, '_>,
    behind_logger: Option<&Path>,
    capabilities: Capabilities,
) -> Option<Pkcs11Settings> {
    let source = table.source;
    let of_file = table.path(MODULE_VARIABLE);
    let module = kinds::module(source, of_file, kinds::module_of_environment().as_ref());
    let module = table.needed(MODULE_VARIABLE, module);
    let sessions = cut(&mut table, "session_pool_max_size", 1..=10_000).unwrap_or(30);
    let pin = table.text("user_pin").map(|pin| Item {
        value: Zeroizing::new(pin.value),
        span: pin.span,
    });
    let pin = pin.map(|pin| kinds::pin(source, "user_pin", &pin));
    if !table.is_present("user_pin") {
        let warning = "no `user_pin`: no login, and a token that requires one is rejected at startup";
        source.warn(table.span.clone(), warning);
    }
    // What only the sample proxy's own pool of sessions has a use for.
    table.number::<u64>("session_pool_timeout_milli", 0..=u64::MAX);
    table.number::<u64>("context_read_timeout_milli", 0..=u64::MAX);
    if table.flag("session_eager_close") == Some(true) {
        let warning = "`session_eager_close` is ignored: sessions are kept open, and replaced when they fail";
        source.warn(table.span.clone(), warning);
    }
    let module = module?;
    Some(Pkcs11Settings {
        quirks: capabilities.quirks(behind_logger.filter(|_| is_logger(&module)).unwrap_or(&module)),
        module,
        module_parameters: None,
        slot: SlotSelector::First,
        token_may_change: false,
        no_login: false,
        pin,
        key_lookup: KeyLookup::Label,
        sessions,
        queue: None,
        deadline: ServerSettings::TIMEOUT * 9 / 10,
        key_refresh: kinds::KEY_REFRESH,
        test_key: TestKeySetting::Session,
    })
}
