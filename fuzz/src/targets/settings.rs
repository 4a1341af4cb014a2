//! The server's settings files, in its own format and in that of AWS's sample proxy.

use std::{fs, path::Path, sync::LazyLock};

use xks_server::{Reading, Server, kinds};

/// What a file comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Refused,
    /// In our format.
    Ours,
    /// In the sample proxy's, and converted.
    Converted,
}

/// A settings file: read twice, it means the same; what is wrong has a line of it, and no secret; and what
/// is accepted in the sample proxy's format means the same in ours.
pub fn settings(input: &[u8]) -> Outcome {
    let Ok(text) = str::from_utf8(input) else {
        return Outcome::Refused;
    };
    // Files of the system are not the same when they are read twice.
    if ["/proc", "/sys", "/dev"].iter().any(|folder| text.contains(folder)) {
        return Outcome::Refused;
    }
    let reading = read(text);
    let again = read(text);
    assert_eq!(reading.problems, again.problems);
    assert!(reading.model == again.model, "read twice, it means something else");
    check_problems(text, &reading);
    let Some(model) = &reading.model else {
        assert!(reading.converted.is_none());
        return Outcome::Refused;
    };
    let Some(converted) = &reading.converted else {
        assert!(!reading.is_sample_proxys);
        return Outcome::Ours;
    };
    let ours = read(converted);
    check_problems(converted, &ours);
    assert!(!ours.is_sample_proxys);
    let our_model = ours
        .model
        .unwrap_or_else(|| panic!("{:?}\n{}", ours.problems, &**converted));
    assert!(
        *model == our_model,
        "it means something else:\n{model:?}\n{our_model:?}"
    );
    Outcome::Converted
}

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    Server::new("xks-proxy", "0.0.0")
        .backend("pkcs11", kinds::Pkcs11Settings::read)
        .backend("soft", kinds::SoftSettings::read)
        .backend("fleet", kinds::FleetSettings::read)
        .sample_proxy("pkcs11")
});

fn read(text: &str) -> Reading {
    SERVER.read_settings(&FOLDER.join("settings.toml"), text)
}

fn check_problems(text: &str, reading: &Reading) {
    let place = format!("{}:", FOLDER.join("settings.toml").display());
    let lines = 1 + text.matches('\n').count();
    let mut has_errors = false;
    for problem in &reading.problems {
        let parts: Vec<_> = problem.strip_prefix(&place).expect("the file").splitn(3, ':').collect();
        let [line, severity, wrong] = parts[..] else {
            panic!("{problem:?}")
        };
        let line: usize = line.parse().expect("a line");
        assert!((1..=lines).contains(&line), "{problem:?}");
        assert!(
            [" error", " warning"].contains(&severity) && !wrong.is_empty(),
            "{problem:?}"
        );
        has_errors |= severity == " error";
        for secret in secrets(text) {
            assert!(!problem.contains(secret), "a secret is told: {problem:?}");
        }
    }
    assert_eq!(reading.model.is_none(), has_errors);
}

/// What stands in quotes behind the name of a secret, unless it stands elsewhere too.
fn secrets(text: &str) -> impl Iterator<Item = &str> {
    const NAMES: [&str; 4] = [
        "secret_access_key = ",
        "sigv4_secret_access_key = ",
        "pin = ",
        "user_pin = ",
    ];
    let secret = |line: &'_ str| -> Option<(usize, usize)> {
        let rest = NAMES.iter().find_map(|name| line.trim_start().strip_prefix(name))?;
        let secret = rest.strip_prefix(['"', '\''])?.split(['"', '\'', '\\']).next()?;
        let begin = secret.as_ptr() as usize - line.as_ptr() as usize;
        Some((begin, secret.len()))
    };
    text.lines().filter_map(move |line| {
        let (begin, length) = secret(line)?;
        let secret = line.get(begin..begin + length)?;
        (length >= 8 && text.matches(secret).count() == 1).then_some(secret)
    })
}

/// Where the settings file seems to be, with the files that it may name: `chain.pem`, `key.pem`, `roots.pem`,
/// `module.so`, `key.hex`, `secret.txt`, `pin.txt`, `policies.cedar`.
static FOLDER: LazyLock<std::path::PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/settings");
    fs::create_dir_all(&folder).expect("the folder can be made");
    let certificate = rcgen::generate_simple_self_signed(["xks.example.com".to_owned()]).expect("a certificate");
    let (chain, key) = (certificate.cert.pem(), certificate.signing_key.serialize_pem());
    for (name, content) in [
        ("chain.pem", &*chain),
        ("roots.pem", &*chain),
        ("key.pem", &*key),
        ("module.so", "nobody loads it"),
        (
            "key.hex",
            "0101010101010101010101010101010101010101010101010101010101010101",
        ),
        ("secret.txt", "FileSecretFileSecretFileSecretFileSecretFile\n"),
        ("pin.txt", "1234\n"),
        ("policies.cedar", "permit(principal, action, resource);"),
    ] {
        let file = folder.join(name);
        // In one go, for several fuzzers may do this at once.
        let new = folder.join(format!("{name}.{}", std::process::id()));
        fs::write(&new, content).expect("the file can be written");
        fs::rename(&new, &file).expect("the file can be renamed");
    }
    folder
});
