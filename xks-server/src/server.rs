//! The server as a program: the kinds of backends that it has, and its command line.

use std::{
    env,
    error::Error,
    fmt,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context as _, anyhow};
use thiserror::Error;
use xks_core::{audit::AuditSink, text::ErrorChain};

use crate::{
    WRONG_SETTINGS, audit,
    backend::{BackendSettings, ReadContext},
    command_line::{Command, CommandLine, completions},
    credential,
    demo::Demo,
    life, log,
    metrics::{MetricSource, Samples},
    print,
    program::Program,
    settings::{self, Formats, Loaded, Table},
    source::KeyStoreSource,
};
#[cfg(feature = "lifecycle")]
use crate::{admin, command_line::StoreCommand, lifecycle, process};

pub(crate) type RunSource = dyn Fn(KeyStoreSource) + Send + Sync;
type MakeDemo = dyn Fn() -> Result<Demo, Box<dyn Error + Send + Sync>> + Send + Sync;

/// A server: what it is called, and which kinds of backends it has.
#[must_use = "it does nothing until `main` is called"]
#[derive(Clone)]
pub struct Server {
    pub(crate) program: Program,
    pub(crate) formats: Formats,
    demo: Option<Arc<MakeDemo>>,
    pub(crate) audit_sinks: Vec<Arc<dyn AuditSink>>,
    pub(crate) metric_sources: Vec<Arc<MetricSource>>,
    pub(crate) key_store_sources: Vec<(&'static str, Arc<RunSource>)>,
}

impl Server {
    /// Creates a server without any backend. `name` and `version` stand on the command line, in messages and
    /// in the health answer. The environment variable that may name the settings file begins with the name:
    /// `ACME_PROXY_SETTINGS_TOML` for `acme-proxy`.
    pub fn new(name: &'static str, version: &'static str) -> Self {
        Self {
            program: Program { name, version },
            formats: Formats::default(),
            demo: None,
            audit_sinks: Vec::new(),
            metric_sources: Vec::new(),
            key_store_sources: Vec::new(),
        }
    }

    /// Adds a kind of backend: `read` reads each `[backends.NAME]` table whose `kind` is this word.
    ///
    /// `read` returns `None` if something is missing or wrong, after it has reported that to the table.
    pub fn backend<S: BackendSettings>(
        mut self,
        kind: &'static str,
        read: impl Fn(&mut Table<'_, '_>, &ReadContext) -> Option<S> + Send + Sync + 'static,
    ) -> Self {
        self.formats.kinds.add(kind, read);
        self
    }

    /// Reads settings files of AWS's sample proxy, too. Their HSM becomes a backend of this kind, which
    /// should be that of [`Pkcs11Settings`](crate::kinds::Pkcs11Settings).
    pub const fn sample_proxy(mut self, kind: &'static str) -> Self {
        self.formats.sample_proxy = Some(kind);
        self
    }

    /// Serves a demo where no settings file is named, instead of an error.
    pub fn demo(
        mut self,
        demo: impl Fn() -> Result<Demo, Box<dyn Error + Send + Sync>> + Send + Sync + 'static,
    ) -> Self {
        self.demo = Some(Arc::new(demo));
        self
    }

    /// Adds a sink of audit records, beside the log. It is called for each request, on the thread that
    /// answers it, so it must not wait.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering};
    ///
    /// use xks_core::audit::{AuditRecord, AuditSink};
    /// use xks_server::Server;
    ///
    /// #[derive(Default)]
    /// struct Refused(AtomicU64);
    ///
    /// impl AuditSink for Refused {
    ///     fn record(&self, record: &AuditRecord<'_>) {
    ///         if record.outcome.error_name().is_some() {
    ///             self.0.fetch_add(1, Ordering::Relaxed);
    ///         }
    ///     }
    /// }
    ///
    /// let server = Server::new("acme-proxy", "1.0.0").audit(Refused::default());
    /// ```
    pub fn audit(mut self, sink: impl AuditSink) -> Self {
        self.audit_sinks.push(Arc::new(sink));
        self
    }

    /// Adds a source of metrics: called whenever `/metrics` is asked for, so it must not wait. What is known
    /// of an open backend comes from [`OpenBackend::measure`](crate::backend::OpenBackend::measure) instead.
    ///
    /// ```
    /// use xks_server::Server;
    ///
    /// let server = Server::new("acme-proxy", "1.0.0")
    ///     // Read as `xks_acme_tenants 7`.
    ///     .metrics(|samples| samples.gauge("acme_tenants", "Tenants of the vault", &[], 7.0));
    /// ```
    pub fn metrics(mut self, source: impl Fn(&mut Samples) + Send + Sync + 'static) -> Self {
        self.metric_sources.push(Arc::new(source));
        self
    }

