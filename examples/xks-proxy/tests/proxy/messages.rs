//! The messages of `check` about common mistakes: where, what to do, and no secret.

use std::fs;

use rustix::fs::{Mode, mkfifoat};

use crate::support::{
    ACCESS_KEY_ID, Leaf, PREFIX, SECRET_ACCESS_KEY, Settings, Site, check, ended, key_store, program, usual_credential,
};

/// `check` of a file's bytes.
fn check_bytes(bytes: &[u8]) -> String {
    let settings = Settings::new();
    fs::write(settings.path(), bytes).unwrap();
    let (code, printed, _) = ended(program().arg("check").arg(settings.path()));
    assert_eq!(code, Some(78), "{printed}");
    printed
}

fn with_stores(key_stores: &str) -> Settings {
    Settings::new().server("").key_stores(key_stores)
}

/// A mistake of TOML is explained by the setting's name, and a listener's address by an example.
#[test]
fn a_mistake_of_syntax_names_the_setting() {
    for (text, said) in [
        (
            "[server]\nlisten = \"127.0.0.1:1\"\nlisten = \"127.0.0.1:2\"\n",
            ":3: error: duplicate key `listen`",
        ),
        ("[server]\n[log]\n[server]\n", ":3: error: duplicate key `server`"),
        (
            "[server]\nlisten = 127.0.0.1:443\n",
            ":2: error: `listen`: write the value in quotes, as in listen = \"...\"",
        ),
        (
            "[log.file]\ndirectory = /var/log\n",
            ":2: error: `directory`: write the value in quotes",
        ),
        (
            "[server]\nidle_timeout_secs = 5s\n",
            ":2: error: `idle_timeout_secs` must be a whole number without a unit",
        ),
        (
            "[backends.a]\ninline = True\n",
            ":2: error: `inline`: write true or false in lower case",
        ),
        ("[server]\nlisten =\n", ":2: error: `listen` has no value"),
        (
            "[server]\nlisten = [::]:443\n",
            ":2: error: `listen`: write the value in quotes",
        ),
        (
            "[server]\nlisten = 443\n",
            ":2: error: `listen` must be an IP address with a port in quotes",
        ),
        (
            "[server]\nmax_connections = 10 000\n",
            ":2: error: `max_connections`: write a whole number in digits only",
        ),
        (
            "[server]\nmax_body_bytes = 256K\n",
            ":2: error: `max_body_bytes`: write a whole number",
        ),
        (
            "[server]\nlisten: \"127.0.0.1:1\"\n",
            ":2: error: `listen`: write an equals sign instead of the colon",
        ),
        ("[server]\nlisten \"127.0.0.1:1\"\n", ":2: error: not a `key = value`"),
        (
            "[server]\nlisten = \"127.0.0.1:1\n",
            ":2: error: `listen`: the text has no closing quote",
        ),
        (
            "[server]\nlisten = \"127.0.0.1:1\",\n",
            ":2: error: `listen`: only a # comment may follow the value",
        ),
        (
            "[log.file]\ndirectory = \"C:\\logs\"\n",
            ":2: error: `directory`: a backslash in \"...\" begins an escape",
        ),
        (
            "[server]\nlisten = \u{201c}127.0.0.1:1\u{201d}\n",
            ":2: error: this line contains the character U+201C: write quotes as the plain",
        ),
        (
            "[server]\nlisten =\u{a0}\"127.0.0.1:1\"\n",
            "the character U+00A0: write plain spaces",
        ),
        (
            "[server]\rlisten = \"127.0.0.1:1\"\r",
            "the character U+000D: end lines with LF",
        ),
        (
            "[backends.\"h s m\"]\n[backends.\"h s m\"]\n",
            ":2: error: duplicate key `h s m`: it must be written once",
        ),
        (
            "[server]\nlisten = \"localhost:443\"\n",
            "`listen = \"localhost:443\"`: not an IP address with a port, such as \"127.0.0.1:443\"",
        ),
        ("[server]\nlisten = \"443\"\n", "not an IP address with a port"),
        ("[health]\nlisten = \"[::1]\"\n", "not an IP address with a port"),
        ("[metrics]\nlisten = \"localhost\"\n", "not an IP address with a port"),
    ] {
        let printed = check_bytes(text.as_bytes());
        assert!(printed.contains(said), "{said}: {printed}");
    }
}

