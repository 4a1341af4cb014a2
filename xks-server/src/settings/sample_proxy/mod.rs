//! The settings file of AWS's sample proxy (`aws-kms-xks-proxy`), as HSM vendors' guides have it written,
//! taken as it is: same paths, same credentials, same HSM, and what the sample proxy encrypted decrypts.
//!
//! Framing, IV source and first slot keep their meaning. Where the sample proxy rejected requests that this
//! server would allow, the server does not start.

mod pkcs11;

use std::{
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::Path,
    time::Duration,
};

use tracing::Level;
use xks_core::{
    KeyId, Zeroizing,
    aad::AadFraming,
    backend::{CiphertextMetadata, Limits},
    key_store::{AccessKeyId, Region, UriPathPrefix},
};

use self::pkcs11::{LOGGED_MODULE, hsm_capabilities, logger_environment, pkcs11_settings};
use super::{
    AuditLevel, Authorization, HealthSettings, KeyStoreSettings, Listeners, LogFile, LogFormat, LogOutput, LogSettings,
    Rotation, SecretOrigin, ServerSettings, Settings, TcpKeepalive, TlsSettings, TrafficLimits, ours,
    secrecy::shown,
    shared::{self, KEEPALIVE_RETRIES, KEEPALIVE_SECS, Unique, ciphertext_metadata, warn_of_small_limits},
    source::Source,
    table::{Item, Table},
};
use crate::{process, registry::ConfiguredBackend};

/// The name that the one HSM gets.
const BACKEND: &str = "hsm";

/// Whether a file is in that format: by the tables that ours does not have.
pub(super) fn is_one(root: &Table<'_, '_>) -> bool {
    ["external_key_stores", "security", "pkcs11", "hsm_capabilities"]
        .iter()
        .any(|table| root.has(table))
}

pub(super) fn settings(mut root: Table<'_, '_>, kind: &'static str) -> Option<Settings> {
    root.source.is_sample_proxys();
    let server = root.table("server");
    let server = root.needed("server", server).and_then(server_settings);
    let log = root.table("tracing").map(log).unwrap_or_default();
    let security = root.table("security");
    let security = root.needed("security", security).map(security_settings);
    let tls = root.table("tls");
    let tls = tls.and_then(|table| tls_settings(table, security.as_ref()));
    if security.as_ref().is_some_and(|security| security.has_tls) {
        root.needed("tls", root.is_present("tls").then_some(()));
    }
    let stores = root.tables("external_key_stores");
    if stores.is_empty() {
        root.needed("external_key_stores", None::<()>);
    }
    let environment = root.table("pkcs11_logger").map(logger_environment).unwrap_or_default();
    let capabilities = root.table("hsm_capabilities");
    let capabilities = root.needed("hsm_capabilities", capabilities).map(hsm_capabilities);
    let pkcs11 = root.table("pkcs11");
    let pkcs11 = root.needed("pkcs11", pkcs11);
    // With the table or without, the logger finds it in the environment.
    let behind_logger = environment
        .iter()
        .find(|(name, _)| name == LOGGED_MODULE)
        .map(|(_, module)| module.clone())
        .or_else(|| process::inherited(LOGGED_MODULE))
        .filter(|module| !module.is_empty());
    let behind_logger = behind_logger.as_deref().map(Path::new);
    let capabilities = capabilities.unwrap_or_default();
    let pkcs11 = pkcs11.and_then(|table| pkcs11_settings(table, behind_logger, capabilities));
    let limits = root.table("limits").map(limits).unwrap_or_default();
    let mut unique = Unique::default();
    let key_stores = stores
        .into_iter()
        .filter_map(|store| key_store(store, server.as_ref(), limits, &mut unique));
    let key_stores: Vec<_> = key_stores.collect();
    let server = server?;
    if key_stores.is_empty() && !root.source.has_errors() {
        root.error("no external key store has a credential: add one");
    }
    Some(Settings {
        environment: environment.into_iter().collect(),
        tls: Listeners {
            api: tls,
            ..Listeners::default()
        },
        health: HealthSettings {
            listen: server.ping.filter(|ping| *ping != server.server.listen),
            ..HealthSettings::default()
        },
        metrics: None,
        log,
        audit: None,
        watch: Some(ours::DEFAULT_WATCH),
        backends: vec![ConfiguredBackend::new(BACKEND, kind, pkcs11?)],
        key_stores,
        #[cfg(feature = "lifecycle")]
        lifecycle: None,
        server: server.server,
    })
}

