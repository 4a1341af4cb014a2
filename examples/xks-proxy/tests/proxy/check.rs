//! The command `check`, and its messages about files with mistakes.

use std::fs;

use crate::support::{
    ACCESS_KEY_ID, Leaf, OTHER_SECRET, PREFIX, Settings, Site, check, credential, ended, key_store, program,
    usual_credential,
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

/// TRN-8: a timeout that KMS does not wait for is a warning, and no error; under its former name too.
#[test]
fn a_warning_has_its_line() {
    for name in ["timeout_ms", "budget_ms"] {
        let setting = format!("{name} = 250");
        let settings = Settings::new().server(&setting);
        let (code, printed) = check(&settings);
        let problems = problems(&settings, &printed);
        assert_eq!((code, problems.len()), (Some(0), 1), "{printed}");
        let said = format!(": warning: `{setting}`: KMS times out after 250 ms");
        assert!(problems[0].contains(&said), "{printed}");
        let text = fs::read_to_string(settings.path()).unwrap();
        let line = 1 + text.lines().position(|line| line == setting).unwrap();
        assert!(problems[0].starts_with(&format!("{line}: ")), "{printed}");
        assert!(printed.ends_with("\n0 errors, 1 warning\n"), "{printed}");
    }
}

/// The timeouts of the server and of a fleet have a former name, and only one of the two may be there.
#[test]
fn a_timeout_has_one_of_two_names() {
    let fleet = |timeout: &str| format!("[backends.both]\nkind = \"fleet\"\nmembers = [\"keys\"]\n{timeout}\n");
    for name in ["timeout_ms", "budget_ms"] {
        let (code, printed) = check(&Settings::new().tables(&fleet(&format!("attempt_ms = 9\n{name} = 8"))));
        assert_eq!(code, Some(0), "{printed}");
        assert!(printed.contains("`attempt_ms` exceeds `timeout_ms`"), "{printed}");
    }
    let both = "timeout_ms = 100\nbudget_ms = 100";
    for settings in [Settings::new().server(both), Settings::new().tables(&fleet(both))] {
        let (code, printed) = check(&settings);
        assert_eq!(code, Some(78), "{printed}");
        let said = ": error: `timeout_ms` and `budget_ms` are two names of one setting: remove `budget_ms`\n";
        assert!(printed.contains(said), "{printed}");
    }
}

/// Listeners that take each other's port are named.
#[test]
fn listeners_at_one_address_are_named() {
    let listen = |table: &str, address: &str| format!("[{table}]\nlisten = \"{address}\"\n");
    for (tables, said) in [
        (
            listen("health", "127.0.0.1:8080") + &listen("metrics", "0.0.0.0:8080"),
            Some("[health] and [metrics] have the same address 0.0.0.0:8080"),
        ),
        (
            listen("health", "127.0.0.1:8080") + &listen("metrics", "127.0.0.1:8081"),
            None,
        ),
        (
            listen("health", "127.0.0.1:0") + &listen("metrics", "127.0.0.1:0"),
            None,
        ),
    ] {
        let (code, printed) = check(&Settings::new().server("").tables(&tables));
        match said {
            Some(said) => assert!(code == Some(78) && printed.contains(said), "{printed}"),
            None => assert_eq!(code, Some(0), "{printed}"),
        }
    }
}

/// All errors of a file are reported at once, each with its line, and the server reports the same and does
/// not start.
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
        "4: error: `max_connections` must be a whole number",
        "6: error: `ready_when` must be one of any, all",
        "8: error: `audit` must be a text in quotes",
        "9: error: unknown ",
        "13: error: ",
        "15: error: ",
        "16: error: \"Frankfurt\" is not an AWS Region",
        "18: error: `max_plaintext_bytes` must be a whole number",
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
        let second = key_store(second, "all_keys = true", &[credential(first, OTHER_SECRET)]);
        key_store(PREFIX, "all_keys = true", &[usual_credential()]) + &second
    };
    let other = "ANOTHER2ACCESS3KEY4ID5";
    let fleet =
        "[backends.a]\nkind = \"fleet\"\nmembers = [\"b\"]\n[backends.b]\nkind = \"fleet\"\nmembers = [\"a\"]\n";
    let migrating = |metadata: &str| {
        let keys = format!("all_keys = true\naad_framing = \"migrating\"\nciphertext_metadata = \"{metadata}\"");
        Settings::new().key_stores(&key_store(PREFIX, &keys, &[usual_credential()]))
    };
    for (settings, said) in [
        // ENC-8
        (migrating("rQE="), "must not begin with the mark"),
        (migrating("AAAAAAAAAAAAAAAAAAAAAAAAAA=="), "must not exceed 18 bytes"),
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
            "[backends.none] does not exist",
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

/// A certificate, and a key that has nothing to do with it; or what is neither. The line is that of the
/// file's name.
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

/// SIG-6: one credential for two key stores is served, and said; twice in one key store it is a mistake.
#[test]
fn a_credential_of_two_key_stores_gets_a_warning() {
    let store = |prefix, credentials: &[String]| key_store(prefix, "all_keys = true", credentials);
    let shared = store(PREFIX, &[usual_credential()]) + &store("/example/tenant-b", &[usual_credential()]);
    let settings = Settings::new().server("").key_stores(&shared);
    let (code, printed) = check(&settings);
    assert_eq!(code, Some(0), "{printed}");
    assert!(
        printed.contains(&format!("another key store has the same credential {ACCESS_KEY_ID}")),
        "{printed}"
    );
    assert!(printed.ends_with("0 errors, 1 warning\n"), "{printed}");

    let twice = store(PREFIX, &[usual_credential(), usual_credential()]);
    let (code, printed) = check(&Settings::new().key_stores(&twice));
    assert!(code == Some(78) && printed.contains("is used twice"), "{printed}");
}

/// A variable that the unit sets too: that of the settings is what a module gets, with a warning.
#[test]
fn a_variable_of_two_values_gets_a_warning() {
    let settings = Settings::new()
        .server("")
        .tables("[environment]\nOF_A_MODULE = \"ours\"");
    let check = |value: &str| {
        let file = settings.write();
        let (code, printed, _) = ended(program().arg("check").arg(file).env("OF_A_MODULE", value));
        assert_eq!(code, Some(0), "{printed}");
        printed
    };
    assert_eq!(check("ours"), "0 errors, 0 warnings\n");
    assert!(check("another").contains(": warning: OF_A_MODULE overrides the value in the process's environment"));
}

/// A list with something wrong in it is not reported as empty, too.
#[test]
fn one_mistake_in_a_list_is_said_once() {
    let store = |keys: &str, more: &str| key_store(PREFIX, keys, &[usual_credential()]) + more;
    let all = store("all_keys = true", "");
    let regions = all.lines().find(|line| line.starts_with("regions = ")).unwrap();
    let rule = "[[key_stores.rules]]\nallow = \"all\"\n";
    for (stores, said) in [
        (store("keys = [\"a/b\"]", ""), "`keys`: \"a/b\": "),
        (store("keys = \"usable\"", ""), "`keys` must be a list"),
        (
            all.replace(regions, "regions = \"eu-central-1\""),
            "`regions` must be a list",
        ),
        (
            store("all_keys = true", &format!("{rule}accounts = [1]\n")),
            "`accounts` must be a list",
        ),
        (
            store("all_keys = true", &format!("{rule}operations = \"Encrypt\"\n")),
            "`operations` must be a list",
        ),
    ] {
        let (code, printed) = check(&Settings::new().server("").key_stores(&stores));
        assert_eq!(code, Some(78), "{printed}");
        assert!(
            printed.contains(said) && printed.ends_with("1 error, 0 warnings\n"),
            "{said}: {printed}"
        );
    }
}

/// A large file of another kind, given by mistake, is refused in a time that grows with it, and not with its
/// square.
#[test]
fn a_file_of_many_mistakes_is_read_in_time() {
    let text: String = (0..50_000)
        .map(|number| format!("line_{number} = {number}\n"))
        .collect();
    let settings = Settings::new();
    fs::write(settings.path(), text).unwrap();
    let (code, printed, _) = ended(program().arg("check").arg(settings.path())); // within a minute
    assert_eq!(code, Some(78));
    let last = ":50000: error: unknown key `line_49999`";
    assert!(printed.contains(last), "{}", printed.lines().last().unwrap());
}

/// A log file's name can be none that the system refuses, or that is a folder's.
#[test]
fn a_prefix_of_log_files_can_be_a_name() {
    let with = |prefix: &str| {
        let file = format!("[log.file]\ndirectory = \"logs\"\nrotation = \"never\"\nprefix = {prefix:?}\n");
        check(&Settings::new().server("").tables(&file))
    };
    for prefix in ["", ".", "..", "a/b", "a\nb", &"x".repeat(240)] {
        let (code, printed) = with(prefix);
        assert!(
            code == Some(78) && printed.contains("the prefix of log files"),
            "{prefix:?}: {printed}"
        );
    }
    assert_eq!(with("...").0, Some(0));
}
