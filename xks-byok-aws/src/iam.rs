//! IAM and STS over the SDK.

use aws_config::SdkConfig;
use aws_sdk_iam::types::{Role, StatusType, User};
use xks_byok::aws::{
    AccessKey, AccessKeyMetadata, AccessKeyStatus, AwsError, CallerIdentity, Iam, Identity, NewAccessKey, Operation,
    Page, PageRequest,
};
use xks_core::async_trait;

use crate::{
    connector::{no_retries, retries},
    convert::{lacking, limit, owned, text, time},
    error::failed,
};

pub(crate) struct IamClient {
    reads: aws_sdk_iam::Client,
    once: aws_sdk_iam::Client,
    sts: aws_sdk_sts::Client,
}

impl IamClient {
    pub(crate) fn new(config: &SdkConfig) -> Self {
        let iam = |retries| {
            let config = aws_sdk_iam::config::Builder::from(config).retry_config(retries);
            aws_sdk_iam::Client::from_conf(config.build())
        };
        let sts = aws_sdk_sts::config::Builder::from(config).retry_config(retries());
        Self {
            reads: iam(retries()),
            once: iam(no_retries()),
            sts: aws_sdk_sts::Client::from_conf(sts.build()),
        }
    }
}

macro_rules! send {
    ($operation:ident, $request:expr) => {
        $request
            .send()
            .await
            .map_err(|error| failed(Operation::$operation, &error))?
    };
}

#[async_trait]
impl Iam for IamClient {
    async fn get_caller_identity(&self) -> Result<CallerIdentity, AwsError> {
        let answer = send!(GetCallerIdentity, self.sts.get_caller_identity());
        let arn = answer
            .arn()
            .ok_or_else(|| lacking(Operation::GetCallerIdentity, "Arn"))?;
        Ok(CallerIdentity::new(text(answer.account()), arn, text(answer.user_id())))
    }

    async fn get_user(&self, user_name: Option<&str>) -> Result<Identity, AwsError> {
        let answer = send!(GetUser, self.reads.get_user().set_user_name(owned(user_name)));
        let found = answer.user().ok_or_else(|| lacking(Operation::GetUser, "User"))?;
        Ok(user(found))
    }

    async fn list_users(&self, page: PageRequest) -> Result<Page<Identity>, AwsError> {
        let request = self
            .reads
            .list_users()
            .set_max_items(limit(page.limit))
            .set_marker(page.marker);
        let answer = send!(ListUsers, request);
        Ok(Page::new(answer.users().iter().map(user).collect(), answer.marker))
    }

    async fn list_roles(&self, page: PageRequest) -> Result<Page<Identity>, AwsError> {
        let request = self
            .reads
            .list_roles()
            .set_max_items(limit(page.limit))
            .set_marker(page.marker);
        let answer = send!(ListRoles, request);
        Ok(Page::new(answer.roles().iter().map(role).collect(), answer.marker))
    }

    async fn list_access_keys(
        &self,
        user_name: Option<&str>,
        page: PageRequest,
    ) -> Result<Page<AccessKeyMetadata>, AwsError> {
        let request = self.reads.list_access_keys().set_user_name(owned(user_name));
        let answer = send!(
            ListAccessKeys,
            request.set_max_items(limit(page.limit)).set_marker(page.marker)
        );
        let keys = answer.access_key_metadata().iter().map(|key| {
            let status = key.status().map(StatusType::as_str).unwrap_or_default().into();
            let mut metadata = AccessKeyMetadata::new(text(key.user_name()), text(key.access_key_id()), status);
            metadata.create_date = time(key.create_date());
            metadata
        });
        Ok(Page::new(keys.collect(), answer.marker))
    }

    async fn create_access_key(&self, user_name: Option<&str>) -> Result<NewAccessKey, AwsError> {
        let answer = send!(
            CreateAccessKey,
            self.once.create_access_key().set_user_name(owned(user_name))
        );
        let key = answer
            .access_key
            .ok_or_else(|| lacking(Operation::CreateAccessKey, "AccessKey"))?;
        // Moved, so that no copy of the secret stays behind.
        let access_key = AccessKey::new(key.access_key_id, key.secret_access_key);
        Ok(NewAccessKey::new(key.user_name, access_key))
    }

    async fn update_access_key(
        &self,
        user_name: Option<&str>,
        access_key_id: &str,
        status: AccessKeyStatus,
    ) -> Result<(), AwsError> {
        let request = self.once.update_access_key().set_user_name(owned(user_name));
        let request = request.access_key_id(access_key_id).status(status.as_str().into());
        send!(UpdateAccessKey, request);
        Ok(())
    }

    async fn delete_access_key(&self, user_name: Option<&str>, access_key_id: &str) -> Result<(), AwsError> {
        let request = self.once.delete_access_key().set_user_name(owned(user_name));
        send!(DeleteAccessKey, request.access_key_id(access_key_id));
        Ok(())
    }
}

fn user(user: &User) -> Identity {
    Identity::new(user.user_name(), user.arn(), user.user_id())
}

fn role(role: &Role) -> Identity {
    Identity::new(role.role_name(), role.arn(), role.role_id())
}
