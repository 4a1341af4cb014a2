//! A key store on its way from the digest framing to the specification's.

use std::sync::Arc;

use xks_core::{
    BackendError, KeyBackend, KeyId,
    aad::AadFraming,
    async_trait,
    backend::{CiphertextMetadata, EncryptRequest, Encrypted, Layered},
};

use crate::support::{
    Client, base64, decrypt_body, encrypt_body, error_of, from_base64, key_store, proxy, soft_backend,
};

const AAD: Option<&[u8]> = Some(b"project=nile");

/// Clients of three key stores over the same keys: before, on the way, and with the specification's framing
/// alone.
fn clients() -> [Client; 3] {
    let backend = soft_backend();
    [AadFraming::Digest, AadFraming::Migrating, AadFraming::Spec]
        .map(|framing| Client::new(proxy(key_store(Arc::clone(&backend) as _).aad_framing(framing))))
}

/// ENC-8: old ciphertexts stay readable, and new ones say how they were made.
#[tokio::test]
async fn old_and_new_ciphertexts_are_decrypted() {
    let [before, migrating, spec] = clients();
    for aad in [None, Some(&b""[..]), AAD] {
        let (_, old) = before.encrypt("usable", &encrypt_body(b"old", aad, true)).await;
        let (_, new) = migrating.encrypt("usable", &encrypt_body(b"new", aad, true)).await;
        let metadata = [&AadFraming::MARK[..], &from_base64(&old["ciphertextMetadata"])].concat();
        assert_eq!(from_base64(&new["ciphertextMetadata"]), metadata);
        for (ciphertext, plaintext) in [(&old, b"old"), (&new, b"new")] {
            let (status, answer) = migrating.decrypt("usable", &decrypt_body(ciphertext, aad)).await;
            assert_eq!((status, &answer["plaintext"]), (200, &base64(plaintext)));
        }
        // It is the specification's framing over metadata with the mark, and no other.
        assert_eq!(
            error_of(&before.decrypt("usable", &decrypt_body(&new, aad)).await),
            "InvalidCiphertextException"
        );
        let of_spec = spec.decrypt("usable", &decrypt_body(&new, aad)).await;
        assert_eq!(
            error_of(&of_spec),
            "InvalidCiphertextException",
            "no key version is named like that"
        );
    }
}

/// DEC-3, ENC-8: a mark that is taken away, put on or changed makes the ciphertext invalid.
#[tokio::test]
async fn the_mark_is_authenticated() {
    let [before, migrating, _] = clients();
    let (_, old) = before.encrypt("usable", &encrypt_body(b"old", AAD, false)).await;
    let (_, new) = migrating.encrypt("usable", &encrypt_body(b"new", AAD, false)).await;
    let own = from_base64(&old["ciphertextMetadata"]);
    let marked = |mark: &[u8]| base64(&[mark, &own].concat());
    for (ciphertext, metadata) in [
        (&new, marked(b"")),
        (&old, marked(&AadFraming::MARK)),
        (&new, marked(&[AadFraming::MARK[0], 2])),
        (&new, base64(&AadFraming::MARK)),
    ] {
        let mut body = decrypt_body(ciphertext, AAD);
        body["ciphertextMetadata"] = metadata;
        let answer = migrating.decrypt("usable", &body).await;
        assert_eq!(error_of(&answer), "InvalidCiphertextException", "{body}");
    }
}

/// Software keys, but what they encrypt has this metadata too.
struct WithMetadata(Arc<dyn KeyBackend>, CiphertextMetadata);

#[async_trait]
impl Layered for WithMetadata {
    type Inner = dyn KeyBackend;

    fn inner(&self) -> &dyn KeyBackend {
        &*self.0
    }

    async fn encrypt(&self, key: &KeyId, request: &mut EncryptRequest<'_>) -> Result<Encrypted, BackendError> {
        let encrypted = self.inner().encrypt(key, request).await?;
        let aad = request.bind_aad(Some(self.1));
        Ok(Encrypted::new(
            encrypted.ciphertext().to_vec(),
            *encrypted.iv(),
            *encrypted.tag(),
            aad,
        ))
    }
}

/// ENC-8: what could not be decrypted again is not returned.
#[tokio::test]
async fn metadata_that_looks_like_a_mark_is_refused() {
    for (tail, status) in [(&[7; 16][..], 200), (&[7; 17], 500)] {
        let metadata = [&AadFraming::MARK[..], tail].concat();
        let backend = WithMetadata(soft_backend(), metadata[..].try_into().unwrap());
        let client = Client::new(proxy(key_store(Arc::new(backend)).aad_framing(AadFraming::Migrating)));
        let answer = client.encrypt("usable", &encrypt_body(b"text", AAD, false)).await;
        assert_eq!(answer.0, status, "{} bytes", metadata.len());
    }
}
