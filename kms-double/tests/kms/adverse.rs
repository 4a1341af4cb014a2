//! As bad as AWS: throttling, replicas that are behind, permissions that are missing, and answers that are
//! lost.

use std::time::Duration;

use kms_double::kms::{Clock, ExceptionName as Name, Kms, RequestQuotas, Trouble, api::*};

use crate::{
    importing::{Importing, material, new_key},
    site::{Site, alice, name},
};

async fn keys(kms: &Kms) -> usize {
    kms.list_keys(&alice(), ListKeysRequest::default())
        .await
        .unwrap()
        .keys
        .len()
}

#[tokio::test]
async fn an_answer_is_lost_before_or_after_the_effect() {
    let kms = Kms::builder().build().unwrap();
    let create = async || kms.create_key(&alice(), CreateKeyRequest::external()).await;
    kms.faults().inject("CreateKey", 1, Trouble::LostBefore);
    kms.faults().inject("CreateKey", 3, Trouble::LostAfter);
    assert_eq!(name(create().await), Name::AnswerLost);
    assert_eq!(keys(&kms).await, 0);
    create().await.unwrap();
    assert_eq!(name(create().await), Name::AnswerLost);
    assert_eq!(keys(&kms).await, 2, "it was made all the same");
    create().await.unwrap();
    assert_eq!(keys(&kms).await, 3);
    assert_eq!(kms.faults().calls()["CreateKey"].made, 4);
}

#[tokio::test]
async fn troubles_come_on_demand_and_go() {
    let kms = Kms::builder().build().unwrap();
    let create = async || kms.create_key(&alice(), CreateKeyRequest::external()).await;
    for (trouble, expected) in [
        (Trouble::Throttled, Name::Throttling),
        (Trouble::Internal, Name::Internal),
        (Trouble::DependencyTimeout, Name::DependencyTimeout),
    ] {
        kms.faults().inject("CreateKey", 1, trouble);
        assert_eq!(name(create().await), expected);
    }
    kms.faults().deny("CreateKey");
    let denied = create().await.unwrap_err();
    assert_eq!(denied.name(), Name::AccessDenied);
    assert!(
        denied.message().contains("is not authorized to perform: kms:CreateKey"),
        "{denied}"
    );
    assert_eq!(keys(&kms).await, 0);
    kms.faults().allow("CreateKey");
    create().await.unwrap();
    kms.faults().deny("CreateKey");
    kms.faults().inject("CreateKey", 2, Trouble::Internal);
    kms.faults().clear();
    create().await.unwrap();
    create().await.unwrap();
    assert_eq!(kms.faults().calls()["CreateKey"].throttled, 1);

    let site = Site::new().await;
    site.kms
        .faults()
        .inject("CreateCustomKeyStore", 1, Trouble::VpcEndpointServiceNotFound);
    let created = site
        .kms
        .create_custom_key_store(&alice(), site.proxy.key_store("b"))
        .await;
    assert_eq!(name(created), Name::XksProxyVpcEndpointServiceNotFound);
}

#[tokio::test]
async fn what_exceeds_a_quota_is_throttled() {
    let clock = Clock::default();
    // So slow that a busy machine does not matter: a request in 1000 seconds.
    let quotas = RequestQuotas::aws().scaled(0.001);
    let kms = Kms::builder()
        .clock(clock.clone())
        .request_quotas(quotas)
        .build()
        .unwrap();
    let key = new_key(&kms).await;
    let request = || {
        let algorithm = WrappingAlgorithm::RsaesOaepSha256;
        GetParametersForImportRequest::new(&key, algorithm, WrappingKeySpec::Rsa2048)
    };
    kms.get_parameters_for_import(&alice(), request()).await.unwrap();
    let refused = kms.get_parameters_for_import(&alice(), request()).await.unwrap_err();
    assert_eq!((refused.name(), refused.message()), (Name::Throttling, "Rate exceeded"));
    clock.advance(Duration::from_secs(1000));
    kms.get_parameters_for_import(&alice(), request()).await.unwrap();
    let calls = kms.faults().calls()["GetParametersForImport"];
    assert_eq!((calls.made, calls.throttled), (3, 1));
}

#[tokio::test]
async fn a_key_store_has_a_quota_of_its_own() {
    let site = Site::new().await;
    // A request in five, and in 28 seconds.
    let quotas = RequestQuotas::aws().scaled(0.000_02);
    let kms = site.again(|builder| builder.request_quotas(quotas));
    let encrypt = || EncryptRequest::new(&site.key.key_id, b"plain");
    kms.encrypt(&alice(), encrypt()).await.unwrap();
    kms.clock().advance(Duration::from_secs(10));
    assert_eq!(name(kms.encrypt(&alice(), encrypt()).await), Name::Throttling);
    kms.clock().advance(Duration::from_secs(30));
    kms.encrypt(&alice(), encrypt()).await.unwrap();
}

#[tokio::test]
async fn old_and_new_take_turns_until_a_change_has_settled() {
    let settle = Duration::from_secs(3600);
    let clock = Clock::default();
    let kms = Kms::builder().clock(clock.clone()).settle(settle).build().unwrap();
    let site = Importing {
        key_id: new_key(&kms).await,
        kms,
        clock: clock.clone(),
    };
    let describe = async || site.kms.describe_key(&alice(), site.id()).await;
    // One replica has the key, and the other does not.
    let mut found = Vec::new();
    for _ in 0..6 {
        found.push(describe().await.is_ok());
    }
    assert!(found == [true, false, true, false, true, false] || found == [false, true, false, true, false, true]);
    let mut tagged = Vec::new();
    for _ in 0..2 {
        let tag = TagResourceRequest::new(&site.key_id, [Tag::new("a", "b")]);
        tagged.push(
            site.kms
                .tag_resource(&alice(), tag)
                .await
                .map_err(|error| error.name())
                .err(),
        );
    }
    assert!(
        tagged.contains(&None) && tagged.contains(&Some(Name::NotFound)),
        "{tagged:?}"
    );
    clock.advance(settle);
    for _ in 0..4 {
        describe().await.unwrap();
    }
    site.kms
        .update_key_description(&alice(), UpdateKeyDescriptionRequest::new(&site.key_id, "new"))
        .await
        .unwrap();
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(describe().await.unwrap().key_metadata.description);
    }
    seen.sort_unstable();
    assert_eq!(seen, ["", "", "new", "new"]);
    clock.advance(settle);
    for _ in 0..4 {
        assert_eq!(describe().await.unwrap().key_metadata.description, "new");
    }
    // Aliases too.
    let alias = CreateAliasRequest::new("alias/a", &site.key_id);
    site.kms.create_alias(&alice(), alias).await.unwrap();
    let mut moved = Vec::new();
    for _ in 0..2 {
        let request = UpdateAliasRequest::new("alias/a", &site.key_id);
        moved.push(site.kms.update_alias(&alice(), request).await.is_ok());
    }
    moved.sort_unstable();
    assert_eq!(moved, [false, true]);
    clock.advance(settle);
    site.import(&material(1), |_| ()).await.unwrap();
    clock.advance(settle);
    site.encrypt(b"plain").await.unwrap();
}
