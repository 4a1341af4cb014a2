//! The operations of IAM and STS by name, JSON in and JSON out: members as their XML has them, dates in
//! seconds since 1970.

use serde::Deserialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::json::{json as written, parsed};
use crate::kms::{
    AccessKeyMetadata, Caller, Exception, ExceptionName, Identity, Kms, Part, PartRequest, PrincipalKind,
};

/// Names a user; by default the caller.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct OfUser {
    user_name: Option<String>,
}

/// Lists users or roles, or the access keys of a user.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct List {
    path_prefix: Option<String>,
    marker: Option<String>,
    max_items: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ListOfUser {
    user_name: Option<String>,
    marker: Option<String>,
    max_items: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct OfAccessKey {
    user_name: Option<String>,
    access_key_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct UpdateAccessKey {
    user_name: Option<String>,
    access_key_id: String,
    status: Status,
}

#[derive(Deserialize)]
enum Status {
    Active,
    Inactive,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Does an operation. Returns the body of the answer; nothing where the operation has no answer.
pub(super) async fn answer(
    kms: &Kms,
    caller: &Caller,
    operation: &str,
    body: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Exception> {
    let answer = match operation {
        "GetUser" => {
            let OfUser { user_name } = parsed(body)?;
            let user = kms.get_user(caller, user_name.as_deref()).await?;
            json!({ "User": identity(PrincipalKind::User, &user) })
        }
        "ListUsers" => identities(PrincipalKind::User, &kms.list_users(caller, part(body)?).await?),
        "ListRoles" => identities(PrincipalKind::Role, &kms.list_roles(caller, part(body)?).await?),
        "ListAccessKeys" => {
            let list: ListOfUser = parsed(body)?;
            let part = PartRequest::new(list.marker, list.max_items);
            let keys = kms.list_access_keys(caller, list.user_name.as_deref(), part).await?;
            let items: Vec<_> = keys.items.iter().map(access_key).collect();
            listed("AccessKeyMetadata", &items, keys.next_marker)
        }
        "CreateAccessKey" => {
            let OfUser { user_name } = parsed(body)?;
            let made = kms.create_access_key(caller, user_name.as_deref()).await?;
            let mut key = access_key(&made.metadata);
            if let Value::Object(members) = &mut key {
                members.insert("SecretAccessKey".into(), json!(*made.secret_access_key));
            }
            json!({ "AccessKey": key })
        }
        "UpdateAccessKey" => {
            let update: UpdateAccessKey = parsed(body)?;
            let is_active = matches!(update.status, Status::Active);
            let (user, id) = (update.user_name.as_deref(), &update.access_key_id);
            kms.update_access_key(caller, user, id, is_active).await?;
            return Ok(Zeroizing::default());
        }
        "DeleteAccessKey" => {
            let key: OfAccessKey = parsed(body)?;
            kms.delete_access_key(caller, key.user_name.as_deref(), &key.access_key_id)
                .await?;
            return Ok(Zeroizing::default());
        }
        "GetCallerIdentity" => {
            let Nothing {} = parsed(body)?;
            let who = kms.get_caller_identity(caller).await?;
            json!({ "Arn": who.arn, "UserId": who.user_id, "Account": who.account })
        }
        _ => {
            let message = format!("kms-double does not implement {operation:?}");
            return Err(Exception::new(ExceptionName::UnknownOperation, message));
        }
    };
    written(&answer)
}

fn part(body: &[u8]) -> Result<PartRequest, Exception> {
    let list: List = parsed(body)?;
    let part = PartRequest::new(list.marker, list.max_items);
    Ok(match list.path_prefix {
        Some(prefix) => part.path_prefix(prefix),
        None => part,
    })
}

fn listed(name: &str, items: &[Value], next_marker: Option<String>) -> Value {
    let mut list = json!({ name: items, "IsTruncated": next_marker.is_some() });
    if let (Value::Object(members), Some(marker)) = (&mut list, next_marker) {
        members.insert("Marker".into(), marker.into());
    }
    list
}

fn identities(kind: PrincipalKind, part: &Part<Identity>) -> Value {
    let items: Vec<_> = part.items.iter().map(|of| identity(kind, of)).collect();
    listed(&format!("{kind:?}s"), &items, part.next_marker.clone())
}

fn identity(kind: PrincipalKind, of: &Identity) -> Value {
    json!({
        "Path": "/",
        format!("{kind:?}Name"): of.name,
        format!("{kind:?}Id"): of.id,
        "Arn": of.arn,
        "CreateDate": of.created,
    })
}

fn access_key(key: &AccessKeyMetadata) -> Value {
    json!({
        "UserName": key.user_name,
        "AccessKeyId": key.access_key_id,
        "Status": if key.is_active { "Active" } else { "Inactive" },
        "CreateDate": key.created,
    })
}
