//! The program's name and version, in messages, in health and on the command line.

use std::fmt;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
}

impl Program {
    /// The environment variable that names the settings file, if the command line does not: for `acme-proxy`
    /// it is `ACME_PROXY_SETTINGS_TOML`.
    pub(crate) fn settings_variable(self) -> String {
        self.variable("SETTINGS_TOML")
    }

    /// The environment variable that names the socket for administration, such as `ACME_PROXY_ADMIN_SOCKET`.
    #[cfg(feature = "lifecycle")]
    pub(crate) fn socket_variable(self) -> String {
        self.variable("ADMIN_SOCKET")
    }

    fn variable(self, end: &str) -> String {
        let legal = |char: char| match char.is_ascii_alphanumeric() {
            true => char.to_ascii_uppercase(),
            false => '_',
        };
        let name: String = self.name.chars().map(legal).collect();
        format!("{name}_{end}")
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}
