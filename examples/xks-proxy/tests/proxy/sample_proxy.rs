//! Settings files of AWS's sample proxy: they are taken as they are, and converted.

use crate::support::{Old, SHAPES, ended, program};

/// What stands at a path of keys and places.
fn at<'v>(value: &'v toml::Value, path: &str) -> Option<&'v toml::Value> {
    path.split('.')
        .try_fold(value, |value, step| match step.parse::<usize>() {
            Ok(place) => value.get(place),
            Err(_) => value.get(step),
        })
}

fn text_at<'v>(value: &'v toml::Value, path: &str) -> &'v str {
    let found = at(value, path).and_then(toml::Value::as_str);
    found.unwrap_or_else(|| panic!("no text at {path}: {value:#?}"))
}

fn number_at(value: &toml::Value, path: &str) -> i64 {
    let found = at(value, path).and_then(toml::Value::as_integer);
    found.unwrap_or_else(|| panic!("no number at {path}: {value:#?}"))
}

/// Each vendor's file passes as it is.
#[test]
fn the_file_of_each_vendor_passes() {
    for (name, ..) in SHAPES {
        let old = Old::new(name);
        let (code, printed) = old.check();
        assert_eq!(code, Some(0), "{name}: {printed}");
        assert!(printed.contains("0 errors"), "{name}: {printed}");
    }
}

/// What the conversion of the file says, and what it means: the values are those of the file.
#[test]
fn what_nshield_was_told_is_converted() {
    let (_, new) = Old::new("nshield").converted();
    for (path, text) in [
        ("server.listen", "0.0.0.0:443"),
        ("health.listen", "0.0.0.0:80"),
        ("log.level", "debug"),
        ("log.output", "none"),
        ("log.file.prefix", "xks-proxy.log"),
        ("log.file.rotation", "hourly"),
        ("backends.hsm.kind", "pkcs11"),
        ("backends.hsm.vendor", "nshield"),
        ("backends.hsm.pin", ""),
        ("key_stores.0.uri_path_prefix", "/example/nshield"),
        ("key_stores.0.regions.0", "eu-central-1"),
        ("key_stores.0.keys.0", "xks-keyset-1"),
        ("key_stores.0.keys.1", "xks-keyset-2"),
        ("key_stores.0.aad_framing", "digest"),
        ("key_stores.0.credentials.0.access_key_id", "NSHIELD2ACCESS3KEY4ID5"),
        (
            "key_stores.0.credentials.0.secret_access_key",
            "ThisIsTheSecretOfTheNshieldFile+0123456789/=",
        ),
    ] {
        assert_eq!(text_at(&new, path), text, "{path}");
    }
    for (path, number) in [
        ("server.tcp_keepalive.idle_secs", 60),
        ("server.tcp_keepalive.interval_secs", 1),
        ("server.tcp_keepalive.retries", 3),
        ("backends.hsm.sessions", 30),
    ] {
        assert_eq!(number_at(&new, path), number, "{path}");
    }
    assert!(text_at(&new, "tls.certificate_chain").ends_with("/chain.pem"));
    assert!(text_at(&new, "tls.private_key").ends_with("/key.pem"));
    assert!(text_at(&new, "backends.hsm.module").ends_with("/libcknfast.so"));
    assert!(text_at(&new, "log.file.directory").ends_with("/logs"));
    assert_eq!(at(&new, "tls.client"), None, "mutual TLS was off");
    // The IVs are written back, which is what this vendor's are anyway.
    assert!(at(&new, "backends.hsm.iv_source").is_none_or(|source| source.as_str() == Some("written-back")));
}

