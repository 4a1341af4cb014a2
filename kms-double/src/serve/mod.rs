//! `kms-double serve`: the AWS KMS API on loopback, over a proxy, for the AWS CLI and the AWS SDKs.
//!
//! ```text
//! mod        arguments, and its life              query      IAM and STS: a form in, XML out
//! http       connections and requests             caller     the caller, by the access key of the signature
//! control    the clock and faults, for tests      signature  verifies signatures, where that is wanted
//! ```

mod caller;
mod control;
mod http;
mod query;
mod signature;

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::Args;
use thiserror::Error;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use crate::{
    kms::{BuildError, Exception, Kms, PrincipalKind, RequestQuotas},
    wire::{Http, Tls, server_config},
};

/// The arguments of `kms-double serve`.
#[derive(Debug, Args)]
#[non_exhaustive]
pub struct Arguments {
    /// Address to listen on. Port 0 selects a free port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8200")]
    listen: SocketAddr,

    /// Listen on an address that is not loopback: any client that reaches it can use every key
    #[arg(long)]
    allow_remote_callers: bool,

    /// Serve over TLS with the certificate chain in this PEM file
    #[arg(long, value_name = "PEM", requires = "key")]
    certificate: Option<PathBuf>,

    /// Serve over TLS: the certificate's key, a PEM file
    #[arg(long, value_name = "PEM", requires = "certificate")]
    key: Option<PathBuf>,

    /// Keep key stores and keys in this file across restarts. It holds secrets and key material
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,

    /// Root certificates (PEM) for proxies, instead of the system's
    #[arg(long, value_name = "PEM")]
    proxy_ca_file: Option<PathBuf>,

    /// Mutual TLS: the client certificate chain (PEM) for proxies
    #[arg(long, value_name = "PEM", requires = "proxy_client_key")]
    proxy_client_certificate: Option<PathBuf>,

    /// Mutual TLS: the client certificate's key (PEM)
    #[arg(long, value_name = "PEM", requires = "proxy_client_certificate")]
    proxy_client_key: Option<PathBuf>,

    /// Use HTTP/2 to proxies
    #[arg(long)]
    proxy_http2: bool,

    /// Accept key stores whose endpoint begins with http://, which AWS KMS rejects
    #[arg(long)]
    allow_http: bool,

    /// Timeout for a proxy's response
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 250)]
    timeout_ms: u64,

    /// Interval of health checks of connected proxies; 0 disables them
    #[arg(long, value_name = "SECONDS", default_value_t = Kms::HEALTH_INTERVAL.as_secs())]
    health_interval_secs: u64,

    /// The Region that users, roles and access keys are made in. Each request is for the Region that it is
    /// signed for
    #[arg(long, default_value = "us-east-1")]
    region: String,

    /// Throttle what exceeds AWS's default request quotas, multiplied by this
    #[arg(long, value_name = "FACTOR", value_parser = positive)]
    quotas: Option<f64>,

    /// Time after which a change is seen everywhere: so long every other request is answered as before, and
    /// key policies cannot name a new user or role
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    settle_secs: u64,

    /// Time for which key stores are CONNECTING and DISCONNECTING
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    connecting_secs: u64,

    /// A user of the account, which key policies can name (repeatable)
    #[arg(long = "user", value_name = "NAME")]
    users: Vec<String>,

    /// A role of the account, which key policies can name (repeatable)
    #[arg(long = "role", value_name = "NAME")]
    roles: Vec<String>,

    /// Verify signatures, by the access keys in this file: a line of user, access key id and secret access
    /// key, separated by commas, for each. Key policies decide what these users may do
    #[arg(long, value_name = "FILE")]
    verify_callers: Option<PathBuf>,

    /// The account of keys and callers
    #[arg(long, default_value = "111122223333")]
    account: String,
}

/// The reason why the server ended.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address can be reached from other machines.
    #[error(
        "{0} is not loopback: any client that reaches it could use every key. Pass --allow-remote-callers to \
             listen anyway"
    )]
    NotLoopback(SocketAddr),
    /// Nothing can be listened to there.
    #[error("{0}: {1}")]
    Listen(SocketAddr, io::Error),
    /// The file of access keys cannot be read.
    #[error("{0}: {1}")]
    AccessKeys(PathBuf, String),
    /// Something that it needs is not there.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The machine has no more of something.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A user or role has no legal name, or the health check failed, though no proxy was at fault.
    #[error(transparent)]
    Kms(#[from] Exception),
}

