//! Layers that put their own parts into the ciphertext metadata.

use std::sync::Arc;

use serde_json::Value;
use xks_backend_soft::{KeyVersion, SoftBackend, SoftKey};
use xks_core::{
    BackendError, KeyBackend, KeyId,
    aad::AadFraming,
    async_trait,
    backend::{EncryptRequest, Layered, VerifiedEncryption},
    key_store::KeyStoreProblem,
};

use crate::support::{
    Client, base64, decrypt_body, encrypt_body, error_of, from_base64, id, key_store, proxy, soft_backend,
    tagging::Tagging,
};

const AAD: Option<&[u8]> = Some(b"project=nile");

/// Verifies by two calls, as a backend does that has no better way.
struct ByTwoCalls(Arc<SoftBackend>);

#[async_trait]
impl Layered for ByTwoCalls {
    type Inner = SoftBackend;

    fn inner(&self) -> &SoftBackend {
        &self.0
    }

    async fn encrypt_verified(
        &self,
        key: &KeyId,
        request: &mut EncryptRequest<'_>,
    ) -> Result<VerifiedEncryption, BackendError> {
        VerifiedEncryption::by_two_calls(self, key, request).await
    }
}

async fn encrypt(client: &Client, is_verified: bool) -> Value {
    let (status, encrypted) = client.encrypt("usable", &encrypt_body(b"text", AAD, is_verified)).await;
    assert_eq!(status, 200, "{encrypted}");
    encrypted
}

/// ENC-7, ENC-8, DEC-3: outermost first, then the backend's own; each byte of them is authenticated.
#[tokio::test]
async fn parts_of_layers_stand_in_front_of_the_backends() {
    let soft = soft_backend();
    let two_calls: Arc<dyn KeyBackend> = Arc::new(ByTwoCalls(Arc::clone(&soft)));
    for framing in AadFraming::ALL {
        let mark = if framing == AadFraming::Migrating {
            &AadFraming::MARK[..]
        } else {
            &[]
        };
        for inner in [Arc::clone(&soft) as Arc<dyn KeyBackend>, Arc::clone(&two_calls)] {
            let client = |backend| Client::new(proxy(key_store(backend).aad_framing(framing)));
            let older = encrypt(&client(Arc::clone(&inner)), true).await;
            let client = client(Tagging::around(Tagging::around(inner, b"in"), b"out"));
            for is_verified in [false, true] {
                let new = encrypt(&client, is_verified).await;
                let metadata = from_base64(&new["ciphertextMetadata"]);
                assert_eq!(metadata, [mark, b"outinkey_version=1"].concat(), "{framing}");
                for ciphertext in [&new, &older] {
                    let (status, decrypted) = client.decrypt("usable", &decrypt_body(ciphertext, AAD)).await;
                    assert_eq!((status, &decrypted["plaintext"]), (200, &base64(b"text")), "{framing}");
                }
                for index in 0..metadata.len() {
                    let mut changed = metadata.clone();
                    changed[index] ^= 1;
                    let mut body = decrypt_body(&new, AAD);
                    body["ciphertextMetadata"] = base64(&changed);
                    let answer = client.decrypt("usable", &body).await;
                    assert_eq!(
                        error_of(&answer),
                        "InvalidCiphertextException",
                        "byte {index} in {framing}"
                    );
                }
            }
        }
    }
}

/// ENC-7, ENC-8: the sum is known before the first request, and the error has it.
#[test]
fn a_key_store_with_too_much_metadata_is_not_built() {
    for (framing, part, sum) in [
        (AadFraming::Spec, &[7; 7][..], None),
        (AadFraming::Spec, &[7; 8], Some(21)),
        (AadFraming::Digest, &[7; 7], None),
        (AadFraming::Digest, &[7; 8], Some(21)),
        (AadFraming::Migrating, &[7; 5], None),
        (AadFraming::Migrating, &[7; 6], Some(21)),
    ] {
        let backend = Tagging::around(soft_backend(), part);
        let built = key_store(backend).aad_framing(framing).build();
        let Some(sum) = sum else {
            built.unwrap();
            continue;
        };
        let error = built.unwrap_err();
        let length = 13 + part.len();
        assert_eq!(
            error.problem,
            KeyStoreProblem::MetadataTooLong {
                backend: length,
                framing
            }
        );
        let said = error.to_string();
        for part in [
            "key store `/tenant`: ".to_owned(),
            format!("may have {sum} bytes, {length} from its backend"),
            format!("`aad_framing = \"{framing}\"`"),
        ] {
            assert!(said.contains(&part), "{said}");
        }
    }
}

/// ENC-8: a key version with a long number leaves no room for the mark; what there is stays readable.
#[tokio::test]
async fn long_names_of_key_versions_leave_no_room_for_a_mark() {
    for (number, has_room) in [(999_999, true), (1_000_000, false), (99_999_999, false)] {
        let version = |number| KeyVersion::new(number, [number as u8; 32]).unwrap();
        let backend = Arc::new(SoftBackend::new().with_key(id("usable"), SoftKey::new(version(number))));
        let framed = |framing| key_store(Arc::clone(&backend) as _).aad_framing(framing);
        assert_eq!(framed(AadFraming::Migrating).build().is_ok(), has_room, "{number}");
        let client = Client::new(proxy(framed(AadFraming::Digest)));
        let encrypted = encrypt(&client, true).await;
        assert_eq!(client.decrypt("usable", &decrypt_body(&encrypted, AAD)).await.0, 200);
    }
    // It is known at any time, and what is served goes on.
    let backend = soft_backend();
    let framed = || key_store(Arc::clone(&backend) as _).aad_framing(AadFraming::Migrating);
    let client = Client::new(proxy(framed()));
    backend.insert(id("usable"), SoftKey::new(KeyVersion::new(1_000_000, [1; 32]).unwrap()));
    assert!(framed().build().is_err());
    let encrypted = encrypt(&client, true).await;
    assert_eq!(client.decrypt("usable", &decrypt_body(&encrypted, AAD)).await.0, 200);
}

/// ENC-7: what KMS could not store is not returned.
#[tokio::test]
async fn a_part_that_was_not_declared_is_refused_when_it_is_too_long() {
    for (part, status) in [(&[7; 7][..], 200), (&[7; 8], 500), (&[7; 20], 500), (&[7; 300], 500)] {
        for framing in AadFraming::ALL {
            for is_verified in [false, true] {
                let inner: Arc<dyn KeyBackend> = soft_backend();
                let says_so = false;
                let backend = Arc::new(Tagging { inner, part, says_so });
                let client = Client::new(proxy(key_store(backend).aad_framing(framing)));
                let answer = client.encrypt("usable", &encrypt_body(b"text", AAD, is_verified)).await;
                assert_eq!(answer.0, status, "{} bytes in {framing}: {}", part.len(), answer.1);
            }
        }
    }
}
