//! Files of certificates and keys, as people and their tools write them: what is in one is used whole, or
//! said to be unusable, with its line.

use std::{
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rcgen::{CertificateParams, IsCa, KeyUsagePurpose};

use crate::support::{
    Authority, Clock, Connection, Http, Leaf, PREFIX, Server, Settings, Site, Target, check, client_config, program,
    run,
};

/// Of a file with two certificates: what to make of it.
type Rewrite = fn(&str, &str) -> String;

fn unwrapped(pem: &str) -> String {
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
}

fn indented(pem: &str) -> String {
    pem.lines().map(|line| format!("\t  {line}  \n")).collect()
}

/// The line of a text, from 1, in which `part` stands for the `time`th time.
fn line_of(text: &str, part: &str, time: usize) -> usize {
    let (at, _) = text.match_indices(part).nth(time - 1).unwrap();
    1 + text[..at].matches('\n').count()
}

/// A server's settings, with these two files.
fn with_chain(chain: &str, key: &str) -> Settings {
    let settings = Settings::new()
        .server("")
        .tables("[tls]\ncertificate_chain = \"chain.pem\"\nprivate_key = \"key.pem\"");
    settings.folder.write("chain.pem", chain);
    settings.folder.write("key.pem", key);
    settings
}

/// All that is in a file is shown to clients, and there is nothing to say of it.
#[tokio::test]
async fn each_certificate_of_a_file_is_shown() {
    let site = Site::new(&Leaf::SERVER);
    let (leaf, intermediate, key) = (site.identity.pem(), site.intermediate().pem(), site.identity.key_pem());
    let forms: [(&str, Rewrite); 9] = [
        ("joined without a line break", |a, b| format!("{}{b}", a.trim_end())),
        ("indented", |a, b| indented(a) + &indented(b)),
        ("CR LF", |a, b| (a.to_owned() + b).replace('\n', "\r\n")),
        ("CR", |a, b| (a.to_owned() + b).replace('\n', "\r")),
        ("byte order marks", |a, b| format!("\u{feff}{a}\u{feff}{b}")),
        ("text between", |a, b| {
            format!("subject=CN = x\nNot the beginning-begin of a certificate.\n{a}# the end of it\n\n{b}\nend\n")
        }),
        ("unwrapped", |a, b| unwrapped(a) + &unwrapped(b)),
        ("the former name", |a, b| {
            (a.to_owned() + b).replace("CERTIFICATE", "X509 CERTIFICATE")
        }),
        ("without a line break at the end", |a, b| {
            (a.to_owned() + b).trim_end().to_owned()
        }),
    ];
    let chains = forms.map(|(name, form)| (name, form(&leaf, &intermediate)));
    for (name, chain) in chains
        .into_iter()
        .chain([("with its key", format!("{leaf}{key}{intermediate}"))])
    {
        let settings = with_chain(&chain, if chain.contains("PRIVATE KEY") { &chain } else { &key });
        assert_eq!(
            check(&settings),
            (Some(0), "0 errors, 0 warnings\n".to_owned()),
            "{name}"
        );
        let server = Server::start(&settings);
        let target = Target::plain(server.address(), PREFIX).with_tls(site.client());
        let connection = Connection::open(&target, Http::One).await.unwrap();
        assert_eq!(connection.handshake.unwrap().certificates.len(), 2, "{name}");
    }
}

/// What makes a block unreadable, of any of the three files: an error at the line of the settings that names
/// the file, with the line of the block.
#[test]
fn what_is_not_read_is_an_error_with_its_line() {
    let site = Site::new(&Leaf::SERVER);
    let authority = Authority::root("Another root");
    let (leaf, second, key) = (site.identity.pem(), site.intermediate().pem(), site.identity.key_pem());
    let spoils: [(&str, Rewrite); 12] = [
        ("TRUSTED", |a, b| {
            a.to_owned() + &b.replace("CERTIFICATE", "TRUSTED CERTIFICATE")
        }),
        ("lower case", |a, b| {
            a.to_owned() + &b.replace("BEGIN CERTIFICATE", "begin certificate")
        }),
        ("four dashes", |a, b| {
            a.to_owned() + &b.replace("-----BEGIN", "----BEGIN")
        }),
        ("dashes of a word processor", |a, b| {
            a.to_owned() + &b.replace("-----BEGIN", "\u{2014}\u{2014}-BEGIN")
        }),
        ("no dashes", |a, b| {
            a.to_owned() + &b.replace("-----BEGIN CERTIFICATE-----", "BEGIN CERTIFICATE")
        }),
        ("not a regular file", |a, b| {
            a.to_owned() + b.split("-----END").next().unwrap()
        }),
        ("cut", |a, b| a.to_owned() + &b[..100] + "\n-----END CERTIFICATE-----\n"),
        ("no Base64", |a, b| a.to_owned() + &b.replacen("MI", "M*", 1)),
        ("no certificate", |a, b| a.to_owned() + &b.replacen("MI", "AA", 1)),
        ("line breaks as two characters", |a, b| {
            a.to_owned() + &b.replace('\n', "\\n")
        }),
        ("more than a certificate", |a, b| {
            let base64: String = b.lines().filter(|line| !line.starts_with('-')).collect();
            let mut der = BASE64_STANDARD.decode(base64).unwrap();
            der.extend(b"more");
            let base64 = BASE64_STANDARD.encode(der);
            format!("{a}-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
        }),
        ("another kind", |a, b| {
            a.to_owned() + &b.replace("CERTIFICATE", "X509 CRL")
        }),
    ];
    let settings = with_chain("", "").tables("[tls.client]\nroots = \"roots.pem\"\nnames = [\"kms.example.com\"]");
    let roots = authority.pem();
    let good = [
        ("chain.pem", leaf.clone() + &second),
        ("key.pem", key.clone()),
        ("roots.pem", roots.clone()),
    ];
    let said = |file: &str, text: &str, line: usize, what: &str| {
        for (name, text) in &good {
            settings.folder.write(name, text);
        }
        settings.folder.write(file, text);
        let (code, printed) = check(&settings);
        assert_eq!(code, Some(78), "{file}, {what}: {printed}");
        let named = 1 + settings.text().lines().position(|line| line.contains(file)).unwrap();
        let place = format!("{}:{named}: error: ", settings.path().display());
        let of_line = format!("{file}, line {line}: ");
        assert!(
            printed
                .lines()
                .any(|said| said.starts_with(&place) && said.contains(&of_line)),
            "{file}, {what}, line {line}: {printed}"
        );
        assert!(!printed.contains("MI") && !printed.contains("M*"), "{what}: {printed}");
    };
    let line = line_of(&(leaf.clone() + "-----"), "-----", 5);
    for (what, spoil) in &spoils {
        said("chain.pem", &spoil(&leaf, &second), line, what);
        let line = line_of(&(roots.clone() + "-----"), "-----", 5);
        said("roots.pem", &spoil(&roots, &second), line, what);
    }
    // What has lost its beginning begins nowhere: its end is what is there.
    let beheaded = leaf.clone() + second.split_once('\n').unwrap().1;
    said("chain.pem", &beheaded, line_of(&beheaded, "-----END", 2), "beheaded");
    let headless = key.split_once('\n').unwrap().1;
    said("key.pem", headless, line_of(headless, "-----END", 1), "beheaded");
    let begun = format!("# the key\n{key}");
    for (what, text) in [
        ("lower case", begun.replace("BEGIN PRIVATE", "Begin Private")),
        ("four dashes", begun.replace("-----BEGIN", "----BEGIN")),
        ("not a regular file", begun.split("-----END").next().unwrap().to_owned()),
        ("encrypted", begun.replace("PRIVATE", "ENCRYPTED PRIVATE")),
        ("no Base64", begun.replacen("MI", "M*", 1)),
        ("another kind", begun.replace("PRIVATE", "OPENSSH PRIVATE")),
    ] {
        said("key.pem", &text, 2, what);
    }
    // As PowerShell writes it.
    let wide: String = leaf.chars().flat_map(|c| [c, '\0']).collect();
    said("chain.pem", &wide, 1, "UTF-16");
}

/// A file of another kind is called by its name, with what to do.
#[test]
fn a_file_of_another_kind_is_named() {
    let site = Site::new(&Leaf::SERVER);
    let (chain, key) = (
        site.identity.pem() + &site.intermediate().pem(),
        site.identity.key_pem(),
    );
    let other_key = Leaf::SERVER.self_signed().key_pem();
    let der = BASE64_STANDARD.decode(
        unwrapped(&chain[..chain.find("-----END").unwrap()])
            .lines()
            .nth(1)
            .unwrap(),
    );
    let der = der.unwrap();
    let relabelled = |pem: &str, label: &str| {
        let old = if pem.contains("PRIVATE") {
            "PRIVATE KEY"
        } else {
            "CERTIFICATE"
        };
        pem.replace(old, label)
    };
    for (chain, key, said) in [
        (
            &*key,
            &*key,
            "chain.pem, line 1: no certificate in PEM (-----BEGIN CERTIFICATE-----), but private key\n",
        ),
        (
            &*chain,
            &*chain,
            "key.pem, line 1: no private key in PEM (PKCS#8, PKCS#1 or SEC1), but certificate\n",
        ),
        (
            &*chain,
            &*relabelled(&key, "PUBLIC KEY"),
            "key.pem, line 1: PUBLIC KEY is not a private key",
        ),
        (
            &*chain,
            &*relabelled(&key, "OPENSSH PRIVATE KEY"),
            "`ssh-keygen -p -m PKCS8`",
        ),
        (
            &*chain,
            &*relabelled(&key, "ENCRYPTED PRIVATE KEY"),
            "decrypt it with `openssl pkey`",
        ),
        (
            &*relabelled(&chain, "PKCS7"),
            &*key,
            "chain.pem, line 1: PKCS7 is a container of certificates",
        ),
        (
            &*relabelled(&chain, "CERTIFICATE REQUEST"),
            &*key,
            "use the certificate",
        ),
        (
            &*chain,
            &*(other_key + &key),
            "a second private key is ignored: the first one is used",
        ),
        (
            &*chain,
            &*key.replacen("MI", "MA", 1),
            "key.pem: the private key cannot be used: it must be RSA with 2048",
        ),
    ] {
        let (code, printed) = check(&with_chain(chain, key));
        assert_eq!(code, Some(78), "{said}: {printed}");
        assert!(printed.contains(said), "{said}: {printed}");
    }
    let settings = with_chain("", &key);
    std::fs::write(settings.folder.path().join("chain.pem"), der).unwrap();
    let (code, printed) = check(&settings);
    assert!(
        code == Some(78) && printed.contains("line 1: binary (DER), not PEM"),
        "{printed}"
    );
    assert!(printed.contains("`openssl pkcs12 -nodes`"), "{printed}");
}

/// A chain that clients cannot follow is served, and said.
#[test]
fn a_chain_that_leads_nowhere_is_a_warning() {
    let site = Site::new(&Leaf::SERVER);
    let (leaf, intermediate, root) = (site.identity.pem(), site.intermediate().pem(), site.root.pem());
    let twin = Authority::root("Root of a test").intermediate("Intermediate of a test");
    let other = Authority::root("Another root").pem();
    let key = site.identity.key_pem();
    for (chain, said) in [
        (
            vec![&leaf],
            Some("the issuer of this certificate, CN=Intermediate of a test, is missing at the end of the chain"),
        ),
        (
            vec![&leaf, &root],
            Some("is missing: the next certificate is another one"),
        ),
        (vec![&leaf, &root, &intermediate], Some("out of order")),
        (
            vec![&leaf, &intermediate, &other],
            Some("is missing: the next certificate is another one"),
        ),
        // One of the right name, and of another key.
        (
            vec![&leaf, &twin.pem()],
            Some("is missing: the next certificate is another one"),
        ),
        (
            vec![&leaf, &leaf, &intermediate],
            Some("the same certificate as in line 1"),
        ),
        (vec![&leaf, &intermediate, &root, &other], Some("is a self-signed root")),
        (vec![&leaf, &intermediate], None),
        (vec![&leaf, &intermediate, &root], None),
    ] {
        let chain: String = chain.into_iter().map(String::as_str).collect();
        let (code, printed) = check(&with_chain(&chain, &key));
        assert_eq!(code, Some(0), "{printed}");
        match said {
            Some(said) => assert!(
                printed.contains(": warning: ") && printed.contains(said),
                "{said}: {printed}"
            ),
            None => assert_eq!(printed, "0 errors, 0 warnings\n"),
        }
    }
    // The server's own certificate is not the first: it could not be served.
    let (code, printed) = check(&with_chain(&(intermediate.clone() + &leaf), &key));
    assert_eq!(code, Some(78), "{printed}");
    let line = line_of(&(intermediate + &leaf), "-----BEGIN", 2);
    let said = format!("the private key belongs to the certificate in line {line}, which must come first");
    assert!(printed.contains(&said), "{said}: {printed}");
}

/// Certificates that are whole and in their order, but that clients refuse, get a warning.
#[test]
fn a_certificate_that_clients_refuse_is_a_warning() {
    type Change = fn(&mut CertificateParams);
    let root = Authority::root("Root of a test");
    let no_change: Change = |_| {};
    let changes: [(Change, Leaf<'_>, &str); 5] = [
        (
            |intermediate| intermediate.is_ca = IsCa::ExplicitNoCa,
            Leaf::SERVER,
            "clients reject certificates issued by CN=Intermediate",
        ),
        (
            |intermediate| intermediate.is_ca = IsCa::NoCa,
            Leaf::SERVER,
            "clients reject certificates issued by CN=Intermediate",
        ),
        (
            |intermediate| intermediate.key_usages = vec![KeyUsagePurpose::DigitalSignature],
            Leaf::SERVER,
            "clients reject certificates issued by CN=Intermediate",
        ),
        (
            no_change,
            Leaf {
                names: &["127.0.0.1"],
                ..Leaf::SERVER
            },
            "its subject alternative name has no DNS name",
        ),
        (
            no_change,
            Leaf {
                is_for_clients: true,
                ..Leaf::SERVER
            },
            "its extendedKeyUsage lacks serverAuth",
        ),
    ];
    for (change, leaf, said) in changes {
        let intermediate = root.intermediate_with("Intermediate", change);
        let own = intermediate.issue(&leaf);
        let (code, printed) = check(&with_chain(&(own.pem() + &intermediate.pem()), &own.key_pem()));
        assert_eq!(code, Some(0), "{printed}");
        let warnings: Vec<_> = printed.lines().filter(|line| line.contains(": warning: ")).collect();
        assert!(matches!(&*warnings, [only] if only.contains(said)), "{said}: {printed}");
    }
}

/// A self-signed certificate is its own issuer, and has nothing to be warned of.
#[test]
fn a_self_signed_certificate_is_a_whole_chain() {
    let own = Leaf::SERVER.self_signed();
    let printed = check(&with_chain(&own.pem(), &own.key_pem()));
    assert_eq!(printed, (Some(0), "0 errors, 0 warnings\n".to_owned()));
}

/// What `openssl req -x509` makes by itself is a certificate authority, which not all clients take as a
/// server.
#[test]
fn a_certificate_authority_as_server_is_a_warning() {
    let settings = with_chain("", "");
    let file = |name: &str| settings.file(name).display().to_string();
    let self_signed = |more: &[&str]| {
        let new = "req -x509 -nodes -newkey rsa:2048 -days 90 -subj /CN=localhost -addext subjectAltName=DNS:localhost";
        run(Command::new("openssl")
            .args(new.split(' '))
            .args(["-keyout", &file("key.pem"), "-out", &file("chain.pem")])
            .args(more));
    };
    self_signed(&[]);
    let (code, printed) = check(&settings);
    assert_eq!(code, Some(0), "{printed}");
    let said = "it is a certificate authority (basicConstraints CA:TRUE); issue it with CA:FALSE";
    assert!(
        printed.contains(": warning: ") && printed.contains(said) && printed.contains("chain.pem, line 1:"),
        "{printed}"
    );
    // As the warning says.
    self_signed(&["-addext", "basicConstraints=critical,CA:FALSE"]);
    assert_eq!(check(&settings), (Some(0), "0 errors, 0 warnings\n".to_owned()));
}

/// Clients' roots: one that issues nothing is reported, and so is one that has expired.
#[test]
fn a_root_that_issues_nothing_is_a_warning() {
    let site = Site::new(&Leaf::SERVER);
    let settings = site
        .settings()
        .server("")
        .tables("[tls.client]\nroots = \"roots.pem\"\nnames = [\"kms.example.com\"]");
    let ended = Leaf {
        is_expired: true,
        ..Leaf::SERVER
    };
    for (roots, said) in [
        (site.root.pem(), None),
        (
            site.root.pem() + &site.identity.pem(),
            Some("is not a certificate authority"),
        ),
        (site.root.pem() + &ended.self_signed().pem(), Some("expired on")),
    ] {
        settings.folder.write("roots.pem", &roots);
        let (code, printed) = check(&settings);
        assert_eq!(code, Some(0), "{printed}");
        match said {
            Some(said) => assert!(
                printed.contains(": warning: ") && printed.contains(said),
                "{said}: {printed}"
            ),
            None => assert_eq!(printed, "0 errors, 0 warnings\n"),
        }
    }
}

/// What OpenSSL makes of a request without extensions is X.509 version 1. The certificate is at fault, not
/// the key.
#[test]
fn a_certificate_of_version_1_is_named() {
    let settings = with_chain("", "");
    let file = |name: &str| settings.file(name).display().to_string();
    let [key, request, chain] = ["key.pem", "request.pem", "chain.pem"].map(file);
    let new = ["req", "-new", "-nodes", "-newkey", "rsa:2048", "-subj", "/CN=localhost"];
    run(Command::new("openssl")
        .args(new)
        .args(["-keyout", &key, "-out", &request]));
    let sign = [
        "x509", "-req", "-days", "60", "-in", &request, "-signkey", &key, "-out", &chain,
    ];
    run(Command::new("openssl").args(sign));
    let (code, printed) = check(&settings);
    assert_eq!(code, Some(78), "{printed}");
    let mut errors = printed.lines().filter(|line| line.contains(": error: "));
    assert!(
        errors.any(|line| line.contains("chain.pem") && line.contains("version 1")),
        "{printed}"
    );
    assert!(!printed.contains("private key"), "{printed}");
}

/// An operator who reads no warning at the start gets one when the end comes nearer, also if the start takes
/// longer than the ten seconds.
#[test]
fn a_certificate_that_comes_near_its_end_is_said_while_it_is_served() {
    let in_seven_days = Leaf {
        valid_for: Some(Duration::from_secs(7 * 24 * 60 * 60 + 10)),
        ..Leaf::SERVER
    };
    let site = Site::new(&in_seven_days);
    let server = Server::start(&site.settings());
    let log = server.process.log.wait_for("expires within 7 days");
    let said = log.lines().find(|line| line.contains("expires within 7 days")).unwrap();
    assert!(said.contains("WARN") && said.contains("renew it"), "{log}");
}

/// A server that runs for months, by a clock that is set ahead: each stage is named, and every day again.
#[test]
fn a_certificate_near_its_end_is_named_every_day() {
    const DAY: i64 = 24 * 60 * 60;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let in_days = |days: i64| i64::try_from(now.as_secs()).unwrap() + days * DAY + 60;
    let leaf = Leaf {
        valid_for: Some(Duration::from_secs(40 * 24 * 60 * 60)),
        ..Leaf::SERVER
    };
    let clock = Clock::new(in_days(0));
    let settings = Site::new(&leaf).settings();
    let mut command = program();
    clock.rule(&mut command);
    let server = Server::start_by(command.arg("--config").arg(settings.write()));
    let log = &server.process.log;
    assert_eq!(log.count("expires within"), 0, "{}", log.text());
    for (days, said, times) in [
        (20, "expires within 30 days", 1),
        (21, "expires within 30 days", 2),
        (34, "expires within 7 days", 1),
        (41, "expired on", 1),
    ] {
        clock.set(in_days(days));
        assert!(log.holds(said, times), "{days}: {}", log.text());
    }
}

/// The roots of clients are read whole too: a client of the second one is let in, however the file was
/// joined.
#[tokio::test]
async fn a_client_of_each_root_is_let_in() {
    let site = Site::new(&Leaf::SERVER);
    let roots = ["First root of clients", "Second root of clients"].map(Authority::root);
    let joined = roots[0].pem().trim_end().to_owned() + &roots[1].pem();
    let settings = site
        .settings()
        .tables("[tls.client]\nroots = \"roots.pem\"\nnames = [\"kms.example.com\"]");
    settings.folder.write("roots.pem", &joined);
    let server = Server::start(&settings);
    for root in &roots {
        let identity = root.issue(&Leaf {
            names: &["kms.example.com"],
            ..Leaf::default()
        });
        let client = client_config(&site.root, Some(&identity), rustls::ALL_VERSIONS, &[]);
        let target = Target::plain(server.address(), PREFIX).with_tls(client);
        let mut connection = Connection::open(&target, Http::One).await.unwrap();
        let body = crate::support::body(&serde_json::json!({}));
        let answer = connection
            .post(&crate::support::usual_signer(), "health", &body)
            .await
            .unwrap();
        assert_eq!(answer.status, 200);
    }
}
