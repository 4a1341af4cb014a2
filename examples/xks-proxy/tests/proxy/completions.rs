//! Completions of the command line, as shells read them.

use std::process::Command;

use crate::support::{Folder, ended, program};

fn script(shell: &str) -> String {
    let (code, out, log) = ended(program().args(["completions", shell]));
    assert_eq!((code, log.as_str()), (Some(0), ""), "{shell}");
    out
}

/// What bash offers for the last of these words, as when it is typed.
fn offered(words: &[&str]) -> Vec<String> {
    let [.., before, last] = words else { panic!("{words:?}") };
    let (count, typed) = (words.len() - 1, words.join("' '"));
    let folder = Folder::new();
    folder.write("completions", &script("bash"));
    let shell = format!(
        ". '{}'\nCOMP_WORDS=('{typed}') COMP_CWORD={count}\n\
         function=$(complete -p xks-proxy | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n\
         \"$function\" xks-proxy '{last}' '{before}'\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"",
        folder.path().join("completions").display()
    );
    let (code, out, log) = ended(Command::new("bash").args(["--norc", "-c", &shell]));
    assert_eq!(code, Some(0), "{out}{log}");
    out.lines().map(str::to_owned).collect()
}

#[test]
fn bash_offers_commands_and_options() {
    for (typed, expected) in [
        (&["xks-proxy", "cloud-k"][..], &["cloud-key-stores", "cloud-keys"][..]),
        (&["xks-proxy", "keys", "rot"], &["rotate"]),
        (&["xks-proxy", "cloud-keys", "create", "--sty"], &["--style"]),
        (&["xks-proxy", "cloud-keys", "create", "--style", "in"], &["in-place"]),
        (&["xks-proxy", "completions", "z"], &["zsh"]),
    ] {
        assert_eq!(offered(typed), expected, "{typed:?}");
    }
}

#[test]
fn each_shell_has_a_script_with_all_commands() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = script(shell);
        for word in ["cloud-keys", "remove-material", "waiting-days", "new-credential"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let (code, _, log) = ended(program().args(["completions", "sh"]));
    assert!(code == Some(2) && log.contains("possible values: bash"), "{log}");
}
