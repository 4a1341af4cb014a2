//! Key stores, audit sinks and metrics of a program's own, beside those of the settings file: the server
//! within this process, which ends with it. So this is one test.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]
#![cfg(unix)]

#[path = "server/site.rs"]
#[expect(dead_code, reason = "the server is not a program of its own here")]
mod site;

use std::{
    net::TcpListener,
    process::ExitCode,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use kms_double::wire::{Client, Credential as Signer, Endpoint};
use rustix::process::{Signal, getpid, kill_process};
use xks_backend_soft::SoftBackend;
use xks_core::{
    Credential, KeyStore,
    audit::{AuditRecord, AuditSink},
    key_store::UriPathPrefix,
};
use xks_server::{KeyStoreSource, Server, SourceError, kinds};

use self::site::{Site, get};

const ACCESS_KEY_ID: &str = "BETWEEN2TENAND3TENCHARACTERS";
const SECRET: &str = "PleaseReplaceThisWithSomeSecretOfLength43To64";

#[derive(Clone, Default)]
struct Paths(Arc<Mutex<Vec<String>>>);

impl AuditSink for Paths {
    fn record(&self, record: &AuditRecord<'_>) {
        let store = record.key_store.map(|prefix| prefix.as_str().to_owned());
        self.0.lock().unwrap().extend(store);
    }
}

fn settings(ports: [u16; 2], prefixes: &[&str]) -> String {
    let [api, metrics] = ports;
    let mut text = format!(
        "[server]\nlisten = \"127.0.0.1:{api}\"\ndrain_delay_secs = 0\n[metrics]\nlisten = \"127.0.0.1:{metrics}\"\n\
         [reload]\nwatch_secs = 0\n[log]\noutput = \"none\"\n[backends.keys]\nkind = \"soft\"\nkeys = {{ usable = \"usable.key\" }}\n"
    );
    for prefix in prefixes {
        text.push_str(&format!(
            "[[key_stores]]\nuri_path_prefix = \"{prefix}\"\nregions = [\"us-east-1\"]\nall_keys = true\n\
             [[key_stores.credentials]]\naccess_key_id = \"{ACCESS_KEY_ID}\"\nsecret_access_key = \"{SECRET}\"\n"
        ));
    }
    text
}

/// A key store of a source of the program's own.
fn key_store(prefix: &str, secret: &str) -> KeyStore {
    KeyStore::builder(prefix.parse().unwrap(), Arc::new(SoftBackend::new()))
        .region("us-east-1".parse().unwrap())
        .credential(Credential::new(ACCESS_KEY_ID, secret.to_owned()).unwrap())
        .all_keys_of_backend()
        .build()
        .unwrap()
}

/// The status of a signed health request.
async fn status(port: u16, prefix: &str) -> u16 {
    let signer = Signer::new(ACCESS_KEY_ID, SECRET, "us-east-1");
    let endpoint = Endpoint::builder(format!("http://127.0.0.1:{port}{prefix}/kms/xks/v1"), signer)
        .timeout(Duration::from_secs(30))
        .build()
        .unwrap();
    let body = br#"{"requestMetadata":{"kmsRequestId":"a-request","kmsOperation":"KmsHealthCheck"}}"#;
    Client::new(endpoint).post("health", body).await.unwrap().status
}

/// How many reloads ended so.
fn reloads(port: u16, result: &str) -> u64 {
    let metrics = get(&format!("http://127.0.0.1:{port}/metrics"));
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(&format!("xks_reloads_total{{result=\"{result}\"}} ")));
    line.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap()
}

