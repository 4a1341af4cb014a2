//! The server over TLS, with and without a client certificate, by HTTP/1.1 and by HTTP/2.

use std::{path::Path, process::Command};

use kms_double::{
    kms::{ConnectionErrorCode as Code, ExceptionName as Name, Failure, Kms, api::*},
    wire::{Http, Tls},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};

use crate::{
    programs::{Program, xks_proxy},
    site::{PATIENCE, alice, credential, what},
    support::{ACCESS_KEY_ID, Folder, SECRET},
};

const CLIENT: &str = "cks.kms.us-east-1.amazonaws.com";

/// A root, a certificate for `localhost`, and one for KMS.
fn write_certificates(folder: &Folder) {
    let mut root = CertificateParams::default();
    root.distinguished_name.push(DnType::CommonName, "Root of a test");
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
    folder.write("root.pem", &root.pem());
    for (file, name, usage) in [
        ("server", "localhost", ExtendedKeyUsagePurpose::ServerAuth),
        ("client", CLIENT, ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let key = KeyPair::generate().unwrap();
        let mut leaf = CertificateParams::new([name.to_owned()]).unwrap();
        leaf.distinguished_name.push(DnType::CommonName, name);
        leaf.extended_key_usages = vec![usage];
        folder.write(&format!("{file}.pem"), &leaf.signed_by(&key, &root).unwrap().pem());
        folder.write(&format!("{file}-key.pem"), &key.serialize_pem());
    }
}

/// The server with a software key, over TLS, and where it is.
fn serve(folder: &Folder, more: &str) -> (Program, String) {
    write_certificates(folder);
    std::fs::write(folder.path("usable.key"), b"32 bytes that are no secret key.").unwrap();
    let settings = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nbudget_ms = 30000\ndrain_delay_secs = 0\n[log]\naudit = \"failures\"\n\
         [tls]\ncertificate_chain = \"server.pem\"\nprivate_key = \"server-key.pem\"\n{more}\n\
         [backends.keys]\nkind = \"soft\"\nkeys = {{ usable = \"usable.key\" }}\n\
         [[key_stores]]\nuri_path_prefix = \"/example/tenant\"\nregions = [\"us-east-1\"]\nall_keys = true\n\
         [[key_stores.credentials]]\naccess_key_id = \"{ACCESS_KEY_ID}\"\nsecret_access_key = \"{SECRET}\"\n"
    );
    let settings = folder.write("settings.toml", &settings);
    let mut server = Program::start(Command::new(xks_proxy()).arg("--config").arg(settings));
    let address = server.wait_for("address");
    server.wait_for("Ready.");
    let (_, port) = address.rsplit_once(':').unwrap();
    (server, format!("https://localhost:{port}"))
}

fn kms(http: Http, tls: Tls) -> Kms {
    Kms::builder().timeout(PATIENCE).http(http).tls(tls).build().unwrap()
}

fn identity(folder: &Folder) -> Tls {
    Tls::default()
        .roots(folder.path("root.pem"))
        .identity(folder.path("client.pem"), folder.path("client-key.pem"))
}

fn key_store(url: &str) -> CreateCustomKeyStoreRequest {
    CreateCustomKeyStoreRequest::new("tls", url, "/example/tenant/kms/xks/v1", credential())
}

#[tokio::test]
async fn every_operation_over_tls_and_mutual_tls_by_both_versions_of_http() {
    for more in [
        "",
        "[tls.client]\nroots = \"root.pem\"\nnames = [\"cks.kms.us-east-1.amazonaws.com\"]",
    ] {
        let folder = Folder::new();
        let (server, url) = serve(&folder, more);
        for http in [Http::One, Http::Two] {
            let kms = kms(http, identity(&folder));
            let store = kms
                .create_custom_key_store(&alice(), key_store(&url))
                .await
                .unwrap()
                .custom_key_store_id;
            let id = CustomKeyStoreIdRequest::new(&store);
            kms.connect_custom_key_store(&alice(), id).await.unwrap();
            let key = kms
                .create_key(&alice(), CreateKeyRequest::new(&store, "usable"))
                .await
                .unwrap();
            let request = GenerateDataKeyRequest::new(&key.key_metadata.key_id);
            let made = kms.generate_data_key(&alice(), request).await.unwrap();
            let decrypt = DecryptRequest::new(made.ciphertext_blob);
            assert_eq!(kms.decrypt(&alice(), decrypt).await.unwrap().plaintext, made.plaintext);
            kms.check_health().await.unwrap();
            assert!(kms.last_health_check(&store).unwrap().outcome.is_ok());
        }
        assert!(server.stop());
    }
}

#[tokio::test]
async fn a_handshake_that_fails_is_a_matter_of_tls() {
    let folder = Folder::new();
    let client = "[tls.client]\nroots = \"root.pem\"\nnames = [\"cks.kms.us-east-1.amazonaws.com\"]";
    let (_server, url) = serve(&folder, client);
    let foreign = Folder::new();
    write_certificates(&foreign);
    let unknown_server = Tls::default().roots(foreign.path("root.pem"));
    let other_name = format!("https://127.0.0.1{}", url.strip_prefix("https://localhost").unwrap());
    for (tls, url) in [(unknown_server, &url), (identity(&folder), &other_name)] {
        let kms = kms(Http::One, tls);
        let created = kms.create_custom_key_store(&alice(), key_store(url)).await;
        assert_eq!(what(created), (Name::XksProxyInvalidConfiguration, Some(Failure::Tls)));
        // A key store behind a VPC endpoint service is first called when it is connected.
        let mut vpc = key_store(url);
        vpc.xks_proxy_connectivity = Some(Connectivity::VpcEndpointService);
        vpc.xks_proxy_vpc_endpoint_service_name = Some("com.amazonaws.vpce.us-east-1.vpce-svc-1".into());
        let store = kms
            .create_custom_key_store(&alice(), vpc)
            .await
            .unwrap()
            .custom_key_store_id;
        kms.connect_custom_key_store(&alice(), CustomKeyStoreIdRequest::new(store))
            .await
            .unwrap();
        let all = DescribeCustomKeyStoresRequest::default();
        let all = kms.describe_custom_key_stores(&alice(), all).await.unwrap();
        assert_eq!(
            all.custom_key_stores[0].connection_error_code,
            Some(Code::InvalidTlsConfiguration)
        );
    }
    // Under TLS 1.3 a client learns only after the handshake that its certificate is missing.
    let nobody = kms(Http::One, Tls::default().roots(folder.path("root.pem")));
    let created = nobody.create_custom_key_store(&alice(), key_store(&url)).await;
    let (_, failure) = what(created);
    assert!(
        matches!(failure, Some(Failure::Tls | Failure::Unreachable)),
        "{failure:?}"
    );
}

#[test]
fn files_of_tls_are_read_at_once() {
    let missing = Tls::default().roots(Path::new("not-there.pem"));
    assert!(Kms::builder().tls(missing).build().is_err());
}