#[test]
fn what_luna_was_told_is_converted() {
    let (_, new) = Old::new("luna").converted();
    for (path, text) in [
        ("server.listen", "0.0.0.0:8443"),
        ("health.listen", "0.0.0.0:8080"),
        ("tls.client.names.0", "cks.kms.us-west-2.amazonaws.com"),
        ("log.level", "warn"),
        ("log.output", "stdout"),
        ("backends.hsm.vendor", "luna"),
        ("backends.hsm.pin", "a \"quoted\" PIN \\ with more"),
        ("key_stores.0.uri_path_prefix", "/example/luna-a"),
        ("key_stores.1.uri_path_prefix", "/example/luna-b"),
        ("key_stores.0.ciphertext_metadata", "a2V5LXNldD0x"),
        ("key_stores.1.ciphertext_metadata", "a2V5LXNldD0x"),
        ("key_stores.1.aad_framing", "digest"),
        ("key_stores.1.credentials.0.access_key_id", "LUNA2B3ACCESS4KEY5ID67"),
    ] {
        assert_eq!(text_at(&new, path), text, "{path}");
    }
    assert!(text_at(&new, "tls.client.roots").ends_with("/roots.pem"));
    assert_eq!(at(&new, "log.file"), None, "there were no files");
    // Four characters of Base64 are three bytes.
    assert_eq!(number_at(&new, "key_stores.0.max_plaintext_bytes"), 6144);
    assert_eq!(number_at(&new, "key_stores.1.max_aad_bytes"), 12288);
    assert_eq!(number_at(&new, "server.tcp_keepalive.idle_secs"), 120);
}

#[test]
fn what_cloudhsm_was_told_is_converted() {
    let (_, new) = Old::new("cloudhsm").converted();
    for (path, text) in [
        ("server.listen", "127.0.0.1:8000"),
        ("health.listen", "127.0.0.1:80"), // the sample proxy's default
        ("log.level", "trace"),
        ("log.file.rotation", "minutely"),
        ("backends.hsm.vendor", "cloudhsm"),
        ("backends.hsm.pin", "crypto_user:password"),
        ("key_stores.0.uri_path_prefix", ""),
        (
            "environment.PKCS11_LOGGER_LIBRARY_PATH",
            "/opt/cloudhsm/lib/libcloudhsm_pkcs11.so",
        ),
        ("environment.PKCS11_LOGGER_LOG_FILE_PATH", "/tmp/pkcs11.log"),
        ("environment.PKCS11_LOGGER_FLAGS", "120"),
    ] {
        assert_eq!(text_at(&new, path), text, "{path}");
    }
    assert_eq!(at(&new, "tls"), None);
}

/// Where the IV comes from is what the file says, whichever vendor's module it is.
#[test]
fn the_source_of_ivs_is_the_files() {
    for (name, can_generate, zero_required, source) in [
        ("nshield", false, true, "token-random"),
        ("nshield", true, false, "appended-16"),
        ("luna", false, false, "token-random"),
        ("luna", true, true, "written-back"),
        ("softhsm", true, true, "written-back"),
    ] {
        let mut old = Old::new(name);
        let (before, _) = old.text.split_once("[hsm_capabilities]").unwrap();
        old.text = format!(
            "{before}[hsm_capabilities]\ncan_generate_iv = {can_generate}\nis_zero_iv_required = {zero_required}\n"
        );
        let (_, new) = old.converted();
        assert_eq!(text_at(&new, "backends.hsm.iv_source"), source, "{name}");
    }
}

/// An entry that came with the file and was never filled in is skipped, with a warning.
#[test]
fn a_placeholder_is_skipped() {
    let old = Old::new("softhsm");
    let (code, printed) = old.check();
    assert_eq!(code, Some(0), "{printed}");
    let line = 1
        + old
            .text
            .lines()
            .position(|line| line == "# Left as it came with the file.")
            .unwrap()
        + 1;
    assert!(printed.contains(&format!(":{line}: warning: ")), "{printed}");
    let (_, new) = old.converted();
    assert_eq!(at(&new, "key_stores").unwrap().as_array().unwrap().len(), 1);
}

/// A key that the old proxy passed over is passed over, and said: the file is taken as it is.
#[test]
fn an_unknown_key_is_passed_over() {
    let old = Old::new("softhsm").with("user_pin = ", "of_another_version = 1\nuser_pin = ");
    let (code, printed) = old.check();
    assert_eq!(code, Some(0), "{printed}");
    let said = |line: &str| line.contains(": warning: unknown key `of_another_version`");
    assert!(printed.lines().any(said), "{printed}");
}

