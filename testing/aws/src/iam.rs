//! IAM and STS.

use serde_json::{Value, json};
use xks_byok::aws::{
    AccessKey, AccessKeyMetadata, AccessKeyStatus, AwsError, CallerIdentity, Iam, Identity, NewAccessKey, Operation,
    Page, PageRequest,
};
use xks_core::async_trait;

use crate::{
    Session,
    json::{page, text, time, value},
};

#[async_trait]
impl Iam for Session {
    async fn get_caller_identity(&self) -> Result<CallerIdentity, AwsError> {
        let body = self.call(Operation::GetCallerIdentity, json!({})).await?;
        Ok(CallerIdentity::new(
            text(&body, "Account"),
            text(&body, "Arn"),
            text(&body, "UserId"),
        ))
    }

    async fn get_user(&self, user_name: Option<&str>) -> Result<Identity, AwsError> {
        let body = self.call(Operation::GetUser, json!({ "UserName": user_name })).await?;
        Ok(identity("User", body.get("User").unwrap_or(&Value::Null)))
    }

    async fn list_users(&self, request: PageRequest) -> Result<Page<Identity>, AwsError> {
        let body = self.call(Operation::ListUsers, iam_page(json!({}), request)).await?;
        Ok(page(&body, "Users", |user| identity("User", user)))
    }

    async fn list_roles(&self, request: PageRequest) -> Result<Page<Identity>, AwsError> {
        let body = self.call(Operation::ListRoles, iam_page(json!({}), request)).await?;
        Ok(page(&body, "Roles", |role| identity("Role", role)))
    }

    async fn list_access_keys(
        &self,
        user_name: Option<&str>,
        request: PageRequest,
    ) -> Result<Page<AccessKeyMetadata>, AwsError> {
        let body = iam_page(json!({ "UserName": user_name }), request);
        let body = self.call(Operation::ListAccessKeys, body).await?;
        Ok(page(&body, "AccessKeyMetadata", |key| {
            let mut metadata =
                AccessKeyMetadata::new(text(key, "UserName"), text(key, "AccessKeyId"), value(key, "Status"));
            metadata.create_date = time(key, "CreateDate");
            metadata
        }))
    }

    async fn create_access_key(&self, user_name: Option<&str>) -> Result<NewAccessKey, AwsError> {
        let body = self
            .call(Operation::CreateAccessKey, json!({ "UserName": user_name }))
            .await?;
        let key = body.get("AccessKey").unwrap_or(&Value::Null);
        let access_key = AccessKey::new(text(key, "AccessKeyId"), text(key, "SecretAccessKey"));
        Ok(NewAccessKey::new(text(key, "UserName"), access_key))
    }

    async fn update_access_key(
        &self,
        user_name: Option<&str>,
        access_key_id: &str,
        status: AccessKeyStatus,
    ) -> Result<(), AwsError> {
        let body = json!({ "UserName": user_name, "AccessKeyId": access_key_id, "Status": status.as_str() });
        self.call(Operation::UpdateAccessKey, body).await.map(drop)
    }

    async fn delete_access_key(&self, user_name: Option<&str>, access_key_id: &str) -> Result<(), AwsError> {
        let body = json!({ "UserName": user_name, "AccessKeyId": access_key_id });
        self.call(Operation::DeleteAccessKey, body).await.map(drop)
    }
}

fn identity(kind: &str, body: &Value) -> Identity {
    let name = text(body, &format!("{kind}Name"));
    Identity::new(name, text(body, "Arn"), text(body, &format!("{kind}Id")))
}

fn iam_page(mut body: Value, page: PageRequest) -> Value {
    if let Value::Object(fields) = &mut body {
        fields.insert("MaxItems".into(), page.limit.into());
        fields.insert("Marker".into(), page.marker.into());
    }
    body
}
