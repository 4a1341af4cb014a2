//! Ciphertexts: good ones decrypt, changed ones do not.

use proptest::prelude::*;

use super::*;

const FRAMINGS: [AadFraming; 2] = [AadFraming::Spec, AadFraming::Digest];

/// ENC-2, ENC-3, ENC-6, DEC-1, DEC-5: every size that must be served comes back, and no part has another
/// length.
#[test]
fn what_is_encrypted_is_decrypted() {
    let backend: Arc<dyn KeyBackend> = soft();
    for framing in FRAMINGS {
        for plaintext in [0, 1, 15, 16, 32, 4300] {
            for aad in [0, 1, 200, 8192] {
                let (plaintext, aad) = (vec![b'p'; plaintext], vec![b'a'; aad]);
                let encrypted = encrypt_framed(&*backend, framing, &plaintext, &aad).unwrap();
                assert_eq!(encrypted.ciphertext().len(), plaintext.len());
                assert_eq!(encrypted.iv().as_bytes().len(), 12);
                assert_eq!(encrypted.bound_aad().metadata().unwrap().as_bytes(), METADATA_OF_1);
                if plaintext.len() >= 15 {
                    assert_ne!(encrypted.ciphertext(), plaintext);
                }
                assert_eq!(*decrypt(&*backend, encrypted).unwrap(), plaintext);
            }
        }
    }
}

proptest! {
    /// ENC-7: whatever the bytes are, they come back, and only under the framing they were made with.
    #[test]
    fn any_bytes_come_back(
        plaintext in prop::collection::vec(any::<u8>(), 0..600),
        aad in prop::collection::vec(any::<u8>(), 0..600),
        is_digest: bool,
    ) {
        let [framing, other] = if is_digest { [AadFraming::Digest, AadFraming::Spec] } else { FRAMINGS };
        let backend = soft();
        let encrypted = encrypt_framed(&*backend, framing, &plaintext, &aad).unwrap();
        let mut parts = Parts::new(framing, &aad, &encrypted);
        prop_assert_eq!(&**parts.decrypt(&*backend).unwrap(), &plaintext);
        parts.framing = other;
        prop_assert_eq!(kind(parts.decrypt(&*backend)), Some(BackendErrorKind::InvalidCiphertext));
    }
}

/// ENC-7, DEC-2: ciphertexts that OpenSSL 4.0.3 made (through Python's `cryptography` 50.0.2) under the bytes
/// 0 to 31, over AAD that Python framed.
#[test]
fn ciphertexts_of_another_implementation_are_decrypted() {
    let backend = backend(SoftKey::new(
        KeyVersion::new(1, <[u8; 32]>::try_from((0..32).collect::<Vec<u8>>()).unwrap()).unwrap(),
    ));
    let (short, long) = ("1ccae5470f39700254779031", "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf");
    for (framing, iv, ciphertext, tag) in [
        (
            AadFraming::Spec,
            short,
            "a8db4da0b7ffd328750a6d45",
            "1e5ab9852819b91a36431ede1165187d",
        ),
        (
            AadFraming::Spec,
            long,
            "62c64fd077ed9a19b1f27b90",
            "015f356a099f3bfbfc57abe3a726ff17",
        ),
        (
            AadFraming::Digest,
            short,
            "a8db4da0b7ffd328750a6d45",
            "bcf66939d5f943f932bfe4846b323c8b",
        ),
        (
            AadFraming::Digest,
            long,
            "62c64fd077ed9a19b1f27b90",
            "a3f3e5d6f47fc118f8ab51b9dd71dbe1",
        ),
    ] {
        let parts = Parts {
            framing,
            ciphertext: hex(ciphertext),
            iv: hex(iv),
            tag: hex(tag),
            aad: b"project=nile,department=marketing".to_vec(),
            metadata: METADATA_OF_1.to_vec(),
        };
        assert_eq!(**parts.decrypt(&*backend).unwrap(), *b"Hello World!");
        no_bit_can_be_changed(&*backend, &parts);
    }
}

/// Flips each bit of each part.
fn no_bit_can_be_changed(backend: &dyn KeyBackend, parts: &Parts) {
    assert!(parts.decrypt(backend).is_ok());
    for field in 0..5 {
        let length = parts.clone().fields()[field].len();
        for bit in 0..length * 8 {
            let mut changed = parts.clone();
            changed.fields()[field][bit / 8] ^= 1 << (bit % 8);
            let error = changed.decrypt(backend).unwrap_err();
            assert_eq!(
                error.kind(),
                BackendErrorKind::InvalidCiphertext,
                "bit {bit} of field {field}"
            );
            assert_eq!(error.to_string(), BackendError::invalid_ciphertext().to_string());
        }
    }
}

/// DEC-3: no bit of ciphertext, IV, tag, AAD or metadata can be changed, be it that the metadata then names
/// another version; nor can a part be cut or be left out.
#[test]
fn whatever_was_changed_is_refused() {
    let versions = [1, 3, 5, 9];
    let key = versions.into_iter().fold(SoftKey::new(version(2)), |key, number| {
        key.with_version(version(number)).unwrap()
    });
    let backend = backend(key);
    for framing in FRAMINGS {
        let encrypted = encrypt_framed(&*backend, framing, b"a plaintext of 28 characters", b"some aad").unwrap();
        let parts = Parts::new(framing, b"some aad", &encrypted);
        assert_eq!(parts.metadata, b"key_version=9");
        no_bit_can_be_changed(&*backend, &parts);

        let changes: [fn(&mut Parts); 8] = [
            |parts| parts.ciphertext.clear(),
            |parts| parts.ciphertext.truncate(27),
            |parts| parts.ciphertext.push(0),
            |parts| parts.iv.extend([0; 4]),
            |parts| parts.aad.truncate(7),
            |parts| parts.aad.push(0),
            |parts| parts.metadata.clear(),
            |parts| parts.metadata.push(b'9'),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut changed = parts.clone();
            change(&mut changed);
            assert_eq!(
                kind(changed.decrypt(&*backend)),
                Some(BackendErrorKind::InvalidCiphertext),
                "change {number}"
            );
        }
    }
}

/// A ciphertext of one key is nothing to another.
#[test]
fn keys_are_apart() {
    let encrypted = encrypt(&*soft()).unwrap();
    let other = backend(SoftKey::generate().unwrap());
    assert_eq!(
        kind(decrypt(&*other, encrypted)),
        Some(BackendErrorKind::InvalidCiphertext)
    );
}
