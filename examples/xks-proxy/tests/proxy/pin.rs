//! PINs that cannot be right, and tokens that need one: reported before one of a token's few attempts is
//! lost.

use std::{fs, process::Command};

use rustix::process::Signal;
use xks_pkcs11_fixture::{Function, Profile, Shim, When, sys::CKR_PIN_INCORRECT};

use crate::support::{Server, Settings, Token, ended, plaintext, quoted, wait_until};

/// What `check` says, with status and all.
fn check(settings: &Settings) -> (Option<i32>, String) {
    let (code, out, log) = ended(crate::support::program().arg("check").arg(settings.write()));
    assert_eq!(log, "", "{out}");
    (code, out)
}

fn settings(token: &Token, pin: &str) -> Settings {
    let settings = token.settings("").server("");
    settings.backends(&token.backend("token", &format!("vendor = \"softhsm\"\n{pin}")))
}

/// A PIN file as editors and shells leave it: what cannot be one is an error, and what is odd is a warning,
/// with the line.
#[test]
fn what_is_odd_about_a_pin_file_is_said() {
    let token = Token::new();
    let pin = Token::PIN;
    let file = token.folder.path().join("odd");
    let settings = settings(&token, &format!("pin_file = {}", quoted(&file)));
    let utf16: Vec<u8> = [0xfeff]
        .into_iter()
        .chain(pin.encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    let cases: [(Vec<u8>, Option<i32>, &str); 14] = [
        (format!("\u{feff}{pin}\n").into(), Some(0), "byte order mark"),
        (format!("{pin} \n").into(), Some(0), "ends with white space"),
        (format!(" {pin}").into(), Some(0), "begins with white space"),
        (format!("\"{pin}\"\n").into(), Some(0), "in quotes"),
        (format!("'{pin}'\n").into(), Some(0), "in quotes"),
        (format!("\u{201c}{pin}\u{201d}\n").into(), Some(0), "in quotes"),
        (
            format!("{pin}\\n").into(),
            Some(0),
            "ends with a backslash and a letter",
        ),
        (format!("{pin}\u{200b}\n").into(), Some(0), "invisible"),
        (Vec::new(), Some(0), "is empty"),
        (
            format!("{pin}\0").into(),
            Some(0),
            "cannot be a PIN: it holds a NUL byte",
        ),
        (
            format!("{pin}\nsecond\n").into(),
            Some(0),
            "cannot be a PIN: it has more than one line",
        ),
        (utf16, Some(78), "UTF-16"),
        (vec![0xfc, b'1', b'2'], Some(78), "UTF-8"),
        (vec![b'1'; 5 * 1024 * 1024], Some(78), "4 MiB"),
    ];
    for (content, code, said) in cases {
        fs::write(&file, content).unwrap();
        let (status, text) = check(&settings);
        assert_eq!(status, code, "{said}: {text}");
        let severity = if code == Some(0) { ": warning: " } else { ": error: " };
        assert!(
            text.lines().any(|line| line.contains(severity) && line.contains(said)),
            "{said}: {text}"
        );
        assert!(!text.contains(pin), "{text}");
    }
    for plain in [format!("{pin}\n"), format!("{pin}\r\n"), format!("{pin}\n\n")] {
        fs::write(&file, plain).unwrap();
        assert_eq!(check(&settings), (Some(0), "0 errors, 0 warnings\n".to_owned()));
    }
}

/// The same where it stands in the settings, of either format; an empty one is meant there.
#[test]
fn what_is_odd_about_a_pin_in_the_settings_is_said() {
    let token = Token::new();
    for (pin, said) in [
        ("1234 ", "ends with white space"),
        ("\\\"1234\\\"", "in quotes"),
        ("\\uFEFF1234", "byte order mark"),
        ("1234\\u0000", "cannot be a PIN: it holds a NUL byte"),
        ("1234\\n5", "cannot be a PIN: it has more than one line"),
    ] {
        let (status, text) = check(&settings(&token, &format!("pin = \"{pin}\"")));
        assert_eq!(status, Some(0), "{text}");
        assert!(text.contains(": warning: ") && text.contains(said), "{said}: {text}");
        let old = crate::support::Old::new("softhsm").with("user_pin = \"not 1234\"", &format!("user_pin = \"{pin}\""));
        let (_, text) = old.check();
        assert!(text.contains(said) && text.contains("user_pin"), "{said}: {text}");
    }
    let (status, text) = check(&settings(&token, "pin = \"\""));
    assert_eq!((status, &*text), (Some(0), "0 errors, 0 warnings\n"));
}

/// The mark is not the PIN's: the token is served. Nothing else is tried that cannot be right.
#[test]
fn no_attempt_is_lost_to_an_editor() {
    let token = Token::new();
    let file = token.folder.path().join("marked");
    fs::write(&file, format!("\u{feff}{}\r\n", Token::PIN)).unwrap();
    let server = token.serve(&settings(&token, &format!("pin_file = {}", quoted(&file))));
    assert!(server.summary.contains("ACTIVE"), "{}", server.summary);
    drop(server);
    for pin in ["123".to_owned(), "1".repeat(256)] {
        let settings = settings(&token, &format!("pin = \"{pin}\""));
        let (code, _, log) = ended(token.program().arg("--config").arg(settings.write()));
        assert_eq!(code, Some(78), "{log}");
        assert!(log.contains("4 to 255 bytes") && log.contains("not sent"), "{log}");
    }
    for pin in ["1234\\u0000", "1234\\n5678"] {
        let settings = settings(&token, &format!("pin = \"{pin}\""));
        let (code, _, log) = ended(token.program().arg("--config").arg(settings.write()));
        assert_eq!(code, Some(78), "{log}");
        assert!(
            log.contains("a NUL byte or more than one line: it was not sent"),
            "{log}"
        );
    }
}

/// A forgotten PIN keeps the server from starting, for good; `login = false` says that it was not forgotten.
#[test]
fn a_forgotten_pin_is_said_at_the_start() {
    let token = Token::new();
    let without = settings(&token, "");
    let (code, _, log) = ended(token.program().arg("--config").arg(without.write()));
    assert_eq!(code, Some(78), "{log}");
    assert!(
        log.contains("requires a login") && log.contains("`pin_file`") && log.contains("login = false"),
        "{log}"
    );
    let server = token.serve(&token.settings("").backends(&token.backend("token", "login = false")));
    let answer = server.curl().call(
        "keys/known/metadata",
        &crate::support::body(&serde_json::json!({})),
        &[],
    );
    assert_ne!(answer.0, 404, "{answer:?}");
    drop(server);
    let both = settings(&token, "login = false\npin = \"1234\"");
    let (code, text) = check(&both);
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("`login = false` and a PIN"), "{text}");
}

