//! Keys that leave the token wrapped: what comes out is opened by another library.

use aws_lc_rs::{
    cmac,
    encoding::AsDer as _,
    key_wrap::{AES_256, AesKek, KeyWrapPadded as _},
    rsa::{KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey},
};
use xks_core::manage::{KeyManager as _, WrappingKey};
use xks_pkcs11_fixture::{Function, When, Wraps};

use super::*;
use crate::{documented::assert_wrappings, log::Log};

/// What AWS KMS gives and keeps.
struct Kms {
    private: OaepPrivateDecryptingKey,
    spki: Vec<u8>,
}

impl Kms {
    fn new(size: KeySize) -> Self {
        let private = PrivateDecryptingKey::generate(size).unwrap();
        let spki = private.public_key().as_der().unwrap().as_ref().to_vec();
        Self {
            private: OaepPrivateDecryptingKey::new(private).unwrap(),
            spki,
        }
    }

    fn wrapping_key(&self, algorithm: WrappingAlgorithm) -> WrappingKey {
        WrappingKey::from_spki_der(&self.spki, algorithm).unwrap()
    }

    fn open(&self, wrapped: &[u8], algorithm: WrappingAlgorithm) -> Vec<u8> {
        let oaep = match algorithm {
            WrappingAlgorithm::RsaOaepSha1 => &OAEP_SHA1_MGF1SHA1,
            _ => &OAEP_SHA256_MGF1SHA256,
        };
        let (by_rsa, by_aes) = wrapped.split_at(self.private.key_size_bytes());
        let mut room = vec![0; self.private.min_output_size()];
        let opened = self.private.decrypt(oaep, by_rsa, &mut room, None).unwrap();
        match algorithm {
            WrappingAlgorithm::RsaAesKeyWrapSha256 => {
                let (ephemeral, mut room) = (AesKek::new(&AES_256, opened).unwrap(), [0; 40]);
                ephemeral.unwrap_with_padding(by_aes, &mut room).unwrap().to_vec()
            }
            _ => opened.to_vec(),
        }
    }
}

fn for_import(number: u8, label: &str) -> NewKey {
    NewKey::for_import(token(number), id(label))
}

fn cmac_of(backend: &Pkcs11Backend, key: &str, message: &[u8]) -> Result<[u8; 16], ManageError> {
    run(backend.cmac(&id(key), message, later()))
}

fn wrap(backend: &Pkcs11Backend, key: &str, wrapping_key: &WrappingKey) -> Result<Vec<u8>, ManageError> {
    run(backend.wrap_key(&id(key), wrapping_key, later()))
}

/// A key for the import into AWS KMS is the same outside, by its own MAC; one for XKS never leaves.
#[test]
fn keys_for_import() {
    own_process("manage::wrapped::keys_for_import", |hsm| {
        let log = Log::begin();
        let scene = Scene::new(hsm, |config| config);
        let backend = &*scene.backend;
        create(backend, &for_import(1, "import")).unwrap();
        create(backend, &for_xks(2, "stays")).unwrap();
        let [line] = &log.lines(&["how keys can be wrapped"])[..] else {
            panic!("{:#?}", log.lines(&[]));
        };
        assert_wrappings("SoftHSM2 2.6.1", line);
        assert!(describe(backend, &id("import")).unwrap().is_extractable);
        for size in [KeySize::Rsa2048, KeySize::Rsa4096] {
            let kms = Kms::new(size);
            let sha1 = kms.wrapping_key(WrappingAlgorithm::RsaOaepSha1);
            let wrapped = wrap(backend, "import", &sha1).unwrap();
            assert_eq!(wrapped.len(), sha1.wrapped_length());
            let value = kms.open(&wrapped, WrappingAlgorithm::RsaOaepSha1);
            let outside = cmac::Key::new(cmac::AES_256, &value).unwrap();
            for message in [&b""[..], b"x", &[7; 1000]] {
                let expected = cmac::sign(&outside, message).unwrap();
                assert_eq!(cmac_of(backend, "import", message).unwrap(), expected.as_ref());
            }
            assert_refused(wrap(backend, "stays", &sha1), ManageErrorKind::NotExtractable);
            assert_refused(wrap(backend, "absent", &sha1), ManageErrorKind::KeyNotFound);
            for algorithm in [WrappingAlgorithm::RsaOaepSha256, WrappingAlgorithm::RsaAesKeyWrapSha256] {
                let refused = wrap(backend, "import", &kms.wrapping_key(algorithm));
                assert_refused(refused, ManageErrorKind::Unsupported);
            }
        }
        assert_refused(cmac_of(backend, "stays", b""), ManageErrorKind::KeyUsage);
        assert_refused(cmac_of(backend, "absent", b""), ManageErrorKind::KeyNotFound);
        assert_fails(run(encrypt(backend, "import", b"")), BackendErrorKind::KeyUsage);
        // Nothing is left of what was brought and made to wrap it.
        let sessions = hsm.keys(TOKEN).len();
        assert_eq!(sessions, KEYS.len() + 2);
        scene.end();
    });
}

