//! The command line of `kms-double check`.

use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Args, ValueEnum};
use thiserror::Error;
use zeroize::Zeroizing;

use super::{
    report::Report,
    run::{CannotRun, chosen, run},
    setup::Setup,
};
use crate::wire::{Credential, Http, Tls};

/// The arguments of `kms-double check`. Its exit code is 0 when every MUST is met, 1 when not, 2 when it
/// could not run.
#[derive(Args, Clone, Debug)]
#[non_exhaustive]
pub struct Arguments {
    /// The key store's URL: https://host[:port][/prefix]
    #[arg(long, required_unless_present = "list")]
    url: Option<String>,
    /// The key store's access key id
    #[arg(long, required_unless_present = "list")]
    access_key: Option<String>,
    /// A file with the secret access key
    #[arg(long, required_unless_present = "list")]
    secret_file: Option<PathBuf>,
    /// The AWS Region that requests are signed for
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// An enabled external key that can encrypt and decrypt; repeatable
    #[arg(long, required_unless_present = "list")]
    key: Vec<String>,
    /// A key id that the proxy does not have; generated when not given; repeatable
    #[arg(long)]
    missing_key: Vec<String>,
    /// A key that can only encrypt
    #[arg(long)]
    encrypt_only: Option<String>,
    /// A key that can only decrypt
    #[arg(long)]
    decrypt_only: Option<String>,
    /// A key that is disabled
    #[arg(long)]
    disabled: Option<String>,
    /// The awsPrincipalArn of requests, if the proxy authorizes by it
    #[arg(long)]
    principal: Option<String>,
    /// The kmsKeyArn of requests, if the proxy authorizes by it
    #[arg(long)]
    kms_key_arn: Option<String>,
    /// Root certificates (PEM) instead of the system's
    #[arg(long)]
    ca_file: Option<PathBuf>,
    /// The name in the proxy's certificate, if it differs from the URL's host
    #[arg(long)]
    server_name: Option<String>,
    /// Accepts any certificate, to check the rest
    #[arg(long)]
    insecure: bool,
    /// The client's certificate chain (PEM), for mutual TLS
    #[arg(long, requires = "client_key")]
    client_cert: Option<PathBuf>,
    /// The key (PEM) of the client's certificate
    #[arg(long, requires = "client_cert")]
    client_key: Option<PathBuf>,
    /// The HTTP version of all cases
    #[arg(long, value_enum, default_value = "1")]
    http: Versions,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    /// Writes the report to a file instead of standard output
    #[arg(long)]
    out: Option<PathBuf>,
    /// Runs only cases whose name or requirement id begins with this; repeatable
    #[arg(long)]
    only: Vec<String>,
    /// Lists the cases without sending requests
    #[arg(long)]
    list: bool,
    /// Seconds of parallel load; 0 skips it
    #[arg(long, default_value_t = 0)]
    load: u64,
    /// Parallel round trips under --load
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Also sends requests that may crash a weak proxy; do not use it in production
    #[arg(long)]
    destructive: bool,
    /// Timeout for a response, in milliseconds; KMS uses 250
    #[arg(long, default_value_t = 5000)]
    timeout: u64,
    /// Seconds until the proxy must close a half-sent request; 0 skips it
    #[arg(long, default_value_t = 30)]
    half_sent: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Versions {
    #[value(name = "1")]
    One,
    #[value(name = "2")]
    Two,
    Both,
}

/// The reason why a check could not run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CannotCheck {
    /// The check could not run.
    #[error(transparent)]
    Run(#[from] CannotRun),
    /// A file could not be read or written: its name.
    #[error("{0}")]
    File(String, #[source] io::Error),
    /// The report could not be written.
    #[error("cannot write the report")]
    Write(#[source] io::Error),
}

/// The exit code when the proxy refuses the setup: a credential, Region or key that is not its own.
const REFUSED: u8 = 3;

impl Arguments {
    /// Checks, writes the report, and tells the exit code: 0 when every MUST that was tried is kept, 1 when
    /// one is missed, 3 when the proxy refuses the setup, which standard error explains.
    ///
    /// # Errors
    /// The check cannot run, or its report cannot be written. The program then ends with 2.
    pub async fn run(&self) -> Result<ExitCode, CannotCheck> {
        let setup = self.setup()?;
        if self.list {
            return self.write(&listed(&setup)?).map(|()| ExitCode::SUCCESS);
        }
        let report = match run(&setup).await {
            Err(error @ CannotRun::Refused(_)) => {
                let said = writeln!(io::stderr(), "kms-double: {error}");
                return said.map(|()| REFUSED.into()).map_err(CannotCheck::Write);
            }
            report => report?,
        };
        self.write(&self.text(&report)?)?;
        Ok(if report.is_conformant() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    fn setup(&self) -> Result<Setup, CannotCheck> {
        let secret = match &self.secret_file {
            None => Zeroizing::default(),
            Some(file) => {
                let failed = |error| CannotCheck::File(format!("cannot read {}", file.display()), error);
                Zeroizing::new(fs::read_to_string(file).map_err(failed)?)
            }
        };
        let access_key = self.access_key.clone().unwrap_or_default();
        let credential = Credential::new(access_key, secret.trim(), self.region.clone());
        let mut setup = Setup::new(self.url.clone().unwrap_or_default(), credential, "");
        setup.tls = self.tls();
        setup.http = match self.http {
            Versions::One => vec![Http::One],
            Versions::Two => vec![Http::Two],
            Versions::Both => vec![Http::One, Http::Two],
        };
        setup.keys.clone_from(&self.key);
        setup.missing_keys.clone_from(&self.missing_key);
        setup.encrypt_only.clone_from(&self.encrypt_only);
        setup.decrypt_only.clone_from(&self.decrypt_only);
        setup.disabled.clone_from(&self.disabled);
        setup.principal = self.principal.clone().unwrap_or(setup.principal);
        setup.kms_key_arn = self.kms_key_arn.clone().unwrap_or(setup.kms_key_arn);
        setup.only.clone_from(&self.only);
        setup.load = Duration::from_secs(self.load);
        setup.connections = self.connections;
        setup.is_destructive = self.destructive;
        setup.timeout = Duration::from_millis(self.timeout);
        setup.half_sent = Duration::from_secs(self.half_sent);
        Ok(setup)
    }

    fn tls(&self) -> Tls {
        let mut tls = Tls::default();
        if let Some(file) = &self.ca_file {
            tls = tls.roots(file);
        }
        if let Some(name) = &self.server_name {
            tls = tls.server_name(name);
        }
        if let (Some(certificates), Some(key)) = (&self.client_cert, &self.client_key) {
            tls = tls.identity(certificates, key);
        }
        if self.insecure { tls.insecure() } else { tls }
    }

    fn text(&self, report: &Report) -> Result<String, CannotCheck> {
        match self.json {
            false => Ok(report.to_string()),
            true => match serde_json::to_string_pretty(report) {
                Ok(json) => Ok(json + "\n"),
                Err(error) => Err(CannotCheck::Write(error.into())),
            },
        }
    }

    fn write(&self, text: &str) -> Result<(), CannotCheck> {
        match &self.out {
            Some(file) => {
                let failed = |error| CannotCheck::File(format!("cannot write {}", file.display()), error);
                fs::write(file, text).map_err(failed)
            }
            None => {
                let mut out = io::stdout().lock();
                out.write_all(text.as_bytes())
                    .and_then(|()| out.flush())
                    .map_err(CannotCheck::Write)
            }
        }
    }
}

/// The cases, one a line.
fn listed(setup: &Setup) -> Result<String, CannotRun> {
    let cases = chosen(setup)?;
    let width = cases.iter().map(|case| case.name.len()).max().unwrap_or_default();
    let lines = cases.iter().map(|case| {
        let level = format!("{:?}", case.level).to_uppercase();
        format!("{level:6}  {:width$}  {}\n", case.name, case.ids.join(" "))
    });
    Ok(lines.collect())
}
