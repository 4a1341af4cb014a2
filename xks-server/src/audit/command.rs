//! `audit`: what needs no server.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use clap::Subcommand;
use serde_json::{Value, json};
use xks_audit::{Fault, Place, Report, SignedHead, SigningKey, VerifyingKey};
use xks_core::Zeroizing;

use super::{
    export::{Format, export},
    folder::{Found, Verified},
};
use crate::{
    WRONG_SETTINGS, print,
    server::{Server, report},
};

/// The exit status when a log was tampered with.
const TAMPERED: u8 = 3;

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Verifies audit logs: says what was changed, lost, moved or cut off, and how many records no signed
    /// head vouches for. The exit status is 0 if they are whole, 3 if they are not, and 1 if they cannot be
    /// read
    Verify {
        /// Folders with files of logs and of heads, compressed with gzip or not; or such files
        #[arg(required = true, value_name = "FOLDER")]
        folders: Vec<PathBuf>,
        /// A file of signed heads that was kept elsewhere
        #[arg(long = "head", value_name = "FILE", requires = "keys")]
        heads: Vec<PathBuf>,
        /// The public key of the heads, as `audit public-key` prints it; several after a change of keys
        #[arg(long = "key", value_name = "KEY")]
        keys: Vec<VerifyingKey>,
        /// A file in which the newest heads are kept from one time to the next: so a log is found that was
        /// cut back to an older head. One for each set of folders; it is made the first time, and changed
        /// only if all is whole
        #[arg(long, value_name = "FILE", requires = "keys")]
        state: Option<PathBuf>,
        /// Print the findings as JSON
        #[arg(long)]
        json: bool,
    },
    /// Prints the records of audit logs in their order, for other programs: verify them first. The exit
    /// status is 1 if a line is no record
    Export {
        /// Folders with files of logs, compressed with gzip or not; or such files
        #[arg(required = true, value_name = "FOLDER")]
        folders: Vec<PathBuf>,
        /// What to print them as
        #[arg(long, value_enum, default_value = "json")]
        format: Format,
    },
    /// Makes a key that signs heads, in a new file: `key_file` of [audit]
    NewKey {
        /// The file to be written
        file: PathBuf,
    },
    /// Prints the public half of the key that a settings file names, for `audit verify --key`
    PublicKey {
        /// The settings file
        file: PathBuf,
    },
}

pub(crate) fn run(server: &Server, command: AuditCommand) -> anyhow::Result<ExitCode> {
    match command {
        AuditCommand::Verify {
            folders,
            heads,
            keys,
            state,
            json,
        } => verify(&folders, &heads, keys, state.as_deref(), json),
        AuditCommand::Export { folders, format } => {
            let mut found = Found::new(Vec::new());
            for folder in &folders {
                found.take(folder)?;
            }
            export(found, format, server.program).map(|()| ExitCode::SUCCESS)
        }
        AuditCommand::NewKey { file } => new_key(&file).map(|()| ExitCode::SUCCESS),
        AuditCommand::PublicKey { file } => public_key(server, &file),
    }
}

fn verify(
    folders: &[PathBuf],
    heads: &[PathBuf],
    keys: Vec<VerifyingKey>,
    state: Option<&Path>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let has_keys = !keys.is_empty();
    let mut found = Found::new(keys);
    for folder in folders {
        found.take(folder)?;
    }
    let kept = state.filter(|state| state.exists());
    for file in heads.iter().map(PathBuf::as_path).chain(kept) {
        let unreadable = || format!("cannot read {}", file.display());
        found.take_heads(file).with_context(unreadable)?;
    }
    let leaves_heads = found.has_heads() && !has_keys;
    let Verified { reports, newest } = found.verify()?;
    let is_one = |report: &Report| report.origin.is_some() || !report.is_whole();
    anyhow::ensure!(
        reports.iter().any(is_one),
        "there is no audit log: no file that is named like one has a record"
    );
    let is_whole = reports.iter().all(Report::is_whole);
    if json {
        let logs: Vec<_> = reports.iter().map(shown).collect();
        print(&format!(
            "{}\n",
            json!({ "whole": is_whole, "heads_verified": has_keys, "logs": logs })
        ))?;
    } else {
        let mut text: String = reports.iter().map(|report| format!("{report}\n")).collect();
        if leaves_heads {
            text.push_str("The heads are not verified: name their key with --key.\n");
        }
        text.push_str(if is_whole { "Whole.\n" } else { "NOT WHOLE.\n" });
        print(&text)?;
    }
    if !is_whole {
        return Ok(TAMPERED.into());
    }
    if let Some(state) = state {
        keep(state, &newest).with_context(|| format!("cannot keep the newest heads in {}", state.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Replaces the file of the newest heads, as a whole or not at all.
fn keep(state: &Path, newest: &[SignedHead]) -> anyhow::Result<()> {
    anyhow::ensure!(
        !newest.is_empty(),
        "no head of these logs is signed by a key that was given"
    );
    let text: String = newest.iter().map(ToString::to_string).collect();
    let mut name = state.as_os_str().to_owned();
    name.push(".new");
    let mut file = File::create(&name)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(fs::rename(&name, state)?)
}

fn shown(report: &Report) -> Value {
    let place = |place: &Place| json!({ "file": place.name, "line": place.line });
    let fault = |fault: &Fault| {
        json!({
            "file": fault.place.name,
            "line": fault.place.line,
            "kind": fault.kind.as_str(),
            "text": fault.kind.to_string(),
        })
    };
    json!({
        "origin": report.origin.as_ref().map(ToString::to_string),
        "whole": report.is_whole(),
        "first": report.first,
        "size": report.size,
        "records": report.records,
        "files": report.files,
        "heads": report.heads,
        "anchored": report.anchored,
        "unanchored": report.unanchored,
        "lost": report.lost,
        "torn": report.torn.iter().map(place).collect::<Vec<_>>(),
        "fault_count": report.fault_count,
        "faults": report.faults.iter().map(fault).collect::<Vec<_>>(),
    })
}

fn new_key(path: &Path) -> anyhow::Result<()> {
    let unwritable = || format!("cannot write {}", path.display());
    // The name of a key is the settings', and not in the file.
    let (_, document) = SigningKey::generate("key".parse()?)?;
    let base64 = Zeroizing::new(BASE64_STANDARD.encode(&*document));
    let mut pem = Zeroizing::new(String::with_capacity(base64.len() + 128));
    pem.push_str("-----BEGIN PRIVATE KEY-----\n");
    for line in base64.as_bytes().chunks(64) {
        pem.push_str(std::str::from_utf8(line)?);
        pem.push('\n');
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    let mut file = OpenOptions::new();
    let file = file.write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.with_context(unwritable)?;
    let written = file.write_all(pem.as_bytes()).and_then(|()| file.sync_all());
    written.with_context(unwritable)
}

fn public_key(server: &Server, file: &Path) -> anyhow::Result<ExitCode> {
    let loaded = server.load(file)?;
    let Some(settings) = &loaded.settings else {
        report(&loaded)?;
        return Ok(WRONG_SETTINGS.into());
    };
    let key = settings
        .audit
        .as_ref()
        .and_then(|audit| audit.signing_key().transpose());
    let key = key.with_context(|| format!("{}: there is no `key_file` in [audit]", file.display()))??;
    print(&format!("{}\n", key.verifying_key()))?;
    Ok(ExitCode::SUCCESS)
}