async fn reload(port: u16, result: &str) {
    let before = reloads(port, result);
    kill_process(getpid(), Signal::HUP).unwrap();
    while reloads(port, result) == before {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn taken(result: Result<impl Sized, SourceError>) -> &'static str {
    match result {
        Err(SourceError::PrefixTaken { owner, .. }) => owner,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it is taken"),
    }
}

/// SIG-7, URI-4: a reload changes the file's key stores alone; a prefix belongs to one source.
#[tokio::test]
async fn sources_live_beside_the_settings_file() {
    let site = Site::new();
    let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let ports = [0, 1].map(|place: usize| free[place].local_addr().unwrap().port());
    drop(free);
    site.write("usable.key", "32 bytes that are no secret key.");
    site.write("settings.toml", &settings(ports, &["/from-file", "/from-file-too"]));
    let (paths, asked) = (Paths::default(), Arc::new(AtomicUsize::new(0)));
    let counting = Arc::clone(&asked);
    let (gives, sources) = mpsc::channel::<KeyStoreSource>();
    let give = move |gives: &mpsc::Sender<KeyStoreSource>, source| gives.send(source).unwrap();
    let (one, two) = (gives.clone(), gives);
    let server = Server::new("acme-proxy", "1.0.0")
        .backend("soft", kinds::SoftSettings::read)
        .audit(paths.clone())
        .metrics(move |samples| {
            counting.fetch_add(1, Ordering::Relaxed);
            samples.gauge("acme_tenants", "Tenants of the vault", &[], 7.0);
        })
        .key_stores("tenants", move |source| give(&one, source))
        .key_stores("partners", move |source| give(&two, source));
    let file = site.path("settings.toml");
    let serving = thread::spawn(move || server.serve(&file));
    let (first, second) = (sources.recv().unwrap(), sources.recv().unwrap());
    let [api, metrics] = ports;

    // Beside the file's.
    let tenant: UriPathPrefix = "/tenant".parse().unwrap();
    assert!(first.insert(key_store("/tenant", SECRET)).unwrap().is_none());
    assert_eq!(status(api, "/tenant").await, 200);
    assert_eq!(status(api, "/from-file-too").await, 200);
    // A prefix belongs to one source.
    assert_eq!(
        taken(first.insert(key_store("/from-file", SECRET))),
        "the settings file"
    );
    assert_eq!(taken(first.remove(&"/from-file".parse().unwrap())), "the settings file");
    let owner = taken(second.insert(key_store("/tenant", SECRET)));
    assert!(["tenants", "partners"].contains(&owner), "{owner}");
    taken(second.remove(&tenant));
    // An access key id has one secret, whatever the source.
    let other = key_store("/another", &SECRET.replace("Please", "Kindly"));
    assert!(matches!(first.insert(other), Err(SourceError::KeyStore(_))));
    assert_eq!(status(api, "/another").await, 404);

    // A reload takes away what is the file's, and leaves what is not.
    site.write("settings.toml", &settings(ports, &["/from-file"]));
    reload(metrics, "success").await;
    assert_eq!(status(api, "/from-file-too").await, 404);
    assert_eq!(status(api, "/tenant").await, 200);
    // One that wants a source's prefix changes nothing.
    site.write("settings.toml", &settings(ports, &["/tenant"]));
    reload(metrics, "failure").await;
    assert_eq!(status(api, "/from-file").await, 200);
    // What the file has given up is free, and what a source has given up is the file's to take.
    assert!(second.insert(key_store("/from-file-too", SECRET)).unwrap().is_none());
    assert!(first.remove(&tenant).unwrap().is_some());
    assert!(first.remove(&tenant).unwrap().is_none());
    assert_eq!(status(api, "/tenant").await, 404);
    reload(metrics, "success").await;
    assert_eq!(status(api, "/tenant").await, 200);
    assert_eq!(status(api, "/from-file-too").await, 200);

    // The program's own sink and metrics.
    let recorded = paths.0.lock().unwrap().clone();
    assert!(
        recorded.iter().filter(|store| *store == "/tenant").count() >= 3,
        "{recorded:?}"
    );
    let text = get(&format!("http://127.0.0.1:{metrics}/metrics"));
    assert!(text.contains("xks_acme_tenants 7"), "{text}");
    assert!(asked.load(Ordering::Relaxed) > 0);
    kill_process(getpid(), Signal::TERM).unwrap();
    let exit = tokio::task::spawn_blocking(|| serving.join().unwrap()).await.unwrap();
    assert_eq!(format!("{exit:?}"), format!("{:?}", ExitCode::SUCCESS));
}
