//! What PostgreSQL says, as an error of stores. It shows no row: the details of its errors can hold one.

use std::{error::Error as _, io, time::Duration};

use tokio::time;
use xks_core::text::ErrorChain;

use super::StoreError;

/// What was being done when the database failed.
const DETAIL: &str = "the database failed";

/// What the database, or the connection to it, has reported.
pub(super) fn of(error: &tokio_postgres::Error) -> StoreError {
    let Some(reported) = error.as_db_error() else {
        if let Some(reason) = of_certificate(error) {
            let problem = format!("does not verify the database's certificate: {reason}");
            return StoreError::Setting {
                setting: "ca_file",
                problem,
            };
        }
        return StoreError::unavailable(DETAIL, ErrorChain(error).to_string());
    };
    let code = reported.code().code();
    let text = format!("{} (SQLSTATE {code})", reported.message());
    match code {
        "53100" => StoreError::Full(text),
        "XX001" | "XX002" => StoreError::Damaged(text),
        // Wrong user or password, no such database, no permission.
        "28000" | "28P01" | "3D000" | "42501" => StoreError::Refused(text),
        _ => StoreError::unavailable(DETAIL, text),
    }
}

/// What is wrong with the certificate, if that is what the error is about.
fn of_certificate(error: &tokio_postgres::Error) -> Option<&rustls::Error> {
    let error: &io::Error = error.source()?.downcast_ref()?;
    let error = error.get_ref()?.downcast_ref()?;
    matches!(error, rustls::Error::InvalidCertificate(_)).then_some(error)
}

/// Waits for an answer of the database, but no longer than `patience`.
pub(super) async fn within<T>(
    patience: Duration,
    call: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, StoreError> {
    match time::timeout(patience, call).await {
        Ok(outcome) => outcome.map_err(|error| of(&error)),
        Err(_) => {
            let reason = format!("no answer within {} ms", patience.as_millis());
            Err(StoreError::unavailable(DETAIL, reason))
        }
    }
}
