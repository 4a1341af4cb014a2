//! What a confirmed command is compared with: one commit whose notification three connections hear, by the
//! driver alone.

use std::{
    future::poll_fn,
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls, Socket, Statement, tls::NoTlsStream};
use xks_test_postgres::{PASSWORD, Server, USER};

const LISTENERS: usize = 3;

/// A connection that commits, and three that listen, each on threads of its own as a node has them.
pub(crate) struct Bare {
    client: Client,
    commit: Statement,
    look: Statement,
    heard: std::sync::Mutex<UnboundedReceiver<()>>,
    /// Of the connections.
    runtimes: Vec<Runtime>,
}

impl Bare {
    pub(crate) fn new(server: &Server) -> Self {
        server.create_database("bare");
        let runtimes: Vec<_> = (0..=LISTENERS).map(|_| runtime()).collect();
        let (hears, heard) = unbounded_channel();
        let (client, connection) = connect(&runtimes[0], server);
        runtimes[0].spawn(connection);
        let [commit, look] = runtimes[0].block_on(async {
            let tables = "CREATE TABLE head (revision bigint NOT NULL);
                          INSERT INTO head VALUES (0);
                          CREATE TABLE heard (id bigint PRIMARY KEY, revision bigint NOT NULL);
                          INSERT INTO heard SELECT id, 0 FROM generate_series(0, 2) AS id";
            client.batch_execute(tables).await.unwrap();
            let commit = "WITH next AS (UPDATE head SET revision = revision + 1 RETURNING revision)
                          SELECT pg_notify($1, revision::text) FROM next";
            let look = "SELECT count(*) FROM heard, head WHERE heard.revision = head.revision";
            [
                client.prepare(commit).await.unwrap(),
                client.prepare(look).await.unwrap(),
            ]
        });
        for (id, runtime) in (0_i64..).zip(&runtimes[1..]) {
            listen(runtime, server, id, hears.clone());
        }
        let heard = heard.into();
        Self {
            client,
            commit,
            look,
            heard,
            runtimes,
        }
    }

    /// The time from a commit until it has returned and three listeners have its notification.
    pub(crate) fn heard(&self) -> Duration {
        self.run("heard", false)
    }

    /// The same, and each listener has written which revision it has, and committed, and the committer has
    /// seen that.
    pub(crate) fn answered(&self) -> Duration {
        self.run("answered", true)
    }

    fn run(&self, channel: &str, answered: bool) -> Duration {
        let mut heard = self.heard.lock().unwrap();
        self.runtimes[0].block_on(async {
            let start = Instant::now();
            self.client.execute(&self.commit, &[&channel]).await.unwrap();
            for _ in 0..LISTENERS {
                heard.recv().await.expect("the listeners live");
            }
            if answered {
                let row = self.client.query_one(&self.look, &[]).await.unwrap();
                assert_eq!(row.get::<_, i64>(0), 3);
            }
            start.elapsed()
        })
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("bare")
        .enable_all()
        .build()
        .unwrap()
}

fn connect(runtime: &Runtime, server: &Server) -> (Client, Connection<Socket, NoTlsStream>) {
    let mut config = Config::new();
    config
        .host("127.0.0.1")
        .port(server.port())
        .user(USER)
        .password(PASSWORD)
        .dbname("bare");
    runtime.block_on(config.connect(NoTls)).unwrap()
}

/// Hears notifications on one connection, and answers on another those that want it.
fn listen(runtime: &Runtime, server: &Server, id: i64, hears: UnboundedSender<()>) {
    let (client, mut connection) = connect(runtime, server);
    let (writer, other) = connect(runtime, server);
    runtime.spawn(other);
    let write = "UPDATE heard SET revision = $2 WHERE id = $1";
    let write = runtime.block_on(writer.prepare(write)).unwrap();
    let (heard, mut notifications) = unbounded_channel();
    runtime.spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notification) = message {
                heard.send(notification).expect("it is received below");
            }
        }
    });
    runtime
        .block_on(client.batch_execute("LISTEN heard; LISTEN answered"))
        .unwrap();
    runtime.spawn(async move {
        let _listens = client;
        while let Some(notification) = notifications.recv().await {
            if notification.channel() == "answered" {
                let revision: i64 = notification.payload().parse().unwrap();
                writer.execute(&write, &[&id, &revision]).await.unwrap();
            }
            hears.send(()).expect("it is received above");
        }
    });
}