/// Settings that would let a client in whom the old proxy kept out, or that serve no client, are an error.
#[test]
fn what_cannot_be_kept_is_refused() {
    let store = "sigv4_access_key_id = \"BETWEEN2TENAND3TENCHARACTERS\"";
    for (line, other, said) in [
        (
            "is_mtls_enabled = false",
            "is_mtls_enabled = false\nsecondary_auth = \"Oso\"\n[security.oso]\npolar_file_path = \"x.polar\"",
            "Oso",
        ),
        (
            "is_sigv4_auth_enabled = true",
            "is_sigv4_auth_enabled = false",
            "is_sigv4_auth_enabled",
        ),
        ("is_mtls_enabled = false", "is_mtls_enabled = true", "is_mtls_enabled"),
        ("service = \"kms-xks-proxy\"", "service = \"another\"", "service"),
        (store, "sigv4_access_key_id = \"\"", "sigv4_access_key_id"),
        (store, "sigv4_access_key_id = \"short\"", "sigv4_access_key_id"),
        (
            "is_mtls_enabled = ",
            "is_mtls_enabeld = ",
            "unknown key `is_mtls_enabeld`; did you mean `is_mtls_enabled`?",
        ),
        ("is_tls_enabled = false", "", "`is_tls_enabled` is missing"),
        ("can_generate_iv = false", "", "`can_generate_iv` is missing"),
        (
            "file_prefix = \"sample.log\"",
            "file_prefix = \"a/b\"",
            "without a slash",
        ),
        (
            "file_prefix = \"sample.log\"",
            "file_prefix = \"\"",
            "the prefix of log files",
        ),
        (
            "[limits]",
            "[pkcs11_logger]\nPKCS11_LOGGER_FLAGS = \"1\\u00002\"\n[limits]",
            "must not contain a NUL",
        ),
    ] {
        let old = Old::new("softhsm").with(line, other);
        let (code, printed) = old.check();
        assert_eq!(code, Some(78), "{said}: {printed}");
        let mut errors = printed.lines().filter(|line| line.contains(": error: "));
        assert!(errors.any(|line| line.contains(said)), "{said}: {printed}");
        let (code, _, log) = ended(program().arg("--config").arg(old.write()));
        assert!(code == Some(78) && log.contains(said), "{said}: {log}");
        assert_ne!(ended(program().arg("convert").arg(old.write())).0, Some(0));
    }
}

/// The sample proxy compares `rotation_kind` in capitals.
#[test]
fn the_case_of_a_rotation_does_not_matter() {
    for (kind, rotation) in [
        ("Hourly", "hourly"),
        ("daily", "daily"),
        ("NEVER", "never"),
        ("mInutely", "minutely"),
    ] {
        let old = Old::new("nshield").with("rotation_kind = \"HOURLY\"", &format!("rotation_kind = {kind:?}"));
        let (_, new) = old.converted();
        assert_eq!(text_at(&new, "log.file.rotation"), rotation, "{kind}");
    }
    let old = Old::new("nshield").with("rotation_kind = \"HOURLY\"", "rotation_kind = \"weekly\"");
    let (code, printed) = old.check();
    assert_eq!(code, Some(78), "{printed}");
    assert!(printed.contains("not \"weekly\""), "{printed}");
}