/// A number that the sample proxy takes however large it is.
fn cut<T: TryFrom<u64>>(table: &mut Table<'_, '_>, key: &'static str, range: RangeInclusive<u64>) -> Option<T> {
    let (least, most) = range.into_inner();
    let Item { value, span } = table.number_item::<u64>(key, least..=i64::MAX.unsigned_abs())?;
    if value > most {
        let warning = format!("`{key} = {value}` exceeds the maximum: using {most}");
        table.source.warn(span, warning);
    }
    T::try_from(value.min(most)).ok()
}

/// A number that the system refuses where it is 0, which the sample proxy passes over.
fn unless_zero(table: &mut Table<'_, '_>, key: &'static str, most: u64) -> Option<u64> {
    let number = cut(table, key, 0..=most)?;
    if number == 0 {
        let warning =
            format!("`{key} = 0` is ignored, as in the sample proxy: the operating system requires 1 or more");
        table.source.warn(table.span.clone(), warning);
    }
    (number > 0).then_some(number)
}

/// `[server]`
struct Server {
    server: ServerSettings,
    /// Where `/ping` is asked for.
    ping: Option<SocketAddr>,
    region: Region,
    ciphertext_metadata: Option<CiphertextMetadata>,
}

fn server_settings(mut table: Table<'_, '_>) -> Option<Server> {
    let source = table.source;
    let ip = table.text("ip").and_then(|ip| {
        let parsed = ip.value.parse::<IpAddr>();
        if parsed.is_err() {
            let wrong = format!(
                "`ip = {}`: not an IP address, such as \"127.0.0.1\", or \"0.0.0.0\" for all interfaces; names are \
                 not resolved, and the port is set by `port`",
                shown(&ip.value)
            );
            source.error(ip.span, wrong);
        }
        parsed.ok()
    });
    let ip = table.needed("ip", ip);
    let port = table.number("port", 0..=65_535);
    let port = table.needed("port", port);
    let ping_port = table.number("port_http_ping", 0..=65_535).unwrap_or(80);
    let region = table.text("region");
    let region = table.needed("region", region);
    let region = region.and_then(|region| shared::region(source, region));
    if let Some(service) = table.text("service").filter(|service| service.value != "kms-xks-proxy") {
        source.error(
            service.span,
            "`service` must be `kms-xks-proxy`: KMS signs for no other service",
        );
    }
    let metadata = table
        .text("ciphertext_metadata_b64")
        .filter(|text| !text.value.is_empty());
    let ciphertext_metadata = metadata.and_then(|text| ciphertext_metadata(source, text));
    let keepalive = table.table("tcp_keepalive").and_then(|mut table| {
        if !table.has("tcp_keepalive_secs") {
            table.forget(); // it is off, and the others are not read
            return None;
        }
        let interval = unless_zero(&mut table, "tcp_keepalive_interval_secs", *KEEPALIVE_SECS.end());
        let retries = unless_zero(&mut table, "tcp_keepalive_retries", *KEEPALIVE_RETRIES.end());
        Some(TcpKeepalive {
            idle: Duration::from_secs(unless_zero(&mut table, "tcp_keepalive_secs", *KEEPALIVE_SECS.end())?),
            interval: interval.map(Duration::from_secs),
            retries: retries.and_then(|retries| retries.try_into().ok()),
        })
    });
    let (ip, port) = (ip?, port?);
    Some(Server {
        server: ServerSettings {
            tcp_keepalive: keepalive,
            ..ServerSettings::new(SocketAddr::new(ip, port))
        },
        ping: Some(SocketAddr::new(ip, ping_port)),
        region: region?,
        ciphertext_metadata,
    })
}

