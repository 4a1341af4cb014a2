//! Connections that a firewall has forgotten: nothing arrives any more, and nobody says so.

use std::time::Duration;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};
use xks_lifecycle::store::{Claim, ClaimKind, PostgresSettings, PostgresStore, Revision, Store as _, Swap};

use crate::{
    server::{Database, RUNTIME},
    support::{followed, names, put},
};

/// Passes connections on to the server, until it forgets those that there are.
struct Firewall {
    port: u16,
    forget: watch::Sender<()>,
}

impl Firewall {
    async fn before(database: &Database) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, server) = (listener.local_addr().unwrap().port(), database.server.port());
        let (forget, forgotten) = watch::channel(());
        tokio::spawn(async move {
            loop {
                let (mut inside, _) = listener.accept().await.unwrap();
                let mut forgotten = forgotten.clone();
                forgotten.mark_unchanged();
                tokio::spawn(async move {
                    let mut outside = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut inside, &mut outside) => {}
                        // Both ends stay open.
                        _ = forgotten.changed() => std::future::pending().await,
                    }
                });
            }
        });
        Self { port, forget }
    }
}

#[test]
fn calls_after_it_are_made_on_new_connections() {
    RUNTIME.block_on(async {
        let database = Database::new().await;
        let other = database.open().await;
        let firewall = Firewall::before(&database).await;
        let url = format!("postgres://xks@127.0.0.1:{}/{}", firewall.port, database.name);
        let settings = PostgresSettings::new(&url)
            .unwrap()
            .password_file(database.server.password_file())
            .timeout(Duration::from_secs(4))
            .poll(Duration::from_millis(500));
        let store = PostgresStore::open(settings).await.unwrap();
        store.commit(put(Revision::ZERO, "a")).await.unwrap();
        let claim = Claim::new(ClaimKind::Node, "node", "owner", 1, "");
        store.swap(Swap::Insert(claim.clone())).await.unwrap();
        assert_eq!(names(&store).await, ["a"]);
        firewall.forget.send(()).unwrap();
        let (committed, swapped, named) = tokio::join!(
            store.commit(put(Revision::new(1), "b")),
            store.swap(Swap::Delete(claim)),
            names(&store),
        );
        committed.unwrap();
        assert!(swapped.unwrap().is_done);
        assert!(named.contains(&"a".to_owned()), "{named:?}");
        // The listener has noticed it too.
        other.commit(put(Revision::new(2), "c")).await.unwrap();
        assert_eq!(followed(&store, Revision::new(2)).await, Revision::new(3));
    });
}