/// Every setting that takes a number, a flag, a text or a list says so, and says which.
#[test]
fn a_value_of_the_wrong_type_names_the_setting() {
    for (table, key) in [
        ("server", "max_connections"),
        ("server", "budget_ms"),
        ("server", "drain_timeout_secs"),
        ("health", "interval_secs"),
        ("reload", "watch_secs"),
        ("log.file", "keep"),
        ("backends.x", "sessions"),
        ("server", "listen"),
        ("health", "ready_when"),
        ("log", "level"),
        ("log.file", "directory"),
        ("tls", "certificate_chain"),
        ("tls", "private_key"),
        ("backends.x", "inline"),
        ("backends.x", "pin_file"),
    ] {
        for value in ["1.5", "[1]", "{ a = 1 }", "1979-05-27"] {
            let kind = if table == "backends.x" {
                "kind = \"pkcs11\"\n"
            } else {
                ""
            };
            let printed = check_bytes(format!("[{table}]\n{kind}{key} = {value}\n").as_bytes());
            let line = 2 + kind.lines().count();
            let said = format!(":{line}: error: `{key}` must be ");
            assert!(printed.contains(&said), "{said} {value}: {printed}");
        }
    }
}

#[test]
fn a_file_that_is_not_utf_8_is_said_with_its_line() {
    let printed = check_bytes(b"[server]\nlisten = \"127.0.0.1:0\" # f\xfcr alle\n");
    assert!(printed.contains(":2: error: this line is not UTF-8"), "{printed}");
    assert!(printed.ends_with("1 error, 0 warnings\n"), "{printed}");
    let wide: Vec<u8> = "\u{feff}[server]".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(check_bytes(&wide).contains(":1: error: the file is UTF-16 text: save it as UTF-8"));
    let unmarked: Vec<u8> = "[server]\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (bytes, line) in [(&*unmarked, ":1:"), (b"[server]\nlisten = \"127.0.0.1:0\"\0", ":2:")] {
        let printed = check_bytes(bytes);
        let said = format!("{line} error: this line holds a NUL");
        assert!(printed.contains(&said) && printed.lines().count() == 2, "{printed}");
    }
}

/// What is no regular file, or is too large, is not read: the settings, and everything that they name.
#[test]
fn devices_pipes_and_large_files_are_not_read() {
    let site = Site::new(&Leaf::SERVER);
    let settings = site.settings();
    let folder = settings.folder.path();
    mkfifoat(rustix::fs::CWD, folder.join("pipe.pem"), Mode::RWXU).unwrap();
    fs::create_dir(folder.join("folder.pem")).unwrap();
    let large = fs::File::create(folder.join("large.pem")).unwrap();
    large.set_len(5 * 1024 * 1024).unwrap();
    let files = ["pipe.pem", "folder.pem", "large.pem"].map(|name| folder.join(name).display().to_string());
    let names = files.iter().map(String::as_str).chain(["/dev/zero"]);
    for name in names {
        let said = if name.contains("large") {
            "larger than 4 MiB"
        } else {
            "not a regular file"
        };
        let (code, out, log) = ended(program().arg("check").arg(name));
        assert_eq!(code, Some(78), "{name}: {out}{log}");
        assert!(log.contains(said) && log.contains(name), "{name}: {out}{log}");
        let secret = format!(
            "[[key_stores.credentials]]\naccess_key_id = \"{ACCESS_KEY_ID}\"\nsecret_access_key_file = \"{name}\"\n"
        );
        let pin = format!("[backends.keys]\nkind = \"pkcs11\"\nmodule = \"chain.pem\"\npin_file = \"{name}\"\n");
        let key = format!("[backends.keys]\nkind = \"soft\"\nkeys = {{ usable = \"{name}\" }}\n");
        let text = settings.text();
        for text in [
            text.replace("\"chain.pem\"", &format!("{name:?}")),
            text.replace("\"key.pem\"", &format!("{name:?}")),
            text.replace(&usual_credential(), &secret),
            text.replace(&settings.backends, &pin),
            text.replace(&settings.backends, &key),
        ] {
            let file = settings.folder.write("settings.toml", &text);
            let (code, printed, _) = ended(program().arg("check").arg(file));
            assert_eq!(code, Some(78), "{name}: {printed}{text}");
            assert!(printed.contains(said) && printed.contains(name), "{name}: {printed}");
        }
    }
}

