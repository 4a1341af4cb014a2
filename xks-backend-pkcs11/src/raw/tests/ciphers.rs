//! Encryption and decryption: what the module gets, for how long, and what is made of its output.

use super::*;
use crate::{
    gcm::{self, AttemptError, Ivs, Sealed},
    quirks::{AppendedIv, IvSource},
    session::Session,
};

const TEXT: &[u8] = b"text";
const AAD: &[u8] = b"aad";
const TAG: usize = 16;

/// What each half of an operation is given, is what was passed; the second half finds the parameters of the
/// first where they were, and may write the IV then.
#[test]
fn parameters_are_there_until_the_operation_has_ended() {
    for direction in [Direction::Encrypt, Direction::Decrypt] {
        let (cryptoki, _answering) = module(move |call| {
            let gcm = match call {
                Call::CipherInit {
                    direction: begun,
                    session: 4,
                    key: 8,
                    gcm,
                } => {
                    assert_eq!(begun, direction);
                    gcm
                }
                Call::Cipher {
                    direction: ended,
                    session: 4,
                    mut gcm,
                    input,
                    output,
                    length,
                } => {
                    assert_eq!(ended, direction);
                    assert_eq!((input, output.len()), (TEXT, TEXT.len() + SLACK));
                    output.fill(7);
                    *length = 5;
                    gcm.iv.as_mut().unwrap()[11] = 3;
                    gcm
                }
                _ => panic!("another call"),
            };
            assert_eq!((gcm.mechanism, gcm.iv_bits, gcm.tag_bits), (ck::CKM_AES_GCM, 96, 128));
            assert_eq!((gcm.iv.as_ref().unwrap().len(), gcm.aad), (12, AAD));
            assert_eq!(gcm.iv.unwrap()[..11], [1; 11]);
            ck::CKR_OK
        });
        let mut iv = [1; 12];
        let gcm = gcm(&mut iv);
        let output = match direction {
            Direction::Encrypt => cryptoki.gcm_encrypt(4, 8, gcm, TEXT).unwrap(),
            Direction::Decrypt => cryptoki.gcm_decrypt(4, 8, gcm, TEXT).unwrap().to_vec(),
        };
        assert_eq!(output, [7; 5]);
        assert_eq!(iv[11], 3, "as the module left it");
    }
}

#[test]
fn an_iv_of_the_modules_own_has_no_place() {
    let (cryptoki, _answering) = module(|call| {
        if let Call::CipherInit { gcm, .. } | Call::Cipher { gcm, .. } = call {
            assert!(gcm.iv.is_none());
            assert_eq!(gcm.aad, b"");
        }
        ck::CKR_OK
    });
    let gcm = Gcm {
        iv: &mut [],
        iv_bits: 0,
        aad: b"",
    };
    cryptoki.gcm_encrypt(4, 8, gcm, b"").unwrap();
}

/// The second half fails: its code comes out.
#[test]
fn an_operation_that_fails_at_its_end_says_so() {
    let (cryptoki, _answering) = module(|call| match call {
        Call::Cipher { length, .. } => {
            *length = 1000;
            ck::CKR_BUFFER_TOO_SMALL
        }
        _ => ck::CKR_OK,
    });
    let encrypted = cryptoki.gcm_encrypt(4, 8, gcm(&mut [1; 12]), TEXT);
    assert_fails(encrypted, "C_Encrypt", ck::CKR_BUFFER_TOO_SMALL);
    let decrypted = cryptoki.gcm_decrypt(4, 8, gcm(&mut [1; 12]), TEXT);
    assert_fails(decrypted, "C_Decrypt", ck::CKR_BUFFER_TOO_SMALL);
}

