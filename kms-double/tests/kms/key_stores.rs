//! What the console's fields may hold, what has to be unique, and what can be changed when.

use kms_double::kms::{ExceptionName as Name, Kms, api::*};

use crate::{
    site::{Proxy, Site, alice, builder, name},
    support::{ACCESS_KEY_ID, Broken, KEY, SECRET},
};

#[tokio::test]
async fn fields_have_the_shapes_that_kms_demands() {
    let kms = Kms::builder().build().unwrap();
    let right = || {
        let credential = ProxyCredential::new(ACCESS_KEY_ID, SECRET);
        CreateCustomKeyStoreRequest::new("name", "https://127.0.0.1:1", "/prefix/kms/xks/v1", credential)
    };
    let endpoint = |text: &str| {
        let mut request = right();
        request.xks_proxy_uri_endpoint = Some(text.into());
        request
    };
    let path = |text: &str| {
        let mut request = right();
        request.xks_proxy_uri_path = Some(text.into());
        request
    };
    let credential = |id: &str, secret: &str| {
        let mut request = right();
        request.xks_proxy_authentication_credential = Some(ProxyCredential::new(id, secret));
        request
    };
    let long = "p".repeat(129);
    let wrong = [
        endpoint("http://127.0.0.1:1"),
        endpoint("https://"),
        endpoint("https://a/b"),
        endpoint("https://a:b"),
        endpoint("https://user@a"),
        endpoint("127.0.0.1"),
        endpoint(&format!("https://{long}")),
        path("/prefix"),
        path("/prefix/kms/xks/v1/"),
        path("/prefix/kms/xks/v2"),
        path("prefix/kms/xks/v1"),
        path("/pre fix/kms/xks/v1"),
        path("/pre%66ix/kms/xks/v1"),
        path(&format!("/{long}/kms/xks/v1")),
        credential("SHORTENEDACCESSKEY", SECRET),
        credential("THIRTYONECHARACTERSAREONETOOMAN", SECRET),
        credential("lowercase2access3key4id", SECRET),
        credential("ACCESSKEYWITHDIGITSBELOW10", SECRET),
        credential(ACCESS_KEY_ID, "too short"),
        credential(ACCESS_KEY_ID, &SECRET.replace('S', "_")),
        credential(ACCESS_KEY_ID, &"s".repeat(65)),
    ];
    for request in wrong {
        let created = kms.create_custom_key_store(&alice(), request.clone()).await;
        assert_eq!(name(created), Name::Validation, "{request:?}");
    }
    let missing: [fn(&mut CreateCustomKeyStoreRequest); 5] = [
        |request| request.xks_proxy_uri_endpoint = None,
        |request| request.xks_proxy_authentication_credential = None,
        |request| request.xks_proxy_connectivity = Some(Connectivity::VpcEndpointService),
        |request| request.custom_key_store_name = String::new(),
        |request| request.custom_key_store_name = "n".repeat(257),
    ];
    for take in missing {
        let mut request = right();
        take(&mut request);
        assert_eq!(
            name(kms.create_custom_key_store(&alice(), request).await),
            Name::Validation
        );
    }
    let mut request = right();
    request.custom_key_store_type = None; // which is AWS_CLOUDHSM
    assert_eq!(
        name(kms.create_custom_key_store(&alice(), request).await),
        Name::UnsupportedOperation
    );
    // The parameters are right, so the proxy is called: none is there.
    for request in [right(), path("/kms/xks/v1"), endpoint("https://localhost:1")] {
        let created = kms.create_custom_key_store(&alice(), request).await;
        assert_eq!(name(created), Name::XksProxyUriUnreachable);
    }
}

#[tokio::test]
async fn name_and_address_are_unique() {
    let site = Site::new().await;
    let create = async |request| site.kms.create_custom_key_store(&alice(), request).await;
    assert_eq!(
        name(create(site.proxy.key_store("site")).await),
        Name::CustomKeyStoreNameInUse
    );
    assert_eq!(
        name(create(site.proxy.key_store("other")).await),
        Name::XksProxyUriInUse
    );
    // Under a private name there is one key store alone; no proxy is called before it is connected.
    let mut vpc = site.proxy.key_store("vpc");
    vpc.xks_proxy_connectivity = Some(Connectivity::VpcEndpointService);
    vpc.xks_proxy_vpc_endpoint_service_name = Some("com.amazonaws.vpce.us-east-1.vpce-svc-1".into());
    vpc.xks_proxy_uri_path = Some("/another/kms/xks/v1".into());
    assert_eq!(name(create(vpc.clone()).await), Name::XksProxyUriEndpointInUse);
    vpc.xks_proxy_uri_endpoint = Some("https://private.example.com".into());
    create(vpc.clone()).await.unwrap();
    vpc.custom_key_store_name = "vpc 2".into();
    vpc.xks_proxy_uri_endpoint = Some("https://other.example.com".into());
    assert_eq!(name(create(vpc.clone()).await), Name::XksProxyVpcEndpointServiceInUse);
    let all = site
        .kms
        .describe_custom_key_stores(&alice(), DescribeCustomKeyStoresRequest::default())
        .await
        .unwrap();
    assert_eq!((all.custom_key_stores.len(), all.truncated), (2, false));
    let mut named = DescribeCustomKeyStoresRequest::default();
    named.custom_key_store_name = Some("vpc".into());
    let found = site
        .kms
        .describe_custom_key_stores(&alice(), named.clone())
        .await
        .unwrap();
    assert_eq!(
        found.custom_key_stores[0].xks_proxy_configuration.uri_endpoint,
        "https://private.example.com"
    );
    named.custom_key_store_name = Some("nobody".into());
    let found = site.kms.describe_custom_key_stores(&alice(), named).await;
    assert_eq!(name(found), Name::CustomKeyStoreNotFound);
}

