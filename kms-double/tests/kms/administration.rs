//! Aliases that move, key policies, tags, descriptions, quotas, dry runs and the last use.

use std::time::Duration;

use kms_double::kms::{Caller, Clock, ExceptionName as Name, Kms, PrincipalKind, Resources, api::*};
use serde_json::{Value, json};

use crate::{
    importing::{Importing, material, new_key},
    site::{Site, alice, name},
};

#[tokio::test]
async fn an_alias_moves_to_another_key() {
    let site = Importing::new().await;
    let other = new_key(&site.kms).await;
    let create = CreateAliasRequest::new("alias/a:b", &site.key_id);
    site.kms.create_alias(&alice(), create).await.unwrap();
    let moved = async |name: &str, to: &str| site.kms.update_alias(&alice(), UpdateAliasRequest::new(name, to)).await;
    moved("alias/a:b", &other).await.unwrap();
    let described = site
        .kms
        .describe_key(&alice(), KeyIdRequest::new("alias/a:b"))
        .await
        .unwrap();
    assert_eq!(described.key_metadata.key_id, other);
    assert_eq!(name(moved("alias/none", &other).await), Name::NotFound);
    assert_eq!(name(moved("alias/a:b", "none").await), Name::NotFound);
    assert_eq!(name(moved("alias/a:b", "alias/a:b").await), Name::Validation);
    let listed = site
        .kms
        .list_aliases(&alice(), ListAliasesRequest::default())
        .await
        .unwrap();
    let listed = &listed.aliases[0];
    assert!(listed.last_updated_date >= listed.creation_date);
}

#[tokio::test]
async fn resource_quotas_are_kept() {
    let mut resources = Resources::default();
    assert_eq!(
        (resources.keys, resources.key_stores, resources.aliases_of_a_key),
        (100_000, 10, 50)
    );
    (resources.keys, resources.aliases_of_a_key) = (2, 2);
    let kms = Kms::builder().resources(resources).build().unwrap();
    let (first, second) = (new_key(&kms).await, new_key(&kms).await);
    let third = kms.create_key(&alice(), CreateKeyRequest::external()).await;
    assert_eq!(name(third), Name::LimitExceeded);
    let create = async |name: &str, key: &str| kms.create_alias(&alice(), CreateAliasRequest::new(name, key)).await;
    create("alias/1", &first).await.unwrap();
    create("alias/2", &first).await.unwrap();
    assert_eq!(name(create("alias/3", &first).await), Name::LimitExceeded);
    create("alias/3", &second).await.unwrap();
    let moved = kms
        .update_alias(&alice(), UpdateAliasRequest::new("alias/3", &first))
        .await;
    assert_eq!(name(moved), Name::LimitExceeded);

    resources.key_stores = 1;
    let site = Site::new().await;
    let kms = site.again(|builder| builder.resources(resources));
    let mut store = site.proxy.key_store("second");
    store.xks_proxy_uri_path = Some("/other/kms/xks/v1".into());
    assert_eq!(
        name(kms.create_custom_key_store(&alice(), store).await),
        Name::LimitExceeded
    );
}

/// A policy with these principals of AWS, beside the account.
fn policy(principals: &[&str]) -> String {
    let mut all = vec!["arn:aws:iam::111122223333:root"];
    all.extend(principals);
    let statement = json!({ "Effect": "Allow", "Principal": { "AWS": all }, "Action": "kms:*", "Resource": "*" });
    json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string()
}

