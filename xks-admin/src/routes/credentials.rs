//! Credentials of external key stores. A secret is shown once, by the answer that makes the credential.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use xks_core::{
    Credential,
    key_store::{AccessKeyId, CredentialError},
};
use xks_lifecycle::{
    ExternalKeyStore, FieldError, FieldProblem, KeyStoreCredential, KeyStoreId, OverlapMinutes, Timestamp,
    commands::{CredentialEntry, NewCredential},
    store::Revision,
};

use super::{
    Routes,
    resource::{Nothing, Resource as _, id, object},
};
use crate::{
    answer::{Answer, Page},
    call::Call,
    confirmation::Done,
    problem::Problem,
    read::required,
};

/// The paths of credentials.
pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/key-stores/{id}/credentials", list)
        .post("/key-stores/{id}/credentials", create)
        .get("/key-stores/{id}/credentials/{access_key_id}", show)
        .post("/key-stores/{id}/credentials/{access_key_id}/revoke", revoke)
        .post("/key-stores/{id}/credentials/{access_key_id}/take-secret", take_secret)
        .post("/key-stores/{id}/rotate-credential", rotate)
}

/// A credential, as lists show it.
#[derive(Serialize)]
struct ShownCredential {
    access_key_id: AccessKeyId,
    key_store: KeyStoreId,
    created: Timestamp,
    /// When it ends, while it is being replaced.
    expires: Option<Timestamp>,
    is_revoked: bool,
    is_live: bool,
    /// Whether its secret was not handed out yet: a schedule has made it.
    is_untaken: bool,
    last_used: Option<Timestamp>,
    revision: Revision,
}

impl ShownCredential {
    fn new(entry: CredentialEntry) -> Self {
        let CredentialEntry {
            credential,
            is_live,
            last_used,
            revision,
            ..
        } = entry;
        Self {
            access_key_id: credential.access_key_id,
            key_store: credential.key_store,
            created: credential.created,
            expires: credential.expires,
            is_revoked: credential.is_revoked,
            is_live,
            is_untaken: credential.is_untaken,
            last_used,
            revision,
        }
    }
}

/// A credential that was made, with its secret.
#[derive(Serialize)]
struct Made<'m> {
    access_key_id: &'m AccessKeyId,
    key_store: KeyStoreId,
    secret_access_key: &'m str,
    created: Timestamp,
    /// What the AWS KMS console takes, with the secret.
    console_json: &'m RawValue,
    revision: Revision,
}

fn made(new: &NewCredential) -> Result<Done, Problem> {
    let console_json = new.console_json();
    let credential = &new.credential;
    let answer = Answer::json(&Made {
        access_key_id: &credential.access_key_id,
        key_store: credential.key_store,
        secret_access_key: new.secret().expose(),
        created: credential.created,
        console_json: serde_json::from_str(&console_json).map_err(|error| Problem::internal(&error))?,
        revision: new.revision,
    })?;
    let (path, store, id) = (ExternalKeyStore::PATH, credential.key_store, &credential.access_key_id);
    Ok(answer
        .at(new.revision)
        .done(new.revision)
        .created(format_args!("{path}/{store}/credentials/{id}")))
}

async fn list(call: Call) -> Result<Answer, Problem> {
    let entries = call.commands.credentials(id::<ExternalKeyStore>(&call)?).await?;
    let shown = entries.into_iter().map(ShownCredential::new);
    Answer::json(&Page::whole(shown.collect()))
}

async fn show(call: Call) -> Result<Answer, Problem> {
    shown(&call).await.map(|(answer, _)| answer)
}

async fn shown(call: &Call) -> Result<(Answer, Revision), Problem> {
    let entries = call.commands.credentials(id::<ExternalKeyStore>(call)?).await?;
    let mut shown = entries.into_iter().map(ShownCredential::new);
    let found = shown.find(|shown| shown.access_key_id.as_str() == call.param(1));
    let found = found.ok_or_else(|| unknown(call))?;
    Ok((Answer::json(&found)?.at(found.revision), found.revision))
}

fn unknown(call: &Call) -> Problem {
    let path = format!("{}/credentials", object(ExternalKeyStore::PATH, call.param(0)));
    Problem::unknown(&path, call.param(1))
}

/// A credential that somebody else has made; without both fields one is generated.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
}

impl Given {
    fn credential(self) -> Result<Option<Credential>, FieldError> {
        if self.access_key_id.is_none() && self.secret_access_key.is_none() {
            return Ok(None);
        }
        let id = required("access_key_id", self.access_key_id)?;
        let secret = required("secret_access_key", self.secret_access_key)?;
        let credential = Credential::new(id, secret).map_err(|error| {
            let field = match error {
                CredentialError::AccessKeyId => "access_key_id",
                _ => "secret_access_key",
            };
            FieldError::new(field, FieldProblem::Illegal(error.to_string()))
        });
        credential.map(Some)
    }
}

async fn create(call: Call) -> Result<Done, Problem> {
    let work = async {
        let id = id::<ExternalKeyStore>(&call)?;
        let given: Given = call.body()?;
        made(
            &call
                .commands
                .create_credential(&call.actor, id, given.credential()?)
                .await?,
        )
    };
    call.command(
        "create",
        &format!("{}/credentials", object(ExternalKeyStore::PATH, call.param(0))),
        work,
    )
    .await
}

/// How long the former credential goes on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Overlap {
    overlap_minutes: Option<u64>,
}

async fn rotate(call: Call) -> Result<Done, Problem> {
    let work = async {
        let id = id::<ExternalKeyStore>(&call)?;
        let Overlap { overlap_minutes } = call.body()?;
        let overlap = OverlapMinutes::new(required("overlap_minutes", overlap_minutes)?)?;
        made(&call.commands.rotate_credential(&call.actor, id, overlap).await?)
    };
    let object = object(ExternalKeyStore::PATH, call.param(0));
    call.command("rotate-credential", &object, work).await
}

async fn revoke(call: Call) -> Result<Done, Problem> {
    let work = async {
        let id = id_of_credential(&call)?;
        call.commands.revoke_credential(&call.actor, &id).await?;
        let (answer, revision) = shown(&call).await?;
        Ok(answer.done(revision))
    };
    call.command("revoke", &object("credentials", call.param(1)), work)
        .await
}

/// Gives out the secret of a credential that a schedule has made, once.
async fn take_secret(call: Call) -> Result<Done, Problem> {
    let work = async {
        let id = id_of_credential(&call)?;
        made(&call.commands.take_secret(&call.actor, &id).await?)
    };
    call.command("take-secret", &object("credentials", call.param(1)), work)
        .await
}

/// The id that the path of a command has, if it is that of a credential of the key store.
fn id_of_credential(call: &Call) -> Result<AccessKeyId, Problem> {
    let store = id::<ExternalKeyStore>(call)?;
    let _: Nothing = call.body()?;
    let id: AccessKeyId = call.param(1).parse().map_err(|_| unknown(call))?;
    let is_of_store = |credential: &KeyStoreCredential| credential.key_store == store;
    let found = call
        .commands
        .read(|snapshot| snapshot.credential(&id).is_some_and(|found| is_of_store(found)));
    if found { Ok(id) } else { Err(unknown(call)) }
}
