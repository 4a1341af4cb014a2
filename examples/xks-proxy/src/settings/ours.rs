//! Our own format. `settings/reference.toml` beside the sources shows and explains every key.

use std::{collections::HashSet, env, net::SocketAddr, path::PathBuf, time::Duration};

use tracing::Level;
use xks_backend_pkcs11::{AppendedIv, Dispatch, IvSource, KeyLookup, Quirks, SlotSelector};
use xks_backend_soft::KeyMaterial;
use xks_core::{AadFraming, AccessKeyId, Fleet, KeyId, Limits, UriPathPrefix, Zeroizing};

use super::{
    AuditLevel, BackendKind, BackendSettings, CredentialSettings, FleetSettings, HealthSettings, KeyStoreSettings,
    LogFile, LogFormat, LogOutput, LogSettings, Pkcs11Settings, ReadyWhen, Rotation, Secret, SecretOrigin,
    ServerSettings, Settings, SoftSettings, TcpKeepalive, TestKeySetting, TlsSettings, TrafficLimits,
    authorization::authorization,
    reader::{Item, Table},
    shared::{self, TlsFiles, Unique, check_region, ciphertext_metadata, warn_of_small_limits},
};
use crate::with_causes;

/// A day, in seconds and in milliseconds: no time is longer.
const DAY: u64 = 24 * 60 * 60;
const DAY_MS: u64 = DAY * 1000;

pub(super) fn settings(mut root: Table<'_, '_>, module: Option<&PathBuf>) -> Option<Settings> {
    let environment = root.table("environment").map(environment).unwrap_or_default();
    let server = root.table("server");
    let server = root.needed("server", server).and_then(server_settings);
    let tls = root.table("tls").map(tls);
    let health = root.table("health").map(health).unwrap_or_default();
    let metrics = root.table("metrics").and_then(|mut table| {
        let listen = table.parsed("listen");
        table.needed("listen", listen).map(|item| item.value)
    });
    let log = root.table("log").map(log).unwrap_or_default();
    let watch = root.table("reload").map_or(Some(DEFAULT_WATCH), |mut table| {
        let watch = table.seconds("watch_secs", 0..=DAY).unwrap_or(DEFAULT_WATCH);
        (!watch.is_zero()).then_some(watch)
    });
    let budget = server.as_ref().map_or(ServerSettings::BUDGET, |server| server.budget);
    let backends = backends(&mut root, module, budget);
    let key_stores = key_stores(&mut root, &backends);
    Some(Settings {
        environment,
        server: server?,
        tls: match tls {
            Some(tls) => Some(tls?),
            None => None,
        },
        health,
        metrics,
        log,
        watch,
        backends,
        key_stores,
    })
}

pub(super) const DEFAULT_WATCH: Duration = Duration::from_secs(2);

fn environment(table: Table<'_, '_>) -> Vec<(String, String)> {
    let source = table.source;
    let variables = table.into_texts().into_iter().filter(|(name, value)| {
        let is_legal = !name.is_empty() && !name.contains(['=', '\0']) && !value.value.contains('\0');
        if !is_legal {
            source.error(
                value.span.clone(),
                format!("{name:?} is no name of a variable, or its value has a NUL"),
            );
        }
        is_legal
    });
    variables.map(|(name, value)| (name, value.value)).collect()
}

fn server_settings(mut table: Table<'_, '_>) -> Option<ServerSettings> {
    let listen = table.parsed::<SocketAddr>("listen");
    let listen = table.needed("listen", listen);
    let standard = ServerSettings::new(SocketAddr::from(([127, 0, 0, 1], 0)));
    let budget = table.milliseconds("budget_ms", 1..=DAY_MS).unwrap_or(standard.budget);
    if budget >= Duration::from_millis(250) {
        // TRN-8
        table
            .source
            .warn(table.span.clone(), "`budget_ms`: KMS gives up after 250 ms");
    }
    let keepalive = table.table("tcp_keepalive").and_then(|mut table| {
        let idle = table.seconds("idle_secs", 1..=DAY);
        let interval = table.seconds("interval_secs", 1..=DAY);
        let retries = table.number("retries", 1..=100);
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
        budget,
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

fn tls(mut table: Table<'_, '_>) -> Option<TlsSettings> {
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
            table.error("`names` is empty: no client could connect");
        }
        Some((roots?, names))
    });
    let files = TlsFiles {
        certificate_chain: chain?,
        private_key: key?,
        client: match client {
            Some(client) => Some(client?),
            None => None,
        },
    };
    files.load(table.source)
}

