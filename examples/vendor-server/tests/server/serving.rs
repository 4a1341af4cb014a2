//! The vendor's backend with all that the server has for every backend.

use std::time::Duration;

use kms_double::wire::{Client, Credential, Endpoint, Http, Tls};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::site::{Server, Site, get, program, text};

const ACCESS_KEY_ID: &str = "BETWEEN2TENAND3TENCHARACTERS";
const SECRET: &str = "PleaseReplaceThisWithSomeSecretOfLength43To64";
const MASTER_KEY: &str = "one master key of more than 32 characters";

/// With two key stores on one backend, the second of which takes a request a second.
fn settings(keys: &str) -> String {
    let store = |prefix: &str, more: &str| {
        format!(
            r#"
            [[key_stores]]
            uri_path_prefix = "{prefix}"
            regions = ["us-east-1"]
            all_keys = true
            {more}
            [[key_stores.credentials]]
            access_key_id = "{ACCESS_KEY_ID}"
            secret_access_key = "{SECRET}"
            "#
        )
    };
    format!(
        r#"
        [server]
        listen = "127.0.0.1:0"
        budget_ms = 30000
        drain_delay_secs = 0
        [tls]
        certificate_chain = "chain.pem"
        private_key = "key.pem"
        [health]
        listen = "127.0.0.1:0"
        [metrics]
        listen = "127.0.0.1:0"
        [reload]
        watch_secs = 0
        [backends.vault]
        kind = "acme"
        master_key_file = "master.txt"
        keys = {keys}
        {}{}"#,
        store("/acme-store", ""),
        store(
            "/acme-store-limited",
            "requests_per_second = 1\nburst = 1\nqueue_ms = 0"
        )
    )
}

fn client(site: &Site, server: &Server, prefix: &str, http: Http) -> Client {
    let url = server.fact("address").replace("127.0.0.1", "localhost");
    let credential = Credential::new(ACCESS_KEY_ID, SECRET, "us-east-1");
    let endpoint = Endpoint::builder(format!("{url}{prefix}/kms/xks/v1"), credential)
        .tls(Tls::default().roots(site.path("root.pem")))
        .http(http)
        .timeout(Duration::from_secs(30))
        .connect_timeout(Duration::from_secs(30));
    Client::new(endpoint.build().unwrap())
}

fn body(more: Value) -> Vec<u8> {
    let mut body = json!({
        "requestMetadata": {
            "awsPrincipalArn": "arn:aws:iam::123456789012:user/Alice",
            "kmsKeyArn": "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "kmsOperation": "Encrypt",
            "kmsRequestId": "a-request"
        }
    });
    let Value::Object(more) = more else { panic!("{more}") };
    body.as_object_mut().unwrap().extend(more);
    body.to_string().into_bytes()
}

async fn encrypt(client: &Client, key: &str) -> Result<Value, String> {
    let body = body(json!({
        "plaintext": "SGVsbG8gV29ybGQh",
        "encryptionAlgorithm": "AES_GCM",
        "ciphertextDataIntegrityValueAlgorithm": "SHA_256"
    }));
    let answer = client.post(&format!("keys/{key}/encrypt"), &body).await.unwrap();
    answer.error_name().map_or_else(|| Ok(answer.json().unwrap()), Err)
}

async fn decrypt(client: &Client, key: &str, sealed: &Value) -> Result<String, String> {
    let body = body(json!({
        "ciphertext": sealed["ciphertext"],
        "initializationVector": sealed["initializationVector"],
        "authenticationTag": sealed["authenticationTag"],
        "encryptionAlgorithm": "AES_GCM"
    }));
    let answer = client.post(&format!("keys/{key}/decrypt"), &body).await.unwrap();
    let plaintext = || answer.json().unwrap()["plaintext"].as_str().unwrap().to_owned();
    answer.error_name().map_or_else(|| Ok(plaintext()), Err)
}

fn serve(site: &Site, keys: &str) -> Server {
    site.write_certificates();
    site.write("master.txt", MASTER_KEY);
    site.write("settings.toml", &settings(keys));
    site.start()
}

