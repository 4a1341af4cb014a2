//! Tokens of SoftHSM2.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    process::Command,
};

use xks_pkcs11_fixture::softhsm_path;

use super::{Folder, PREFIX, Server, Settings, key_store, program, quoted, run, usual_credential};

/// A token with the keys `known` and `other`.
pub(crate) struct Token {
    pub(crate) folder: Folder,
    pub(crate) config: PathBuf,
    pub(crate) pin: PathBuf,
    pub(crate) serial: String,
}

impl Token {
    pub(crate) const PIN: &str = "not 1234";
    pub(crate) const LABEL: &str = "xks test";
    /// The value of the key `known`. softhsm2-util takes one without zeros and line breaks.
    pub(crate) const VALUE: &[u8; 32] = b"the value of a key for all to se";

    pub(crate) fn new() -> Self {
        let mut token = Self::empty();
        token.util(&["--init-token", "--free", "--label", Self::LABEL, "--so-pin", "so 1234"]);
        token.import("known", "01", Self::VALUE);
        token.import("other", "02", b"of this key nobody needs to know");
        let slots = token.util(&["--show-slots"]);
        let serial = slots
            .lines()
            .find_map(|line| line.trim().strip_prefix("Serial number:"));
        token.serial = serial.unwrap().trim().to_owned();
        token
    }

    /// A folder of SoftHSM2 without tokens.
    fn empty() -> Self {
        let folder = Folder::new();
        let tokens = folder.path().join("tokens");
        std::fs::create_dir(&tokens).unwrap();
        let config = format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display());
        Self {
            config: folder.write("softhsm2.conf", &config),
            pin: folder.write("pin", &format!("{}\n", Self::PIN)),
            serial: String::new(),
            folder,
        }
    }

    /// The same token in another folder, as in a second HSM: what is made in one is not in the other.
    pub(crate) fn replica(&self) -> Self {
        let replica = Self::empty();
        replica.synchronise(self);
        Self {
            serial: self.serial.clone(),
            ..replica
        }
    }

    /// Brings all that the other one has, as the synchronisation of HSMs does. A file comes at one moment,
    /// and last the one which says that there is something new.
    pub(crate) fn synchronise(&self, other: &Self) {
        let [from, to] = [other, self].map(|token| token.folder.path().join("tokens"));
        for token in std::fs::read_dir(&from)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
        {
            let [from, to] = [&from, &to].map(|tokens| tokens.join(&token));
            std::fs::create_dir_all(&to).unwrap();
            let mut files: Vec<_> = std::fs::read_dir(&from)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            files.sort_by_key(|name| name == "generation");
            for name in files {
                let new = to.join("new");
                std::fs::copy(from.join(&name), &new).unwrap();
                std::fs::rename(new, to.join(name)).unwrap();
            }
        }
    }

    pub(crate) fn import(&self, label: &str, id: &str, value: &[u8]) {
        self.import_to(Self::LABEL, label, id, value);
    }

    fn import_to(&self, token: &str, label: &str, id: &str, value: &[u8]) {
        let file = self.folder.path().join("key");
        std::fs::write(&file, value).unwrap();
        let file = file.to_str().unwrap();
        self.util(&[
            "--import", file, "--aes", "--token", token, "--label", label, "--id", id,
        ]);
    }

    fn util(&self, arguments: &[&str]) -> String {
        let mut util = Command::new("softhsm2-util");
        run(util
            .env("SOFTHSM2_CONF", &self.config)
            .args(arguments)
            .args(["--pin", Self::PIN]))
    }

    /// Makes another token in the same place, with the same value under `known`. Returns its folder.
    pub(crate) fn add(&self, label: &str) -> PathBuf {
        self.add_with(label, Self::VALUE)
    }

    /// The same with this value under `known`.
    pub(crate) fn add_with(&self, label: &str, value: &[u8; 32]) -> PathBuf {
        let folders = || {
            let entries = std::fs::read_dir(self.folder.path().join("tokens")).unwrap();
            entries.map(|entry| entry.unwrap().path()).collect::<HashSet<_>>()
        };
        let before = folders();
        self.util(&["--init-token", "--free", "--label", label, "--so-pin", "so 1234"]);
        self.import_to(label, "known", "01", value);
        folders().difference(&before).next().unwrap().clone()
    }

    /// The table `[backends.NAME]` for this token, with more keys; the PIN is among those.
    pub(crate) fn backend(&self, name: &str, more: &str) -> String {
        Self::backend_of(&softhsm_path(), name, more)
    }

    pub(crate) fn backend_of(module: &Path, name: &str, more: &str) -> String {
        let module = quoted(module);
        format!("[backends.{name}]\nkind = \"pkcs11\"\nmodule = {module}\n{more}\n")
    }

    /// Settings for this token, which is logged in to, with more keys of the backend's table.
    pub(crate) fn settings(&self, more: &str) -> Settings {
        self.settings_with(more, "all_keys = true")
    }

    pub(crate) fn settings_with(&self, more_of_backend: &str, more_of_key_store: &str) -> Settings {
        let pin = quoted(&self.pin);
        let backend = format!("vendor = \"softhsm\"\npin_file = {pin}\n{more_of_backend}");
        Settings::new()
            .backends(&self.backend("token", &backend))
            .key_stores(&key_store(PREFIX, more_of_key_store, &[usual_credential()]))
    }

    /// The program, which finds this token.
    pub(crate) fn program(&self) -> Command {
        let mut command = program();
        command.env("SOFTHSM2_CONF", &self.config);
        command
    }

    pub(crate) fn serve(&self, settings: &Settings) -> Server {
        Server::start_by(self.program().arg("--config").arg(settings.write()))
    }
}