/// A secret where the name of a file or of a variable belongs: an error, which does not repeat it. A name
/// that is one is.
#[test]
fn a_secret_in_the_wrong_place_is_not_repeated() {
    let key = Leaf::SERVER.self_signed().key_pem();
    let credential = |line: &str| {
        let credential = format!("[[key_stores.credentials]]\naccess_key_id = \"{ACCESS_KEY_ID}\"\n{line}\n");
        key_store(PREFIX, "all_keys = true", &[credential])
    };
    let token = |line: &str| format!("[backends.keys]\nkind = \"pkcs11\"\nmodule = \"chain.pem\"\n{line}\n");
    let tls = |line: &str| format!("[tls]\ncertificate_chain = \"chain.pem\"\n{line}");
    let with_slash = "/leaseReplaceThisWith+SomeSecretOfLength43/o64";
    let new = || Settings::new().server("");
    for (settings, secret) in [
        (new().key_stores(&credential(&format!("secret_access_key_file = {SECRET_ACCESS_KEY:?}"))), SECRET_ACCESS_KEY),
        (new().key_stores(&credential(&format!("secret_access_key_file = {with_slash:?}"))), with_slash),
        (new().key_stores(&credential(&format!("secret_access_key_env = {SECRET_ACCESS_KEY:?}"))), SECRET_ACCESS_KEY),
        (new().backends(&token("pin_file = \"1357-9\"")), "1357-9"),
        (new().backends(&token("pin_file = \"crypto_user:pass/word\"")), "crypto_user"),
        (new().backends(&token("pin_env = \"1357-9\"")), "1357-9"),
        (new().backends(&token(&format!("module = {SECRET_ACCESS_KEY:?}")).replace("module = \"chain.pem\"\n", "")), SECRET_ACCESS_KEY),
        (new().backends("[backends.keys]\nkind = \"soft\"\nkeys = { usable = \"bm8gc2VjcmV0IGtleSBvZiAzMiBieXRlcyBmb3IgYWxs\" }\n"), "bm8gc2Vj"),
        (new().tables(&tls(&format!("private_key = '''{key}'''"))), &key[40..80]),
        (new().tables(&tls("private_key = \"MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg\"")), "MIGHAg"),
        (new().tables(&format!("[log]\nlevel = {SECRET_ACCESS_KEY:?}")), SECRET_ACCESS_KEY),
        (new().tables(&format!("[log]\n{SECRET_ACCESS_KEY:?} = 1")), SECRET_ACCESS_KEY),
        (new().tables(&tls("private_key = -----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMG\nTheLastLine2OfAKey==\n-----END PRIVATE KEY-----")), "TheLastLine2OfAKey"),
        (new().tables(&tls("private_key = \'\'\'-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMG\nTheLastLine2OfAKey==\n-----END PRIVATE KEY-----")), "TheLastLine2OfAKey"),
        (new().tables(&tls("private_key =\nTheLastLine2OfAKey=\n")), "TheLastLine2OfAKey"),
        (new().tables(&format!("[environment]\n{SECRET_ACCESS_KEY} = 1")), SECRET_ACCESS_KEY),
        (new().tables(&format!("[log]\nlevel = \"\"\"\n{SECRET_ACCESS_KEY}\n\"\"\"")), SECRET_ACCESS_KEY),
        (new().tables(&format!("[log]\n{SECRET_ACCESS_KEY} = 1\n{SECRET_ACCESS_KEY} = 2")), SECRET_ACCESS_KEY),
        (new().backends(&token("pin_file = \"/1357-9\"")), "1357-9"),
        (new().key_stores(&key_store(PREFIX, &format!("all_keys = true\nbackend = {SECRET_ACCESS_KEY:?}"), &[usual_credential()])), SECRET_ACCESS_KEY),
        (new().key_stores(&credential("secret_access_key_file = \"/secret/of/AWS/with/40characters/in4it+here\"")), "40characters"),
    ] {
        let (code, printed) = check(&settings);
        assert_eq!(code, Some(78), "{printed}");
        assert!(!printed.contains(secret), "{secret}: {printed}");
        let (code, out, log) = ended(program().arg("--config").arg(settings.path()));
        assert_eq!(code, Some(78), "{out}{log}");
        assert!(!out.contains(secret) && !log.contains(secret), "{secret}: {out}{log}");
    }
    for (settings, name) in [
        (
            new().key_stores(&credential("secret_access_key_file = \"/etc/none/tenant\"")),
            "/etc/none/tenant",
        ),
        (
            new().key_stores(&credential("secret_access_key_file = \"tenant.secret\"")),
            "tenant.secret",
        ),
        (
            new().key_stores(&credential("secret_access_key_env = \"OUR_SECRET\"")),
            "OUR_SECRET",
        ),
        (new().backends(&token("pin_file = \"/etc/pin\"")), "/etc/pin"),
    ] {
        let (code, printed) = check(&settings);
        assert!(code == Some(78) && printed.contains(name), "{name}: {printed}");
    }
}