    /// Adds a source of key stores beside the settings file: `run` is called once, on a thread of its own,
    /// when the backends are open. `name` stands in errors. What `run` keeps of its
    /// [`KeyStoreSource`] works for as long as the server runs.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex, mpsc};
    ///
    /// use xks_core::KeyStore;
    /// use xks_server::Server;
    ///
    /// // Whoever administers tenants sends their key stores.
    /// let (tenants, added) = mpsc::channel::<Arc<KeyStore>>();
    /// let added = Mutex::new(added);
    /// let server = Server::new("acme-proxy", "1.0.0").key_stores("tenants", move |source| {
    ///     let Ok(added) = added.lock() else { return };
    ///     for key_store in added.iter() {
    ///         if let Err(error) = source.insert(key_store) {
    ///             eprintln!("not served: {error}");
    ///         }
    ///     }
    /// });
    /// # drop((tenants, server));
    /// ```
    pub fn key_stores(mut self, name: &'static str, run: impl Fn(KeyStoreSource) + Send + Sync + 'static) -> Self {
        self.key_store_sources.push((name, Arc::new(run)));
        self
    }

    /// Serves the key stores of a settings file until the process gets SIGINT or SIGTERM, as
    /// [`main`](Self::main) does with `--config`.
    #[must_use]
    pub fn serve(&self, settings: &Path) -> ExitCode {
        self.exit(life::serve(self, Some(settings), None))
    }

    /// Reads the command line of this process, obeys it, and returns the exit status: 0 after SIGINT or
    /// SIGTERM, 78 where another start would fail as well, 77 where a PIN or password was refused, and 1
    /// otherwise.
    ///
    /// Sets the process's logger and panic hook, catches SIGINT, SIGTERM and SIGHUP, and starts the program
    /// again under the same process id where the settings have an `[environment]`. Call it first in `main`.
    #[must_use]
    pub fn main(self) -> ExitCode {
        let command_line = CommandLine::of(&self.command(), env::args_os());
        self.exit(self.obey(command_line))
    }

    fn command(&self) -> clap::Command {
        CommandLine::described(self.program, self.demo.is_some(), self.formats.sample_proxy.is_some())
    }

    fn exit(&self, result: anyhow::Result<ExitCode>) -> ExitCode {
        result.unwrap_or_else(|error| {
            let _ = writeln!(io::stderr(), "{}: {}", self.program.name, ErrorChain(&*error));
            match error.is::<SettingsUnreadable>() || error.is::<log::WrongFilter>() {
                true => WRONG_SETTINGS.into(),
                false => life::exit_status(&error).into(),
            }
        })
    }

    fn obey(&self, command_line: CommandLine) -> anyhow::Result<ExitCode> {
        match command_line.command {
            Some(Command::Check { file }) => self.check(&file),
            Some(Command::Convert { file }) => self.convert(&file),
            Some(Command::Audit(command)) => audit::run(self, command),
            #[cfg(feature = "lifecycle")]
            Some(Command::Store(command)) => self.on_store(&command),
            #[cfg(feature = "lifecycle")]
            Some(Command::Admin(command)) => admin::run(self, command_line.config.as_deref(), *command),
            Some(Command::Completions { shell }) => {
                let script = completions(shell, self.program, self.command());
                print(&String::from_utf8_lossy(&script)).map(|()| ExitCode::SUCCESS)
            }
            Some(Command::NewCredential { uri_path_prefix }) => credential::new()
                .and_then(|new| print(&credential::text(&new, &uri_path_prefix)).map(|()| ExitCode::SUCCESS)),
            None => {
                let of_environment = || env::var_os(self.program.settings_variable()).map(PathBuf::from);
                let file = command_line.config.or_else(of_environment);
                life::serve(self, file.as_deref(), command_line.listen)
            }
        }
    }

    pub(crate) fn make_demo(&self) -> anyhow::Result<Demo> {
        let demo = self.demo.as_ref().with_context(|| {
            let variable = self.program.settings_variable();
            format!("no settings: name a file with --config, or in the variable {variable}")
        })?;
        demo().map_err(anyhow::Error::from_boxed).context("the demo")
    }