#[tokio::test]
async fn a_policy_names_principals_that_are_known() {
    let clock = Clock::default();
    let builder = Kms::builder().clock(clock.clone()).settle(Duration::from_secs(10));
    let kms = builder.build().unwrap();
    kms.add_principal(PrincipalKind::User, "Carol").unwrap();
    kms.add_principal(PrincipalKind::Role, "Admins").unwrap();
    let key = new_key(&kms).await;
    clock.advance(Duration::from_secs(10));
    let put = async |text: &str| kms.put_key_policy(&alice(), PutKeyPolicyRequest::new(&key, text)).await;
    for known in [
        "arn:aws:iam::111122223333:user/Carol",
        "arn:aws:iam::111122223333:role/Admins",
        "arn:aws:iam::444455556666:role/Others",
        "444455556666",
        "*",
    ] {
        put(&policy(&[known])).await.unwrap();
    }
    for unknown in [
        "arn:aws:iam::111122223333:user/Dave",
        "arn:aws:iam::111122223333:role/Carol",
        "arn:aws:iam::1111:user/Carol",
        "arn:aws:kms:us-east-1:111122223333:key/a",
        "Carol",
        "",
    ] {
        assert_eq!(
            name(put(&policy(&[unknown])).await),
            Name::MalformedPolicyDocument,
            "{unknown}"
        );
        let mut create = CreateKeyRequest::external();
        create.policy = Some(policy(&[unknown]));
        assert_eq!(
            name(kms.create_key(&alice(), create).await),
            Name::MalformedPolicyDocument
        );
    }
    // A new user is not known at once.
    kms.add_principal(PrincipalKind::User, "Dave").unwrap();
    let with_dave = policy(&["arn:aws:iam::111122223333:user/Dave"]);
    assert_eq!(name(put(&with_dave).await), Name::MalformedPolicyDocument);
    clock.advance(Duration::from_secs(10));
    put(&with_dave).await.unwrap();
    clock.advance(Duration::from_secs(10));
    let read = kms
        .get_key_policy(&alice(), GetKeyPolicyRequest::new(&key))
        .await
        .unwrap();
    assert_eq!((&*read.policy, &*read.policy_name), (&*with_dave, "default"));
    kms.remove_principal(PrincipalKind::User, "Dave").unwrap();
    assert_eq!(name(put(&with_dave).await), Name::MalformedPolicyDocument);
}

#[tokio::test]
async fn a_policy_has_its_form_and_locks_no_one_out() {
    let site = Importing::new().await;
    let put = async |text: &str, bypass| {
        let mut request = PutKeyPolicyRequest::new(&site.key_id, text);
        request.bypass_policy_lockout_safety_check = bypass;
        site.kms.put_key_policy(&alice(), request).await
    };
    let good: Value = serde_json::from_str(&policy(&[])).unwrap();
    for path in ["Effect", "Principal", "Action", "Resource"] {
        let mut wrong = good.clone();
        wrong["Statement"][0].as_object_mut().unwrap().remove(path);
        assert_eq!(
            name(put(&wrong.to_string(), true).await),
            Name::MalformedPolicyDocument,
            "{path}"
        );
    }
    for wrong in ["{}", "{\"Statement\": []}", "no JSON"] {
        assert_eq!(name(put(wrong, true).await), Name::MalformedPolicyDocument, "{wrong}");
    }
    assert_eq!(name(put("", true).await), Name::Validation);
    let mut long = good.clone();
    long["Id"] = "i".repeat(33_000).into();
    assert_eq!(name(put(&long.to_string(), false).await), Name::LimitExceeded);
    let mut service = good.clone();
    service["Statement"][0]["Principal"] = json!({ "Service": "no service" });
    assert_eq!(
        name(put(&service.to_string(), true).await),
        Name::MalformedPolicyDocument
    );

    for (action, is_locked_out) in [
        (json!("kms:Decrypt"), true),
        (json!(["kms:Decrypt", "kms:PutKeyPolicy"]), false),
        (json!("kms:Put*"), false),
        (json!("KMS:*"), false),
        (json!("*"), false),
    ] {
        let mut policy = good.clone();
        policy["Statement"][0]["Action"] = action.clone();
        let expected = is_locked_out.then_some(Name::MalformedPolicyDocument);
        let result = put(&policy.to_string(), false).await;
        assert_eq!(result.err().map(|error| error.name()), expected, "{action}");
        put(&policy.to_string(), true).await.unwrap();
    }
    let mut denied = good;
    denied["Statement"][0]["Effect"] = "Deny".into();
    assert_eq!(
        name(put(&denied.to_string(), false).await),
        Name::MalformedPolicyDocument
    );
}