/// What the sample proxy never reads, since it is switched off, may be anything.
#[test]
fn what_is_off_is_not_read() {
    let old = Old::new("softhsm");
    let lines = |table: &str, keys: &[(&str, &str)]| {
        let (head, rest) = old.text.split_once(table).unwrap();
        let (body, tail) = rest.split_at(rest.find("\n[").unwrap());
        let mut body: Vec<_> = body.lines().map(str::to_owned).collect();
        for (key, value) in keys {
            body.retain(|line| !line.starts_with(key));
            body.push(format!("{key} = {value}"));
        }
        format!("{head}{table}{}\n{tail}", body.join("\n"))
    };
    let off = [
        lines(
            "[tracing]",
            &[
                ("is_file_writer_enabled", "false"),
                ("rotation_kind", "\"sometimes\""),
                ("file_prefix", "\"a/b\""),
                ("directory", "\"\""),
            ],
        ),
        lines(
            "[tracing]",
            &[
                ("is_stdout_writer_enabled", "false"),
                ("is_file_writer_enabled", "false"),
                ("level", "\"LOUD\""),
            ],
        ),
        old.text.clone() + "\n[tls]\ntls_cert_pem = \"none\"\ntls_key_pem = \"none\"\nmtls_client_dns_name = \"*\"\n",
        old.text.clone() + "\n[server.tcp_keepalive]\ntcp_keepalive_interval_secs = 0\ntcp_keepalive_retries = 0\n",
        old.text
            .replacen("xks_key_id_set = [", "xks_key_id_set = [\"no/key\", ", 1),
    ];
    for text in off {
        let file = old.folder.write("off.toml", &text);
        let (code, printed, _) = ended(program().arg("check").arg(&file));
        assert_eq!(code, Some(0), "{printed}{text}");
    }
}

/// The unit's environment goes before the file, as with the sample proxy, with a warning.
#[test]
fn a_variable_of_the_environment_goes_before_the_files() {
    let old = Old::new("cloudhsm");
    let file = old.write();
    let told = |value: &str| {
        let mut command = program();
        command.arg("convert").arg(&file).env("PKCS11_LOGGER_FLAGS", value);
        let (code, text, log) = ended(&mut command);
        assert_eq!(code, Some(0), "{log}");
        let new: toml::Table = text.parse().unwrap();
        let value = text_at(&toml::Value::Table(new), "environment.PKCS11_LOGGER_FLAGS").to_owned();
        (
            value,
            log.contains(": warning: ") && log.contains("PKCS11_LOGGER_FLAGS"),
        )
    };
    assert_eq!(told("7"), ("7".to_owned(), true));
    assert_eq!(told("120"), ("120".to_owned(), false));
}

/// The vendor is that of the HSM's own module: the one behind a module that logs, when there is one.
#[test]
fn the_vendor_is_not_taken_from_a_foreign_logger() {
    let luna = "/usr/safenet/lunaclient/lib/libCryptoki2_64.so";
    for (module, behind, vendor) in [
        ("libsofthsm2.so", "", "softhsm"),
        ("libsofthsm2.so", luna, "softhsm"),
        ("libother.so", luna, "standard"),
        ("pkcs11-logger-x64.so", luna, "luna"),
        ("pkcs11-logger-x64.so", "/usr/lib/softhsm/libsofthsm2.so", "softhsm"),
        ("pkcs11-logger-x64.so", "", "standard"),
    ] {
        let mut old = Old::new("softhsm");
        let path = old.folder.write(module, "some library").display().to_string();
        let line = old
            .text
            .lines()
            .find(|line| line.starts_with("PKCS11_HSM_MODULE"))
            .unwrap()
            .to_owned();
        old = old.with(&line, &format!("PKCS11_HSM_MODULE = {path:?}"));
        old.text
            .push_str(&format!("\n[pkcs11_logger]\nPKCS11_LOGGER_LIBRARY_PATH = {behind:?}\n"));
        let (_, new) = old.converted();
        assert_eq!(text_at(&new, "backends.hsm.vendor"), vendor, "{module}, {behind:?}");
    }
}

/// A logger that the unit's environment configures, without a table.
#[test]
fn the_vendor_is_taken_from_the_loggers_variable() {
    let mut old = Old::new("softhsm");
    let path = old
        .folder
        .write("pkcs11-logger-x64.so", "some library")
        .display()
        .to_string();
    let line = old
        .text
        .lines()
        .find(|line| line.starts_with("PKCS11_HSM_MODULE"))
        .unwrap()
        .to_owned();
    old = old.with(&line, &format!("PKCS11_HSM_MODULE = {path:?}"));
    for (behind, vendor) in [
        ("/opt/nfast/toolkits/pkcs11/libcknfast.so", "nshield"),
        ("", "standard"),
    ] {
        let mut command = program();
        command
            .arg("convert")
            .arg(old.write())
            .env("PKCS11_LOGGER_LIBRARY_PATH", behind);
        let (code, text, log) = ended(&mut command);
        assert_eq!(code, Some(0), "{log}");
        let new = toml::Value::Table(text.parse().unwrap());
        assert_eq!(text_at(&new, "backends.hsm.vendor"), vendor, "{behind}");
    }
}