/// What wraps keys in one of these ways, and what the log says of the others.
struct Emulated {
    ways: &'static [Wraps],
    algorithms: &'static [WrappingAlgorithm],
    chosen: &'static str,
    rejected: &'static str,
}

/// A trial finds out what a token makes, whatever the names of its mechanisms and the lengths of what comes
/// out. What is chosen then is right for any key; and where nothing is right for AWS KMS, nothing is chosen.
#[test]
fn what_a_token_makes_is_found_out() {
    use WrappingAlgorithm::{RsaAesKeyWrapSha256, RsaOaepSha1, RsaOaepSha256};
    let emulated = [
        // openCryptoki 3.27.
        Emulated {
            ways: &[Wraps::RsaAes, Wraps::OaepSha256, Wraps::Kwp, Wraps::PadByPkcs7],
            algorithms: &[RsaAesKeyWrapSha256, RsaOaepSha256, RsaOaepSha1],
            chosen: "RSA_AES_KEY_WRAP_SHA_256 by CKM_RSA_AES_KEY_WRAP; RSAES_OAEP_SHA_256 by",
            rejected: "",
        },
        // kryoptic and NSS.
        Emulated {
            ways: &[Wraps::OaepSha256, Wraps::Kwp, Wraps::PadByPkcs7],
            algorithms: &[RsaAesKeyWrapSha256, RsaOaepSha256, RsaOaepSha1],
            chosen: "RSA_AES_KEY_WRAP_SHA_256 by CKM_RSA_PKCS_OAEP and CKM_AES_KEY_WRAP_KWP; RSAES_OAEP_SHA_256 by",
            rejected: "CKM_RSA_AES_KEY_WRAP (no CKM_RSA_AES_KEY_WRAP)",
        },
        // craton's KWP, with SoftHSM2's PAD beside it.
        Emulated {
            ways: &[Wraps::OaepSha256, Wraps::KwpByRfc3394],
            algorithms: &[RsaAesKeyWrapSha256, RsaOaepSha256, RsaOaepSha1],
            chosen: "RSA_AES_KEY_WRAP_SHA_256 by CKM_RSA_PKCS_OAEP and CKM_AES_KEY_WRAP_PAD; RSAES_OAEP_SHA_256 by",
            rejected: "CKM_AES_KEY_WRAP_KWP (what it makes opens as another key, or not at all)",
        },
        // No padding is as RFC 5649 has it.
        Emulated {
            ways: &[Wraps::OaepSha256, Wraps::KwpByRfc3394, Wraps::PadByPkcs7],
            algorithms: &[RsaOaepSha256, RsaOaepSha1],
            chosen: "RSAES_OAEP_SHA_256 by CKM_RSA_PKCS_OAEP; RSAES_OAEP_SHA_1 by CKM_RSA_PKCS_OAEP",
            rejected: "CKM_AES_KEY_WRAP_PAD (what it makes opens as another key, or not at all)",
        },
        // SHA-1 for whatever hash is asked for: all lengths are right.
        Emulated {
            ways: &[Wraps::RsaAesBySha1, Wraps::OaepSha256BySha1, Wraps::Kwp],
            algorithms: &[RsaOaepSha1],
            chosen: "RSAES_OAEP_SHA_1 by CKM_RSA_PKCS_OAEP",
            rejected: "CKM_RSA_AES_KEY_WRAP (what it makes opens as another key, or not at all)",
        },
        Emulated {
            ways: &[Wraps::NoPad],
            algorithms: &[RsaOaepSha1],
            chosen: "RSAES_OAEP_SHA_1 by CKM_RSA_PKCS_OAEP",
            rejected: "CKM_AES_KEY_WRAP_PAD (no CKM_AES_KEY_WRAP_PAD); \
                       RSAES_OAEP_SHA_256 by CKM_RSA_PKCS_OAEP (C_WrapKey: CKR_ARGUMENTS_BAD)",
        },
    ];
    own_process("manage::wrapped::what_a_token_makes_is_found_out", |hsm| {
        make_keys(hsm);
        let (log, shim, kms) = (Log::begin(), Shim::load(), Kms::new(KeySize::Rsa3072));
        // With a key of a known value; and with one that the token makes, where it takes no others.
        let trials = emulated
            .iter()
            .flat_map(|emulated| [(emulated, true), (emulated, false)]);
        for (number, (emulated, is_brought)) in (1..).zip(trials) {
            let how = format!("{:?}, brought: {is_brought}", emulated.ways);
            shim.wraps(emulated.ways);
            let scene = Scene::again(&shim, Profile::SoftHsm, |config| config);
            let (backend, label) = (&*scene.backend, format!("import-{number}"));
            let before = log.lines(&["how keys can be wrapped"]).len();
            if !is_brought {
                shim.fail(Function::C_CreateObject, CKR_ATTRIBUTE_VALUE_INVALID, When::once());
            }
            for _ in 0..2 {
                let found = run(backend.capabilities(later())).unwrap().wrapping;
                assert_eq!(found, emulated.algorithms, "{how}");
            }
            let lines = &log.lines(&["how keys can be wrapped"])[before..];
            assert!(
                lines.len() == 1 && lines[0].contains(emulated.chosen) && lines[0].contains(emulated.rejected),
                "{how}: {lines:#?}"
            );
            create(backend, &for_import(number, &label)).unwrap();
            let mac = cmac_of(backend, &label, b"message").unwrap();
            for algorithm in WrappingAlgorithm::ALL {
                let wrapped = wrap(backend, &label, &kms.wrapping_key(algorithm));
                if !emulated.algorithms.contains(&algorithm) {
                    let refused = assert_refused(wrapped, ManageErrorKind::Unsupported);
                    assert!(refused.contains(": not by CKM_"), "{how}: {refused}");
                    continue;
                }
                let value = kms.open(&wrapped.unwrap(), algorithm);
                let outside = cmac::Key::new(cmac::AES_256, &value).unwrap();
                assert_eq!(
                    cmac::sign(&outside, b"message").unwrap().as_ref(),
                    mac,
                    "{how}: {algorithm}"
                );
            }
            assert_eq!(hsm.keys(TOKEN).len(), KEYS.len() + usize::from(number), "{how}");
            scene.end();
        }
    });
}