fn health(mut table: Table<'_, '_>) -> HealthSettings {
    let standard = HealthSettings::default();
    let listen = table.parsed("listen").map(|item| item.value);
    let mut path = |key, standard: String| match table.text(key) {
        Some(path) if path.value.starts_with('/') => path.value,
        Some(path) => {
            table.source.error(path.span, format!("`{key}` begins with a slash"));
            standard
        }
        None => standard,
    };
    let readiness_path = path("readiness_path", standard.readiness_path);
    let liveness_path = path("liveness_path", standard.liveness_path);
    if readiness_path == liveness_path {
        table.error("`readiness_path` and `liveness_path` are the same");
    }
    let words = [("any", ReadyWhen::Any), ("all", ReadyWhen::All)];
    HealthSettings {
        listen,
        readiness_path,
        liveness_path,
        ready_when: table.one_of("ready_when", &words).unwrap_or(standard.ready_when),
        interval: table.seconds("interval_secs", 1..=30).unwrap_or(standard.interval), // HLT-3
    }
}

fn log(mut table: Table<'_, '_>) -> LogSettings {
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
        let directory = table.path("directory");
        let prefix = table.text("prefix").map(|item| item.value);
        let rotation = table.one_of("rotation", &rotations).unwrap_or(Rotation::Daily);
        let keep = table.number("keep", 1..=100_000);
        Some(LogFile {
            directory: table.needed("directory", directory)?.value,
            prefix: prefix.unwrap_or_else(|| "xks-proxy.log".to_owned()),
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

fn backends(root: &mut Table<'_, '_>, module: Option<&PathBuf>, budget: Duration) -> Vec<BackendSettings> {
    let table = root.table("backends");
    let tables = root
        .needed("backends", table)
        .map(Table::into_tables)
        .unwrap_or_default();
    let kinds = ["pkcs11", "soft", "fleet"].map(|kind| (kind, kind));
    let modules = tables.iter().filter(|(_, table)| table.has("module")).count();
    let source = root.source;
    if module.is_some() && modules > 1 {
        let doubt = format!(
            "{} is not heeded: it could be the module of several",
            super::MODULE_VARIABLE
        );
        source.warn(root.span.clone(), doubt);
    }
    let module = module.filter(|_| modules <= 1);
    let mut spans = Vec::new();
    let mut backends = Vec::new();
    for (name, mut table) in tables {
        let span = table.span.clone();
        let kind = table.one_of("kind", &kinds);
        let kind = match table.needed("kind", kind) {
            Some("pkcs11") => pkcs11(&mut table, module, budget).map(BackendKind::Pkcs11),
            Some("soft") => soft(&mut table).map(BackendKind::Soft),
            Some(_) => fleet(&mut table).map(BackendKind::Fleet),
            None => {
                table.forget();
                None
            }
        };
        if let Some(kind) = kind {
            backends.push(BackendSettings { name, kind });
            spans.push(span);
        }
    }
    let kinds: std::collections::HashMap<_, _> = backends
        .iter()
        .map(|backend| (backend.name.as_str(), &backend.kind))
        .collect();
    for (backend, span) in backends.iter().zip(spans) {
        let BackendKind::Fleet(fleet) = &backend.kind else {
            continue;
        };
        let mut seen = HashSet::new();
        for member in fleet.members.iter().chain(&fleet.standby) {
            let wrong = match kinds.get(member.as_str()) {
                _ if source.has_errors() => continue, // it may be one that was wrong
                Some(BackendKind::Fleet(_)) => format!("{member:?} is a fleet; a fleet's members are not"),
                Some(_) if seen.insert(member) => continue,
                Some(_) => format!("{member:?} is named twice"),
                None => format!("there is no [backends.{member}]"),
            };
            source.error(span.clone(), wrong);
        }
    }
    backends
}

fn pkcs11(table: &mut Table<'_, '_>, module: Option<&PathBuf>, budget: Duration) -> Option<Pkcs11Settings> {
    let source = table.source;
    let of_file = table.path("module");
    let module = shared::module(source, of_file, module);
    let module = table.needed("module", module);
    let mut quirks = table
        .parsed::<Quirks>("vendor")
        .map_or(Quirks::STANDARD, |item| item.value);
    let iv_sources = [
        ("token-random", IvSource::TokenRandom),
        ("system-random", IvSource::SystemRandom),
        ("written-back", IvSource::WrittenBack),
        ("appended-12", IvSource::Appended(AppendedIv::Bytes12)),
        ("appended-16", IvSource::Appended(AppendedIv::Bytes16)),
    ];
    if let Some(iv_source) = table.one_of("iv_source", &iv_sources) {
        quirks = quirks.with_iv_source(iv_source);
    }
    let slots = [
        table
            .text("token_label")
            .map(|label| SlotSelector::TokenLabel(label.value)),
        table
            .text("token_serial")
            .map(|serial| SlotSelector::Serial(serial.value)),
        table
            .number("slot_index", 0..=u64::from(u32::MAX))
            .map(SlotSelector::Index),
    ];
    let mut slots = slots.into_iter().flatten();
    let slot = slots.next().unwrap_or(SlotSelector::First);
    if slots.next().is_some() {
        table.error("name the token by one of `token_label`, `token_serial` and `slot_index`");
    }
    let pin = one_secret(table, ["pin_file", "pin_env", "pin"]).map(|(pin, _)| shared::secret(&pin.value));
    let lookups = [("label", KeyLookup::Label), ("id", KeyLookup::Id)];
    let deadline = table.milliseconds("deadline_ms", 1..=DAY_MS);
    if deadline.is_some_and(|deadline| deadline > budget) {
        table.error("`deadline_ms` is more than the budget: nobody would wait for the token so long");
    }
    let label = table.text("test_key").map(|label| label.value);
    let test_key = match (label, table.flag("no_test_key").unwrap_or(false)) {
        (Some(_), true) => {
            table.error("`test_key` and `no_test_key` are both set");
            TestKeySetting::None
        }
        (None, true) => TestKeySetting::None,
        (Some(label), false) => TestKeySetting::Label(label),
        (None, false) => TestKeySetting::Session,
    };
    let settings = Pkcs11Settings {
        module: PathBuf::new(),
        quirks,
        slot,
        pin,
        key_lookup: table.one_of("key_lookup", &lookups).unwrap_or_default(),
        sessions: table.number("sessions", 1..=10_000).unwrap_or(30),
        queue: table.number("queue", 0..=1_000_000),
        deadline: deadline.unwrap_or_else(|| default_deadline(budget)),
        dispatch: match table.flag("inline") {
            Some(true) => Dispatch::Inline,
            _ => Dispatch::Threads,
        },
        test_key,
    };
    Some(Pkcs11Settings {
        module: module?,
        ..settings
    })
}

/// The backend knows better than the server why it took so long, so it is the one to say so.
pub(super) fn default_deadline(budget: Duration) -> Duration {
    budget * 9 / 10
}

fn soft(table: &mut Table<'_, '_>) -> Option<SoftSettings> {
    let source = table.source;
    let keys = table.table("keys");
    let keys = table
        .needed("keys", keys)?
        .into_texts()
        .into_iter()
        .filter_map(|(id, file)| {
            let path = Item {
                value: source.path(&file.value),
                span: file.span,
            };
            let content = source.read(&path);
            let id = id
                .parse::<KeyId>()
                .map_err(|error| source.error(path.span.clone(), format!("{id:?}: {error}")));
            let content = Secret(content?);
            if let Err(error) = KeyMaterial::from_file(&path.value) {
                source.error(path.span, with_causes(&error));
                return None;
            }
            Some((id.ok()?, path.value, content))
        });
    Some(SoftSettings { keys: keys.collect() })
}

fn fleet(table: &mut Table<'_, '_>) -> Option<FleetSettings> {
    let names = |items: Vec<Item<String>>| items.into_iter().map(|item| item.value).collect::<Vec<_>>();
    let members = table.texts("members").map(names);
    let standby = table.texts("standby").map(names).unwrap_or_default();
    let attempt = table
        .milliseconds("attempt_ms", 1..=DAY_MS)
        .unwrap_or(Fleet::DEFAULT_ATTEMPT);
    let budget = table
        .milliseconds("budget_ms", 1..=DAY_MS)
        .unwrap_or(Fleet::DEFAULT_BUDGET);
    let members = table.needed("members", members)?;
    if members.is_empty() {
        table.error("a fleet has at least one member");
    }
    Some(FleetSettings {
        members,
        standby,
        attempt,
        budget,
    })
}

fn key_stores(root: &mut Table<'_, '_>, backends: &[BackendSettings]) -> Vec<KeyStoreSettings> {
    let tables = root.tables("key_stores");
    if tables.is_empty() {
        root.needed("key_stores", None::<()>);
    }
    let mut unique = Unique::default();
    tables
        .into_iter()
        .filter_map(|table| key_store(table, backends, &mut unique))
        .collect()
}

fn key_store(mut table: Table<'_, '_>, backends: &[BackendSettings], unique: &mut Unique) -> Option<KeyStoreSettings> {
    let source = table.source;
    let prefix = table.parsed::<UriPathPrefix>("uri_path_prefix");
    let prefix = table.needed("uri_path_prefix", prefix);
    let regions = table.texts("regions");
    let regions = table.needed("regions", regions).unwrap_or_default();
    regions.iter().for_each(|region| check_region(source, region));
    if regions.is_empty() && !source.has_errors() {
        table.error("name at least one AWS Region whose KMS may call");
    }
    let backend = backend_of(&mut table, backends);
    let keys = table.parsed_list::<KeyId>("keys");
    let all_keys = table.flag("all_keys").unwrap_or(false);
    match (keys.is_some() || table.is_present("keys"), all_keys) {
        (true, true) => table.error("`keys` and `all_keys` are both there"),
        (false, false) => table.error("say which keys belong to it: `keys = [...]`, or `all_keys = true`"),
        _ => {}
    }
    let credential_tables = table.tables("credentials");
    if credential_tables.is_empty() {
        table.needed("credentials", None::<()>);
    }
    let credentials: Vec<_> = credential_tables.into_iter().filter_map(credential).collect();
    unique.check(&table, prefix.as_ref(), &credentials, keys.as_deref());
    let framings = [("spec", AadFraming::Spec), ("digest", AadFraming::Digest)];
    let aad_framing = table.one_of("aad_framing", &framings).unwrap_or_default();
    let metadata = table
        .text("ciphertext_metadata")
        .and_then(|text| ciphertext_metadata(source, text));
    let kind = backends
        .iter()
        .find(|other| Some(&other.name) == backend.as_ref())
        .map(|backend| &backend.kind);
    if metadata.is_some() && matches!(kind, Some(BackendKind::Soft(_))) {
        table.error("`ciphertext_metadata`: software keys have metadata of their own");
    }
    let limits = limits(&mut table);
    let traffic = traffic(&mut table);
    let authorization = authorization(&mut table);
    Some(KeyStoreSettings {
        prefix: prefix?.value,
        regions: regions.into_iter().map(|region| region.value).collect(),
        backend: backend?,
        keys: keys
            .filter(|_| !all_keys)
            .map(|keys| keys.into_iter().map(|key| key.value).collect()),
        credentials: credentials.into_iter().map(|credential| credential.value).collect(),
        aad_framing,
        ciphertext_metadata: metadata,
        limits,
        traffic,
        authorization: authorization?,
    })
}

/// The one that is named, or the only one that is nobody's member.
fn backend_of(table: &mut Table<'_, '_>, backends: &[BackendSettings]) -> Option<String> {
    if let Some(name) = table.text("backend") {
        if !backends.iter().any(|backend| backend.name == name.value) && !table.source.has_errors() {
            table
                .source
                .error(name.span, format!("there is no [backends.{}]", name.value));
        }
        return Some(name.value);
    }
    let is_member = |name: &String| {
        backends.iter().any(|backend| match &backend.kind {
            BackendKind::Fleet(fleet) => fleet.members.contains(name) || fleet.standby.contains(name),
            _ => false,
        })
    };
    let mut eligible = backends.iter().filter(|backend| !is_member(&backend.name));
    match (eligible.next(), eligible.next()) {
        (Some(only), None) => Some(only.name.clone()),
        _ => table.needed("backend", None),
    }
}

fn credential(mut table: Table<'_, '_>) -> Option<Item<CredentialSettings>> {
    let id = table.parsed::<AccessKeyId>("access_key_id");
    let id = table.needed("access_key_id", id);
    let keys = ["secret_access_key_file", "secret_access_key_env", "secret_access_key"];
    let is_there = keys.iter().any(|key| table.has(key));
    let secret = one_secret(&mut table, keys);
    if !is_there {
        table.error(format!("one of `{}` is missing", keys.join("`, `")));
    }
    let (secret, origin) = secret?;
    shared::credential(table.source, id?, secret, origin)
}

/// A secret from a file, from a variable, or as it stands here: one of the three.
fn one_secret(table: &mut Table<'_, '_>, keys: [&'static str; 3]) -> Option<(Item<Zeroizing<String>>, SecretOrigin)> {
    let source = table.source;
    let [file, variable, here] = keys;
    let (file, variable, here) = (table.path(file), table.text(variable), table.text(here));
    if [file.is_some(), variable.is_some(), here.is_some()]
        .iter()
        .filter(|is_there| **is_there)
        .count()
        > 1
    {
        table.error(format!("more than one of `{}`", keys.join("`, `")));
    }
    if let Some(file) = file {
        let value = source.read_text(&file)?;
        return Some((Item { value, span: file.span }, SecretOrigin::File(file.value)));
    }
    if let Some(variable) = variable {
        return match env::var(&variable.value) {
            Ok(secret) => {
                let secret = Item {
                    value: Zeroizing::new(secret),
                    span: variable.span,
                };
                Some((secret, SecretOrigin::Environment(variable.value)))
            }
            Err(_) => {
                let wrong = format!(
                    "the environment variable {} is not set, or holds no UTF-8",
                    variable.value
                );
                source.error(variable.span, wrong);
                None
            }
        };
    }
    here.map(|secret| {
        let secret = Item {
            value: Zeroizing::new(secret.value),
            span: secret.span,
        };
        (secret, SecretOrigin::Settings)
    })
}

fn limits(table: &mut Table<'_, '_>) -> Limits {
    let mut limits = Limits::default();
    if let Some(bytes) = table.number("max_plaintext_bytes", 1..=16_777_216) {
        limits = limits.with_plaintext(bytes);
    }
    if let Some(bytes) = table.number("max_aad_bytes", 1..=65_535) {
        limits = limits.with_aad(bytes);
    }
    warn_of_small_limits(table, limits);
    limits
}

fn traffic(table: &mut Table<'_, '_>) -> TrafficLimits {
    let rate = table.number::<u32>("requests_per_second", 1..=10_000_000);
    let burst = table.number::<u32>("burst", 1..=10_000_000);
    if burst.is_some() && rate.is_none() {
        table.error("`burst` needs `requests_per_second`");
    }
    TrafficLimits {
        rate: rate.map(|rate| (rate, burst.unwrap_or(rate))),
        concurrent: table.number("concurrent_requests", 1..=1_000_000),
    }
}
