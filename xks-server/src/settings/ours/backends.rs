//! `[backends.NAME]`: the key managers.

use std::{collections::HashSet, path::PathBuf, time::Duration};

use xks_backend_pkcs11::{AppendedIv, IvSource, KeyLookup, Quirks, SlotSelector};
use xks_backend_soft::KeyMaterial;
use xks_core::{KeyId, fleet::Fleet, text::ErrorChain};

use super::{DAY, DAY_MS, default_deadline, one_secret};
use crate::settings::{
    BackendKind, BackendSettings, FleetSettings, KeyStoreSettings, MODULE_VARIABLE, Pkcs11Settings, Secret,
    SecretOrigin, SoftSettings, TestKeySetting,
    model::KEY_REFRESH,
    secrecy::{looks_secret, shown},
    shared,
    table::{Item, Table},
};

/// All that are written down.
#[derive(Default)]
pub(super) struct Backends {
    pub(super) sound: Vec<BackendSettings>,
    /// Names of those that have errors of their own.
    wrong: HashSet<String>,
}

impl Backends {
    pub(super) fn kind(&self, name: &str) -> Option<&BackendKind> {
        self.sound
            .iter()
            .find(|backend| backend.name == name)
            .map(|backend| &backend.kind)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.kind(name).is_some() || self.wrong.contains(name)
    }

    /// The backend of a name, or its members.
    fn managers<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'b BackendSettings> {
        self.sound.iter().filter(move |backend| match self.kind(name) {
            Some(BackendKind::Fleet(fleet)) => {
                fleet.members.contains(&backend.name) || fleet.standby.contains(&backend.name)
            }
            _ => backend.name == name,
        })
    }

    /// A key that both key stores serve, as a message names it; none if they share none.
    pub(super) fn common_key(&self, one: &KeyStoreSettings, other: &KeyStoreSettings) -> Option<String> {
        let shares = |one: &BackendSettings| {
            let mut others = self.managers(&other.backend);
            others.any(|other| one.has_keys_of(other))
        };
        if !self.managers(&one.backend).any(shares) {
            return None;
        }
        match (&one.keys, &other.keys) {
            (None, None) => Some("each key of the backend".to_owned()),
            (Some(keys), None) | (None, Some(keys)) => keys.first().map(|key| format!("the key {key}")),
            (Some(keys), Some(others)) => {
                let common = keys.iter().find(|key| others.contains(key));
                common.map(|key| format!("the key {key}"))
            }
        }
    }

    /// The only one that is nobody's member, if there is one.
    pub(super) fn only(&self) -> Option<&str> {
        let is_member = |name: &String| {
            self.sound.iter().any(|backend| match &backend.kind {
                BackendKind::Fleet(fleet) => fleet.members.contains(name) || fleet.standby.contains(name),
                _ => false,
            })
        };
        let names = self.sound.iter().map(|backend| &backend.name).chain(&self.wrong);
        let mut eligible = names.filter(|name| !is_member(name));
        match (eligible.next(), eligible.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        }
    }
}

/// That there is none of a name.
pub(super) fn missing(name: &str) -> String {
    match looks_secret(name) {
        true => "there is no backend of this name, which is not shown: it may be a secret".to_owned(),
        false => format!("there is no [backends.{name}]"),
    }
}

pub(super) fn backends(root: &mut Table<'_, '_>, module: Option<&PathBuf>, budget: Duration) -> Backends {
    let table = root.table("backends");
    let tables = root
        .needed("backends", table)
        .map(Table::into_tables)
        .unwrap_or_default();
    let kinds = ["pkcs11", "soft", "fleet"].map(|kind| (kind, kind));
    let modules = tables.iter().filter(|(_, table)| table.says("kind", "pkcs11")).count();
    let source = root.source;
    if module.is_some() && modules > 1 {
        let doubt = format!("{MODULE_VARIABLE} is not heeded: it could be the module of several");
        source.warn(root.span.clone(), doubt);
    }
    let module = module.filter(|_| modules <= 1);
    let (mut backends, mut spans) = (Backends::default(), Vec::new());
    for (name, mut table) in tables {
        let span = table.span.clone();
        if name.is_empty() || name.contains(char::is_control) {
            table.error(format!(
                "{name:?} is not a name of a backend: it needs at least one character, and no control character"
            ));
        }
        let kind = table.one_of("kind", &kinds);
        let kind = match table.needed("kind", kind) {
            Some("pkcs11") => pkcs11(&mut table, module, budget).map(BackendKind::Pkcs11),
            Some("soft") => soft(&mut table).map(BackendKind::Soft),
            Some(_) => fleet(&mut table, budget).map(BackendKind::Fleet),
            None => {
                table.forget();
                None
            }
        };
        match kind {
            Some(kind) => {
                backends.sound.push(BackendSettings { name, kind });
                spans.push(span);
            }
            None => {
                backends.wrong.insert(name);
            }
        }
    }
    for (backend, span) in backends.sound.iter().zip(spans) {
        let BackendKind::Fleet(fleet) = &backend.kind else {
            continue;
        };
        let mut seen = HashSet::new();
        for member in fleet.members.iter().chain(&fleet.standby) {
            let wrong = match backends.kind(member) {
                Some(BackendKind::Fleet(_)) => format!("{} is a fleet; a fleet's members are not", shown(member)),
                None if !backends.has(member) => missing(member),
                _ if seen.insert(member) => continue,
                _ => format!("{} is named twice", shown(member)),
            };
            source.error(span.clone(), wrong);
        }
    }
    backends
}