#[tokio::test]
async fn a_credential_is_rotated_while_connected() {
    let site = Site::new().await;
    let blob = site.encrypt(b"plain").await.unwrap().ciphertext_blob;
    let mut update = UpdateCustomKeyStoreRequest::new(&site.store);
    let wrong = ProxyCredential::new("ANOTHER2ACCESS3KEY4ID5", SECRET);
    update.xks_proxy_authentication_credential = Some(wrong);
    let updated = site.kms.update_custom_key_store(&alice(), update.clone()).await;
    assert_eq!(name(updated), Name::XksProxyIncorrectAuthenticationCredential);
    site.decrypt(&blob).await.unwrap(); // by the former one

    // The proxy takes any request that is signed with the right secret, and names the signer.
    site.proxy.asked();
    site.proxy.break_by(Broken::requests(|asked| {
        assert!(asked.header("authorization").contains("ANOTHER2ACCESS3KEY4ID5"));
        asked.sign();
    }));
    site.kms.update_custom_key_store(&alice(), update).await.unwrap();
    let (path, body) = site.proxy.asked().pop().unwrap();
    assert_eq!(
        (&*path, &body["requestMetadata"]["kmsOperation"]),
        ("health", &"UpdateCustomKeyStore".into())
    );
    site.decrypt(&blob).await.unwrap();
    let described = site.described().await;
    assert_eq!(
        described.xks_proxy_configuration.access_key_id,
        "ANOTHER2ACCESS3KEY4ID5"
    );
    assert_eq!(described.connection_state, ConnectionState::Connected);
}

#[tokio::test]
async fn another_endpoint_takes_a_disconnection_and_another_name_none() {
    let site = Site::new().await;
    let mut update = UpdateCustomKeyStoreRequest::new(&site.store);
    update.new_custom_key_store_name = Some("renamed".into());
    site.kms.update_custom_key_store(&alice(), update).await.unwrap();
    assert_eq!(site.described().await.custom_key_store_name, "renamed");

    let mut update = UpdateCustomKeyStoreRequest::new(&site.store);
    update.xks_proxy_uri_endpoint = Some(site.proxy.url.replace("127.0.0.1", "localhost"));
    let updated = site.kms.update_custom_key_store(&alice(), update.clone()).await;
    assert_eq!(name(updated), Name::CustomKeyStoreInvalidState);
    site.kms.disconnect_custom_key_store(&alice(), site.id()).await.unwrap();
    let again = site.kms.disconnect_custom_key_store(&alice(), site.id()).await;
    assert_eq!(name(again), Name::CustomKeyStoreInvalidState);
    site.kms
        .update_custom_key_store(&alice(), update.clone())
        .await
        .unwrap();
    update.xks_proxy_uri_path = Some("/not-there/kms/xks/v1".into());
    let updated = site.kms.update_custom_key_store(&alice(), update).await;
    assert_eq!(name(updated), Name::XksProxyInvalidConfiguration);
    site.kms.connect_custom_key_store(&alice(), site.id()).await.unwrap();
    site.encrypt(b"plain").await.unwrap();
    assert!(
        site.described()
            .await
            .xks_proxy_configuration
            .uri_endpoint
            .contains("localhost")
    );
}

#[tokio::test]
async fn only_an_empty_key_store_that_is_disconnected_is_deleted() {
    let site = Site::new().await;
    let delete = async || site.kms.delete_custom_key_store(&alice(), site.id()).await;
    assert_eq!(name(delete().await), Name::CustomKeyStoreHasKeys);
    // Another one, without keys.
    let (proxy, kms) = (Proxy::start(), builder().build().unwrap());
    let made = kms
        .create_custom_key_store(&alice(), proxy.key_store("empty"))
        .await
        .unwrap();
    let id = CustomKeyStoreIdRequest::new(made.custom_key_store_id);
    // Nothing is made in what is not connected.
    let key = CreateKeyRequest::new(&id.custom_key_store_id, KEY);
    assert_eq!(
        name(kms.create_key(&alice(), key).await),
        Name::CustomKeyStoreInvalidState
    );
    kms.connect_custom_key_store(&alice(), id.clone()).await.unwrap();
    let deleted = kms.delete_custom_key_store(&alice(), id.clone()).await;
    assert_eq!(name(deleted), Name::CustomKeyStoreInvalidState);
    kms.disconnect_custom_key_store(&alice(), id.clone()).await.unwrap();
    kms.delete_custom_key_store(&alice(), id.clone()).await.unwrap();
    for gone in [
        name(kms.delete_custom_key_store(&alice(), id.clone()).await),
        name(kms.connect_custom_key_store(&alice(), id.clone()).await),
        name(kms.disconnect_custom_key_store(&alice(), id).await),
    ] {
        assert_eq!(gone, Name::CustomKeyStoreNotFound);
    }
    let again = kms.create_custom_key_store(&alice(), proxy.key_store("empty")).await;
    assert!(again.is_ok(), "name and address are free again");
}
