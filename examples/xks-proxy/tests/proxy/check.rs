//! `check`, and what it says of files with mistakes.

use std::fs;

use serde_json::Value;
use xks_pkcs11_fixture::softhsm_path;

use crate::support::{
    ACCESS_KEY_ID, Authority, Leaf, PREFIX, SECRET_ACCESS_KEY, Server, Settings, Site, Token, body, check, credential,
    ended, key_store, program, quoted, usual_credential,
};

/// The lines `FILE:LINE: error: text` and `FILE:LINE: warning: text` of one file, without its name.
fn problems(settings: &Settings, printed: &str) -> Vec<String> {
    let file = format!("{}:", settings.path().display());
    let problems = printed.lines().filter_map(|line| line.strip_prefix(&file));
    problems.map(str::to_owned).collect()
}

#[test]
fn a_good_file_passes() {
    let settings = Settings::new().server("");
    assert_eq!(check(&settings), (Some(0), "0 errors, 0 warnings\n".to_owned()));
}

/// TRN-8: a budget that KMS does not wait for is said, and is no error.
#[test]
fn a_doubt_is_a_warning_with_its_line() {
    let settings = Settings::new().server("budget_ms = 250");
    let (code, printed) = check(&settings);
    let problems = problems(&settings, &printed);
    assert_eq!((code, problems.len()), (Some(0), 1), "{printed}");
    assert!(
        problems[0].contains(": warning: ") && problems[0].contains("250 ms"),
        "{printed}"
    );
    assert!(printed.ends_with("\n0 errors, 1 warning\n"), "{printed}");
}

