//! What the console's fields may hold, what has to be unique, and what can be changed when.

use std::time::Duration;

use kms_double::kms::{Clock, ConnectionErrorCode, ExceptionName as Name, Kms, api::*};

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

#[tokio::test]
async fn a_vpc_endpoint_service_has_a_name_and_an_owner() {
    let (proxy, kms) = (Proxy::start(), builder().build().unwrap());
    let create = async |service: &str, owner: Option<&str>| {
        let mut request = proxy.key_store("vpc");
        request.xks_proxy_connectivity = Some(Connectivity::VpcEndpointService);
        request.xks_proxy_vpc_endpoint_service_name = Some(service.to_owned());
        request.xks_proxy_vpc_endpoint_service_owner = owner.map(str::to_owned);
        kms.create_custom_key_store(&alice(), request).await
    };
    let service = "com.amazonaws.vpce.us-east-1.vpce-svc-0123456789abcdef0";
    for wrong in [
        "vpce-svc-0123456789abcdef0",
        "org.amazonaws.vpce.us-east-1.vpce-svc-0123456789abcdef0",
        "com.amazonaws.vpce.east-1.vpce-svc-0123456789abcdef0",
        "com.amazonaws.vpce.us-east-1.vpce-svc-ABC",
        "com.amazonaws.vpce.us-east-1.vpce-svc-0123456789abcdef0123456789abcdef0123",
    ] {
        assert_eq!(name(create(wrong, None).await), Name::Validation, "{wrong}");
    }
    assert_eq!(name(create(service, Some("1234")).await), Name::Validation);
    let mut public = proxy.key_store("public");
    public.xks_proxy_vpc_endpoint_service_owner = Some("444455556666".into());
    let public = kms.create_custom_key_store(&alice(), public).await;
    assert_eq!(name(public), Name::Validation);

    let id = create(service, None).await.unwrap().custom_key_store_id;
    let owner = async || {
        let all = DescribeCustomKeyStoresRequest::default();
        let all = kms.describe_custom_key_stores(&alice(), all).await.unwrap();
        all.custom_key_stores[0]
            .xks_proxy_configuration
            .vpc_endpoint_service_owner
            .clone()
    };
    assert_eq!(
        owner().await.as_deref(),
        Some("111122223333"),
        "by default the caller's account"
    );
    let mut update = UpdateCustomKeyStoreRequest::new(&id);
    update.xks_proxy_vpc_endpoint_service_owner = Some("444455556666".into());
    let connect = CustomKeyStoreIdRequest::new(&id);
    kms.connect_custom_key_store(&alice(), connect.clone()).await.unwrap();
    let updated = kms.update_custom_key_store(&alice(), update.clone()).await;
    assert_eq!(name(updated), Name::CustomKeyStoreInvalidState);
    kms.disconnect_custom_key_store(&alice(), connect).await.unwrap();
    kms.update_custom_key_store(&alice(), update).await.unwrap();
    assert_eq!(owner().await.as_deref(), Some("444455556666"));
    // Another store of the European Sovereign Cloud.
    kms.delete_custom_key_store(&alice(), CustomKeyStoreIdRequest::new(&id))
        .await
        .unwrap();
    create("eu.amazonaws.vpce.eusc-de-east-1.vpce-svc-0", None)
        .await
        .unwrap();
}

#[tokio::test]
async fn connecting_and_disconnecting_take_their_time() {
    let (proxy, clock) = (Proxy::start(), Clock::default());
    let minute = Duration::from_secs(60);
    let kms = builder().clock(clock.clone()).connecting(minute).build().unwrap();
    let made = kms
        .create_custom_key_store(&alice(), proxy.key_store("slow"))
        .await
        .unwrap();
    let id = || CustomKeyStoreIdRequest::new(&made.custom_key_store_id);
    let described = async || {
        let all = DescribeCustomKeyStoresRequest::default();
        let all = kms.describe_custom_key_stores(&alice(), all).await.unwrap();
        let store = all.custom_key_stores[0].clone();
        (store.connection_state, store.connection_error_code)
    };
    let key = || CreateKeyRequest::new(&made.custom_key_store_id, KEY);
    kms.connect_custom_key_store(&alice(), id()).await.unwrap();
    assert_eq!(described().await, (ConnectionState::Connecting, None));
    assert_eq!(
        name(kms.create_key(&alice(), key()).await),
        Name::CustomKeyStoreInvalidState
    );
    clock.advance(minute);
    assert_eq!(described().await, (ConnectionState::Connected, None));
    kms.create_key(&alice(), key()).await.unwrap();
    kms.connect_custom_key_store(&alice(), id()).await.unwrap();
    assert_eq!(described().await, (ConnectionState::Connected, None), "it is already");

    kms.disconnect_custom_key_store(&alice(), id()).await.unwrap();
    assert_eq!(described().await, (ConnectionState::Disconnecting, None));
    for refused in [
        name(kms.connect_custom_key_store(&alice(), id()).await),
        name(kms.disconnect_custom_key_store(&alice(), id()).await),
    ] {
        assert_eq!(refused, Name::CustomKeyStoreInvalidState);
    }
    clock.advance(minute);
    assert_eq!(described().await, (ConnectionState::Disconnected, None));

    proxy.break_by(Broken::requests(|asked| {
        asked.parts.headers.remove("authorization");
    }));
    kms.connect_custom_key_store(&alice(), id()).await.unwrap();
    assert_eq!(described().await, (ConnectionState::Connecting, None));
    clock.advance(minute);
    let failed = (ConnectionState::Failed, Some(ConnectionErrorCode::InvalidCredentials));
    assert_eq!(described().await, failed);
}

#[tokio::test]
async fn keys_of_other_accounts_are_listed_on_request_and_there_are_none() {
    let site = Site::new().await;
    let list = async |owners: Option<Vec<ResourceOwner>>| {
        let mut request = ListKeysRequest::default();
        request.resource_owners = owners;
        let listed = site.kms.list_keys(&alice(), request).await;
        listed.map(|listed| listed.keys.len())
    };
    let (mine, others) = (ResourceOwner::Owned, ResourceOwner::OtherAccountsViaRam);
    for (owners, expected) in [
        (None, 1),
        (Some(vec![mine]), 1),
        (Some(vec![others]), 0),
        (Some(vec![others, mine]), 1),
    ] {
        assert_eq!(list(owners).await.unwrap(), expected);
    }
    assert_eq!(name(list(Some(vec![])).await), Name::Validation);
}
