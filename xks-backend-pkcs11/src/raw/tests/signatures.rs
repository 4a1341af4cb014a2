//! Signatures, and keys that leave the module wrapped.

use super::*;

/// What a signature is made of when the module writes these bytes, and says that they are so many.
fn sign(most: usize, writes: usize, says: ck::CK_ULONG) -> Vec<u8> {
    let (cryptoki, _answering) = module(move |call| {
        match call {
            Call::SignInit {
                session: 4,
                key: 8,
                mechanism: ck::CKM_AES_CMAC,
            } => {}
            Call::Sign {
                session: 4,
                mechanism: ck::CKM_AES_CMAC,
                data: b"data",
                signature,
                length,
            } => {
                assert_eq!((signature.len(), *length), (most, most as ck::CK_ULONG));
                signature[..writes].fill(7);
                *length = says;
            }
            _ => panic!("another call"),
        }
        ck::CKR_OK
    });
    cryptoki.sign(4, 8, ck::CKM_AES_CMAC, b"data", most).unwrap()
}

#[test]
fn a_signature_is_as_long_as_the_module_says_and_no_longer_than_its_room() {
    assert_eq!(sign(16, 16, 16), [7; 16]);
    assert_eq!(sign(16, 3, 3), [7; 3]);
    assert_eq!(sign(4, 4, 5), [7; 4], "a lie");
    assert_eq!(sign(4, 2, ck::CK_UNAVAILABLE_INFORMATION), [7, 7, 0, 0]);
    assert_eq!(sign(0, 0, 0), [0_u8; 0]);
}

#[test]
fn a_signature_that_fails_says_in_which_half() {
    for (fails, function) in [(0, "C_SignInit"), (1, "C_Sign")] {
        let count = Count::default();
        let calls = count.clone();
        let (cryptoki, _answering) = module(move |_| match calls.next() == fails {
            true => ck::CKR_DEVICE_ERROR,
            false => ck::CKR_OK,
        });
        let signed = cryptoki.sign(4, 8, ck::CKM_ECDSA, b"data", 64);
        assert_fails(signed, function, ck::CKR_DEVICE_ERROR);
        assert_eq!(count.get(), fails + 1);
    }
}

/// What is wrapped when the module says that it is so long; the mechanism is this.
fn wrap(wrapping: Wrapping, expected: fake::Wrapping, says: ck::CK_ULONG) -> Vec<u8> {
    let (cryptoki, _answering) = module(move |call| {
        let Call::WrapKey {
            session: 4,
            wrapping,
            wrapping_key: 8,
            key: 9,
            wrapped,
            length,
        } = call
        else {
            panic!("another call");
        };
        assert_eq!(wrapping, expected);
        assert_eq!(*length, MOST_WRAPPED as ck::CK_ULONG);
        wrapped.fill(7);
        *length = says;
        ck::CKR_OK
    });
    cryptoki.wrap_key(4, 8, 9, wrapping).unwrap()
}

#[test]
fn a_key_is_wrapped_as_asked() {
    let sha1 = fake::Wrapping {
        mechanism: ck::CKM_RSA_PKCS_OAEP,
        aes_bits: None,
        hash: ck::CKM_SHA_1,
        mask: ck::CKG_MGF1_SHA1,
        label: 0,
    };
    let sha256 = fake::Wrapping {
        hash: ck::CKM_SHA256,
        mask: ck::CKG_MGF1_SHA256,
        ..sha1
    };
    let with_aes = fake::Wrapping {
        mechanism: ck::CKM_RSA_AES_KEY_WRAP,
        aes_bits: Some(256),
        ..sha256
    };
    let by_aes = |mechanism| fake::Wrapping {
        mechanism,
        hash: 0,
        mask: 0,
        ..sha1
    };
    assert_eq!(wrap(Wrapping::RsaOaepSha1, sha1, 256), [7; 256]);
    assert_eq!(wrap(Wrapping::RsaOaepSha256, sha256, 512), [7; 512]);
    assert_eq!(wrap(Wrapping::RsaAesSha256, with_aes, 552), [7; 552]);
    assert_eq!(wrap(Wrapping::AesKwp, by_aes(ck::CKM_AES_KEY_WRAP_KWP), 40), [7; 40]);
    assert_eq!(wrap(Wrapping::AesPad, by_aes(ck::CKM_AES_KEY_WRAP_PAD), 48), [7; 48]);
    let lie = MOST_WRAPPED as ck::CK_ULONG + 1;
    assert_eq!(wrap(Wrapping::RsaOaepSha256, sha256, lie), [7; MOST_WRAPPED]);
}

/// Codes that only a vendor has come with the vendor's name for them.
#[test]
fn a_vendors_own_code_is_named() {
    const BUSY: ReturnCode = ReturnCode::new(0x8000_0101);
    const NAMES: &[(ReturnCode, &str)] = &[(ReturnCode::new(0x8000_0102), "OTHER"), (BUSY, "ACME_BUSY")];
    let (cryptoki, _answering) = module(|_| BUSY.0);
    let said = |cryptoki: &Cryptoki| cryptoki.destroy_object(4, 8).unwrap_err().to_string();
    assert_eq!(said(&cryptoki), "C_DestroyObject: CKR 0x80000101");
    cryptoki.name_codes(&[]);
    cryptoki.name_codes(NAMES);
    assert_eq!(said(&cryptoki), "C_DestroyObject: ACME_BUSY (CKR 0x80000101)");
}
