//! Secrets in files, in the environment and in the settings: they are used, and never shown.

use std::process::Command;

use serde_json::json;

use crate::support::{
    ACCESS_KEY_ID, OTHER_ACCESS_KEY_ID, OTHER_SECRET, PREFIX, SECRET_ACCESS_KEY, Server, Settings, Token, body, check,
    credential, ended, error, key_store, plaintext, program, usual_credential,
};

const FROM_FILE: &str = "ASecretOf43To64CharactersFromAFileOfItsOwnOnly";
const FROM_VARIABLE: &str = "ASecretOf43To64CharactersFromTheEnvironmentOnly";
const THIRD_ID: &str = "THE2THIRD3ACCESS4KEY5ID";

/// SIG-7: three credentials of one key store, whose secrets come from three places.
fn three() -> Settings {
    let file = format!(
        "[[key_stores.credentials]]\naccess_key_id = \"{ACCESS_KEY_ID}\"\nsecret_access_key_file = \"it's a secret\"\n"
    );
    let variable =
        format!("[[key_stores.credentials]]\naccess_key_id = \"{THIRD_ID}\"\nsecret_access_key_env = \"OUR_SECRET\"\n");
    let here = credential(OTHER_ACCESS_KEY_ID, OTHER_SECRET);
    let settings = Settings::new().key_stores(&key_store(PREFIX, "all_keys = true", &[file, variable, here]));
    settings.folder.write("it's a secret", &format!("{FROM_FILE}\r\n"));
    settings
}

fn with_variable(command: &mut Command) -> &mut Command {
    command.env("OUR_SECRET", FROM_VARIABLE)
}

/// SIG-7: a secret is taken from a file, a variable, or the settings; and no output has it, at any level of
/// the log.
#[test]
fn secrets_come_from_three_places_and_stay_secret() {
    let settings = three();
    let mut command = program();
    command.arg("--config").arg(settings.write()).env("RUST_LOG", "trace");
    let server = Server::start_by(with_variable(&mut command));
    let curl = server.curl();
    for (id, secret) in [
        (ACCESS_KEY_ID, FROM_FILE),
        (THIRD_ID, FROM_VARIABLE),
        (OTHER_ACCESS_KEY_ID, OTHER_SECRET),
    ] {
        let answer = curl.call_as(&format!("{id}:{secret}"), "keys/usable/encrypt", &plaintext(b"x"));
        assert_eq!(answer.0, 200, "{id}: {answer:?}");
        // Each id has one secret.
        let answer = curl.call_as(
            &format!("{id}:{SECRET_ACCESS_KEY}"),
            "keys/usable/encrypt",
            &plaintext(b"x"),
        );
        assert_eq!(error(&answer), (401, "AuthenticationFailedException"), "{id}");
    }
    let summary = server.summary.clone();
    let (status, log) = server.stop();
    assert!(status.success() && log.contains("xks::audit"), "{log}");
    let (_, checked, _) = ended(with_variable(program().arg("check").arg(settings.path())));
    for text in [summary, log, checked] {
        for secret in [FROM_FILE, FROM_VARIABLE, OTHER_SECRET] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

/// A secret that is wrong is not shown by the error that says so; neither is a PIN, nor what a key file
/// holds.
#[test]
fn a_wrong_secret_is_not_repeated() {
    const SHORT: &str = "planted-but-short";
    let short = |line: &str| format!("[[key_stores.credentials]]\naccess_key_id = \"{ACCESS_KEY_ID}\"\n{line}\n");
    for line in [
        format!("secret_access_key = \"{SHORT}\""),
        "secret_access_key_file = \"short\"".to_owned(),
        "secret_access_key_env = \"OUR_SECRET\"".to_owned(),
        format!("secret_access_ky = \"{SHORT}\""),
        format!("secret_access_key = [\"{SHORT}\"]"),
        format!("secret_access_key = \"{SHORT}"),
    ] {
        let settings = Settings::new().key_stores(&key_store(PREFIX, "all_keys = true", &[short(&line)]));
        settings.folder.write("short", SHORT);
        let file = settings.write();
        for arguments in [["check"], ["--config"]] {
            let (code, out, log) = ended(program().args(arguments).arg(&file).env("OUR_SECRET", SHORT));
            assert_eq!(code, Some(78), "{line}: {out}{log}");
            assert!(!out.contains(SHORT) && !log.contains(SHORT), "{line}: {out}{log}");
        }
    }
    let settings = Settings::new();
    settings.folder.write("usable.key", &format!("{SHORT}\n"));
    let (code, printed) = check(&settings);
    assert!(code == Some(78) && !printed.contains(SHORT), "{printed}");
}

/// More than one place for one secret, or none, is a mistake.
#[test]
fn a_secret_has_one_place() {
    let both = usual_credential() + "secret_access_key_env = \"OUR_SECRET\"\n";
    let none = format!("[[key_stores.credentials]]\naccess_key_id = \"{ACCESS_KEY_ID}\"\n");
    let missing = format!("{none}secret_access_key_env = \"NO_SUCH_VARIABLE\"\n");
    for (credential, said) in [
        (both, "more than one"),
        (none, "secret_access_key"),
        (missing, "NO_SUCH_VARIABLE"),
    ] {
        let settings = Settings::new().key_stores(&key_store(PREFIX, "all_keys = true", &[credential]));
        let (code, out, _) = ended(with_variable(program().arg("check").arg(settings.write())));
        assert!(code == Some(78) && out.contains(said), "{said}: {out}");
    }
}

/// The settings file is named by the argument or by the variable, and the argument goes before the variable.
#[test]
fn the_settings_file_is_named_in_two_ways() {
    let (first, second) = (
        Settings::new(),
        Settings::new().key_stores(&key_store("/second", "all_keys = true", &[usual_credential()])),
    );
    let server = Server::start_by(program().env("XKS_PROXY_SETTINGS_TOML", first.write()));
    assert_eq!(server.curl().call("health", &body(&json!({})), &[]).0, 200);
    drop(server);
    let mut command = program();
    command.arg("--config").arg(second.write());
    let server = Server::start_by(command.env("XKS_PROXY_SETTINGS_TOML", first.path()));
    assert_eq!(server.curl_of("/second").call("health", &body(&json!({})), &[]).0, 200);
    let answer = server.curl().call("health", &body(&json!({})), &[]);
    assert_eq!(error(&answer), (404, "InvalidUriPathException"));
}

/// The module of the environment goes before that of the file.
#[test]
fn the_module_of_the_environment_goes_first() {
    let token = Token::new();
    let settings = token.settings("");
    let module = xks_pkcs11_fixture::softhsm_path();
    let text = settings.text().replace(module.to_str().unwrap(), "/no/such/module.so");
    let file = settings.folder.write("other.toml", &text);
    let start = |module: Option<&std::path::Path>| {
        let mut command = token.program();
        command.arg("--config").arg(&file);
        if let Some(module) = module {
            command.env("PKCS11_HSM_MODULE", module);
        }
        command
    };
    let server = Server::start_by(&mut start(Some(&module)));
    assert_eq!(server.curl().call("keys/known/metadata", &body(&json!({})), &[]).0, 200);
    let (code, _, log) = ended(&mut start(None));
    assert!(code == Some(78) && log.contains("/no/such/module.so"), "{log}");
}
