//! Administration: the socket, who may use it, and the commands that do.

mod script;
mod socket;

use std::{os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command};

use crate::support::{Folder, STORE, Server, Settings, create_store, ended, program};

/// A server with keys under management.
pub(crate) struct Site {
    pub(crate) server: Server,
    pub(crate) settings: Settings,
    /// Where others may go, too: the folder of the settings is ours.
    folder: Folder,
}

impl Site {
    /// `more` are settings of `[lifecycle]`.
    pub(crate) fn start(more: &str) -> Self {
        Self::start_by(more, &mut program())
    }

    /// The same, by a command that runs the program.
    pub(crate) fn start_by(more: &str, command: &mut Command) -> Self {
        let folder = Folder::new();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut settings = Settings::new();
        settings.backends.push_str("directory = \"made\"\n");
        let socket = format!("admin_socket = {:?}\n", folder.path().join("admin.sock"));
        let settings = settings.tables(&format!("{STORE}\n[lifecycle]\nbackends = [\"keys\"]\n{socket}{more}"));
        let (code, _, log) = create_store(&settings);
        assert_eq!(code, Some(0), "{log}");
        Self {
            server: Server::start_by(command.arg("--config").arg(settings.write())),
            settings,
            folder,
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("admin.sock")
    }

    /// A command of administration.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command.env("XKS_PROXY_ADMIN_SOCKET", self.socket()).args(arguments);
        command
    }

    /// Gives a command: its exit code, and what it wrote.
    pub(crate) fn give(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        ended(&mut self.command(arguments))
    }

    /// Gives a command that has to succeed. Returns what it wrote.
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let (code, out, log) = self.give(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {out}{log}");
        out
    }
}