fn pkcs11(table: &mut Table<'_, '_>, module: Option<&PathBuf>, budget: Duration) -> Option<Pkcs11Settings> {
    let source = table.source;
    let of_file = table.path("module");
    let module = shared::module(source, of_file, module);
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
        table.error("name the token by one of `token_label`, `token_serial` and `slot_index`");
    }
    let pin = pin(table, &quirks);
    let no_login = table.flag("login") == Some(false);
    if no_login && PIN_KEYS.iter().any(|key| table.is_present(key)) {
        table.error("`login = false` and a PIN: leave one of them out");
    }
    let module_parameters = table.text("module_parameters");
    if let Some(text) = module_parameters.as_ref().filter(|text| text.value.contains('\0')) {
        source.error(
            text.span.clone(),
            "`module_parameters` has a NUL, which ends a text for a module",
        );
    }
    let lookups = [("label", KeyLookup::Label), ("id", KeyLookup::Id)];
    let deadline = table.milliseconds("deadline_ms", 1..=DAY_MS);
    if deadline.is_some_and(|deadline| deadline > budget) {
        table.error("`deadline_ms` is more than the budget: nobody would wait for the token so long");
    }
    if table.flag("inline") == Some(true) {
        // A module that hangs would keep the server's own threads.
        let doubt =
            "`inline = true` is not heeded any more: the module is called on threads of its own; delete the line";
        source.warn(table.span.clone(), doubt);
    }
    let label = table.text("test_key").map(|label| label.value);
    let test_key = match (label, table.flag("no_test_key").unwrap_or(false)) {
        (Some(_), true) => {
            table.error("`test_key` and `no_test_key` are both set");
            TestKeySetting::None
        }
        (None, true) => TestKeySetting::None,
        (Some(label), false) => TestKeySetting::Label(label),
        (None, false) => TestKeySetting::Session,
    };
    let settings = Pkcs11Settings {
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
        deadline: deadline.unwrap_or_else(|| default_deadline(budget)),
        key_refresh: table.seconds("key_refresh_secs", 1..=DAY).unwrap_or(KEY_REFRESH),
        test_key,
    };
    Some(Pkcs11Settings {
        module: module?,
        ..settings
    })
}

/// Where a PIN may be.
const PIN_KEYS: [&str; 3] = ["pin_file", "pin_env", "pin"];

fn pin(table: &mut Table<'_, '_>, quirks: &Quirks) -> Option<Secret> {
    let (pin, origin) = one_secret(table, PIN_KEYS)?;
    let key = match origin {
        SecretOrigin::File(_) => "pin_file",
        SecretOrigin::Environment(_) => "pin_env",
        SecretOrigin::Settings | SecretOrigin::New => "pin",
    };
    // In the settings themselves it is meant; and nShield's card sets may have no passphrase.
    if pin.value.is_empty() && key != "pin" && quirks.name() != Quirks::NSHIELD.name() {
        let doubt = format!("`{key}` holds nothing: a PIN of no characters is tried");
        table.source.warn(pin.span.clone(), doubt);
    }
    Some(shared::pin(table.source, key, &pin))
}

fn soft(table: &mut Table<'_, '_>) -> Option<SoftSettings> {
    let source = table.source;
    let keys = table.table("keys");
    let keys = table
        .needed("keys", keys)?
        .into_texts()
        .into_iter()
        .filter_map(|(id, file)| {
            let path = source.file(&id, file, true)?;
            let content = source.read(&path);
            let id = id
                .parse::<KeyId>()
                .map_err(|error| source.error(path.span.clone(), format!("{id:?}: {error}")));
            let content = Secret(content?);
            if let Err(error) = KeyMaterial::from_file(&path.value) {
                source.error(path.span, ErrorChain(&error).to_string());
                return None;
            }
            Some((id.ok()?, path.value, content))
        });
    Some(SoftSettings { keys: keys.collect() })
}

fn fleet(table: &mut Table<'_, '_>, of_request: Duration) -> Option<FleetSettings> {
    let names = |items: Vec<Item<String>>| items.into_iter().map(|item| item.value).collect::<Vec<_>>();
    let members = table.texts("members").map(names);
    let standby = table.texts("standby").map(names).unwrap_or_default();
    let attempt = table
        .milliseconds("attempt_ms", 1..=DAY_MS)
        .unwrap_or(Fleet::DEFAULT_ATTEMPT);
    let budget = table
        .milliseconds("budget_ms", 1..=DAY_MS)
        .unwrap_or(Fleet::DEFAULT_BUDGET);
    if budget > of_request {
        let doubt = "`budget_ms` of the fleet is more than that of a request: nobody would wait so long";
        table.source.warn(table.span.clone(), doubt);
    }
    if attempt > budget {
        let doubt = "`attempt_ms` is more than `budget_ms`: no second member would be asked";
        table.source.warn(table.span.clone(), doubt);
    }
    let members = table.needed("members", members)?;
    if members.is_empty() {
        table.error("a fleet has at least one member");
    }
    Some(FleetSettings {
        members,
        standby,
        attempt,
        budget,
    })
}