/// The access keys of a file.
fn add_access_keys(kms: &Kms, path: &Path) -> Result<(), ServeError> {
    let text = std::fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|error| ServeError::AccessKeys(path.to_owned(), error.to_string()))?;
    for (number, line) in text.lines().enumerate() {
        let mut parts = line.split(',').map(str::trim);
        let (Some(user), Some(id), Some(secret), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            let message = format!("line {}: expected user,access key id,secret access key", number + 1);
            return Err(ServeError::AccessKeys(path.to_owned(), message));
        };
        kms.add_access_key(user, id, secret)?;
    }
    Ok(())
}

fn positive(text: &str) -> Result<f64, String> {
    let factor = text
        .parse::<f64>()
        .ok()
        .filter(|factor| *factor > 0.0 && factor.is_finite());
    factor.ok_or_else(|| "not a number above 0".into())
}

impl Arguments {
    /// Serves until the process gets SIGTERM or SIGINT.
    ///
    /// # Errors
    /// It cannot begin, or the double itself failed.
    pub async fn run(self) -> Result<ExitCode, ServeError> {
        if !self.listen.ip().is_loopback() && !self.allow_remote_callers {
            return Err(ServeError::NotLoopback(self.listen));
        }
        let kms = self.kms()?;
        for name in &self.users {
            kms.add_principal(PrincipalKind::User, name)?;
        }
        if let Some(path) = &self.verify_callers {
            add_access_keys(&kms, path)?;
        }
        for name in &self.roles {
            kms.add_principal(PrincipalKind::Role, name)?;
        }
        let tls = self.tls()?;
        let listener = TcpListener::bind(self.listen).await;
        let listener = listener.map_err(|error| ServeError::Listen(self.listen, error))?;
        let address = listener.local_addr()?;
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let url = format!("{}://{address}", if tls.is_some() { "https" } else { "http" });
        writeln!(
            io::stdout(),
            "Listening on {url}, for example:\n  aws --endpoint-url {url} kms list-keys"
        )?;
        let server = http::Server {
            kms: kms.clone(),
            tls,
            account: self.account,
            verifies: self.verify_callers.is_some(),
            is_open: self.allow_remote_callers,
        };
        let watch = async {
            match self.health_interval_secs {
                0 => std::future::pending().await,
                seconds => kms.watch_health(Duration::from_secs(seconds)).await,
            }
        };
        tokio::select! {
            outcome = server.serve(listener) => outcome?,
            outcome = watch => outcome?,
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
        Ok(ExitCode::SUCCESS)
    }

    fn tls(&self) -> Result<Option<TlsAcceptor>, BuildError> {
        let (Some(certificate), Some(key)) = (&self.certificate, &self.key) else {
            return Ok(None);
        };
        let config = server_config(certificate, key)?;
        Ok(Some(TlsAcceptor::from(Arc::new(config))))
    }

    fn kms(&self) -> Result<Kms, BuildError> {
        let mut tls = Tls::default();
        if let Some(roots) = &self.proxy_ca_file {
            tls = tls.roots(roots);
        }
        if let (Some(certificate), Some(key)) = (&self.proxy_client_certificate, &self.proxy_client_key) {
            tls = tls.identity(certificate, key);
        }
        let mut builder = Kms::builder()
            .region(&self.region)
            .account(&self.account)
            .timeout(Duration::from_millis(self.timeout_ms))
            .settle(Duration::from_secs(self.settle_secs))
            .connecting(Duration::from_secs(self.connecting_secs))
            .http(if self.proxy_http2 { Http::Two } else { Http::One })
            .tls(tls);
        if let Some(factor) = self.quotas {
            builder = builder.request_quotas(RequestQuotas::aws().scaled(factor));
        }
        if self.verify_callers.is_some() {
            builder = builder.key_policies_decide();
        }
        if self.allow_http {
            builder = builder.allow_http();
        }
        if let Some(path) = &self.state {
            builder = builder.state_file(path);
        }
        builder.build()
    }
}
