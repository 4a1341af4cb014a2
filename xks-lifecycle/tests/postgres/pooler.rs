//! pgbouncer between, which gives each transaction any of its connections.

use std::{
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};

use xks_lifecycle::store::{
    Claim, ClaimKind, PostgresSettings, PostgresStore, PostgresWarning, Revision, Store as _, Swap,
};

use crate::{
    server::{Database, PASSWORD, RUNTIME, command, free_port},
    support::{followed, names, put},
};

/// A pgbouncer before a database. It ends with this.
struct Pooler {
    port: u16,
    process: Child,
}

impl Pooler {
    async fn new(database: &Database) -> Self {
        let server = database.server;
        let port = free_port();
        let directory = server.file("");
        let shown = directory.display();
        let settings = format!(
            "[databases]\n* = host={shown} port={}\n[pgbouncer]\nlisten_addr =\nlisten_port = {port}\n\
             unix_socket_dir = {shown}\nauth_type = scram-sha-256\nauth_file = {shown}/users\n\
             pool_mode = transaction\nlogfile = {shown}/pgbouncer.log\n",
            server.port
        );
        let settings = server.write("pgbouncer.ini", &settings);
        server.write("users", &format!("\"xks\" \"{PASSWORD}\"\n"));
        // It ends when its input is closed, as by the end of this process.
        let script = "PATH=$PATH:/usr/sbin; pgbouncer -q \"$0\" & cat >/dev/null; kill $!";
        let process = command(Path::new("/bin/sh"))
            .args(["-c", script])
            .arg(&settings)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let socket = directory.join(format!(".s.PGSQL.{port}"));
        let started = async {
            while !socket.exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let started = tokio::time::timeout(Duration::from_secs(60), started).await;
        started.expect("no pgbouncer: install it, as scripts/setup does");
        Self { port, process }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

#[test]
fn behind_a_pooler_a_store_works_and_says_that_it_is_not_notified() {
    RUNTIME.block_on(async {
        let database = Database::new().await;
        let pooler = Pooler::new(&database).await;
        let (directory, port, name) = (database.server.file(""), pooler.port, &database.name);
        let poll = Duration::from_millis(200);
        let url = format!("postgres:///{name}?user=xks&host={}&port={port}", directory.display());
        let settings = PostgresSettings::new(&url)
            .unwrap()
            .password_file(database.server.file("password"))
            .timeout(Duration::from_secs(4))
            .poll(poll);
        let direct = database.open().await;
        let pooled = PostgresStore::open(settings).await.unwrap();
        let warning = pooled.warning();
        assert_eq!(warning, Some(PostgresWarning::NoNotifications { poll }));
        assert!(warning.unwrap().to_string().contains("up to 200 ms later"));
        assert_eq!(direct.warning(), None);
        let mut claim = Claim::new(ClaimKind::Node, "node", "owner", 0, "");
        pooled.swap(Swap::Insert(claim.clone())).await.unwrap();
        for number in 0..20 {
            let (expected, next) = (Revision::new(number), Revision::new(number + 1));
            let (writer, reader) = if number % 2 == 0 {
                (&pooled, &direct)
            } else {
                (&direct, &pooled)
            };
            let seen = claim.clone();
            claim.counter += 1;
            let swap = Swap::Replace {
                seen,
                next: claim.clone(),
            };
            let name = number.to_string();
            let (committed, told, swapped) = tokio::join!(
                writer.commit(put(expected, &name)),
                followed(reader, expected),
                pooled.swap(swap),
            );
            committed.unwrap();
            assert_eq!(told, next);
            assert!(swapped.unwrap().is_done);
            assert_eq!(names(&pooled).await.len() as u64, next.get());
        }
        assert_eq!(names(&pooled).await, names(&direct).await);
        assert_eq!(
            pooled.claims(ClaimKind::Node).await.unwrap(),
            (vec![claim], Revision::new(20))
        );
    });
}
