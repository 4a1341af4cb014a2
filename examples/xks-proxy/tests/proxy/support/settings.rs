//! Settings files, made of a few parts.

use std::path::{Path, PathBuf};

use super::{ACCESS_KEY_ID, Folder, REGION, SECRET_ACCESS_KEY};

/// The prefix of a key store, unless told otherwise.
pub(crate) const PREFIX: &str = "/example/tenant-a";

/// The software key `usable`.
pub(crate) const DEMO_KEY: [u8; 32] = *b"32 bytes that are no secret key.";

/// What a settings file says, and the folder for it and what it names. Unless told otherwise: a free port of
/// loopback, a software key `usable`, a key store under [`PREFIX`], and patience for a busy machine.
pub(crate) struct Settings {
    pub(crate) folder: Folder,
    /// Keys of `[server]`.
    pub(crate) server: String,
    /// Tables of any kind.
    pub(crate) tables: String,
    pub(crate) backends: String,
    pub(crate) key_stores: String,
}

impl Settings {
    pub(crate) fn new() -> Self {
        let folder = Folder::new();
        std::fs::write(folder.path().join("usable.key"), DEMO_KEY).unwrap();
        Self {
            folder,
            server: "listen = \"127.0.0.1:0\"\nbudget_ms = 30000\ndrain_delay_secs = 0\n".into(),
            tables: "[reload]\nwatch_secs = 1\n".into(),
            backends: "[backends.keys]\nkind = \"soft\"\nkeys = { usable = \"usable.key\" }\n".into(),
            key_stores: key_store(PREFIX, "all_keys = true", &[usual_credential()]),
        }
    }

    /// With other keys of `[server]` besides the address.
    pub(crate) fn server(mut self, keys: &str) -> Self {
        self.server = format!("listen = \"127.0.0.1:0\"\n{keys}\n");
        self
    }

    /// With more tables.
    pub(crate) fn tables(mut self, text: &str) -> Self {
        self.tables.push_str(text);
        self.tables.push('\n');
        self
    }

    /// With a listener of its own for health.
    pub(crate) fn health(self) -> Self {
        self.tables("[health]\nlisten = \"127.0.0.1:0\"\ninterval_secs = 1")
    }

    pub(crate) fn metrics(self) -> Self {
        self.tables("[metrics]\nlisten = \"127.0.0.1:0\"")
    }

    pub(crate) fn backends(mut self, text: &str) -> Self {
        text.clone_into(&mut self.backends);
        self
    }

    pub(crate) fn key_stores(mut self, text: &str) -> Self {
        text.clone_into(&mut self.key_stores);
        self
    }

    pub(crate) fn text(&self) -> String {
        let Self {
            server,
            tables,
            backends,
            key_stores,
            ..
        } = self;
        format!("[server]\n{server}\n{tables}\n{backends}\n{key_stores}")
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("settings.toml")
    }

    /// Writes the file, at one moment.
    pub(crate) fn write(&self) -> PathBuf {
        self.folder.replace("settings.toml", &self.text());
        self.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A key store with more keys of its table.
pub(crate) fn key_store(prefix: &str, more: &str, credentials: &[String]) -> String {
    let credentials = credentials.concat();
    format!("[[key_stores]]\nuri_path_prefix = \"{prefix}\"\nregions = [\"{REGION}\"]\n{more}\n{credentials}")
}

pub(crate) fn usual_credential() -> String {
    credential(ACCESS_KEY_ID, SECRET_ACCESS_KEY)
}

pub(crate) fn credential(id: &str, secret: &str) -> String {
    format!("[[key_stores.credentials]]\naccess_key_id = \"{id}\"\nsecret_access_key = \"{secret}\"\n")
}

/// A path as a text of TOML.
pub(crate) fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}