    pub(crate) fn load(&self, file: &Path) -> anyhow::Result<Loaded> {
        // A unit whose variable is empty wants no demo.
        let loaded = match file.as_os_str().is_empty() {
            true => {
                let variable = self.program.settings_variable();
                let for_demo = self.demo.as_ref().map_or("", |_| ", or unset it for a demo");
                let wrong = format!("{variable} is empty: set it to the settings file{for_demo}");
                Err(io::Error::other(wrong))
            }
            false => settings::load(file, &self.formats),
        };
        loaded.map_err(|source| {
            let file = file.to_owned();
            SettingsUnreadable { file, source }.into()
        })
    }

    fn check(&self, file: &Path) -> anyhow::Result<ExitCode> {
        let loaded = self.load(file)?;
        let (errors, warnings) = (loaded.errors(), loaded.warnings());
        let plural = |number: usize, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
        let mut text: String = loaded.problems.iter().map(|problem| format!("{problem}\n")).collect();
        text.push_str(&format!(
            "{}, {}\n",
            plural(errors, "error"),
            plural(warnings, "warning")
        ));
        print(&text)?;
        Ok(if errors == 0 {
            ExitCode::SUCCESS
        } else {
            WRONG_SETTINGS.into()
        })
    }

    /// The socket for administration that a settings file names. Of other problems in it the server tells.
    #[cfg(feature = "lifecycle")]
    pub(crate) fn admin_socket(&self, file: &Path) -> anyhow::Result<PathBuf> {
        let loaded = self.load(file)?;
        let Some(settings) = &loaded.settings else {
            report(&loaded)?;
            return Err(anyhow!("{}: the settings are wrong", file.display()));
        };
        let managed = settings.lifecycle.as_ref();
        let none = || {
            format!(
                "{}: there is no [store], so no keys are under management",
                file.display()
            )
        };
        Ok(managed.with_context(none)?.admin.socket.clone())
    }

    #[cfg(feature = "lifecycle")]
    fn on_store(&self, command: &StoreCommand) -> anyhow::Result<ExitCode> {
        let (StoreCommand::Create { file } | StoreCommand::Backup { file, .. } | StoreCommand::Restore { file, .. }) =
            command;
        let loaded = self.load(file)?;
        // That there is no store is why it is made.
        if loaded.errors() > 0 {
            report(&loaded)?;
        }
        let Some(settings) = loaded.settings else {
            return Ok(WRONG_SETTINGS.into());
        };
        let Some(managed) = &settings.lifecycle else {
            let wrong = format!("{}: there is no [store]", file.display());
            writeln!(io::stderr(), "{}: {wrong}", self.program.name).context("cannot write to standard error")?;
            return Ok(WRONG_SETTINGS.into());
        };
        process::put_into_environment(&settings.environment)?;
        let (store, backends) = (&managed.store, &settings.backends);
        print(&match command {
            StoreCommand::Create { .. } => lifecycle::create(store, backends),
            StoreCommand::Backup { backup, .. } => lifecycle::back_up(store, backends, self.program, backup),
            StoreCommand::Restore { backup, .. } => lifecycle::restore(store, backends, backup),
        }?)?;
        Ok(ExitCode::SUCCESS)
    }

    fn convert(&self, file: &Path) -> anyhow::Result<ExitCode> {
        if self.formats.sample_proxy.is_none() {
            return Err(anyhow!("this program does not read the settings of AWS's sample proxy"));
        }
        let loaded = self.load(file)?;
        report(&loaded)?;
        let Some(settings) = &loaded.settings else {
            return Ok(WRONG_SETTINGS.into());
        };
        if !loaded.is_sample_proxys {
            return Err(anyhow!("{} is already in this program's format", file.display()));
        }
        print(&settings::to_our_format(settings))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<_> = self.formats.kinds.words().collect();
        f.debug_struct("Server")
            .field("program", &self.program)
            .field("kinds", &kinds)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Error)]
#[error("cannot read the settings from {}", file.display())]
struct SettingsUnreadable {
    file: PathBuf,
    source: io::Error,
}

/// Problems, to standard error.
pub(crate) fn report(loaded: &Loaded) -> anyhow::Result<()> {
    let text: String = loaded.problems.iter().map(|problem| format!("{problem}\n")).collect();
    io::stderr()
        .write_all(text.as_bytes())
        .context("cannot write to standard error")
}
