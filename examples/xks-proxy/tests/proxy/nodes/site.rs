//! Several nodes of the program on one PostgreSQL.

use std::{
    fs, os::unix::fs::PermissionsExt as _, path::PathBuf, sync::LazyLock, sync::atomic::AtomicU32,
    sync::atomic::Ordering,
};

use serde_json::Value;
use xks_test_postgres::{PASSWORD, Server as Postgres, USER};

use crate::support::{Curl, REGION, Server, Settings, ended, program};

/// The one of all tests that leave it as it is.
pub(crate) static POSTGRES: LazyLock<Postgres> = LazyLock::new(Postgres::start);

/// A database with a store, its root, and the settings of its nodes.
pub(crate) struct Site {
    /// Has the root, which the nodes share.
    first: Settings,
    url: String,
}

/// An external key store, and who calls it.
pub(crate) struct KeyStore {
    prefix: String,
    user: String,
}

impl KeyStore {
    pub(crate) fn curl(&self, server: &Server) -> Curl {
        Curl {
            base: format!("{}{}", server.url(), self.prefix),
            region: REGION.to_owned(),
            user: self.user.clone(),
        }
    }
}

impl Site {
    /// On a database of its own in a PostgreSQL that others use too.
    pub(crate) fn new() -> Self {
        Self::at(&new_url())
    }

    /// With the root of another site, and an empty database.
    pub(crate) fn empty_beside(other: &Self) -> Self {
        let first = Settings::new();
        fs::copy(other.root(), first.file("recovery.root")).unwrap();
        Self { first, url: new_url() }
    }

    /// On an empty database.
    pub(crate) fn at(url: &str) -> Self {
        let site = Self {
            first: Settings::new(),
            url: url.to_owned(),
        };
        let settings = site.node("first", "");
        let (code, out, log) = ended(program().args(["store", "create"]).arg(settings.write()));
        assert_eq!(code, Some(0), "{out}{log}");
        site
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.first.file("recovery.root")
    }

    /// The settings of a node, which has its own folder. `more` are settings of `[lifecycle]`.
    pub(crate) fn node(&self, name: &str, more: &str) -> Settings {
        let settings = Settings::new();
        let password = settings.folder.write("password", PASSWORD);
        fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
        let (socket, root) = (settings.file("admin.sock"), self.root());
        settings.health().metrics().tables(&format!(
            "[store]\nurl = {:?}\npassword_file = {password:?}\n[[store.roots]]\nname = \"recovery\"\nfile = {root:?}\n\
             [lifecycle]\nnode = {name:?}\nadmin_socket = {socket:?}\n{more}",
            self.url
        ))
    }

    /// The claims of the nodes, as the database has them.
    pub(crate) fn rows(&self) -> usize {
        let name = self
            .url
            .split(['/', '?'])
            .find(|part| part.starts_with("nodes_"))
            .unwrap();
        let count = POSTGRES.sql(name, "SELECT count(*) FROM xks.claims WHERE kind = 'node'");
        count.parse().unwrap()
    }
}

fn new_url() -> String {
    of_database(&POSTGRES, &new_database(&POSTGRES))
}

/// The URL of a database by the Unix socket.
pub(crate) fn of_database(postgres: &Postgres, name: &str) -> String {
    let (directory, port) = (postgres.directory().display(), postgres.port());
    format!("postgres:///{name}?user={USER}&host={directory}&port={port}")
}

pub(crate) fn new_database(postgres: &Postgres) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("nodes_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    postgres.create_database(&name);
    name
}

/// Gives a command to the node with these settings: its exit code, and what it wrote.
pub(crate) fn give(settings: &Settings, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = program();
    command.env("XKS_PROXY_ADMIN_SOCKET", settings.file("admin.sock"));
    ended(command.args(arguments))
}

/// A command that has to succeed, and what it answers.
pub(crate) fn done(settings: &Settings, arguments: &[&str]) -> Value {
    let (code, out, log) = give(settings, &[arguments, &["--json"]].concat());
    assert_eq!(code, Some(0), "{arguments:?}: {out}{log}");
    serde_json::from_str(&out).unwrap()
}

/// Makes an external key store with sealed keys, by commands on one node.
pub(crate) fn key_store(settings: &Settings, name: &str) -> KeyStore {
    key_store_of(settings, name, "vault")
}

/// The same with keys from this source.
pub(crate) fn key_store_of(settings: &Settings, name: &str, source: &str) -> KeyStore {
    let prefix = format!("/{name}");
    done(settings, &["tenants", "create", "--name", name]);
    let create = [
        "key-stores",
        "create",
        "--tenant",
        name,
        "--name",
        name,
        "--prefix",
        &prefix,
        "--region",
        REGION,
    ];
    done(settings, &create);
    let credential = done(settings, &["key-stores", "create-credential", name]);
    let text = |key: &str| {
        credential[key]
            .as_str()
            .unwrap_or_else(|| panic!("{key}: {credential}"))
    };
    let user = format!("{}:{}", text("access_key_id"), text("secret_access_key"));
    let create = [
        "key-sets",
        "create",
        "--tenant",
        name,
        "--name",
        name,
        "--source",
        source,
        "--key-store",
        name,
    ];
    done(settings, &create);
    KeyStore { prefix, user }
}

/// Makes a key, and returns its external key id.
pub(crate) fn key(settings: &Settings, key_store: &str, name: &str) -> String {
    let key = done(settings, &["keys", "create", "--key-set", key_store, "--name", name]);
    key["id"].as_str().unwrap_or_else(|| panic!("{key}")).to_owned()
}
