//! A proxy in this process that can be broken at any time, and a KMS with a key store on it.

use std::{
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use kms_double::kms::{Builder, Caller, Exception, ExceptionName, Failure, Kms, api::*};
use serde_json::Value;

use crate::support::{ACCESS_KEY_ID, Broken, Folder, KEY, PREFIX, SECRET, Server};

/// A busy machine is slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn alice() -> Caller {
    Caller::new("arn:aws:iam::111122223333:user/Alice")
}

pub(crate) fn credential() -> ProxyCredential {
    ProxyCredential::new(ACCESS_KEY_ID, SECRET)
}

pub(crate) fn builder() -> Builder {
    Kms::builder().allow_http().timeout(PATIENCE)
}

/// A proxy with its requests.
pub(crate) struct Proxy {
    pub(crate) url: String,
    server: Option<Server>,
    broken: Arc<Mutex<Broken>>,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Proxy {
    pub(crate) fn start() -> Self {
        let broken = Arc::new(Mutex::new(Broken::default()));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (of_request, of_answer, seen) = (broken.clone(), broken.clone(), asked.clone());
        let broken_by = Broken {
            request: Box::new(move |request| {
                let path = request.parts.uri.path();
                let path = path.split("/kms/xks/v1/").last().unwrap().to_owned();
                seen.lock().unwrap().push((path, request.json()));
                (of_request.lock().unwrap().request)(request)
            }),
            answer: Box::new(move |request, answer| (of_answer.lock().unwrap().answer)(request, answer)),
        };
        // Its runtime can neither be started nor be dropped within another one.
        let server = thread::spawn(|| Server::start(broken_by)).join().unwrap();
        Self {
            url: server.url.clone(),
            server: Some(server),
            broken,
            asked,
        }
    }

    pub(crate) fn break_by(&self, broken: Broken) {
        *self.broken.lock().unwrap() = broken;
    }

    pub(crate) fn mend(&self) {
        self.break_by(Broken::default());
    }

    /// Paths and bodies since the last time.
    pub(crate) fn asked(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    pub(crate) fn key_store(&self, name: &str) -> CreateCustomKeyStoreRequest {
        let path = format!("{PREFIX}/kms/xks/v1");
        CreateCustomKeyStoreRequest::new(name, &self.url, path, credential())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let server = self.server.take();
        thread::spawn(move || drop(server)).join().unwrap();
    }
}

/// A key store on a proxy, connected, and a KMS key in it.
pub(crate) struct Site {
    pub(crate) proxy: Proxy,
    pub(crate) kms: Kms,
    pub(crate) store: String,
    pub(crate) key: KeyMetadata,
    pub(crate) folder: Folder,
}

impl Site {
    pub(crate) async fn new() -> Self {
        let (proxy, folder) = (Proxy::start(), Folder::new());
        let kms = builder().state_file(folder.path("state")).build().unwrap();
        let made = kms
            .create_custom_key_store(&alice(), proxy.key_store("site"))
            .await
            .unwrap();
        let store = made.custom_key_store_id;
        let connect = CustomKeyStoreIdRequest::new(&store);
        kms.connect_custom_key_store(&alice(), connect).await.unwrap();
        let key = CreateKeyRequest::new(&store, KEY);
        let key = kms.create_key(&alice(), key).await.unwrap().key_metadata;
        proxy.asked();
        Self {
            proxy,
            kms,
            store,
            key,
            folder,
        }
    }

    /// Another KMS with the same key stores and keys.
    pub(crate) fn again(&self, change: impl FnOnce(Builder) -> Builder) -> Kms {
        change(builder()).state_file(self.folder.path("state")).build().unwrap()
    }

    pub(crate) fn id(&self) -> CustomKeyStoreIdRequest {
        CustomKeyStoreIdRequest::new(&self.store)
    }

    pub(crate) fn key_id(&self) -> KeyIdRequest {
        KeyIdRequest::new(&self.key.key_id)
    }

    pub(crate) async fn described(&self) -> CustomKeyStore {
        let all = DescribeCustomKeyStoresRequest::default();
        let all = self.kms.describe_custom_key_stores(&alice(), all).await.unwrap();
        all.custom_key_stores
            .into_iter()
            .find(|store| store.custom_key_store_id == self.store)
            .unwrap()
    }

    pub(crate) async fn encrypt(&self, plaintext: &[u8]) -> Result<EncryptResponse, Exception> {
        let request = EncryptRequest::new(&self.key.key_id, plaintext);
        self.kms.encrypt(&alice(), request).await
    }

    pub(crate) async fn decrypt(&self, blob: &[u8]) -> Result<DecryptResponse, Exception> {
        self.kms.decrypt(&alice(), DecryptRequest::new(blob)).await
    }
}

pub(crate) fn context(value: &str) -> kms_double::kms::EncryptionContext {
    [("project".to_owned(), value.to_owned())].into()
}

/// The name of the exception, and what was wrong with the proxy.
pub(crate) fn what<T: std::fmt::Debug>(result: Result<T, Exception>) -> (ExceptionName, Option<Failure>) {
    let exception = result.unwrap_err();
    (exception.name(), exception.failure())
}

pub(crate) fn name<T: std::fmt::Debug>(result: Result<T, Exception>) -> ExceptionName {
    what(result).0
}
