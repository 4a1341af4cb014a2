//! Key policies that decide.

use kms_double::kms::{Caller, ExceptionName as Name, Kms, PrincipalKind, api::*};
use serde_json::json;

use crate::site::{alice, name};

/// A policy by which the account is not let in: Alice administers, Carol uses.
fn policy() -> String {
    let arn = |name: &str| format!("arn:aws:iam::111122223333:user/{name}");
    let allow = |name: &str, actions: &[&str]| json!({ "Effect": "Allow", "Principal": { "AWS": arn(name) }, "Action": actions, "Resource": "*" });
    let administers = [
        "kms:Describe*",
        "kms:Get*",
        "kms:Put*",
        "kms:*Alias",
        "kms:TagResource",
        "kms:RotateKeyOnDemand",
        "kms:ImportKeyMaterial",
    ];
    let uses = [
        "kms:DescribeKey",
        "kms:Encrypt",
        "kms:ReEncryptTo",
        "kms:GenerateDataKey*",
    ];
    let deny = json!({ "Effect": "Deny", "Principal": "*", "Action": "kms:GenerateDataKeyW*", "Resource": "*" });
    json!({ "Statement": [allow("Alice", &administers), allow("Carol", &uses), deny] }).to_string()
}

#[tokio::test]
async fn a_key_policy_decides_who_may_do_what() {
    let kms = Kms::builder().key_policies_decide().build().unwrap();
    for user in ["Alice", "Carol"] {
        kms.add_principal(PrincipalKind::User, user).unwrap();
    }
    let carol = Caller::new("arn:aws:iam::111122223333:user/Carol");
    let mut create = CreateKeyRequest::external();
    create.policy = Some(policy());
    let key = kms.create_key(&alice(), create).await.unwrap().key_metadata;
    let (id, arn) = (&*key.key_id, &key.arn);
    for caller in [&alice(), &carol] {
        kms.describe_key(caller, KeyIdRequest::new(id)).await.unwrap();
    }
    let tag = || TagResourceRequest::new(id, [Tag::new("a", "b")]);
    kms.tag_resource(&alice(), tag()).await.unwrap();
    let denied = kms.tag_resource(&carol, tag()).await.unwrap_err();
    assert_eq!(denied.name(), Name::AccessDenied);
    assert_eq!(
        denied.message(),
        format!(
            "User: arn:aws:iam::111122223333:user/Carol is not authorized to perform: kms:TagResource on resource: {arn} \
             because no resource-based policy allows the kms:TagResource action"
        )
    );
    // Who may not is not told of the state.
    let encrypt = || EncryptRequest::new(id, b"plain");
    assert_eq!(name(kms.encrypt(&alice(), encrypt()).await), Name::AccessDenied);
    assert_eq!(
        name(kms.encrypt(&carol, encrypt()).await),
        Name::InvalidState,
        "pending import"
    );
    let data_key = || GenerateDataKeyRequest::new(id);
    assert_eq!(
        name(kms.generate_data_key(&carol, data_key()).await),
        Name::InvalidState
    );
    let denied = kms
        .generate_data_key_without_plaintext(&carol, data_key())
        .await
        .unwrap_err();
    assert_eq!(denied.name(), Name::AccessDenied);
    assert!(
        denied
            .message()
            .ends_with(" with an explicit deny in a resource-based policy"),
        "{denied}"
    );
    // Names go with the policies of their keys: of both, where one moves.
    let other = kms
        .create_key(&carol, CreateKeyRequest::external())
        .await
        .unwrap()
        .key_metadata
        .key_id;
    for (alias, key) in [("alias/mine", id), ("alias/other", &*other)] {
        kms.create_alias(&alice(), CreateAliasRequest::new(alias, key))
            .await
            .unwrap();
    }
    for (alias, to) in [("alias/mine", &*other), ("alias/other", id)] {
        let moved = kms.update_alias(&carol, UpdateAliasRequest::new(alias, to)).await;
        assert_eq!(name(moved), Name::AccessDenied, "{alias}");
    }
    let deleted = kms.delete_alias(&carol, DeleteAliasRequest::new("alias/mine")).await;
    assert_eq!(name(deleted), Name::AccessDenied);
    kms.delete_alias(&carol, DeleteAliasRequest::new("alias/other"))
        .await
        .unwrap();
    kms.delete_alias(&alice(), DeleteAliasRequest::new("alias/mine"))
        .await
        .unwrap();
    assert_eq!(
        name(kms.get_key_last_usage(&carol, KeyIdRequest::new(id)).await),
        Name::AccessDenied
    );
    kms.get_key_last_usage(&alice(), KeyIdRequest::new(id)).await.unwrap();
    // Another policy, another decision.
    let open = policy().replace("kms:Encrypt", "kms:Tag*");
    kms.put_key_policy(&alice(), PutKeyPolicyRequest::new(id, open))
        .await
        .unwrap();
    kms.tag_resource(&carol, tag()).await.unwrap();
    assert_eq!(name(kms.encrypt(&carol, encrypt()).await), Name::AccessDenied);
}

#[tokio::test]
async fn by_default_policies_decide_nothing_and_with_the_default_policy_the_account_is_let_in() {
    for builder in [Kms::builder(), Kms::builder().key_policies_decide()] {
        let kms = builder.build().unwrap();
        let key = kms
            .create_key(&alice(), CreateKeyRequest::external())
            .await
            .unwrap()
            .key_metadata
            .key_id;
        let carol = Caller::new("arn:aws:iam::111122223333:user/Carol");
        kms.describe_key(&carol, KeyIdRequest::new(&key)).await.unwrap();
    }
}
