//! `[audit]`: the audit log that shows tampering.

use std::time::Duration;

use xks_audit::{Origin, SigningKey};

use super::DAY;
use crate::{
    settings::{
        AuditSettings, Durability, HeadSettings, Secret,
        table::{Item, Table},
    },
    tls::pem,
};

/// The greatest length of a name: names of files are made of it.
const MAX_NAME: usize = 100;

pub(super) fn audit(mut table: Table<'_, '_>) -> Option<AuditSettings> {
    let directory = table.folder("directory");
    let directory = table.needed("directory", directory);
    let name = name(&mut table);
    let max_file_mb = table.number("max_file_mb", 1..=100_000).unwrap_or(64_u64);
    let keep = table.number("keep", 2..=1_000_000);
    let words = [
        ("none", Some(Durability::None)),
        ("batched", Some(Durability::Batched)),
        ("every_answer", None),
    ];
    let durability = table.one_of("durability", &words).unwrap_or(Some(Durability::Batched));
    if durability.is_none() {
        table.error("`durability = \"every_answer\"` is not supported yet: take \"batched\"");
    }
    let key_file = table.path("key_file");
    let has_key = key_file.is_some() || table.is_present("key_file");
    let key = key_file.and_then(|file| key(&table, &file));
    let heads_directory = table.folder("heads_directory");
    let interval = table.seconds("head_interval_secs", 1..=DAY);
    if !has_key {
        if keep.is_some() {
            table.error("`keep` requires `key_file`: without signed heads, files that are deleted look like tampering");
        }
        if heads_directory.is_some() || interval.is_some() {
            table.error("`heads_directory` and `head_interval_secs` require `key_file`, which signs the heads");
        }
        table.source.warn(
            table.span.clone(),
            "without `key_file` there are no signed heads: a log whose end was cut off looks whole",
        );
    }
    let directory = directory?.value;
    let heads = key.map(|key| HeadSettings {
        key,
        directory: heads_directory.map_or_else(|| directory.clone(), |folder| folder.value),
        interval: interval.unwrap_or(Duration::from_secs(60)),
    });
    (heads.is_some() == has_key).then_some(())?;
    Some(AuditSettings {
        directory,
        name: name?,
        max_file_bytes: max_file_mb << 20,
        keep,
        durability: durability?,
        heads,
    })
}

/// The name of the logs; by default that of the host.
fn name(table: &mut Table<'_, '_>) -> Option<Origin> {
    let given = table.text("name");
    let text = match &given {
        Some(name) => name.value.clone(),
        None => rustix::system::uname().nodename().to_string_lossy().into_owned(),
    };
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'/');
    let name = Origin::new(&*text)
        .ok()
        .filter(|_| text.len() <= MAX_NAME && text.bytes().all(is_legal) && !text.starts_with('.'));
    if name.is_none() {
        let wrong = format!(
            "{text:?} cannot be the `name` of audit logs: it has at most {MAX_NAME} letters, digits, hyphens, dots, \
             underscores and slashes"
        );
        match &given {
            Some(given) => table.error_at(given, wrong),
            None => table.error(wrong),
        }
    }
    name
}

/// The key in a file: in PKCS #8, as PEM or as DER.
fn key(table: &Table<'_, '_>, file: &Item<std::path::PathBuf>) -> Option<Secret> {
    let content = table.read(file)?;
    let is_pem = content.windows(11).any(|window| window == b"-----BEGIN ");
    let der = match is_pem {
        true => {
            let (blocks, _) = pem::read(&content);
            let mut keys = blocks.into_iter().filter(|block| block.label == "PRIVATE KEY");
            keys.next().map(|block| block.content).unwrap_or_default()
        }
        false => content,
    };
    // Which name it has does not matter to it.
    let tried = Origin::new("key").ok().map(|name| SigningKey::from_pkcs8(name, &der));
    match tried {
        Some(Ok(_)) => Some(Secret(der)),
        _ => {
            let wrong = format!(
                "{}: not a private key of P-256 in PKCS #8; `audit new-key` makes one",
                file.value.display()
            );
            table.error_at(file, wrong);
            None
        }
    }
}
