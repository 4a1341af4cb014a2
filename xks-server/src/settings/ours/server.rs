//! `[server]`, `[tls]`, `[health]`, `[metrics]` and `[log]`.

use std::{net::SocketAddr, time::Duration};

use tracing::Level;

use super::{DAY, DAY_MS, DEFAULT_METRICS};
use crate::settings::{
    AuditLevel, HealthSettings, LogFile, LogFormat, LogOutput, LogSettings, ReadyWhen, Rotation, ServerSettings,
    TcpKeepalive, TlsSettings,
    shared::{self, KEEPALIVE_RETRIES, KEEPALIVE_SECS},
    table::{FlagOrTable, Item, TIMEOUT_MS, Table},
};

pub(super) fn server(mut table: Table<'_, '_>) -> Option<ServerSettings> {
    let listen = table.address("listen");
    let listen = table.needed("listen", listen);
    let standard = ServerSettings::new(SocketAddr::from(([127, 0, 0, 1], 0)));
    let timeout = table.number_of_either::<u64>(TIMEOUT_MS, 1..=DAY_MS);
    // TRN-8
    if let Some((name, Item { value, span })) = timeout.as_ref().filter(|(_, timeout)| timeout.value >= 250) {
        let warning = format!("`{name} = {value}`: KMS times out after 250 ms; the default is 200");
        table.source.warn(span.clone(), warning);
    }
    let timeout = timeout.map_or(standard.timeout, |(_, timeout)| Duration::from_millis(timeout.value));
    let keepalive = table.table("tcp_keepalive").and_then(|mut table| {
        let idle = table.seconds("idle_secs", KEEPALIVE_SECS);
        let interval = table.seconds("interval_secs", KEEPALIVE_SECS);
        let retries = table.number("retries", KEEPALIVE_RETRIES);
        Some(TcpKeepalive {
            idle: table.needed("idle_secs", idle)?,
            interval,
            retries,
        })
    });
    let server = ServerSettings {
        tcp_keepalive: keepalive,
        max_connections: table
            .number("max_connections", 1..=1_000_000)
            .unwrap_or(standard.max_connections),
        max_body_bytes: table
            .number("max_body_bytes", 1024..=16_777_216)
            .unwrap_or(standard.max_body_bytes),
        timeout,
        header_timeout: table
            .seconds("header_timeout_secs", 1..=DAY)
            .unwrap_or(standard.header_timeout),
        stall_timeout: table
            .seconds("stall_timeout_secs", 1..=DAY)
            .unwrap_or(standard.stall_timeout),
        idle_timeout: table
            .seconds("idle_timeout_secs", 1..=DAY)
            .unwrap_or(standard.idle_timeout),
        drain_delay: table
            .seconds("drain_delay_secs", 0..=3600)
            .unwrap_or(standard.drain_delay),
        drain_timeout: table
            .seconds("drain_timeout_secs", 0..=3600)
            .unwrap_or(standard.drain_timeout),
        ..standard
    };
    Some(ServerSettings {
        listen: listen?.value,
        ..server
    })
}

pub(super) fn tls(mut table: Table<'_, '_>) -> Option<TlsSettings> {
    let chain = table.path("certificate_chain");
    let chain = table.needed("certificate_chain", chain);
    let key = table.path("private_key");
    let key = table.needed("private_key", key);
    let client = table.table("client").map(|mut table| {
        let roots = table.path("roots");
        let roots = table.needed("roots", roots);
        let names = table.texts("names");
        let names = table.needed("names", names)?;
        if names.is_empty() {
            table.error("`names` is empty, so no client could connect: add a name or remove it");
        }
        Some((roots?, names))
    });
    shared::tls(table.source, chain, key, client)
}

/// What `[tls]` comes to, for the other listeners: none without it, and `Some(None)` where it is wrong.
pub(super) type TlsOfApi = Option<Option<TlsSettings>>;

/// `tls` of `[health]` and of `[metrics]`: true for that of the API, or a table like `[tls]`.
fn auxiliary_tls(table: &mut Table<'_, '_>, of_api: &TlsOfApi) -> Option<TlsSettings> {
    match table.flag_or_table("tls")? {
        FlagOrTable::Flag(Item { value: false, .. }) => None,
        FlagOrTable::Flag(flag) => match of_api {
            Some(tls) => tls.as_ref().map(TlsSettings::without_client_certificates),
            None => {
                let wrong = "`tls = true` means the certificate of [tls], which is missing: add it, or name a \
                             certificate in a table `tls` here";
                table.error_at(&flag, wrong);
                None
            }
        },
        FlagOrTable::Table(own) => tls(own),
    }
}

