//! What is under management: keys, external key stores, a version, credentials; and the requests for each.

use std::{path::Path, sync::Arc, time::SystemTime};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use xks_test_client::{Connection, HOST, Http, Prepared, REGION, Signer, Target};

use crate::{
    admin::{self, Failure},
    judge::{Returned, SubjectId},
    node,
};

/// What is encrypted.
const PLAINTEXT: &str = "c2l4dGVlbiBieXRlcyBsb25n";

/// The signed requests for a subject, which all nodes answer alike.
#[derive(Debug)]
pub(crate) struct Subject {
    pub(crate) id: SubjectId,
    /// What it is, for a person.
    pub(crate) name: String,
    signer: Signer,
    /// Each with its path and body.
    wanted: Vec<Wanted>,
    /// Status and name of the error with which it is refused when it is closed.
    pub(crate) refusal: (u16, &'static str),
}

#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    path: String,
    body: Arc<str>,
    pub(crate) prepared: Prepared,
    /// Whether the answer must be the plaintext.
    pub(crate) decrypts: bool,
}

impl Subject {
    /// A subject that is used by this, and refused like a key that is disabled.
    pub(crate) fn new(id: SubjectId, name: impl Into<String>, way: &Way, operations: Operations) -> Self {
        let wanted = match operations {
            Operations::Both => vec![way.encrypts(), way.decrypts()],
            Operations::Decrypt => vec![way.decrypts()],
        };
        Self {
            id,
            name: name.into(),
            signer: way.signer.clone(),
            wanted,
            refusal: (400, "InvalidStateException"),
        }
    }

    /// A subject that is refused otherwise.
    pub(crate) fn refused_with(self, refusal: (u16, &'static str)) -> Self {
        Self { refusal, ..self }
    }

    /// The same, signed at this moment.
    pub(crate) fn signed_now(&self) -> Self {
        let signer = now(&self.signer);
        let again = |wanted: &Wanted| Wanted {
            prepared: prepared(&signer, &wanted.path, &wanted.body),
            ..wanted.clone()
        };
        Self {
            id: self.id,
            name: self.name.clone(),
            wanted: self.wanted.iter().map(again).collect(),
            signer,
            refusal: self.refusal,
        }
    }

    /// One of its requests.
    pub(crate) fn request(&self, rng: &mut fastrand::Rng) -> Option<&Wanted> {
        rng.choice(self.wanted.iter())
    }

    /// Whether an answer to a decryption is right.
    pub(crate) fn is_plaintext(answer: &Value) -> bool {
        answer.get("plaintext").and_then(Value::as_str) == Some(PLAINTEXT)
    }
}

/// Which requests use a subject.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operations {
    Both,
    Decrypt,
}

/// A key, the external key store that it is in, and a credential of that.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) store: Store,
    pub(crate) key: String,
    signer: Signer,
    /// The body that decrypts.
    ciphertext: Arc<str>,
}

/// An external key store.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) id: String,
    pub(crate) prefix: String,
    set: String,
}

impl Way {
    fn path(&self, operation: &str) -> String {
        format!("{}/kms/xks/v1/keys/{}/{operation}", self.store.prefix, self.key)
    }

    fn wanted(&self, operation: &str, body: Arc<str>) -> Wanted {
        let path = self.path(operation);
        Wanted {
            prepared: prepared(&now(&self.signer), &path, &body),
            decrypts: operation == "decrypt",
            path,
            body,
        }
    }

    fn encrypts(&self) -> Wanted {
        self.wanted("encrypt", body(&json!({"plaintext": PLAINTEXT})).to_string().into())
    }

    fn decrypts(&self) -> Wanted {
        self.wanted("decrypt", Arc::clone(&self.ciphertext))
    }

    /// The same with another credential.
    pub(crate) fn with_credential(&self, credential: &Value) -> anyhow::Result<Self> {
        Ok(Self {
            signer: signer(credential)?,
            ..self.clone()
        })
    }