/// What is wrong with a file is said at once, each with its line, and the server says the same and does not start.
#[test]
fn all_mistakes_are_said_at_once() {
    let text = "[server]
listen = \"127.0.0.1:0\"
budgt_ms = 200
max_connections = \"many\"
[health]
ready_when = \"sometimes\"
[log]
audit = true
[telemetry]
on = true
[backends.keys]
kind = \"soft\"
keys = { usable = \"no such file\" }
[[key_stores]]
uri_path_prefix = \"no-slash\"
regions = [\"Frankfurt\"]
all_keys = true
max_plaintext_bytes = -1
[[key_stores.credentials]]
access_key_id = \"TOO-SHORT\"
secret_access_key = \"too short too\"
";
    let settings = Settings::new();
    fs::write(settings.path(), text).unwrap();
    let (code, printed, _) = ended(program().arg("check").arg(settings.path()));
    assert_eq!(code, Some(78), "{printed}");
    let problems = problems(&settings, &printed);
    let expected = [
        "3: error: unknown key `budgt_ms`; did you mean `budget_ms`?",
        "4: error: `max_connections` takes a whole number",
        "6: error: `ready_when` is one of any, all",
        "8: error: `audit` takes a text in quotes",
        "9: error: unknown ",
        "13: error: ",
        "15: error: ",
        "16: error: \"Frankfurt\" is not an AWS Region",
        "18: error: `max_plaintext_bytes` takes a whole number",
        "20: error: ",
    ];
    for expected in expected {
        assert!(
            problems.iter().any(|line| line.starts_with(expected)),
            "{expected}: {printed}"
        );
    }
    let lines = problems
        .iter()
        .map(|line| line.split(':').next().unwrap().parse::<u32>().unwrap());
    assert!(lines.is_sorted(), "{printed}");
    let last = format!("{} errors, 0 warnings", problems.len());
    assert_eq!(printed.lines().last(), Some(&*last));

    let (code, out, log) = ended(program().arg("--config").arg(settings.path()));
    assert_eq!((code, &*out), (Some(78), ""), "{log}");
    for problem in problems {
        assert!(log.contains(&problem), "{problem} is not in {log}");
    }
}

/// A key is unknown in the table where it stands, even if another table has it.
#[test]
fn the_nearest_key_is_one_of_the_same_table() {
    for (right, wrong, said) in [
        ("listen = ", "Listen = ", "unknown key `Listen`; did you mean `listen`?"),
        (
            "watch_secs",
            "watch_seconds",
            "unknown key `watch_seconds`; did you mean `watch_secs`?",
        ),
        (
            "kind = \"soft\"",
            "kind = \"soft\"\nmodle = \"x\"",
            "unknown key `modle`",
        ),
        ("all_keys", "all_key", "unknown key `all_key`; did you mean `all_keys`?"),
        (
            "access_key_id",
            "acces_key_id",
            "unknown key `acces_key_id`; did you mean `access_key_id`?",
        ),
        ("[[key_stores]]", "[[key_store]]", "did you mean `key_stores`?"),
    ] {
        let settings = Settings::new();
        fs::write(settings.path(), settings.text().replacen(right, wrong, 1)).unwrap();
        let (code, printed, _) = ended(program().arg("check").arg(settings.path()));
        assert_eq!(code, Some(78), "{printed}");
        assert!(printed.contains(said), "{said}: {printed}");
    }
}

/// What each part by itself allows, and all of them together do not.
#[test]
fn contradictions_are_errors() {
    let two = |first: &str, second: &str| {
        let second = key_store(second, "all_keys = true", &[credential(first, SECRET_ACCESS_KEY)]);
        key_store(PREFIX, "all_keys = true", &[usual_credential()]) + &second
    };
    let other = "ANOTHER2ACCESS3KEY4ID5";
    let fleet =
        "[backends.a]\nkind = \"fleet\"\nmembers = [\"b\"]\n[backends.b]\nkind = \"fleet\"\nmembers = [\"a\"]\n";
    for (settings, said) in [
        (
            Settings::new().key_stores(&two(ACCESS_KEY_ID, "/example/tenant-b")),
            "is used twice",
        ),
        (Settings::new().key_stores(&two(other, PREFIX)), "same URI path prefix"),
        (
            Settings::new().key_stores(&key_store(
                PREFIX,
                "all_keys = true\nbackend = \"none\"",
                &[usual_credential()],
            )),
            "no [backends.none]",
        ),
        (
            Settings::new().key_stores(&key_store(PREFIX, "all_keys = true", &[])),
            "credential",
        ),
        (
            Settings::new().key_stores(&key_store(PREFIX, "", &[usual_credential()])),
            "all_keys",
        ),
        (Settings::new().key_stores(""), "key_stores"),
        (
            Settings::new().key_stores(&key_store(PREFIX, "all_keys = true\nburst = 2", &[usual_credential()])),
            "`requests_per_second`",
        ),
        (
            Settings::new().key_stores(&key_store(
                PREFIX,
                "all_keys = true\n[[key_stores.rules]]\nallow = \"x\"\nprincipals = []",
                &[usual_credential()],
            )),
            "`principals` is empty",
        ),
        (Settings::new().backends(fleet), "fleet"),
        (
            Settings::new().tables("[tls]\ncertificate_chain = \"none.pem\"\nprivate_key = \"none.pem\""),
            "none.pem",
        ),
    ] {
        let (code, printed) = check(&settings);
        assert_eq!(code, Some(78), "{said}: {printed}");
        assert!(
            printed.contains(": error: ") && printed.contains(said),
            "{said}: {printed}"
        );
    }
}

/// A certificate, and a key that has nothing to do with it; or what is neither. The line is that of the file's name.
#[test]
fn files_of_tls_are_tried() {
    let (site, other) = (Site::new(&Leaf::SERVER), Site::new(&Leaf::SERVER));
    let settings = site.settings();
    assert_eq!(check(&settings).0, Some(0));
    for (file, text) in [
        ("key.pem", other.identity.key_pem()),
        ("key.pem", "no PEM".to_owned()),
        ("chain.pem", "no PEM".to_owned()),
        ("chain.pem", site.identity.key_pem()),
    ] {
        site.write(&settings.folder);
        settings.folder.write(file, &text);
        let (code, printed) = check(&settings);
        assert_eq!(code, Some(78), "{file}: {printed}");
        let line = 1 + settings.text().lines().position(|line| line.contains(file)).unwrap();
        let said = problems(&settings, &printed)
            .iter()
            .any(|problem| problem.starts_with(&format!("{line}: error: ")));
        assert!(said && !printed.contains("PRIVATE KEY"), "{file}: {printed}");
    }
}

/// Text that is no TOML at all, a file that is not there, and arguments that are wrong.
#[test]
fn what_cannot_be_read_is_said() {
    let settings = Settings::new();
    let file = settings.folder.write("none.toml", "[server\nlisten = 1\n");
    let (code, printed, _) = ended(program().arg("check").arg(&file));
    assert_eq!(code, Some(78), "{printed}");
    assert!(printed.contains(&format!("{}:1: error: ", file.display())), "{printed}");

    let (code, out, log) = ended(program().args(["check", "/no/such/file.toml"]));
    assert!(
        code != Some(0) && (out + &log).contains("/no/such/file.toml"),
        "{code:?}: {log}"
    );
    let (code, _, log) = ended(program().args(["--config", "/no/such/file.toml"]));
    assert!(code != Some(0) && log.contains("/no/such/file.toml"), "{code:?}: {log}");
    assert!(log.lines().count() == 1, "{log}");

    for arguments in [
        &["check"][..],
        &["convert"],
        &["--config"],
        &["--budget", "5"],
        &["serve"],
        &["--listen", "x"],
    ] {
        assert_eq!(ended(program().args(arguments)).0, Some(2), "{arguments:?}");
    }
}

/// The file that explains every key, with files that exist in place of its examples. `commented` as well: then with each
/// key that it shows as a comment.
fn reference(with_comments: bool) -> (Settings, Token, String) {
    let (site, token) = (Site::new(&Leaf::SERVER), Token::new());
    let settings = site.settings();
    let folder = &settings.folder;
    folder.write("clients.pem", &Authority::root("Root of clients").pem());
    folder.write("tenant-a.secret", &format!("{SECRET_ACCESS_KEY}\n"));
    let mut text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/settings/reference.toml")).unwrap();
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
        (
            "#ciphertext_metadata = \"...\"",
            "#ciphertext_metadata = \"a2V5LXNldD0x\"".to_owned(),
        ),
    ] {
        assert!(text.contains(example), "{example} is not in the reference any more");
        text = text.replace(example, &real);
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
        // An empty list stands for "no condition", which is said by leaving the key out.
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

/// CON-1, SIG-6: a credential that the settings take, and the console too.
#[test]
fn a_new_credential_is_good_for_settings_and_console() {
    let mut seen = std::collections::HashSet::new();
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
        let answer = server
            .curl_of(prefix)
            .call_as(&user, "health", &body(&serde_json::json!({})));
        assert_eq!(answer.0, 200, "{answer:?}");
    }
}