/// Nor is it where a variable holds it that names a module.
#[test]
fn a_secret_in_the_wrong_variable_is_not_repeated() {
    let token = "[backends.keys]\nkind = \"pkcs11\"\nmodule = \"none.so\"\n";
    let settings = Settings::new().backends(token);
    let (code, printed, _) = ended(
        program()
            .env("PKCS11_HSM_MODULE", SECRET_ACCESS_KEY)
            .arg("check")
            .arg(settings.write()),
    );
    assert_eq!(code, Some(78), "{printed}");
    assert!(printed.contains("no PKCS#11 module at"), "{printed}");
    assert!(
        printed.contains("PKCS11_HSM_MODULE") && !printed.contains(SECRET_ACCESS_KEY),
        "{printed}"
    );
}

/// The name of a folder that is made when it is needed may be of any length.
#[test]
fn a_folder_with_a_long_name_is_no_secret() {
    let settings = Settings::new().server("");
    let directory = settings.folder.path().join("x".repeat(60)).join("y".repeat(60));
    let settings = settings.tables(&format!("[log.file]\ndirectory = {directory:?}"));
    assert_eq!(check(&settings), (Some(0), "0 errors, 0 warnings\n".to_owned()));
    let short = Settings::new()
        .server("")
        .tables(&format!("[log.file]\ndirectory = \"{}\"", "x".repeat(44)));
    assert_eq!(check(&short), (Some(0), "0 errors, 0 warnings\n".to_owned()));
}

/// An empty variable is a mistake of a unit, not the wish for a demo.
#[test]
fn an_empty_variable_starts_no_demo() {
    let (code, out, log) = ended(program().env("XKS_PROXY_SETTINGS_TOML", ""));
    assert_eq!((code, &*out), (Some(78), ""), "{log}");
    assert!(log.contains("XKS_PROXY_SETTINGS_TOML"), "{log}");
}