/// TRN-3, TRN-7, SIG-7: real requests over TLS, before and after reloads.
#[tokio::test]
async fn a_vendors_backend_is_served_over_tls_and_reloaded() {
    let site = Site::new();
    let mut server = serve(&site, r#"["invoices", "payroll"]"#);
    let client = client(&site, &server, "/acme-store", Http::Two);
    let sealed = encrypt(&client, "invoices").await.unwrap();
    assert_eq!(decrypt(&client, "invoices", &sealed).await.unwrap(), "SGVsbG8gV29ybGQh");
    let health = get(server.fact("health"));
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");

    // A key that is taken out is refused; the other's ciphertexts stay.
    site.write("settings.toml", &settings(r#"["invoices"]"#));
    encrypt(&client, "payroll").await.unwrap();
    server.signal(Signal::HUP);
    server.wait_for("settings reloaded");
    assert_eq!(encrypt(&client, "payroll").await.unwrap_err(), "KeyNotFoundException");
    assert_eq!(decrypt(&client, "invoices", &sealed).await.unwrap(), "SGVsbG8gV29ybGQh");

    // A mistake in the vendor's table changes nothing.
    site.write("settings.toml", &settings("\"invoices\""));
    server.signal(Signal::HUP);
    server.wait_for("settings not reloaded");
    assert_eq!(decrypt(&client, "invoices", &sealed).await.unwrap(), "SGVsbG8gV29ybGQh");

    // What a file holds that the table names belongs to the settings.
    site.write("settings.toml", &settings(r#"["invoices"]"#));
    site.write("master.txt", &MASTER_KEY.replace("one", "two"));
    server.signal(Signal::HUP);
    server.wait_for("settings reloaded");
    let refused = decrypt(&client, "invoices", &sealed).await.unwrap_err();
    assert_eq!(refused, "InvalidCiphertextException");
    assert!(server.stop());
}

/// A backend whose settings stay as they were stays open: its counts go on.
#[tokio::test]
async fn a_reload_leaves_a_backend_open_whose_settings_stay() {
    let site = Site::new();
    let mut server = serve(&site, r#"["invoices"]"#);
    let client = client(&site, &server, "/acme-store", Http::One);
    let calls = |server: &Server| -> f64 {
        let metrics = get(server.fact("metrics"));
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("xks_acme_calls_total{backend=\"vault\"} "));
        line.unwrap_or_else(|| panic!("{metrics}")).parse().unwrap()
    };
    let before = calls(&server);
    encrypt(&client, "invoices").await.unwrap();
    let after = calls(&server);
    assert!(after > before, "{after} {before}");
    site.write(
        "settings.toml",
        &settings(r#"["invoices"]"#).replace("us-east-1", "us-east-2"),
    );
    server.signal(Signal::HUP);
    server.wait_for("settings reloaded");
    assert!(calls(&server) >= after);
    site.write("settings.toml", &settings(r#"["invoices", "payroll"]"#));
    server.signal(Signal::HUP);
    server.wait_for("settings reloaded");
    assert!(calls(&server) < after, "it was reopened");
    assert!(server.stop());
}

/// Limits hold for each key store, and each request is counted.
#[tokio::test]
async fn a_vendors_backend_is_limited_and_measured() {
    let site = Site::new();
    let server = serve(&site, r#"["invoices"]"#);
    let client = client(&site, &server, "/acme-store-limited", Http::Two);
    let mut throttled = 0;
    for _ in 0..50 {
        match encrypt(&client, "invoices").await {
            Ok(_) => {}
            Err(name) => {
                assert_eq!(name, "ThrottlingException");
                throttled += 1;
            }
        }
    }
    assert!(throttled > 0);
    let metrics = get(server.fact("metrics"));
    let counted = format!(
        r#"xks_requests_total{{key_store="/acme-store-limited",operation="Encrypt",outcome="ThrottlingException"}} {throttled}"#
    );
    assert!(metrics.contains(&counted), "{metrics}");
    assert!(metrics.contains("xks_backend_up{backend=\"vault\"} 1"), "{metrics}");
    assert!(server.stop());
}

/// The program has the vendor's name and version, a variable of that name, and no demo.
#[test]
fn the_program_is_the_vendors() {
    let version = program().arg("--version").output().unwrap();
    assert_eq!(
        text(&version.stdout),
        concat!("acme-proxy ", env!("CARGO_PKG_VERSION"), "\n")
    );
    let output = program().output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "acme-proxy: no settings: name a file with --config, or in the variable ACME_PROXY_SETTINGS_TOML\n"
    );
    let said = |variable: &str, value: &str| {
        let output = program().env(variable, value).output().unwrap();
        (output.status.code(), text(&output.stderr))
    };
    let (code, empty) = said("ACME_PROXY_SETTINGS_TOML", "");
    assert_eq!(code, Some(78), "{empty}");
    assert!(
        empty.ends_with(": ACME_PROXY_SETTINGS_TOML is empty: set it to the settings file\n"),
        "{empty}"
    );
    let (_, read) = said("ACME_PROXY_SETTINGS_TOML", "/nowhere/settings.toml");
    assert!(
        read.contains("cannot read the settings from /nowhere/settings.toml"),
        "{read}"
    );
    let (_, others) = said("XKS_PROXY_SETTINGS_TOML", "/nowhere/settings.toml");
    assert!(others.contains("no settings: name a file"), "{others}");
}