/// What is sealed when an encryption writes this IV, so many bytes of output, and says that they are so many.
fn seal(source: IvSource, iv: &'static [u8], written: usize, said: ck::CK_ULONG) -> Result<Sealed, AttemptError> {
    let (cryptoki, _answering) = module(move |call| {
        match call {
            Call::GenerateRandom { bytes, .. } => {
                bytes
                    .iter_mut()
                    .zip((1..=251).cycle())
                    .for_each(|(place, byte)| *place = byte);
            }
            Call::Cipher {
                gcm, output, length, ..
            } => {
                gcm.iv
                    .into_iter()
                    .flatten()
                    .zip(iv)
                    .for_each(|(place, byte)| *place = *byte);
                output.iter_mut().take(written).for_each(|place| *place = 9);
                *length = said;
            }
            _ => {}
        }
        ck::CKR_OK
    });
    Ivs::new(source, 1).seal(&cryptoki, &mut Session::new(4, 1), 8, AAD, TEXT)
}

#[test]
fn only_an_output_of_the_right_length_is_sealed() {
    let right = TEXT.len() + TAG;
    let sealed = seal(IvSource::TokenRandom, &[], right, right as ck::CK_ULONG)
        .ok()
        .unwrap();
    assert_eq!((sealed.ciphertext, sealed.tag.as_bytes()), (vec![9; 4], &[9; TAG]));
    for said in [0, 4, 19, 21, 32, 36, 84, 85, 1 << 32, ck::CK_ULONG::MAX] {
        let outcome = seal(IvSource::TokenRandom, &[], right, said);
        assert!(matches!(outcome, Err(AttemptError::Final(_))), "{said}");
    }
}

/// ENC-6: an IV that was not written is none, and one that was written where ours is stands.
#[test]
fn an_iv_is_the_one_that_the_module_used() {
    let right = (TEXT.len() + TAG) as ck::CK_ULONG;
    let written = seal(IvSource::WrittenBack, &[5; 12], 20, right).ok().unwrap();
    assert_eq!(written.iv.as_bytes(), [5; 12]);
    let longer = seal(IvSource::WrittenBack, &[5; 16], 20, right).ok().unwrap();
    assert_eq!(longer.iv.as_bytes(), [5; 12], "there is room for twelve");
    assert!(matches!(
        seal(IvSource::WrittenBack, &[], 20, right),
        Err(AttemptError::IvFault(_))
    ));
    let ours = seal(IvSource::SystemRandom, &[6; 12], 20, right).ok().unwrap();
    assert_eq!(ours.iv.as_bytes(), [6; 12]);
}

#[test]
fn an_appended_iv_is_what_follows_the_tag() {
    let source = IvSource::Appended(AppendedIv::Bytes16);
    let sealed = seal(source, &[], 36, 36).ok().unwrap();
    assert_eq!((sealed.ciphertext, sealed.iv.as_bytes()), (vec![9; 4], &[9; 16][..]));
    assert!(
        matches!(seal(source, &[], 32, 32), Err(AttemptError::Final(_))),
        "of twelve bytes"
    );
    assert!(
        matches!(seal(source, &[], 20, 36), Err(AttemptError::IvFault(_))),
        "said and not written"
    );
    assert!(matches!(seal(source, &[], 20, 20), Err(AttemptError::Final(_))), "none");
}

#[test]
fn only_a_plaintext_of_the_right_length_is_opened() {
    for (said, is_right) in [
        (4, true),
        (0, false),
        (3, false),
        (5, false),
        (20, false),
        (ck::CK_ULONG::MAX, false),
    ] {
        let (cryptoki, _answering) = module(move |call| {
            if let Call::Cipher { output, length, .. } = call {
                output.iter_mut().take(4).for_each(|place| *place = 9);
                *length = said;
            }
            ck::CKR_OK
        });
        let iv = [1; 12].as_slice().try_into().unwrap();
        let opened = gcm::open(&cryptoki, 4, 8, &iv, AAD, &[0; 20]);
        assert_eq!(opened.is_ok_and(|text| *text == [9; 4]), is_right, "{said}");
    }
}