/// `[metrics]`: where it listens.
pub(super) fn metrics(mut table: Table<'_, '_>, of_api: &TlsOfApi) -> (SocketAddr, Option<TlsSettings>) {
    let listen = table.address("listen").map_or(DEFAULT_METRICS, |item| item.value);
    (listen, auxiliary_tls(&mut table, of_api))
}

pub(super) fn health(mut table: Table<'_, '_>, of_api: &TlsOfApi) -> (HealthSettings, Option<TlsSettings>) {
    let standard = HealthSettings::default();
    let listen = table.address("listen").map(|item| item.value);
    let tls = auxiliary_tls(&mut table, of_api);
    if tls.is_some() && !table.is_present("listen") {
        table.error("`tls` requires `listen`: without it health is on the API's listener, with the TLS of [tls]");
    }
    let mut path = |key, standard: String| match table.text(key) {
        Some(path) if path.value.starts_with('/') => path.value,
        Some(path) => {
            table
                .source
                .error(path.span, format!("`{key}` must begin with a slash"));
            standard
        }
        None => standard,
    };
    let readiness_path = path("readiness_path", standard.readiness_path);
    let liveness_path = path("liveness_path", standard.liveness_path);
    for path in [&readiness_path, &liveness_path] {
        if !path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'))
        {
            table.error(format!("{path:?}: a URL path must not contain spaces or a query"));
        }
        if path.contains("/kms/xks/v1") {
            table.error(format!("{path:?} is a path of the API: choose another one"));
        }
    }
    if readiness_path == liveness_path {
        table.error("`readiness_path` and `liveness_path` must differ");
    }
    let words = [("any", ReadyWhen::Any), ("all", ReadyWhen::All)];
    let settings = HealthSettings {
        listen,
        readiness_path,
        liveness_path,
        ready_when: table.one_of("ready_when", &words).unwrap_or(standard.ready_when),
        interval: table.seconds("interval_secs", 1..=30).unwrap_or(standard.interval), // HLT-3
        hang_timeout: match table.seconds("hang_timeout_secs", 0..=3600) {
            Some(bound) => Some(bound).filter(|bound| !bound.is_zero()),
            None => standard.hang_timeout,
        },
    };
    (settings, tls)
}

pub(super) fn log(mut table: Table<'_, '_>) -> LogSettings {
    let standard = LogSettings::default();
    let levels = [
        ("error", Level::ERROR),
        ("warn", Level::WARN),
        ("info", Level::INFO),
        ("debug", Level::DEBUG),
        ("trace", Level::TRACE),
    ];
    let audits = [
        ("all", AuditLevel::All),
        ("failures", AuditLevel::Failures),
        ("off", AuditLevel::Off),
    ];
    let formats = [("human", LogFormat::Human), ("json", LogFormat::Json)];
    let outputs = [
        ("stderr", LogOutput::Stderr),
        ("stdout", LogOutput::Stdout),
        ("none", LogOutput::None),
    ];
    let rotations = [
        ("minutely", Rotation::Minutely),
        ("hourly", Rotation::Hourly),
        ("daily", Rotation::Daily),
        ("never", Rotation::Never),
    ];
    let file = table.table("file").and_then(|mut table| {
        let directory = table.folder("directory");
        let prefix = table.text("prefix");
        shared::check_file_prefix(table.source, prefix.as_ref());
        let rotation = table.one_of("rotation", &rotations).unwrap_or(Rotation::Daily);
        let keep = table.number("keep", 1..=100_000);
        if rotation == Rotation::Never && keep.is_some() {
            table.source.warn(
                table.span.clone(),
                "`keep` requires `rotation`: without it there is only one file",
            );
        }
        Some(LogFile {
            directory: table.needed("directory", directory)?.value,
            prefix: prefix.map_or_else(|| "xks-proxy.log".to_owned(), |prefix| prefix.value),
            rotation,
            keep,
        })
    });
    LogSettings {
        level: table.one_of("level", &levels).unwrap_or(standard.level),
        audit: table.one_of("audit", &audits).unwrap_or(standard.audit),
        format: table.one_of("format", &formats).unwrap_or(standard.format),
        output: table.one_of("output", &outputs).unwrap_or(standard.output),
        file,
    }
}