#[tokio::test]
async fn the_policy_of_ram_is_rams() {
    let site = Importing::new().await;
    let mut put = PutKeyPolicyRequest::new(&site.key_id, policy(&[]));
    let mut get = GetKeyPolicyRequest::new(&site.key_id);
    (put.policy_name, get.policy_name) = (Some("AWS_RAM".into()), Some("AWS_RAM".into()));
    let refused = site.kms.put_key_policy(&alice(), put.clone()).await.unwrap_err();
    assert_eq!(refused.name(), Name::Validation);
    assert_eq!(
        refused.message(),
        "The AWS_RAM policy can only be managed by the RAM service"
    );
    assert_eq!(
        name(site.kms.get_key_policy(&alice(), get.clone()).await),
        Name::NotFound
    );
    let names = async || {
        let listed = site
            .kms
            .list_key_policies(&alice(), ListOfKeyRequest::new(&site.key_id))
            .await;
        listed.unwrap().policy_names
    };
    assert_eq!(names().await, ["default"]);
    site.kms.set_ram_policy(&site.key_id, Some("{}")).unwrap();
    assert_eq!(names().await, ["default", "AWS_RAM"]);
    assert_eq!(site.kms.get_key_policy(&alice(), get).await.unwrap().policy, "{}");
    put.policy_name = Some("mine".into());
    assert_eq!(name(site.kms.put_key_policy(&alice(), put).await), Name::Validation);
}

#[tokio::test]
async fn tags_have_limits() {
    let site = Importing::new().await;
    let mut create = CreateKeyRequest::external();
    create.tags = Some(vec![Tag::new("job", "1"), Tag::new("empty", "")]);
    let key = site.kms.create_key(&alice(), create).await.unwrap().key_metadata.key_id;
    let tag = async |tags: Vec<Tag>| {
        site.kms
            .tag_resource(&alice(), TagResourceRequest::new(&key, tags))
            .await
    };
    let list = async || {
        let listed = site
            .kms
            .list_resource_tags(&alice(), ListOfKeyRequest::new(&key))
            .await
            .unwrap();
        assert!(!listed.truncated);
        listed
            .tags
            .into_iter()
            .map(|tag| (tag.tag_key, tag.tag_value))
            .collect::<Vec<_>>()
    };
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(list().await, [pair("empty", ""), pair("job", "1")]);
    tag(vec![Tag::new("job", "2")]).await.unwrap();
    let untag = UntagResourceRequest::new(&key, ["empty".to_owned(), "none".to_owned()]);
    site.kms.untag_resource(&alice(), untag).await.unwrap();
    assert_eq!(list().await, [pair("job", "2")]);
    for (tags, expected) in [
        (vec![Tag::new("aws:mine", "")], Name::Tag),
        (vec![Tag::new("a!", "")], Name::Tag),
        (vec![Tag::new("a", "1"), Tag::new("a", "2")], Name::Tag),
        (vec![Tag::new("", "")], Name::Validation),
        (vec![Tag::new("k".repeat(129), "")], Name::Validation),
        (vec![Tag::new("k", "v".repeat(257))], Name::Validation),
        (
            (0..50).map(|n| Tag::new(n.to_string(), "")).collect(),
            Name::LimitExceeded,
        ),
    ] {
        assert_eq!(name(tag(tags).await), expected);
    }
    assert_eq!(list().await, [pair("job", "2")], "all of a request or nothing");
    tag((0..49).map(|n| Tag::new(n.to_string(), "")).collect())
        .await
        .unwrap();
    let mut request = ListOfKeyRequest::new(&key);
    request.limit = Some(51);
    assert_eq!(
        name(site.kms.list_resource_tags(&alice(), request).await),
        Name::Validation
    );
}