/// `[tracing]`: of writers that are off, the sample proxy reads nothing but the types.
fn log(mut table: Table<'_, '_>) -> LogSettings {
    let source = table.source;
    let to_stdout = table.flag("is_stdout_writer_enabled").unwrap_or(false);
    let to_file = table.flag("is_file_writer_enabled").unwrap_or(false);
    let level = table.text("level").filter(|_| to_stdout || to_file);
    let level = level.and_then(|level| {
        let parsed = level.value.parse::<Level>();
        if parsed.is_err() {
            source.error(level.span, "`level` must be one of TRACE, DEBUG, INFO, WARN, ERROR");
        }
        parsed.ok()
    });
    let directory = table.folder("directory").filter(|_| to_file);
    let prefix = table.text("file_prefix").filter(|_| to_file);
    shared::check_file_prefix(source, prefix.as_ref());
    let rotation = table.text("rotation_kind").filter(|_| to_file);
    let rotation = rotation.and_then(|kind| {
        let rotation = match kind.value.to_uppercase().as_str() {
            "MINUTELY" => Some(Rotation::Minutely),
            "HOURLY" => Some(Rotation::Hourly),
            "DAILY" => Some(Rotation::Daily),
            "NEVER" => Some(Rotation::Never),
            _ => None,
        };
        if rotation.is_none() {
            let wrong = format!(
                "`rotation_kind` must be one of MINUTELY, HOURLY, DAILY, NEVER, not {}",
                shown(&kind.value)
            );
            source.error(kind.span, wrong);
        }
        rotation
    });
    if to_file {
        table.needed("directory", directory.as_ref());
    }
    LogSettings {
        level: level.unwrap_or(Level::INFO),
        audit: AuditLevel::All,
        format: LogFormat::Human,
        output: if to_stdout { LogOutput::Stdout } else { LogOutput::None },
        file: directory.map(|directory| LogFile {
            directory: directory.value,
            prefix: prefix.map_or_else(|| "xks-proxy.log".to_owned(), |prefix| prefix.value),
            rotation: rotation.unwrap_or(Rotation::Daily),
            keep: None,
        }),
    }
}

/// `[security]`
struct Security {
    has_tls: bool,
    has_mtls: bool,
}

fn security_settings(mut table: Table<'_, '_>) -> Security {
    let source = table.source;
    // Without one of these, the meaning of the file is unclear.
    let mut flag = |key| {
        let flag = table.flag(key);
        table.needed(key, flag)
    };
    let [has_sigv4, has_tls, has_mtls] = ["is_sigv4_auth_enabled", "is_tls_enabled", "is_mtls_enabled"].map(&mut flag);
    if has_sigv4 == Some(false) {
        table.error(
            "`is_sigv4_auth_enabled = false` is not supported: requests without a valid signature are always \
             rejected; set it to true",
        );
    }
    let (has_tls, has_mtls) = (has_tls.unwrap_or(false), has_mtls.unwrap_or(false));
    if has_mtls && !has_tls {
        table.error("`is_mtls_enabled` requires `is_tls_enabled`");
    }
    // Read, so that its keys are known.
    let oso = table.table("oso").map(|mut oso| {
        oso.text("polar_file_path");
        oso.span.clone()
    });
    if let Some(secondary) = table
        .text("secondary_auth")
        .filter(|secondary| !secondary.value.is_empty())
    {
        source.error(
            secondary.span,
            format!(
                "`secondary_auth = {:?}`: this policy engine is not supported, and starting without it would allow \
                 requests that the policies deny. Remove this line, run `xks-proxy convert`, write the policies as \
                 rules or in Cedar into the converted file, then use that file",
                secondary.value
            ),
        );
    } else if let Some(span) = oso {
        source.warn(
            span,
            "[security.oso] has no effect without `secondary_auth`, as in the sample proxy",
        );
    }
    Security { has_tls, has_mtls }
}

