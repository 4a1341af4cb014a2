//! Keys that leave the token wrapped: what comes out is opened by another library.

use aws_lc_rs::{
    cmac,
    encoding::AsDer as _,
    rsa::{KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey},
};
use xks_core::manage::{KeyManager as _, WrappingKey};
use xks_pkcs11_fixture::{Function, When};

use super::*;

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
        let mut room = vec![0; self.private.min_output_size()];
        self.private.decrypt(oaep, wrapped, &mut room, None).unwrap().to_vec()
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
        let scene = Scene::new(hsm, |config| config);
        let backend = &*scene.backend;
        create(backend, &for_import(1, "import")).unwrap();
        create(backend, &for_xks(2, "stays")).unwrap();
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
