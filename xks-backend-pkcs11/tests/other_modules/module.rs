//! The modules: where they are, and their parameters.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Module {
    /// craton-hsm: refuses an IV that it has seen, and read-only sessions for session keys.
    Craton,
    /// kryoptic: takes all that it is given, as the standard says.
    Kryoptic,
    /// NSS softoken: is configured by text at initialization, and has a second slot that is of no use here.
    Softoken,
}

impl Module {
    /// The library. Panics if it has not been built.
    pub(crate) fn path(self) -> PathBuf {
        let folder = env::var_os("XKS_MODULES_DIR").map_or_else(
            || Path::new(env!("CARGO_TARGET_TMPDIR")).join("../modules"),
            PathBuf::from,
        );
        let path = folder.join(match self {
            Self::Craton => "libcraton.so",
            Self::Kryoptic => "libkryoptic.so",
            Self::Softoken => "libsoftokn3.so",
        });
        let path = path.canonicalize();
        path.unwrap_or_else(|_| {
            panic!(
                "{self:?} is not in {}: run `bash scripts/modules`, or say in XKS_MODULES_DIR where it is",
                folder.display()
            )
        })
    }

    /// Puts into the folder of a token what the module has to find there.
    pub(crate) fn prepare(self, folder: &Path) {
        if self == Self::Craton {
            let file = config_file(folder);
            let text = format!(
                "[token]\nstorage_path = \"{}/store\"\npersist_objects = true\nmax_sessions = 1000\n\
                 max_rw_sessions = 1000\n[audit]\nenabled = false\n",
                folder.display()
            );
            fs::write(&file, text).expect("a configuration");
            // It takes no file that others may write.
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("a file of our own");
        }
    }

    /// The environment that the module wants.
    pub(crate) fn environment(self, folder: &Path) -> Vec<(&'static str, String)> {
        match self {
            Self::Craton => vec![
                ("CRATON_HSM_CONFIG", config_file(folder).display().to_string()),
                // The module is not signed.
                ("CRATON_HSM_INTEGRITY_BYPASS", "unsafe-dev-only".to_owned()),
            ],
            Self::Kryoptic => vec![("KRYOPTIC_CONF", folder.join("token.sql").display().to_string())],
            Self::Softoken => Vec::new(),
        }
    }

    /// The text that it wants at initialization.
    pub(crate) fn parameters(self, folder: &Path) -> Option<String> {
        (self == Self::Softoken).then(|| {
            format!(
                "configdir='sql:{}' certPrefix='' keyPrefix='' secmod='' flags= dbTokenDescription='{}'",
                folder.display(),
                crate::token::LABEL
            )
        })
    }
}

fn config_file(folder: &Path) -> PathBuf {
    folder.join("craton_hsm.toml")
}
