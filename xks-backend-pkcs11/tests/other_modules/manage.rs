//! Key administration on each module: its capabilities are found, and what it can do is right.

use std::{
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use aws_lc_rs::{
    cmac,
    digest::{SHA256, digest},
    encoding::AsDer as _,
    key_wrap::{AES_256, AesKek, KeyWrapPadded as _},
    rsa::{KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey},
    signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey},
};
use xks_backend_pkcs11::Pkcs11Backend;
use xks_core::manage::{
    CreationToken, KeyManager as _, ManageErrorKind, NewKey,
    WrappingAlgorithm::{self, RsaAesKeyWrapSha256, RsaOaepSha1},
    WrappingKey,
};

use crate::{
    documented::assert_wrappings,
    log::Log,
    managers,
    module::Module,
    support::{id, open, round_trip, run},
    token::{Token, on_a_thread, with_token},
};

/// Where no key is wrapped, and no CMAC is computed.
const NOTHING_LEAVES: [&str; 5] = [
    "only_extractable_keys_are_wrapped",
    "wrapped_keys_are_the_keys",
    "wrappings_differ",
    "cmacs_are_of_the_material",
    "nothing_tells_key_material",
];

#[test]
#[ignore = "needs scripts/modules"]
fn craton() {
    with_token(Module::Craton, "manage::craton", |token| {
        is_managed(token, "craton-hsm 0.10.6", &[], &NOTHING_LEAVES);
    });
}

#[test]
#[ignore = "needs scripts/modules"]
fn kryoptic() {
    with_token(Module::Kryoptic, "manage::kryoptic", |token| {
        is_managed(token, "kryoptic 1.5.4", &WrappingAlgorithm::ALL, &[]);
    });
}

#[test]
#[ignore = "needs scripts/modules"]
fn softoken() {
    with_token(Module::Softoken, "manage::softoken", |token| {
        is_managed(token, "NSS softoken 3.87", &WrappingAlgorithm::ALL, &[]);
    });
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn number(number: u8) -> CreationToken {
    CreationToken::from([number; 16])
}

fn is_managed(token: &Token, name: &str, wrapping: &[WrappingAlgorithm], cannot: &[&str]) {
    let log = Log::begin();
    on_a_thread(|| {
        let backend = open(token.config());
        let capabilities = run(backend.capabilities(later())).unwrap();
        assert_eq!(capabilities.wrapping, wrapping);
        let [line] = &log.lines(&["how keys can be wrapped"])[..] else {
            panic!("{:#?}", log.lines(&[]));
        };
        assert_wrappings(name, line);
        assert!(capabilities.create && capabilities.destroy, "{capabilities:?}");
        keys_come_and_go(&backend);
        if capabilities.cmac && !wrapping.is_empty() {
            keys_leave(&backend, wrapping);
        }
        digests_are_signed(&backend);
        assert!(backend.shutdown(Duration::from_secs(10)), "calls did not return");
        managers::check(&token.config(), token.module == Module::Craton, cannot);
    });
}

fn keys_come_and_go(backend: &Pkcs11Backend) {
    let key = NewKey::for_xks(number(1), id("made"));
    let labels = || -> Vec<String> {
        let page = run(backend.keys(None, NonZeroUsize::new(100).unwrap(), later())).unwrap();
        page.keys.into_iter().map(|key| key.label).collect()
    };
    let before = labels();
    for _ in 0..2 {
        assert_eq!(run(backend.create_key(&key, later())).unwrap(), id("made"));
    }
    run(round_trip(backend, "made", b"plaintext")).unwrap();
    let description = run(backend.key(&id("made"), later())).unwrap();
    assert_eq!(
        (description.token, description.is_extractable),
        (Some(number(1)), false)
    );
    assert_eq!(labels().len(), before.len() + 1);
    run(backend.destroy_key(&id("made"), later())).unwrap();
    let gone = run(backend.destroy_key(&id("made"), later())).unwrap_err();
    assert_eq!(gone.kind(), ManageErrorKind::KeyNotFound, "{gone:?}");
    assert_eq!(labels(), before);
}

/// What is unwrapped outside has the MAC that the module computes.
fn keys_leave(backend: &Pkcs11Backend, wrapping: &[WrappingAlgorithm]) {
    run(backend.create_key(&NewKey::for_import(number(2), id("import")), later())).unwrap();
    run(backend.create_key(&NewKey::for_xks(number(3), id("stays")), later())).unwrap();
    let mac = run(backend.cmac(&id("import"), b"message", later())).unwrap();
    let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
    let spki = private.public_key().as_der().unwrap().as_ref().to_vec();
    let private = OaepPrivateDecryptingKey::new(private).unwrap();
    for algorithm in wrapping {
        let wrapping_key = WrappingKey::from_spki_der(&spki, *algorithm).unwrap();
        let wrapped = run(backend.wrap_key(&id("import"), &wrapping_key, later())).unwrap();
        let oaep = if *algorithm == RsaOaepSha1 {
            &OAEP_SHA1_MGF1SHA1
        } else {
            &OAEP_SHA256_MGF1SHA256
        };
        let (by_rsa, by_aes) = wrapped.split_at(private.key_size_bytes());
        let (mut room, mut padded) = (vec![0; private.min_output_size()], [0; 40]);
        let opened = private.decrypt(oaep, by_rsa, &mut room, None).unwrap();
        let value = match algorithm {
            RsaAesKeyWrapSha256 => {
                let ephemeral = AesKek::new(&AES_256, opened).unwrap();
                ephemeral.unwrap_with_padding(by_aes, &mut padded).unwrap()
            }
            _ => opened,
        };
        let outside = cmac::Key::new(cmac::AES_256, value).unwrap();
        assert_eq!(cmac::sign(&outside, b"message").unwrap().as_ref(), mac, "{algorithm}");
        let stays = run(backend.wrap_key(&id("stays"), &wrapping_key, later())).unwrap_err();
        assert_eq!(stays.kind(), ManageErrorKind::NotExtractable, "{stays:?}");
    }
    for key in ["import", "stays"] {
        run(backend.destroy_key(&id(key), later())).unwrap();
    }
}

fn digests_are_signed(backend: &Pkcs11Backend) {
    let make = || run(backend.create_signing_key(number(4), &id("audit"), later())).unwrap();
    let key = make();
    assert_eq!(make(), key);
    let head = digest(&SHA256, b"a head").as_ref().try_into().unwrap();
    let signature = run(backend.sign_digest(&id("audit"), &head, later())).unwrap();
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key());
    public.verify(b"a head", &signature).unwrap();
}
