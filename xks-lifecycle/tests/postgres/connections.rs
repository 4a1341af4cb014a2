//! How the database is reached: TLS, users and passwords, and what is not even tried.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use xks_lifecycle::store::{Durability, PostgresSettings, PostgresStore, Store as _, StoreError};

use crate::server::{Database, PASSWORD, RUNTIME};

async fn refused(settings: PostgresSettings) -> StoreError {
    match PostgresStore::open(settings).await {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    }
}

/// The whole of an error.
fn text(error: &StoreError) -> String {
    format!("{} {error:?}", xks_core::text::ErrorChain(error))
}

#[test]
fn a_database_with_the_certificate_of_its_host_is_reached_encrypted() {
    RUNTIME.block_on(async {
        let database = Database::new().await;
        let settings = database
            .over("localhost")
            .ca_file(database.server.file("authority.pem"));
        let store = PostgresStore::open(settings).await.unwrap();
        assert_eq!(store.durability().await.unwrap(), Durability::Single);
        let sql = "SELECT count(*), count(*) FILTER (WHERE ssl)
                   FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                   WHERE datname = current_database() AND application_name = 'xks'";
        let found = database.admin().await.query_one(sql, &[]).await.unwrap();
        let (all, encrypted): (i64, i64) = (found.get(0), found.get(1));
        assert!(all == encrypted && all >= 3, "{encrypted} of {all}");
    });
}

#[test]
fn a_certificate_for_another_host_is_refused() {
    RUNTIME.block_on(async {
        let database = Database::new().await;
        let settings = database
            .over("127.0.0.1")
            .ca_file(database.server.file("authority.pem"));
        let error = refused(settings).await;
        assert!(
            matches!(error, StoreError::Setting { setting: "ca_file", .. }),
            "{error}"
        );
        let error = text(&error);
        assert!(
            error.contains("certificate not valid for name \"127.0.0.1\""),
            "{error}"
        );
    });
}

#[test]
fn a_certificate_of_another_authority_is_refused() {
    RUNTIME.block_on(async {
        let database = Database::new().await;
        let settings = database
            .over("localhost")
            .ca_file(database.server.file("another authority.pem"));
        let error = refused(settings).await;
        assert!(
            matches!(error, StoreError::Setting { setting: "ca_file", .. }),
            "{error}"
        );
        assert!(text(&error).contains("invalid peer certificate"), "{error}");
    });
}

/// A server that answers for the database, and has no TLS, gets neither user nor password.
#[test]
fn a_server_without_tls_is_told_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let told = Arc::new(Mutex::new(Vec::new()));
    let tells = Arc::clone(&told);
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let mut request = [0; 8];
            socket.read_exact(&mut request).unwrap();
            socket.write_all(b"N").unwrap();
            let mut told = Vec::new();
            let _ = socket.read_to_end(&mut told);
            tells.lock().unwrap().push(told);
        }
    });
    RUNTIME.block_on(async {
        let database = Database::new().await;
        let settings = PostgresSettings::new(&format!("postgres://xks@127.0.0.1:{port}/xks"))
            .unwrap()
            .password_file(database.server.password_file())
            .ca_file(database.server.file("authority.pem"))
            .timeout(Duration::from_secs(3));
        let error = text(&refused(settings).await);
        assert!(error.contains("server does not support TLS"), "{error}");
    });
    let told = told.lock().unwrap();
    assert!(!told.is_empty() && told.iter().all(Vec::is_empty), "{told:?}");
}

#[test]
fn a_wrong_password_is_refused_and_shown_nowhere() {
    RUNTIME.block_on(async {
        let database = Database::new().await;
        let file = database.server.file("a wrong password");
        fs::write(&file, "guessed and wrong\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let settings = database.settings().password_file(&file);
        let error = refused(settings.clone()).await;
        assert!(matches!(error, StoreError::Refused(_)), "{error}");
        for shown in [text(&error), format!("{settings:?} {settings}")] {
            assert!(!shown.contains("guessed and wrong"), "{shown}");
        }
        // A new file is a new password.
        fs::write(&file, format!("{PASSWORD}\r\n")).unwrap();
        let store = PostgresStore::open(settings).await.unwrap();
        assert!(!format!("{store:?}").contains(PASSWORD));
    });
}

#[test]
fn an_unknown_database_is_refused() {
    RUNTIME.block_on(async {
        let mut database = Database::new().await;
        database.name = "nothing".to_owned();
        let error = refused(database.settings()).await;
        assert!(matches!(error, StoreError::Refused(_)), "{error}");
    });
}

/// The setting that is wrong, and what is said of it.
fn wrong(settings: Result<PostgresSettings, StoreError>) -> (&'static str, String) {
    match settings.and_then(|settings| settings.check()) {
        Err(StoreError::Setting { setting, problem }) => (setting, problem),
        other => panic!("{other:?}"),
    }
}

#[test]
fn settings_that_cannot_be_meant_are_refused_with_their_name() {
    for (url, expected) in [
        ("postgres://xks:hunter2@db/xks", "must not hold a password"),
        ("postgres://xks:hun?ter2@db/xks", "must not hold a password"),
        ("host=db user=xks password=hunter2", "must not hold a password"),
        ("postgres://xks@db/xks?sslmode=disable", "`sslmode`"),
        ("postgres:///xks?user=xks", "names no host"),
        ("host=/run/postgresql,db user=xks", "name one kind"),
        ("mysql://db/xks", "not a URL"),
    ] {
        let (setting, problem) = wrong(PostgresSettings::new(url));
        assert!(setting == "url" && problem.contains(expected), "{url}: {problem}");
        assert!(!problem.contains("ter2"), "{problem}");
    }
    let url = "postgres://xks@localhost,db.example.com/xks";
    let (setting, problem) = wrong(PostgresSettings::new(url));
    assert!(
        setting == "ca_file" && problem.contains("localhost:5432, db.example.com:5432"),
        "{problem}"
    );
    let (setting, problem) = wrong(PostgresSettings::new("host=localhost hostaddr=192.0.2.1"));
    assert!(setting == "ca_file" && problem.contains("must be set"), "{problem}");
    for local in ["localhost", "127.0.0.7", "[::1]"] {
        PostgresSettings::new(&format!("postgres://xks@{local}/xks"))
            .unwrap()
            .check()
            .unwrap();
    }
}

#[test]
fn files_of_settings_are_checked() {
    let directory = std::env::temp_dir().join(format!("xks-settings-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let file = directory.join("file");
    let settings = || PostgresSettings::new("postgres://xks@localhost/xks");
    let with_password = || settings().map(|settings| settings.password_file(&file));
    let with_authority = || settings().map(|settings| settings.ca_file(&file));
    let is = |found: (&str, String), setting: &str, expected: &str| {
        assert!(found.0 == setting && found.1.contains(expected), "{found:?}");
    };
    is(wrong(with_password()), "password_file", "cannot be read");
    fs::write(&file, "secret\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    is(wrong(with_password()), "password_file", "has mode 644");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    with_password().unwrap().check().unwrap();
    is(wrong(with_authority()), "ca_file", "holds no certificate");
    fs::write(&file, "\n").unwrap();
    is(wrong(with_password()), "password_file", "must hold a password");
    fs::write(&file, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    is(wrong(with_authority()), "ca_file", "a certificate cannot be used");
    fs::remove_dir_all(&directory).unwrap();
}
