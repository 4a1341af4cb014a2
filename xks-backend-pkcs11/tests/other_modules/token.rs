//! A token of one of the modules, in a folder of its own, and the processes that use it.

use std::{
    env, fs,
    panic::resume_unwind,
    path::PathBuf,
    process::{self, Command},
    thread,
    time::Duration,
};

use xks_backend_pkcs11::{Config, Pin, SlotSelector};
use xks_pkcs11_fixture::OwnProcess;

use crate::{module::Module, operator};

pub(crate) const LABEL: &str = "main";
pub(crate) const PIN: &str = "user's pin 2";
pub(crate) const WRONG_PIN: &str = "nobody's pin 3";

/// The folder; set in all processes but the one that `cargo test` starts.
const FOLDER: &str = "XKS_OTHER_MODULES_FOLDER";
/// The task of a process that was started to change the token.
const TASK: &str = "XKS_OTHER_MODULES_TASK";

/// A token with the keys of the conformance checks.
pub(crate) struct Token {
    pub(crate) module: Module,
    pub(crate) folder: PathBuf,
    test: String,
    /// Whether the folder goes when this does.
    owned: bool,
}

/// Runs `body` in a process of its own, with a token of this module. `test` is the name of the test as `cargo
/// test` prints it.
#[track_caller]
pub(crate) fn with_token(module: Module, test: &str, body: impl FnOnce(&Token)) {
    let token = Token::of(module, test);
    if let Ok(task) = env::var(TASK) {
        return operator::perform(&token, &task);
    }
    let mut process = OwnProcess::new(test)
        .limit(Duration::from_secs(600))
        .env(FOLDER, &token.folder.display().to_string());
    for (name, value) in module.environment(&token.folder) {
        process = process.env(name, &value);
    }
    process.run(|_| {
        token.elsewhere("make");
        body(&token);
    });
}

/// Runs `body` on a thread of its own, which has ended when this returns: craton keeps a token's store open
/// for as long as there is a thread that called it, and does not open it twice.
pub(crate) fn on_a_thread(body: impl FnOnce() + Send) {
    let outcome = thread::scope(|scope| scope.spawn(body).join());
    outcome.unwrap_or_else(|panic| resume_unwind(panic));
}

impl Token {
    fn of(module: Module, test: &str) -> Self {
        let folder = env::var_os(FOLDER).map(PathBuf::from);
        let (owned, test) = (folder.is_none(), test.to_owned());
        let folder = folder.unwrap_or_else(|| {
            module.path(); // or panics
            let name = format!("{}-{}", process::id(), test.replace("::", "-"));
            let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
            fs::create_dir(&folder).expect("a folder for the token");
            // craton takes no path with links in it.
            let folder = folder.canonicalize().expect("the folder");
            module.prepare(&folder);
            folder
        });
        Self {
            module,
            folder,
            test,
            owned,
        }
    }

    pub(crate) fn parameters(&self) -> Option<String> {
        self.module.parameters(&self.folder)
    }

    /// A backend's configuration for this token. Nothing here is to fail because the computer is busy.
    pub(crate) fn config(&self) -> Config {
        let config = Config::new(self.module.path())
            .slot(SlotSelector::TokenLabel(LABEL.into()))
            .pin(Pin::new(PIN))
            .sessions(4)
            .deadline(Duration::from_secs(5))
            .latency_bound(Duration::from_secs(5));
        match self.parameters() {
            Some(parameters) => config.module_parameters(parameters),
            None => config,
        }
    }

    /// Has another process do something to the token, see [`operator::perform`].
    pub(crate) fn elsewhere(&self, task: &str) {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args([&*self.test, "--exact", "--nocapture", "--test-threads=1", "--ignored"])
            .env(TASK, task);
        let output = command.output().expect("this program starts once more");
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && printed.contains("1 passed"),
            "the other process failed at \"{task}\" ({}):\n{printed}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        if self.owned {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}
