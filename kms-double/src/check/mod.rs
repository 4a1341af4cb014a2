//! A conformance report on any deployed proxy.
//!
//! ```text
//! arguments    the command line                    case       what is sent, expected, and what it means
//! setup        its parameters                      cases/     all of them, by subject
//! run          one case after the other            subject    the proxy, asked and watched
//! report       the outcomes, as text and JSON      watch      what holds for every answer
//! preflight    whether the setup is taken at all   half_sent  connections that do not go on
//! greeting     whether a server is there, and its HTTP version
//! body, signature, date, errors
//! ```
//!
//! ```no_run
//! use kms_double::{check::{Setup, run}, wire::Credential};
//!
//! # async fn doc(secret: &str) -> Result<(), Box<dyn std::error::Error>> {
//! let credential = Credential::new("BETWEEN2TENAND3TENCHARACTERS", secret, "us-east-1");
//! let report = run(&Setup::new("https://xks.example.com/my-key-store", credential, "my-key")).await?;
//! assert!(report.is_conformant(), "{report}");
//! # Ok(())
//! # }
//! ```

mod arguments;
mod body;
mod case;
mod cases;
mod date;
mod errors;
mod greeting;
mod half_sent;
mod preflight;
mod report;
mod run;
mod setup;
mod signature;
mod subject;
mod watch;

pub use self::{
    arguments::{Arguments, CannotCheck},
    case::{Level, Outcome},
    preflight::Refusal,
    report::{Latency, Report, Summary, Tried},
    run::{CannotRun, run},
    setup::Setup,
};
