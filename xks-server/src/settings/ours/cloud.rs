//! `[cloud]`: AWS is called, by jobs that make there what the state wants.

use crate::settings::{CloudSettings, secrecy::shown, table::Table};

pub(super) fn cloud(mut table: Table<'_, '_>) -> Option<CloudSettings> {
    if cfg!(not(feature = "cloud")) {
        table.error("this build does not call AWS: build it with `--features cloud`, or remove [cloud]");
        table.forget();
        return None;
    }
    let read_interval = table.milliseconds("read_interval_ms", 10..=60_000);
    let (endpoint_url, ca_file) = (table.text("endpoint_url"), table.path("ca_file"));
    if let Some(url) = &endpoint_url
        && !is_url(&url.value)
    {
        table.error_at(
            url,
            format!(
                "`endpoint_url` = {}: must be https:// and a host, with a port where it is not 443; http:// is for \
                 simulators on 127.0.0.1",
                shown(&url.value)
            ),
        );
        return None;
    }
    if let Some(file) = &ca_file {
        table.read(file)?;
    }
    Some(CloudSettings {
        endpoint_url: endpoint_url.map(|item| item.value),
        ca_file: ca_file.map(|item| item.value),
        read_interval,
    })
}

/// Whether a secret may go there: encrypted, or to this machine.
fn is_url(url: &str) -> bool {
    let is_authority = |rest: &str| {
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        !rest.is_empty()
            && rest
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte))
    };
    let is_local = |rest: &str| {
        ["127.0.0.1:", "localhost:", "[::1]:"]
            .iter()
            .any(|host| rest.starts_with(host))
    };
    match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => is_authority(rest),
        (_, Some(rest)) => is_authority(rest) && is_local(rest),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_goes_over_tls_or_stays_on_the_machine() {
        for good in [
            "https://kms.eu-central-1.amazonaws.com",
            "https://vpce-0123.kms.eu-central-1.vpce.amazonaws.com:8443/",
            "http://127.0.0.1:8080",
            "http://localhost:8080/",
        ] {
            assert!(is_url(good), "{good}");
        }
        for bad in [
            "",
            "kms.eu-central-1.amazonaws.com",
            "http://kms.eu-central-1.amazonaws.com",
            "http://127.0.0.1.example.com:80",
            "https://",
            "https://user@host",
            "https://host/path",
        ] {
            assert!(!is_url(bad), "{bad}");
        }
    }
}