#[tokio::test]
async fn a_description_changes() {
    let site = Importing::new().await;
    let update = async |text: &str| {
        let request = UpdateKeyDescriptionRequest::new(&site.key_id, text);
        site.kms.update_key_description(&alice(), request).await
    };
    update("another").await.unwrap();
    assert_eq!(site.described().await.description, "another");
    assert_eq!(name(update(&"d".repeat(8193)).await), Name::Validation);
}

#[tokio::test]
async fn the_last_use_has_the_request_that_the_proxy_saw() {
    let site = Site::new().await;
    let last = async || {
        let last = site.kms.get_key_last_usage(&alice(), site.key_id()).await.unwrap();
        assert!(last.tracking_start_date >= last.key_creation_date);
        (last.key_last_usage.operation, last.key_last_usage.kms_request_id)
    };
    assert_eq!(last().await, (None, None));
    let blob = site.encrypt(b"plain").await.unwrap().ciphertext_blob;
    let (_, asked) = site.proxy.asked().pop().unwrap();
    let id = asked["requestMetadata"]["kmsRequestId"].as_str().unwrap().to_owned();
    assert_eq!(last().await, (Some("Encrypt".to_owned()), Some(id)));
    let mine = Caller::new("arn:aws:iam::111122223333:user/Bob").request_id("mine");
    site.kms
        .decrypt(&mine, DecryptRequest::new(blob.clone()))
        .await
        .unwrap();
    let expected = (Some("Decrypt".to_owned()), Some("mine".to_owned()));
    assert_eq!(last().await, expected);
    // What fails, or is only tried, is no use.
    site.kms.disable_key(&alice(), site.key_id()).await.unwrap();
    site.decrypt(&blob).await.unwrap_err();
    assert_eq!(last().await, expected);
}

#[tokio::test]
async fn a_dry_run_does_nothing() {
    let (external, imported) = (Site::new().await, Importing::new().await);
    imported.import(&material(1), |_| ()).await.unwrap();
    for (kms, key_id) in [(&external.kms, &external.key.key_id), (&imported.kms, &imported.key_id)] {
        let request = EncryptRequest::new(key_id, b"plain");
        let blob = kms.encrypt(&alice(), request.clone()).await.unwrap().ciphertext_blob;
        external.proxy.asked();
        let mut encrypt = request;
        encrypt.dry_run = Some(true);
        assert_eq!(name(kms.encrypt(&alice(), encrypt).await), Name::DryRunOperation);
        let mut generate = GenerateDataKeyRequest::new(key_id);
        generate.dry_run = Some(true);
        assert_eq!(
            name(kms.generate_data_key(&alice(), generate).await),
            Name::DryRunOperation
        );
        let mut decrypt = DecryptRequest::new(blob.clone());
        decrypt.dry_run = Some(true);
        assert_eq!(
            name(kms.decrypt(&alice(), decrypt.clone()).await),
            Name::DryRunOperation
        );
        let mut again = ReEncryptRequest::new(blob, key_id);
        again.dry_run = Some(true);
        assert_eq!(name(kms.re_encrypt(&alice(), again).await), Name::DryRunOperation);
        decrypt.ciphertext_blob = b"no blob".into();
        assert_eq!(
            name(kms.decrypt(&alice(), decrypt.clone()).await),
            Name::InvalidCiphertext
        );
        decrypt.dry_run_modifiers = vec![DryRunModifier::IgnoreCiphertext];
        assert_eq!(
            name(kms.decrypt(&alice(), decrypt.clone()).await),
            Name::Validation,
            "which key?"
        );
        (decrypt.key_id, decrypt.ciphertext_blob) = (Some(key_id.clone()), b"".into());
        assert_eq!(
            name(kms.decrypt(&alice(), decrypt.clone()).await),
            Name::DryRunOperation
        );
        kms.disable_key(&alice(), KeyIdRequest::new(key_id)).await.unwrap();
        assert_eq!(name(kms.decrypt(&alice(), decrypt.clone()).await), Name::Disabled);
        decrypt.dry_run = None;
        assert_eq!(name(kms.decrypt(&alice(), decrypt).await), Name::Validation);
        assert_eq!(external.proxy.asked().len(), 0);
    }
}
