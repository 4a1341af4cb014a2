//! Messages about mistakes in the vendor's table: as those about the server's own, all at once, each with
//! its line.

use crate::site::{Site, program, text};

/// The settings with this table of the backend, whose first line is line 4; and what `check` says, without
/// the path.
fn check(backend: &str) -> (Option<i32>, String) {
    let site = Site::new();
    site.write("master.txt", "one master key of more than 32 characters");
    site.write("short.txt", "short");
    let settings = format!(
        r#"[server]
listen = "127.0.0.1:0"
[backends.vault]
{backend}
[[key_stores]]
uri_path_prefix = "/acme-store"
regions = ["us-east-1"]
keys = ["invoices"]
[[key_stores.credentials]]
access_key_id = "BETWEEN2TENAND3TENCHARACTERS"
secret_access_key = "PleaseReplaceThisWithSomeSecretOfLength43To64"
"#
    );
    let output = site.check(&settings);
    let path = format!("{}:", site.path("settings.toml").display());
    (output.status.code(), text(&output.stdout).replace(&path, ""))
}

#[test]
fn a_table_without_mistakes_passes() {
    let (code, said) = check("kind = \"acme\"\nmaster_key_file = \"master.txt\"\nkeys = [\"invoices\"]");
    assert_eq!((code, &*said), (Some(0), "0 errors, 0 warnings\n"));
}

#[test]
fn all_mistakes_are_said_at_once_each_with_its_line() {
    let (code, said) =
        check("kind = \"acme\"\nmaster_key_fil = \"short.txt\"\nkeys = [\"invoices\", \"a b\"]\nmode = 1");
    assert_eq!(code, Some(78));
    for line in [
        "3: error: `master_key_file` is missing in [backends.vault]",
        "5: error: unknown key `master_key_fil`; did you mean `master_key_file`?",
        "6: error: `keys`: \"a b\": ",
        "7: error: unknown key `mode`; known keys: keys, kind, master_key, master_key_env, master_key_file",
        "4 errors, 0 warnings",
    ] {
        assert!(said.lines().any(|said| said.starts_with(line)), "{line}: {said}");
    }
}

#[test]
fn a_wrong_value_is_refused_at_its_line() {
    let table = "kind = \"acme\"\nmaster_key_file = \"short.txt\"\nkeys = [\"invoices\",\n\"acme-test-key\"]";
    let (code, said) = check(table);
    assert_eq!(code, Some(78));
    assert_eq!(
        said,
        "3: error: the master key has less than 32 characters\n\
         7: error: `keys`: acme-test-key is the key of the health check\n\
         2 errors, 0 warnings\n"
    );
}

/// The server names no kind by itself: those that are registered.
#[test]
fn an_unknown_kind_is_answered_with_those_that_there_are() {
    let (code, said) = check("kind = \"soft\"\nkeys = {}");
    assert_eq!(code, Some(78));
    assert!(
        said.contains("4: error: `kind` must be one of acme, fleet, not \"soft\"\n"),
        "{said}"
    );
}

#[test]
fn a_fleet_can_be_made_of_the_vendors_backend() {
    let vault = "kind = \"acme\"\nmaster_key_file = \"master.txt\"\nkeys = [\"invoices\"]\n";
    let (code, said) = check(&format!(
        "{vault}[backends.all]\nkind = \"fleet\"\nmembers = [\"vault\", \"valut\"]"
    ));
    assert_eq!(code, Some(78));
    assert!(said.contains("7: error: [backends.valut] does not exist\n"), "{said}");
    let (code, said) = check(&format!(
        "{vault}[backends.all]\nkind = \"fleet\"\nmembers = [\"vault\"]"
    ));
    assert_eq!((code, &*said), (Some(0), "0 errors, 0 warnings\n"));
}

/// The help names neither a demo nor the sample proxy's settings: this server has none, and reads none.
#[test]
fn the_help_is_that_of_this_server() {
    let output = program().arg("--help").output().unwrap();
    let help = text(&output.stdout);
    assert!(help.contains("check") && help.contains("new-credential"), "{help}");
    for word in ["demo", "sample", "convert"] {
        assert!(!help.contains(word), "{word}: {help}");
    }
    let output = program().args(["convert", "settings.toml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert_eq!(
        said,
        "acme-proxy: this program does not read the settings of AWS's sample proxy\n"
    );
}
