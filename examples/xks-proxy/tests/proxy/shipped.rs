//! The settings files that come with the program, and the credentials that it makes.

use std::{collections::HashSet, fs, io, io::Write as _, os::unix::fs::PermissionsExt as _, process::Command};

use serde_json::{Value, json};
use xks_pkcs11_fixture::softhsm_path;

use crate::support::{
    Authority, Leaf, PREFIX, SECRET_ACCESS_KEY, Server, Settings, Site, Token, body, credential, ended, key_store,
    program, quoted,
};

/// The file that explains every key, with files that exist in place of its examples. `with_comments`: and
/// with each key that it shows as a comment.
fn reference(with_comments: bool) -> (Settings, Token, String) {
    let (site, token) = (Site::new(&Leaf::SERVER), Token::new());
    let settings = site.settings();
    let folder = &settings.folder;
    folder.write("clients.pem", &Authority::root("Root of clients").pem());
    let made = ended(
        program()
            .args(["audit", "new-key"])
            .arg(folder.path().join("audit.key")),
    );
    assert_eq!(made.0, Some(0), "{made:?}");
    folder.write("tenant-a.secret", &format!("{SECRET_ACCESS_KEY}\n"));
    let mut text = fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../xks-server/settings/reference.toml"
    ))
    .unwrap();
    for (example, real) in [
        ("\"server-chain.pem\"", "\"chain.pem\"".to_owned()),
        ("\"server-key.pem\"", "\"key.pem\"".to_owned()),
        ("\"amazon-roots.pem\"", "\"clients.pem\"".to_owned()),
        ("\"development.key\"", "\"usable.key\"".to_owned()),
        ("\"/opt/nfast/toolkits/pkcs11/libcknfast.so\"", quoted(&softhsm_path())),
        ("\"/opt/other/libcknfast.so\"", quoted(&softhsm_path())),
        ("\"/etc/xks-proxy/passphrase\"", quoted(&token.pin)),
        ("\"/etc/xks-proxy/tenant-a.secret\"", "\"tenant-a.secret\"".to_owned()),
        ("\"/var/log/xks-proxy\"", "\"logs\"".to_owned()),
        ("\"/var/lib/xks-proxy/audit\"", "\"audit\"".to_owned()),
        (
            "#ciphertext_metadata = \"...\"",
            "#ciphertext_metadata = \"a2V5LXNldD0x\"".to_owned(),
        ),
    ] {
        assert!(text.contains(example), "{example} is not in the reference any more");
        text = text.replace(example, &real);
    }
    if !cfg!(feature = "cloud") {
        let start = text.find("[cloud]").unwrap();
        let length = text[start..].find("\n\n").unwrap();
        text.replace_range(start..start + length, "");
    }
    if !cfg!(feature = "cedar") {
        let start = text.find("[key_stores.cedar]").unwrap();
        text.truncate(start);
    }
    folder.write("policies.cedar", "permit(principal, action, resource);");
    folder.write("entities.json", "[]");
    let schema = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../xks-authorizer-cedar/src/xks.cedarschema"
    );
    fs::copy(schema, folder.path().join("xks.cedarschema")).unwrap();
    if with_comments {
        // A store is one of both.
        let file = "file = \"/var/lib/xks-proxy/state.db\"";
        assert!(text.contains(file));
        text = text.replace(file, "");
        let password = folder.write("database.password", "a password\n");
        fs::set_permissions(password, fs::Permissions::from_mode(0o600)).unwrap();
        folder.write("aws-roots.pem", &Authority::root("Root of AWS").pem());
        folder.write("database-ca.pem", &Authority::root("Root of databases").pem());
        // An empty list stands for "no condition", which is written by leaving the key out.
        let is_shown = |line: &str| line.starts_with('#') && line.contains(" = ") && !line.contains("= []");
        let lines = text.lines().map(|line| match is_shown(line) {
            true => line.trim_start_matches('#'),
            false => line,
        });
        text = lines.collect::<Vec<_>>().join("\n");
    }
    (settings, token, text)
}

fn check_reference(settings: &Settings, text: &str) -> (Option<i32>, String) {
    let file = settings.folder.write("reference.toml", text);
    let (code, printed, _) = ended(
        program()
            .arg("check")
            .arg(file)
            .env("XKS_PROXY_PASSPHRASE", "a passphrase")
            .env("XKS_PROXY_DEVELOPMENT_SECRET", SECRET_ACCESS_KEY),
    );
    (code, printed)
}

/// What the reference shows is legal.
#[test]
fn the_reference_passes() {
    let (settings, _token, text) = reference(false);
    let (code, printed) = check_reference(&settings, &text);
    assert_eq!(code, Some(0), "{printed}");
}

/// Each key that the reference explains exists, in its table, and takes the default or example that is shown.
#[test]
fn the_reference_knows_only_keys_that_exist() {
    let (settings, _token, text) = reference(true);
    let (_, printed) = check_reference(&settings, &text);
    let errors: Vec<_> = printed.lines().filter(|line| line.contains(": error: ")).collect();
    assert_eq!(errors, Vec::<&str>::new());
}