/// A file of a secret with something that an editor put there says what that is.
#[test]
fn a_secrets_file_says_what_does_not_belong_there() {
    let credential = format!(
        "[[key_stores.credentials]]\naccess_key_id = \"{ACCESS_KEY_ID}\"\nsecret_access_key_file = \"tenant.secret\"\n"
    );
    let settings = with_stores(&key_store(PREFIX, "all_keys = true", &[credential]));
    for (content, said) in [
        (
            format!("\u{feff}\u{feff}{SECRET_ACCESS_KEY}"),
            Some("an invisible character"),
        ),
        (format!("\u{feff}{SECRET_ACCESS_KEY}"), None),
        (format!("{SECRET_ACCESS_KEY} \n"), Some("white space")),
        (format!("\"{SECRET_ACCESS_KEY}\""), Some("in quotes")),
        (format!("{SECRET_ACCESS_KEY}\0"), Some("a NUL")),
        (format!("# mine\n{SECRET_ACCESS_KEY}\n"), Some("more than one line")),
        (format!("{SECRET_ACCESS_KEY}\r\n"), None),
    ] {
        settings.folder.write("tenant.secret", &content);
        let (code, printed) = check(&settings);
        match said {
            Some(said) => assert!(code == Some(78) && printed.contains(said), "{said}: {printed}"),
            None => assert_eq!(code, Some(0), "{printed}"),
        }
        let is_marked = content.starts_with('\u{feff}');
        assert_eq!(
            printed.contains("byte order mark, which is ignored"),
            is_marked,
            "{printed}"
        );
        assert!(!printed.contains(SECRET_ACCESS_KEY), "{printed}");
    }
}

/// URI-2: what stands behind the prefix anyway is probably not meant to stand there twice.
#[test]
fn a_prefix_with_the_path_of_the_api_gets_a_warning() {
    let checked = |prefix: &str| {
        check(&with_stores(&key_store(
            prefix,
            "all_keys = true",
            &[usual_credential()],
        )))
    };
    for prefix in [
        "/example/tenant/kms/xks/v1",
        "/example/tenant/kms/xks",
        "/kms/xks/v1/keys/usable",
        "/Example/KMS/XKS/v2",
    ] {
        let (code, printed) = checked(prefix);
        assert_eq!(code, Some(0), "{printed}");
        let whole = format!("would have to call {prefix}/kms/xks/v1");
        assert!(printed.contains(": warning: ") && printed.contains(&whole), "{printed}");
    }
    for prefix in ["/example/tenant/kms", "/example/kms/xksproxy"] {
        assert_eq!(checked(prefix), (Some(0), "0 errors, 0 warnings\n".to_owned()));
    }
}

/// Rules that only deny leave nothing to be allowed.
#[test]
fn rules_that_allow_nothing_get_a_warning() {
    let rule = "[[key_stores.rules]]\ndeny = \"some\"\nvpcs = [\"vpc-1234\"]\n".to_owned();
    let settings = |rules: &str| with_stores(&key_store(PREFIX, "all_keys = true", &[usual_credential() + rules]));
    let (code, printed) = check(&settings(&rule));
    assert_eq!(code, Some(0), "{printed}");
    assert!(printed.contains(": warning: no rule allows anything"), "{printed}");
    let allow = "[[key_stores.rules]]\nallow = \"all\"\n";
    assert_eq!(check(&settings(&(rule + allow))).1, "0 errors, 0 warnings\n");
}

