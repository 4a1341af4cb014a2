//! The backend as the pipeline sees it, behind `Arc<dyn KeyBackend>`; and what the tests of every file share.

mod changes;
mod ciphertexts;

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use tracing_subscriber::fmt::MakeWriter;
use xks_core::{
    aad::{AadFraming, BoundAad},
    api::RequestMetadata,
    backend::{CiphertextMetadata, Iv, Tag},
};

use super::*;

/// The bytes that hex digits stand for.
pub(crate) fn hex(digits: &str) -> Vec<u8> {
    let mut bytes = vec![0; digits.len() / 2];
    xks_core::text::decode_hex(digits, &mut bytes).unwrap();
    bytes
}

/// What is logged in this thread while `work` is done.
pub(crate) fn logged(work: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl<'a> MakeWriter<'a> for Log {
        type Writer = Self;
        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, work);
    let bytes = log.0.lock().unwrap();
    String::from_utf8(bytes.clone()).unwrap()
}

/// A file that only its owner can read, removed in the end.
pub(crate) struct TempFile(PathBuf);

impl TempFile {
    pub(crate) fn new(content: impl AsRef<[u8]>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("xks-backend-soft-{}-{number}.key", std::process::id()));
        fs::write(&path, content).unwrap();
        #[cfg(unix)]
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

const METADATA_OF_1: &[u8] = b"key_version=1";

fn id() -> KeyId {
    "key-1".parse().unwrap()
}

fn version(number: u32) -> KeyVersion {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    KeyVersion::new(number, bytes).unwrap()
}

fn backend(key: SoftKey) -> Arc<SoftBackend> {
    Arc::new(SoftBackend::new().with_key(id(), key))
}

fn soft() -> Arc<SoftBackend> {
    backend(SoftKey::new(version(1)))
}

/// The futures of this backend wait for nothing.
fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

fn encrypt_framed(
    backend: &dyn KeyBackend,
    framing: AadFraming,
    plaintext: &[u8],
    aad: &[u8],
) -> Result<Encrypted, BackendError> {
    let mut request = EncryptRequest::new(
        RequestMetadata::default(),
        Zeroizing::new(plaintext.to_vec()),
        BoundAad::new(framing, Some(aad), None).unwrap(),
    );
    run(backend.encrypt(&id(), &mut request))
}

fn encrypt(backend: &dyn KeyBackend) -> Result<Encrypted, BackendError> {
    encrypt_framed(backend, AadFraming::Spec, b"plaintext", b"aad")
}

fn decrypt(backend: &dyn KeyBackend, encrypted: Encrypted) -> Result<Zeroizing<Vec<u8>>, BackendError> {
    run(backend.decrypt(&id(), &DecryptRequest::new(RequestMetadata::default(), encrypted)))
}

fn key_metadata(backend: &dyn KeyBackend) -> Result<KeyMetadata, BackendError> {
    run(backend.key_metadata(&id(), &GetKeyMetadataRequest::new(RequestMetadata::default())))
}

fn kind<T>(result: Result<T, BackendError>) -> Option<BackendErrorKind> {
    result.err().map(|error| error.kind())
}

/// Everything that decrypt is given, before it is framed.
#[derive(Clone)]
struct Parts {
    framing: AadFraming,
    ciphertext: Vec<u8>,
    iv: Vec<u8>,
    tag: Vec<u8>,
    aad: Vec<u8>,
    metadata: Vec<u8>,
}

impl Parts {
    fn new(framing: AadFraming, aad: &[u8], encrypted: &Encrypted) -> Self {
        Self {
            framing,
            ciphertext: encrypted.ciphertext().to_vec(),
            iv: encrypted.iv().as_bytes().to_vec(),
            tag: encrypted.tag().as_bytes().to_vec(),
            aad: aad.to_vec(),
            metadata: encrypted.bound_aad().metadata().unwrap().as_bytes().to_vec(),
        }
    }

    fn decrypt(&self, backend: &dyn KeyBackend) -> Result<Zeroizing<Vec<u8>>, BackendError> {
        let metadata = CiphertextMetadata::try_from(&*self.metadata).ok();
        let encrypted = Encrypted::new(
            self.ciphertext.clone(),
            Iv::try_from(&*self.iv).unwrap(),
            Tag::try_from(&*self.tag).unwrap(),
            BoundAad::new(self.framing, Some(&self.aad), metadata).unwrap(),
        );
        decrypt(backend, encrypted)
    }

    fn fields(&mut self) -> [&mut Vec<u8>; 5] {
        [
            &mut self.ciphertext,
            &mut self.iv,
            &mut self.tag,
            &mut self.aad,
            &mut self.metadata,
        ]
    }
}

/// HLT-1: healthy without a key of its users, and without using one.
#[test]
fn health_uses_no_key_that_is_served() {
    let health = |backend: &SoftBackend| run(backend.health()).unwrap();
    let soft = soft();
    let expected = Health::new(
        "xks-backend-soft",
        EkmStatus::new(
            "soft",
            format!("software AES-256-GCM {}", env!("CARGO_PKG_VERSION")),
            HealthStatus::Active,
        ),
    );
    assert_eq!(health(&soft), expected);
    assert_eq!(soft.key(&id()).unwrap().newest_version().encryptions(), 0);
    soft.set_status(&id(), KeyStatus::Disabled).unwrap();
    assert_eq!(health(&soft), expected);
    assert_eq!(health(&SoftBackend::default()), expected);
    assert_eq!(
        health(&SoftBackend::new().with_id("soft-2")).members()[0].id(),
        "soft-2"
    );
}

/// ENC-12, DEC-5: neither key material nor plaintext is printed or logged, whatever the level.
#[test]
fn nothing_secret_is_printed() {
    let soft = backend(SoftKey::new(KeyVersion::new(1, [0xab; 32]).unwrap()));
    let log = logged(|| {
        let encrypted = encrypt(&*soft).unwrap();
        decrypt(&*soft, encrypted).unwrap();
    });
    assert_eq!(log, "");
    let text = format!("{soft:?} {soft:#?}");
    assert!(
        text.contains("key-1") && text.contains("number: 1, encryptions: 1"),
        "{text}"
    );
    for secret in ["171", "0xab", "abab", "AB, ", "plaintext"] {
        assert!(!text.contains(secret), "{text}");
    }
}