/// `[tls]`
fn tls_settings(mut table: Table<'_, '_>, security: Option<&Security>) -> Option<TlsSettings> {
    let Some(security) = security.filter(|security| security.has_tls) else {
        // Of what is off, the sample proxy reads nothing but the types.
        for key in [
            "tls_cert_pem",
            "tls_key_pem",
            "mtls_client_ca_pem",
            "mtls_client_dns_name",
        ] {
            table.text(key);
        }
        return None;
    };
    let (chain, key) = (table.path("tls_cert_pem"), table.path("tls_key_pem"));
    let name = table.text("mtls_client_dns_name");
    let roots = match security.has_mtls {
        true => table.path("mtls_client_ca_pem"),
        false => table.text("mtls_client_ca_pem").and(None),
    };
    let (chain, key) = (table.needed("tls_cert_pem", chain), table.needed("tls_key_pem", key));
    let client = security.has_mtls.then(|| {
        let (roots, name) = (
            table.needed("mtls_client_ca_pem", roots),
            table.needed("mtls_client_dns_name", name),
        );
        Some((roots?, vec![name?]))
    });
    shared::tls(table.source, chain, key, client)
}

/// `[limits]`: lengths of Base64 text, of which four characters are three bytes.
fn limits(mut table: Table<'_, '_>) -> Limits {
    let mut limits = Limits::default();
    let bytes = |characters: usize| characters / 4 * 3;
    if let Some(characters) = cut(&mut table, "max_plaintext_in_base64", 4..=16_777_216) {
        limits = limits.with_plaintext(bytes(characters));
    }
    if let Some(characters) = cut(&mut table, "max_aad_in_base64", 4..=16_777_216) {
        limits = limits.with_aad(bytes(characters).min(usize::from(u16::MAX)));
    }
    warn_of_small_limits(&table, limits);
    limits
}

/// Those of the ids that KMS can ask for. The sample proxy lets the others stand there too.
fn key_ids(source: &Source<'_>, texts: Vec<Item<String>>) -> Vec<Item<KeyId>> {
    let parse = |text: Item<String>| match text.value.parse() {
        Ok(value) => Some(Item { value, span: text.span }),
        Err(error) => {
            let warning = format!(
                "`xks_key_id_set`: {} is ignored, KMS cannot request it: {error}",
                shown(&text.value)
            );
            source.warn(text.span, warning);
            None
        }
    };
    texts.into_iter().filter_map(parse).collect()
}

/// `[[external_key_stores]]`; none for a placeholder, with which no client could sign.
fn key_store(
    mut table: Table<'_, '_>,
    server: Option<&Server>,
    limits: Limits,
    unique: &mut Unique,
) -> Option<KeyStoreSettings> {
    let source = table.source;
    let id = table.text("sigv4_access_key_id");
    let secret = table.text("sigv4_secret_access_key");
    let is_empty = |item: &Option<Item<String>>| item.as_ref().is_none_or(|item| item.value.is_empty());
    if is_empty(&id) && is_empty(&secret) {
        let warning = "an external key store without a credential is ignored";
        source.warn(table.span.clone(), warning);
        table.forget();
        return None;
    }
    let keys = table.texts("xks_key_id_set").map(|keys| key_ids(source, keys));
    let prefix = table.parsed::<UriPathPrefix>("uri_path_prefix");
    let prefix = table.needed("uri_path_prefix", prefix);
    let id = table
        .needed("sigv4_access_key_id", id)
        .and_then(|id| match AccessKeyId::new(&id.value) {
            Ok(value) => Some(Item { value, span: id.span }),
            Err(error) => {
                source.error(id.span, format!("`sigv4_access_key_id`: {error}"));
                None
            }
        });
    let secret = table.needed("sigv4_secret_access_key", secret);
    let keys = table.needed("xks_key_id_set", keys);
    let secret = secret.map(|secret| Item {
        value: Zeroizing::new(secret.value),
        span: secret.span,
    });
    let credential = shared::credential(source, id?, secret?, SecretOrigin::Settings)?;
    unique.check(
        &table,
        prefix.as_ref(),
        std::slice::from_ref(&credential),
        keys.as_deref(),
    );
    let server = server?;
    Some(KeyStoreSettings {
        prefix: prefix?.value,
        regions: vec![server.region.clone()],
        backend: BACKEND.to_owned(),
        keys: Some(keys?.into_iter().map(|key| key.value).collect()),
        credentials: vec![credential.value],
        aad_framing: AadFraming::Digest,
        ciphertext_metadata: server.ciphertext_metadata,
        limits,
        traffic: TrafficLimits::NONE,
        authorization: Authorization::AllowAll,
    })
}