/// A token that wraps nothing makes no keys to be wrapped.
#[test]
fn where_nothing_is_wrapped() {
    own_process("manage::wrapped::where_nothing_is_wrapped", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        for function in [Function::C_WrapKey, Function::C_CreateObject] {
            shim.fail(function, CKR_FUNCTION_NOT_SUPPORTED, When::always());
            let scene = Scene::again(&shim, Profile::SoftHsm, |config| config);
            let capabilities = run(scene.backend.capabilities(later())).unwrap();
            assert_eq!(capabilities.wrapping, []);
            assert_refused(
                create(&scene.backend, &for_import(1, "import")),
                ManageErrorKind::Unsupported,
            );
            shim.clear();
            scene.end();
        }
    });
}

/// Modules that keep session objects keep none of those that were made to try how keys are wrapped.
#[test]
fn where_keys_stay_that_were_made_to_try() {
    own_process("manage::wrapped::where_keys_stay_that_were_made_to_try", |hsm| {
        make_keys(hsm);
        let shim = Shim::load();
        shim.keep_objects();
        let backend = open(config(shim.path()));
        let before = hsm.keys(TOKEN).len();
        assert_eq!(
            run(backend.capabilities(later())).unwrap().wrapping,
            [WrappingAlgorithm::RsaOaepSha1]
        );
        assert_eq!(hsm.keys(TOKEN).len(), before, "the keys that were made to try are gone");
        assert!(backend.shutdown(CEILING));
    });
}
