//! `[backends.NAME]`: the key managers, each read by its kind.

use std::{collections::HashSet, time::Duration};

use super::lifecycle;
use crate::{
    backend::ReadContext,
    registry::{ConfiguredBackend, Kinds},
    settings::{
        KeyStoreSettings,
        secrecy::{looks_secret, shown},
        table::Table,
    },
};

/// All that are written down.
#[derive(Default)]
pub(super) struct Backends {
    pub(super) sound: Vec<ConfiguredBackend>,
    /// Names of those that have errors of their own.
    wrong: HashSet<String>,
}

impl Backends {
    pub(super) fn get(&self, name: &str) -> Option<&ConfiguredBackend> {
        self.sound.iter().find(|backend| backend.name == name)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some() || self.wrong.contains(name)
    }

    /// The backend of a name, or its members.
    fn managers<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'b ConfiguredBackend> {
        let members = self.get(name).map(ConfiguredBackend::members).unwrap_or_default();
        self.sound.iter().filter(move |backend| match members.is_empty() {
            true => backend.name == name,
            false => members.contains(&&*backend.name),
        })
    }

    /// Whether two backends, or members of them, may be one device.
    #[cfg(feature = "lifecycle")]
    pub(super) fn may_share_device(&self, one: &str, other: &str) -> bool {
        self.managers(one)
            .any(|one| self.managers(other).any(|other| one.may_share_device_with(other)))
    }

    /// A key that both key stores serve, as a message names it; none if they share none.
    pub(super) fn common_key(&self, one: &KeyStoreSettings, other: &KeyStoreSettings) -> Option<String> {
        let shares = |one: &ConfiguredBackend| {
            let mut others = self.managers(&other.backend);
            others.any(|other| one.shares_keys_with(other))
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

    /// The only one that is not a member of a fleet, if there is one.
    pub(super) fn only(&self) -> Option<&str> {
        let is_member = |name: &String| self.sound.iter().any(|backend| backend.has_member(name));
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
        true => "no such backend (the name is not shown: it may be a secret)".to_owned(),
        false => format!("[backends.{name}] does not exist"),
    }
}

pub(super) fn backends(root: &mut Table<'_, '_>, kinds: &Kinds, timeout: Duration) -> Backends {
    let may_be_none = lifecycle::has_store(root);
    let table = root.table("backends");
    let tables = match table {
        None if may_be_none => None,
        table => root.needed("backends", table),
    };
    let tables = tables.map(Table::into_tables).unwrap_or_default();
    let words: Vec<_> = kinds.words().map(|kind| (kind, kind)).collect();
    let tables_of = |kind| tables.iter().filter(|(_, table)| table.says("kind", kind)).count();
    let contexts: Vec<_> = kinds
        .words()
        .map(|kind| {
            let tables_of_kind = tables_of(kind);
            (
                kind,
                ReadContext {
                    timeout,
                    tables_of_kind,
                },
            )
        })
        .collect();
    let source = root.source;
    let (mut backends, mut spans) = (Backends::default(), Vec::new());
    for (name, mut table) in tables {
        let span = table.span.clone();
        if name.is_empty() || name.contains(char::is_control) {
            table.error(format!(
                "{name:?} is not a name of a backend: it needs at least one character, and no control character"
            ));
        }
        let kind = table.one_of("kind", &words);
        let kind = table.needed("kind", kind);
        let context = contexts.iter().find(|(known, _)| kind == Some(known));
        let backend = match context {
            Some((kind, context)) => kinds.read(kind, &name, &mut table, context),
            None => {
                table.forget();
                None
            }
        };
        match backend {
            Some(backend) => {
                backends.sound.push(backend);
                spans.push(span);
            }
            None => {
                backends.wrong.insert(name);
            }
        }
    }
    for (backend, span) in backends.sound.iter().zip(spans) {
        let mut seen = HashSet::new();
        for member in backend.members() {
            let wrong = match backends.get(member) {
                Some(other) if !other.members().is_empty() => {
                    format!(
                        "{} is a {}, which cannot be a member of a {}",
                        shown(member),
                        other.kind,
                        backend.kind
                    )
                }
                None if !backends.has(member) => missing(member),
                _ if seen.insert(member) => continue,
                _ => format!("{} is listed twice", shown(member)),
            };
            source.error(span.clone(), wrong);
        }
    }
    backends
}
