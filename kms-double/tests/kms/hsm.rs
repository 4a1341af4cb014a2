//! A key in a SoftHSM2 token, which an operator of the HSM forbids to decrypt, and allows again.

use std::{process::Command, thread::sleep, time::Duration};

use kms_double::kms::{ExceptionName as Name, Failure, Kms, api::*};
use xks_pkcs11_fixture::{KeyTemplate, Permission, own_process, softhsm_path};

use crate::{
    programs::{Program, xks_proxy},
    site::{alice, builder, credential, what},
    support::{ACCESS_KEY_ID, SECRET, runtime},
};

#[test]
fn what_the_hsm_forbids_stops_at_kms() {
    own_process("hsm::what_the_hsm_forbids_stops_at_kms", |hsm| {
        hsm.token("main", "1234");
        hsm.key("main", &KeyTemplate::aes256("usable"));
        let settings = hsm.folder().join("settings.toml");
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nbudget_ms = 30000\ndrain_delay_secs = 0\n[log]\naudit = \"failures\"\n\
             [backends.hsm]\nkind = \"pkcs11\"\nmodule = {module:?}\nvendor = \"softhsm\"\ntoken_label = \"main\"\n\
             pin_file = \"pin\"\n\
             [[key_stores]]\nuri_path_prefix = \"/example/tenant\"\nregions = [\"us-east-1\"]\nkeys = [\"usable\"]\n\
             [[key_stores.credentials]]\naccess_key_id = \"{ACCESS_KEY_ID}\"\nsecret_access_key = \"{SECRET}\"\n",
            module = softhsm_path()
        );
        std::fs::write(&settings, text).unwrap();
        std::fs::write(hsm.folder().join("pin"), "1234\n").unwrap();
        let mut server = Program::start(Command::new(xks_proxy()).arg("--config").arg(&settings));
        let url = server.wait_for("address");
        server.wait_for("Ready.");
        let runtime = runtime();
        let (kms, key) = runtime.block_on(connected(&url));
        let encrypt = || runtime.block_on(kms.encrypt(&alice(), EncryptRequest::new(&key, b"plain")));
        let blob = encrypt().unwrap().ciphertext_blob;
        let decrypt = || runtime.block_on(kms.decrypt(&alice(), DecryptRequest::new(blob.clone())));
        assert_eq!(&*decrypt().unwrap().plaintext, b"plain");

        hsm.permit("main", "usable", Permission::Decrypt, false);
        // The proxy looks at the token's attributes again from time to time.
        let mut refused = decrypt();
        while refused.is_ok() {
            sleep(Duration::from_millis(50));
            refused = decrypt();
        }
        assert_eq!(what(refused), (Name::InvalidState, Some(Failure::InvalidKeyUsage)));
        assert_eq!(what(encrypt()), (Name::InvalidState, Some(Failure::InvalidKeyUsage)));
        let described = runtime.block_on(kms.describe_key(&alice(), KeyIdRequest::new(&key)));
        let state = described.unwrap().key_metadata.key_state;
        assert_eq!(state, KeyState::Enabled, "KMS's own state of the key is another thing");

        hsm.permit("main", "usable", Permission::Decrypt, true);
        while decrypt().is_err() {
            sleep(Duration::from_millis(50));
        }
        assert_eq!(&*decrypt().unwrap().plaintext, b"plain");
        assert!(server.stop());
    });
}

/// A KMS with a key over `usable`, and that key's id.
async fn connected(url: &str) -> (Kms, String) {
    let kms = builder().build().unwrap();
    let store = CreateCustomKeyStoreRequest::new("hsm", url, "/example/tenant/kms/xks/v1", credential());
    let store = kms
        .create_custom_key_store(&alice(), store)
        .await
        .unwrap()
        .custom_key_store_id;
    kms.connect_custom_key_store(&alice(), CustomKeyStoreIdRequest::new(&store))
        .await
        .unwrap();
    let key = kms
        .create_key(&alice(), CreateKeyRequest::new(&store, "usable"))
        .await
        .unwrap();
    (kms, key.key_metadata.key_id)
}