/// The text for a module reaches it.
#[test]
fn module_parameters_reach_the_module() {
    let token = Token::new();
    let parameters = "configdir='sql:/etc/pki' flags=readOnly";
    let shim = xks_pkcs11_fixture::shim_path();
    let more = format!(
        "vendor = \"softhsm\"\npin = {:?}\nmodule_parameters = \"{parameters}\"",
        Token::PIN
    );
    let settings = token.settings("").backends(&Token::backend_of(&shim, "token", &more));
    let socket = token.folder.path().join("shim");
    let mut command: Command = token.program();
    let shim = Shim::elsewhere(&mut command, &socket, Profile::SoftHsm);
    let server = Server::start_by(command.arg("--config").arg(settings.write()));
    assert!(server.summary.contains("ACTIVE"), "{}", server.summary);
    assert_eq!(shim.parameters(), parameters);
}

/// A PIN that the token has refused while it served is not sent again by a reload, and the log says why;
/// another one is sent at once, and once.
#[test]
fn a_reload_sends_no_refused_pin_again() {
    let token = Token::new();
    let file = token.folder.path().join("pin-file");
    fs::write(&file, Token::PIN).unwrap();
    let shim = xks_pkcs11_fixture::shim_path();
    let backend = |more: &str| {
        let more = format!("vendor = \"softhsm\"\npin_file = {}\n{more}", quoted(&file));
        token
            .settings("[reload]\nwatch_secs = 0\n[health]\nlisten = \"127.0.0.1:0\"\ninterval_secs = 1\n")
            .backends(&Token::backend_of(&shim, "token", &more))
    };
    let settings = backend("");
    let socket = token.folder.path().join("shim");
    let mut command: Command = token.program();
    let shim = Shim::elsewhere(&mut command, &socket, Profile::SoftHsm);
    let server = Server::start_by(command.arg("--config").arg(settings.write()));
    shim.fail(Function::C_Login, CKR_PIN_INCORRECT, When::once());
    shim.log_out();
    wait_until("the refusal", || {
        let _fails = server.curl().process("keys/known/encrypt", &plaintext(b"x")).output();
        let log = server.process.log.text();
        log.contains("the token rejected the PIN, which is not sent again")
    });
    let before = shim.counters().logins();
    let mut reloads = 0..;
    // Each time with another setting of the backend, so that it has to be opened again.
    let mut is_refused = || {
        let number = reloads.next().unwrap();
        fs::write(settings.path(), backend(&format!("sessions = {}", number + 2)).text()).unwrap();
        server.process.signal(Signal::HUP);
        wait_until("the end of the reload", || {
            server.process.log.count("settings not reloaded") > number
        });
        let log = server.process.log.text();
        let line = log
            .lines()
            .rfind(|line| line.contains("settings not reloaded"))
            .unwrap();
        assert!(line.contains("[backends.token]") && line.contains("restart"), "{line}");
        assert!(!log.contains("logged in with the former PIN"), "it is not open: {log}");
        shim.counters().logins() - before
    };
    assert_eq!((is_refused(), is_refused()), (0, 0), "the same PIN");
    fs::write(&file, "another").unwrap();
    assert_eq!((is_refused(), is_refused()), (1, 1), "another PIN");
    assert_eq!(server.stop().0.code(), Some(0));
}