/// The files to begin with are legal, once what they name is there.
#[test]
fn the_first_settings_of_a_user_pass() {
    for text in [
        include_str!("../../settings/softhsm.toml"),
        include_str!("../../settings/nshield.toml"),
    ] {
        let settings = Site::new(&Leaf::SERVER).settings();
        let folder = &settings.folder;
        for (name, text) in [
            (
                "server-chain.pem",
                fs::read_to_string(settings.file("chain.pem")).unwrap(),
            ),
            ("server-key.pem", fs::read_to_string(settings.file("key.pem")).unwrap()),
            ("pin", "1234\n".to_owned()),
            ("passphrase", String::new()),
            ("softhsm.secret", SECRET_ACCESS_KEY.to_owned()),
            ("tenant-a.secret", SECRET_ACCESS_KEY.to_owned()),
        ] {
            folder.write(name, &text);
        }
        let module = text.lines().find_map(|line| line.strip_prefix("module = ")).unwrap();
        fs::write(settings.path(), text.replace(module, &quoted(&softhsm_path()))).unwrap();
        let (code, printed, _) = ended(program().arg("check").arg(settings.path()));
        assert_eq!(code, Some(0), "{printed}");
        assert!(printed.ends_with("0 errors, 0 warnings\n"), "{printed}");
    }
}

/// systemd knows every key of the unit, and rates what is left open to an attacker who took over the process.
#[test]
fn the_unit_is_rated_as_hardened() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/xks-proxy.service");
    let mut command = Command::new("systemd-analyze");
    command.args(["security", "--no-pager", "--offline=true", "--threshold=13", unit]);
    let rated = match command.env("LC_ALL", "C").output() {
        Ok(rated) => rated,
        Err(error) => {
            let _ = writeln!(io::stderr(), "systemd-analyze did not rate the unit: {error}");
            return;
        }
    };
    let (table, complaints) = (
        String::from_utf8_lossy(&rated.stdout),
        String::from_utf8_lossy(&rated.stderr),
    );
    if complaints.contains("unrecognized option") {
        let _ = writeln!(
            io::stderr(),
            "systemd-analyze is too old to rate the unit: {complaints}"
        );
        return;
    }
    assert!(rated.status.success(), "{complaints}{table}");
    // What systemd before 253 does not know has another line above it.
    let unknown = complaints.lines().filter(|line| !line.contains("notify-reload"));
    assert_eq!(unknown.collect::<Vec<_>>(), Vec::<&str>::new());
}

/// Whatever stops the server waits for longer than it takes to end by default, with three tokens.
#[test]
fn the_unit_waits_for_the_end() {
    let reference = include_str!("../../../../xks-server/settings/reference.toml");
    let seconds = |text: &str, key: &str| -> u64 {
        let (_, rest) = text.split_once(key).expect(key);
        let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
        number.parse().expect(key)
    };
    let longest = seconds(reference, "#drain_delay_secs = ") + seconds(reference, "#drain_timeout_secs = ") + 3 * 5;
    let unit = seconds(include_str!("../../xks-proxy.service"), "\nTimeoutStopSec=");
    assert!(unit > longest, "TimeoutStopSec={unit}, and it may take {longest} s");
    for (guide, before) in [
        (include_str!("../../Containerfile"), "give it "),
        (include_str!("../../README.md"), "`/livez` and `/ping`, and give it "),
        (
            include_str!("../../../../docs/balancers.md"),
            "`TimeoutStopSec` of the systemd unit (",
        ),
    ] {
        assert_eq!(seconds(&guide.replace('\n', " "), before), unit);
    }
}

/// CON-1, SIG-6: a credential that the settings take, and the console too.
#[test]
fn a_new_credential_is_good_for_settings_and_console() {
    let mut seen = HashSet::new();
    for prefix in [PREFIX, ""] {
        let mut command = program();
        command.arg("new-credential");
        if !prefix.is_empty() {
            command.args(["--uri-path-prefix", prefix]);
        }
        let (code, out, log) = ended(&mut command);
        assert_eq!(code, Some(0), "{log}");
        let lines = |part: &str| {
            out.lines()
                .filter(|line| line.contains(part))
                .collect::<Vec<_>>()
                .join("\n")
        };
        let keys = format!("{}\n{}\n", lines("access_key_id = "), lines("secret_access_key = "));
        let parsed: toml::Table = keys.parse().unwrap();
        let text = |key: &str| parsed[key].as_str().unwrap().to_owned();
        let (id, secret) = (text("access_key_id"), text("secret_access_key"));
        let json = &out[out.find('{').unwrap()..=out.rfind('}').unwrap()];
        let json: Value = serde_json::from_str(json).unwrap();
        assert_eq!(json["XksProxyUriPath"], format!("{prefix}/kms/xks/v1"));
        assert_eq!(json["XksProxyAuthenticationCredential"]["AccessKeyId"], id);
        assert_eq!(json["XksProxyAuthenticationCredential"]["RawSecretAccessKey"], secret);
        assert!(seen.insert(id.clone()) && seen.insert(secret.clone()), "not new");

        let settings = Settings::new().key_stores(&key_store(prefix, "all_keys = true", &[credential(&id, &secret)]));
        let server = Server::start(&settings);
        let user = format!("{id}:{secret}");
        let answer = server.curl_of(prefix).call_as(&user, "health", &body(&json!({})));
        assert_eq!(answer.0, 200, "{answer:?}");
    }
}