    /// Encrypts with the key's current version, for decryptions.
    pub(crate) async fn encrypted(&self, node: usize) -> anyhow::Result<Self> {
        let mut connection = Connection::open(&target(node), Http::One).await?;
        let answer = connection.send(&self.encrypts().prepared).await?;
        if answer.status != 200 {
            bail!("an encryption is refused: {} {}", answer.status, answer.json);
        }
        let mut fields = answer.json;
        if let Some(fields) = fields.as_object_mut() {
            fields.remove("ciphertextDataIntegrityValue");
        }
        Ok(Self {
            ciphertext: body(&fields).to_string().into(),
            ..self.clone()
        })
    }
}

/// A node as clients know it: all of them have one name.
pub(crate) fn target(node: usize) -> Target {
    Target {
        host: HOST.to_owned(),
        ..Target::plain(node::address(node), "")
    }
}

fn prepared(signer: &Signer, path: &str, body: &str) -> Prepared {
    Prepared::signed(&target(0), signer, path, body.as_bytes())
}

fn now(signer: &Signer) -> Signer {
    Signer {
        time: SystemTime::now(),
        ..signer.clone()
    }
}

fn signer(credential: &Value) -> anyhow::Result<Signer> {
    let [id, secret] = ["access_key_id", "secret_access_key"].map(|name| text(credential, name));
    Ok(Signer::with(id?, secret?, SystemTime::now()))
}

fn body(fields: &Value) -> Value {
    let mut body = json!({
        "requestMetadata": {
            "awsPrincipalArn": "arn:aws:iam::123456789012:user/Alice",
            "kmsKeyArn": "arn:aws:kms:us-east-1:123456789012:/key/1234abcd-12ab-34cd-56ef-1234567890ab",
            "kmsOperation": "Encrypt",
            "kmsRequestId": "4112f4d6-db54-4af4-ae30-c55a22a8dfae",
        },
        "encryptionAlgorithm": "AES_GCM",
    });
    if let (Some(body), Some(fields)) = (body.as_object_mut(), fields.as_object()) {
        body.extend(fields.clone());
    }
    body
}

/// A text of an answer.
pub(crate) fn text<'v>(value: &'v Value, name: &str) -> anyhow::Result<&'v str> {
    let found = value.get(name).and_then(Value::as_str);
    found.with_context(|| format!("no {name} in {value}"))
}

/// Gives commands that make things, in calm weather.
pub(crate) struct Maker<'m> {
    pub(crate) socket: &'m Path,
}

impl Maker<'_> {
    /// Gives a command that has to succeed.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        match admin::post(self.socket, path, body).await {
            Ok(done) if done.returned != Returned::Failed => Ok(done.body),
            Ok(done) => bail!("{path}: {}", done.body),
            Err(failure) => bail!("{path}: {}", described(&failure)),
        }
    }

    /// Makes an external key store, with a key set whose keys are in the store.
    pub(crate) async fn store(&self, tenant: &str, name: &str) -> anyhow::Result<Store> {
        let prefix = format!("/{name}");
        let made = json!({"tenant": tenant, "name": name, "prefix": prefix, "regions": [REGION]});
        let made = self.post("key-stores", &made).await?;
        let id = text(&made, "id")?.to_owned();
        let set = json!({"tenant": tenant, "name": name, "source": "vault", "key_store": id});
        let set = self.post("key-sets", &set).await?;
        let set = text(&set, "id")?.to_owned();
        Ok(Store { id, prefix, set })
    }

    /// Makes a credential.
    pub(crate) async fn credential(&self, store: &Store) -> anyhow::Result<Value> {
        let path = format!("key-stores/{}/credentials", store.id);
        self.post(&path, &json!({})).await
    }

    /// Makes a key.
    pub(crate) async fn key(&self, store: &Store, credential: &Value, name: &str) -> anyhow::Result<Way> {
        let made = self.post("keys", &json!({"key_set": store.set, "name": name})).await?;
        let way = Way {
            store: store.clone(),
            key: text(&made, "id")?.to_owned(),
            signer: signer(credential)?,
            ciphertext: "".into(),
        };
        way.encrypted(0).await
    }
}

/// A failure, for a person.
pub(crate) const fn described(failure: &Failure) -> &'static str {
    match failure {
        Failure::NotSent => "the node takes no connection",
        Failure::Lost => "the connection has ended before the answer",
        Failure::Hangs => "no answer in two minutes",
    }
}