/// Numbers that the sample proxy takes and the system or a token does not are cut, or passed over; no file
/// that is served there is refused here for them.
#[test]
fn a_number_out_of_range_is_cut() {
    for (line, other, said) in [
        (
            "session_pool_max_size = 30",
            "session_pool_max_size = 1_048_576",
            "`session_pool_max_size = 1048576` exceeds the maximum: using 10000",
        ),
        (
            "max_plaintext_in_base64 = 5736",
            "max_plaintext_in_base64 = 4_000_000_000",
            "`max_plaintext_in_base64 = 4000000000` exceeds the maximum: using 16777216",
        ),
        (
            "max_aad_in_base64 = 10924",
            "max_aad_in_base64 = 0x7fff_ffff_ffff_ffff",
            "`max_aad_in_base64 = 9223372036854775807` exceeds the maximum: using 16777216",
        ),
        (
            "tcp_keepalive_secs = 60",
            "tcp_keepalive_secs = 0",
            "`tcp_keepalive_secs = 0` is ignored",
        ),
        (
            "tcp_keepalive_retries = 3",
            "tcp_keepalive_retries = 0",
            "`tcp_keepalive_retries = 0` is ignored",
        ),
        (
            "tcp_keepalive_interval_secs = 1",
            "tcp_keepalive_interval_secs = 100_000",
            "`tcp_keepalive_interval_secs = 100000` exceeds the maximum: using 32767",
        ),
    ] {
        let old = Old::new("nshield").with(line, other);
        let (code, printed) = old.check();
        assert_eq!(code, Some(0), "{other}: {printed}");
        assert!(
            printed.contains(": warning: ") && printed.contains(said),
            "{other}: {printed}"
        );
        let (code, converted, log) = ended(program().arg("convert").arg(old.write()));
        assert_eq!(code, Some(0), "{other}: {log}");
        let file = old.folder.write("converted.toml", &converted);
        let (code, printed, _) = ended(program().arg("check").arg(file));
        assert_eq!(code, Some(0), "{other}: {printed}");
    }
}

/// What the sample proxy does not start with is an error that names the setting, and what it takes.
#[test]
fn a_value_of_the_wrong_type_is_an_error_with_its_line() {
    for (line, other, said) in [
        (
            "port = 443",
            "port = \"443\"",
            "`port` must be a whole number from 0 to 65535",
        ),
        ("port = 443", "port = 1979-05-27", "`port` must be a whole number"),
        (
            "ip = \"0.0.0.0\"",
            "ip = \"localhost\"",
            "`ip = \"localhost\"`: not an IP address, such as",
        ),
        ("ip = \"0.0.0.0\"", "ip = 0.0.0.0", "`ip`: write the value in quotes"),
        (
            "is_tls_enabled = true",
            "is_tls_enabled = \"true\"",
            "`is_tls_enabled` must be true or false",
        ),
        (
            "is_tls_enabled = true",
            "is_tls_enabled = True",
            "`is_tls_enabled`: write true or false in lower case",
        ),
        (
            "user_pin = \"\"",
            "user_pin = 1234",
            "`user_pin` must be a text in quotes",
        ),
        (
            "rotation_kind = \"HOURLY\"",
            "rotation_kind = 1979-05-27",
            "`rotation_kind` must be a text",
        ),
        (
            "session_pool_max_size = 30",
            "session_pool_max_size = 1_",
            "`session_pool_max_size`: write a whole number",
        ),
    ] {
        let old = Old::new("nshield").with(line, other);
        let at = 1 + old.text.lines().position(|line| line == other).unwrap();
        let (code, printed) = old.check();
        assert_eq!(code, Some(78), "{other}: {printed}");
        assert!(printed.contains(&format!(":{at}: error: {said}")), "{other}: {printed}");
    }
}