/// A rule that can match nothing lets in whom it should deny. One that may match is no matter.
#[test]
fn a_rule_that_never_applies_gets_a_warning() {
    let rule = |rule: &str, condition: &str| {
        let rules = "[[key_stores.rules]]\nallow = \"all\"\n";
        let rules = format!("{rules}[[key_stores.rules]]\n{rule} = \"some\"\n{condition}\n");
        with_stores(&key_store(
            PREFIX,
            "keys = [\"usable\"]",
            &[usual_credential() + &rules],
        ))
    };
    for condition in [
        "vpcs = [\"vpce-1234\"]",
        "vpc_endpoints = [\"vpc-1234\"]",
        "accounts = [\"1111-2222-3333\"]",
        "accounts = [\"11112222333\"]",
        "regions = [\"EU-*\"]",
        "kms_operations = [\"encrypt\"]",
        "kms_operations = [\"kms:Encrypt\"]",
        "kms_key_arns = [\"1234abcd-*\"]",
        "keys = [\"usable-*\"]",
        "keys = [\"other\"]",
        "principals = [\"\"]",
        "principals = [\"Backup\"]",
        "principals = [\"role/*\"]",
        "principals = [\"ec2\"]",
        "principals = [\"arn:aws:iam:111122223333:role/A\"]",
        "principals = [\"arn:aws:iam::11112222333:role/A\"]",
        "principals = [\"arn:aws:iam::[0-9]*:role/A\"]",
        "kms_key_arns = [\"arn:aws:kms:eu-central-1:111122223333:alias/a*\"]",
        "kms_key_arns = [\"arn:aws:iam::111122223333:role/A\"]",
        "regions = [\"ap-southeast-2\"]",
        "kms_operations = [\"GenerateDatakey\"]",
        "principals = [\"arn:aws:iam::111122223333:role/A \"]",
    ] {
        let (code, printed) = check(&rule("deny", condition));
        assert_eq!(code, Some(0), "{printed}");
        assert!(
            printed.contains(": warning: ") && printed.contains("denies nothing"),
            "{condition}: {printed}"
        );
        assert!(
            check(&rule("allow", condition)).1.contains("allows nothing"),
            "{condition}"
        );
    }
    for condition in [
        "vpcs = [\"vpc-1234\", \"*\", \"v?c-1\"]",
        "vpc_endpoints = [\"vpce-*\"]",
        "accounts = [\"111122223333\", \"1111*\"]",
        "regions = [\"us-*\", \"*-east-1\"]",
        "kms_operations = [\"Encrypt\", \"GenerateDataKey*\", \"*\"]",
        "kms_key_arns = [\"arn:aws:kms:*\", \"a*\"]",
        "keys = [\"usable\", \"us*\", \"*\"]",
        "principals = [\"arn:aws:iam::111122223333:role/A*\", \"arn:aws:*:1111*\", \"arn:aws:iam::aws:*\"]",
        "principals = [\"ec2.amazonaws.com\", \"ec2*\", \"AWS Internal\", \"AWS*\", \"*\", \"arn:aws:iam::111122223333:root\"]",
        "kms_key_arns = [\"arn:aws:kms:*:111122223333:key/*\", \"arn:aws:k*\"]",
        "kms_operations = [\"SomethingNew\", \"GenerateDatakey*\"]",
    ] {
        assert_eq!(
            check(&rule("deny", condition)).1,
            "0 errors, 0 warnings\n",
            "{condition}"
        );
    }
}

/// ENC-7: what one of two key stores encrypts, the other one decrypts only with the same framing.
#[test]
fn a_key_of_two_framings_gets_a_warning() {
    let stores = |first: &str, second: &str| {
        let first = key_store(PREFIX, first, &[usual_credential()]);
        let second = key_store("/example/tenant-b", second, &[usual_credential()]);
        check(&with_stores(&(first + &second)))
    };
    let said = "with another `aad_framing`";
    for (first, second) in [
        (
            "keys = [\"usable\"]",
            "keys = [\"other\", \"usable\"]\naad_framing = \"digest\"",
        ),
        ("all_keys = true", "keys = [\"usable\"]\naad_framing = \"migrating\""),
        ("all_keys = true", "all_keys = true\naad_framing = \"digest\""),
    ] {
        let (code, printed) = stores(first, second);
        assert_eq!(code, Some(0), "{printed}");
        assert!(
            printed.contains(": warning: ") && printed.contains(said),
            "{first}, {second}: {printed}"
        );
    }
    // The same key under another name of its backend.
    let twice = Settings::new().server("");
    let again = twice.backends.replace("[backends.keys]", "[backends.again]");
    let backends = format!("{}{again}", twice.backends);
    let first = key_store(PREFIX, "all_keys = true\nbackend = \"keys\"", &[usual_credential()]);
    let second = "keys = [\"usable\"]\nbackend = \"again\"\naad_framing = \"digest\"";
    let second = key_store("/example/tenant-b", second, &[usual_credential()]);
    let (code, printed) = check(&twice.backends(&backends).key_stores(&(first + &second)));
    assert!(code == Some(0) && printed.contains(said), "{printed}");
    for (first, second) in [
        ("keys = [\"usable\"]", "keys = [\"other\"]\naad_framing = \"digest\""),
        ("all_keys = true", "all_keys = true"),
    ] {
        let printed = stores(first, second).1;
        assert!(!printed.contains(said), "{printed}");
    }
}
