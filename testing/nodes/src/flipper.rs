//! Commands: each flipper closes and opens one subject, through the socket of any node.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    admin::{self, Failure, nothing},
    judge::{Command, Returned, SubjectId},
    node,
    shared::Shared,
    site::{self, Operations, Subject, Way},
};

/// What is closed and opened.
#[derive(Clone, Debug)]
pub(crate) enum Thing {
    /// A key, that is disabled and enabled.
    Key(String),
    /// An external key store, that is blocked and unblocked.
    Store(String),
    /// A version of a key, that is revoked and restored.
    Version(String, String),
    /// Credentials of an external key store, of which each is made and revoked.
    Credentials(Box<Way>),
}

impl Thing {
    fn path(&self, command: Command) -> String {
        match (self, command) {
            (Self::Key(key), Command::Close) => format!("keys/{key}/disable"),
            (Self::Key(key), Command::Open) => format!("keys/{key}/enable"),
            (Self::Store(store), Command::Close) => format!("key-stores/{store}/block"),
            (Self::Store(store), Command::Open) => format!("key-stores/{store}/unblock"),
            (Self::Version(key, version), Command::Close) => format!("keys/{key}/versions/{version}/revoke"),
            (Self::Version(key, version), Command::Open) => format!("keys/{key}/versions/{version}/restore"),
            (Self::Credentials(way), _) => format!("key-stores/{}/credentials", way.store.id),
        }
    }
}

/// Closes and opens a thing until the run is over.
pub(crate) struct Flipper {
    pub(crate) shared: Arc<Shared>,
    pub(crate) rng: fastrand::Rng,
    pub(crate) thing: Thing,
    pub(crate) subject: SubjectId,
}

impl Flipper {
    pub(crate) async fn flip(mut self) {
        while !self.shared.has_to_stop() {
            let is_flipped = match self.thing.clone() {
                Thing::Credentials(way) => self.flip_credential(&way).await,
                thing => self.flip_thing(&thing).await,
            };
            if is_flipped {
                self.shared.flipped();
            }
        }
    }

    /// Waits between so much of a lease and so much, rather shorter.
    async fn hold(&mut self, least: f64, most: f64) {
        let part = least * (most / least).powf(self.rng.f64());
        sleep(self.shared.lease.mul_f64(part)).await;
    }

    async fn flip_thing(&mut self, thing: &Thing) -> bool {
        for (command, most) in [(Command::Close, 0.6), (Command::Open, 0.6)] {
            let path = thing.path(command);
            // Again, until it is confirmed: then nothing is left to do but to wait.
            loop {
                let given = self.give(self.subject, command, &path, &nothing()).await;
                match given {
                    Some(Returned::Confirmed) => break,
                    _ if self.shared.has_to_stop() => return false,
                    _ => sleep(Duration::from_millis(10)).await,
                }
            }
            self.hold(0.005, most).await;
        }
        true
    }

    /// A credential is made, used, and revoked for good.
    async fn flip_credential(&mut self, way: &Way) -> bool {
        let mut letters = |alphabet: &[u8], length: usize| -> String {
            let letter = |_| self.rng.choice(alphabet).map(|letter| char::from(*letter));
            (0..length).filter_map(letter).collect()
        };
        let given = json!({
            "access_key_id": letters(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 22),
            "secret_access_key": letters(b"abcdefghijklmnopqrstuvwxyz0123456789", 50),
        });
        let Ok(way) = way.with_credential(&given) else {
            return false;
        };
        let store = self.thing.path(Command::Open);
        let id = given.get("access_key_id").and_then(Value::as_str).unwrap_or_default();
        let make = |id| {
            let subject = Subject::new(id, "a credential", &way, Operations::Both);
            subject.refused_with((401, "AuthenticationFailedException"))
        };
        // It is refused before it is made, so nothing was promised then.
        let subject = self.shared.add_subject(make);
        let made = self.give(subject, Command::Open, &store, &given).await;
        if matches!(made, Some(Returned::Confirmed | Returned::NotConfirmed)) {
            self.hold(0.05, 0.5).await;
        }
        let path = format!("{store}/{id}/revoke");
        let mut is_flipped = false;
        while !self.shared.has_to_stop() {
            match self.give(subject, Command::Close, &path, &nothing()).await {
                Some(Returned::Confirmed) => {
                    self.hold(0.05, 0.5).await;
                    is_flipped = true;
                    break;
                }
                // It was never made.
                Some(Returned::Failed) if !matches!(made, Some(Returned::Confirmed | Returned::NotConfirmed)) => break,
                _ => sleep(Duration::from_millis(10)).await,
            }
        }
        self.shared.remove_subject(subject);
        is_flipped
    }

    /// Gives a command once, to any node that takes it.
    async fn give(&mut self, subject: SubjectId, command: Command, path: &str, body: &Value) -> Option<Returned> {
        let shared = Arc::clone(&self.shared);
        let node = shared.choose_node(&mut self.rng);
        let sent = shared.sent(subject);
        shared.commander_is(node);
        let socket = node::socket(&shared.folder, node);
        let failure = match admin::post(&socket, path, body).await {
            Ok(done) => {
                if done.returned == Returned::Failed {
                    shared.state().tally.failed(&done.body);
                }
                shared.returned(subject, command, done.returned, sent);
                return Some(done.returned);
            }
            Err(failure) => failure,
        };
        match failure {
            Failure::NotSent => None,
            Failure::Lost => {
                shared.returned(subject, command, Returned::Lost, sent);
                shared.must_be_down(node, path);
                Some(Returned::Lost)
            }
            Failure::Hangs => {
                let why = site::described(&failure);
                shared.state().tally.other(format!("node {node}, {path}: {why}"));
                None
            }
        }
    }
}
